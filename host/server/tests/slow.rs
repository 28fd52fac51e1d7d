//! Claims about the slow: clients that take nothing of their answers, questions that wait, an issuer that does not answer.
//! Nobody else waits for them.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use quadrille_kit::SystemClock;
use quadrille_kit::clock::BoxFuture;
use quadrille_registry::{Reason, Status};
use quadrille_server::{
    Form, Insight, Limits, Oidc, OidcConfig, Parts, Question, Reply, Rights, Summary, identity,
};
use quadrille_store::{Key, Object};
use serde_json::{Value, json};
use support::{Client, Host, body_bytes, config_map, within};

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";
const ALICE: (&str, &str) = ("authorization", "Bearer alice-token");
const BOB: (&str, &str) = ("authorization", "Bearer bob-token");

async fn bootstrapped(limits: Limits, equip: impl FnOnce(&mut Parts, &identity::PemPair)) -> Host {
    Host::bootstrapped(limits, Arc::new(SystemClock::default()), equip).await
}

/// Waits until something is so.
async fn until(is_so: impl Fn() -> bool) {
    within(async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
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
    // Whoever takes an answer may be slow, and is asked where there is time for that.
    let patient = Host::start().await;
    for host in [&host, &patient] {
        for n in 0..20 {
            let value = "x".repeat(20_000);
            host.put("configmaps", config_map(&format!("m{n}"), json!({}), &value)).await;
        }
        host.put("configmaps", config_map("big", json!({}), &"x".repeat(200_000))).await;
    }
    let (stalled, taking) = (host.client_without_room().await, patient.client().await);
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

/// Answers `settled` never, and counts who asks.
#[derive(Debug, Default)]
struct Unsettled(Arc<AtomicUsize>);

impl Insight for Unsettled {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Reply, Status>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if question.path == "settled" {
                std::future::pending::<()>().await;
            }
            Ok(Reply::Json(json!({})))
        })
    }

    fn waits(&self, question: &Question) -> bool {
        question.path == "settled"
    }

    fn why(
        &self,
        _: Key,
        _: Option<String>,
        _: Form,
        _: Rights,
    ) -> BoxFuture<'_, Result<Reply, Status>> {
        Box::pin(async { Err(Status::new(Reason::NotFound, "no reasons")) })
    }

    fn summary(&self, _: Arc<Object>, _: Rights) -> BoxFuture<'_, Option<Summary>> {
        Box::pin(async { None })
    }

    fn revision(
        &self,
        _: u64,
        _: Duration,
        _: Rights,
    ) -> BoxFuture<'_, Result<Option<Value>, Status>> {
        Box::pin(async { Ok(None) })
    }
}

async fn allow_alice(host: &Host, client: &Client) {
    let of = "/apis/rbac.authorization.k8s.io/v1";
    let rule = json!({"nonResourceURLs": ["/quadrille/*"], "verbs": ["get"]});
    let role = json!({"metadata": {"name": "asker"}, "rules": [rule]});
    let binding = json!({
        "metadata": {"name": "asker"}, "roleRef": {"kind": "ClusterRole", "name": "asker"},
        "subjects": [{"kind": "User", "name": "alice"}],
    });
    for (path, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let answer =
            client.send(Method::POST, &format!("{of}/{path}"), &[], object.to_string()).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "at {}", host.address);
    }
}

#[tokio::test]
async fn questions_that_wait_take_no_seat_from_those_that_are_worked_on() {
    let limits = Limits {
        requests_max: 2,
        requests_per_user_max: 2,
        queue_wait: Duration::from_secs(2),
        ..Limits::default()
    };
    let asked = Arc::<AtomicUsize>::default();
    let insight = Arc::new(Unsettled(Arc::clone(&asked)));
    let host = bootstrapped(limits, |parts, _| parts.insight = Some(insight)).await;
    let client = host.client().await;
    allow_alice(&host, &client).await;
    for _ in 0..2 {
        let client = client.clone();
        host.supervisor.spawn_brief("asker", async move {
            let _never = client.ask(Method::GET, "/quadrille/settled", &[ALICE], "").await;
        });
    }
    until(|| asked.load(Ordering::SeqCst) == 2).await;
    for who in [BOB, ALICE] {
        let (code, told) = client.ask(Method::GET, "/version", &[who], "").await;
        assert_eq!(code, StatusCode::OK, "{who:?}: {told}");
    }
    let (code, _) = client.ask(Method::GET, "/quadrille/why", &[ALICE], "").await;
    assert_eq!(code, StatusCode::OK, "another question is answered");
    let (code, _) = client.ask(Method::GET, "/quadrille/settled", &[ALICE], "").await;
    assert_eq!(code, StatusCode::TOO_MANY_REQUESTS, "no more of one user wait than may");
}

/// A token that nobody has signed, of an issuer.
fn forged(issuer: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"alg": "ES256", "kid": "unknown"}));
    let claims = json!({"iss": issuer, "aud": "us", "sub": "zoe", "exp": i64::MAX});
    format!("{head}.{}.{}", part(claims), URL_SAFE_NO_PAD.encode("signature"))
}

#[tokio::test]
async fn no_more_wait_for_the_keys_of_an_issuer_than_may() {
    const PLACES: usize = 3;
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let issuer = format!("https://localhost:{}", silent.local_addr().expect("an address").port());
    let limits = Limits { queue_per_user_max: PLACES, ..Limits::default() };
    let host = bootstrapped(limits, |parts, authority| {
        let config = OidcConfig {
            issuer: issuer.clone(),
            client_id: "us".into(),
            authorities: authority.certificate.clone(),
            ..OidcConfig::default()
        };
        let oidc = Oidc::build(config, Arc::new(SystemClock::default())).expect("it is usable");
        parts.oidc = Some(Arc::new(oidc));
    })
    .await;
    let client = host.client().await;
    let authorization = format!("Bearer {}", forged(&issuer));
    let mut asked: FuturesUnordered<_> =
        (0..PLACES + 5).map(|_| client.send_as(&authorization, "/version")).collect();
    for _ in 0..5 {
        let answer = asked.next().await.expect("there are more");
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(asked.next().now_or_never().is_none(), "the others wait");
    let (code, _) = client.ask(Method::GET, "/version", &[ALICE], "").await;
    assert_eq!(code, StatusCode::OK);
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
