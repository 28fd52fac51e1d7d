//! Questions below `/quadrille/`: who may ask, what arrives of a question, and how answers are sent.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use quadrille_kit::SystemClock;
use quadrille_kit::clock::BoxFuture;
use quadrille_registry::Status;
use quadrille_server::{Form, Insight, Limits, Parts, Question, Reply, ResourceAttributes};
use serde_json::json;
use support::{Client, Host, body_bytes};

const ALICE: (&str, &str) = ("authorization", "Bearer alice-token");
const ADMIN: (&str, &str) = ("authorization", "Bearer admin-token");

/// Answers what it was asked.
#[derive(Debug)]
struct Echo;

impl Insight for Echo {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Reply, Status>> {
        Box::pin(async move {
            if question.path == "pod" {
                let resource = ResourceAttributes {
                    resource: "pods",
                    namespace: "default",
                    name: "web",
                    ..ResourceAttributes::default()
                };
                question.rights.require("get", resource)?;
            }
            if question.form == Form::Lines {
                let lines = ["1\n", "2\n"].map(|line| Bytes::from_static(line.as_bytes()));
                return Ok(Reply::Lines(Box::pin(stream::iter(lines))));
            }
            Ok(Reply::Json(json!({
                "method": question.method.as_str(), "path": question.path,
                "query": question.query, "body": question.body.len(),
                "user": *question.actor.user,
            })))
        })
    }
}

async fn host() -> Host {
    let equip = |parts: &mut Parts, _: &_| parts.insight = Some(Arc::new(Echo));
    Host::bootstrapped(Limits::default(), Arc::new(SystemClock::default()), equip).await
}

async fn allow_alice(client: &Client, rule: serde_json::Value) {
    let of = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "asker"}, "rules": [rule]});
    let binding = json!({
        "metadata": {"name": "asker"}, "roleRef": {"kind": "ClusterRole", "name": "asker"},
        "subjects": [{"kind": "User", "name": "alice"}],
    });
    for (path, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let path = format!("{of}/{path}");
        let (code, made) = client.ask(Method::POST, &path, &[ADMIN], object.to_string()).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
    }
}

#[tokio::test]
async fn a_path_needs_its_rule_and_an_object_its_own() {
    let host = host().await;
    let client = host.client().await;
    let alice = async |method, path| client.ask(method, path, &[ALICE], "").await.0;
    assert_eq!(alice(Method::GET, "/quadrille/why").await, StatusCode::FORBIDDEN);
    allow_alice(&client, json!({"nonResourceURLs": ["/quadrille/*"], "verbs": ["get"]})).await;
    assert_eq!(alice(Method::GET, "/quadrille/why").await, StatusCode::OK);
    assert_eq!(alice(Method::POST, "/quadrille/plan").await, StatusCode::FORBIDDEN);
    let (code, refused) = client.ask(Method::GET, "/quadrille/pod", &[ALICE], "").await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert_eq!(
        refused["message"],
        "pods \"web\" is forbidden: User \"alice\" cannot get resource \"pods\" in API group \"\" \
         in the namespace \"default\""
    );
}

#[tokio::test]
async fn a_question_arrives_whole_and_its_answer_as_it_was_wanted() {
    let host = host().await;
    let client = host.client().await;
    let path = "/quadrille/runs/17?a=x%20y&b";
    let (code, told) = client.ask(Method::POST, path, &[ADMIN], "four").await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(
        told,
        json!({"method": "POST", "path": "runs/17", "query": [["a", "x y"], ["b", ""]],
            "body": 4, "user": "admin"})
    );
    let put = client.send(Method::PUT, path, &[], "").await;
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    let lines = client.send(Method::GET, path, &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    assert_eq!(body_bytes(lines).await, "1\n2\n");
}
