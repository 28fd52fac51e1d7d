//! What a run leaves, no other finds; and whatever is uploaded for a plugin, the version that runs goes on.

mod support;

use quadrille_guests::{Guest, crowd, hostile};
use serde_json::{Value, json};

use support::{TestHost, has_version, stamps};

/// So many objects are trapped for.
const TRAPPED: usize = 40;
/// So many traps are waited for, unless `QUADRILLE_TRAPS=1000` says how many: a thousand take a busy machine half a minute.
const TRAPS: u64 = 200;
/// As many objects as canaries look through the memory of those before.
const MAPS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_run_finds_what_another_left_in_memory_tables_or_globals() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    for at in 0..MAPS {
        host.create_map(&format!("m{at}")).await;
    }
    // Two plugins of different sizes, so that memories and tables change hands; a third beside them writes.
    for (plugin, pages) in [("p", 2), ("good", 60)] {
        host.load(plugin, crowd::canary(pages)).await;
    }
    host.load("bad", stamps("1")).await;
    let runs = |host: &TestHost, plugin: &str| -> u64 {
        host.runtime.stats(Some(plugin)).iter().map(|c| c.runs).sum()
    };
    let wanted = MAPS as u64;
    host.eventually("all have run", |host| {
        runs(host, "p") >= wanted && runs(host, "good") >= wanted
    })
    .await;
    for plugin in ["p", "good"] {
        for stats in host.runtime.stats(Some(plugin)) {
            assert_eq!(stats.failures, 0, "a canary was found: {stats:#?}");
        }
    }
    host.stop().await;
}

/// Every class of failure that an upload can have, with the guest that has it.
fn bad_uploads() -> Vec<(String, Vec<u8>)> {
    let refused = hostile::refused().into_iter().map(|(name, bytes, _)| (name.to_owned(), bytes));
    let described = hostile::bad_at_describe().into_iter();
    let described = described.map(|(name, bytes, _)| (name.to_owned(), bytes));
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "not-what-it-says"}, "spec": {"group": "a.b", "scope": "Nowhere"},
    });
    let breaks_the_schema =
        Guest { crds: vec![definition.to_string()], ..Guest::default() }.build();
    refused.chain(described).chain([("bad-definition".to_owned(), breaks_the_schema)]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_uploaded_the_running_version_goes_on() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    host.load("p", stamps("1")).await;
    let digest = host.status("p")["digest"].clone();
    let uploads = bad_uploads();
    for (at, (name, bytes)) in uploads.iter().enumerate() {
        let outcome = host.manager.upload(TestHost::upload("p", bytes.clone())).await;
        assert!(
            outcome.is_err() || host.status("p")["phase"] == "Degraded",
            "{name} was accepted: {:#}",
            host.status("p")
        );
        assert_eq!(host.status("p")["digest"], digest, "{name}");
        let map = format!("m{at}");
        host.create_map(&map).await;
        host.eventually(&format!("after {name} the version before runs"), |host| {
            has_version(host, &map, "1")
        })
        .await;
    }
    let failures: u64 = host.runtime.stats(Some("p")).iter().map(|c| c.failures).sum();
    assert_eq!((failures, uploads.len() >= 20), (0, true));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_traps_change_nothing_and_are_told() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    host.load("good", stamps("1")).await;
    // It writes first, and what it wrote is not kept.
    let reconcile =
        format!("{} (drop) unreachable", include_str!("../../../tests/guests/wat/stamp.wat"));
    let texts = vec![("patch", r#"{"data":{"trapped":"yes"}}"#.to_owned())];
    let finalizing = Guest { reconcile, texts, concurrency: 16, ..Guest::default() };
    host.load("bad", finalizing.build()).await;
    for at in 0..TRAPPED {
        host.create_map(&format!("m{at}")).await;
    }
    let failures = |host: &TestHost| -> u64 {
        host.runtime.stats(Some("bad")).iter().map(|c| c.failures).sum()
    };
    let traps = std::env::var_os("QUADRILLE_TRAPS").and_then(|n| n.to_str()?.parse().ok());
    for so_many in (TRAPS..=traps.unwrap_or(TRAPS)).step_by(50) {
        host.eventually("it traps hundreds of times", |host| failures(host) >= so_many).await;
    }
    host.eventually("the neighbour has stamped all", |host| {
        (0..TRAPPED).all(|at| has_version(host, &format!("m{at}"), "1"))
    })
    .await;
    for at in 0..TRAPPED {
        let map = host.map(&format!("m{at}"));
        assert_eq!(map.pointer("/data/trapped"), None, "a run that trapped was kept: {map:#}");
    }
    host.eventually("the status says so", |host| {
        let status: Value = host.status("bad");
        status["lastError"].as_str().is_some_and(|said| said.contains("unreachable"))
    })
    .await;
    host.patch_plugin("bad", json!({"spec": {"suspended": true}})).await;
    host.eventually("it is held", |host| host.status("bad")["phase"] == "Suspended").await;
    host.stop().await;
}
