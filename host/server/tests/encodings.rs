//! Claims about encodings on the wire: protobuf, compression, watches over WebSocket, and what is counted.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use quadrille_object::protobuf;
use quadrille_server::Limits;
use serde_json::{Value, json};
use std::io::Read as _;
use std::time::Duration;
use support::{ADMIN, Host, body_bytes, config_map, within};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";
const PROTOBUF: (&str, &str) = ("accept", "application/vnd.kubernetes.protobuf");

#[tokio::test]
async fn an_object_and_a_long_list_are_the_same_in_protobuf_as_in_json() {
    let host = Host::start().await;
    for i in 0..300 {
        let map = config_map(&format!("m{i:03}"), json!({"n": i.to_string()}), &"v".repeat(900));
        host.put("configmaps", map).await;
    }
    let client = host.client().await;
    for path in [format!("{MAPS}/m007"), MAPS.to_owned(), format!("{MAPS}?limit=3")] {
        let (_, plain) = client.get(&path).await;
        let answer = client.send(Method::GET, &path, &[PROTOBUF], "").await;
        assert_eq!(answer.headers()["content-type"], PROTOBUF.1);
        let read = protobuf::decode(&body_bytes(answer).await).expect("a body");
        assert_eq!(read, plain, "{path}");
    }
    let packed = [PROTOBUF, ("accept-encoding", "gzip")];
    let answer = client.send(Method::GET, MAPS, &packed, "").await;
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let mut whole = Vec::new();
    let bytes = body_bytes(answer).await;
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut whole).expect("gzip");
    let (_, plain) = client.get(MAPS).await;
    assert_eq!(protobuf::decode(&whole), Ok(plain));
}

#[tokio::test]
async fn one_large_object_is_compressed_for_whoever_takes_it() {
    let host = Host::start().await;
    host.put("configmaps", config_map("big", json!({}), &"v".repeat(200_000))).await;
    host.put("configmaps", config_map("small", json!({}), "v")).await;
    let client = host.client().await;
    for (name, packed) in [("big", true), ("small", false)] {
        let path = format!("{MAPS}/{name}");
        let answer =
            client.send(Method::GET, &path, &[("accept-encoding", "br, gzip;q=0.5")], "").await;
        assert_eq!(answer.headers().contains_key("content-encoding"), packed, "{name}");
        let bytes = body_bytes(answer).await;
        assert!(bytes.len() < 10_000, "{}", bytes.len());
    }
    let (code, object) = client.get(&format!("{MAPS}/big")).await;
    assert_eq!((code, object["data"]["k"].as_str().map(str::len)), (StatusCode::OK, Some(200_000)));
}

#[tokio::test]
async fn a_watch_in_protobuf_is_framed_by_lengths() {
    let host = Host::start().await;
    host.put("configmaps", config_map("a", json!({}), "1")).await;
    let client = host.client().await;
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1");
    let answer = client.send(Method::GET, &path, &[PROTOBUF], "").await;
    let stream = "application/vnd.kubernetes.protobuf;stream=watch";
    assert_eq!(answer.headers()["content-type"], stream);
    let bytes = body_bytes(answer).await;
    let (length, event) = bytes.split_first_chunk::<4>().expect("a frame");
    assert_eq!(u32::from_be_bytes(*length) as usize, event.len());
    let object = event.windows(4).position(|window| *window == protobuf::MAGIC).expect("an object");
    let object = protobuf::decode(&event[object..]).expect("a body");
    assert_eq!((&object["kind"], &object["data"]["k"]), (&json!("ConfigMap"), &json!("1")));
    let answer = client.send(Method::GET, &path, &[("accept", "application/yaml")], "").await;
    assert_eq!(answer.status(), StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn refusals_are_written_as_the_client_asked() {
    let host = Host::start().await;
    let client = host.client().await;
    let answer = client.send(Method::GET, &format!("{MAPS}/no"), &[PROTOBUF], "").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let status = protobuf::decode(&body_bytes(answer).await).expect("a body");
    assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(404)));
    let yaml = [("accept", "application/yaml")];
    let answer = client.send(Method::GET, &format!("{MAPS}/no"), &yaml, "").await;
    assert_eq!(answer.headers()["content-type"], "application/yaml");
}

/// Sends a handshake and answers its head.
async fn shake<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut S, headers: &str) -> String {
    let request = format!(
        "GET {MAPS}?watch=true HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    socket.write_all(request.as_bytes()).await.expect("sends");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(socket.read_u8()).await.expect("a head"));
    }
    String::from_utf8(head).expect("text").to_lowercase()
}

