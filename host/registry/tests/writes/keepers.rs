//! What follows the store goes on after its disk could not be read for a while, and then misses nothing.

use std::sync::Arc;
use std::time::Duration;

use quadrille_disk::{Plan, SimDisk};
use quadrille_kit::{Clock, ManualClock, SystemClock};
use quadrille_object::{GroupResource, Meta, Template};
use quadrille_registry::{Asker, Attributes, ResourceAttributes};
use quadrille_store::{Cause, Expect, Key, SystemCause, Txn, Write};
use serde_json::{Value, json};

use crate::support::Host;

const RBAC: &str = "rbac.authorization.k8s.io";

/// What is stored beside the registry, as by a writer who did not stay for the answer.
fn put(resource: (&str, &str), namespace: &str, object: &Value) -> Write {
    let name = object["metadata"]["name"].as_str().expect("named");
    let object = object.as_object().expect("a map");
    Write::Put {
        key: Key::new(GroupResource::new(resource.0, resource.1), namespace, name),
        meta: Meta::from_object(object),
        object: Template::encode(object),
        expect: Expect::Absent,
    }
}

fn map(n: usize) -> Write {
    let metadata = json!({"name": format!("m-{n}"), "namespace": "default"});
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
    put(("", "configmaps"), "default", &object)
}

fn role() -> Write {
    let metadata = json!({"name": "part", "labels": {"sums": "up"}});
    let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    let kind = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole",
        "metadata": metadata, "rules": rules});
    put((RBAC, "clusterroles"), "", &kind)
}

fn bound() -> Value {
    json!({"metadata": {"name": "gone"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "alice"}],
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"}})
}

fn may_read_secrets(host: &Host) -> bool {
    let secrets = ResourceAttributes { version: "v1", resource: "secrets", ..Default::default() };
    let alice = Asker { name: "alice", groups: &["system:authenticated".into()] };
    host.registry.access().allows(alice, &Attributes::of("list", secrets))
}

async fn settle(clock: &ManualClock) {
    for _ in 0..20 {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_millis(100));
    }
}

/// Lets time pass until it holds. Commits to a disk are another thread's, which takes real time.
async fn eventually(clock: &ManualClock, what: &str, holds: impl Fn() -> bool) {
    let start = SystemClock::default();
    while !holds() {
        assert!(start.monotonic() < Duration::from_mins(1), "never: {what}");
        settle(clock).await;
        start.sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn keepers_go_on_after_the_disk_could_not_be_read_for_a_while() {
    let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::default()));
    // Memory reaches back so little that whoever is late has to read the disk.
    let config = quadrille_store::Config {
        disk: Some(disk.boot()),
        recent_changes_max: 8,
        ..quadrille_store::Config::default()
    };
    let host = Host::start_on(config, Arc::clone(&clock)).await;
    let (registry, supervisor) = (host.registry.clone(), &host.supervisor);
    supervisor.spawn("roles", registry.clone().keep_access(supervisor.shutdown()));
    supervisor.spawn("quotas", registry.clone().keep_quotas(supervisor.shutdown()));
    let rbac = "rbac.authorization.k8s.io/v1";
    let sum = json!({"metadata": {"name": "sum"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"sums": "up"}}]}});
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "100"}}});
    host.create((rbac, "ClusterRole", "", ""), sum).await.expect("creates");
    host.create((rbac, "ClusterRoleBinding", "", ""), bound()).await.expect("creates");
    host.create(("v1", "ResourceQuota", "default", ""), quota).await.expect("creates");
    eventually(&clock, "she may", || may_read_secrets(&host)).await;
    // One commit that is more than memory keeps, moved to where only the disk has it; and then the disk fails.
    let gone = Key::new(GroupResource::new(RBAC, "clusterrolebindings"), "", "gone");
    let mut writes: Vec<Write> = (0..20).map(map).collect();
    writes.insert(0, role());
    writes.insert(0, Write::Delete { key: gone, expect: Expect::Present });
    let cause = Cause::System(SystemCause::default());
    let txn = Txn { writes, requires: Vec::new(), reads: None, fence: None, cause };
    registry.store().commit(txn).await.expect("commits");
    registry.store().shrink().await.expect("is moved");
    disk.plan(Plan::errors(1, u64::MAX / 2));
    registry.store().shrink().await.expect_err("the disk fails");
    settle(&clock).await;
    assert!(!supervisor.shutdown().is_started(), "nobody takes it for the end of the host");
    disk.heal();
    let read = |version, kind, namespace, name| {
        host.get((version, kind, namespace, name)).expect("exists")
    };
    // And the one that each namespace has.
    let is_counted =
        || read("v1", "ResourceQuota", "default", "q")["status"]["used"]["configmaps"] == "21";
    eventually(&clock, "all maps are counted", is_counted).await;
    let is_summed =
        || read(rbac, "ClusterRole", "", "sum")["rules"][0]["resources"] == json!(["pods"]);
    eventually(&clock, "the role is summed up", is_summed).await;
    eventually(&clock, "the binding is gone", || !may_read_secrets(&host)).await;
    assert!(!supervisor.shutdown().is_started());
}
