//! Chains of causes on a real store in memory.

use std::sync::Arc;

use quadrille_kit::{ManualClock, Supervisor};
use quadrille_object::{GroupResource, Meta, Template};
use quadrille_store::{Config, Expect, RequestCause, RunCause, Txn, Write};
use serde_json::json;

use super::*;

async fn store() -> Store {
    let clock = Arc::new(ManualClock::default());
    Store::open(Config::default(), clock, &Supervisor::default()).await.expect("memory opens")
}

async fn put(store: &Store, key: &Key, cause: Cause) -> Revision {
    put_object(store, key, json!({"metadata": {"name": *key.name}}), cause).await
}

async fn put_object(store: &Store, key: &Key, object: Value, cause: Cause) -> Revision {
    let object = object.as_object().expect("a map");
    let write = Write::Put {
        key: key.clone(),
        meta: Meta::from_object(object),
        object: Template::encode(object),
        expect: Expect::Any,
    };
    let txn = Txn { writes: vec![write], requires: Vec::new(), reads: None, fence: None, cause };
    store.commit(txn).await.expect("committed").revision
}

fn request(user: &str) -> Cause {
    Cause::Request(RequestCause {
        user: user.to_owned(),
        client: "kubectl/v1.34".to_owned(),
        verb: "create".to_owned(),
        ..RequestCause::default()
    })
}

fn run(controller: &str, object: &Key, woken_by: &[Revision]) -> Cause {
    Cause::Run(RunCause {
        controller: controller.to_owned(),
        object: object.to_string(),
        woken_by: woken_by.to_vec(),
        ..RunCause::default()
    })
}

fn key(resource: &str, name: &str) -> Key {
    Key::new(GroupResource::new("", resource), "default", name)
}

#[tokio::test]
async fn a_chain_ends_at_the_request() {
    let store = store().await;
    let (deployment, set, pod) =
        (key("deployments", "web"), key("sets", "web-1"), key("pods", "p"));
    let first = put(&store, &deployment, request("ann")).await;
    let second = put(&store, &set, run("deployment", &deployment, &[first])).await;
    put(&store, &pod, run("replicaset", &set, &[second])).await;
    let answer = why(&store, &pod).await.expect("known");
    let objects: Vec<&str> = answer.steps.iter().map(|step| step.object.as_str()).collect();
    assert_eq!(objects, ["pods/default/p", "sets/default/web-1", "deployments/default/web"]);
    let text = crate::text::tree(&answer);
    assert!(
        text.ends_with("by ann: create with kubectl/v1.34, 2026-01-01T00:00:00.000000Z\n"),
        "{text}"
    );
}

#[tokio::test]
async fn merged_wakes_are_all_told_and_shared_ones_once() {
    let store = store().await;
    let pod = key("pods", "p");
    let mut woken = Vec::new();
    for number in 0..100 {
        woken.push(put(&store, &key("configmaps", &format!("c{number}")), request("ann")).await);
    }
    put(&store, &pod, run("many", &pod, &woken)).await;
    let answer = why(&store, &pod).await.expect("known");
    assert_eq!(answer.steps.len(), 101);
    assert_eq!(answer.steps[0].because, woken);
    assert!(!answer.truncated);
}

#[tokio::test]
async fn a_run_that_nothing_woke_follows_from_its_object() {
    let store = store().await;
    let (set, pod) = (key("sets", "s"), key("pods", "p"));
    let seen = put(&store, &set, request("ann")).await;
    let resync = RunCause {
        controller: "replicaset".to_owned(),
        object: set.to_string(),
        occasion: Some("resync".to_owned()),
        snapshot: seen,
        ..RunCause::default()
    };
    put(&store, &pod, Cause::Run(resync)).await;
    let answer = why(&store, &pod).await.expect("known");
    assert_eq!(answer.steps[0].because, [seen]);
    assert_eq!(answer.steps.len(), 2);
}

#[tokio::test]
async fn changes_that_point_at_each_other_end() {
    let store = store().await;
    let pod = key("pods", "p");
    put(&store, &pod, run("loop", &pod, &[Revision(2)])).await;
    put(&store, &pod, run("loop", &pod, &[Revision(1)])).await;
    assert_eq!(why(&store, &pod).await.expect("known").steps.len(), 2);
}

