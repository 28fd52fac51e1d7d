//! Network policies, Service networks and the addresses handed out of them.

use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::facts::Fact::{Default, Immutable, Selector};
use crate::rules::facts::Literal::Text;
use crate::rules::facts::{Form, KindRules, items, part, text, validate_selector, value};
use crate::rules::net;
use crate::rules::pod_template::validate_port;

/// The rules of network policies.
pub(crate) static NETWORK_POLICIES: KindRules = KindRules {
    facts: &[
        Default("spec.ingress[].ports[].protocol", Text("TCP")),
        Default("spec.egress[].ports[].protocol", Text("TCP")),
        Selector("spec.podSelector"),
    ],
    default: |object| {
        let spec = field::map_mut(object, &["spec"]);
        if field::list(spec, &["policyTypes"]).is_empty() {
            let both = !field::list(spec, &["egress"]).is_empty();
            let types = if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
            spec.insert("policyTypes".to_owned(), types);
        }
    },
    validate: |object, errors| {
        let Some(spec) = part(object, "spec") else { return };
        for (list, peers) in [("ingress", "from"), ("egress", "to")] {
            for (at, rule) in items(spec, list, "spec") {
                for (at, port) in items(rule, "ports", &at) {
                    validate_policy_port(&at, port, errors);
                }
                for (at, peer) in items(rule, peers, &at) {
                    validate_peer(&at, peer, errors);
                }
            }
        }
        let types = field::list(spec, &["policyTypes"]);
        if types.len() > 2 {
            let why = "may not specify more than two policyTypes";
            errors.invalid("spec.policyTypes", &Value::Array(types.to_vec()), why);
            return;
        }
        for (index, kind) in types.iter().enumerate() {
            if !matches!(kind.as_str(), Some("Ingress" | "Egress")) {
                let at = format!("spec.policyTypes[{index}]");
                errors.unsupported(at, kind, &["Ingress", "Egress"]);
            }
        }
    },
    warn: |object, _, warnings| {
        let Some(spec) = part(object, "spec") else { return };
        for (list, peers) in [("ingress", "from"), ("egress", "to")] {
            for (at, rule) in items(spec, list, "spec") {
                for (at, peer) in items(rule, peers, &at) {
                    let Some(block) = part(peer, "ipBlock") else { continue };
                    net::warn_network(&format!("{at}.ipBlock.cidr"), text(block, "cidr"), warnings);
                    for (index, but) in field::list(block, &["except"]).iter().enumerate() {
                        let but = but.as_str().unwrap_or_default();
                        let at = format!("{at}.ipBlock.except[{index}]");
                        net::warn_network(&at, but, warnings);
                    }
                }
            }
        }
    },
    ..KindRules::PLAIN
};

fn validate_policy_port(at: &str, port: &Object, errors: &mut Errors) {
    let known = ["TCP", "UDP", "SCTP"];
    if let Some(protocol) = value(port, "protocol")
        && !protocol.as_str().is_some_and(|text| known.contains(&text))
    {
        errors.unsupported(format!("{at}.protocol"), protocol, &known);
    }
    let end = port.get("endPort").and_then(Value::as_i64);
    match port.get("port") {
        Some(Value::Number(number)) => {
            let number = number.as_i64().unwrap_or(0);
            validate_port(number, &format!("{at}.port"), errors);
            let Some(end) = end else { return };
            if end < number {
                let why = "must be greater than or equal to `port`";
                errors.invalid(format!("{at}.endPort"), &number.into(), why);
            }
            validate_port(end, &format!("{at}.endPort"), errors);
        }
        Some(Value::String(name)) => {
            if end.is_some() {
                let why = "may not be specified when `port` is non-numeric";
                errors.forbidden(format!("{at}.endPort"), why);
            }
            errors.invalid_each(&format!("{at}.port"), name, net::port_name_problems(name));
        }
        _ if end.is_some() => {
            errors.required(format!("{at}.port"), "must be specified when `endPort` is set");
        }
        _ => {}
    }
}

