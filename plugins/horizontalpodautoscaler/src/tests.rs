//! The autoscaler on a world: bounds, and what it says.

use super::*;
use quadrille_sdk::k8s::ReplicaSet;
use quadrille_testing::World;
use serde_json::json;

fn world(replicas: Option<i64>) -> World {
    let mut world = World::new(plugin());
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {
            "minReplicas": 2, "maxReplicas": 4,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r"},
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
            }}],
        },
    });
    world.apply_json(&autoscaler).expect("a good autoscaler");
    if let Some(replicas) = replicas {
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "x"}},
                "template": {
                    "metadata": {"labels": {"app": "x"}},
                    "spec": {"containers": [{"name": "c", "image": "img:1"}]},
                },
            },
        });
        world.apply_json(&set).expect("a good set");
    }
    world.advance(Duration::from_secs(16));
    world
}

fn condition(world: &World, kind: &str) -> (String, String, String) {
    let status = world.expect::<HorizontalPodAutoscaler>("h").status;
    let found = status.conditions.into_iter().find(|condition| condition.r#type == kind);
    found.map(|c| (c.status, c.reason, c.message)).unwrap_or_default()
}

#[test]
fn a_missing_target_is_named() {
    let mut world = world(None);
    let (status, reason, message) = condition(&world, "AbleToScale");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "FailedGetScale"));
    assert!(message.ends_with("replicasets.apps \"r\" not found"), "{message}");
    world.torture(20);
}

#[test]
fn targets_are_kept_within_bounds() {
    for (replicas, wanted) in [(1, 2), (9, 4)] {
        let mut world = world(Some(replicas));
        assert_eq!(world.expect::<ReplicaSet>("r").spec.replicas, Some(wanted));
        assert!(world.event_reasons().contains(&"SuccessfulRescale".to_owned()));
        world.advance(Duration::from_secs(20));
        assert_eq!(condition(&world, "AbleToScale").1, "SucceededGetScale");
        assert_eq!(world.expect::<ReplicaSet>("r").spec.replicas, Some(wanted));
    }
}

#[test]
fn measures_are_not_known_where_nobody_measures() {
    let mut world = world(Some(3));
    let (status, reason, message) = condition(&world, "ScalingActive");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "FailedGetResourceMetric"));
    assert!(message.contains("pods.metrics.k8s.io"), "{message}");
    world.torture(20);
}

#[test]
fn a_target_at_zero_is_left_alone() {
    let world = world(Some(0));
    assert_eq!(condition(&world, "ScalingActive").1, "ScalingDisabled");
    assert_eq!(world.expect::<ReplicaSet>("r").spec.replicas, Some(0));
}
