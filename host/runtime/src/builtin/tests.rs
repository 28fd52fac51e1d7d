//! Garbage collection and the namespace life-cycle, on the real registry and a store in memory.

use std::sync::Arc;
use std::time::Duration;

use quadrille_object::GroupResource;
use quadrille_registry::{
    Action, Actor, Body, Propagation, Reason, Resource, Target, WriteOptions, WriteRequest,
};
use quadrille_store::{Cause, CommitError, Key, RequestCause, Txn, View};
use serde_json::{Value, json};

use crate::testing::{Host, map_key};

mod batches;
mod owners;

async fn owned(host: &Host, name: &str, owners: &[(&str, &str)], blocks: bool) {
    let owners: Vec<Value> = owners
        .iter()
        .map(|(name, uid)| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": blocks})
        })
        .collect();
    host.map(name, json!({"metadata": {"ownerReferences": owners}})).await;
}

fn uid(host: &Host, name: &str) -> String {
    host.get(&map_key(name)).expect("exists").meta.uid.as_ref().to_owned()
}

/// a ← b ← c
async fn chain(host: &Host, blocks: bool) {
    host.map("a", json!({})).await;
    owned(host, "b", &[("a", &uid(host, "a"))], blocks).await;
    owned(host, "c", &[("b", &uid(host, "b"))], blocks).await;
}

#[tokio::test]
async fn chains_go_all_the_way_in_background_and_foreground() {
    for (propagation, blocks) in [
        (Propagation::Background, true),
        (Propagation::Foreground, true),
        (Propagation::Foreground, false),
    ] {
        let host = Host::new(true).await;
        chain(&host, blocks).await;
        host.settle().await;
        assert!(host.get(&map_key("c")).is_some());
        host.delete(&host.maps(), &map_key("a"), Some(propagation)).await;
        host.settle().await;
        for name in ["a", "b", "c"] {
            assert!(
                host.get(&map_key(name)).is_none(),
                "{name} stays with {propagation:?} {blocks}"
            );
        }
    }
}

#[tokio::test]
async fn orphans_stay_and_lose_the_reference() {
    let host = Host::new(true).await;
    chain(&host, true).await;
    host.delete(&host.maps(), &map_key("a"), Some(Propagation::Orphan)).await;
    host.settle().await;
    assert!(host.get(&map_key("a")).is_none());
    assert!(host.get(&map_key("b")).expect("stays").meta.owners.is_empty());
    assert_eq!(host.get(&map_key("c")).expect("stays").meta.owners.len(), 1);
}

#[tokio::test]
async fn an_object_of_two_owners_goes_with_the_last_and_an_absent_owner_does_not_hold() {
    let host = Host::new(true).await;
    host.map("a", json!({})).await;
    host.map("z", json!({})).await;
    owned(&host, "both", &[("a", &uid(&host, "a")), ("z", &uid(&host, "z"))], false).await;
    owned(&host, "stray", &[("a", "no-such-uid")], false).await;
    host.settle().await;
    assert!(host.get(&map_key("stray")).is_none(), "another incarnation is no owner");
    host.delete(&host.maps(), &map_key("a"), None).await;
    host.settle().await;
    assert_eq!(host.get(&map_key("both")).expect("one owner is left").meta.owners.len(), 1);
    host.delete(&host.maps(), &map_key("z"), None).await;
    host.settle().await;
    assert!(host.get(&map_key("both")).is_none());
}

