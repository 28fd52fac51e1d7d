//! What a run sees of its own writes, and what it commits.

use quadrille_registry::{Action, Body, DeleteOptions, PatchFormat, WriteOptions};
use quadrille_store::{Cause, Selection, SystemCause};
use serde_json::json;

use super::*;
use crate::testing::{Host, map_key, target};

fn overlay(host: &Host) -> Overlay {
    let grant = Grant { unlimited: true, ..Grant::default() };
    let owner = OverlayOwner { primary: Some(map_key("a")), ..OverlayOwner::default() };
    Overlay::new(host.registry.store().snapshot(), host.registry.clone(), grant).owned_by(owner)
}

fn txn(overlay: Overlay) -> Txn {
    overlay.into_txn(None, Cause::System(SystemCause::default()))
}

#[tokio::test]
async fn writes_are_read_back_and_merge_per_key() {
    let host = Host::new(false).await;
    let maps = host.maps();
    let mut overlay = overlay(&host);
    let create = |name: &str| {
        Action::Create(Body::from(json!({"metadata": {"name": name, "labels": {"x": "y"}}})))
    };
    let options = WriteOptions::default;
    for name in ["b", "gone"] {
        overlay.write(target(&maps, "default", None), create(name), options()).expect("created");
    }
    let patch = Action::Patch(PatchFormat::Merge, json!({"data": {"n": "1"}}).into());
    overlay.write(target(&maps, "default", Some("b")), patch, options()).expect("patched");
    let delete = Action::Delete(DeleteOptions::default());
    let gone = overlay.write(target(&maps, "default", Some("gone")), delete, options());
    assert_eq!(gone, Ok(None));
    let range = Range {
        resource: map_key("b").resource,
        namespace: Some("default".into()),
        selection: Selection::Labels(quadrille_object::LabelSelector::parse("x=y").expect("valid")),
    };
    let found = overlay.list(&Query::whole(range)).expect("granted");
    assert_eq!(found.iter().map(|o| &*o.key.name).collect::<Vec<_>>(), ["b"]);
    assert_eq!(overlay.written(), [map_key("b")]);
    let txn = txn(overlay);
    let [Write::Put { expect: Expect::Absent, object, .. }] = txn.writes.as_slice() else {
        panic!("one creation: {:?}", txn.writes);
    };
    assert!(std::str::from_utf8(object.unrevised()).expect("JSON").contains(r#""n":"1""#));
    let reads = txn.reads.expect("recorded");
    assert_eq!(
        (reads.keys, reads.ranges.len()),
        (vec![map_key("a"), map_key("b"), map_key("gone")], 1)
    );
}

#[tokio::test]
async fn what_a_run_lists_by_is_bounded_in_bytes_and_not_only_in_number() {
    let host = Host::new(false).await;
    let mut overlay = overlay(&host);
    let mut lists = 0;
    let stopped = loop {
        let values: Vec<String> = (0..1_350).map(|n| format!("v{n:x}")).collect();
        let text = format!("k{lists} in ({})", values.join(","));
        let selector = quadrille_object::LabelSelector::parse(&text).expect("a selector");
        let range = Range {
            resource: map_key("b").resource,
            namespace: None,
            selection: Selection::Labels(selector),
        };
        let weakly = lists % 2 == 1;
        let query = Query::whole(range);
        let listed = if weakly { overlay.list_weakly(&query) } else { overlay.list(&query) };
        match listed {
            Ok(_) => lists += 1,
            Err(status) => break status,
        }
    };
    assert_eq!(Refusal::of(&stopped), Some(Refusal::LimitReached));
    assert!(stopped.message.contains("bytes of selectors"), "{stopped}");
    let reads = overlay.reads();
    assert_eq!((lists, reads.ranges.len() + reads.weak.len()), (4, 4), "some 15 KiB each");
}

#[tokio::test]
async fn an_event_said_again_is_counted_and_holds_nobody_up() {
    let host = Host::new(false).await;
    host.map("a", json!({})).await;
    let note = Note { kind: "Warning", reason: "Broken", message: "it is broken" };
    for _ in 0..3 {
        let mut overlay = overlay(&host);
        overlay.record_event(&map_key("a"), &note).expect("the primary needs no grant");
        let txn = txn(overlay);
        assert_eq!(txn.reads.as_ref().map(|reads| reads.keys.clone()), Some(vec![map_key("a")]));
        host.registry.commit(txn).await.expect("no precondition");
    }
    let events = Range::all(quadrille_object::GroupResource::new("", "events"));
    let found = host.registry.store().snapshot().list(&Query::whole(events));
    assert_eq!(found.len(), 1);
    let event: serde_json::Value = serde_json::from_slice(&found[0].bytes).expect("JSON");
    assert_eq!((&event["count"], &event["type"]), (&json!(3), &json!("Warning")));
    assert_eq!(event["involvedObject"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn a_deletion_draws_what_it_deletes_on_the_budget() {
    let host = Host::new(false).await;
    host.map("a", json!({"data": {"a": "x".repeat(2_000)}})).await;
    let limits = OverlayLimits { bytes_written_max: 1_000, ..OverlayLimits::default() };
    let mut overlay = overlay(&host).limited(limits);
    let delete = Action::Delete(DeleteOptions::default());
    let target = target(&host.maps(), "default", Some("a"));
    let stopped = overlay.write(target, delete, WriteOptions::default()).expect_err("too large");
    assert_eq!(Refusal::of(&stopped), Some(Refusal::LimitReached));
    assert!(overlay.used().bytes_written > 2_000);
}
