//! Affinities to nodes and to other Pods.

use std::collections::BTreeSet;

use quadrille_object::validate_name;

use super::at::At;
use super::selector::validate_label_selector;
use crate::field::Errors;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Checks an `Affinity`.
pub(super) fn validate(spec: &At<'_>, errors: &mut Errors) {
    let Some(affinity) = spec.child("affinity") else { return };
    if let Some(node) = affinity.child("nodeAffinity") {
        if let Some(required) = node.child(REQUIRED) {
            validate_node_selector(&required, true, errors);
        }
        for term in node.items(PREFERRED) {
            validate_weight(&term, errors);
            validate_term(&term.child_or_empty("preference"), false, errors);
        }
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.child(key) else { continue };
        pods.items(REQUIRED).for_each(|term| validate_pod_term(&term, errors));
        for weighted in pods.items(PREFERRED) {
            validate_weight(&weighted, errors);
            validate_pod_term(&weighted.child_or_empty("podAffinityTerm"), errors);
        }
    }
}

fn validate_weight(term: &At<'_>, errors: &mut Errors) {
    let weight = term.integer("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(term.path("weight"), &weight.into(), "must be in the range 1-100");
    }
}

/// Checks a `NodeSelector`.
pub(crate) fn validate_node_selector(selector: &At<'_>, check_values: bool, errors: &mut Errors) {
    if selector.list("nodeSelectorTerms").is_empty() {
        let why = "must have at least one node selector term";
        errors.required(selector.path("nodeSelectorTerms"), why);
    }
    for term in selector.items("nodeSelectorTerms") {
        validate_term(&term, check_values, errors);
    }
}

fn validate_term(term: &At<'_>, check_values: bool, errors: &mut Errors) {
    for requirement in term.items("matchExpressions") {
        validate_expression(&requirement, check_values, errors);
    }
    for requirement in term.items("matchFields") {
        match requirement.text("operator") {
            "In" | "NotIn" => {
                if requirement.list("values").len() != 1 {
                    let why = "must be only one value when `operator` is 'In' or 'NotIn' for node \
                               field selector";
                    errors.required(requirement.path("values"), why);
                }
            }
            other => {
                let why = "not a valid selector operator";
                errors.invalid(requirement.path("operator"), &other.into(), why);
            }
        }
        if requirement.text("key") == "metadata.name" {
            for (index, value) in requirement.texts("values").enumerate() {
                let problems = validate_name::dns_subdomain(value);
                errors.invalid_each(&requirement.index("values", index), value, problems);
            }
        } else {
            let why = "not a valid field selector key";
            errors.invalid(requirement.path("key"), &requirement.text("key").into(), why);
        }
    }
}

fn validate_expression(requirement: &At<'_>, check_values: bool, errors: &mut Errors) {
    let count = requirement.list("values").len();
    match requirement.text("operator") {
        "In" | "NotIn" if count == 0 => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.required(requirement.path("values"), why);
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(requirement.path("values"), why);
        }
        "Gt" | "Lt" if count != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.required(requirement.path("values"), why);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => {
            let why = "not a valid selector operator";
            errors.invalid(requirement.path("operator"), &other.into(), why);
        }
    }
    let key = requirement.text("key");
    errors.invalid_each(&requirement.path("key"), key, validate_name::qualified_name(key));
    for (index, value) in requirement.texts("values").enumerate().filter(|_| check_values) {
        let problems = validate_name::label_value(value);
        errors.invalid_each(&requirement.index("values", index), value, problems);
    }
}

fn validate_pod_term(term: &At<'_>, errors: &mut Errors) {
    for key in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = term.get(key) {
            validate_label_selector(selector, &term.path(key), errors);
        }
    }
    for name in term.texts("namespaces") {
        errors.invalid_each(&term.path("namespace"), name, validate_name::dns_label(name));
    }
    validate_keys(term, errors);
    let key = term.text("topologyKey");
    if key.is_empty() {
        errors.required(term.path("topologyKey"), "can not be empty");
    }
    errors.invalid_each(&term.path("topologyKey"), key, validate_name::qualified_name(key));
}

fn validate_keys(term: &At<'_>, errors: &mut Errors) {
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        if term.list(list).is_empty() {
            continue;
        }
        if !term.has("labelSelector") {
            let why = "must not be specified when labelSelector is not set";
            errors.forbidden(term.path(list), why);
            continue;
        }
        for (index, key) in term.texts(list).enumerate() {
            let problems = validate_name::qualified_name(key);
            errors.invalid_each(&term.index(list, index), key, problems);
        }
    }
    let selector = term.child_or_empty("labelSelector");
    let mut named: BTreeSet<&str> = selector.entries("matchLabels").map(|(key, _)| key).collect();
    let wanted: Vec<&str> = term.texts("matchLabelKeys").collect();
    for expression in selector.items("matchExpressions") {
        let key = expression.text("key");
        let index = wanted.iter().rposition(|wanted| *wanted == key);
        if let Some(index) = index.filter(|_| named.contains(key)) {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.invalid(format!("{}[{index}]", term.path), &key.into(), why);
        }
        named.insert(key);
    }
    let unwanted: BTreeSet<&str> = term.texts("mismatchLabelKeys").collect();
    for (index, key) in wanted.iter().enumerate().filter(|(_, key)| unwanted.contains(*key)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(term.index("matchLabelKeys", index), &(*key).into(), why);
    }
}
