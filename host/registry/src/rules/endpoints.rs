//! `Endpoints` and `EndpointSlices`.

use std::collections::BTreeSet;

use quadrille_object::{FieldErrorKind, validate_name};
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::facts::Fact::{Default, Immutable, OneOf, Required};
use crate::rules::facts::Literal::Text;
use crate::rules::facts::{Form, KindRules, items, part, text, value};
use crate::rules::net::{self, PROTOCOLS};
use crate::rules::pod_template::validate_port;

/// Bounds of Kubernetes on a slice.
const ENDPOINTS_MAX: usize = 1000;
const PORTS_MAX: usize = 20_000;
const ADDRESSES_MAX: usize = 100;
const HINTS_MAX: usize = 8;

/// The rules of `Endpoints`.
pub(crate) static ENDPOINTS: KindRules = KindRules {
    facts: &[
        Default("subsets[].ports[].protocol", Text("TCP")),
        OneOf("subsets[].ports[].protocol", &PROTOCOLS),
    ],
    validate: validate_endpoints,
    warn: |object, _, warnings| {
        for (at, subset) in items(object, "subsets", "") {
            for key in ["addresses", "notReadyAddresses"] {
                for (at, address) in items(subset, key, &at) {
                    net::warn_ip(&format!("{at}.ip"), text(address, "ip"), warnings);
                }
            }
        }
    },
    ..KindRules::PLAIN
};

fn validate_endpoints(object: &Object, errors: &mut Errors) {
    for (at, subset) in items(object, "subsets", "") {
        let addresses = ["addresses", "notReadyAddresses"].map(|key| items(subset, key, &at));
        if addresses.iter().all(Vec::is_empty) {
            errors.required(&at, "must specify `addresses` or `notReadyAddresses`");
        }
        for (at, address) in addresses.into_iter().flatten() {
            validate_address(&at, address, errors);
        }
        let ports = items(subset, "ports", &at);
        let named = ports.len() > 1;
        for (at, port) in ports {
            let name = text(port, "name");
            if name.is_empty() && named {
                errors.required(format!("{at}.name"), "");
            } else if !name.is_empty() {
                let problems = validate_name::dns_label(name);
                errors.invalid_each(&format!("{at}.name"), name, problems);
            }
            let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
            validate_port(number, &format!("{at}.port"), errors);
            validate_protocol(&at, port, errors);
        }
    }
}

fn validate_address(at: &str, address: &Object, errors: &mut Errors) {
    let ip = text(address, "ip");
    let (place, before) = (format!("{at}.ip"), errors.0.len());
    net::validate_ip(&place, ip, errors);
    if errors.0.len() == before {
        net::validate_reachable(&place, ip, errors);
    }
    let hostname = text(address, "hostname");
    if !hostname.is_empty() {
        let problems = validate_name::dns_label(hostname);
        errors.invalid_each(&format!("{at}.hostname"), hostname, problems);
    }
    if let Some(node) = value(address, "nodeName").and_then(Value::as_str) {
        errors.invalid_each(&format!("{at}.nodeName"), node, Form::Subdomain.problems(node));
    }
}

fn validate_protocol(at: &str, port: &Object, errors: &mut Errors) {
    if text(port, "protocol").is_empty() {
        errors.required(format!("{at}.protocol"), "");
    }
    let protocol = text(port, "appProtocol");
    if !protocol.is_empty() {
        let problems = Form::Qualified.problems(protocol);
        errors.invalid_each(&format!("{at}.appProtocol"), protocol, problems);
    }
}

/// The rules of `EndpointSlices`.
pub(crate) static ENDPOINT_SLICES: KindRules = KindRules {
    facts: &[
        Default("ports[].name", Text("")),
        Default("ports[].protocol", Text("TCP")),
        Required("addressType", ""),
        OneOf("addressType", &["FQDN", "IPv4", "IPv6"]),
        OneOf("ports[].protocol", &PROTOCOLS),
        Immutable("addressType"),
    ],
    create: |_, object| {
        metadata::of_mut(object).insert("generation".to_owned(), 1.into());
        Ok(())
    },
    update: |_, object, before| {
        count(object, before);
        Ok(())
    },
    validate: validate_slice,
    warn: |object, _, warnings| {
        let kind = text(object, "addressType");
        if kind == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
            return;
        }
        for (at, endpoint) in items(object, "endpoints", "") {
            for (index, address) in field::list(endpoint, &["addresses"]).iter().enumerate() {
                let address = address.as_str().unwrap_or_default();
                net::warn_ip(&format!("{at}.addresses[{index}]"), address, warnings);
            }
        }
    },
    ..KindRules::PLAIN
};

