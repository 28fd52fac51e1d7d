//! The job controller on a world: completions, retries, indexes, pauses, ends.

use super::*;
use quadrille_sdk::k8s::Raw;
use quadrille_testing::World;
use serde_json::{Value, json};

fn job(change: impl FnOnce(&mut Job)) -> Job {
    let mut job = Job { metadata: Metadata::named("j"), ..Job::default() };
    job.spec.template.spec = Some(Raw::from(json!({
        "containers": [{"name": "c", "image": "img:1"}], "restartPolicy": "Never",
    })));
    change(&mut job);
    job
}

/// The host takes a selector only with `manualSelector`; without one it makes it, as Kubernetes does.
fn apply(world: &mut World, job: &Job) {
    let mut value: Value = serde_json::from_str(&job.to_json().expect("JSON")).expect("JSON");
    value["spec"].as_object_mut().expect("a spec").remove("selector");
    value.as_object_mut().expect("a job").remove("status");
    world.apply_json(&value).expect("a good job");
    world.settle();
}

fn world(change: impl FnOnce(&mut Job)) -> World {
    let mut world = World::new(plugin());
    apply(&mut world, &job(change));
    world
}

fn active(world: &World) -> Vec<Pod> {
    world.all::<Pod>().into_iter().filter(Pod::is_active).collect()
}

fn finish_one(world: &mut World, phase: &str) {
    let name = active(world).first().expect("an active pod").name().to_owned();
    world.set_status::<Pod>(&name, &json!({"phase": phase}));
    world.settle();
}

fn status(world: &World) -> JobStatus {
    world.expect::<Job>("j").status
}

