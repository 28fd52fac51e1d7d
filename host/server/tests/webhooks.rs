//! Claims about admission webhooks, each with a real HTTPS server on loopback that is asked.

mod support;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use support::hook::{Hook, Reply};
use support::{Client, Host, body_value};

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/shop/configmaps";

/// The webhook server of these tests: what it does depends on the path.
async fn start(host: &Host) -> Hook {
    Hook::start(host, Arc::new(answer)).await
}

/// One webhook that is asked about new and changed `ConfigMaps`.
fn webhook(hook: &Hook, path: &str) -> Value {
    json!({
        "name": format!("{}.hook.example.com", path.trim_start_matches('/')),
        "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {
            "url": format!("https://127.0.0.1:{}{path}", hook.port), "caBundle": hook.ca_bundle,
        },
        "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
            "operations": ["CREATE", "UPDATE"],
        }],
    })
}

fn answer(path: &str, review: &Value) -> Reply {
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
    let response = match path {
        "/mutate" => patch("seen"),
        "/other" => patch("other"),
        "/deny" => json!({"uid": uid, "allowed": false,
            "status": {"message": "not today", "code": 403, "reason": "Forbidden"}}),
        "/mute" => json!({"uid": uid, "allowed": false}),
        "/stranger" => json!({"uid": "somebody-else", "allowed": true}),
        "/slow" => return Reply::Never,
        _ => json!({"uid": uid, "allowed": true}),
    };
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
    if path == "/broken" {
        return Reply::Error(review);
    }
    Reply::Json(review)
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
    let hook = start(&host).await;
    mutating(&client, &[webhook(&hook, "/mutate")]).await;
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
    let hook = start(&host).await;
    mutating(&client, &[webhook(&hook, "/mutate")]).await;
    validating(&client, &[webhook(&hook, "/deny")]).await;
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
    let hook = start(&host).await;
    validating(&client, &[webhook(&hook, "/mute")]).await;
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
    let hook = start(&host).await;
    for (path, seconds, why) in [
        ("/slow", 1, "context deadline exceeded"),
        ("/broken", 30, "an error on the server"),
        ("/stranger", 30, "received invalid webhook response: expected response.uid="),
    ] {
        let mut webhook = webhook(&hook, path);
        webhook["timeoutSeconds"] = seconds.into();
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
    let (hook, other) = (start(&host).await, start(&host).await);
    let mut webhook = webhook(&hook, "/allow");
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
    let hook = start(&host).await;
    let mut by_object = webhook(&hook, "/deny");
    by_object["objectSelector"] = json!({"matchLabels": {"strict": "1"}});
    let mut by_namespace = webhook(&hook, "/mute");
    by_namespace["namespaceSelector"] = json!({"matchLabels": {"kind": "bank"}});
    let mut by_condition = webhook(&hook, "/stranger");
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
    let hook = start(&host).await;
    let mut first = webhook(&hook, "/first");
    first["reinvocationPolicy"] = "IfNeeded".into();
    mutating(&client, &[first, webhook(&hook, "/other")]).await;
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
    let hook = start(&host).await;
    validating(&client, &[webhook(&hook, "/allow")]).await;
    let (code, _) = post(&client, &format!("{MAPS}?dryRun=All"), &map("a")).await;
    assert_eq!(code, StatusCode::CREATED);
    assert_eq!(hook.asked()[0].pointer("/request/dryRun"), Some(&json!(true)));
}

#[tokio::test]
async fn a_webhook_behind_a_service_is_found_by_its_endpoints() {
    let (host, client) = shop().await;
    let hook = start(&host).await;
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]}});
    let (code, _) = post(&client, "/api/v1/namespaces/shop/services", &service).await;
    assert_eq!(code, StatusCode::CREATED);
    let mut webhook = webhook(&hook, "/deny");
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