/// A new generation comes of changed endpoints, ports or labels.
fn count(object: &mut Object, before: &Object) {
    let content = |o: &Object| ["endpoints", "ports", "addressType"].map(|key| o.get(key).cloned());
    let labels = |o: &Object| field::get(o, &["metadata", "labels"]).cloned();
    if content(object) != content(before) || labels(object) != labels(before) {
        let generation = field::integer(before, &["metadata", "generation"]).unwrap_or(0);
        metadata::of_mut(object).insert("generation".to_owned(), (generation + 1).into());
    }
}

fn validate_slice(object: &Object, errors: &mut Errors) {
    let kind = text(object, "addressType");
    let endpoints = items(object, "endpoints", "");
    if endpoints.len() > ENDPOINTS_MAX {
        errors.too_many("endpoints", endpoints.len(), ENDPOINTS_MAX);
    } else {
        for (at, endpoint) in endpoints {
            validate_endpoint(&at, endpoint, kind, errors);
        }
    }
    let ports = items(object, "ports", "");
    if ports.len() > PORTS_MAX {
        errors.too_many("ports", ports.len(), PORTS_MAX);
        return;
    }
    let mut names = BTreeSet::new();
    for (at, port) in ports {
        let name = text(port, "name");
        if !name.is_empty() {
            let problems = validate_name::dns_label(name);
            errors.invalid_each(&format!("{at}.name"), name, problems);
        }
        if !names.insert(name) {
            errors.duplicate(format!("{at}.name"), &name.into());
        }
        validate_protocol(&at, port, errors);
    }
}

fn validate_endpoint(at: &str, endpoint: &Object, kind: &str, errors: &mut Errors) {
    let addresses = field::list(endpoint, &["addresses"]);
    if addresses.is_empty() {
        errors.required(format!("{at}.addresses"), "must contain at least 1 address");
    } else if addresses.len() > ADDRESSES_MAX {
        errors.too_many(format!("{at}.addresses"), addresses.len(), ADDRESSES_MAX);
    }
    for (index, address) in addresses.iter().enumerate() {
        let address = address.as_str().unwrap_or_default();
        validate_typed_address(&format!("{at}.addresses[{index}]"), address, kind, errors);
    }
    if let Some(node) = value(endpoint, "nodeName").and_then(Value::as_str) {
        errors.invalid_each(&format!("{at}.nodeName"), node, Form::Subdomain.problems(node));
    }
    if let Some(hostname) = value(endpoint, "hostname").and_then(Value::as_str) {
        let problems = validate_name::dns_label(hostname);
        errors.invalid_each(&format!("{at}.hostname"), hostname, problems);
    }
    if let Some(labels) = part(endpoint, "deprecatedTopology") {
        let texts = labels.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
        errors.0.extend(validate_name::labels(&format!("{at}.deprecatedTopology"), texts));
    }
    let Some(hints) = part(endpoint, "hints") else { return };
    for key in ["forZones", "forNodes"] {
        validate_hints(&format!("{at}.hints.{key}"), field::list(hints, &[key]), errors);
    }
}

fn validate_typed_address(at: &str, address: &str, kind: &str, errors: &mut Errors) {
    match kind {
        "IPv4" | "IPv6" => {
            let v4 = kind == "IPv4";
            if net::parse_ip(address).is_none_or(|ip| ip.is_ipv4() != v4) {
                let why = format!("must be a valid {kind} address");
                errors.invalid(at, &address.into(), &why);
            }
            net::validate_reachable(at, address, errors);
        }
        "FQDN" => net::validate_full_name(at, address, errors),
        _ => {}
    }
}

fn validate_hints(at: &str, hints: &[Value], errors: &mut Errors) {
    if hints.len() > HINTS_MAX {
        errors.too_many(at, hints.len(), HINTS_MAX);
        return;
    }
    let mut names = BTreeSet::new();
    for (index, hint) in hints.iter().enumerate() {
        let name = hint.get("name").and_then(Value::as_str).unwrap_or_default();
        let at = format!("{at}[{index}].name");
        if !names.insert(name) {
            errors.duplicate(&at, &name.into());
        }
        errors.invalid_each(&at, name, validate_name::label_value(name));
    }
}

impl Errors {
    /// A list with more items than allowed.
    pub(crate) fn too_many(&mut self, field: impl Into<String>, count: usize, max: usize) {
        let message = format!("Too many: {count}: must have at most {max} items");
        self.0.push(quadrille_object::FieldError::new(FieldErrorKind::TooMany, field, message));
    }
}
