//! Questions below `/quadrille/`: who may ask, what arrives of a question, and how answers are sent.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use quadrille_kit::SystemClock;
use quadrille_kit::clock::BoxFuture;
use quadrille_object::Timestamp;
use quadrille_registry::Status;
use quadrille_server::{
    Form, Insight, Limits, Parts, Question, Reply, ResourceAttributes, Rights, Summary,
};
use quadrille_store::{Key, Object};
use serde_json::{Value, json};
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

    fn why(
        &self,
        object: Key,
        field: Option<String>,
        _: Form,
        _: Rights,
    ) -> BoxFuture<'_, Result<Reply, Status>> {
        let told = format!("{object} {}", field.unwrap_or_default());
        Box::pin(async move { Ok(Reply::Text(told)) })
    }

    fn summary(&self, object: Arc<Object>) -> BoxFuture<'_, Option<Summary>> {
        let (message, revision) = (format!("of {}", object.key), object.revision);
        Box::pin(async move { Some(Summary { message, at: Timestamp(0), revision }) })
    }

    fn revision(&self, number: u64, _: Duration) -> BoxFuture<'_, Result<Option<Value>, Status>> {
        let object = json!({
            "apiVersion": "quadrille.dev/v1", "kind": "Revision",
            "metadata": {"name": number.to_string(), "resourceVersion": "7"},
            "status": {"conditions": [{"type": "Settled", "status": "True"}]},
        });
        Box::pin(async move { Ok((number < 100).then_some(object)) })
    }
}

async fn host() -> Host {
    let equip = |parts: &mut Parts, _: &_| parts.insight = Some(Arc::new(Echo));
    Host::bootstrapped(Limits::default(), Arc::new(SystemClock::default()), equip).await
}

async fn allow_alice(client: &Client, rule: Value) {
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

#[tokio::test]
async fn why_is_below_every_object_for_those_who_may() {
    let host = host().await;
    let client = host.client().await;
    let path = "/api/v1/namespaces/default/why?field=status.phase";
    assert_eq!(client.get(path).await, (StatusCode::OK, json!("namespaces/default status.phase")));
    let path = "/apis/apps/v1/namespaces/default/deployments/web/why";
    assert_eq!(client.get(path).await.1, json!("deployments.apps/default/web "));
    assert_eq!(client.ask(Method::GET, path, &[ALICE], "").await.0, StatusCode::FORBIDDEN);
    let rule = json!({"apiGroups": ["apps"], "resources": ["deployments/why"], "verbs": ["get"]});
    allow_alice(&client, rule).await;
    assert_eq!(client.ask(Method::GET, path, &[ALICE], "").await.0, StatusCode::OK);
    assert_eq!(client.get("/api/v1/namespaces/default/pods/why").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn events_about_one_object_get_a_summary_and_no_others_do() {
    let host = host().await;
    let client = host.client().await;
    let (_, namespace) = client.get("/api/v1/namespaces/default").await;
    let uid = namespace["metadata"]["uid"].as_str().expect("a uid");
    let about = format!(
        "involvedObject.kind=Namespace,involvedObject.name=default,involvedObject.namespace=,\
         involvedObject.uid={uid}"
    );
    let of = async |selector: &str| {
        let selector = selector.replace('=', "%3D");
        let path = format!("/api/v1/events?limit=500&fieldSelector={selector}");
        let (code, list) = client.get(&path).await;
        assert_eq!(code, StatusCode::OK, "{list}");
        let items = list["items"].as_array().expect("items").iter();
        let told = items.map(|item| item["message"].as_str().unwrap_or_default().to_owned());
        told.collect::<Vec<_>>()
    };
    assert_eq!(of(&about).await, ["of namespaces/default"]);
    let of_any_kind = about.replace("involvedObject.kind=Namespace,", "");
    assert_eq!(of(&of_any_kind).await, ["of namespaces/default"]);
    assert!(of(&about.replace(uid, "other")).await.is_empty());
    assert!(of("involvedObject.name=default").await.is_empty());
    let (_, all) = client.get("/api/v1/events").await;
    assert_eq!(all["items"], json!([]));
}

#[tokio::test]
async fn a_revision_is_read_listed_and_watched_by_its_number() {
    let host = host().await;
    let client = host.client().await;
    let path = "/apis/quadrille.dev/v1/revisions";
    let (code, one) = client.get(&format!("{path}/17")).await;
    assert_eq!((code, &one["metadata"]["name"]), (StatusCode::OK, &json!("17")));
    assert_eq!(client.get(&format!("{path}/100")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(client.get(&format!("{path}/x")).await.0, StatusCode::NOT_FOUND);
    let (_, list) = client.get(&format!("{path}?fieldSelector=metadata.name%3D17")).await;
    assert_eq!((&list["kind"], &list["items"][0]), (&json!("RevisionList"), &one));
    assert_eq!(client.get(path).await.1["items"], json!([]));
    let watch = "watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3D17";
    let mut events = client.watch(&format!("{path}?{watch}&resourceVersion=5")).await;
    let event = events.next().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]), (&json!("MODIFIED"), &one));
    assert_eq!(events.next().await, None);
    let initial =
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = client.watch(&format!("{path}?{watch}&{initial}")).await;
    assert_eq!(events.next().await.expect("an event")["type"], "ADDED");
    assert_eq!(events.next().await.expect("an event")["type"], "BOOKMARK");
    let made = client.send(Method::POST, path, &[], one.to_string()).await;
    assert_eq!(made.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn every_write_says_its_revision() {
    let host = host().await;
    let client = host.client().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let number = |answer: &http::Response<hyper::body::Incoming>| {
        let header = answer.headers().get("quadrille-revision").expect("the header");
        header.to_str().expect("a number").parse::<u64>().expect("a number")
    };
    for name in ["a", "b", "c"] {
        let object = json!({"metadata": {"name": name}}).to_string();
        let made = client.send(Method::POST, path, &[], object).await;
        assert_eq!(number(&made), host.store.revision().0);
    }
    let gone = client.send(Method::DELETE, &format!("{path}/a"), &[], "").await;
    assert_eq!(number(&gone), host.store.revision().0);
    let gone = client.send(Method::DELETE, path, &[], "").await;
    assert_eq!(number(&gone), host.store.revision().0);
}
