//! Long lists in objects of kinds whose rules look for what stands twice, or for what changed.

#![expect(clippy::needless_pass_by_value, reason = "test helpers take what `json!` makes")]

use serde_json::{Value, json};

use crate::field::{Errors, Object};
use crate::promptly::promptly;

fn many(count: usize, item: impl Fn(String) -> Value) -> Value {
    (0..count).map(|n| item(format!("example.com/x{n}"))).collect::<Vec<_>>().into()
}

/// What is wrong with an object; with itself as its own predecessor, where that is asked for.
fn wrong((group, resource): (&str, &str), object: Value, is_update: bool) -> Vec<String> {
    let mut errors = Errors::default();
    let object: Object = object.as_object().cloned().expect("a map");
    let rules = super::of(group, resource);
    promptly(|| {
        if is_update {
            rules.validate_update(&object, &object, &mut errors);
        } else {
            rules.validate(&object, &mut errors);
        }
    });
    errors.0.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

#[test]
fn families_versions_actions_and_topologies_are_many_and_told_promptly() {
    let families = json!({"spec": {"ipFamilies": many(100_000, Value::from)}});
    let found = wrong(("", "services"), families, false);
    assert!(found.iter().any(|error| error.starts_with("spec.ipFamilies[9]: Unsupported")));

    let group = "admissionregistration.k8s.io";
    let hook = json!({"name": "a.b.c", "admissionReviewVersions": many(100_000, Value::from)});
    let found =
        wrong((group, "validatingwebhookconfigurations"), json!({"webhooks": [hook]}), false);
    assert!(!found.is_empty());

    let actions = json!({"spec": {"validationActions": many(100_000, Value::from)}});
    let found = wrong((group, "validatingadmissionpolicybindings"), actions, false);
    assert!(!found.is_empty());

    let values = json!([{"key": "zone", "values": many(100_000, Value::from)}]);
    let topologies = json!({"allowedTopologies": [{"matchLabelExpressions": values}]});
    let found = wrong(("storage.k8s.io", "storageclasses"), topologies, false);
    assert!(!found.iter().any(|error| error.contains("Duplicate")), "{found:?}");
}

#[test]
fn what_stands_twice_is_told_where_it_stands_again() {
    let twice = json!(["a", "b", "a", "a"]);
    let families = json!({"spec": {"ipFamilies": ["IPv4", "IPv6", "IPv4"]}});
    let found = wrong(("", "services"), families, false);
    assert!(found.contains(&"spec.ipFamilies[2]: Duplicate value: \"IPv4\"".to_owned()));
    let values = json!([{"key": "zone", "values": twice}]);
    let topologies = json!({"allowedTopologies": [{"matchLabelExpressions": values}]});
    let found = wrong(("storage.k8s.io", "storageclasses"), topologies, false);
    let told: Vec<&str> = found
        .iter()
        .filter(|error| error.contains("Duplicate"))
        .map(|error| error.split_once(": ").expect("a field").0)
        .collect();
    let at = "allowedTopologies[0].matchLabelExpressions[0].values";
    assert_eq!(told, [format!("{at}[2]"), format!("{at}[3]")]);
}

#[test]
fn tolerations_drivers_and_gates_are_many_and_compared_promptly() {
    let tolerations = many(50_000, |key| json!({"key": key, "operator": "Exists"}));
    let class = json!({"handler": "h", "scheduling": {"tolerations": tolerations}});
    assert_eq!(wrong(("node.k8s.io", "runtimeclasses"), class, false), [""; 0]);

    let drivers = many(50_000, |name| json!({"name": name.replace('/', "."), "nodeID": "n"}));
    let node = json!({"spec": {"drivers": drivers}});
    assert_eq!(wrong(("storage.k8s.io", "csinodes"), node, true), [""; 0]);

    let pod = json!({"spec": {"schedulingGates": many(100_000, |name| json!({"name": name}))}});
    let found = wrong(("", "pods"), pod, true);
    assert!(!found.iter().any(|error| error.contains("schedulingGates")), "{found:?}");
}

#[test]
fn annotations_of_many_containers_are_checked_promptly() {
    let name = |n: usize| format!("container.apparmor.security.beta.kubernetes.io/c{n}");
    let annotations: Object =
        (10_000..30_000).map(|n| (name(n), json!("runtime/default"))).collect();
    let containers: Vec<Value> = (0..20_000).map(|n| json!({"name": format!("c{n}")})).collect();
    let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": containers}});
    let found = wrong(("", "pods"), pod, false);
    let lost = found.iter().filter(|error| error.contains("container not found"));
    assert!(lost.count() > 0, "some are of no container");
}