/// Lets nobody do this to `ConfigMap`s; answers the key of the binding, without which anybody may.
async fn forbid(host: &Host, operation: &str) -> Key {
    const GROUP: &str = "admissionregistration.k8s.io";
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        "operations": [operation]});
    let spec = json!({"matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "reason": "Forbidden"}]});
    let policy = host.resource(GROUP, "v1", "ValidatingAdmissionPolicy");
    host.create(&policy, "", json!({"metadata": {"name": "p"}, "spec": spec})).await;
    let binding = host.resource(GROUP, "v1", "ValidatingAdmissionPolicyBinding");
    let spec = json!({"policyName": "p", "validationActions": ["Deny"]});
    host.create(&binding, "", json!({"metadata": {"name": "p"}, "spec": spec})).await;
    Key::new(binding.group_resource(), "", "p")
}

/// Takes a binding away.
async fn permit(host: &Host, binding: &Key) {
    let bindings = host.resource(&binding.resource.group, "v1", "ValidatingAdmissionPolicyBinding");
    host.delete(&bindings, binding, None).await;
    host.settle().await;
}

/// Until the object has gone; only time passes.
async fn wait_without(host: &Host, key: &Key) {
    wait_until(host, || host.get(key).is_none()).await;
}

/// Until it holds; only time passes.
async fn wait_until(host: &Host, holds: impl Fn() -> bool) {
    for _ in 0..600 {
        if holds() {
            return;
        }
        host.clock.advance(Duration::from_secs(1));
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
    assert!(holds(), "it is tried again");
}

#[tokio::test]
async fn what_a_policy_kept_from_going_goes_once_the_policy_has_gone() {
    let host = Host::new(true).await;
    let namespaces = host.resource("", "v1", "Namespace");
    host.create(&namespaces, "", json!({"metadata": {"name": "w"}})).await;
    host.create(&host.maps(), "w", json!({"metadata": {"name": "kept"}})).await;
    let binding = forbid(&host, "DELETE").await;
    owned(&host, "kept", &[("a", "no-such-uid")], false).await;
    let namespace = Key::new(namespaces.group_resource(), "", "w");
    host.delete(&namespaces, &namespace, None).await;
    host.settle().await;
    assert!(host.get(&map_key("kept")).is_some() && host.get(&namespace).is_some());
    permit(&host, &binding).await;
    wait_without(&host, &map_key("kept")).await;
    wait_without(&host, &namespace).await;
}

#[tokio::test]
async fn a_namespace_is_furnished_emptied_and_goes() {
    let host = Host::new(true).await;
    let namespaces = host.resource("", "v1", "Namespace");
    let key = Key::new(GroupResource::new("", "namespaces"), "", "w");
    host.create(&namespaces, "", json!({"metadata": {"name": "w"}})).await;
    host.settle().await;
    let account = Key::new(GroupResource::new("", "serviceaccounts"), "w", "default");
    assert!(host.get(&account).is_some());
    host.delete(&host.resource("", "v1", "ServiceAccount"), &account, None).await;
    host.settle().await;
    assert!(host.get(&account).is_some(), "it comes back");
    for number in 0..1200 {
        let name = format!("m{number}");
        host.create(&host.maps(), "w", json!({"metadata": {"name": name}})).await;
    }
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/f"]}});
    host.create(&host.maps(), "w", held).await;
    host.delete(&namespaces, &key, None).await;
    host.settle().await;
    let status = host.value(&key)["status"].clone();
    assert_eq!(
        (status["phase"].as_str(), status["conditions"].as_array().map(Vec::len)),
        (Some("Terminating"), Some(5))
    );
    let held = Key::new(GroupResource::new("", "configmaps"), "w", "held");
    host.patch(&host.maps(), &held, json!({"metadata": {"finalizers": null}})).await;
    host.settle().await;
    assert!(host.get(&key).is_none() && host.registry.store().snapshot().get(&held).is_none());
}

/// A host with a custom kind.
async fn with_gadgets() -> (Host, Arc<Resource>, Key) {
    let host = Host::new(true).await;
    let definitions = host.resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let schema = json!({"openAPIV3Schema": {"type": "object"}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema});
    let names = json!({"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"});
    let spec = json!({"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]});
    let definition = json!({"metadata": {"name": "gadgets.example.com"}, "spec": spec});
    host.create(&definitions, "", definition).await;
    let key = Key::new(definitions.group_resource(), "", "gadgets.example.com");
    (host, definitions, key)
}

fn gadget() -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}})
}

#[tokio::test]
async fn what_a_custom_object_owned_goes_with_it_though_its_kind_goes_too() {
    let (host, definitions, definition) = with_gadgets().await;
    let gadgets = host.resource("example.com", "v1", "Gadget");
    host.create(&gadgets, "default", gadget()).await;
    let key = Key::new(gadgets.group_resource(), "default", "g");
    let uid = host.get(&key).expect("exists").meta.uid.as_ref().to_owned();
    let owner = json!({"apiVersion": "example.com/v1", "kind": "Gadget", "name": "g", "uid": uid});
    host.map("owned", json!({"metadata": {"ownerReferences": [owner]}})).await;
    host.settle().await;
    assert!(host.get(&map_key("owned")).is_some());
    host.delete(&definitions, &definition, None).await;
    host.settle().await;
    assert!(host.get(&definition).is_none() && host.get(&key).is_none());
    assert!(host.get(&map_key("owned")).is_none(), "its owner is gone");
}

