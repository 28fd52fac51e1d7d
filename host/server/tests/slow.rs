//! Claims about the slow: clients that take nothing of their answers. Nobody else waits for them.

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use quadrille_kit::SystemClock;
use quadrille_server::{Limits, Parts, identity};
use serde_json::json;
use support::{Host, body_bytes, config_map, within};

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";
const ALICE: (&str, &str) = ("authorization", "Bearer alice-token");
const BOB: (&str, &str) = ("authorization", "Bearer bob-token");

async fn bootstrapped(limits: Limits, equip: impl FnOnce(&mut Parts, &identity::PemPair)) -> Host {
    Host::bootstrapped(limits, Arc::new(SystemClock::default()), equip).await
}

/// Whether an answer is cut that its client has no room for.
async fn is_cut(answer: Response<Incoming>) -> bool {
    let mut body = answer.into_body();
    matches!(within(body.frame()).await, Some(Err(_)))
}

#[tokio::test]
async fn an_answer_that_is_sent_whole_is_cut_when_nobody_takes_it() {
    let limits = Limits { stall_timeout: Duration::from_millis(200), ..Limits::default() };
    let host = Host::start_with(limits, quadrille_store::Config::default()).await;
    for n in 0..20 {
        let value = "x".repeat(20_000);
        host.put("configmaps", config_map(&format!("m{n}"), json!({}), &value)).await;
    }
    host.put("configmaps", config_map("big", json!({}), &"x".repeat(200_000))).await;
    let (stalled, taking) = (host.client_without_room().await, host.client().await);
    let (list, one) = (MAPS.to_owned(), format!("{MAPS}/big"));
    for (path, accept) in [
        (format!("{MAPS}?pretty=1"), "application/json"),
        (list.clone(), "application/yaml"),
        (list, "application/vnd.kubernetes.protobuf"),
        (one.clone(), "application/yaml"),
        (one, "application/json"),
        ("/openapi/v2".to_owned(), "application/json"),
    ] {
        let headers = [("accept", accept)];
        let answer = stalled.send(Method::GET, &path, &headers, "").await;
        assert_eq!(answer.status(), StatusCode::OK, "{path} {accept}");
        assert!(is_cut(answer).await, "{path} {accept}");
        // Whoever takes it gets it, and knows before how much it is.
        let answer = taking.send(Method::GET, &path, &headers, "").await;
        let length = answer.headers()["content-length"].to_str().expect("digits").to_owned();
        assert_eq!(body_bytes(answer).await.len().to_string(), length, "{path} {accept}");
    }
}

#[tokio::test]
async fn who_leaves_answers_untaken_waits_and_nobody_else_does() {
    let limits = Limits {
        untaken_bytes_per_user_max: 1,
        queue_wait: Duration::from_millis(200),
        ..Limits::default()
    };
    let host = bootstrapped(limits, |_, _| {}).await;
    let (stalled, client) = (host.client_without_room().await, host.client().await);
    let ask = async |who| client.ask(Method::GET, "/version", &[who], "").await.0;
    let untaken = stalled.send_as(ALICE.1, "/openapi/v2").await;
    assert_eq!(untaken.status(), StatusCode::OK);
    assert_eq!(ask(ALICE).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(BOB).await, StatusCode::OK);
    drop(untaken);
    within(async { while ask(ALICE).await != StatusCode::OK {} }).await;
}