/// The next message: its opcode and payload.
async fn message<S: AsyncRead + Unpin>(socket: &mut S) -> (u8, Vec<u8>) {
    let first = within(socket.read_u8()).await.expect("a frame");
    let length = match within(socket.read_u8()).await.expect("a length") {
        126 => usize::from(socket.read_u16().await.expect("a length")),
        127 => unreachable!("no event of these tests is that long"),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    within(socket.read_exact(&mut payload)).await.expect("a payload");
    (first & 0x0f, payload)
}

#[tokio::test]
async fn a_watch_runs_over_websocket_with_its_token_among_the_protocols() {
    let host = Host::start().await;
    let mut socket = host.tls(b"http/1.1").await;
    let token = URL_SAFE_NO_PAD.encode(ADMIN);
    let protocols = format!(
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: base64.binary.k8s.io, \
         base64url.bearer.authorization.k8s.io.{token}\r\n"
    );
    let head = shake(&mut socket, &protocols).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    assert!(head.contains("sec-websocket-protocol: base64.binary.k8s.io\r\n"), "{head}");
    host.put("configmaps", config_map("a", json!({}), "1")).await;
    let (opcode, payload) = message(&mut socket).await;
    let event: Value =
        serde_json::from_slice(&STANDARD.decode(payload).expect("base64")).expect("JSON");
    assert_eq!((opcode, &event["type"]), (1, &json!("ADDED")));
    // A ping is answered with what it says, and a farewell with one.
    socket.write_all(&[0x89, 0x82, 0, 0, 0, 0, b'h', b'i']).await.expect("sends");
    assert_eq!(message(&mut socket).await, (10, b"hi".to_vec()));
    socket.write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 232]).await.expect("sends");
    assert_eq!(message(&mut socket).await, (8, vec![3, 232]));
    assert_eq!(within(socket.read(&mut [0; 1])).await.ok(), Some(0));
}

#[tokio::test]
async fn a_websocket_without_protocols_carries_plain_json_and_hears_what_it_breaks() {
    let host = Host::start().await;
    host.put("configmaps", config_map("a", json!({}), "1")).await;
    let mut socket = host.tls(b"http/1.1").await;
    let headers = format!("Sec-WebSocket-Version: 13\r\nAuthorization: Bearer {ADMIN}\r\n");
    assert!(shake(&mut socket, &headers).await.starts_with("http/1.1 101 "));
    let (opcode, payload) = message(&mut socket).await;
    let event: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!((opcode, &event["object"]["metadata"]["name"]), (1, &json!("a")));
    // What is not masked breaks the protocol.
    socket.write_all(&[0x81, 0x01, b'x']).await.expect("sends");
    assert_eq!(message(&mut socket).await, (8, 1002_u16.to_be_bytes().to_vec()));
    let unread = |token: &str| {
        let protocol = format!("base64url.bearer.authorization.k8s.io.{token}");
        format!("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocol}\r\n")
    };
    for (headers, code) in [
        (format!("Sec-WebSocket-Version: 8\r\nAuthorization: Bearer {ADMIN}\r\n"), "400"),
        ("Sec-WebSocket-Version: 13\r\nAuthorization: Bearer wrong\r\n".to_owned(), "401"),
        // A token that cannot be read is a wrong one; it makes nobody anonymous.
        (unread("!"), "401"),
        (unread(""), "401"),
        (unread("IA"), "401"),
    ] {
        let mut socket = host.tls(b"http/1.1").await;
        assert!(shake(&mut socket, &headers).await.starts_with(&format!("http/1.1 {code} ")));
    }
}

#[tokio::test]
async fn a_websocket_that_answers_no_ping_is_cut() {
    let limits = Limits { ping_interval: Duration::from_millis(50), ..Limits::default() };
    let host = Host::start_with(limits, quadrille_store::Config::default()).await;
    let mut socket = host.tls(b"http/1.1").await;
    let headers = format!("Sec-WebSocket-Version: 13\r\nAuthorization: Bearer {ADMIN}\r\n");
    assert!(shake(&mut socket, &headers).await.starts_with("http/1.1 101 "));
    assert_eq!(message(&mut socket).await.0, 9);
    assert!(matches!(within(socket.read(&mut [0; 1])).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn requests_and_watches_are_counted() {
    let host = Host::start().await;
    let client = host.client().await;
    host.put("configmaps", config_map("a", json!({}), "1")).await;
    for _ in 0..3 {
        client.get(&format!("{MAPS}/a")).await;
    }
    client.get(&format!("{MAPS}?limit=1")).await;
    client.get("/api/v1/nothings").await;
    let watch = client.watch(&format!("{MAPS}?watch=true")).await;
    let (code, text) = client.get("/metrics").await;
    let text = text.as_str().expect("text");
    assert_eq!(code, StatusCode::OK);
    for line in [
        r#"apiserver_request_total{code="200",group="",resource="configmaps",verb="GET"} 3"#,
        r#"apiserver_request_total{code="200",group="",resource="configmaps",verb="LIST"} 1"#,
        r#"apiserver_request_total{code="404",group="",resource="",verb="OTHER"} 1"#,
        "apiserver_longrunning_requests 1",
        "quadrille_store_revision 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    drop(watch);
}
