//! What becomes of dependents where their owner's deletion meets an obstacle.

use quadrille_store::{ChangeFilter, Revision};

use super::*;
use crate::builtin::House;
use crate::builtin::batch::BATCH_MAX;

#[tokio::test]
async fn an_owner_stays_until_every_dependent_has_lost_its_reference() {
    let host = Host::new(true).await;
    let secrets = host.resource("", "v1", "Secret");
    host.create(&secrets, "default", json!({"metadata": {"name": "o"}})).await;
    let owner = Key::new(secrets.group_resource(), "default", "o");
    let uid = host.get(&owner).expect("exists").meta.uid.as_ref().to_owned();
    let reference = json!({"apiVersion": "v1", "kind": "Secret", "name": "o", "uid": uid});
    for name in ["one", "two"] {
        host.map(name, json!({"metadata": {"ownerReferences": [reference]}})).await;
    }
    let binding = forbid(&host, "UPDATE").await;
    host.delete(&secrets, &owner, Some(Propagation::Orphan)).await;
    host.settle().await;
    assert!(host.get(&map_key("one")).is_some() && host.get(&map_key("two")).is_some());
    assert!(host.get(&owner).is_some_and(|o| o.meta.deleted_at.is_some()), "it waits for them");
    permit(&host, &binding).await;
    wait_without(&host, &owner).await;
    host.settle().await;
    for name in ["one", "two"] {
        assert!(host.get(&map_key(name)).expect("stays").meta.owners.is_empty());
    }
}

/// `ConfigMap`s of which each is owned by the next and the last one by the first.
async fn circle(host: &Host, names: &[&str]) {
    for name in names {
        host.map(name, json!({})).await;
    }
    for (name, owner) in names.iter().zip(names.iter().cycle().skip(1)) {
        let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner,
            "uid": uid(host, owner), "blockOwnerDeletion": true});
        let patch = json!({"metadata": {"ownerReferences": [reference]}});
        host.patch(&host.maps(), &map_key(name), patch).await;
    }
}

#[tokio::test]
async fn objects_that_own_each_other_in_a_circle_go_in_the_foreground() {
    for (names, deleted) in [
        (["a", "b"].as_slice(), ["a"].as_slice()),
        (&["a", "b"], &["a", "b"]),
        (&["a", "b", "c", "d"], &["b"]),
        (&["a", "b", "c", "d"], &["d", "b", "a", "c"]),
        (&["a"], &["a"]),
    ] {
        let host = Host::new(true).await;
        circle(&host, names).await;
        host.settle().await;
        for name in deleted {
            host.delete(&host.maps(), &map_key(name), Some(Propagation::Foreground)).await;
        }
        host.settle().await;
        for name in names {
            assert!(host.get(&map_key(name)).is_none(), "{name} stays of {names:?} {deleted:?}");
        }
    }
}

/// An owner `a` with more dependents than a batch takes; answers how many.
async fn family(host: &Host) -> usize {
    host.map("a", json!({})).await;
    let owner = uid(host, "a");
    let dependents = BATCH_MAX + 100;
    for number in 0..dependents {
        owned(host, &format!("m{number}"), &[("a", &owner)], true).await;
    }
    dependents
}

#[tokio::test]
async fn dependents_follow_from_the_deletion_of_their_owner_and_not_from_each_other() {
    let host = Host::new(false).await;
    let dependents = family(&host).await;
    let (shared, store) = (&host.runtime.shared, host.registry.store());
    let mut house = House::of(shared, &store.snapshot());
    let mut changes = store.changes(ChangeFilter::default(), store.revision());
    while !house.parts.collector.pending().is_empty() {
        house.work(shared, Duration::ZERO).await;
    }
    host.delete(&host.maps(), &map_key("a"), Some(Propagation::Foreground)).await;
    for round in 0.. {
        assert!(round < 20, "a batch takes {BATCH_MAX} of {dependents}");
        while let Some(batch) = changes.try_next().expect("the history is kept") {
            let catalog = host.registry.catalog();
            batch.changes.iter().for_each(|change| house.parts.collector.look_at(change, &catalog));
        }
        if house.parts.collector.pending().is_empty() {
            break;
        }
        house.work(shared, Duration::ZERO).await;
        let most = house.parts.collector.pending().most_causes(&map_key("a"));
        assert!(most <= 1, "{most} changes led to one dependent in round {round}");
    }
    assert!(host.get(&map_key("a")).is_none() && host.get(&map_key("m0")).is_none());
}

#[tokio::test]
async fn an_owner_that_waits_in_the_foreground_goes_once_what_was_refused_or_came_late_went() {
    let host = Host::new(true).await;
    let secrets = host.resource("", "v1", "Secret");
    host.create(&secrets, "default", json!({"metadata": {"name": "o"}})).await;
    let owner = Key::new(secrets.group_resource(), "default", "o");
    let uid = host.get(&owner).expect("exists").meta.uid.as_ref().to_owned();
    let reference = json!({"apiVersion": "v1", "kind": "Secret", "name": "o", "uid": uid,
        "blockOwnerDeletion": true});
    let metadata = json!({"ownerReferences": [reference]});
    for name in ["one", "two"] {
        host.map(name, json!({"metadata": metadata})).await;
    }
    let held =
        json!({"metadata": {"ownerReferences": [reference], "finalizers": ["example.com/f"]}});
    host.map("held", held).await;
    let binding = forbid(&host, "DELETE").await;
    host.delete(&secrets, &owner, Some(Propagation::Foreground)).await;
    host.settle().await;
    host.map("late", json!({"metadata": metadata})).await;
    host.settle().await;
    for name in ["one", "two", "held", "late"] {
        let found = host.get(&map_key(name)).expect("it may not be deleted");
        assert!(found.meta.deleted_at.is_none(), "{name}");
    }
    permit(&host, &binding).await;
    for name in ["one", "two", "late"] {
        wait_without(&host, &map_key(name)).await;
    }
    wait_until(&host, || host.get(&map_key("held")).is_some_and(|o| o.meta.deleted_at.is_some()))
        .await;
    assert!(host.get(&owner).is_some(), "it waits for the last");
    host.patch(&host.maps(), &map_key("held"), json!({"metadata": {"finalizers": null}})).await;
    host.settle().await;
    assert!(host.get(&map_key("held")).is_none() && host.get(&owner).is_none());
}

#[tokio::test]
async fn orphans_follow_from_the_deletion_of_their_owner_and_not_from_each_other() {
    let host = Host::new(true).await;
    let dependents = family(&host).await;
    host.delete(&host.maps(), &map_key("a"), Some(Propagation::Orphan)).await;
    let deleted: Revision = host.registry.store().revision();
    host.settle().await;
    assert!(host.get(&map_key("a")).is_none());
    let mut changes = host.registry.store().changes(ChangeFilter::default(), deleted);
    let mut orphans = 0;
    while let Some(batch) = changes.try_next().expect("the history is kept") {
        for change in batch.changes.iter().filter(|change| *change.key() != map_key("a")) {
            let Cause::System(cause) = &*change.cause else { panic!("{change:?}") };
            assert_eq!(cause.because, [deleted], "of {}", change.key());
            orphans += 1;
        }
    }
    assert_eq!(orphans, dependents);
}
