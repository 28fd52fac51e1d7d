//! What can be wrong with a Service.

use std::collections::BTreeSet;

use quadrille_object::validate_name;
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::rules::facts::items;
use crate::rules::ingress::validate_entry;
use crate::rules::net;
use crate::rules::service::{
    address, families, has_ports, is_reachable_from_outside, kind, needs_health_port,
};

/// Names the networks whose clients a balancer lets in.
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

pub(super) fn validate(object: &Object, errors: &mut Errors) {
    let (kind, headless) = (kind(object), address(object) == "None");
    let ports = field::list(object, &["spec", "ports"]);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.required("spec.ports", "");
    }
    match kind {
        "ExternalName" => {
            match field::text(object, &["spec", "externalName"]).unwrap_or_default() {
                "" => errors.required("spec.externalName", ""),
                name => {
                    let name = name.trim_end_matches('.');
                    errors.invalid_each(
                        "spec.externalName",
                        name,
                        validate_name::dns_subdomain(name),
                    );
                }
            }
        }
        "ClusterIP" | "NodePort" | "LoadBalancer" => {}
        other => {
            let known = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
            errors.unsupported("spec.type", &other.into(), &known);
        }
    }
    if headless && has_ports(object) {
        let shown = field::get(object, &["spec", "clusterIPs"]).cloned().unwrap_or(Value::Null);
        let why = format!("may not be set to 'None' for {kind} services");
        errors.invalid("spec.clusterIPs[0]", &shown, &why);
    }
    validate_ports(ports, kind, errors);
    if let Some(selector) = field::get(object, &["spec", "selector"]).and_then(Value::as_object) {
        let texts = selector.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
        errors.0.extend(validate_name::labels("spec.selector", texts));
    }
    errors.one_of(object, &["spec", "sessionAffinity"], &["ClientIP", "None"]);
    let path = ["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"];
    if let Some(seconds) = field::integer(object, &path).filter(|s| !(1..=86_400).contains(s)) {
        errors.invalid(
            path.join("."),
            &seconds.into(),
            "must be greater than 0 and less than 86400",
        );
    }
    families::validate(object, errors);
    validate_outside(object, kind, errors);
}

/// Fields of Services that are reachable from outside.
fn validate_outside(object: &Object, kind: &str, errors: &mut Errors) {
    let policy = field::get(object, &["spec", "externalTrafficPolicy"]);
    let policy = policy.filter(|policy| policy.as_str() != Some(""));
    match policy.filter(|_| !is_reachable_from_outside(object)) {
        Some(policy) => {
            let why = "may only be set for externally-accessible services";
            errors.invalid("spec.externalTrafficPolicy", policy, why);
        }
        None => {
            errors.one_of(object, &["spec", "externalTrafficPolicy"], &["Cluster", "Local"]);
        }
    }
    errors.one_of(object, &["spec", "internalTrafficPolicy"], &["Cluster", "Local"]);
    if kind != "LoadBalancer" {
        for key in ["loadBalancerClass", "allocateLoadBalancerNodePorts"] {
            if field::get(object, &["spec", key]).is_some() {
                errors.forbidden(
                    format!("spec.{key}"),
                    "may only be used when `type` is 'LoadBalancer'",
                );
            }
        }
    }
    validate_ranges(object, kind, errors);
    validate_reach(object, kind, errors);
}

/// Which clients balancers let in: a field, or the annotation that was there before it.
fn validate_ranges(object: &Object, kind: &str, errors: &mut Errors) {
    let ranges = field::list(object, &["spec", "loadBalancerSourceRanges"]);
    let annotation = field::text(object, &["metadata", "annotations", RANGES]);
    if let Some(annotation) = annotation.filter(|_| ranges.is_empty()) {
        let at = format!("metadata.annotations[{RANGES}]");
        if kind != "LoadBalancer" {
            errors.forbidden(&at, "may only be used when `type` is 'LoadBalancer'");
        }
        for range in annotation.split(',').filter(|_| !annotation.trim().is_empty()) {
            net::validate_network(&at, range.trim(), errors);
        }
    }
    if !ranges.is_empty() && kind != "LoadBalancer" {
        let why = "may only be used when `type` is 'LoadBalancer'";
        errors.forbidden("spec.LoadBalancerSourceRanges", why);
    }
    for (index, range) in ranges.iter().enumerate() {
        let text = range.as_str().unwrap_or_default().trim();
        net::validate_network(&format!("spec.LoadBalancerSourceRanges[{index}]"), text, errors);
    }
}

