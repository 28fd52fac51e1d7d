//! The form of `x-kubernetes-validations`: everything but the expressions themselves.

use serde_json::{Map, Value};

use super::{Problems, text};
use crate::schema::field_path;

/// What a rule may give as its reason.
const REASONS: &[&str] =
    &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

pub(super) fn check(of: &Map<String, Value>, path: &str, found: &mut Problems) {
    let rules = of.get("x-kubernetes-validations").and_then(Value::as_array);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        if let Some(rule) = rule.as_object() {
            let at = format!("{path}.x-kubernetes-validations[{index}]");
            messages(rule, &at, found);
            place(of, rule, &at, found);
        }
    }
}

fn messages(rule: &Map<String, Value>, at: &str, found: &mut Problems) {
    let (given, message) = (text(rule, "rule").trim(), text(rule, "message"));
    let at_message = format!("{at}.message");
    if given.is_empty() {
        found.require(format!("{at}.rule"), "rule is not specified");
    } else if !message.is_empty() && message.trim().is_empty() {
        found.invalid(at_message, &message.into(), "must be non-empty if specified");
    } else if has_line_break(message.trim()) {
        found.invalid(at_message, &message.into(), "must not contain line breaks");
    } else if has_line_break(given) && message.is_empty() {
        found.require(at_message, "message must be specified if rule contains line breaks");
    }
    let expression = text(rule, "messageExpression");
    if !expression.is_empty() && expression.trim().is_empty() {
        found.require(format!("{at}.messageExpression"), "must be non-empty if specified");
    }
    if let Some(reason) = rule.get("reason").and_then(Value::as_str)
        && !REASONS.contains(&reason)
    {
        found.unsupported(format!("{at}.reason"), reason, REASONS);
    }
}

fn place(of: &Map<String, Value>, rule: &Map<String, Value>, at: &str, found: &mut Problems) {
    let given = text(rule, "fieldPath");
    if given.is_empty() {
        return;
    }
    let at = format!("{at}.fieldPath");
    let value = Value::from(given);
    if given.trim().is_empty() {
        found.invalid(at.clone(), &value, "must be non-empty if specified");
    }
    if has_line_break(given) {
        found.invalid(at.clone(), &value, "must not contain line breaks");
    }
    if field_path::resolve(of, given, field_path::Brackets::Allowed).is_err() {
        found.invalid(at, &value, "must be a valid path");
    }
}

fn has_line_break(text: &str) -> bool {
    text.contains(['\n', '\r'])
}