#[tokio::test]
async fn no_object_is_committed_after_its_kind_has_gone() {
    let (host, definitions, definition) = with_gadgets().await;
    let resource = host.resource("example.com", "v1", "Gadget");
    let target = Target { resource, namespace: "default".into(), name: None, subresource: None };
    let (options, actor) = (WriteOptions::default(), Actor::default());
    let action = Action::Create(Body::from(gadget()));
    let request = WriteRequest { target, action, options, actor };
    let before = host.registry.store().snapshot();
    let prepared = host.registry.prepare(&before, &request).expect("the kind is served");
    host.delete(&definitions, &definition, None).await;
    let cause = Cause::Request(RequestCause::default());
    let (writes, requires) = (prepared.writes, prepared.requires);
    let txn = Txn { writes, requires, reads: None, fence: None, cause: cause.clone() };
    let committed = host.registry.commit(txn).await;
    assert!(matches!(committed, Err(CommitError::Conflict(_))), "{committed:?}");
    let late = host.registry.submit(&request, cause).await.expect_err("the kind is gone");
    assert_eq!(late.reason, Reason::NotFound);
}

#[tokio::test]
async fn a_claim_goes_when_no_placed_pod_mounts_it() {
    let host = Host::new(true).await;
    let claims = host.resource("", "v1", "PersistentVolumeClaim");
    let key = Key::new(GroupResource::new("", "persistentvolumeclaims"), "default", "c");
    let spec =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    host.create(&claims, "default", json!({"metadata": {"name": "c"}, "spec": spec})).await;
    let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
    let pods = host.resource("", "v1", "Pod");
    let spec = json!({
        "nodeName": "n", "volumes": [volume], "containers": [{"name": "a", "image": "a:1"}],
        "terminationGracePeriodSeconds": 0,
    });
    host.create(&pods, "default", json!({"metadata": {"name": "p"}, "spec": spec})).await;
    host.delete(&claims, &key, None).await;
    host.settle().await;
    assert!(host.get(&key).is_some_and(|c| c.meta.deleted_at.is_some()), "it is mounted");
    let pod = Key::new(GroupResource::new("", "pods"), "default", "p");
    host.patch(&pods, &pod, json!({"metadata": {"labels": {"a": "b"}}})).await;
    host.delete(&pods, &pod, None).await;
    host.settle().await;
    assert!(host.get(&pod).is_none() && host.get(&key).is_none(), "nobody mounts it");
}

#[tokio::test]
async fn events_expire_an_hour_after_their_last_write() {
    let host = Host::new(true).await;
    let events = host.resource("", "v1", "Event");
    let key = |name: &str| Key::new(GroupResource::new("", "events"), "default", name);
    for name in ["old", "renewed"] {
        let object =
            json!({"metadata": {"name": name}, "involvedObject": {"namespace": "default"}});
        host.create(&events, "default", object).await;
    }
    host.settle().await;
    host.clock.advance(Duration::from_mins(40));
    host.patch(&events, &key("renewed"), json!({"reason": "again"})).await;
    host.settle().await;
    host.clock.advance(Duration::from_mins(30));
    for _ in 0..200_000 {
        if host.get(&key("old")).is_none() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(host.get(&key("old")).is_none(), "an hour is over");
    assert!(host.get(&key("renewed")).is_some(), "it was written half an hour ago");
}

#[tokio::test]
async fn events_expire_though_something_changes_all_the_time() {
    let host = Host::new(true).await;
    let key = Key::new(GroupResource::new("", "events"), "default", "old");
    let event = json!({"metadata": {"name": "old"}, "involvedObject": {"namespace": "default"}});
    host.create(&host.resource("", "v1", "Event"), "default", event).await;
    host.map("beat", json!({})).await;
    host.settle().await;
    host.clock.advance(Duration::from_hours(1));
    for beat in 0..20 {
        host.patch(&host.maps(), &map_key("beat"), json!({"data": {"n": beat.to_string()}})).await;
        host.settle().await;
        host.clock.advance(Duration::from_millis(500));
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
        assert!(beat > 0 || host.get(&key).is_some(), "it waits for others");
    }
    assert!(host.get(&key).is_none(), "it was due ten seconds ago");
}
