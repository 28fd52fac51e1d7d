//! What may be written to a Pod's status.

use std::collections::BTreeSet;

use quadrille_object::validate_name;
use serde_json::Value;

use crate::field::{Errors, Object};
use crate::rules::pod_template::At;

/// Checks a changed status.
pub(super) fn validate(object: &Object, before: &Object, errors: &mut Errors) {
    let (new, old) = (At::new(object, ""), At::new(before, ""));
    let (status, was) = (new.child_or_empty("status"), old.child_or_empty("status"));
    for (index, condition) in status.items("conditions").enumerate() {
        let name = condition.text("type");
        if !matches!(name, "PodScheduled" | "Ready" | "Initialized") {
            // kube-apiserver's own path.
            let path = format!("metadata.conditions[{index}].Type");
            errors.invalid_each(&path, name, validate_name::qualified_name(name));
        }
    }
    let node = status.text("nominatedNodeName");
    if !node.is_empty() && node != was.text("nominatedNodeName") {
        let problems = validate_name::dns_subdomain(node);
        errors.invalid_each(&status.path("nominatedNodeName"), node, problems);
    }
    errors.immutable("status.qosClass", status.get("qosClass"), was.get("qosClass"));
    let spec = old.child_or_empty("spec");
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        validate_ends(&spec, &status, &was, list, errors);
    }
    validate_claims(&new, &status, errors);
    validate_addresses(&status, "podIPs", errors);
    validate_addresses(&status, "hostIPs", errors);
    let first = status.items("hostIPs").next();
    if let Some(first) = first.filter(|first| first.text("ip") != status.text("hostIP")) {
        let why = "must be equal to `hostIP`";
        errors.invalid(first.path("ip"), &first.text("ip").into(), why);
    }
}

/// A container that ended and is not to be started again stays ended.
fn validate_ends(spec: &At<'_>, status: &At<'_>, was: &At<'_>, list: &str, errors: &mut Errors) {
    let policy = match list {
        "ephemeralContainerStatuses" => "Never",
        _ => spec.text("restartPolicy"),
    };
    if policy == "Always" {
        return;
    }
    let running: BTreeSet<&str> =
        status.items(list).filter(|s| ended(s).is_none()).map(|s| s.text("name")).collect();
    let stays = |name: &str| {
        spec.items("initContainers")
            .chain(spec.items("containers"))
            .any(|c| c.text("name") == name && c.text("restartPolicy") == "Always")
    };
    for old in was.items(list) {
        let Some(end) = ended(&old) else { continue };
        let failed = end.integer("exitCode").unwrap_or(0) != 0;
        if (failed && policy == "OnFailure") || stays(old.text("name")) {
            continue;
        }
        if running.contains(old.text("name")) {
            let why = "may not be transitioned to non-terminated state";
            errors.forbidden(old.path("state"), why);
        }
    }
}

fn ended<'a>(status: &At<'a>) -> Option<At<'a>> {
    status.child_or_empty("state").child("terminated")
}

fn validate_claims(pod: &At<'_>, status: &At<'_>, errors: &mut Errors) {
    let spec = pod.child_or_empty("spec");
    let claims: BTreeSet<&str> = spec.items("resourceClaims").map(|c| c.text("name")).collect();
    let mut seen = BTreeSet::new();
    for claim in status.items("resourceClaimStatuses") {
        let name = claim.text("name");
        if !claims.contains(name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.invalid(claim.path("name"), &name.into(), why);
        }
        if !seen.insert(name) {
            errors.duplicate(claim.path("name"), &name.into());
        }
    }
}

fn validate_addresses(status: &At<'_>, list: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    let (mut old, mut new) = (0, 0);
    for (index, item) in status.items(list).enumerate() {
        let address = item.text("ip");
        errors.address(status.index(list, index), address);
        if !seen.insert(address) {
            let shown = Value::Object(item.map.clone());
            errors.duplicate(status.index(list, index), &shown);
        }
        if address.contains(':') { new += 1 } else { old += 1 }
    }
    if old > 1 || new > 1 {
        let why = "may specify no more than one IP for each IP family";
        errors.invalid(status.path(list), &status.list(list).to_vec().into(), why);
    }
}
