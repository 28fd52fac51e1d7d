//! Annotations that mean something for a Pod, and must agree with the fields that replaced them.

use std::cell::LazyCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::at::At;
use super::containers_of;
use super::volume::validate_descending;
use crate::field::Errors;

pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The Pod is a copy of one that a node runs by itself.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Checks the annotations of a Pod or template; `path` is theirs.
pub(super) fn validate(metadata: &At<'_>, path: &str, spec: &At<'_>, errors: &mut Errors) {
    let containers: LazyCell<BTreeSet<&str>, _> =
        LazyCell::new(|| containers_of(spec).map(|container| container.text("name")).collect());
    for (key, value) in metadata.entries("annotations") {
        let value = value.as_str().unwrap_or_default();
        let at = format!("{path}[{key}]");
        if key == MIRROR && spec.text("nodeName").is_empty() {
            let why = "must set spec.nodeName if mirror pod annotation is set";
            errors.invalid(at, &value.into(), why);
        } else if key == DELETION_COST && !is_cost(value) {
            errors.invalid(at, &value.into(), "must be a 32bit integer");
        } else if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            validate_seccomp(value, &format!("{path}.{key}"), errors);
        } else if let Some(name) = key.strip_prefix(APP_ARMOR) {
            if !containers.contains(name) {
                errors.invalid(at.clone(), &name.into(), "container not found");
            }
            let known = matches!(value, "" | "runtime/default" | "unconfined");
            if !known && !value.starts_with("localhost/") {
                let why = format!("invalid AppArmor profile name: {}", Value::from(value));
                errors.invalid(at, &value.into(), &why);
            }
        }
    }
}

fn is_cost(text: &str) -> bool {
    let canonical = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
    canonical && text.parse::<i32>().is_ok()
}

fn validate_seccomp(profile: &str, path: &str, errors: &mut Errors) {
    match profile.strip_prefix("localhost/") {
        Some(file) => validate_descending(file, path, errors),
        None if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
        None => errors.invalid(path, &profile.into(), "must be a valid seccomp profile"),
    }
}

/// Checks that annotations and the fields that replaced them say the same; those of `AppArmor` only for a new Pod.
pub(super) fn validate_agreement(
    metadata: &At<'_>,
    spec: &At<'_>,
    with_app_armor: bool,
    errors: &mut Errors,
) {
    let annotations = metadata.child_or_empty("annotations");
    let of_pod = spec.child("securityContext");
    if let Some(profile) = of_pod.as_ref().and_then(|c| c.child("seccompProfile")) {
        agree(&annotations, SECCOMP_POD, &profile, "seccomp", errors);
    }
    for container in containers_of(spec) {
        let context = container.child("securityContext");
        if let Some(profile) = context.as_ref().and_then(|c| c.child("seccompProfile")) {
            let key = format!("{SECCOMP_CONTAINER}{}", container.text("name"));
            agree(&annotations, &key, &profile, "seccomp", errors);
        }
        if !with_app_armor || spec.child_or_empty("os").text("name") == "windows" {
            continue;
        }
        let own = context.as_ref().and_then(|c| c.child("appArmorProfile"));
        let inherited = of_pod.as_ref().and_then(|c| c.child("appArmorProfile"));
        if let Some(profile) = own.or(inherited) {
            let key = format!("{APP_ARMOR}{}", container.text("name"));
            let path = container.path("securityContext.appArmorProfile");
            agree(&annotations, &key, &At::new(profile.map, path), "apparmor", errors);
        }
    }
}

fn agree(annotations: &At<'_>, key: &str, profile: &At<'_>, what: &str, errors: &mut Errors) {
    let Some(annotation) = annotations.get(key).and_then(Value::as_str) else { return };
    let same = match profile.text("type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => {
            annotation == "runtime/default" || (what == "seccomp" && annotation == "docker/default")
        }
        "Localhost" => match annotation.strip_prefix("localhost/") {
            Some(name) if name != profile.text("localhostProfile") => {
                let why = format!("{what} profile in annotation and field must match");
                errors.forbidden(profile.path("localhostProfile"), &why);
                return;
            }
            name => name.is_some(),
        },
        _ => true,
    };
    if !same {
        let why = format!("{what} type in annotation and field must match");
        errors.forbidden(profile.path("type"), &why);
    }
}
