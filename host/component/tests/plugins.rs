//! Plugins from upload to removal on a whole host without HTTP: real store, registry, runtime and Wasm.

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quadrille_component::PluginUpload;
use quadrille_guests::{Guest, hostile};
use quadrille_object::GroupResource;
use quadrille_registry::{Action, Body, DeleteOptions, Reason};
use quadrille_store::{Cause, ChangeFilter, Revision};
use serde_json::json;

use support::{TestHost, has_version, stamps};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uploaded_plugin_reacts_to_objects_and_is_replaced_and_rolled_back() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    let answer = host.load("p", stamps("1")).await;
    assert_eq!(answer.pointer("/status/phase"), Some(&json!("Active")), "{answer:#}");
    let first = answer["status"]["digest"].clone();
    host.create_map("a").await;
    host.eventually("the first version stamps", |host| has_version(host, "a", "1")).await;
    host.load("p", stamps("2")).await;
    host.eventually("the second version stamps", |host| has_version(host, "a", "2")).await;
    assert_eq!(host.status("p")["versions"].as_array().map(Vec::len), Some(2));
    host.patch_plugin("p", json!({"spec": {"digest": first}})).await;
    host.eventually("the first version is back", |host| has_version(host, "a", "1")).await;
    host.eventually("the status counts", |host| host.status("p")["runs"].as_u64() >= Some(3)).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_upload_leaves_the_old_version_running_and_says_so_twice() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    host.load("p", stamps("1")).await;
    let digest = host.status("p")["digest"].clone();
    for (name, bytes, reason) in hostile::refused() {
        let status = host.manager.upload(TestHost::upload("p", bytes)).await.expect_err(name);
        assert_eq!(status.reason, Reason::Invalid, "{name}");
        assert!(status.message.contains(reason), "{name}: {}", status.message);
        let conditions = host.status("p")["conditions"].clone();
        let noted = conditions.as_array().into_iter().flatten();
        let noted =
            noted.filter(|c| c["type"] == "UploadAccepted" && c["reason"] == reason).count();
        assert_eq!(noted, 1, "{name}: {conditions:#}");
    }
    assert_eq!(host.status("p")["digest"], digest);
    host.create_map("a").await;
    host.eventually("the old version runs", |host| has_version(host, "a", "1")).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_in_reconcile_are_named_and_a_neighbour_runs_on() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    host.load("good", stamps("1")).await;
    host.create_map("seed").await;
    for (at, (name, bytes, kind, words)) in hostile::bad_at_reconcile().into_iter().enumerate() {
        host.load("bad", bytes).await;
        host.patch_plugin(
            "bad",
            json!({"spec": {"limits": {"cpuTime": "100ms", "hostCalls": 1000}}}),
        )
        .await;
        let neighbour = format!("n{at}");
        host.create_map(&neighbour).await;
        host.eventually("the neighbour runs", |host| has_version(host, &neighbour, "1")).await;
        let failed = |host: &TestHost| {
            let stats = host.runtime.stats(Some("bad"));
            let last = stats.iter().filter_map(|c| c.last_error.as_ref()).next_back();
            last.is_some_and(|error| error.kind == kind && error.message.contains(words))
        };
        host.eventually(
            &format!(
                "{name} fails by {kind} with {words:?}: {:#?}",
                host.runtime.stats(Some("bad"))
            ),
            failed,
        )
        .await;
        host.write(
            ("quadrille.dev", "plugins"),
            "",
            "bad",
            Action::Delete(DeleteOptions::default()),
        )
        .await;
        host.eventually("the plugin is gone", |host| host.runtime.stats(Some("bad")).is_empty())
            .await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_flood_is_bounded_and_counted() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    host.create_map("a").await;
    host.load("p", hostile::log_flood()).await;
    host.eventually("lines are dropped", |host| {
        host.status("p")["logLinesDropped"].as_u64() >= Some(4_800)
    })
    .await;
    let lines = host.manager.log("p").expect("the plugin is there").tail(10_000);
    assert!(lines.len() <= 2_000, "{}", lines.len());
    assert!(lines.iter().any(|line| line.message.contains("4800 lines dropped")));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_grants_nothing_starts_and_the_status_says_what_is_missing() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    let upload = PluginUpload { grant_all: false, ..TestHost::upload("p", stamps("1")) };
    host.manager.upload(upload).await.expect("it is accepted");
    let status = host.status("p");
    assert_eq!(status["phase"], "Failed", "{status:#}");
    assert_eq!(status.pointer("/grantsMissing/0/resource"), Some(&json!("configmaps")));
    assert!(status.to_string().contains("needs get on configmaps"), "{status:#}");
    let grants =
        json!([{"group": "", "resource": "configmaps", "verbs": ["get", "list", "patch"]}]);
    host.patch_plugin("p", json!({"spec": {"grants": grants}})).await;
    host.create_map("a").await;
    host.eventually("granted, it runs", |host| has_version(host, "a", "1")).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steady_changes_of_one_plugin_put_off_no_look_at_another() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start_looking_every(Duration::from_secs(1), dir.path()).await;
    host.load("busy", stamps("1")).await;
    host.load("p", stamps("1")).await;
    host.create_map("a").await;
    let clock = Arc::clone(host.registry.clock());
    let deadline = clock.monotonic() + Duration::from_mins(1);
    for count in 0.. {
        if host.status("p")["runs"].as_u64() > Some(0) {
            break;
        }
        assert!(
            clock.monotonic() < deadline,
            "its numbers are not written: {:#}",
            host.status("p")
        );
        let labels = json!({"metadata": {"labels": {"count": count.to_string()}}});
        host.patch_plugin("busy", labels).await;
    }
    host.stop().await;
}

