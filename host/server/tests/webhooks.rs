//! Claims about admission webhooks, each with a real HTTPS server on loopback that is asked.

mod support;

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use quadrille_kit::{Clock as _, SystemClock};
use quadrille_server::identity;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use support::{Client, Host, body_value};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/shop/configmaps";

/// A webhook server: what it does depends on the path, what it was asked is kept.
struct Hook {
    port: u16,
    ca_bundle: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    async fn start(host: &Host) -> Self {
        let now = SystemClock::default().now();
        let authority = identity::make_authority(now).expect("an authority");
        let mut names = identity::loopback_names();
        names.push("hook.shop.svc".to_owned());
        let pair =
            identity::make_server_certificate(&authority, &names, now).expect("a certificate");
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a usable certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let supervisor = host.supervisor.clone();
        host.supervisor.spawn_brief("webhook", async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                supervisor.spawn_brief("webhook call", async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = service_fn(move |request| answer(request, Arc::clone(&seen)));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    let _ended: Result<(), hyper::Error> = connection.await;
                });
            }
        });
        Self { port, ca_bundle: STANDARD.encode(&authority.certificate), asked }
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One webhook that is asked about new and changed `ConfigMaps`.
    fn webhook(&self, path: &str) -> Value {
        json!({
            "name": format!("{}.hook.example.com", path.trim_start_matches('/')),
            "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {
                "url": format!("https://127.0.0.1:{}{path}", self.port), "caBundle": self.ca_bundle,
            },
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                "operations": ["CREATE", "UPDATE"],
            }],
        })
    }
}

async fn answer(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<Value>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(review.clone());
    let uid = review.pointer("/request/uid").cloned().unwrap_or_default();
    let labels = review.pointer("/request/object/metadata/labels");
    let patch = |key: &str| {
        let labelled = labels.is_some_and(Value::is_object);
        let (path, value) = if labelled {
            (format!("/metadata/labels/{key}"), json!("yes"))
        } else {
            ("/metadata/labels".to_owned(), json!({key: "yes"}))
        };
        let patch = json!([{"op": "add", "path": path, "value": value}]).to_string();
        json!({
            "uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch),
            "warnings": [format!("{key} was added")],
        })
    };
    let response = match path.as_str() {
        "/mutate" => patch("seen"),
        "/other" => patch("other"),
        "/deny" => json!({"uid": uid, "allowed": false,
            "status": {"message": "not today", "code": 403, "reason": "Forbidden"}}),
        "/mute" => json!({"uid": uid, "allowed": false}),
        "/stranger" => json!({"uid": "somebody-else", "allowed": true}),
        "/slow" => std::future::pending().await,
        _ => json!({"uid": uid, "allowed": true}),
    };
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
    let code = if path == "/broken" { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let mut answer = Response::new(Full::new(Bytes::from(review.to_string())));
    *answer.status_mut() = code;
    Ok(answer)
}

async fn shop() -> (Host, Client) {
    let host = Host::start().await;
    let client = host.client().await;
    let shop = json!({"metadata": {"name": "shop", "labels": {"kind": "shop"}}});
    let (code, _) = post(&client, "/api/v1/namespaces", &shop).await;
    assert_eq!(code, StatusCode::CREATED);
    (host, client)
}

async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Response<Incoming> {
    let headers = [("content-type", "application/json")];
    client.send(method, path, &headers, body.to_string()).await
}

async fn post(client: &Client, path: &str, body: &Value) -> (StatusCode, Value) {
    let answer = send(client, Method::POST, path, body).await;
    (answer.status(), body_value(answer).await)
}

async fn configure(client: &Client, kind: &str, name: &str, webhooks: &[Value]) {
    let resource = format!("{}s", kind.to_lowercase());
    let body = json!({"metadata": {"name": name}, "webhooks": webhooks});
    let (code, answer) = post(client, &format!("{CONFIGURATIONS}/{resource}"), &body).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
}

async fn mutating(client: &Client, webhooks: &[Value]) {
    configure(client, "MutatingWebhookConfiguration", "m", webhooks).await;
}

async fn validating(client: &Client, webhooks: &[Value]) {
    configure(client, "ValidatingWebhookConfiguration", "v", webhooks).await;
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test]
async fn a_mutating_webhook_changes_what_is_stored() {
    let (host, client) = shop().await;
    let hook = Hook::start(&host).await;
    mutating(&client, &[hook.webhook("/mutate")]).await;
    let answer = send(&client, Method::POST, MAPS, &map("a")).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let warning = answer.headers().get("warning").expect("a warning").to_str().expect("text");
    assert!(warning.contains("seen was added"), "{warning}");
    let (_, stored) = client.get(&format!("{MAPS}/a")).await;
    assert_eq!(stored.pointer("/metadata/labels/seen"), Some(&json!("yes")));
    let asked = hook.asked();
    assert_eq!(asked.len(), 1, "asked once for one write");
    let request = asked[0].get("request").expect("a request");
    assert_eq!(request["operation"], "CREATE");
    assert_eq!(
        request["resource"],
        json!({"group": "", "version": "v1", "resource": "configmaps"})
    );
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["namespace"], "shop");
    assert_eq!(request["userInfo"]["username"], "admin");
    assert_eq!(request["object"]["data"]["k"], "v");
    assert_eq!(request["oldObject"], Value::Null);
    assert_eq!(request["dryRun"], false);
}

