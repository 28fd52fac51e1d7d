//! Where a Pod may run and under which names: tolerations, spreading, gates, DNS, host aliases.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_object::validate_name;
use serde_json::Value;

use super::at::At;
use super::check::Within;
use super::selector::validate_label_selector;
use crate::field::Errors;

/// Checks `tolerations`.
pub(crate) fn validate_tolerations(spec: &At<'_>, errors: &mut Errors) {
    for toleration in spec.items("tolerations") {
        let (key, operator) = (toleration.text("key"), toleration.text("operator"));
        let (value, effect) = (toleration.text("value"), toleration.text("effect"));
        let path = toleration.path("operator");
        if !key.is_empty() {
            let problems = validate_name::qualified_name(key);
            errors.invalid_each(&toleration.path("key"), key, problems);
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(path.clone(), &operator.into(), why);
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(toleration.path("effect"), &effect.into(), why);
        }
        match operator {
            "Equal" | "" => {
                let problems = validate_name::label_value(value);
                if !problems.is_empty() {
                    errors.invalid(path, &value.into(), &problems.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.invalid(path, &value.into(), why);
            }
            "Exists" => {}
            other => errors.unsupported(path, &other.into(), &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            errors.known(&toleration, "effect", &known);
        }
    }
}

/// Checks `topologySpreadConstraints`.
pub(super) fn validate_spread(spec: &At<'_>, within: Within, errors: &mut Errors) {
    let pair =
        |c: &At<'_>| (c.text("topologyKey").to_owned(), c.text("whenUnsatisfiable").to_owned());
    let constraints: Vec<At<'_>> = spec.items("topologySpreadConstraints").collect();
    let mut later = BTreeSet::new();
    let mut repeated = BTreeSet::new();
    for (index, constraint) in constraints.iter().enumerate().rev() {
        if !later.insert(pair(constraint)) {
            repeated.insert(index);
        }
    }
    for (index, constraint) in constraints.iter().enumerate() {
        validate_constraint(constraint, repeated.contains(&index), errors);
        validate_spread_keys(constraint, within, errors);
    }
}

fn validate_constraint(constraint: &At<'_>, is_repeated: bool, errors: &mut Errors) {
    let skew = constraint.integer("maxSkew").unwrap_or(0);
    if skew <= 0 {
        errors.invalid(constraint.path("maxSkew"), &skew.into(), "must be greater than 0");
    }
    if constraint.text("topologyKey").is_empty() {
        errors.required(constraint.path("topologyKey"), "can not be empty");
    }
    let action = constraint.text("whenUnsatisfiable");
    if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
        let known = ["DoNotSchedule", "ScheduleAnyway"];
        errors.unsupported(constraint.path("whenUnsatisfiable"), &action.into(), &known);
    }
    if is_repeated {
        let pair = format!("{{{}, {action}}}", constraint.text("topologyKey"));
        let path = constraint.path("{topologyKey, whenUnsatisfiable}");
        errors.duplicate(path, &pair.into());
    }
    if let Some(domains) = constraint.integer("minDomains") {
        let path = constraint.path("minDomains");
        if domains <= 0 {
            errors.invalid(path.clone(), &domains.into(), "must be greater than 0");
        }
        if action != "DoNotSchedule" {
            let why =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            errors.invalid(path, &domains.into(), &why);
        }
    }
    for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        errors.known(constraint, key, &["Honor", "Ignore"]);
    }
    if let Some(selector) = constraint.get("labelSelector") {
        validate_label_selector(selector, &constraint.path("labelSelector"), errors);
    }
}

fn validate_spread_keys(constraint: &At<'_>, within: Within, errors: &mut Errors) {
    if constraint.list("matchLabelKeys").is_empty() {
        return;
    }
    if !constraint.has("labelSelector") {
        let why = "must not be specified when labelSelector is not set";
        errors.forbidden(constraint.path("matchLabelKeys"), why);
    }
    let selector = constraint.child_or_empty("labelSelector");
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    let labels = selector.entries("matchLabels").map(|(key, _)| key);
    for key in labels.chain(selector.items("matchExpressions").map(|e| e.text("key"))) {
        *named.entry(key).or_default() += 1;
    }
    // A Pod's own values of the keys have become expressions already.
    let allowed = usize::from(within == Within::Pod);
    for (index, key) in constraint.texts("matchLabelKeys").enumerate() {
        let path = constraint.index("matchLabelKeys", index);
        errors.invalid_each(&path, key, validate_name::qualified_name(key));
        if named.get(key).is_some_and(|count| *count > allowed) {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.invalid(path, &key.into(), why);
        }
    }
}

/// Checks `readinessGates` and `schedulingGates`.
pub(super) fn validate_gates(spec: &At<'_>, errors: &mut Errors) {
    for gate in spec.items("readinessGates") {
        let name = gate.text("conditionType");
        let problems = validate_name::qualified_name(name);
        errors.invalid_each(&gate.path("conditionType"), name, problems);
    }
    let mut seen = BTreeSet::new();
    for gate in spec.items("schedulingGates") {
        let name = gate.text("name");
        errors.invalid_each(&gate.path, name, validate_name::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(gate.path.clone(), &name.into());
        }
    }
}

/// Checks `dnsConfig`, which `dnsPolicy: None` needs.
pub(super) fn validate_dns(spec: &At<'_>, errors: &mut Errors) {
    const SERVERS_MAX: usize = 3;
    const SEARCHES_MAX: usize = 32;
    const SEARCH_CHARS_MAX: usize = 2048;
    let none = spec.text("dnsPolicy") == "None";
    let Some(config) = spec.child("dnsConfig") else {
        if none {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.required(spec.path("dnsConfig"), why);
        }
        return;
    };
    let servers = config.list("nameservers");
    if none && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.required(config.path("nameservers"), why);
        return;
    }
    if servers.len() > SERVERS_MAX {
        let why = format!("must not have more than {SERVERS_MAX} nameservers");
        errors.invalid(config.path("nameservers"), &servers.to_vec().into(), &why);
    }
    for (index, server) in config.texts("nameservers").enumerate() {
        errors.address(config.index("nameservers", index), server);
    }
    let searches = config.list("searches");
    let shown = || Value::from(searches.to_vec());
    if searches.len() > SEARCHES_MAX {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.invalid(config.path("searches"), &shown(), &why);
    }
    let chars: usize = config.texts("searches").map(|s| s.len() + 1).sum();
    if chars.saturating_sub(1) > SEARCH_CHARS_MAX {
        let why = format!(
            "must not have more than {SEARCH_CHARS_MAX} characters (including spaces) in the search list"
        );
        errors.invalid(config.path("searches"), &shown(), &why);
    }
    for (index, search) in config.texts("searches").enumerate().filter(|(_, s)| *s != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        if !is_search(search) {
            let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
                       '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
                       'example.com', regex used for validation is \
                       '[a-z0-9_]([-_a-z0-9]*[a-z0-9])?(\\.[a-z0-9_]([-_a-z0-9]*[a-z0-9])?)*')";
            errors.invalid(config.index("searches", index), &search.into(), why);
        }
    }
    for (index, option) in config.items("options").enumerate() {
        if option.text("name").is_empty() {
            errors.required(config.index("options", index), "must not be empty");
        }
    }
}

/// A DNS subdomain in which labels may have underscores.
fn is_search(search: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    search.len() <= 253
        && search.split('.').all(|label| {
            let (Some(first), Some(last)) = (label.bytes().next(), label.bytes().last()) else {
                return false;
            };
            (is_plain(first) || first == b'_')
                && (is_plain(last) || (last == b'_' && label.len() == 1))
                && label.bytes().all(|b| is_plain(b) || matches!(b, b'-' | b'_'))
        })
}

/// Checks `hostAliases`.
pub(super) fn validate_aliases(spec: &At<'_>, errors: &mut Errors) {
    for alias in spec.items("hostAliases") {
        errors.address(alias.path("ip"), alias.text("ip"));
        for (index, name) in alias.texts("hostnames").enumerate() {
            let problems = validate_name::dns_subdomain(name);
            errors.invalid_each(&alias.index("hostnames", index), name, problems);
        }
    }
}
