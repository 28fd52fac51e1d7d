//! Claims about clients that do not behave: each gets its answer or its end, and nobody else notices.

mod support;

use std::time::Duration;

use http::{Method, StatusCode};
use quadrille_server::Limits;
use serde_json::json;
use support::{Host, body_value, config_map, within};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";

async fn host_with(limits: Limits) -> Host {
    Host::start_with(limits, quadrille_store::Config::default()).await
}

/// A host that waits for no head for long: for as long as a client needs that means well, on a machine that is busy.
async fn impatient() -> Host {
    host_with(Limits { head_timeout: Duration::from_secs(2), ..Limits::default() }).await
}

/// Reads until the other side ends, well or badly.
async fn read_to_end(from: &mut (impl AsyncRead + Unpin), into: &mut Vec<u8>) {
    if let Err(error) = within(from.read_to_end(into)).await {
        // A reset is an end as good as any here; what counts is that it came.
        assert_ne!(error.kind(), std::io::ErrorKind::TimedOut);
    }
}

async fn still_serves(host: &Host) {
    let (code, _) = host.client().await.get("/readyz").await;
    assert_eq!(code, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_closed() {
    let host = impatient().await;
    let mut slow = host.tls(b"http/1.1").await;
    slow.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nx-slow:").await.expect("writes");
    let mut rest = Vec::new();
    read_to_end(&mut slow, &mut rest).await;
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    still_serves(&host).await;
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_closed() {
    let host = impatient().await;
    let mut silent = TcpStream::connect(host.address).await.expect("connects");
    let mut rest = Vec::new();
    read_to_end(&mut silent, &mut rest).await;
    assert!(rest.is_empty());
    let mut plain = TcpStream::connect(host.address).await.expect("connects");
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("writes");
    read_to_end(&mut plain, &mut rest).await;
    still_serves(&host).await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_refused() {
    let limits = Limits { body_timeout: Duration::from_millis(300), ..Limits::default() };
    let host = host_with(limits).await;
    let mut slow = host.tls(b"http/1.1").await;
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin-token\r\n\
         content-length: 100\r\n\r\n{{\"kind\":"
    );
    slow.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    read_to_end(&mut slow, &mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    still_serves(&host).await;
}

#[tokio::test]
async fn a_half_closed_client_harms_nobody() {
    let host = Host::start().await;
    host.put("configmaps", config_map("a", json!({}), "1")).await;
    let mut half = host.tls(b"http/1.1").await;
    let head = format!(
        "GET {MAPS}?watch=true HTTP/1.1\r\nhost: x\r\nauthorization: Bearer admin-token\r\n\r\n"
    );
    half.write_all(head.as_bytes()).await.expect("writes");
    half.shutdown().await.expect("half closes");
    let mut rest = Vec::new();
    read_to_end(&mut half, &mut rest).await;
    host.put("configmaps", config_map("b", json!({}), "1")).await;
    still_serves(&host).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let host = Host::start().await;
    let client = host.client().await;
    let headers = [("content-type", "application/json")];
    let body = vec![b' '; 3 * 1024 * 1024 + 1];
    let answer = client.send(Method::POST, MAPS, &headers, body).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(body_value(answer).await["reason"], "RequestEntityTooLarge");
    still_serves(&host).await;
}

#[tokio::test]
async fn malformed_bodies_are_400_and_unknown_types_415() {
    let host = Host::start().await;
    let client = host.client().await;
    let json = "application/json";
    for (content_type, body, code) in [
        (json, "{", 400),
        (json, "hello", 400),
        (json, "[]", 400),
        (json, "", 400),
        (json, "{\"apiVersion\":\"v1\",\"kind\":7}", 400),
        (json, "{\"a\":1}x", 400),
        (json, "\u{0}", 400),
        ("application/yaml", "a: b: c", 400),
        ("text/plain", "{}", 415),
        ("application/json;;;", "{}", 415),
        ("/", "{}", 415),
    ] {
        let headers = [("content-type", content_type)];
        let answer = client.send(Method::POST, MAPS, &headers, body).await;
        assert_eq!(answer.status().as_u16(), code, "{content_type} {body:?}");
        assert_eq!(body_value(answer).await["kind"], "Status");
    }
    let deep = "[".repeat(100_000);
    let answer = client.send(Method::POST, MAPS, &[("content-type", json)], deep).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let path = format!("{MAPS}/a");
    let answer = client.send(Method::PATCH, &path, &[("content-type", json)], "{}").await;
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    still_serves(&host).await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_off_and_told_so() {
    let store = quadrille_store::Config {
        history_bytes_max: 256 * 1024,
        recent_changes_max: 4,
        ..quadrille_store::Config::default()
    };
    let host = Host::start_with(Limits::default(), store).await;
    let client = host.client().await;
    let mut events = client.watch(&format!("{MAPS}?watch=true")).await;
    // Far more than windows and buffers between the two hold, and than the history keeps.
    let value = "x".repeat(16 * 1024);
    for i in 0..1500 {
        host.put("configmaps", config_map(&format!("m{}", i % 10), json!({}), &value)).await;
    }
    host.store.shrink().await.expect("compacts");
    let mut last = String::new();
    let mut count = 0;
    while let Some(event) = events.next().await {
        count += 1;
        last = format!("{} {}", event["type"], event["object"]["code"]);
    }
    assert_eq!(last, "\"ERROR\" 410", "after {count} events");
    assert!(count < 1500);
    still_serves(&host).await;
}
