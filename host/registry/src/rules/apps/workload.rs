//! What the workload kinds have in common: a selector, a template it selects, counts, warnings.

use quadrille_object::{LabelSelector, validate_name};
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::rules::pod_template;

/// How a kind is called where it differs from others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// In the text about an empty selector.
    pub(super) of_selector: &'static str,
    /// In the text about a deadline.
    pub(super) of_deadline: &'static str,
    /// Whether a missing selector is named.
    pub(super) needs_selector: bool,
}

/// Fills in fields that count things.
pub(super) fn defaults(spec: &mut Object, values: &[(&str, i64)]) {
    for (key, value) in values {
        field::default(spec, key, *value);
    }
}

/// Defaults of the template.
pub(super) fn template_defaults(spec: &mut Object) {
    pod_template::template_defaults(field::map_mut(spec, &["template"]));
}

/// Checks numbers of the spec.
pub(super) fn not_negative(object: &Object, fields: &[&str], errors: &mut Errors) {
    for key in fields {
        errors.not_negative(object, &["spec", key]);
    }
}

/// The selector, and that it selects the template's labels.
pub(super) fn validate_selector(object: &Object, words: Words, errors: &mut Errors) {
    let labels = field::get(object, &["spec", "template", "metadata", "labels"]);
    let mut matches = false;
    match field::get(object, &["spec", "selector"]) {
        None if words.needs_selector => errors.required("spec.selector", ""),
        None => {}
        Some(selector) => {
            let before = errors.0.len();
            pod_template::validate_selector(selector, "spec.selector", errors);
            if is_empty(selector) {
                let why = format!("empty selector is invalid for {}", words.of_selector);
                errors.invalid("spec.selector", selector, &why);
            }
            let parsed = LabelSelector::from_value(selector).ok();
            matches = parsed.is_none()
                || errors.0.len() > before
                || parsed.is_some_and(|s| s.matches(&pod_template::meta_of(labels)));
        }
    }
    if !matches {
        no_match(labels, errors);
    }
}

/// The selector does not select what the template makes.
pub(crate) fn no_match(labels: Option<&Value>, errors: &mut Errors) {
    let shown = labels.cloned().unwrap_or(Value::Null);
    let why = "`selector` does not match template `labels`";
    errors.invalid("spec.template.metadata.labels", &shown, why);
}

/// A template whose Pods run until they are deleted.
pub(super) fn validate_template(object: &Object, words: Words, errors: &mut Errors) {
    pod_template::validate_template(object, &["spec", "template"], errors);
    validate_endless(object, words, errors);
}

/// Pods of a workload do not end by themselves.
pub(super) fn validate_endless(object: &Object, words: Words, errors: &mut Errors) {
    errors.one_of(object, &["spec", "template", "spec", "restartPolicy"], &["Always"]);
    if field::get(object, &["spec", "template", "spec", "activeDeadlineSeconds"]).is_some() {
        let why = format!("activeDeadlineSeconds in {} is not Supported", words.of_deadline);
        errors.forbidden("spec.template.spec.activeDeadlineSeconds", &why);
    }
}

pub(super) fn is_empty(selector: &Value) -> bool {
    let none = |key: &str| match selector.get(key) {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => true,
    };
    none("matchLabels") && none("matchExpressions")
}

/// The selector stays as it is.
pub(super) fn selector_immutable(object: &Object, before: &Object, errors: &mut Errors) {
    let of = |o| field::get(o, &["spec", "selector"]);
    errors.immutable("spec.selector", of(object), of(before));
}

/// Warnings about the name of a new workload, and about a template that is new or changed with the spec.
pub(crate) fn warn(
    object: &Object,
    before: Option<&Object>,
    template: &[&str],
    names_pods: bool,
    warnings: &mut Vec<String>,
) {
    let generation = |o: &Object| field::integer(o, &["metadata", "generation"]);
    if before.is_some_and(|before| generation(before) == generation(object)) {
        return;
    }
    let name = crate::metadata::text(object, "name");
    let problems = validate_name::dns_label(name);
    if before.is_none() && names_pods && !problems.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; \
             a DNS label is recommended: [{}]",
            problems.join(" ")
        ));
    }
    pod_template::warn_template(object, template, warnings);
}

/// Checks numbers of the status, and that parts are not more than the whole.
pub(super) fn validate_status(
    object: &Object,
    counts: &[&str],
    parts: &[&str],
    errors: &mut Errors,
) {
    let number = |key: &str| field::integer(object, &["status", key]).unwrap_or(0);
    for key in counts {
        errors.not_negative(object, &["status", key]);
    }
    for key in parts.iter().filter(|key| number(key) > number("replicas")) {
        let why = "cannot be greater than status.replicas";
        errors.invalid(format!("status.{key}"), &number(key).into(), why);
    }
    if number("availableReplicas") > number("readyReplicas") {
        let why = "cannot be greater than readyReplicas";
        errors.invalid("status.availableReplicas", &number("availableReplicas").into(), why);
    }
}

/// A count of hash collisions does not fall.
pub(super) fn validate_collisions(object: &Object, before: &Object, errors: &mut Errors) {
    errors.not_negative(object, &["status", "collisionCount"]);
    let count = |o| field::integer(o, &["status", "collisionCount"]);
    if let Some(old) = count(before)
        && count(object).is_none_or(|new| new < old)
    {
        let shown = count(object).map_or(Value::Null, Value::from);
        errors.invalid("status.collisionCount", &shown, "cannot be decremented");
    }
}
