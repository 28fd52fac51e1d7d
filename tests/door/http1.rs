//! HTTP/1.1 that is malformed, oversized or ambiguous: refused, or read in the one way that it can be read.

use crate::Target;
use crate::wire::Wire;

/// What must come of a case. After each, the same bytes go on with a request to `/version` that asks for the end of the
/// connection: an ambiguous end of the case would show in how that one is read.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// At most one answer, which refuses; then the end. What follows is not read as a request.
    Refused,
    /// These answers, then that of the request that follows.
    Answered(&'static [u16]),
}

use Outcome::{Answered, Refused};

const FOLLOWING: &[u8] = b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

type Case = (&'static str, Vec<u8>, Outcome);

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// A POST of a review, which anybody who is known may make, with such headers and body.
fn post(token: &str, headers: &str, body: &str) -> Vec<u8> {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn malformed() -> Vec<Case> {
    let raw = |text: &str| text.as_bytes().to_vec();
    let with =
        |header: &str| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n");
    vec![
        ("no HTTP", vec![0, 1, 2, 3, 13, 10, 13, 10], Refused),
        ("a method alone", raw("GET\r\n\r\n"), Refused),
        ("HTTP/0.9", raw("GET /healthz\r\n\r\n"), Refused),
        ("HTTP/3.9", raw("GET /healthz HTTP/3.9\r\nHost: localhost\r\n\r\n"), Refused),
        ("the preface of HTTP/2", raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Refused),
        ("a second TLS hello", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], Refused),
        (
            "a space in the path",
            raw("GET /healthz /x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            Refused,
        ),
        ("a header without a colon", raw(&with("Host")), Refused),
        ("a header without a name", raw(&with(": x")), Refused),
        ("a space before the colon", raw(&with("Content-Length : 5")), Refused),
        ("a folded header", raw(&with("X-A: a\r\n b")), Refused),
        ("a NUL in a header", raw(&with("X-A: a\0b")), Refused),
        ("a bare CR in a header", raw(&with("X-A: a\rX-B: b")), Refused),
        (
            "a control character in a method",
            raw("G\x07T / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            Refused,
        ),
        (
            "a header that is no UTF-8",
            [&b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: "[..], &[0xff, 0xfe], b"\r\n\r\n"]
                .concat(),
            Answered(&[200]),
        ),
        (
            "lines that end with LF alone",
            raw("GET /healthz HTTP/1.1\nHost: localhost\n\n"),
            Answered(&[200]),
        ),
        (
            "an unknown method",
            raw("BREW /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            Answered(&[403]),
        ),
        (
            "TRACE",
            raw("TRACE / HTTP/1.1\r\nHost: localhost\r\nX-Secret: 1\r\n\r\n"),
            Answered(&[403]),
        ),
        ("OPTIONS *", raw("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"), Answered(&[403])),
        ("an absolute form", get("https://elsewhere.example/healthz"), Answered(&[200])),
        (
            "an upgrade to h2c",
            raw(&with(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            )),
            Answered(&[200]),
        ),
        (
            "an upgrade to something",
            raw(&with(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x",
            )),
            Answered(&[200]),
        ),
    ]
}

fn oversized() -> Vec<Case> {
    let flood = |count: usize, length: usize| {
        let headers: String =
            (0..count).map(|n| format!("X-{n}: {}\r\n", "a".repeat(length))).collect();
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
    };
    vec![
        ("90 headers of 600 bytes", flood(90, 600), Answered(&[200])),
        ("150 headers", flood(150, 1), Refused),
        ("100,000 headers", flood(100_000, 1), Refused),
        ("a header of 1 MiB", flood(1, 1 << 20), Refused),
        ("a path of 1 MiB", get(&format!("/api/{}", "a".repeat(1 << 20))), Refused),
        ("a path of 50 KiB", get(&format!("/healthz/{}", "a".repeat(50 << 10))), Answered(&[403])),
        (
            "a query of 50 KiB",
            get(&format!("/healthz?{}", "a&".repeat(25 << 10))),
            Answered(&[200]),
        ),
        ("a method of 1 MiB", vec![b'A'; 1 << 20], Refused),
        ("empty lines without end", b"\r\n".repeat(1 << 19), Refused),
    ]
}

/// Bodies whose end can be read in more than one way.
fn ambiguous(token: &str) -> Vec<Case> {
    let review = r#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}"#;
    let plain = format!("Content-Length: {}\r\n", review.len());
    let chunked = |size: &str| format!("{size}\r\n{review}\r\n0\r\n\r\n");
    let hex = format!("{:x}", review.len());
    let te = "Transfer-Encoding: chunked\r\n";
    let long = "a".repeat(1 << 20);
    let of = |headers: &str, body: &str| post(token, headers, body);
    vec![
        ("a length", of(&plain, review), Answered(&[201])),
        ("chunks", of(te, &chunked(&hex)), Answered(&[201])),
        (
            "chunks in capitals",
            of("TRANSFER-ENCODING: CHUNKED\r\n", &chunked(&hex)),
            Answered(&[201]),
        ),
        ("two lengths that differ", of(&format!("{plain}Content-Length: 3\r\n"), review), Refused),
        ("a list of lengths", of("Content-Length: 3, 4\r\n", review), Refused),
        (
            "a length with a sign",
            of(&format!("Content-Length: +{}\r\n", review.len()), review),
            Refused,
        ),
        ("a negative length", of("Content-Length: -1\r\n", review), Refused),
        ("a length in hexadecimal", of("Content-Length: 0x44\r\n", review), Refused),
        (
            "a length beyond 64 bits",
            of("Content-Length: 18446744073709551617\r\n", review),
            Refused,
        ),
        ("a length and chunks", of(&format!("Content-Length: 3\r\n{te}"), "0\r\n\r\n"), Refused),
        ("chunks and a length", of(&format!("{te}Content-Length: 3\r\n"), "0\r\n\r\n"), Refused),
        (
            "chunks and a length after a tab",
            of(&format!("{te}Content-Length:\t3\r\n"), "0\r\n\r\n"),
            Refused,
        ),
        ("an unknown coding", of("Transfer-Encoding: xchunked\r\n", &chunked(&hex)), Refused),
        (
            "chunks that are not last",
            of("Transfer-Encoding: chunked, identity\r\n", &chunked(&hex)),
            Refused,
        ),
        (
            "a coding with a vertical tab",
            of("Transfer-Encoding: \x0bchunked\r\n", &chunked(&hex)),
            Refused,
        ),
        (
            "two codings",
            of(&format!("{te}Transfer-Encoding: identity\r\n"), &chunked(&hex)),
            Refused,
        ),
        ("a chunk's size with a sign", of(te, &chunked(&format!("+{hex}"))), Refused),
        ("a chunk's size as 0x", of(te, &chunked(&format!("0x{hex}"))), Refused),
        (
            "a chunk's size beyond 64 bits",
            of(te, &chunked(&format!("f0000000000000000{hex}"))),
            Refused,
        ),
        (
            "a chunk that is longer than its size",
            of(te, &format!("1\r\n{review}\r\n0\r\n\r\n")),
            Refused,
        ),
        ("an extension of 1 MiB", of(te, &chunked(&format!("{hex};{long}"))), Refused),
        (
            "trailers of 1 MiB",
            of(te, &format!("{hex}\r\n{review}\r\n0\r\nX: {long}\r\n\r\n")),
            Refused,
        ),
        (
            "chunks in HTTP/1.0",
            String::from_utf8(of(te, &chunked(&hex)))
                .expect("text")
                .replace("HTTP/1.1", "HTTP/1.0")
                .into_bytes(),
            Refused,
        ),
        (
            "a body of a GET",
            format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{plain}\r\n{review}").into_bytes(),
            Answered(&[200]),
        ),
        (
            "a request as the body of a GET",
            format!(
                "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
                get("/livez").len(),
                String::from_utf8_lossy(&get("/livez"))
            )
            .into_bytes(),
            Answered(&[200]),
        ),
        ("200 requests at once", get("/healthz").repeat(200), Answered(&[200; 200])),
    ]
}

fn check(target: &Target, (name, bytes, outcome): &Case) -> Result<(), String> {
    let mut wire = Wire::open(&target.host, "http/1.1");
    // A peer that has refused closes while we still send.
    let _open = wire.send(bytes) && wire.send(FOLLOWING);
    let answers = wire.answers();
    let codes: Vec<u16> = answers.iter().map(|answer| answer.code).collect();
    let as_wanted = match outcome {
        Refused => codes.is_empty() || (codes.len() == 1 && (400..500).contains(&codes[0])),
        Answered(wanted) => codes.split_last() == Some((&200, *wanted)),
    };
    let followed =
        |answer: &crate::wire::Answer| answer.body.windows(10).any(|w| w == b"gitVersion");
    let is_followed = answers.last().is_some_and(followed);
    if as_wanted && is_followed == matches!(outcome, Answered(_)) {
        return Ok(());
    }
    Err(format!(
        "{name}: wanted {outcome:?}, got {codes:?}, then the request that follows: {is_followed}"
    ))
}

#[test]
fn what_is_malformed_oversized_or_ambiguous_is_refused_and_what_follows_is_not_misread() {
    let target = Target::start(&[]);
    let cases = [malformed(), oversized(), ambiguous(&target.token())].concat();
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(&target, case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    target.assert_unharmed(64 << 20);
    eprintln!("{} shapes of HTTP/1.1", cases.len());
}
