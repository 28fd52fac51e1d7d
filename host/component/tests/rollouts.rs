//! Candidates on trial, from upload to promotion or the way back.

mod support;

use std::collections::BTreeSet;

use quadrille_guests::Guest;
use quadrille_runtime::RunQuery;
use serde_json::{Value, json};

use support::{TestHost, has_version, stamps};

/// A guest of version 2 that breaks off.
fn broken() -> Vec<u8> {
    Guest { version: "2".to_owned(), reconcile: "(unreachable)".to_owned(), ..Guest::default() }
        .build()
}

const MAPS: usize = 60;

async fn host_with_a_policy(dir: &std::path::Path, canary: Value) -> TestHost {
    let host = TestHost::start(dir).await;
    host.load("p", stamps("1")).await;
    for at in 0..MAPS {
        host.create_map(&format!("m{at}")).await;
    }
    host.eventually("the first version stamps all", |host| count(host, "1") == MAPS).await;
    let rollout = json!({"strategy": "Canary", "canary": canary});
    host.patch_plugin("p", json!({"spec": {"rollout": rollout}})).await;
    host
}

fn count(host: &TestHost, version: &str) -> usize {
    (0..MAPS).filter(|at| has_version(host, &format!("m{at}"), version)).count()
}

fn phase(host: &TestHost) -> Value {
    host.status("p").pointer("/rollout/phase").cloned().unwrap_or_default()
}

/// The maps that the last candidate ran for.
async fn tried(host: &TestHost) -> Vec<String> {
    let digest = host.status("p").pointer("/rollout/candidate").cloned().unwrap_or_default();
    let runs = host.runtime.find_runs(&RunQuery::default(), usize::MAX).await;
    let runs = runs.expect("they are in memory");
    let its = runs.iter().filter(|run| *run.code.spec.digest == digest);
    let maps: BTreeSet<String> = its.map(|run| run.object.name.to_string()).collect();
    maps.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_does_well_takes_over_by_itself() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let canary = json!({"percent": 20, "duration": "10m", "runsMin": 2});
    let host = host_with_a_policy(dir.path(), canary).await;
    host.load("p", stamps("2")).await;
    assert_eq!(phase(&host), "Canary", "{:#}", host.status("p"));
    host.eventually("it has some", |host| count(host, "2") > 0).await;
    assert!(count(&host, "1") > 0, "not all at once");
    let short = json!({"rollout": {"canary": {"duration": "100ms"}}});
    host.patch_plugin("p", json!({"spec": short})).await;
    host.eventually("it has all", |host| count(host, "2") == MAPS).await;
    host.eventually("it says so", |host| phase(host) == "Promoted").await;
    assert_eq!(host.status("p")["version"], "2");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_candidate_at_five_percent_is_rolled_back_by_itself() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = host_with_a_policy(dir.path(), json!({"percent": 5, "duration": "10s"})).await;
    let first = host.status("p")["digest"].clone();
    host.load("p", broken()).await;
    host.eventually("it is rolled back", |host| phase(host) == "RolledBack").await;
    let status = host.status("p");
    assert_eq!((&status["digest"], &status["phase"]), (&first, &json!("Degraded")), "{status:#}");
    assert_eq!(status.pointer("/rollout/objectsTouched"), Some(&json!(0)), "a trap writes nothing");
    let runs = status.pointer("/rollout/runs").and_then(Value::as_u64).unwrap_or(u64::MAX);
    assert!(runs >= 1, "{status:#}");
    assert_eq!(tried(&host).await, ["m31", "m59"], "only its share of {MAPS} keys");
    assert!(
        status.to_string().contains("was rolled back: 1 of")
            || status.to_string().contains("broke off")
    );
    host.create_map("after").await;
    host.eventually("the first version has all keys", |host| has_version(host, "after", "1")).await;
    assert_eq!(count(&host, "1"), MAPS);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_middle_of_a_trial_goes_on_with_both_versions() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = host_with_a_policy(dir.path(), json!({"percent": 20, "duration": "10m"})).await;
    host.load("p", stamps("2")).await;
    host.eventually("it has some", |host| count(host, "2") > 0).await;
    let quiet =
        |host: &TestHost| host.runtime.stats(None).iter().all(|c| c.queued + c.running == 0);
    host.eventually("its share is done", quiet).await;
    let (ones, twos) = (count(&host, "1"), count(&host, "2"));
    host.stop().await;
    let host = TestHost::start(dir.path()).await;
    assert_eq!(phase(&host), "Canary");
    let same = |host: &TestHost| (count(host, "1"), count(host, "2")) == (ones, twos);
    host.eventually("the same keys are the candidate's", same).await;
    assert_eq!(host.status("p")["version"], "1", "{:#}", host.status("p"));
    host.patch_plugin("p", json!({"spec": {"rollout": {"strategy": "Replace"}}})).await;
    host.eventually("at once, then", |host| count(host, "2") == MAPS).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_rolled_back_is_not_tried_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = host_with_a_policy(dir.path(), json!({"percent": 50, "duration": "10s"})).await;
    host.load("p", broken()).await;
    host.eventually("it is rolled back", |host| phase(host) == "RolledBack").await;
    host.stop().await;
    let host = TestHost::start(dir.path()).await;
    assert_eq!(
        (phase(&host), host.status("p")["version"].clone()),
        (json!("RolledBack"), json!("1"))
    );
    host.create_map("after").await;
    host.eventually("the first version runs", |host| has_version(host, "after", "1")).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preflight_that_could_not_be_made_is_made_again() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let host = TestHost::start(dir.path()).await;
    host.load("p", stamps("1")).await;
    host.patch_plugin("p", json!({"spec": {"rollout": {"strategy": "Preflight"}}})).await;
    host.load("p", stamps("2")).await;
    host.eventually("the second attempt passes", |host| phase(host) == "Passed").await;
    assert_eq!(host.status("p")["version"], "2");
    host.stop().await;
}