/// What Services say of who reaches them, and how.
fn validate_reach(object: &Object, kind: &str, errors: &mut Errors) {
    for (index, ip) in field::list(object, &["spec", "externalIPs"]).iter().enumerate() {
        let (at, ip) = (format!("spec.externalIPs[{index}]"), ip.as_str().unwrap_or_default());
        let before = errors.0.len();
        net::validate_ip(&at, ip, errors);
        if errors.0.len() == before {
            net::validate_reachable(&at, ip, errors);
        }
    }
    if let Some(class) = field::text(object, &["spec", "loadBalancerClass"])
        && kind == "LoadBalancer"
    {
        errors.invalid_each("spec.loadBalancerClass", class, validate_name::qualified_name(class));
    }
    let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    errors.one_of(object, &["spec", "trafficDistribution"], &known);
    let health = field::integer(object, &["spec", "healthCheckNodePort"]).unwrap_or(0);
    if needs_health_port(object) {
        validate_number(health, "spec.healthCheckNodePort", errors);
    } else if health != 0 {
        let why =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid("spec.healthCheckNodePort", &health.into(), why);
    }
    for (index, port) in field::list(object, &["spec", "ports"]).iter().enumerate() {
        let at = format!("spec.ports[{index}]");
        let protocol = port.get("appProtocol").and_then(Value::as_str).unwrap_or_default();
        if !protocol.is_empty() {
            let problems = validate_name::qualified_name(protocol);
            errors.invalid_each(&format!("{at}.appProtocol"), protocol, problems);
        }
    }
    validate_node_ports(object, errors);
}

/// Where balancers say that they are reached.
pub(super) fn validate_status(object: &Object, errors: &mut Errors) {
    let entries = field::get(object, &["status", "loadBalancer"]).and_then(Value::as_object);
    let Some(entries) = entries else { return };
    let entries = items(entries, "ingress", "status.loadBalancer");
    if kind(object) != "LoadBalancer" && !entries.is_empty() {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.forbidden("status.loadBalancer.ingress", why);
        return;
    }
    for (at, entry) in entries {
        let mode = field::get(entry, &["ipMode"]);
        let ip = field::text(entry, &["ip"]).unwrap_or_default();
        match (ip, mode) {
            ("", Some(_)) => {
                errors
                    .forbidden(format!("{at}.ipMode"), "may not be specified when `ip` is not set");
            }
            (_, Some(mode)) if !matches!(mode.as_str(), Some("Proxy" | "VIP")) => {
                errors.unsupported(format!("{at}.ipMode"), mode, &["Proxy", "VIP"]);
            }
            _ => {}
        }
        validate_entry(&at, entry, errors);
    }
}

/// One node port serves one protocol once.
fn validate_node_ports(object: &Object, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, port) in field::list(object, &["spec", "ports"]).iter().enumerate() {
        let number = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or_default();
        if number != 0 && !seen.insert((number, protocol)) {
            errors.duplicate(format!("spec.ports[{index}].nodePort"), &number.into());
        }
    }
}