fn validate_peer(at: &str, peer: &Object, errors: &mut Errors) {
    let mut count = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = value(peer, key) {
            count += 1;
            validate_selector(selector, &format!("{at}.{key}"), errors);
        }
    }
    if let Some(block) = part(peer, "ipBlock") {
        validate_block(&format!("{at}.ipBlock"), block, errors);
        if count > 0 {
            errors.forbidden(at, "may not specify both ipBlock and another peer");
        }
        count += 1;
    }
    if count == 0 {
        errors.required(at, "must specify a peer");
    }
}

fn validate_block(at: &str, block: &Object, errors: &mut Errors) {
    let outer = match text(block, "cidr") {
        "" => {
            errors.required(format!("{at}.cidr"), "");
            return;
        }
        cidr => net::validate_network(&format!("{at}.cidr"), cidr, errors),
    };
    let Some(outer) = outer else { return };
    for (index, but) in field::list(block, &["except"]).iter().enumerate() {
        let at = format!("{at}.except[{index}]");
        let inner = net::validate_network(&at, but.as_str().unwrap_or_default(), errors);
        if inner.is_some_and(|inner| !outer.strictly_holds(inner)) {
            errors.invalid(at, but, "must be a strict subset of `cidr`");
        }
    }
}

/// The rules of Service networks.
pub(crate) static SERVICE_CIDRS: KindRules = KindRules {
    create: |attempt, object| {
        // Addresses are handed out of the host's own network only.
        if metadata::text(object, "name") == "kubernetes" {
            let now = attempt.now.to_rfc3339();
            object.insert(
                "status".to_owned(),
                json!({"conditions": [{
                    "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": now,
                    "message": "Kubernetes Service CIDR is ready",
                }]}),
            );
        }
        Ok(())
    },
    validate: |object, errors| {
        let cidrs = field::list(object, &["spec", "cidrs"]);
        if cidrs.is_empty() {
            errors.required("spec.cidrs", "at least one CIDR required");
            return;
        }
        if cidrs.len() > 2 {
            let why = "may only hold up to 2 values";
            errors.invalid("spec", &json!({"cidrs": cidrs}), why);
            return;
        }
        let mut families = Vec::new();
        for (index, cidr) in cidrs.iter().enumerate() {
            let text = cidr.as_str().unwrap_or_default();
            let at = format!("spec.cidrs[{index}]");
            let Some(network) = net::validate_network(&at, text, errors) else { continue };
            families.push(network.address.is_ipv4());
            if network.canonical() != text {
                let why = format!("must be in canonical form (\"{}\")", network.canonical());
                errors.invalid(at, cidr, &why);
            }
        }
        if matches!(families.as_slice(), [a, b] if a == b) {
            let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.invalid("spec.cidrs", &Value::Array(cidrs.to_vec()), why);
        }
    },
    changed: |object, before, errors| {
        let of = |o| field::list(o, &["spec", "cidrs"]).to_vec();
        let (new, old) = (of(object), of(before));
        let grown = old.len() == 1 && new.len() == 2;
        if new != old && !(grown && new.first() == old.first()) {
            errors.invalid("spec.cidrs", &Value::Array(new), "field is immutable");
        }
    },
    ..KindRules::PLAIN
};

/// The rules of the addresses of Services.
pub(crate) static IP_ADDRESSES: KindRules = KindRules {
    facts: &[Immutable("spec.parentRef")],
    validate: |object, errors| {
        let name = metadata::text(object, "name");
        match net::parse_ip(name) {
            None => net::validate_ip("metadata.name", name, errors),
            Some(address) if address.to_string() != name => {
                let why = format!("must be in canonical form (\"{address}\")");
                errors.invalid("metadata.name", &name.into(), &why);
            }
            Some(_) => {}
        }
        let Some(parent) = field::get(object, &["spec", "parentRef"]).and_then(Value::as_object)
        else {
            errors.required("spec.parentRef", "");
            return;
        };
        let group = text(parent, "group");
        if !group.is_empty() {
            let problems = Form::Subdomain.problems(group);
            errors.invalid_each("spec.parentRef.group", group, problems);
        }
        for key in ["resource", "name", "namespace"] {
            let at = format!("spec.parentRef.{key}");
            match text(parent, key) {
                "" if key != "namespace" => errors.required(at, ""),
                "" => {}
                given => errors.invalid_each(&at, given, Form::PathSegment.problems(given)),
            }
        }
    },
    ..KindRules::PLAIN
};
