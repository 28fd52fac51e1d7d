//! How much goes into one transaction of housekeeping, and what becomes of one that cannot be committed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use quadrille_registry::{PatchFormat, Registry};
use quadrille_store::{ChangeFilter, Object, Query, Range, Revision};

use super::*;
use crate::builtin::House;
use crate::builtin::batch::{BATCH_MAX, Batch, Ending};
use crate::testing::{Patience, merge, target};

/// A `ConfigMap` of about a mebibyte.
fn large(name: &str, metadata: &Value) -> Value {
    let mut object = json!({"metadata": {"name": name}, "data": {"a": "x".repeat(1_000_000)}});
    merge(&mut object, json!({"metadata": metadata}));
    object
}

/// The bytes of the largest transaction after a revision.
fn largest_transaction(host: &Host, after: Revision) -> usize {
    let mut changes = host.registry.store().changes(ChangeFilter::default(), after);
    let mut bytes: BTreeMap<Revision, usize> = BTreeMap::new();
    while let Some(batch) = changes.try_next().expect("the history is kept") {
        for change in batch.changes {
            *bytes.entry(change.txn.0).or_default() += change.object.bytes.len();
        }
    }
    bytes.into_values().max().unwrap_or_default()
}

#[tokio::test]
async fn what_is_deleted_weighs_what_its_last_state_does() {
    let host = Host::new(true).await;
    let namespaces = host.resource("", "v1", "Namespace");
    host.create(&namespaces, "", json!({"metadata": {"name": "w"}})).await;
    for number in 0..10 {
        host.create(&host.maps(), "w", large(&format!("m{number}"), &json!({}))).await;
    }
    let before = host.registry.store().revision();
    let key = Key::new(namespaces.group_resource(), "", "w");
    host.delete(&namespaces, &key, None).await;
    host.settle().await;
    assert!(host.get(&key).is_none());
    let largest = largest_transaction(&host, before);
    assert!(largest < 6_000_000, "{largest} bytes in one transaction");
}

/// A namespace; answers its key.
async fn namespace(host: &Host, name: &str) -> Key {
    let namespaces = host.resource("", "v1", "Namespace");
    host.create(&namespaces, "", json!({"metadata": {"name": name}})).await;
    Key::new(namespaces.group_resource(), "", name)
}

#[tokio::test]
async fn more_orphans_than_a_transaction_takes_hold_nobody_up() {
    let host = Host::new(true).await;
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}});
    host.create(&host.resource("", "v1", "Event"), "default", event).await;
    host.clock.advance(Duration::from_hours(2));
    let other = namespace(&host, "other").await;
    host.map("o", json!({})).await;
    let owner =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": uid(&host, "o")});
    for number in 0..9 {
        let map = large(&format!("m{number}"), &json!({"ownerReferences": [owner]}));
        host.create(&host.maps(), "default", map).await;
    }
    host.settle().await;
    let before = host.registry.store().revision();
    host.delete(&host.maps(), &map_key("o"), Some(Propagation::Orphan)).await;
    owned(&host, "stray", &[("a", "no-such-uid")], false).await;
    host.delete(&host.resource("", "v1", "Namespace"), &other, None).await;
    host.settle().await;
    assert!(host.get(&map_key("o")).is_none() && host.get(&map_key("stray")).is_none());
    assert!(host.get(&other).is_none());
    for number in 0..9 {
        let orphan = host.get(&map_key(&format!("m{number}"))).expect("stays");
        assert!(orphan.meta.owners.is_empty());
    }
    let largest = largest_transaction(&host, before);
    assert!(largest < 6_000_000, "{largest} bytes in one transaction");
    wait_without(&host, &Key::new(GroupResource::new("", "events"), "default", "e")).await;
}

