//! The daemon set controller on a world: nodes that come, fit, change and go, and updates.

use super::*;
use kinds::DaemonSetStatus;
use quadrille_testing::World;
use serde_json::{Value, json};

fn world(change: impl FnOnce(&mut Value)) -> World {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "c", "image": "img:1"}]},
            },
        },
    });
    change(&mut set);
    let mut world = World::new(plugin());
    world.apply_json(&set).expect("a good set");
    world.settle();
    world
}

/// A node that is ready: the host keeps pods from a new one until somebody says so.
fn add_node(world: &mut World, name: &str, labels: &Value) {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
    });
    world.apply_json(&node).expect("a good node");
    world.edit::<Node>(name, |node| node.spec.taints.clear());
    world.settle();
}

fn add_nodes(world: &mut World, names: &[&str]) {
    for name in names {
        add_node(world, name, &json!({}));
    }
}

/// The nodes that the pods are for.
fn places(world: &World) -> Vec<String> {
    let target = |pod: &Pod| {
        let placement = Placement::of(pod.spec.as_ref()).expect("a spec");
        placement.target().unwrap_or_default().to_owned()
    };
    let mut places: Vec<String> = world.all::<Pod>().iter().map(target).collect();
    places.sort();
    places
}

fn status(world: &World) -> DaemonSetStatus {
    world.expect::<DaemonSet>("d").status
}

fn make_all_ready(world: &mut World) {
    for _ in 0..50 {
        world.advance(Duration::from_millis(5));
        let waiting = world.all::<Pod>().into_iter().find(|pod| !pod.is_ready());
        let Some(pod) = waiting else { return };
        let ready = json!({"type": "Ready", "status": "True"});
        world.set_status::<Pod>(pod.name(), &json!({"phase": "Running", "conditions": [ready]}));
    }
}

#[test]
fn without_nodes_everything_is_zero() {
    let world = world(|_| ());
    let expected = DaemonSetStatus { observed_generation: 1, ..DaemonSetStatus::default() };
    assert_eq!(status(&world), expected);
    assert!(world.all::<Pod>().is_empty());
    let revision = world.all::<history::ControllerRevision>().remove(0);
    assert_eq!(revision.name(), "d-5d57d9744c");
}

#[test]
fn every_node_that_fits_gets_one_pod() {
    let mut world = world(|set| {
        set["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "fast"});
    });
    add_node(&mut world, "a", &json!({"disk": "fast"}));
    add_node(&mut world, "b", &json!({"disk": "slow"}));
    add_node(&mut world, "c", &json!({"disk": "fast"}));
    assert_eq!(places(&world), ["a", "c"]);
    make_all_ready(&mut world);
    let status = status(&world);
    assert_eq!((status.desired_number_scheduled, status.current_number_scheduled), (2, 2));
    assert_eq!((status.number_ready, status.number_available), (2, 2));
    world.torture(20);
}

#[test]
fn a_node_that_fits_no_longer_loses_its_pod() {
    let mut world = world(|_| ());
    add_nodes(&mut world, &["a", "b"]);
    world.edit::<Node>("a", |node| {
        let effect = "NoExecute".to_owned();
        node.spec.taints = vec![kinds::Taint { key: "k".to_owned(), effect, ..Default::default() }];
    });
    world.settle();
    assert_eq!(places(&world), ["b"]);
    world.delete::<Node>("b");
    world.settle();
    assert!(places(&world).is_empty());
}

#[test]
fn a_pod_that_ended_is_made_anew() {
    let mut world = world(|_| ());
    add_nodes(&mut world, &["a"]);
    let first = world.all::<Pod>().remove(0);
    world.set_status::<Pod>(first.name(), &json!({"phase": "Failed"}));
    world.settle();
    let second = world.all::<Pod>().remove(0);
    assert_ne!(first.uid(), second.uid());
    assert_eq!(places(&world), ["a"]);
}

fn set_image(world: &mut World, image: &str) {
    world.edit::<DaemonSet>("d", |set| {
        let mut spec = set.spec.template.spec.as_ref().expect("a spec").to_value().expect("JSON");
        spec["containers"][0]["image"] = image.into();
        set.spec.template.spec = Some(spec.into());
    });
}

#[test]
fn an_update_takes_no_more_pods_away_than_it_may() {
    let mut world = world(|_| ());
    add_nodes(&mut world, &["a", "b", "c"]);
    make_all_ready(&mut world);
    let newest = |world: &World| {
        let pods = world.all::<Pod>();
        let revisions: BTreeSet<String> =
            pods.iter().map(|pod| pod.metadata.labels[REVISION].clone()).collect();
        (pods.len(), pods.iter().filter(|pod| pod.is_ready()).count(), revisions.len())
    };
    set_image(&mut world, "img:2");
    world.advance(Duration::from_millis(5));
    assert_eq!(newest(&world), (3, 2, 2), "one at a time");
    make_all_ready(&mut world);
    assert_eq!(newest(&world), (3, 3, 1));
    assert_eq!(status(&world).updated_number_scheduled, 3);
    assert_eq!(world.all::<history::ControllerRevision>().len(), 2);
}

#[test]
fn an_update_with_a_surge_has_the_new_pod_first() {
    let mut world = world(|set| {
        set["spec"]["updateStrategy"] = json!({
            "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        });
    });
    add_nodes(&mut world, &["a", "b"]);
    make_all_ready(&mut world);
    set_image(&mut world, "img:2");
    world.settle();
    assert_eq!(world.all::<Pod>().len(), 3);
    make_all_ready(&mut world);
    assert_eq!(places(&world), ["a", "b"]);
    assert_eq!(status(&world).updated_number_scheduled, 2);
}
