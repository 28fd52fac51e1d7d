//! What becomes of dependents where their owner's deletion meets an obstacle.

use super::*;

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
