//! Chains of causes on a real store in memory.

use std::sync::Arc;

use quadrille_kit::{ManualClock, Supervisor};
use quadrille_object::{Meta, Template};
use quadrille_store::{Config, Expect, RequestCause, RunCause, Txn, Write};
use serde_json::json;

use super::*;

async fn store() -> Store {
    let clock = Arc::new(ManualClock::default());
    Store::open(Config::default(), clock, &Supervisor::default()).await.expect("memory opens")
}

async fn put(store: &Store, key: &Key, cause: Cause) -> Revision {
    let object = json!({"metadata": {"name": *key.name}});
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