#[tokio::test]
async fn a_validating_webhook_sees_what_the_mutating_ones_left_and_refuses_in_its_own_words() {
    let (host, client) = shop().await;
    let hook = Hook::start(&host).await;
    mutating(&client, &[hook.webhook("/mutate")]).await;
    validating(&client, &[hook.webhook("/deny")]).await;
    let (code, status) = post(&client, MAPS, &map("a")).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert_eq!(
        status["message"],
        "admission webhook \"deny.hook.example.com\" denied the request: not today"
    );
    assert_eq!(status["reason"], "Forbidden");
    let asked = hook.asked();
    let seen = asked[1].pointer("/request/object/metadata/labels/seen");
    assert_eq!(seen, Some(&json!("yes")));
    let uid = asked[1].pointer("/request/object/metadata/uid").and_then(Value::as_str);
    assert!(uid.is_some_and(|uid| !uid.is_empty()), "a valid object has its uid");
    let (code, _) = client.get(&format!("{MAPS}/a")).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_refusal_without_words_is_a_bad_request() {
    let (host, client) = shop().await;
    let hook = Hook::start(&host).await;
    validating(&client, &[hook.webhook("/mute")]).await;
    let (code, status) = post(&client, MAPS, &map("a")).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert_eq!(
        status["message"],
        "admission webhook \"mute.hook.example.com\" denied the request without explanation"
    );
}

#[tokio::test]
async fn a_webhook_that_fails_refuses_or_lets_through_as_its_policy_says() {
    let (host, client) = shop().await;
    let hook = Hook::start(&host).await;
    for (path, why) in [
        ("/slow", "context deadline exceeded"),
        ("/broken", "an error on the server"),
        ("/stranger", "received invalid webhook response: expected response.uid="),
    ] {
        let mut webhook = hook.webhook(path);
        webhook["timeoutSeconds"] = 1.into();
        validating(&client, &[webhook.clone()]).await;
        let (code, status) = post(&client, MAPS, &map("a")).await;
        assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        let message = status["message"].as_str().unwrap_or_default();
        let name = path.trim_start_matches('/');
        let begin = format!(
            "Internal error occurred: failed calling webhook \"{name}.hook.example.com\": "
        );
        assert!(message.starts_with(&begin) && message.contains(why), "{message}");
        webhook["failurePolicy"] = "Ignore".into();
        let path = format!("{CONFIGURATIONS}/validatingwebhookconfigurations/v");
        let merge = [("content-type", "application/merge-patch+json")];
        let body = json!({"webhooks": [webhook]}).to_string();
        let answer = client.send(Method::PATCH, &path, &merge, body).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let (code, _) = post(&client, MAPS, &map(name)).await;
        assert_eq!(code, StatusCode::CREATED, "{name}");
        send(&client, Method::DELETE, &path, &json!({})).await;
    }
}

#[tokio::test]
async fn a_webhook_with_another_certificate_is_not_asked() {
    let (host, client) = shop().await;
    let (hook, other) = (Hook::start(&host).await, Hook::start(&host).await);
    let mut webhook = hook.webhook("/allow");
    webhook["clientConfig"]["caBundle"] = other.ca_bundle.clone().into();
    validating(&client, &[webhook]).await;
    let (code, status) = post(&client, MAPS, &map("a")).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(status["message"].as_str().is_some_and(|text| text.contains("tls: ")), "{status}");
    assert!(hook.asked().is_empty());
}

#[tokio::test]
async fn a_webhook_is_asked_about_what_it_selects_and_nothing_else() {
    let (host, client) = shop().await;
    let hook = Hook::start(&host).await;
    let mut by_object = hook.webhook("/deny");
    by_object["objectSelector"] = json!({"matchLabels": {"strict": "1"}});
    let mut by_namespace = hook.webhook("/mute");
    by_namespace["namespaceSelector"] = json!({"matchLabels": {"kind": "bank"}});
    let mut by_condition = hook.webhook("/stranger");
    by_condition["matchConditions"] =
        json!([{"name": "named-b", "expression": "object.metadata.name == 'b'"}]);
    validating(&client, &[by_object, by_namespace, by_condition]).await;
    let (code, _) = post(&client, MAPS, &map("a")).await;
    assert_eq!(code, StatusCode::CREATED);
    assert!(hook.asked().is_empty(), "none of the three selects it");
    let (code, _) = post(&client, MAPS, &map("b")).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "the condition holds");
    let mut strict = map("c");
    strict["metadata"]["labels"] = json!({"strict": "1"});
    let (code, _) = post(&client, MAPS, &strict).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "the labels match");
    let secrets = "/api/v1/namespaces/shop/secrets";
    let (code, _) = post(&client, secrets, &json!({"metadata": {"name": "s"}})).await;
    assert_eq!(code, StatusCode::CREATED, "no rule names Secrets");
    assert_eq!(hook.asked().len(), 2);
}

