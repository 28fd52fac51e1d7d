//! What of a Pod may change once it is there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::gates;
use crate::field::{self, Errors, Object};
use crate::rules::pod_template::{At, validate_pod};

const OTHERS: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                      `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
                      additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set \
                      to 1 if it was previously negative)\n";

/// Checks a changed Pod.
pub(super) fn validate(object: &Object, before: &Object, errors: &mut Errors) {
    validate_pod(object, false, errors);
    let (new, old) =
        (At::new(object, "").child_or_empty("spec"), At::new(before, "").child_or_empty("spec"));
    for list in ["containers", "initContainers"] {
        if new.list(list).len() != old.list(list).len() {
            errors.forbidden(new.path(list), "pod updates may not add or remove containers");
            return;
        }
    }
    if !validate_deadline(&new, &old, errors) {
        return;
    }
    validate_tolerations(&new, &old, errors);
    let known: BTreeSet<&str> = gates(before).collect();
    for (index, gate) in gates(object).enumerate().filter(|(_, gate)| !known.contains(gate)) {
        errors.forbidden(
            format!("spec.schedulingGates[{index}].name"),
            &format!("only deletion is allowed, but found new scheduling gate '{gate}'"),
        );
    }
    let is_gated = !known.is_empty();
    if is_gated {
        validate_gated(&new, &old, errors);
    }
    if fixed(&new, &old, is_gated) != fixed(&old, &old, is_gated) {
        errors.forbidden("spec", OTHERS);
    }
}

/// A deadline may come, and come nearer.
fn validate_deadline(new: &At<'_>, old: &At<'_>, errors: &mut Errors) -> bool {
    let path = new.path("activeDeadlineSeconds");
    match (new.integer("activeDeadlineSeconds"), old.integer("activeDeadlineSeconds")) {
        (Some(new), Some(old)) if old < new => {
            errors.invalid(path, &new.into(), "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.invalid(path, &Value::Null, why);
            true
        }
        _ => true,
    }
}

fn validate_tolerations(new: &At<'_>, old: &At<'_>, errors: &mut Errors) {
    let without_seconds = |at: &At<'_>| {
        let mut map = at.map.clone();
        map.remove("tolerationSeconds");
        Value::Object(map).to_string()
    };
    let have: BTreeSet<String> = new.items("tolerations").map(|t| without_seconds(&t)).collect();
    if old.items("tolerations").any(|t| !have.contains(&without_seconds(&t))) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(new.path("tolerations"), why);
    }
}

/// A Pod that waits may be tied to fewer nodes than before.
fn validate_gated(new: &At<'_>, old: &At<'_>, errors: &mut Errors) {
    let selected: BTreeMap<&str, &Value> = new.entries("nodeSelector").collect();
    if old.entries("nodeSelector").any(|(key, value)| selected.get(key) != Some(&value)) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        let shown = new.get("nodeSelector").cloned().unwrap_or(Value::Null);
        errors.invalid(new.path("nodeSelector"), &shown, why);
    }
    let (new, old) = (required_terms(new), required_terms(old));
    if old.list("nodeSelectorTerms").is_empty() {
        return;
    }
    let path = new.path("nodeSelectorTerms");
    if new.list("nodeSelectorTerms").len() != old.list("nodeSelectorTerms").len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.invalid(path, &new.list("nodeSelectorTerms").to_vec().into(), why);
        return;
    }
    for (term, was) in new.items("nodeSelectorTerms").zip(old.items("nodeSelectorTerms")) {
        for key in ["matchExpressions", "matchFields"] {
            if !term.list(key).starts_with(was.list(key)) {
                let why =
                    format!("only additions are allowed (no mutations or deletions) in {key}");
                errors.invalid(term.path(key), &term.list(key).to_vec().into(), &why);
            }
        }
    }
}

fn required_terms<'a>(spec: &At<'a>) -> At<'a> {
    let affinity = spec.child_or_empty("affinity").child_or_empty("nodeAffinity");
    affinity.child_or_empty("requiredDuringSchedulingIgnoredDuringExecution")
}

/// A Pod's spec less what may change.
fn fixed(at: &At<'_>, old: &At<'_>, is_gated: bool) -> Object {
    let mut spec = at.map.clone();
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        spec.remove(key);
    }
    let grace = |at: &At<'_>| at.integer("terminationGracePeriodSeconds");
    if grace(old).is_some_and(|s| s < 0) && grace(at) == Some(1) {
        field::copy(&mut spec, old.map, "terminationGracePeriodSeconds");
    }
    for list in ["containers", "initContainers"] {
        for container in crate::rules::pod_template::maps_mut(&mut spec, list) {
            container.remove("image");
        }
    }
    if is_gated {
        spec.remove("nodeSelector");
        if let Some(affinity) = spec.get_mut("affinity").and_then(Value::as_object_mut) {
            affinity.remove("nodeAffinity");
            if affinity.is_empty() {
                spec.remove("affinity");
            }
        }
    }
    spec
}
