//! Nodes, as objects: no kubelet is behind them here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::rules::facts::{Form, KindRules, items, text};
use crate::rules::net;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// The rules of nodes.
pub(crate) static NODES: KindRules = KindRules {
    default: |object| {
        net::agree(field::map_mut(object, &["spec"]), "podCIDR", "podCIDRs", None);
        let status = field::map_mut(object, &["status"]);
        if let Some(capacity) = field::get(status, &["capacity"]).cloned() {
            field::default(status, "allocatable", capacity);
        }
    },
    create: |_, object| {
        // Nothing is scheduled to a node before it says that it is ready.
        let spec = field::map_mut(object, &["spec"]);
        let taints = spec.entry("taints").or_insert_with(|| json!([]));
        if !taints.is_array() {
            *taints = json!([]);
        }
        if let Some(taints) = taints.as_array_mut()
            && !taints.iter().any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule")
        {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    },
    validate: |object, errors| {
        let Some(spec) = object.get("spec").and_then(Value::as_object) else { return };
        validate_taints(spec, errors);
        for (index, cidr) in field::list(spec, &["podCIDRs"]).iter().enumerate() {
            let at = format!("spec.podCIDRs[{index}]");
            net::validate_network(&at, cidr.as_str().unwrap_or_default(), errors);
        }
    },
    changed: |object, before, errors| {
        let of = |o, key| field::text(o, &["spec", key]).unwrap_or_default().to_owned();
        if !of(before, "providerID").is_empty()
            && of(object, "providerID") != of(before, "providerID")
        {
            let why = "node updates may not change providerID except from \"\" to valid";
            errors.forbidden("spec.providerID", why);
        }
        let cidrs = |o| field::list(o, &["spec", "podCIDRs"]).to_vec();
        if !cidrs(before).is_empty() && cidrs(object) != cidrs(before) {
            let why = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden("spec.podCIDRs", why);
        }
    },
    ..KindRules::PLAIN
};

fn validate_taints(spec: &Object, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (at, taint) in items(spec, "taints", "spec") {
        let (key, value, effect) =
            (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        errors.invalid_each(&format!("{at}.key"), key, Form::Qualified.problems(key));
        let problems = quadrille_object::validate_name::label_value(value);
        errors.invalid_each(&format!("{at}.value"), value, problems);
        match effect {
            "" => errors.required(format!("{at}.effect"), ""),
            effect if EFFECTS.contains(&effect) => {}
            other => errors.unsupported(format!("{at}.effect"), &other.into(), &EFFECTS),
        }
        if !seen.insert((key, effect)) {
            errors.duplicate(at, &Value::Object(taint.clone()));
        }
    }
}
