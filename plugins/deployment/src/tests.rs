//! The deployment controller with the replica set controller on a world: roll-outs, bounds, revisions, conditions.

use super::*;
use quadrille_sdk::k8s::{DeploymentStrategy, IntOrString, Raw, RollingUpdate};
use quadrille_testing::World;
use serde_json::{Value, json};

fn deployment(replicas: i64) -> Deployment {
    let mut deployment = Deployment { metadata: Metadata::named("web"), ..Deployment::default() };
    deployment.spec.replicas = Some(replicas);
    deployment.spec.selector.match_labels.insert("app".to_owned(), "web".to_owned());
    deployment.spec.template.metadata.labels.insert("app".to_owned(), "web".to_owned());
    deployment.spec.template.spec = Some(image("img:1"));
    deployment
}

fn image(image: &str) -> Raw {
    Raw::from(json!({"containers": [{"name": "c", "image": image}]}))
}

fn world(deployment: Deployment) -> World {
    let mut world = World::new(plugin()).with(replicaset::plugin());
    world.apply(deployment);
    world.settle();
    world
}

fn rolling(surge: i64, unavailable: i64) -> DeploymentStrategy {
    DeploymentStrategy {
        r#type: "RollingUpdate".to_owned(),
        rolling_update: Some(RollingUpdate {
            max_surge: Some(IntOrString::Int(surge)),
            max_unavailable: Some(IntOrString::Int(unavailable)),
        }),
    }
}

/// One pod more is ready, as long as there is one that is not.
fn make_one_ready(world: &mut World) -> bool {
    let waiting = world.all::<Pod>().into_iter().find(|pod| !pod.is_ready());
    let Some(pod) = waiting else { return false };
    let since = pod.metadata.creation_timestamp;
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": since});
    world.set_status::<Pod>(pod.name(), &json!({"phase": "Running", "conditions": [ready]}));
    true
}

fn make_all_ready(world: &mut World) {
    while make_one_ready(world) {
        world.settle();
    }
}

fn roll_to(world: &mut World, to: &str) {
    world.edit::<Deployment>("web", |deployment| deployment.spec.template.spec = Some(image(to)));
}

fn status(world: &World) -> DeploymentStatus {
    world.expect::<Deployment>("web").status
}