#[tokio::test]
async fn an_unknown_object_is_an_error() {
    let store = store().await;
    let error = why(&store, &key("pods", "absent")).await.expect_err("unknown");
    assert!(error.to_string().contains("no change of pods/default/absent"), "{error}");
}

fn spec(key: &Key, spec: &Value) -> Value {
    json!({"metadata": {"name": *key.name}, "spec": spec})
}

#[tokio::test]
async fn a_field_is_followed_to_the_request_that_brought_its_value() {
    let store = store().await;
    let (deployment, set, pod) =
        (key("deployments", "web"), key("sets", "web-1"), key("pods", "p"));
    let made = spec(&deployment, &json!({"replicas": 1, "image": "nginx:1"}));
    put_object(&store, &deployment, made, request("ann")).await;
    let changed = spec(&deployment, &json!({"replicas": 1, "image": "nginx:2"}));
    let image = put_object(&store, &deployment, changed, request("bob")).await;
    // Somebody scales; that has nothing to do with the image.
    let scaled = spec(&deployment, &json!({"replicas": 3, "image": "nginx:2"}));
    let scale = put_object(&store, &deployment, scaled, request("eve")).await;
    let woken = Cause::Run(RunCause {
        controller: "deployment".to_owned(),
        object: deployment.to_string(),
        woken_by: vec![image, scale],
        snapshot: scale,
        ..RunCause::default()
    });
    let of_set = spec(&set, &json!({"replicas": 3, "template": {"image": "nginx:2"}}));
    let second = put_object(&store, &set, of_set, woken).await;
    let of_pod = spec(&pod, &json!({"image": "nginx:2"}));
    put_object(&store, &pod, of_pod, run("set", &set, &[second])).await;
    let again = json!({"metadata": {"name": "p"}, "spec": {"image": "nginx:2"}, "status": 1});
    put_object(&store, &pod, again, request("kubelet")).await;

    let users = async |field: &str| {
        let field = Field::parse(field).expect("a path");
        let answer = why_field(&store, &pod, &field).await.expect("known");
        let last = answer.steps.last().expect("a step").clone();
        let Cause::Request(request) = last.cause else { panic!("{answer:?}") };
        let objects: Vec<String> = answer.steps.into_iter().map(|step| step.object).collect();
        (request.user, last.field.map(|field| (field.before, field.after)), objects)
    };
    let (user, change, objects) = users("spec.image").await;
    assert_eq!(
        (user.as_str(), change),
        ("bob", Some((Some(json!("nginx:1")), Some(json!("nginx:2")))))
    );
    assert_eq!(objects, ["pods/default/p", "sets/default/web-1", "deployments/default/web"]);
    let (user, _, objects) = users("status").await;
    assert_eq!((user.as_str(), objects.len()), ("kubelet", 1));
    let absent = Field::parse("spec.nothing").expect("a path");
    let error = why_field(&store, &pod, &absent).await.expect_err("it never was");
    assert!(error.to_string().contains("no change of spec.nothing of pods/default/p"), "{error}");
}

#[tokio::test]
async fn effects_are_the_tree_that_descends_and_nothing_else() {
    let store = store().await;
    let (deployment, set) = (key("deployments", "web"), key("sets", "web-1"));
    put(&store, &key("pods", "before"), request("ann")).await;
    let first = put(&store, &deployment, request("ann")).await;
    let second = put(&store, &set, run("deployment", &deployment, &[first])).await;
    let other = put(&store, &key("pods", "other"), request("bob")).await;
    put(&store, &key("pods", "p1"), run("set", &set, &[second])).await;
    put(&store, &key("pods", "p2"), run("set", &set, &[second, other])).await;
    put(&store, &key("pods", "p3"), run("other", &key("pods", "other"), &[other])).await;
    let found = crate::effects(&store, first).await.expect("known").expect("there");
    let told = found.changes.iter().map(|effect| (effect.depth, effect.object.as_str()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (0, "deployments/default/web"),
            (1, "sets/default/web-1"),
            (2, "pods/default/p1"),
            (2, "pods/default/p2"),
        ]
    );
    assert!(!found.truncated && found.through == store.revision());
    let text = crate::text::effects(&found);
    assert!(text.starts_with("ann: create"), "{text}");
    assert_eq!(crate::effects(&store, Revision(99)).await.expect("no error").map(|_| ()), None);
}