#[tokio::test]
async fn a_webhook_that_wants_it_is_asked_again_when_another_changed_the_object() {
    let (host, client) = shop().await;
    let hook = Hook::start(&host).await;
    let mut first = hook.webhook("/first");
    first["reinvocationPolicy"] = "IfNeeded".into();
    mutating(&client, &[first, hook.webhook("/other")]).await;
    let (code, made) = post(&client, MAPS, &map("a")).await;
    assert_eq!(code, StatusCode::CREATED);
    assert_eq!(made.pointer("/metadata/labels/other"), Some(&json!("yes")));
    let asked = hook.asked();
    let labels: Vec<bool> = asked
        .iter()
        .map(|review| review.pointer("/request/object/metadata/labels/other").is_some())
        .collect();
    assert_eq!(labels, [false, false, true], "first, other, and first again with the change");
}

#[tokio::test]
async fn a_dry_run_asks_only_webhooks_without_side_effects() {
    let (host, client) = shop().await;
    let hook = Hook::start(&host).await;
    validating(&client, &[hook.webhook("/allow")]).await;
    let (code, _) = post(&client, &format!("{MAPS}?dryRun=All"), &map("a")).await;
    assert_eq!(code, StatusCode::CREATED);
    assert_eq!(hook.asked()[0].pointer("/request/dryRun"), Some(&json!(true)));
}

#[tokio::test]
async fn a_webhook_behind_a_service_is_found_by_its_endpoints() {
    let (host, client) = shop().await;
    let hook = Hook::start(&host).await;
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]}});
    let (code, _) = post(&client, "/api/v1/namespaces/shop/services", &service).await;
    assert_eq!(code, StatusCode::CREATED);
    let mut webhook = hook.webhook("/deny");
    webhook["clientConfig"] = json!({
        "service": {"namespace": "shop", "name": "hook", "path": "/deny"}, "caBundle": hook.ca_bundle,
    });
    validating(&client, &[webhook]).await;
    let (_, status) = post(&client, MAPS, &map("a")).await;
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.contains("no endpoints available for service \"hook\""), "{message}");
    let endpoints = json!({"metadata": {"name": "hook"}, "subsets": [
        {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": hook.port}]},
    ]});
    host.put("endpoints", {
        let mut stored = endpoints.clone();
        stored["metadata"]["namespace"] = "shop".into();
        stored
    })
    .await;
    let (code, status) = post(&client, MAPS, &map("a")).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{status}");
    assert_eq!(hook.asked().len(), 1);
}
