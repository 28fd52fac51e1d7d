//! Policies and webhooks of `admissionregistration.k8s.io`: their defaults and what is wrong with them.
//!
//! What they do to other objects is in [`crate::admission`]; here they are objects like any other.

mod binding;
mod matching;
mod permission;
mod policy;
mod webhook;

pub(crate) use binding::{MutatingBindings, ValidatingBindings};
pub(crate) use policy::{MutatingPolicies, ValidatingPolicies};
pub(crate) use webhook::Webhooks;

use serde_json::Value;

use crate::field::Errors;

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];

/// A text of a nested object; empty when it is missing.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A list of a nested object; empty when it is missing.
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A field that is there and not null.
fn given<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|v| !v.is_null())
}

/// Refuses a text outside an enumeration; a missing one is fine.
fn one_of(value: &Value, key: &str, at: &str, known: &[&str], errors: &mut Errors) {
    if let Some(found) = given(value, key)
        && !found.as_str().is_some_and(|text| known.contains(&text))
    {
        errors.unsupported(format!("{at}.{key}"), found, known);
    }
}

/// The same for a field that must be there.
fn required_one_of(value: &Value, key: &str, at: &str, known: &[&str], errors: &mut Errors) {
    if given(value, key).is_none() {
        errors.required(format!("{at}.{key}"), "");
    }
    one_of(value, key, at, known, errors);
}