#[tokio::test]
async fn webhooks_see_posts_to_subresources_as_what_they_are() {
    let (host, client) = shop().await;
    let hook = start(&host).await;
    let pod = json!({
        "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let pods = "/api/v1/namespaces/shop/pods";
    assert_eq!(post(&client, pods, &pod).await.0, StatusCode::CREATED);
    let rules = |operations: Value, resources: Value| json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": operations, "resources": resources}]);
    let mut deletions = webhook(&hook, "/deny");
    deletions["rules"] = rules(json!(["DELETE"]), json!(["pods"]));
    let mut posts = webhook(&hook, "/watch");
    posts["rules"] = rules(
        json!(["CREATE"]),
        json!(["pods/*", "bindings", "serviceaccounts/token", "selfsubjectaccessreviews"]),
    );
    validating(&client, &[deletions, posts]).await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let path = format!("{pods}/p/binding");
    assert_eq!(post(&client, &path, &binding).await.0, StatusCode::CREATED);
    let path = "/api/v1/namespaces/shop/bindings";
    assert_eq!(post(&client, path, &binding).await.0, StatusCode::CONFLICT, "it is bound");
    let token = "/api/v1/namespaces/shop/serviceaccounts/default/token";
    let asks = json!({"spec": {"audiences": ["a"]}});
    let (code, answer) = post(&client, token, &asks).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let asks = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    assert_eq!(post(&client, review, &asks).await.0, StatusCode::CREATED);
    let (_, bound) = client.get(&format!("{pods}/p")).await;
    assert_eq!(bound.pointer("/spec/nodeName"), Some(&json!("n")));
    let eviction = json!({"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0}});
    let (code, answer) = post(&client, &format!("{pods}/p/eviction"), &eviction).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    let seen: Vec<Value> = hook.asked().iter().map(|review| seen(&review["request"])).collect();
    assert_eq!(
        seen,
        [
            json!(["Binding", "pods", "binding", "p", "shop", "v1", "CREATE"]),
            json!(["Binding", "bindings", null, "p", "shop", "v1", "CREATE"]),
            json!([
                "TokenRequest",
                "serviceaccounts",
                "token",
                "default",
                "shop",
                "authentication.k8s.io/v1",
                "CREATE"
            ]),
            json!([
                "SelfSubjectAccessReview",
                "selfsubjectaccessreviews",
                null,
                null,
                null,
                "authorization.k8s.io/v1",
                "CREATE"
            ]),
            json!(["Eviction", "pods", "eviction", "p", "shop", "policy/v1", "CREATE"]),
        ]
    );
    assert_eq!(client.get(&format!("{pods}/p")).await.0, StatusCode::NOT_FOUND);
}

/// What a request says of its subject, less the object's fields.
fn seen(request: &Value) -> Value {
    let object = &request["object"];
    assert_eq!(request["kind"]["kind"], object["kind"]);
    json!([
        object["kind"],
        request["resource"]["resource"],
        request["subResource"],
        request["name"],
        request["namespace"],
        object["apiVersion"],
        request["operation"]
    ])
}

#[tokio::test]
async fn a_webhook_may_refuse_an_eviction_and_change_a_binding() {
    let (host, client) = shop().await;
    let hook = start(&host).await;
    let pods = "/api/v1/namespaces/shop/pods";
    let pod = json!({
        "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    assert_eq!(post(&client, pods, &pod).await.0, StatusCode::CREATED);
    let rules = |resource: &str| json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}]);
    let (mut deny, mut mutate) = (webhook(&hook, "/deny"), webhook(&hook, "/mutate"));
    deny["rules"] = rules("pods/eviction");
    mutate["rules"] = rules("pods/binding");
    validating(&client, &[deny]).await;
    mutating(&client, &[mutate]).await;
    let eviction = json!({"metadata": {"name": "p"}});
    let (code, status) = post(&client, &format!("{pods}/p/eviction"), &eviction).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{status}");
    let binding = json!({"metadata": {"name": "p"}, "target": {"name": "n"}});
    let (code, answer) = post(&client, &format!("{pods}/p/binding"), &binding).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    let (_, bound) = client.get(&format!("{pods}/p")).await;
    assert_eq!(bound.pointer("/metadata/labels/seen"), Some(&json!("yes")), "{bound}");
}

#[tokio::test]
async fn writes_to_status_and_scale_are_seen_as_updates_of_those() {
    let (host, client) = shop().await;
    let hook = start(&host).await;
    let path = "/apis/apps/v1/namespaces/shop/deployments";
    let template = json!({
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let deployment = json!({
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    });
    assert_eq!(post(&client, path, &deployment).await.0, StatusCode::CREATED);
    let rules = |resources: &[&str]| json!([{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": resources}]);
    let (mut all, mut scales) = (webhook(&hook, "/all"), webhook(&hook, "/scales"));
    all["rules"] = rules(&["deployments/status", "*/scale"]);
    scales["rules"] = rules(&["deployments"]);
    validating(&client, &[all, scales]).await;
    let merge = [("content-type", "application/merge-patch+json")];
    for (below, patch) in [
        ("scale", json!({"spec": {"replicas": 3}})),
        ("status", json!({"status": {"replicas": 1}})),
    ] {
        let path = format!("{path}/d/{below}");
        let answer = client.send(Method::PATCH, &path, &merge, patch.to_string()).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let seen: Vec<Value> = hook.asked().iter().map(|review| seen(&review["request"])).collect();
    assert_eq!(
        seen,
        [
            json!(["Scale", "deployments", "scale", "d", "shop", "autoscaling/v1", "UPDATE"]),
            json!(["Deployment", "deployments", "status", "d", "shop", "apps/v1", "UPDATE"]),
        ]
    );
}
