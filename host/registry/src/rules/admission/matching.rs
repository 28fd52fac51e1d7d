//! Which requests a policy, binding or webhook is for: rules, selectors and match conditions.

use std::collections::BTreeSet;

use quadrille_object::{FieldError, FieldErrorKind, validate_name};
use serde_json::{Value, json};

use crate::admission::expression::{Returns, Scope};
use crate::field::{Errors, Object};
use crate::rules::admission::{given, list, one_of, required_one_of, text};
use crate::rules::pod_template;

const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
/// What a mutating policy may be for.
const MUTABLE_OPERATIONS: [&str; 2] = ["CREATE", "UPDATE"];
const CONDITIONS_MAX: usize = 64;

/// Fills in `matchPolicy`, both selectors and the rules' scope.
pub(super) fn default(of: &mut Object, rules: &[&str]) {
    crate::field::default(of, "matchPolicy", "Equivalent");
    crate::field::default(of, "namespaceSelector", json!({}));
    crate::field::default(of, "objectSelector", json!({}));
    for key in rules {
        let rules = of.get_mut(*key).and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
            crate::field::default(rule, "scope", "*");
        }
    }
}

/// Fills in the defaults of `matchConstraints` or `matchResources` of a spec, where it is given.
pub(super) fn default_in(spec: &mut Object, key: &str) {
    if let Some(of) = spec.get_mut(key).and_then(Value::as_object_mut) {
        default(of, &["resourceRules", "excludeResourceRules"]);
    }
}

/// Checks `matchConstraints` or `matchResources`.
pub(super) fn validate_resources(of: &Value, at: &str, errors: &mut Errors) {
    required_one_of(of, "matchPolicy", at, &MATCH_POLICIES, errors);
    for key in ["namespaceSelector", "objectSelector"] {
        if given(of, key).is_none() {
            errors.required(format!("{at}.{key}"), "");
        }
    }
    validate_selectors(of, at, errors);
    for key in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in list(of, key).iter().enumerate() {
            let at = format!("{at}.{key}[{index}]");
            validate_resource_names(rule, &at, errors);
            validate_rule(rule, &at, errors);
        }
    }
}

/// Refuses operations that cannot change an object. The path has no index, as kube-apiserver's has none.
pub(super) fn validate_mutable(of: &Value, at: &str, errors: &mut Errors) {
    let operations = list(of, "resourceRules").iter().flat_map(|rule| list(rule, "operations"));
    for operation in operations {
        if !operation.as_str().is_some_and(|text| MUTABLE_OPERATIONS.contains(&text)) {
            let at = format!("{at}.resourceRules.operations");
            errors.unsupported(at, operation, &MUTABLE_OPERATIONS);
        }
    }
}

/// Checks `matchPolicy` of a webhook, where it is given.
pub(super) fn validate_match_policy(of: &Value, at: &str, errors: &mut Errors) {
    one_of(of, "matchPolicy", at, &MATCH_POLICIES, errors);
}

/// Checks `namespaceSelector` and `objectSelector`, where they are given.
pub(super) fn validate_selectors(of: &Value, at: &str, errors: &mut Errors) {
    for key in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = given(of, key) {
            pod_template::validate_label_selector(selector, &format!("{at}.{key}"), errors);
        }
    }
}

fn validate_resource_names(rule: &Value, at: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, name) in list(rule, "resourceNames").iter().enumerate() {
        let at = format!("{at}.resourceNames[{index}]");
        let name = name.as_str().unwrap_or_default();
        errors.invalid_each(&at, name, validate_name::path_segment(name));
        if !seen.insert(name) {
            errors.duplicate(at, &name.into());
        }
    }
}

/// Checks one rule: operations, groups, versions, resources and scope.
pub(super) fn validate_rule(rule: &Value, at: &str, errors: &mut Errors) {
    validate_wildcard(rule, at, ("operations", "operations"), errors);
    for (index, operation) in list(rule, "operations").iter().enumerate() {
        if !operation.as_str().is_some_and(|text| OPERATIONS.contains(&text)) {
            errors.unsupported(format!("{at}.operations[{index}]"), operation, &OPERATIONS);
        }
    }
    validate_wildcard(rule, at, ("apiGroups", "API groups"), errors);
    validate_wildcard(rule, at, ("apiVersions", "API versions"), errors);
    for (index, version) in list(rule, "apiVersions").iter().enumerate() {
        if version.as_str().is_none_or(str::is_empty) {
            errors.required(format!("{at}.apiVersions[{index}]"), "");
        }
    }
    validate_resource_list(list(rule, "resources"), &format!("{at}.resources"), errors);
    one_of(rule, "scope", at, &SCOPES, errors);
}

/// A list that must not be empty, and in which `*` stands alone.
fn validate_wildcard(rule: &Value, at: &str, (key, what): (&str, &str), errors: &mut Errors) {
    let all = list(rule, key);
    if all.is_empty() {
        errors.required(format!("{at}.{key}"), "");
    }
    if all.len() > 1 && all.iter().any(|one| one.as_str() == Some("*")) {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.invalid(format!("{at}.{key}"), &all.into(), &why);
    }
}

fn validate_resource_list(resources: &[Value], at: &str, errors: &mut Errors) {
    if resources.is_empty() {
        errors.required(at, "");
    }
    let (mut all_subresources, mut of_all_resources) = (BTreeSet::new(), BTreeSet::new());
    let (mut everything, mut every_resource, mut plain) = (false, false, false);
    for (index, resource) in resources.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let name = resource.as_str().unwrap_or_default();
        if name.is_empty() {
            errors.required(at, "");
            continue;
        }
        everything |= name == "*/*";
        every_resource |= name == "*";
        let Some((of, sub)) = name.split_once('/') else {
            plain = name != "*";
            continue;
        };
        if all_subresources.contains(of) {
            let why = format!("if '{of}/*' is present, must not specify {name}");
            errors.invalid(at.as_str(), resource, &why);
        }
        if of_all_resources.contains(sub) {
            let why = format!("if '*/{sub}' is present, must not specify {name}");
            errors.invalid(at.as_str(), resource, &why);
        }
        if sub == "*" {
            all_subresources.insert(of);
        }
        if of == "*" {
            of_all_resources.insert(sub);
        }
    }
    if resources.len() > 1 && everything {
        let why = "if '*/*' is present, must not specify other resources";
        errors.invalid(at, &resources.into(), why);
    }
    if every_resource && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(at, &resources.into(), why);
    }
}

/// Checks match conditions; those that stood there `before` are not looked at again.
pub(super) fn validate_conditions(
    conditions: &[Value],
    at: &str,
    scope: &Scope,
    errors: &mut Errors,
) {
    if conditions.len() > CONDITIONS_MAX {
        let found = conditions.len();
        let message = format!("Too many: {found}: must have at most {CONDITIONS_MAX} items");
        errors.0.push(FieldError::new(FieldErrorKind::TooMany, at, message));
    }
    let mut names = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate().take(CONDITIONS_MAX) {
        let at = format!("{at}[{index}]");
        let expression = text(condition, "expression").trim();
        if expression.is_empty() {
            errors.required(format!("{at}.expression"), "");
        } else if let Err(why) = scope.compile(expression, Returns::Bool) {
            errors.invalid(format!("{at}.expression"), &expression.into(), &why);
        }
        let name = text(condition, "name");
        if name.is_empty() {
            errors.required(format!("{at}.name"), "");
            continue;
        }
        errors.invalid_each(&format!("{at}.name"), name, validate_name::qualified_name(name));
        if !names.insert(name) {
            errors.duplicate(format!("{at}.name"), &name.into());
        }
    }
}
