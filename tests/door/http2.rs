//! HTTP/2 as attacks use it: floods that cost the sender little, and frames that break the rules.

use std::time::{Duration, Instant};

use crate::wire::Wire;
use crate::{Target, is_full};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const DONE: u8 = END_STREAM | END_HEADERS;

/// How long a flood goes on that the other end may bear; it is bounded by its size, too.
const FLOOD_MAX: Duration = Duration::from_millis(1_500);
/// How many pieces the other end finds at once of those that it must not bear.
const AT_ONCE: usize = 100;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A number of HPACK with a prefix of seven bits.
fn number(mut value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![u8::try_from(value).expect("small")];
    }
    let mut out = vec![127];
    value -= 127;
    while value >= 128 {
        out.push(u8::try_from(value % 128).expect("seven bits") | 0x80);
        value /= 128;
    }
    out.push(u8::try_from(value).expect("seven bits"));
    out
}

/// A header without indexing, spelt out.
fn header(name: &str, value: &str) -> Vec<u8> {
    literal(0, name, value)
}

fn literal(form: u8, name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![form];
    for text in [name, value] {
        out.extend(number(text.len()));
        out.extend_from_slice(text.as_bytes());
    }
    out
}

fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let own =
        [(":method", method), (":scheme", "https"), (":path", path), (":authority", "localhost")];
    own.iter().chain(more).flat_map(|(name, value)| header(name, value)).collect()
}

fn healthz() -> Vec<u8> {
    request("GET", "/healthz", &[])
}

fn open(target: &Target) -> Wire {
    let mut wire = Wire::open(&target.host, "h2");
    let greeting = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    assert!(wire.send(&greeting), "a greeting is taken");
    wire
}

/// Sends pieces, many at once, until the other end closes or they are all sent, however long that takes: whether it has to
/// close depends on how many there are, and on how many it finds at once. Answers how much was sent.
fn drown(wire: &mut Wire, mut pieces: impl Iterator<Item = Vec<u8>>) -> u64 {
    let mut sent = 0;
    loop {
        let many = pieces.by_ref().take(AT_ONCE).collect::<Vec<_>>().concat();
        if many.is_empty() || !wire.send(&many) {
            return sent;
        }
        sent += u64::try_from(many.len()).expect("a length");
    }
}

/// Sends pieces until the other end closes, they are all sent, or it takes too long; nothing is read meanwhile.
fn flood(wire: &mut Wire, pieces: impl Iterator<Item = Vec<u8>>) -> (u64, bool) {
    // Who is not read from must not hold us for ever either.
    let socket = wire.socket();
    socket.set_write_timeout(Some(Duration::from_millis(500))).expect("set");
    let (begun, mut sent) = (Instant::now(), 0);
    let longest = if is_full() { FLOOD_MAX * 20 } else { FLOOD_MAX };
    for piece in pieces {
        if !wire.send(&piece) {
            return (sent, true);
        }
        sent += u64::try_from(piece.len()).expect("a length");
        if begun.elapsed() > longest {
            break;
        }
    }
    (sent, false)
}

/// Everything up to the end. That has to come for what was sent: a host that hears nothing asks, after a while, whether its
/// client is still there, and ends the connection of whoever does not answer.
fn ended(wire: &mut Wire, name: &str) -> Vec<u8> {
    let rest = wire.rest();
    let asked = frame(PING, 0, 0, &[0; 8]);
    assert!(!contains(&rest, &asked[..9]), "{name}: nobody ended it for what was sent");
    rest
}

/// Odd numbers from 1.
fn streams() -> impl Iterator<Item = u32> {
    (0_u32..1 << 29).map(|n| 2 * n + 1)
}

type Pieces = Box<dyn Iterator<Item = Vec<u8>>>;