/// The store closes with the host; whether its followers hear of that first is chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_finds_the_store_closed_when_its_host_ends_has_not_failed() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::without_manager(Duration::from_secs(1), dir.path()).await;
    let (manager, from) = (host.manager.clone(), host.registry.store().revision());
    let supervisor = host.end().await;
    for _ in 0..32 {
        let ended = manager.clone().run(from, supervisor.clone()).await;
        ended.expect("that its host ends is no failure of it");
    }
}

fn grants(verbs: &[&str]) -> serde_json::Value {
    json!([{"group": "", "resource": "configmaps", "verbs": verbs}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_grant_is_gone_at_once_whatever_becomes_of_the_rest_of_its_spec() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    host.load("p", stamps("1")).await;
    let digest = host.status("p")["digest"].clone();
    let missing = format!("sha256:{}", "0".repeat(64));
    let less = grants(&["get", "list"]);
    host.patch_plugin("p", json!({"spec": {"digest": missing, "grants": less}})).await;
    host.eventually("its successor is not here", |host| host.status("p")["phase"] == "Degraded")
        .await;
    host.create_map("a").await;
    let denied = |host: &TestHost, count| host.status("p")["denials"].as_u64() >= Some(count);
    host.eventually("what runs on may not patch", |host| denied(host, 1)).await;
    assert!(host.status("p")["grantsGiven"].to_string().contains(r#"["get","list"]"#));
    // The version that runs, under the spec that it never had.
    host.patch_plugin("p", json!({"spec": {"digest": digest}})).await;
    host.eventually("it is as wanted", |host| host.status("p")["phase"] == "Active").await;
    let before = host.status("p")["denials"].as_u64().unwrap_or_default();
    host.create_map("b").await;
    host.eventually("it still may not", |host| denied(host, before + 1)).await;
    assert!(!has_version(&host, "a", "1") && !has_version(&host, "b", "1"));
    assert_eq!(host.status("p")["grantsGiven"], less);
    let more = grants(&["get", "list", "patch"]);
    host.patch_plugin("p", json!({"spec": {"grants": more}})).await;
    host.eventually("granted again, it does", |host| has_version(host, "b", "1")).await;
    // The status is written after the switch: what was granted may be used before it is told.
    host.eventually("and it says so", |host| host.status("p")["grantsGiven"] == more).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_whose_definition_a_policy_refused_runs_once_the_policy_has_gone() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    let group = "admissionregistration.k8s.io";
    let policy = json!({"metadata": {"name": "closed"}, "spec": {
        "matchConstraints": {"resourceRules": [{"operations": ["*"], "resources": ["customresourcedefinitions"],
            "apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["*"]}]},
        "validations": [{"expression": "false", "message": "not now"}]}});
    let binding = json!({"metadata": {"name": "closed"},
        "spec": {"policyName": "closed", "validationActions": ["Deny"]}});
    let (policies, bindings) = ("validatingadmissionpolicies", "validatingadmissionpolicybindings");
    for (resource, body) in [(policies, policy), (bindings, binding)] {
        host.write((group, resource), "", "closed", Action::Create(body.into())).await;
    }
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "seals.test.dev"},
        "spec": {"group": "test.dev", "scope": "Namespaced", "names": {"plural": "seals", "kind": "Seal"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let guest = Guest { crds: vec![definition.to_string()], ..Guest::default() };
    host.load("p", guest.build()).await;
    let status = host.status("p");
    assert!(status.to_string().contains("not now"), "{status:#}");
    let generation = status["observedGeneration"].clone();
    host.write((group, bindings), "", "closed", Action::Delete(DeleteOptions::default())).await;
    host.eventually("it runs", |host| host.status("p")["phase"] == "Active").await;
    assert_eq!(host.status("p")["observedGeneration"], generation, "nobody touched its spec");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_plugin_runs_nothing_until_it_is_resumed_and_a_deleted_one_leaves_nothing() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    host.load("p", stamps("1")).await;
    host.patch_plugin("p", json!({"spec": {"suspended": true}})).await;
    host.eventually("it is suspended", |host| host.status("p")["phase"] == "Suspended").await;
    host.create_map("a").await;
    let created = host.registry.store().revision();
    host.eventually("the change is seen", |host| host.runtime.position() >= created).await;
    host.eventually("the key waits", |host| host.status("p")["queueLength"].as_u64() >= Some(1))
        .await;
    assert!(!has_version(&host, "a", "1"));
    host.patch_plugin("p", json!({"spec": {"suspended": false}})).await;
    host.eventually("it runs again", |host| has_version(host, "a", "1")).await;
    host.write(("quadrille.dev", "plugins"), "", "p", Action::Delete(DeleteOptions::default()))
        .await;
    host.eventually("it is gone", |host| host.runtime.stats(Some("p")).is_empty()).await;
    let files =
        |folder: &str| std::fs::read_dir(dir.path().join(folder)).expect("it is there").count();
    host.eventually("its files are gone", |_| files("components") == 0 && files("code") == 1).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_plugins_run_from_the_cache_and_a_broken_one_stops_no_other() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    host.load("bad", stamps("bad")).await;
    host.load("good", stamps("1")).await;
    let bad = host.status("bad")["digest"].as_str().map(str::to_owned).expect("it has one");
    host.stop().await;
    let bad = bad.replace("sha256:", "");
    std::fs::write(dir.path().join("components").join(format!("{bad}.wasm")), b"junk")
        .expect("writable");
    for entry in std::fs::read_dir(dir.path().join("code")).expect("it is there").flatten() {
        if entry.file_name().to_string_lossy().starts_with(&bad) {
            std::fs::remove_file(entry.path()).expect("it is there");
        }
    }
    let host = TestHost::start(dir.path()).await;
    host.create_map("a").await;
    host.eventually("the good one runs", |host| has_version(host, "a", "1")).await;
    host.eventually("the bad one says why", |host| {
        let status = host.status("bad");
        status["phase"] == "Failed" && status.to_string().contains("not what its name says")
    })
    .await;
    host.stop().await;
}

/// A guest that sets `data.version` of its config map, and adds a line to the object each time: a run too many shows.
fn tallies(version: &str) -> Vec<u8> {
    let patch = json!([
        {"op": "add", "path": "/data", "value": {"version": version}},
        {"op": "add", "path": "/metadata/finalizers/-", "value": format!("tally.example/v{version}")},
    ]);
    let stamp = include_str!("../../../tests/guests/wat/stamp.wat");
    // The first of the three formats.
    let reconcile =
        stamp.replace("(i32.const 1) (i32.const $patch_at)", "(i32.const 0) (i32.const $patch_at)");
    assert_ne!(reconcile, stamp);
    let texts = vec![("patch", patch.to_string())];
    let selector = "tallied=yes".to_owned();
    Guest { version: version.to_owned(), texts, reconcile, selector, ..Guest::default() }.build()
}

/// How often a plugin's version was replaced.
fn generation(host: &TestHost) -> u64 {
    host.runtime.stats(Some("p")).iter().map(|stats| stats.generation).sum()
}

/// Creates config maps with a list to add to, one after the other.
async fn create_maps(host: &TestHost, count: usize) {
    for at in 0..count {
        let name = format!("m{at}");
        let metadata =
            json!({"name": name, "namespace": "default", "finalizers": ["tally.example/none"]});
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        map["metadata"]["labels"] = json!({"tallied": "yes"});
        let create = Action::Create(Body::from(map));
        host.write(("", "configmaps"), "default", &name, create).await;
    }
}

/// Which committed runs each creation of a config map woke, by the map's name.
async fn woken_by_creations(host: &TestHost, start: Revision) -> BTreeMap<String, Vec<u64>> {
    let store = host.registry.store();
    let filter = ChangeFilter { resource: Some(GroupResource::new("", "configmaps")) };
    let mut stream = store.changes(filter, start);
    let (mut creations, mut woken) = (BTreeMap::new(), BTreeMap::<String, Vec<u64>>::new());
    while let Some(batch) = stream.catch_up().await.expect("the history is kept") {
        for change in batch.changes {
            let name = change.key().name.as_ref().to_owned();
            match change.cause.as_ref() {
                Cause::Run(run) => {
                    let created = creations.get(&name).expect("it was created");
                    if run.woken_by.contains(created) {
                        woken.entry(name).or_default().push(run.run);
                    }
                }
                Cause::Request(_) | Cause::System(_) => {
                    assert_eq!(creations.insert(name, change.revision), None, "one write each");
                }
            }
        }
    }
    woken
}

/// Maps come while versions change places: each gets the last version in the end, and its creation leads to no more than
/// one committed run, whichever version that is of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_under_load_lose_and_double_nothing() {
    const SWAPS: usize = 1_000;
    /// How long the runs for a thousand objects may take.
    const LOAD_MAX: Duration = Duration::from_mins(2);
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = Arc::new(TestHost::start(dir.path()).await);
    let versions = ["1", "2"].map(tallies);
    let mut digests = Vec::new();
    for version in &versions {
        let answer = host.load("p", version.clone()).await;
        digests.push(answer["upload"]["digest"].clone());
    }
    let start = host.registry.store().revision();
    let (mut creators, creator) = (tokio::task::JoinSet::new(), Arc::clone(&host));
    creators.spawn(async move { create_maps(&creator, SWAPS).await });
    for swap in 0..SWAPS {
        let before = generation(&host);
        host.patch_plugin("p", json!({"spec": {"digest": digests[swap % 2]}})).await;
        host.eventually("the versions change places", |host| generation(host) > before).await;
    }
    creators.join_all().await;
    // One more so that the last word is version 2's.
    host.patch_plugin("p", json!({"spec": {"digest": digests[1]}})).await;
    // A look at a thousand objects takes long: one that has it is not looked at again before all is quiet.
    let next = Cell::new(0);
    let until_next = |host: &TestHost| {
        while next.get() < SWAPS && has_version(host, &format!("m{}", next.get()), "2") {
            next.set(next.get() + 1);
        }
        next.get() == SWAPS
    };
    host.eventually_within(LOAD_MAX, "every object has the last version", until_next).await;
    let settled = |host: &TestHost| {
        host.runtime
            .stats(Some("p"))
            .iter()
            .all(|c| c.queued == 0 && c.running == 0 && c.timers == 0)
    };
    host.eventually_within(LOAD_MAX, "the queue is empty", settled).await;
    let lost: Vec<_> =
        (0..SWAPS).filter(|at| !has_version(&host, &format!("m{at}"), "2")).collect();
    assert_eq!(lost, [0_usize; 0]);
    let stats = host.runtime.stats(Some("p"));
    assert_eq!(stats.iter().map(|c| c.failures).sum::<u64>(), 0, "{stats:#?}");
    let woken = woken_by_creations(&host, start).await;
    let doubled: Vec<_> = woken.iter().filter(|(_, runs)| runs.len() > 1).collect();
    assert!(
        doubled.is_empty(),
        "{} creations led to more than one run: {doubled:?}",
        doubled.len()
    );
    println!(
        "F1: {SWAPS} swaps beside {SWAPS} creations, {} of them run for: 0 lost, 0 doubled",
        woken.len()
    );
    let host = Arc::try_unwrap(host).ok().expect("nobody else has it");
    host.stop().await;
}
