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