/// Floods; whether the other end has to end the connection.
fn floods() -> Vec<(&'static str, Pieces, bool)> {
    const MANY: usize = 20_000;
    let fragment = vec![0x40; 16_000];
    let start = frame(HEADERS, 0, 1, &healthz());
    let post = request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &[]);
    // One long header goes into the table, then it is named 4,000 times over.
    let long = literal(0x40, "x-bomb", &"a".repeat(3_900));
    let bomb = [healthz(), long, vec![0xbe; 16_000 - 4_200]].concat();
    let opened = frame(HEADERS, END_HEADERS, 1, &post);
    vec![
        (
            "rapid reset",
            Box::new(streams().take(MANY * 5).map(|stream| {
                [
                    frame(HEADERS, DONE, stream, &healthz()),
                    frame(RESET, 0, stream, &8_u32.to_be_bytes()),
                ]
                .concat()
            })),
            true,
        ),
        (
            "streams that break the rules, for the other end to reset",
            Box::new(streams().take(MANY * 5).map(|stream| {
                [
                    frame(HEADERS, END_HEADERS, stream, &healthz()),
                    frame(WINDOW, 0, stream, &0_u32.to_be_bytes()),
                ]
                .concat()
            })),
            true,
        ),
        (
            "headers that go on and on",
            Box::new(
                std::iter::once(start)
                    .chain(std::iter::repeat_n(frame(CONTINUATION, 0, 1, &fragment), MANY)),
            ),
            true,
        ),
        (
            "headers that go on with nothing",
            Box::new(
                std::iter::once(frame(HEADERS, 0, 1, &healthz()))
                    .chain(std::iter::repeat_n(frame(CONTINUATION, 0, 1, &[]).repeat(100), MANY)),
            ),
            true,
        ),
        (
            "empty pieces of a body",
            Box::new(
                std::iter::once(opened)
                    .chain(std::iter::repeat_n(frame(DATA, 0, 1, &[]).repeat(100), MANY)),
            ),
            false,
        ),
        (
            "settings",
            Box::new(std::iter::repeat_n(
                frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(100),
                MANY,
            )),
            false,
        ),
        (
            "pings",
            Box::new(std::iter::repeat_n(frame(PING, 0, 0, &[0; 8]).repeat(100), MANY)),
            false,
        ),
        (
            "priorities",
            Box::new(std::iter::repeat_n(
                frame(PRIORITY, 0, 9, &[0, 0, 0, 3, 7]).repeat(100),
                MANY,
            )),
            false,
        ),
        (
            "unknown frames",
            Box::new(std::iter::repeat_n(frame(0xfa, 0, 0, &fragment), MANY / 10)),
            false,
        ),
        (
            "a header table that is resized",
            Box::new(streams().take(MANY).map(|stream| {
                let resized = [&[0x20, 0x3f, 0xe1, 0x1f][..], &healthz()].concat();
                frame(HEADERS, DONE, stream, &resized)
            })),
            false,
        ),
        (
            "headers that unfold to megabytes",
            Box::new(streams().take(200).map(move |stream| frame(HEADERS, DONE, stream, &bomb))),
            false,
        ),
    ]
}

#[test]
fn floods_of_http2_cost_the_host_little_and_others_nothing() {
    let target = Target::start(&[]);
    for (name, pieces, must_close) in floods() {
        let mut wire = open(&target);
        let begun = Instant::now();
        let (sent, closed) = if must_close {
            let sent = drown(&mut wire, pieces);
            // What was sent ahead of the end is still in buffers: reading meets the end.
            ended(&mut wire, name);
            (sent, true)
        } else {
            flood(&mut wire, pieces)
        };
        eprintln!("{name}: {} KiB in {:.1?}, closed {closed}", sent >> 10, begun.elapsed());
        drop(wire);
        target.assert_unharmed(192 << 20);
    }
}

