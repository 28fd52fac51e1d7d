//! What other parts answer: who may ask, what arrives of a question below `/quadrille/` and how answers are sent; who may
//! have the code and the logs of plugins.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, SystemClock};
use quadrille_object::Timestamp;
use quadrille_registry::Status;
use quadrille_server::{
    Form, Insight, Limits, LogOptions, LogStream, Parts, PluginUploads, Question, Reply,
    ResourceAttributes, Rights, Summary, Upload,
};
use quadrille_store::{Key, Object};
use serde_json::{Value, json};
use support::{Client, Host, LateClock, body_bytes};

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

    fn summary(&self, object: Arc<Object>, _: Rights) -> BoxFuture<'_, Option<Summary>> {
        let (message, revision) = (format!("of {}", object.key), object.revision);
        Box::pin(async move { Some(Summary { message, at: Timestamp(0), revision }) })
    }

    fn revision(
        &self,
        number: u64,
        _: Duration,
        _: Rights,
    ) -> BoxFuture<'_, Result<Option<Value>, Status>> {
        let object = json!({
            "apiVersion": "quadrille.dev/v1", "kind": "Revision",
            "metadata": {"name": number.to_string(), "resourceVersion": "7"},
            "status": {"conditions": [{"type": "Settled", "status": "True"}]},
        });
        Box::pin(async move { Ok((number < 100).then_some(object)) })
    }
}

/// Has the code and the log of every plugin, and takes what it is given.
#[derive(Debug)]
struct Shelf;

impl PluginUploads for Shelf {
    fn upload(&self, upload: Upload) -> BoxFuture<'_, Result<Value, Status>> {
        Box::pin(async move { Ok(json!({"taken": upload.plugin})) })
    }

    fn download<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Bytes, Status>> {
        Box::pin(async { Ok(Bytes::from_static(b"code")) })
    }

    fn log<'a>(&'a self, _: &'a str, _: LogOptions) -> BoxFuture<'a, Result<LogStream, Status>> {
        let lines: LogStream = Box::pin(stream::iter([Bytes::from_static(b"line\n")]));
        Box::pin(async { Ok(lines) })
    }
}

async fn host() -> Host {
    host_by(Arc::new(SystemClock::default())).await
}

async fn host_by(clock: Arc<dyn Clock>) -> Host {
    let equip = |parts: &mut Parts, _: &_| {
        parts.insight = Some(Arc::new(Echo));
        parts.uploads = Some(Arc::new(Shelf));
    };
    Host::bootstrapped(Limits::default(), clock, equip).await
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
async fn rights_in_a_namespace_lead_to_nothing_that_lies_in_none() {
    let host = host().await;
    let client = host.client().await;
    let everything = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    let of = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"metadata": {"name": "owner"}, "rules": [everything]});
    let binding = json!({
        "metadata": {"name": "owner"}, "roleRef": {"kind": "Role", "name": "owner"},
        "subjects": [{"kind": "User", "name": "alice"}],
    });
    for (path, object) in [("roles", role), ("rolebindings", binding)] {
        let path = format!("{of}/{path}");
        let (code, made) = client.ask(Method::POST, &path, &[ADMIN], object.to_string()).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
    }
    let wasm = ("content-type", "application/wasm");
    for place in ["namespaces/default/plugins", "watch/namespaces/default/plugins"] {
        for (method, sub) in [
            (Method::GET, "log"),
            (Method::GET, "component"),
            (Method::PUT, "component"),
            (Method::POST, "component"),
            (Method::GET, "why"),
        ] {
            let path = format!("/apis/quadrille.dev/v1/{place}/p/{sub}");
            let (code, told) = client.ask(method.clone(), &path, &[ALICE, wasm], "code").await;
            assert_eq!(code, StatusCode::NOT_FOUND, "{method} {path}: {told}");
        }
    }
    let path = "/apis/quadrille.dev/v1/namespaces/default/clusterroles/admin/why";
    assert_eq!(client.ask(Method::GET, path, &[ALICE], "").await.0, StatusCode::NOT_FOUND);
    let path = "/apis/quadrille.dev/v1/plugins/p/log";
    assert_eq!(client.ask(Method::GET, path, &[ALICE], "").await.0, StatusCode::FORBIDDEN);
    assert_eq!(client.get(path).await, (StatusCode::OK, json!("line\n")));
    let path = "/apis/quadrille.dev/v9/plugins/p/log";
    assert_eq!(client.get(path).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn to_watch_is_not_to_get_and_to_send_code_not_to_create() {
    let host = host().await;
    let client = host.client().await;
    let rule = json!({
        "apiGroups": ["quadrille.dev"],
        "resources": ["plugins/log", "plugins/component", "plugins/why"],
        "verbs": ["watch", "update"],
    });
    allow_alice(&client, rule).await;
    let wasm = ("content-type", "application/wasm");
    let of = "/apis/quadrille.dev/v1";
    for sub in ["log", "component", "why"] {
        let path = format!("{of}/watch/plugins/p/{sub}");
        let (code, told) = client.ask(Method::GET, &path, &[ALICE], "").await;
        assert!(matches!(code.as_u16(), 404 | 405), "{path}: {code} {told}");
    }
    let path = format!("{of}/plugins/p/component");
    let (code, told) = client.ask(Method::PUT, &path, &[ALICE, wasm], "code").await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{told}");
    assert_eq!(
        told["message"],
        "plugins.quadrille.dev \"p\" is forbidden: User \"alice\" cannot create resource \
         \"plugins\" in API group \"quadrille.dev\" at the cluster scope"
    );
    let plugin = json!({
        "apiVersion": "quadrille.dev/v1", "kind": "Plugin", "metadata": {"name": "p"}, "spec": {},
    })
    .to_string();
    let (code, made) = client.ask(Method::POST, &format!("{of}/plugins"), &[ADMIN], plugin).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let (code, told) = client.ask(Method::PUT, &path, &[ALICE, wasm], "code").await;
    assert_eq!((code, &told["taken"]), (StatusCode::OK, &json!("p")), "{told}");
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
async fn a_watch_of_a_revision_says_what_it_is_though_its_time_is_over_before() {
    let host = host_by(Arc::new(LateClock::default())).await;
    let path = "/apis/quadrille.dev/v1/revisions";
    let watch = "watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3D17";
    let mut events = host.client().await.watch(&format!("{path}?{watch}")).await;
    assert_eq!(events.next().await.expect("an event")["type"], "ADDED");
    assert_eq!(events.next().await, None);
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
