//! What is stored as it is and probably not meant: duplicates, fields and labels that are on their way out.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_object::quantity::Quantity;
use serde_json::Value;

use super::annotation::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD};
use super::at::At;
use super::containers_of;
use crate::field::{self, Object};
use crate::rules::pod_template::Within;

/// The most warnings about one object; clients cut longer lists off as well.
const WARNINGS_MAX: usize = 100;

/// Labels of nodes that have another name by now, with what to say.
const NODE_LABELS: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];

const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

const VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warnings about the template of a workload.
pub(crate) fn warn_template(object: &Object, path: &[&str], warnings: &mut Vec<String>) {
    let Some(template) = field::get(object, path).and_then(Value::as_object) else { return };
    warn(&At::new(template, path.join(".")), Within::Template, warnings);
}

/// Warnings about a Pod.
pub(crate) fn warn_pod(object: &Object, warnings: &mut Vec<String>) {
    warn(&At::new(object, ""), Within::Pod, warnings);
}

fn warn(at: &At<'_>, within: Within, warnings: &mut Vec<String>) {
    let (metadata, spec) = (at.child_or_empty("metadata"), at.child_or_empty("spec"));
    let mut found = Vec::new();
    node_labels(&spec, &mut found);
    spread(&spec, &mut found);
    annotations(&metadata, &mut found);
    volumes(&spec, &mut found);
    duplicates(&spec, &mut found);
    let overhead = ["memory", "ephemeral-storage"];
    fractions(&spec, "overhead", &overhead, &mut found);
    profiles(&metadata, &spec, within, &mut found);
    for container in containers_of(&spec) {
        let resources = container.child_or_empty("resources");
        fractions(&resources, "limits", &overhead, &mut found);
        fractions(&resources, "requests", &overhead, &mut found);
        hidden_variables(&container, &mut found);
    }
    ports(&spec, &mut found);
    if spec.integer("terminationGracePeriodSeconds").is_some_and(|s| s < 0) {
        let path = spec.path("terminationGracePeriodSeconds");
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        found.push(format!("{path}: {why}"));
    }
    affinities(&spec, &mut found);
    found.truncate(WARNINGS_MAX);
    warnings.append(&mut found);
}

/// What to say about a label of a node.
pub(crate) fn node_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(label, _)| *label == key).map(|(_, why)| *why)
}

fn node_labels(spec: &At<'_>, found: &mut Vec<String>) {
    for (key, _) in spec.entries("nodeSelector") {
        if let Some(why) = node_label(key) {
            found.push(format!("{}[{key}]: {why}", spec.path("nodeSelector")));
        }
    }
    let affinity = spec.child_or_empty("affinity").child_or_empty("nodeAffinity");
    let required = affinity.child_or_empty("requiredDuringSchedulingIgnoredDuringExecution");
    let mut terms: Vec<At<'_>> = required.items("nodeSelectorTerms").collect();
    let preferred = affinity.items("preferredDuringSchedulingIgnoredDuringExecution");
    terms.extend(preferred.map(|term| term.child_or_empty("preference")));
    for expression in terms.iter().flat_map(|t| t.items("matchExpressions").collect::<Vec<_>>()) {
        let key = expression.text("key");
        if let Some(why) = node_label(key) {
            found.push(format!("{}: {key} is {why}", expression.path("key")));
        }
    }
}

fn spread(spec: &At<'_>, found: &mut Vec<String>) {
    for constraint in spec.items("topologySpreadConstraints") {
        let key = constraint.text("topologyKey");
        if let Some(why) = node_label(key) {
            found.push(format!("{}: {key} is {why}", constraint.path("topologyKey")));
        }
        no_selector(&constraint, found);
    }
}

fn no_selector(at: &At<'_>, found: &mut Vec<String>) {
    if !at.has("labelSelector") {
        let why = "a null labelSelector results in matching no pod";
        found.push(format!("{}: {why}", at.path("labelSelector")));
    }
}

fn affinities(spec: &At<'_>, found: &mut Vec<String>) {
    let affinity = spec.child_or_empty("affinity");
    for key in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.child_or_empty(key);
        for term in pods.items("requiredDuringSchedulingIgnoredDuringExecution") {
            no_selector(&term, found);
        }
        for term in pods.items("preferredDuringSchedulingIgnoredDuringExecution") {
            no_selector(&term.child_or_empty("podAffinityTerm"), found);
        }
    }
}

fn annotations(metadata: &At<'_>, found: &mut Vec<String>) {
    let given = metadata.child_or_empty("annotations");
    for (key, why) in ANNOTATIONS.iter().filter(|(key, _)| given.has(key)) {
        found.push(format!("{}[{key}]: {why}", given.path));
    }
}