fn reason(world: &World, kind: &str) -> (String, String) {
    let status = status(world);
    let condition = status.conditions.iter().find(|c| c.r#type == kind);
    condition.map(|c| (c.status.clone(), c.reason.clone())).unwrap_or_default()
}

fn progressing(world: &World) -> String {
    reason(world, "Progressing").1
}

/// Sizes of the sets by image.
fn sizes(world: &World) -> Vec<(String, i64)> {
    let image_of = |set: &ReplicaSet| -> String {
        let spec: Value =
            set.spec.template.spec.as_ref().expect("a spec").to_value().expect("JSON");
        spec["containers"][0]["image"].as_str().unwrap_or_default().to_owned()
    };
    let mut sizes: Vec<_> =
        world.all::<ReplicaSet>().iter().map(|set| (image_of(set), size(set))).collect();
    sizes.sort();
    sizes
}

fn size_of(world: &World, image: &str) -> i64 {
    sizes(world).iter().find(|(of, _)| of == image).map_or(0, |(_, size)| *size)
}

#[test]
fn a_deployment_makes_a_set_which_makes_pods() {
    let world = world(deployment(3));
    let sets = world.all::<ReplicaSet>();
    let set = sets.first().expect("one set");
    let hash = &set.metadata.labels[template::HASH_LABEL];
    assert_eq!(set.name(), format!("web-{hash}"));
    assert_eq!(set.metadata.annotations[new_set::REVISION], "1");
    assert_eq!(set.metadata.annotations[new_set::DESIRED], "3");
    assert_eq!(set.metadata.annotations[new_set::MAX], "4");
    assert_eq!(&set.spec.selector.match_labels[template::HASH_LABEL], hash);
    assert_eq!(world.all::<Pod>().len(), 3);
    let status = status(&world);
    assert_eq!((status.replicas, status.updated_replicas, status.unavailable_replicas), (3, 3, 3));
    assert_eq!(reason(&world, "Available").0, "False");
    assert_eq!(progressing(&world), "ReplicaSetUpdated");
    let deployment = world.expect::<Deployment>("web");
    assert_eq!(deployment.metadata.annotations[new_set::REVISION], "1");
}

#[test]
fn it_is_available_and_complete_when_its_pods_are_ready() {
    let mut world = world(deployment(2));
    make_all_ready(&mut world);
    let status = status(&world);
    assert_eq!((status.available_replicas, status.unavailable_replicas), (2, 0));
    assert_eq!(reason(&world, "Available").1, "MinimumReplicasAvailable");
    assert_eq!(progressing(&world), "NewReplicaSetAvailable");
    world.torture(30);
}

#[track_caller]
fn check_bounds(replicas: i64, surge: i64, unavailable: i64) {
    let mut wanted = deployment(replicas);
    wanted.spec.strategy = Some(rolling(surge, unavailable));
    let mut world = world(wanted);
    make_all_ready(&mut world);
    roll_to(&mut world, "img:2");
    let look = |world: &World| {
        let pods = world.all::<Pod>();
        let total = i64::try_from(pods.len()).expect("few");
        let ready = i64::try_from(pods.iter().filter(|p| p.is_ready()).count()).expect("few");
        assert!(total <= replicas + surge, "{total} pods are more than {replicas} + {surge}");
        assert!(
            ready >= replicas - unavailable,
            "{ready} ready are less than {replicas} - {unavailable}"
        );
    };
    world.settle_watching(look);
    let mut steps = 0;
    while make_one_ready(&mut world) {
        world.settle_watching(look);
        steps += 1;
        assert!(steps < 100, "the roll-out does not end: {:?}", sizes(&world));
    }
    assert_eq!(sizes(&world), [("img:1".to_owned(), 0), ("img:2".to_owned(), replicas)]);
    assert_eq!(progressing(&world), "NewReplicaSetAvailable");
}

#[test]
fn a_rolling_update_never_leaves_its_bounds() {
    check_bounds(4, 1, 0);
    check_bounds(4, 0, 1);
    check_bounds(5, 2, 2);
    check_bounds(1, 1, 0);
}

#[test]
fn a_bad_image_stops_the_roll_out_and_the_old_pods_stay() {
    let mut wanted = deployment(4);
    wanted.spec.strategy = Some(rolling(1, 1));
    wanted.spec.progress_deadline_seconds = Some(60);
    let mut world = world(wanted);
    make_all_ready(&mut world);
    roll_to(&mut world, "img:broken");
    world.settle();
    assert_eq!((size_of(&world, "img:1"), size_of(&world, "img:broken")), (3, 2));
    assert_eq!(progressing(&world), "ReplicaSetUpdated");
    world.advance(Duration::from_mins(2));
    assert_eq!(
        reason(&world, "Progressing"),
        ("False".to_owned(), "ProgressDeadlineExceeded".to_owned())
    );
    assert_eq!(reason(&world, "Available").0, "True");
}

#[test]
fn going_back_uses_the_old_set_again_with_a_new_revision() {
    let mut world = world(deployment(2));
    make_all_ready(&mut world);
    roll_to(&mut world, "img:2");
    world.settle();
    make_all_ready(&mut world);
    roll_to(&mut world, "img:1");
    world.settle();
    make_all_ready(&mut world);
    assert_eq!(sizes(&world), [("img:1".to_owned(), 2), ("img:2".to_owned(), 0)]);
    let deployment = world.expect::<Deployment>("web");
    assert_eq!(deployment.metadata.annotations[new_set::REVISION], "3");
    let mut revisions: Vec<String> = world
        .all::<ReplicaSet>()
        .iter()
        .map(|set| set.metadata.annotations[new_set::REVISION].clone())
        .collect();
    revisions.sort();
    assert_eq!(revisions, ["2", "3"]);
}

#[test]
fn a_paused_deployment_makes_nothing_until_it_is_resumed() {
    let mut wanted = deployment(1);
    wanted.spec.paused = Some(true);
    let mut world = world(wanted);
    assert!(world.all::<ReplicaSet>().is_empty());
    assert_eq!(
        reason(&world, "Progressing"),
        ("Unknown".to_owned(), "DeploymentPaused".to_owned())
    );
    world.edit::<Deployment>("web", |deployment| deployment.spec.paused = None);
    world.settle();
    assert_eq!(world.all::<Pod>().len(), 1);
}

#[test]
fn a_paused_deployment_still_scales() {
    let mut world = world(deployment(2));
    make_all_ready(&mut world);
    world.edit::<Deployment>("web", |deployment| {
        deployment.spec.paused = Some(true);
        deployment.spec.replicas = Some(5);
        deployment.spec.template.spec = Some(image("img:2"));
    });
    world.settle();
    assert_eq!(sizes(&world), [("img:1".to_owned(), 5)]);
}

#[test]
fn scaling_in_the_middle_of_a_roll_out_keeps_the_shares() {
    let mut wanted = deployment(10);
    wanted.spec.strategy = Some(rolling(3, 2));
    let mut world = world(wanted);
    make_all_ready(&mut world);
    roll_to(&mut world, "img:2");
    world.settle();
    assert_eq!((size_of(&world, "img:1"), size_of(&world, "img:2")), (8, 5));
    world.edit::<Deployment>("web", |deployment| deployment.spec.replicas = Some(15));
    world.settle();
    assert_eq!((size_of(&world, "img:1"), size_of(&world, "img:2")), (11, 7));
}

#[test]
fn scaling_to_nothing_takes_all_pods() {
    let mut world = world(deployment(3));
    make_all_ready(&mut world);
    world.edit::<Deployment>("web", |deployment| deployment.spec.replicas = Some(0));
    world.settle();
    assert!(world.all::<Pod>().is_empty());
    assert_eq!(status(&world).replicas, 0);
}

#[test]
fn recreate_lets_no_two_templates_run_at_once() {
    let mut wanted = deployment(2);
    wanted.spec.strategy =
        Some(DeploymentStrategy { r#type: "Recreate".to_owned(), rolling_update: None });
    let mut world = world(wanted);
    make_all_ready(&mut world);
    roll_to(&mut world, "img:2");
    world.settle_watching(|world| {
        let hash = |pod: &Pod| pod.metadata.labels[template::HASH_LABEL].clone();
        let hashes: std::collections::BTreeSet<_> = world.all::<Pod>().iter().map(hash).collect();
        assert!(hashes.len() <= 1, "pods of two templates at once");
    });
    assert_eq!(sizes(&world), [("img:1".to_owned(), 0), ("img:2".to_owned(), 2)]);
}

#[test]
fn history_beyond_the_limit_goes() {
    let mut wanted = deployment(1);
    wanted.spec.revision_history_limit = Some(2);
    let mut world = world(wanted);
    for version in 2..=6 {
        make_all_ready(&mut world);
        roll_to(&mut world, &format!("img:{version}"));
        world.settle();
    }
    make_all_ready(&mut world);
    let images: Vec<String> = sizes(&world).into_iter().map(|(image, _)| image).collect();
    assert_eq!(images, ["img:4", "img:5", "img:6"]);
}

#[test]
fn a_taken_name_gives_another_hash() {
    let mut world = World::new(plugin()).with(replicaset::plugin());
    let wanted = deployment(1);
    let defaulted = world.apply(wanted).spec.template;
    let hash = common::hash::of_template(&defaulted, None).expect("a template");
    let mut squatter = ReplicaSet::default();
    squatter.metadata.name = format!("web-{hash}");
    squatter.spec.replicas = Some(0);
    squatter.spec.selector.match_labels.insert("app".to_owned(), "other".to_owned());
    squatter.spec.template.metadata.labels.insert("app".to_owned(), "other".to_owned());
    squatter.spec.template.spec = Some(image("img:1"));
    world.apply(squatter);
    world.settle();
    assert_eq!(status(&world).collision_count, Some(1));
    assert_eq!(world.all::<Pod>().len(), 1);
}

#[test]
fn a_deleted_deployment_takes_sets_and_pods_along() {
    let mut world = world(deployment(3));
    world.delete::<Deployment>("web");
    world.settle();
    assert!(world.all::<ReplicaSet>().is_empty() && world.all::<Pod>().is_empty());
}
