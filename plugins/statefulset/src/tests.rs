//! The stateful set controller on a world: order, identity, claims, updates, revisions.

use super::*;
use quadrille_testing::World;
use serde_json::{Value, json};

fn set(change: impl FnOnce(&mut Value)) -> Value {
    let mut set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"},
        "spec": {
            "replicas": 3, "serviceName": "s", "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "c", "image": "img:1"}]},
            },
        },
    });
    change(&mut set);
    set
}

fn world(change: impl FnOnce(&mut Value)) -> World {
    let mut world = World::new(plugin());
    world.apply_json(&set(change)).expect("a good set");
    world.settle();
    world
}

fn names(world: &World) -> Vec<String> {
    world.all::<Pod>().iter().map(|pod| pod.name().to_owned()).collect()
}

fn make_ready(world: &mut World, name: &str) {
    let ready = json!({"type": "Ready", "status": "True"});
    world.set_status::<Pod>(name, &json!({"phase": "Running", "conditions": [ready]}));
    world.advance(Duration::from_millis(5));
}

/// Every pod that comes is made ready, until nothing moves.
fn run(world: &mut World) {
    for _ in 0..50 {
        world.advance(Duration::from_millis(5));
        let waiting = world.all::<Pod>().into_iter().find(|pod| !pod.is_ready());
        let Some(pod) = waiting else { return };
        make_ready(world, pod.name());
    }
    assert!(names(world).is_empty(), "it does not end");
}

fn status(world: &World) -> StatefulSetStatus {
    world.expect::<StatefulSet>("s").status
}

fn images(world: &World) -> Vec<String> {
    let image = |pod: &Pod| {
        let spec: Value = pod.spec.as_ref().expect("a spec").to_value().expect("JSON");
        spec["containers"][0]["image"].as_str().unwrap_or_default().to_owned()
    };
    world.all::<Pod>().iter().map(image).collect()
}

fn set_image(world: &mut World, image: &str) {
    world.edit::<StatefulSet>("s", |set| {
        let mut spec = set.spec.template.spec.as_ref().expect("a spec").to_value().expect("JSON");
        spec["containers"][0]["image"] = image.into();
        set.spec.template.spec = Some(spec.into());
    });
}

#[test]
fn pods_come_one_after_the_other() {
    let mut world = world(|_| ());
    assert_eq!(names(&world), ["s-0"]);
    let pod = world.expect::<Pod>("s-0");
    let label = |key: &str| pod.metadata.labels.get(key).map(String::as_str);
    assert_eq!(label("statefulset.kubernetes.io/pod-name"), Some("s-0"));
    assert_eq!(label("apps.kubernetes.io/pod-index"), Some("0"));
    assert_eq!(label(identity::REVISION), Some(status(&world).update_revision.as_str()));
    let spec = pod.spec.as_ref().expect("a spec").to_value().expect("JSON");
    assert_eq!((&spec["hostname"], &spec["subdomain"]), (&json!("s-0"), &json!("s")));
    make_ready(&mut world, "s-0");
    assert_eq!(names(&world), ["s-0", "s-1"]);
    run(&mut world);
    assert_eq!(names(&world), ["s-0", "s-1", "s-2"]);
    let status = status(&world);
    assert_eq!((status.replicas, status.ready_replicas, status.current_replicas), (3, 3, 3));
    assert_eq!(status.collision_count, Some(0));
    world.torture(20);
}

#[test]
fn the_revision_has_the_name_that_kubernetes_gives_it() {
    let world = world(|_| ());
    assert_eq!(status(&world).update_revision, "s-6f68c9f5cd");
}

#[test]
fn parallel_pods_come_together() {
    let world = world(|set| set["spec"]["podManagementPolicy"] = "Parallel".into());
    assert_eq!(names(&world), ["s-0", "s-1", "s-2"]);
}

#[test]
fn the_highest_number_goes_first() {
    let mut world = world(|_| ());
    run(&mut world);
    world.edit::<StatefulSet>("s", |set| set.spec.replicas = Some(1));
    world.settle_watching(|world| {
        let all = ["s-0", "s-1", "s-2"];
        let names = names(world);
        assert_eq!(names, all[..names.len()]);
    });
    run(&mut world);
    assert_eq!(names(&world), ["s-0"]);
}