fn volumes(spec: &At<'_>, found: &mut Vec<String>) {
    let mut tokens = BTreeSet::new();
    for volume in spec.items("volumes") {
        for (key, why) in VOLUMES.iter().filter(|(key, _)| volume.has(key)) {
            let shown = if *key == "storageos" { "storageOS" } else { key };
            found.push(format!("{}: {why}", volume.path(shown)));
        }
        let projected = volume.child_or_empty("projected");
        for source in projected.items("sources") {
            if let Some(token) = source.child("serviceAccountToken") {
                tokens.insert(token.text("path"));
            }
        }
    }
    if tokens.is_empty() {
        return;
    }
    for projected in spec.items("volumes").filter_map(|volume| volume.child("projected")) {
        for source in projected.items("sources") {
            for (key, shown) in
                [("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI")]
            {
                let items = source.child_or_empty(key);
                for (index, item) in items.items("items").enumerate() {
                    let path = item.text("path");
                    if tokens.contains(path) {
                        found.push(format!(
                            "{}.sources.{shown}[{index}]: has duplicated path with ServiceAccountToken {}",
                            projected.path,
                            Value::from(path)
                        ));
                    }
                }
            }
        }
    }
}

fn duplicates(spec: &At<'_>, found: &mut Vec<String>) {
    for (list, key) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen = BTreeSet::new();
        for item in spec.items(list) {
            let text = item.text(key);
            if !seen.insert(text) {
                found.push(format!("{}: duplicate {key} {}", item.path(key), Value::from(text)));
            }
        }
    }
    for secret in spec.items("imagePullSecrets").filter(|s| s.text("name").is_empty()) {
        found.push(format!("{}: invalid empty name \"\"", secret.path("name")));
    }
}

fn fractions(at: &At<'_>, key: &str, names: &[&str], found: &mut Vec<String>) {
    for name in names {
        let amount = at.child_or_empty(key).get(name).and_then(|v| Quantity::from_value(v).ok());
        if let Some(amount) = amount.filter(|amount| amount.millis() % 1000 != 0) {
            found.push(format!(
                "{}[{name}]: fractional byte value \"{amount}\" is invalid, must be an integer",
                at.path(key)
            ));
        }
    }
}

fn profiles(metadata: &At<'_>, spec: &At<'_>, within: Within, found: &mut Vec<String>) {
    let given = metadata.child_or_empty("annotations");
    let context = spec.child_or_empty("securityContext");
    let mut note = |key: &str, why: &str| {
        if given.has(key) {
            found.push(format!("{}[{key}]: {why}", given.path));
        }
    };
    let seccomp = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    if !context.has("seccompProfile") {
        note(SECCOMP_POD, seccomp);
    }
    for container in containers_of(spec) {
        let own = container.child_or_empty("securityContext");
        let name = container.text("name");
        if !own.has("seccompProfile") {
            note(&format!("{SECCOMP_CONTAINER}{name}"), seccomp);
        }
        let has_profile = context.has("appArmorProfile") || own.has("appArmorProfile");
        if within == Within::Template && !has_profile {
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            note(&format!("{APP_ARMOR}{name}"), why);
        }
    }
}

fn hidden_variables(container: &At<'_>, found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for env in container.items("env") {
        let name = env.text("name");
        if seen.insert(name) {
            continue;
        }
        // A new value that is built from the old one is fine.
        let (value, reference) = (env.text("value"), format!("$({name})"));
        if env.has("valueFrom") || value == reference || !value.contains(&reference) {
            let shown = Value::from(name);
            found.push(format!(
                "{}: hides previous definition of {shown}, which may be dropped when using apply",
                env.path
            ));
        }
    }
}

fn ports(spec: &At<'_>, found: &mut Vec<String>) {
    let mut taken: BTreeMap<(i64, &str), Vec<At<'_>>> = BTreeMap::new();
    let containers: Vec<At<'_>> = containers_of(spec).collect();
    for port in containers.iter().flat_map(|c| c.items("ports").collect::<Vec<_>>()) {
        // Beyond this the client is told no more, so that many equal ports do not cost their square.
        if found.len() > WARNINGS_MAX {
            return;
        }
        let host_port = |port: &At<'_>| port.integer("hostPort").unwrap_or(0);
        let key = (port.integer("containerPort").unwrap_or(0), port.text("protocol"));
        if !port.text("hostIP").is_empty() && host_port(&port) == 0 {
            let shown = format!(
                "{{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                port.text("name"),
                key.0,
                key.1,
                port.text("hostIP")
            );
            found.push(format!("{}: hostIP set without hostPort: {shown}", port.path));
        }
        let others = taken.entry(key).or_default();
        for other in others.iter() {
            let (ip, other_ip) = (port.text("hostIP"), other.text("hostIP"));
            let (host, other_host) = (host_port(&port), host_port(other));
            let what = if ip == other_ip && host == other_host {
                "duplicate"
            } else if host == 0 || other_host == 0 {
                "overlapping"
            } else if host == other_host && ip.is_empty() != other_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            found.push(format!("{}: {what} port definition with {}", port.path, other.path));
        }
        others.push(port);
    }
}