fn is(world: &World, kind: &str) -> Option<String> {
    let conditions = status(world).conditions;
    conditions.into_iter().find(|c| c.r#type == kind && c.status == "True").map(|c| c.reason)
}

#[test]
fn as_many_pods_run_at_once_as_parallelism_says() {
    let mut world = world(|job| {
        job.spec.parallelism = Some(3);
        job.spec.completions = Some(5);
    });
    assert_eq!(active(&world).len(), 3);
    assert_eq!((status(&world).active, status(&world).ready), (Some(3), Some(0)));
    for _ in 0..3 {
        finish_one(&mut world, "Succeeded");
    }
    assert_eq!(active(&world).len(), 2);
    assert_eq!(status(&world).succeeded, Some(3));
    world.torture(20);
}

#[test]
fn a_job_is_complete_when_enough_pods_have_succeeded() {
    let mut world = world(|job| job.spec.completions = Some(2));
    finish_one(&mut world, "Succeeded");
    assert_eq!(is(&world, "Complete"), None);
    finish_one(&mut world, "Succeeded");
    assert_eq!(is(&world, "Complete").as_deref(), Some("CompletionsReached"));
    let status = status(&world);
    assert!(status.completion_time.is_some() && status.active.is_none());
    assert!(active(&world).is_empty());
}

#[test]
fn a_failed_pod_is_retried_after_a_wait() {
    let mut world = world(|_| ());
    finish_one(&mut world, "Failed");
    assert!(active(&world).is_empty(), "the first retry waits ten seconds");
    world.advance(Duration::from_secs(11));
    assert_eq!(active(&world).len(), 1);
    assert_eq!(status(&world).failed, Some(1));
}

#[test]
fn too_many_failures_fail_the_job() {
    let mut world = world(|job| job.spec.backoff_limit = Some(1));
    finish_one(&mut world, "Failed");
    world.advance(Duration::from_secs(11));
    finish_one(&mut world, "Failed");
    assert_eq!(is(&world, "Failed").as_deref(), Some("BackoffLimitExceeded"));
    assert!(active(&world).is_empty());
    world.advance(Duration::from_hours(1));
    assert_eq!(world.all::<Pod>().len(), 2);
}

#[test]
fn a_deleted_pod_counts_as_failed_once() {
    let mut world = world(|_| ());
    let name = active(&world)[0].name().to_owned();
    world.delete::<Pod>(&name);
    world.settle();
    assert_eq!(status(&world).failed, Some(1));
    assert!(world.get::<Pod>(&name).is_none(), "nothing holds a counted pod");
    world.torture(20);
}

#[test]
fn a_job_that_takes_too_long_fails() {
    let mut world = world(|job| job.spec.active_deadline_seconds = Some(30));
    world.advance(Duration::from_secs(29));
    assert_eq!(is(&world, "Failed"), None);
    world.advance(Duration::from_secs(2));
    assert_eq!(is(&world, "Failed").as_deref(), Some("DeadlineExceeded"));
    assert!(active(&world).is_empty());
}

#[test]
fn a_suspended_job_has_no_pods_until_it_is_resumed() {
    let mut world = world(|job| job.spec.suspend = Some(true));
    assert_eq!(is(&world, "Suspended").as_deref(), Some("JobSuspended"));
    assert!(world.all::<Pod>().is_empty() && status(&world).start_time.is_none());
    world.edit::<Job>("j", |job| job.spec.suspend = Some(false));
    world.settle();
    assert_eq!((active(&world).len(), is(&world, "Suspended")), (1, None));
    assert!(status(&world).start_time.is_some());
    world.edit::<Job>("j", |job| job.spec.suspend = Some(true));
    world.settle();
    assert!(world.all::<Pod>().is_empty());
}

#[test]
fn every_index_of_an_indexed_job_runs_until_it_succeeds() {
    let mut world = world(|job| {
        job.spec.completion_mode = Some("Indexed".to_owned());
        job.spec.parallelism = Some(2);
        job.spec.completions = Some(3);
    });
    let pods = active(&world);
    let indexes: Vec<_> = pods.iter().filter_map(index::of).collect();
    assert_eq!(indexes, [0, 1]);
    let spec = pods[0].spec.as_ref().expect("a spec").to_value().expect("JSON");
    assert_eq!(spec["hostname"], "j-0");
    assert_eq!(spec["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    assert_eq!(pods[0].metadata.generate_name, "j-0-");
    for _ in 0..3 {
        finish_one(&mut world, "Succeeded");
    }
    assert_eq!(status(&world).completed_indexes.as_deref(), Some("0-2"));
    assert!(is(&world, "Complete").is_some());
}

#[test]
fn a_finished_job_goes_when_its_time_is_over() {
    let mut world = world(|job| job.spec.ttl_seconds_after_finished = Some(10));
    finish_one(&mut world, "Succeeded");
    world.advance(Duration::from_secs(9));
    assert!(world.get::<Job>("j").is_some());
    world.advance(Duration::from_secs(2));
    assert!(world.get::<Job>("j").is_none() && world.all::<Pod>().is_empty());
}

#[test]
fn a_deleted_job_takes_its_pods_along() {
    let mut world = world(|job| job.spec.parallelism = Some(2));
    world.delete::<Job>("j");
    world.settle();
    assert!(world.all::<Pod>().is_empty(), "no finalizer holds the pods of a job that is gone");
}

fn fail_with(world: &mut World, code: i64) {
    let name = active(world).first().expect("an active pod").name().to_owned();
    let ended = json!({"terminated": {"exitCode": code}});
    let containers = json!([{"name": "c", "image": "img:1", "imageID": "", "ready": false,
        "restartCount": 0, "state": ended}]);
    world.set_status::<Pod>(&name, &json!({"phase": "Failed", "containerStatuses": containers}));
    world.settle();
}

#[test]
fn a_failure_policy_says_what_an_exit_code_means() {
    let mut world = world(|job| {
        job.spec.backoff_limit = Some(1);
        job.spec.pod_failure_policy = Some(Raw::from(json!({"rules": [
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
            {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [1]}},
        ]})));
    });
    for _ in 0..3 {
        fail_with(&mut world, 7);
        world.advance(Duration::from_mins(2));
    }
    assert_eq!((status(&world).failed, is(&world, "Failed")), (None, None));
    fail_with(&mut world, 42);
    assert_eq!(is(&world, "Failed").as_deref(), Some("PodFailurePolicy"));
}

#[test]
fn an_index_that_fails_too_often_is_given_up_and_the_others_go_on() {
    let mut world = world(|job| {
        job.spec.completion_mode = Some("Indexed".to_owned());
        job.spec.parallelism = Some(2);
        job.spec.completions = Some(2);
        job.spec.backoff_limit_per_index = Some(1);
    });
    for _ in 0..2 {
        let first = active(&world).into_iter().find(|pod| index::of(pod) == Some(0));
        let name = first.expect("a pod of the first index").name().to_owned();
        world.set_status::<Pod>(&name, &json!({"phase": "Failed"}));
        world.settle();
        world.advance(Duration::from_secs(30));
    }
    assert_eq!(status(&world).failed_indexes.as_deref(), Some("0"));
    assert_eq!(is(&world, "Failed"), None, "the second index still runs");
    finish_one(&mut world, "Succeeded");
    assert_eq!(is(&world, "Failed").as_deref(), Some("FailedIndexes"));
}

#[test]
fn a_success_policy_ends_the_job_early() {
    let mut world = world(|job| {
        job.spec.completion_mode = Some("Indexed".to_owned());
        job.spec.parallelism = Some(3);
        job.spec.completions = Some(3);
        job.spec.success_policy =
            Some(Raw::from(json!({"rules": [{"succeededIndexes": "0", "succeededCount": 1}]})));
    });
    finish_one(&mut world, "Succeeded");
    assert_eq!(is(&world, "Complete").as_deref(), Some("SuccessPolicy"));
    assert!(active(&world).is_empty());
}

#[test]
fn a_job_that_another_looks_after_is_left_alone() {
    let world = world(|job| job.spec.managed_by = Some("example.com/other".to_owned()));
    assert!(world.all::<Pod>().is_empty() && status(&world).start_time.is_none());
}
