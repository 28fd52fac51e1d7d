//! The subresources that change containers of a Pod that is there: `resize` and `ephemeralcontainers`.

use std::collections::BTreeMap;

use quadrille_object::quantity::Quantity;
use serde_json::Value;

use super::quality;
use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::pod_template::{At, MIRROR, maps_mut, validate_pod};

/// Leaves of a change only the containers' resources and how they may be resized.
pub(super) fn keep(object: &mut Object, before: &Object) {
    let wanted = std::mem::take(field::map_mut(object, &["spec"]));
    restore(object, before);
    let spec = field::map_mut(object, &["spec"]);
    for list in ["containers", "initContainers"] {
        let wanted = At::new(&wanted, "");
        let wanted: BTreeMap<&str, At<'_>> =
            wanted.items(list).map(|c| (c.text("name"), c)).collect();
        for container in maps_mut(spec, list) {
            let name = field::text(container, &["name"]).unwrap_or_default().to_owned();
            if let Some(wanted) = wanted.get(name.as_str()) {
                field::copy(container, wanted.map, "resources");
                field::copy(container, wanted.map, "resizePolicy");
            }
        }
    }
    count(object, before);
}

/// Leaves of a change only the containers that join.
pub(super) fn keep_all_but_joined(object: &mut Object, before: &Object) {
    let wanted = std::mem::take(field::map_mut(object, &["spec"]));
    restore(object, before);
    field::copy(field::map_mut(object, &["spec"]), &wanted, "ephemeralContainers");
    count(object, before);
}

fn restore(object: &mut Object, before: &Object) {
    let managed = field::get(object, &["metadata", "managedFields"]).cloned();
    object.clone_from(before);
    if let Some(managed) = managed {
        metadata::of_mut(object).insert("managedFields".to_owned(), managed);
    }
}

fn count(object: &mut Object, before: &Object) {
    if object.get("spec") != before.get("spec") {
        let generation = field::integer(before, &["metadata", "generation"]).unwrap_or(0);
        metadata::of_mut(object).insert("generation".to_owned(), (generation + 1).into());
    }
}

/// Checks a resized Pod.
pub(super) fn validate(object: &Object, before: &Object, errors: &mut Errors) {
    validate_pod(object, false, errors);
    let (new, old) =
        (At::new(object, "").child_or_empty("spec"), At::new(before, "").child_or_empty("spec"));
    if field::get(before, &["metadata", "annotations", MIRROR]).is_some() {
        errors.forbidden("", "static pods cannot be resized");
        return;
    }
    if old.child_or_empty("os").text("name") == "windows" {
        errors.forbidden("", "windows pods cannot be resized");
        return;
    }
    let quality = quality::of(&new);
    if field::text(before, &["status", "qosClass"]).is_some_and(|class| class != quality) {
        let shown = field::get(before, &["status", "qosClass"]).cloned().unwrap_or(Value::Null);
        errors.invalid("spec", &shown, "Pod QOS Class may not change as a result of resizing");
    }
    if !supports(before) {
        errors.forbidden("spec", "Pod running on node without support for resize");
    }
    for (list, only) in [
        ("initContainers", "only cpu and memory resources for sidecar containers are mutable"),
        ("containers", "only cpu and memory resources are mutable"),
    ] {
        for (new, old) in new.items(list).zip(old.items(list)) {
            if list == "initContainers" && new.text("restartPolicy") != "Always" {
                if new.get("resources") != old.get("resources") {
                    let why = "resources for non-sidecar init containers are immutable";
                    errors.forbidden("spec", why);
                }
                continue;
            }
            validate_container(&new, &old, errors);
            if others(&new) != others(&old) {
                errors.forbidden("spec", only);
            }
        }
    }
}

/// Whether the node tells what containers got, where any runs.
fn supports(before: &Object) -> bool {
    let status = At::new(before, "").child_or_empty("status");
    let running = status
        .items("containerStatuses")
        .find(|status| status.child_or_empty("state").has("running"));
    running.is_none_or(|status| status.has("resources"))
}

/// Resources besides cpu and memory.
fn others(container: &At<'_>) -> Vec<(String, String, Value)> {
    let resources = container.child_or_empty("resources");
    let mut found = Vec::new();
    for key in ["limits", "requests", "claims"] {
        let entries = resources.entries(key).filter(|(name, _)| !matches!(*name, "cpu" | "memory"));
        found.extend(entries.map(|(name, v)| (key.to_owned(), name.to_owned(), v.clone())));
    }
    found
        .extend(resources.list("claims").iter().map(|c| (String::new(), String::new(), c.clone())));
    found
}

fn validate_container(new: &At<'_>, old: &At<'_>, errors: &mut Errors) {
    let (now, was) = (new.child_or_empty("resources"), old.child_or_empty("resources"));
    for key in ["requests", "limits"] {
        let have = now.child_or_empty(key);
        if was.entries(key).any(|(name, _)| !have.has(name)) {
            let why = format!("resource {key} cannot be removed");
            errors.forbidden(now.path(key), &why);
        }
    }
    let mut policies = new.items("resizePolicy");
    let policy = policies.find(|p| p.text("resourceName") == "memory");
    let restarts = policy.is_some_and(|p| p.text("restartPolicy") == "RestartContainer");
    let limit = |at: &At<'_>| {
        let memory = at.child_or_empty("limits");
        memory.get("memory").and_then(|m| Quantity::from_value(m).ok())
    };
    // A limit that falls is tried without a restart since 1.34; one that comes is a limit that falls.
    if !restarts && limit(&now).is_some() && limit(&was).is_none() {
        let why = "memory limits cannot be added unless resizePolicy is RestartContainer";
        errors.forbidden(format!("{}[memory]", now.path("limits")), why);
    }
}

/// Checks the containers that join a Pod.
pub(super) fn validate_joined(object: &Object, before: &Object, errors: &mut Errors) {
    validate_pod(object, false, errors);
    if field::get(before, &["metadata", "annotations", MIRROR]).is_some() {
        errors.forbidden("", "static pods do not support ephemeral containers");
        return;
    }
    let (new, old) =
        (At::new(object, "").child_or_empty("spec"), At::new(before, "").child_or_empty("spec"));
    let path = new.path("ephemeralContainers");
    let now: BTreeMap<&str, At<'_>> =
        new.items("ephemeralContainers").map(|c| (c.text("name"), c)).collect();
    for container in old.items("ephemeralContainers") {
        let name = Value::from(container.text("name"));
        match now.get(container.text("name")) {
            None => {
                let why = format!("existing ephemeral containers {name} may not be removed\n");
                errors.forbidden(path.clone(), &why);
            }
            Some(now) if now.map != container.map => {
                let why = format!("existing ephemeral containers {name} may not be changed\n");
                errors.forbidden(path.clone(), &why);
            }
            Some(_) => {}
        }
    }
}
