//! Containers: main ones, those that run before them, and those that join a running Pod.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::At;
use super::mount::Volumes;
use super::resource::{self, Of};
use super::{env, mount, probe, security};
use crate::field::Errors;
use crate::rules::pod_template::Within;

/// What containers may refer to.
#[derive(Debug)]
pub(super) struct Around<'a> {
    pub(super) volumes: Volumes<'a>,
    pub(super) claims: BTreeSet<&'a str>,
    pub(super) within: Within,
}

/// Fields of an ephemeral container that it has because containers have them, and that must not be set.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Checks all containers of a Pod.
pub(super) fn validate(spec: &At<'_>, around: &Around<'_>, errors: &mut Errors) {
    if spec.list("containers").is_empty() {
        errors.required(spec.path("containers"), "");
    }
    let grace = spec.integer("terminationGracePeriodSeconds");
    let mut names = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    for container in spec.items("containers") {
        validate_common(spec, &container, around, errors);
        note_name(&container, &mut names, errors);
        probe::validate(&container, grace, errors);
        validate_restarts(&container, errors);
        validate_host_ports(&container, &mut host_ports, errors);
    }
    for container in spec.items("initContainers") {
        validate_common(spec, &container, around, errors);
        validate_restarts(&container, errors);
        note_name(&container, &mut names, errors);
        validate_host_ports(&container, &mut BTreeSet::new(), errors);
        if container.text("restartPolicy") == "Always" {
            probe::validate(&container, grace, errors);
            continue;
        }
        for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.has(key) {
                let why = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(container.path(key), why);
            }
        }
    }
    let targets = names.clone();
    for container in spec.items("ephemeralContainers") {
        validate_common(spec, &container, around, errors);
        note_name(&container, &mut names, errors);
        validate_ephemeral(&container, &targets, errors);
    }
}

fn note_name<'a>(container: &At<'a>, names: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    let name = container.text("name");
    if !name.is_empty() && !names.insert(name) {
        errors.duplicate(container.path("name"), &name.into());
    }
}

fn validate_common(spec: &At<'_>, container: &At<'_>, around: &Around<'_>, errors: &mut Errors) {
    errors.need(container, "name");
    errors.dns_label(container, "name");
    errors.need(container, "image");
    let image = container.text("image");
    if around.within == Within::Pod && image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.invalid(container.path("image"), &image.into(), why);
    }
    let known = ["File", "FallbackToLogsOnError"];
    errors.need_known(container, "terminationMessagePolicy", &known);
    validate_ports(container, errors);
    env::validate(container, errors);
    mount::validate(container, &around.volumes, errors);
    errors.need_known(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
    if let Some(resources) = container.child("resources") {
        resource::validate(&resources, Of::Container, &around.claims, errors);
    }
    validate_resize(spec, container, errors);
    let host_users = spec.flag("hostUsers").unwrap_or(true);
    security::validate_container(container, host_users, errors);
}

fn validate_ports(container: &At<'_>, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for port in container.items("ports") {
        let name = port.text("name");
        if !name.is_empty() {
            let problems = probe::port_name(name);
            if problems.is_empty() && !names.insert(name) {
                errors.duplicate(port.path("name"), &name.into());
            }
            errors.invalid_each(&port.path("name"), name, problems);
        }
        match port.integer("containerPort").unwrap_or(0) {
            0 => errors.required(port.path("containerPort"), ""),
            number => probe::validate_number(number, &port.path("containerPort"), errors),
        }
        if let Some(number) = port.integer("hostPort").filter(|n| *n != 0) {
            probe::validate_number(number, &port.path("hostPort"), errors);
        }
        errors.need_known(&port, "protocol", &["SCTP", "TCP", "UDP"]);
    }
}

fn validate_host_ports(container: &At<'_>, taken: &mut BTreeSet<String>, errors: &mut Errors) {
    for port in container.items("ports") {
        let Some(number) = port.integer("hostPort").filter(|n| *n != 0) else { continue };
        let shown = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
        if !taken.insert(shown.clone()) {
            errors.duplicate(port.path("hostPort"), &shown.into());
        }
    }
}

fn validate_resize(spec: &At<'_>, container: &At<'_>, errors: &mut Errors) {
    let path = container.path("resizePolicy");
    let mut seen = BTreeSet::new();
    for policy in container.items("resizePolicy") {
        let (name, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if !seen.insert(name) {
            errors.duplicate(policy.path.clone(), &name.into());
        }
        for (given, known) in
            [(name, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])]
        {
            if given.is_empty() {
                errors.required(path.clone(), "");
            } else if !known.contains(&given) {
                errors.unsupported(path.clone(), &given.into(), &known);
            }
        }
        if spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            let why = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.invalid(path.clone(), &restart.into(), why);
        }
    }
}

/// A container's own restart policy, and the rules that override it by exit code.
fn validate_restarts(container: &At<'_>, errors: &mut Errors) {
    const RULES_MAX: usize = 20;
    const VALUES_MAX: usize = 255;
    errors.known(container, "restartPolicy", &["Always", "Never", "OnFailure"]);
    let rules = container.list("restartPolicyRules").len();
    if rules > 0 && !container.has("restartPolicy") {
        let why = "must specify restartPolicy when restart rules are used";
        errors.required(container.path("restartPolicy"), why);
    }
    if rules > RULES_MAX {
        errors.too_many(container.path("restartPolicyRules"), rules, RULES_MAX);
    }
    for rule in container.items("restartPolicyRules").take(RULES_MAX) {
        errors.need_known(&rule, "action", &["Restart", "RestartAllContainers"]);
        let Some(codes) = rule.child("exitCodes") else {
            errors.required(rule.path("exitCodes"), "must be specified");
            continue;
        };
        errors.need_known(&codes, "operator", &["In", "NotIn"]);
        let values = codes.list("values").len();
        if values == 0 {
            let why = "must have at least 1 value";
            errors.invalid(codes.path("values"), &Value::Array(Vec::new()), why);
        } else if values > VALUES_MAX {
            errors.too_many(codes.path("values"), values, VALUES_MAX);
        }
    }
}

fn validate_ephemeral(container: &At<'_>, targets: &BTreeSet<&str>, errors: &mut Errors) {
    const WHY: &str = "cannot be set for an Ephemeral Container";
    let target = container.text("targetContainerName");
    if !target.is_empty() && !targets.contains(target) {
        errors.not_found(container.path("targetContainerName"), target);
    }
    let is_set = |key: &str| match container.get(key) {
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        other => other.is_some(),
    };
    for key in NOT_EPHEMERAL.iter().filter(|key| is_set(key)) {
        errors.forbidden(container.path(key), WHY);
    }
    for mount in container.items("volumeMounts") {
        for key in ["subPath", "subPathExpr"] {
            if !mount.text(key).is_empty() {
                errors.forbidden(mount.path(key), WHY);
            }
        }
    }
}
