//! What an update need not repeat, and what a change of the type takes away.
//!
//! A client that sends its own manifest again, without what was handed out to it, keeps it; a field that no longer
//! means anything goes, unless the client changed it too: then it is an error.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::field::{self, Object};
use crate::rules::service::{
    address, has_ports, is_reachable_from_outside, kind, needs_health_port,
};

fn spec(object: &Object) -> Object {
    object.get("spec").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn same(object: &Object, before: &Object, key: &str) -> bool {
    field::get(object, &["spec", key]) == field::get(before, &["spec", key])
}

fn node_ports(spec: &Object) -> BTreeSet<i64> {
    let numbers = field::list(spec, &["ports"]).iter().filter_map(|p| p.get("nodePort"));
    numbers.filter_map(Value::as_i64).filter(|number| *number != 0).collect()
}

fn ports_mut(object: &mut Object) -> impl Iterator<Item = &mut Object> {
    let ports = field::map_mut(object, &["spec"]).get_mut("ports");
    ports.and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn remove(object: &mut Object, keys: &[&str]) {
    let spec = field::map_mut(object, &["spec"]);
    for key in keys {
        spec.remove(*key);
    }
}

/// Carries over what was handed out.
pub(super) fn keep(object: &mut Object, before: &Object) {
    let old = spec(before);
    if kind(object) != "ExternalName" && kind(before) != "ExternalName" {
        let spec = field::map_mut(object, &["spec"]);
        if field::text(spec, &["clusterIP"]).is_none_or(str::is_empty) {
            field::copy(spec, &old, "clusterIP");
        }
        if field::list(spec, &["clusterIPs"]).is_empty() {
            field::copy(spec, &old, "clusterIPs");
        }
    }
    if has_ports(object) && has_ports(before) {
        let used: BTreeSet<i64> =
            node_ports(&old).intersection(&node_ports(&spec(object))).copied().collect();
        // Of ports of one name the last counts.
        let known: HashMap<Option<&Value>, &Value> =
            field::list(&old, &["ports"]).iter().map(|port| (port.get("name"), port)).collect();
        for port in ports_mut(object) {
            if field::integer(port, &["nodePort"]).unwrap_or(0) != 0 {
                continue;
            }
            let number = known.get(&port.get("name")).and_then(|old| old.get("nodePort"));
            let number = number.and_then(Value::as_i64);
            if let Some(number) = number.filter(|number| !used.contains(number)) {
                port.insert("nodePort".to_owned(), number.into());
            }
        }
    }
    if needs_health_port(object) && needs_health_port(before) {
        let spec = field::map_mut(object, &["spec"]);
        if field::integer(spec, &["healthCheckNodePort"]).unwrap_or(0) == 0 {
            field::copy(spec, &old, "healthCheckNodePort");
        }
    }
}

/// Makes `clusterIPs` follow `clusterIP` for clients that know only the one.
pub(super) fn agree(object: &mut Object, before: Option<&Object>) {
    let new = address(object).to_owned();
    let empty = field::list(object, &["spec", "clusterIPs"]).is_empty();
    let Some(before) = before else {
        if empty && !new.is_empty() {
            field::map_mut(object, &["spec"]).insert("clusterIPs".to_owned(), json!([new]));
        }
        return;
    };
    let old = address(before).to_owned();
    if empty && old == new {
        field::copy(field::map_mut(object, &["spec"]), &spec(before), "clusterIPs");
    }
    if old != new && same(object, before, "clusterIPs") {
        let spec = field::map_mut(object, &["spec"]);
        if new.is_empty() {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs".to_owned(), json!([new]));
        }
    }
}

/// Drops what the Service's new type has no use for.
pub(super) fn drop_unused(object: &mut Object, before: &Object) {
    let external = |o: &Object| kind(o) == "ExternalName";
    if external(object) && !external(before) {
        if same(object, before, "clusterIP") && same(object, before, "clusterIPs") {
            remove(object, &["clusterIP", "clusterIPs"]);
        }
        for key in ["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if same(object, before, key) {
                remove(object, &[key]);
            }
        }
    }
    if has_ports(before)
        && !has_ports(object)
        && node_ports(&spec(before)).is_superset(&node_ports(&spec(object)))
    {
        for port in ports_mut(object) {
            port.remove("nodePort");
        }
    }
    let balanced: fn(&Object) -> bool = |o| kind(o) == "LoadBalancer";
    let gone = |needs: fn(&Object) -> bool| needs(before) && !needs(object);
    let unused = [
        ("healthCheckNodePort", gone(needs_health_port)),
        ("allocateLoadBalancerNodePorts", gone(balanced)),
        ("loadBalancerClass", gone(balanced)),
        ("externalTrafficPolicy", gone(is_reachable_from_outside)),
    ];
    for (key, _) in unused.into_iter().filter(|(_, gone)| *gone) {
        if same(object, before, key) {
            remove(object, &[key]);
        }
    }
    if !balanced(object) {
        field::map_mut(object, &["status"]).insert("loadBalancer".to_owned(), json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promptly::promptly;

    fn service(ports: &[Value]) -> Object {
        let spec = json!({"type": "NodePort", "ports": ports});
        [("spec".to_owned(), spec)].into_iter().collect()
    }

    #[test]
    fn ports_keep_their_numbers_by_name_and_promptly() {
        let with = |n: usize| json!({"name": format!("p{n}"), "nodePort": n});
        let old: Vec<Value> = (0..60_000).map(with).collect();
        let new: Vec<Value> = (0..60_000).map(|n| json!({"name": format!("p{n}")})).collect();
        let (mut object, before) = (service(&new), service(&old));
        promptly(|| keep(&mut object, &before));
        assert_eq!(field::list(&object, &["spec", "ports"])[7], with(7));
    }

    #[test]
    fn the_last_port_of_a_name_tells_its_number() {
        let port = |number: i64| json!({"name": "p", "nodePort": number});
        let mut object = service(&[json!({"name": "p"}), json!({})]);
        keep(&mut object, &service(&[port(30_001), port(30_002)]));
        assert_eq!(field::list(&object, &["spec", "ports"]), [port(30_002), json!({})]);
    }
}
