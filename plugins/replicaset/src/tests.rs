//! The replica set controller on a world: counts, order, adoption, status.

use super::*;
use quadrille_sdk::Plugin;
use quadrille_sdk::k8s::Raw;
use quadrille_testing::{Case, World};
use serde_json::json;

fn template() -> PodTemplate {
    let mut template = PodTemplate::default();
    template.metadata.labels.insert("app".to_owned(), "web".to_owned());
    template.spec = Some(Raw::from(json!({"containers": [{"name": "c", "image": "img:1"}]})));
    template
}

fn set(replicas: i64) -> ReplicaSet {
    let mut set = ReplicaSet { metadata: Metadata::named("web"), ..ReplicaSet::default() };
    set.spec.replicas = Some(replicas);
    set.spec.selector.match_labels.insert("app".to_owned(), "web".to_owned());
    set.spec.template = template();
    set
}

fn world(replicas: i64) -> World {
    let mut world = World::new(plugin());
    world.apply(set(replicas));
    world.settle();
    world
}

fn names(world: &World) -> Vec<String> {
    world.all::<Pod>().iter().map(|pod| pod.name().to_owned()).collect()
}

fn make_ready(world: &mut World, name: &str) {
    let since = "2025-12-31T00:00:00Z";
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": since});
    world.set_status::<Pod>(name, &json!({"phase": "Running", "conditions": [ready]}));
}

#[test]
fn pods_come_and_go_with_the_wanted_number() {
    let mut world = world(3);
    let pods = world.all::<Pod>();
    assert_eq!(pods.len(), 3);
    for pod in &pods {
        let owner = pod.metadata.controller().expect("owned");
        assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("ReplicaSet", "web"));
        assert_eq!(owner.block_owner_deletion, Some(true));
        assert_eq!(pod.metadata.generate_name, "web-");
        assert_eq!(pod.name().len(), "web-".len() + 5);
    }
    world.edit::<ReplicaSet>("web", |set| set.spec.replicas = Some(1));
    world.settle();
    assert_eq!(world.all::<Pod>().len(), 1);
    world.delete::<ReplicaSet>("web");
    world.settle();
    assert!(world.all::<Pod>().is_empty());
}

#[test]
fn all_pods_of_a_set_come_in_one_run() {
    let mut world = World::new(plugin());
    world.apply(set(50));
    assert!(world.settle() <= 2, "one run makes them, one more may look again");
    assert_eq!(world.all::<Pod>().len(), 50);
}

#[test]
fn a_deleted_pod_is_replaced_and_nothing_else_moves() {
    let mut world = world(3);
    let before = names(&world);
    world.delete::<Pod>(&before[0]);
    world.settle();
    let after = names(&world);
    assert_eq!(after.len(), 3);
    assert!(before[1..].iter().all(|name| after.contains(name)));
    world.torture(30);
}

#[test]
fn a_failed_pod_is_replaced_and_stays() {
    let mut world = world(2);
    let first = names(&world)[0].clone();
    world.set_status::<Pod>(&first, &json!({"phase": "Failed"}));
    world.settle();
    assert_eq!(world.all::<Pod>().len(), 3);
    assert_eq!(world.expect::<ReplicaSet>("web").status.replicas, 2);
}

#[test]
fn matching_orphans_are_adopted_and_strangers_released() {
    let mut world = World::new(plugin());
    let mut orphan = Pod::from_template(&template());
    orphan.metadata.name = "mine".to_owned();
    world.apply(orphan);
    world.apply(set(1));
    world.settle();
    assert_eq!(names(&world), ["mine"]);
    assert!(world.expect::<Pod>("mine").metadata.controller().is_some());

    world.edit::<Pod>("mine", |pod| {
        pod.metadata.labels.insert("app".to_owned(), "freed".to_owned());
    });
    world.settle();
    assert!(world.expect::<Pod>("mine").metadata.owner_references.is_empty());
    assert_eq!(world.all::<Pod>().len(), 2);
}

#[test]
fn pods_that_are_not_ready_go_first() {
    let mut world = world(4);
    let ready: Vec<String> = names(&world)[1..3].to_vec();
    for name in &ready {
        make_ready(&mut world, name);
    }
    world.settle();
    world.edit::<ReplicaSet>("web", |set| set.spec.replicas = Some(2));
    world.settle();
    assert_eq!(names(&world), ready);
}

#[test]
fn the_cheapest_pod_goes_first() {
    let mut world = world(3);
    let cheap = names(&world)[1].clone();
    world.edit::<Pod>(&cheap, |pod| {
        let cost = "controller.kubernetes.io/pod-deletion-cost".to_owned();
        pod.metadata.annotations.insert(cost, "-10".to_owned());
    });
    world.edit::<ReplicaSet>("web", |set| set.spec.replicas = Some(2));
    world.settle();
    assert!(!names(&world).contains(&cheap));
}

#[test]
fn the_status_counts_what_is_there() {
    let mut world = world(3);
    let first = names(&world)[0].clone();
    make_ready(&mut world, &first);
    world.settle();
    let status = world.expect::<ReplicaSet>("web").status;
    assert_eq!((status.replicas, status.fully_labeled_replicas), (3, 3));
    assert_eq!((status.ready_replicas, status.available_replicas), (1, 1));
    assert_eq!(status.observed_generation, 1);
}

#[test]
fn a_ready_pod_is_available_when_its_time_has_come() {
    let mut world = World::new(plugin());
    let mut set = set(1);
    set.spec.min_ready_seconds = Some(30);
    world.apply(set);
    world.settle();
    let name = names(&world)[0].clone();
    let since = world.expect::<Pod>(&name).metadata.creation_timestamp.expect("created");
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": since});
    world.set_status::<Pod>(&name, &json!({"phase": "Running", "conditions": [ready]}));
    world.settle();
    assert_eq!(world.expect::<ReplicaSet>("web").status.available_replicas, 0);
    world.advance(Duration::from_secs(31));
    assert_eq!(world.expect::<ReplicaSet>("web").status.available_replicas, 1);
}

/// What `quadrille runs export` wrote of a run on a host: a `ReplicaSet` of three Pods that was just created.
fn exported() -> Case {
    Case::load(concat!(env!("CARGO_MANIFEST_DIR"), "/cases/three-pods.json"))
}

#[test]
fn a_run_of_a_host_is_made_again_byte_for_byte() {
    let run = exported().run(plugin());
    run.expect_as_recorded();
    assert_eq!((run.end.as_str(), run.writes.len()), ("done", 5));
    assert!(run.writes.contains_key("pods/default/web-9brc2"), "names come from the run's chance");
}

#[test]
fn what_a_changed_controller_does_otherwise_is_named() {
    struct Idle;
    impl Controller for Idle {
        type Primary = ReplicaSet;
        const NAME: &'static str = "replicaset-controller";
        fn reconcile(_: &ReplicaSet, _: &Context) -> Result<Next> {
            Next::done()
        }
    }
    let run = exported().run(Plugin::new("2").with::<Idle>());
    assert!(run.differences.contains(&"pods/default/web-9brc2 is not written".to_owned()));
    assert_eq!((run.differences.len(), run.writes.len()), (5, 0), "{:?}", run.differences);
}
