//! The cron job controller on a world, with its clock.

use super::*;
use quadrille_testing::World;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_mins(1);

fn world(change: impl FnOnce(&mut Value)) -> World {
    let mut cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"},
        "spec": {
            "schedule": "* * * * *",
            "jobTemplate": {
                "metadata": {"labels": {"of": "c"}},
                "spec": {"template": {"spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "c", "image": "img:1"}],
                }}},
            },
        },
    });
    change(&mut cron);
    let mut world = World::new(plugin());
    world.apply_json(&cron).expect("a good cron job");
    world.settle();
    world
}

fn jobs(world: &World) -> Vec<Job> {
    let mut jobs = world.all::<Job>();
    jobs.sort_by_key(|job| job.metadata.creation_timestamp);
    jobs
}

fn finish(world: &mut World, name: &str, end: &str) {
    let at = world.expect::<Job>(name).metadata.creation_timestamp.expect("created");
    let mut status = json!({"startTime": at, "conditions": [
        {"type": end, "status": "True", "lastTransitionTime": at, "lastProbeTime": at},
    ]});
    let cause = if end == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
    let before = json!({
        "type": cause, "status": "True", "lastTransitionTime": at, "lastProbeTime": at,
    });
    status["conditions"].as_array_mut().expect("a list").insert(0, before);
    if end == "Complete" {
        status["completionTime"] = json!(at);
    }
    world.set_status::<Job>(name, &status);
    world.settle();
}

fn status(world: &World) -> CronJobStatus {
    world.expect::<CronJob>("c").status
}

#[test]
fn a_job_is_made_every_minute() {
    let mut world = world(|_| ());
    assert!(jobs(&world).is_empty());
    world.advance(MINUTE + Duration::from_secs(1));
    let made = jobs(&world);
    assert_eq!(made.len(), 1);
    let due = status(&world).last_schedule_time.expect("a time");
    assert_eq!(made[0].name(), format!("c-{}", due.seconds() / 60));
    assert_eq!(made[0].metadata.annotations[SCHEDULED], due.to_string());
    assert_eq!(made[0].metadata.labels["of"], "c");
    assert_eq!(status(&world).active[0].uid, made[0].uid());
    world.advance(MINUTE * 3);
    assert_eq!(jobs(&world).len(), 4);
    world.torture(10);
}

#[test]
fn a_suspended_one_makes_nothing_until_it_is_resumed() {
    let mut world = world(|cron| cron["spec"]["suspend"] = true.into());
    world.advance(MINUTE * 5);
    assert!(jobs(&world).is_empty());
    world.edit::<CronJob>("c", |cron| cron.spec.suspend = Some(false));
    world.settle();
    assert_eq!(jobs(&world).len(), 1, "only the latest of the missed");
}

#[test]
fn what_was_missed_for_too_long_is_not_made() {
    let mut world = world(|cron| {
        cron["spec"]["schedule"] = "0 * * * *".into();
        cron["spec"]["suspend"] = true.into();
        cron["spec"]["startingDeadlineSeconds"] = 60.into();
    });
    world.advance(MINUTE * 90);
    world.edit::<CronJob>("c", |cron| cron.spec.suspend = Some(false));
    world.settle();
    assert!(jobs(&world).is_empty());
}

#[test]
fn forbid_waits_for_the_running_job() {
    let mut world = world(|cron| cron["spec"]["concurrencyPolicy"] = "Forbid".into());
    world.advance(MINUTE * 3);
    let made = jobs(&world);
    assert_eq!(made.len(), 1);
    finish(&mut world, made[0].name(), "Complete");
    assert_eq!(status(&world).active.len(), 1, "the missed one is made when the first has ended");
    assert!(status(&world).last_successful_time.is_some());
}

#[test]
fn replace_stops_the_running_job() {
    let mut world = world(|cron| cron["spec"]["concurrencyPolicy"] = "Replace".into());
    world.advance(MINUTE + Duration::from_secs(1));
    let first = jobs(&world)[0].uid().to_owned();
    world.advance(MINUTE);
    let now = jobs(&world);
    assert_eq!(now.len(), 1);
    assert_ne!(now[0].uid(), first);
}

#[test]
fn finished_jobs_beyond_the_limits_go() {
    let mut world = world(|cron| {
        cron["spec"]["successfulJobsHistoryLimit"] = 2.into();
        cron["spec"]["failedJobsHistoryLimit"] = 0.into();
    });
    for at in 0..5 {
        world.advance(MINUTE);
        let running: Vec<Job> =
            jobs(&world).into_iter().filter(|job| job.end().is_none()).collect();
        for job in running {
            finish(&mut world, job.name(), if at == 2 { "Failed" } else { "Complete" });
        }
    }
    let left = jobs(&world);
    assert_eq!(left.iter().filter(|job| job.end() == Some("Complete")).count(), 2);
    assert_eq!(left.iter().filter(|job| job.end() == Some("Failed")).count(), 0);
}

#[test]
fn a_job_that_was_deleted_is_no_longer_active() {
    let mut world = world(|cron| cron["spec"]["schedule"] = "0 * * * *".into());
    world.advance(MINUTE * 61);
    let name = jobs(&world)[0].name().to_owned();
    world.delete::<Job>(&name);
    world.settle();
    assert!(status(&world).active.is_empty());
    assert!(world.event_reasons().contains(&"MissingJob".to_owned()));
}

#[test]
fn times_are_shown_on_the_clocks_of_the_zone() {
    let zone = Zone::named("Europe/Berlin").expect("a zone");
    let time = Time::parse("2026-07-01T22:30:00Z").expect("a time");
    assert_eq!(stamp(time, &zone), "2026-07-02T00:30:00+02:00");
}