/// What breaks a rule of the protocol: the connection or the stream ends, nothing is carried out.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let get = |more: &[u8]| frame(HEADERS, DONE, 1, &[healthz(), more.to_vec()].concat());
    let window = |by: u32| frame(WINDOW, 0, 0, &by.to_be_bytes());
    vec![
        ("a stream of even number", frame(HEADERS, DONE, 2, &healthz())),
        ("headers of stream 0", frame(HEADERS, DONE, 0, &healthz())),
        (
            "a stream that goes back",
            [frame(HEADERS, DONE, 5, &healthz()), frame(HEADERS, DONE, 3, &healthz())].concat(),
        ),
        ("data before headers", frame(DATA, 1, 1, b"x")),
        ("data of stream 0", frame(DATA, 1, 0, b"x")),
        ("a push", frame(PUSH, 4, 1, &[0, 0, 0, 2, 0x82])),
        ("a continuation of nothing", frame(CONTINUATION, 4, 1, &healthz())),
        (
            "something between headers",
            [frame(HEADERS, 0, 1, &healthz()), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        ("a frame of 16 MiB", [&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 1024]].concat()),
        ("a ping of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        ("a window of 2^31", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("a frame size of 1", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("a window that grows by nothing", window(0)),
        ("a window beyond 2^31", window(0x7fff_ffff)),
        ("a padding longer than the frame", frame(DATA, 8, 1, &[200, 1])),
        ("an index that nobody made", get(&[0xff, 0xff, 0x7f])),
        ("an integer without end", get(&[0xff; 64])),
        ("a Huffman code that is none", get(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff])),
        ("a goaway that is too short", frame(GOAWAY, 0, 0, &[0; 4])),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ]
}

/// Requests that are malformed as a whole: the stream ends, or a 400 is answered.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let of = |headers: &[(&str, &str)]| -> Vec<u8> {
        headers.iter().flat_map(|(name, value)| header(name, value)).collect()
    };
    let base = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost")];
    let with = |more: &[(&str, &str)]| of(&[&base[..], &[(":path", "/version")], more].concat());
    vec![
        ("no path", of(&base)),
        ("an empty path", of(&[&base[..], &[(":path", "")]].concat())),
        ("two paths", with(&[(":path", "/readyz")])),
        ("no method", of(&[(":scheme", "https"), (":path", "/version")])),
        ("an unknown pseudo header", with(&[(":secret", "1")])),
        ("a pseudo header at the end", [with(&[("x", "1")]), header(":path", "/version")].concat()),
        ("a name in capitals", with(&[("X-Secret", "1")])),
        ("a connection's header", with(&[("connection", "close")])),
        ("chunks", with(&[("transfer-encoding", "chunked")])),
        ("te that is not trailers", with(&[("te", "gzip")])),
        ("a line break in a value", with(&[("x", "a\r\nb: c")])),
        ("a NUL in a value", with(&[("x", "a\0b")])),
        ("a colon in a name", with(&[("a:b", "c")])),
        ("a path with a blank", of(&[&base[..], &[(":path", "/version x")]].concat())),
        ("a length that does not fit", with(&[("content-length", "5")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "1")])),
        ("headers beyond the bound", with(&[("x", "a".repeat(15_000).as_str()); 5][..4])),
    ]
}

#[test]
fn what_breaks_the_rules_of_http2_ends_and_is_not_carried_out() {
    let target = Target::start(&[]);
    for (name, bytes) in broken() {
        let mut wire =
            if name == "another protocol" { Wire::open(&target.host, "h2") } else { open(&target) };
        let _open = wire.send(&bytes);
        let rest = ended(&mut wire, name);
        assert!(!contains(&rest, b"gitVersion"), "{name}");
        drop(wire);
    }
    for (name, headers) in malformed() {
        let mut wire = open(&target);
        let whole = frame(HEADERS, DONE, 1, &headers);
        // The frame that ends the connection lets us read everything that was answered.
        let _open = wire.send(&[whole, frame(PING, 0, 0, &[0; 7])].concat());
        let rest = ended(&mut wire, name);
        assert!(!contains(&rest, b"gitVersion"), "{name} was carried out");
        drop(wire);
    }
    target.assert_unharmed(64 << 20);
    eprintln!("{} shapes of HTTP/2", broken().len() + malformed().len());
}

/// The same request without a fault is answered: the cases above can fail.
#[test]
fn a_whole_request_of_http2_is_answered_by_the_same_means() {
    let target = Target::start(&[]);
    let mut wire = open(&target);
    assert!(wire.send(&frame(HEADERS, DONE, 1, &request("GET", "/version", &[]))));
    let mut all = Vec::new();
    while !contains(&all, b"gitVersion") {
        all.extend(wire.receive().expect("an answer"));
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|at| at == part)
}
