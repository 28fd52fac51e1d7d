//! The disruption controller on a world, with replica sets beside it.

use super::*;
use quadrille_testing::World;
use serde_json::{Value, json};

fn world(spec: &Value) -> World {
    let mut world = World::new(plugin()).with(replicaset::plugin());
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": spec,
    });
    world.apply_json(&budget).expect("a good budget");
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r"},
        "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "c", "image": "img:1"}]},
            },
        },
    });
    world.apply_json(&set).expect("a good set");
    world.settle();
    world
}

fn make_ready(world: &mut World, count: usize) {
    let ready = json!({"type": "Ready", "status": "True"});
    for pod in world.all::<Pod>().into_iter().take(count) {
        let status = json!({"phase": "Running", "conditions": [ready]});
        world.set_status::<Pod>(pod.name(), &status);
    }
    world.settle();
}

/// Expected, desired, healthy, allowed.
fn counts(world: &World) -> [i64; 4] {
    let status = world.expect::<PodDisruptionBudget>("b").status;
    let PodDisruptionBudgetStatus { expected_pods, desired_healthy, current_healthy, .. } = status;
    [expected_pods, desired_healthy, current_healthy, status.disruptions_allowed]
}

fn reason(world: &World) -> String {
    let status = world.expect::<PodDisruptionBudget>("b").status;
    status.conditions.first().map(|c| c.reason.clone()).unwrap_or_default()
}

fn selector() -> Value {
    json!({"matchLabels": {"app": "x"}})
}

#[test]
fn the_most_that_may_be_missing_is_counted_from_what_owners_want() {
    let mut world = world(&json!({"maxUnavailable": 1, "selector": selector()}));
    assert_eq!(counts(&world), [4, 3, 0, 0]);
    assert_eq!(reason(&world), "InsufficientPods");
    make_ready(&mut world, 4);
    assert_eq!(counts(&world), [4, 3, 4, 1]);
    assert_eq!(reason(&world), "SufficientPods");
    world.torture(20);
}

#[test]
fn the_least_that_must_be_there_is_a_number_or_a_share() {
    let mut number = world(&json!({"minAvailable": 1, "selector": selector()}));
    make_ready(&mut number, 3);
    assert_eq!(counts(&number), [4, 1, 3, 2]);
    let mut share = world(&json!({"minAvailable": "60%", "selector": selector()}));
    make_ready(&mut share, 4);
    assert_eq!(counts(&share), [4, 3, 4, 1]);
}

#[test]
fn an_evicted_pod_does_not_count_until_its_time_is_over() {
    let mut world = world(&json!({"minAvailable": 1, "selector": selector()}));
    make_ready(&mut world, 4);
    let pod = world.all::<Pod>().remove(0);
    let mut budget = world.expect::<PodDisruptionBudget>("b").status;
    let now = pod.metadata.creation_timestamp.expect("created");
    budget.disrupted_pods.insert(pod.name().to_owned(), now);
    world.set_status::<PodDisruptionBudget>("b", &json!(budget));
    world.settle();
    assert_eq!(counts(&world), [4, 1, 3, 2]);
    world.advance(Duration::from_mins(3));
    assert_eq!(counts(&world), [4, 1, 4, 3]);
    assert!(world.event_reasons().contains(&"NotDeleted".to_owned()));
}

#[test]
fn without_an_owner_that_is_known_nothing_may_be_evicted() {
    let mut world = world(&json!({"maxUnavailable": 1, "selector": selector()}));
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "strange", "labels": {"app": "x"}, "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "gone", "uid": "1",
            "controller": true,
        }, {
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r",
            "uid": world.expect::<quadrille_sdk::k8s::ReplicaSet>("r").uid(),
        }]},
        "spec": {"containers": [{"name": "c", "image": "img:1"}]},
    });
    world.apply_json(&pod).expect("a good pod");
    world.settle();
    assert_eq!(reason(&world), "SyncFailed");
    assert_eq!(counts(&world)[3], 0);
}
