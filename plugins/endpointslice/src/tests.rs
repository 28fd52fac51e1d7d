//! Slices, Endpoints and mirrors on a world.

use super::*;
use endpoints::Endpoints;
use quadrille_testing::World;
use serde_json::{Value, json};

fn add(world: &mut World, object: &Value) {
    world.apply_json(object).expect("a good object");
    world.settle();
}

fn service(spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec})
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"containers": [
            {"name": "c", "image": "img:1", "ports": [{"name": "web", "containerPort": 8080}]},
        ]},
    })
}

fn give_address(world: &mut World, name: &str, ip: &str, ready: &str) {
    let status = json!({
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", "status": ready}],
    });
    world.set_status::<Pod>(name, &status);
    world.settle();
}

fn world() -> World {
    let mut world = World::new(plugin());
    let ports = json!([{"name": "http", "port": 80, "targetPort": "web"}]);
    add(&mut world, &service(&json!({"selector": {"app": "x"}, "ports": ports})));
    world
}

fn ready(slice: &EndpointSlice) -> Vec<(String, bool)> {
    let of = |e: &Endpoint| (e.addresses.join(","), e.conditions.ready == Some(true));
    slice.endpoints.iter().map(of).collect()
}

#[test]
fn a_service_without_pods_has_an_empty_slice() {
    let mut world = world();
    let slices = world.all::<EndpointSlice>();
    assert_eq!(slices.len(), 1);
    assert!(slices[0].endpoints.is_empty());
    assert_eq!(slices[0].metadata.labels[SERVICE_NAME], "s");
    assert!(world.expect::<Endpoints>("s").subsets.is_empty());
    world.torture(20);
}

#[test]
fn pods_with_addresses_are_endpoints_at_their_own_ports() {
    let mut world = world();
    add(&mut world, &pod("a"));
    add(&mut world, &pod("b"));
    give_address(&mut world, "a", "10.0.0.1", "True");
    give_address(&mut world, "b", "10.0.0.2", "False");
    let slices = world.all::<EndpointSlice>();
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0].ports[0].number, Some(8080));
    assert_eq!(ready(&slices[0]), [("10.0.0.1".to_owned(), true), ("10.0.0.2".to_owned(), false)]);
    let subset = world.expect::<Endpoints>("s").subsets.remove(0);
    assert_eq!((subset.addresses.len(), subset.not_ready_addresses.len()), (1, 1));
    world.delete::<Pod>("a");
    world.settle();
    assert_eq!(ready(&world.all::<EndpointSlice>()[0]), [("10.0.0.2".to_owned(), false)]);
    world.torture(20);
}

#[test]
fn a_service_that_goes_takes_slices_and_endpoints_along() {
    let mut world = world();
    world.delete::<Service>("s");
    world.settle();
    assert!(world.all::<EndpointSlice>().is_empty());
    assert!(world.get::<Endpoints>("s").is_none());
}

#[test]
fn many_pods_take_several_slices() {
    let mut world = World::new(plugin());
    let ports = json!([{"port": 80}]);
    for at in 0..105 {
        let name = format!("p{at:03}");
        world.apply_json(&pod(&name)).expect("a good pod");
        let status = json!({
            "phase": "Running", "podIP": format!("10.0.1.{at}"),
            "podIPs": [{"ip": format!("10.0.1.{at}")}],
        });
        world.set_status::<Pod>(&name, &status);
    }
    add(&mut world, &service(&json!({"selector": {"app": "x"}, "ports": ports})));
    let mut sizes: Vec<usize> =
        world.all::<EndpointSlice>().iter().map(|slice| slice.endpoints.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 100]);
}

#[test]
fn endpoints_made_by_hand_are_mirrored() {
    let mut world = World::new(plugin());
    add(&mut world, &service(&json!({"ports": [{"port": 80}]})));
    let by_hand = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "s"},
        "subsets": [{"addresses": [{"ip": "10.7.7.7"}], "ports": [{"port": 80}]}],
    });
    add(&mut world, &by_hand);
    let slices = world.all::<EndpointSlice>();
    assert_eq!(ready(&slices[0]), [("10.7.7.7".to_owned(), true)]);
    let manager = &slices[0].metadata.labels[MANAGED_BY];
    assert_eq!(manager, "endpointslicemirroring-controller.k8s.io");
    world.torture(20);
    world.edit::<Endpoints>("s", |endpoints| endpoints.subsets.clear());
    world.settle();
    assert!(world.all::<EndpointSlice>().is_empty());
}