/// What clients should know of a Service that is stored all the same.
pub(super) fn warn(object: &Object, warnings: &mut Vec<String>) {
    let of = |key| field::text(object, &["spec", key]).unwrap_or_default();
    if address(object) == "None" && !of("loadBalancerIP").is_empty() {
        warnings.push("spec.loadBalancerIP is ignored when spec.clusterIP is \"None\"".to_owned());
    }
    if address(object) == "None" && !field::list(object, &["spec", "externalIPs"]).is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.clusterIP is \"None\"".to_owned());
    }
    if address(object) == "None" && of("sessionAffinity") == "ClientIP" {
        let text = "spec.SessionAffinity is ignored for headless services";
        warnings.push(text.to_owned());
    }
    if kind(object) == "ExternalName" && of("sessionAffinity") == "ClientIP" {
        warnings.push("spec.SessionAffinity is ignored for ExternalName services".to_owned());
    }
    if kind(object) != "ExternalName" && !of("externalName").is_empty() {
        let text = "spec.externalName is ignored when spec.type is not \"ExternalName\"";
        warnings.push(text.to_owned());
    }
    if of("trafficDistribution") == "PreferClose" {
        let text =
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(text.to_owned());
    }
    if !field::list(object, &["spec", "externalIPs"]).is_empty() {
        let text =
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        warnings.push(text.to_owned());
    }
    for key in ["externalIPs", "clusterIPs"] {
        for (index, ip) in field::list(object, &["spec", key]).iter().enumerate() {
            let ip = ip.as_str().unwrap_or_default();
            net::warn_ip(&format!("spec.{key}[{index}]"), ip, warnings);
        }
    }
    net::warn_ip("spec.loadBalancerIP", of("loadBalancerIP"), warnings);
    let ranges = field::list(object, &["spec", "loadBalancerSourceRanges"]).iter().enumerate();
    for (index, range) in ranges {
        let range = range.as_str().unwrap_or_default();
        net::warn_network(&format!("spec.loadBalancerSourceRanges[{index}]"), range, warnings);
    }
}

fn validate_ports(ports: &[Value], kind: &str, errors: &mut Errors) {
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let at = format!("spec.ports[{index}]");
        let text = |key: &str| port.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| port.get(key).and_then(Value::as_i64).unwrap_or(0);
        match text("name") {
            "" if ports.len() > 1 => errors.required(format!("{at}.name"), ""),
            "" => {}
            name => {
                let problems = validate_name::dns_label(name);
                errors.invalid_each(&format!("{at}.name"), name, problems);
                if !names.insert(name) {
                    errors.duplicate(format!("{at}.name"), &name.into());
                }
            }
        }
        validate_number(number("port"), &format!("{at}.port"), errors);
        let protocol = port.get("protocol").unwrap_or(&Value::Null);
        let known = ["SCTP", "TCP", "UDP"];
        if !protocol.as_str().is_some_and(|text| known.contains(&text)) {
            errors.unsupported(format!("{at}.protocol"), protocol, &known);
        }
        validate_target(port.get("targetPort").unwrap_or(&Value::Null), &at, errors);
        if number("nodePort") != 0 && kind == "ClusterIP" {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.forbidden(format!("{at}.nodePort"), why);
        }
        if !numbers.insert((number("port"), text("protocol"))) {
            // The names and the order are those of the type that Kubernetes prints here.
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":\"{}\",\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                text("protocol"),
                number("port")
            );
            errors.duplicate_shown(at, &shown);
        }
    }
}

fn validate_number(number: i64, at: &str, errors: &mut Errors) {
    crate::rules::pod_template::validate_port(number, at, errors);
}

fn validate_target(target: &Value, at: &str, errors: &mut Errors) {
    let at = format!("{at}.targetPort");
    match target {
        Value::Number(number) => validate_number(number.as_i64().unwrap_or(0), &at, errors),
        Value::String(name) => {
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if name.len() > 15 {
                errors.invalid(&at, target, "must be no more than 15 characters");
            } else if !name.bytes().all(good) {
                let why = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
                errors.invalid(&at, target, why);
            } else if !name.bytes().any(|b| b.is_ascii_lowercase()) {
                errors.invalid(&at, target, "must contain at least one letter (a-z)");
            }
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
    }
}