/// Patches an object through the registry until it has gone, or somebody says `stop`.
async fn write_until_it_goes(
    registry: Registry,
    key: Key,
    wrote: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) {
    let kind = quadrille_object::Gvk::new("", "v1", "ConfigMap");
    let maps = registry.resource_of(&kind).expect("built in");
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let body = json!({"data": {"n": n.to_string()}});
        let request = WriteRequest {
            target: target(&maps, &key.namespace, Some(&key.name)),
            action: Action::Patch(PatchFormat::Merge, Body::from(body)),
            options: WriteOptions::default(),
            actor: Actor::default(),
        };
        let cause = Cause::Request(RequestCause::default());
        match registry.submit(&request, cause).await {
            Ok(_) => wrote.store(n, Ordering::SeqCst),
            Err(status) if status.reason == Reason::NotFound => return,
            Err(status) => panic!("a client is not starved either: {status}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_with_an_object_that_is_always_written_goes() {
    let host = Host::new(true).await;
    let key = namespace(&host, "w").await;
    for number in 0..BATCH_MAX {
        let name = format!("m{number}");
        host.create(&host.maps(), "w", json!({"metadata": {"name": name}})).await;
    }
    let hot = Key::new(GroupResource::new("", "configmaps"), "w", "hot");
    host.create(&host.maps(), "w", json!({"metadata": {"name": "hot"}})).await;
    let wrote = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (count, until) = (Arc::clone(&wrote), Arc::clone(&stop));
    let client = write_until_it_goes(host.registry.clone(), hot.clone(), count, until);
    host.runtime.shared.supervisor.spawn_brief("client", client);
    while wrote.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    host.delete(&host.resource("", "v1", "Namespace"), &key, None).await;
    let patience = Patience::default();
    while host.get(&hot).is_some() && patience.is_left() {
        tokio::task::yield_now().await;
    }
    stop.store(true, Ordering::SeqCst);
    let writes = wrote.load(Ordering::SeqCst);
    assert!(host.get(&hot).is_none(), "the client is first every time, {writes} times");
    host.settle().await;
    assert!(host.get(&key).is_none());
}

#[tokio::test]
async fn what_a_transaction_follows_from_counts_for_each_of_its_writes() {
    let host = Host::new(false).await;
    for number in 0..200 {
        host.map(&format!("m{number:03}"), json!({})).await;
    }
    let causes = |thousands: u64| -> Vec<Revision> {
        (0..1_024).map(|n| Revision(1_000_000_000 + thousands * 1_024 + n)).collect()
    };
    let mut batch = Batch::new(&host.runtime.shared, BATCH_MAX, None);
    let maps: Vec<Arc<Object>> = batch.view().list(&Query::whole(Range::all(map_key("").resource)));
    let mut maps = maps.iter();
    let mut wrote: usize = 0;
    for part in 0..3 {
        if !batch.fits(&causes(part)) {
            break;
        }
        batch.act_on(&causes(part));
        for map in maps.by_ref().take(80) {
            if !batch.is_full() {
                batch.delete(map, None);
                wrote += 1;
            }
        }
    }
    assert!(wrote > 80, "{wrote}");
    let causes_bytes = wrote * (wrote.div_ceil(80) * 1_024) * 11;
    assert!(causes_bytes < 5_000_000, "{wrote} writes with {causes_bytes} bytes of causes");
}

#[tokio::test]
async fn what_the_store_never_takes_is_put_off_alone() {
    const COLLECTOR: usize = 2;
    let host = Host::new(false).await;
    for name in ["one", "two"] {
        owned(&host, name, &[("a", "no-such-uid")], false).await;
    }
    let shared = &host.runtime.shared;
    let mut house = House::of(shared, &host.registry.store().snapshot());
    assert_eq!(house.parts.collector.pending().len(), 2);
    for tries in 0.. {
        assert!(tries < 20, "it is tried for ever");
        let mut batch = Batch::new(shared, house.paces[COLLECTOR].room, None);
        house.parts.all()[COLLECTOR].work(&mut batch, &house.refused);
        assert!(!batch.is_idle());
        house.conclude(COLLECTOR, Ending::Invalid, Duration::ZERO);
        if house.refused.waits(&map_key("one")) {
            break;
        }
    }
    assert!(!house.refused.waits(&map_key("two")));
    assert_eq!(house.parts.collector.pending().len(), 1);
    house.work(shared, Duration::ZERO).await;
    assert!(host.get(&map_key("two")).is_none() && host.get(&map_key("one")).is_some());
    let later = house.refused.wait(Duration::ZERO).expect("one waits");
    house.look_again(later);
    house.work(shared, later).await;
    assert!(host.get(&map_key("one")).is_none());
}

#[tokio::test]
async fn what_may_not_be_deleted_keeps_nothing_else_in_a_namespace_from_going() {
    let host = Host::new(true).await;
    let key = namespace(&host, "w").await;
    for number in 0..BATCH_MAX + 10 {
        let name = format!("m{number}");
        host.create(&host.maps(), "w", json!({"metadata": {"name": name}})).await;
    }
    let secrets = host.resource("", "v1", "Secret");
    host.create(&secrets, "w", json!({"metadata": {"name": "s"}})).await;
    let binding = forbid(&host, "DELETE").await;
    host.delete(&host.resource("", "v1", "Namespace"), &key, None).await;
    host.settle().await;
    assert!(host.get(&Key::new(secrets.group_resource(), "w", "s")).is_none());
    assert!(host.get(&key).is_some());
    permit(&host, &binding).await;
    wait_without(&host, &key).await;
}

#[tokio::test]
async fn a_namespace_whose_furniture_was_refused_gets_it_later() {
    let host = Host::new(true).await;
    namespace(&host, "w").await;
    host.settle().await;
    let quotas = host.resource("", "v1", "ResourceQuota");
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "0"}}});
    host.create(&quotas, "w", quota).await;
    let quota = Key::new(quotas.group_resource(), "w", "q");
    let status = Target { subresource: Some("status".into()), ..target(&quotas, "w", Some("q")) };
    let counted = json!({"status": {"hard": {"configmaps": "0"}, "used": {"configmaps": "0"}}});
    let counted = Action::Patch(PatchFormat::Merge, Body::from(counted));
    host.submit(status, counted).await.expect("patched");
    let map = Key::new(GroupResource::new("", "configmaps"), "w", "kube-root-ca.crt");
    host.delete(&host.maps(), &map, None).await;
    host.settle().await;
    assert!(host.get(&map).is_none());
    host.delete(&quotas, &quota, None).await;
    host.settle().await;
    wait_until(&host, || host.get(&map).is_some()).await;
}
