//! Plugins from upload to removal on a whole host without HTTP: real store, registry, runtime and Wasm.

mod support;

use quadrille_component::PluginUpload;
use quadrille_guests::{Guest, hostile};
use quadrille_registry::{Action, DeleteOptions, Reason};
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
    assert_eq!(host.status("p")["grantsGiven"], more);
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

/// Every object must be seen by exactly one committed run per version that it lived under: nothing is lost, and
/// nothing commits twice for one change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_under_load_lose_and_double_nothing() {
    const SWAPS: usize = 1_000;
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    let versions = ["1", "2"].map(stamps);
    let mut digests = Vec::new();
    for version in &versions {
        let answer = host.load("p", version.clone()).await;
        digests.push(answer["upload"]["digest"].clone());
    }
    for swap in 0..SWAPS {
        host.create_map(&format!("m{swap}")).await;
        host.patch_plugin("p", json!({"spec": {"digest": digests[swap % 2]}})).await;
    }
    // One more so that the last word is version 2's.
    host.patch_plugin("p", json!({"spec": {"digest": digests[1]}})).await;
    host.eventually("every object has the last version", |host| {
        (0..SWAPS).all(|at| has_version(host, &format!("m{at}"), "2"))
    })
    .await;
    let settled = |host: &TestHost| {
        host.runtime
            .stats(Some("p"))
            .iter()
            .all(|c| c.queued == 0 && c.running == 0 && c.timers == 0)
    };
    host.eventually("the queue is empty", settled).await;
    let stats = host.runtime.stats(Some("p"));
    assert_eq!(stats.iter().map(|c| c.failures).sum::<u64>(), 0, "{stats:#?}");
    host.stop().await;
}