#[test]
fn a_deleted_pod_comes_back_under_its_name() {
    let mut world = world(|_| ());
    run(&mut world);
    let before = world.expect::<Pod>("s-1").uid().to_owned();
    world.delete::<Pod>("s-1");
    run(&mut world);
    assert_eq!(names(&world), ["s-0", "s-1", "s-2"]);
    assert_ne!(world.expect::<Pod>("s-1").uid(), before);
}

#[test]
fn a_new_template_replaces_pods_from_the_highest_number_down() {
    let mut world = world(|_| ());
    run(&mut world);
    set_image(&mut world, "img:2");
    world.settle();
    world.advance(Duration::from_millis(5));
    assert_eq!(images(&world), ["img:1", "img:1", "img:2"]);
    assert_ne!(status(&world).current_revision, status(&world).update_revision);
    run(&mut world);
    assert_eq!(images(&world), ["img:2", "img:2", "img:2"]);
    assert_eq!(status(&world).current_revision, status(&world).update_revision);
    assert_eq!(world.all::<ControllerRevision>().len(), 2);
}

#[test]
fn pods_below_the_partition_stay() {
    let mut world = world(|set| {
        set["spec"]["updateStrategy"] =
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    });
    run(&mut world);
    set_image(&mut world, "img:2");
    run(&mut world);
    assert_eq!(images(&world), ["img:1", "img:1", "img:2"]);
    world.delete::<Pod>("s-0");
    run(&mut world);
    assert_eq!(images(&world), ["img:1", "img:1", "img:2"], "made anew of the current revision");
}

#[test]
fn going_back_makes_the_old_revision_the_newest() {
    let mut world = world(|_| ());
    run(&mut world);
    let first = status(&world).update_revision;
    set_image(&mut world, "img:2");
    run(&mut world);
    set_image(&mut world, "img:1");
    run(&mut world);
    assert_eq!(status(&world).update_revision, first);
    let revisions = world.all::<ControllerRevision>();
    let numbers: Vec<i64> = revisions.iter().map(|revision| revision.revision).collect();
    assert!(revisions.len() == 2 && numbers.contains(&2) && numbers.contains(&3), "{numbers:?}");
}

#[test]
fn claims_are_made_before_the_pod_and_stay_after_it() {
    let mut world = world(|set| {
        set["spec"]["volumeClaimTemplates"] = json!([{
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }]);
    });
    run(&mut world);
    let claims = world.all::<Claim>();
    let names: Vec<&str> = claims.iter().map(Claim::name).collect();
    assert_eq!(names, ["data-s-0", "data-s-1", "data-s-2"]);
    assert_eq!(claims[0].metadata.labels["app"], "x");
    let spec = world.expect::<Pod>("s-0").spec.expect("a spec").to_value().expect("JSON");
    assert_eq!(spec["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-s-0");
    world.delete::<StatefulSet>("s");
    world.settle();
    assert!(world.all::<Pod>().is_empty());
    assert_eq!(world.all::<Claim>().len(), 3);
}

#[test]
fn claims_go_with_the_set_where_the_policy_says_so() {
    let mut world = world(|set| {
        set["spec"]["persistentVolumeClaimRetentionPolicy"] =
            json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
        set["spec"]["volumeClaimTemplates"] = json!([{
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }]);
    });
    run(&mut world);
    world.edit::<StatefulSet>("s", |set| set.spec.replicas = Some(2));
    run(&mut world);
    // A claim that goes is held until nobody uses it, which another controller sees to.
    let left = |world: &World| {
        let claims = world.all::<Claim>();
        let left = claims.iter().filter(|claim| !claim.metadata.is_terminating());
        left.map(|claim| claim.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(left(&world), ["data-s-0", "data-s-1"], "the third went with its pod");
    world.delete::<StatefulSet>("s");
    world.settle();
    assert!(left(&world).is_empty());
}
