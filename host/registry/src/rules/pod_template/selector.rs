//! Label selectors and numbers that may be percentages.

use quadrille_object::validate_name;
use serde_json::Value;

use crate::field::Errors;

/// Checks a `metav1.LabelSelector` of a workload, which must also be usable as a whole.
pub(crate) fn validate_selector(selector: &Value, at: &str, errors: &mut Errors) {
    if !validate_label_selector(selector, at, errors) {
        errors.invalid(at, selector, "invalid label selector");
    }
}

/// Checks a `metav1.LabelSelector`; answers whether it can be evaluated.
pub(crate) fn validate_label_selector(selector: &Value, at: &str, errors: &mut Errors) -> bool {
    let before = errors.0.len();
    if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
        let texts = labels.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
        errors.0.extend(validate_name::labels(&format!("{at}.matchLabels"), texts));
    }
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    let mut usable = errors.0.len() == before;
    for (index, expression) in expressions.into_iter().flatten().enumerate() {
        let at = format!("{at}.matchExpressions[{index}]");
        usable &= validate_requirement(expression, &at, errors);
    }
    usable
}

fn validate_requirement(expression: &Value, at: &str, errors: &mut Errors) -> bool {
    let mut usable = true;
    let values = expression.get("values").and_then(Value::as_array);
    let values = values.map_or(&[][..], Vec::as_slice);
    match expression.get("operator").and_then(Value::as_str).unwrap_or_default() {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.required(format!("{at}.values"), why);
            usable = false;
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(format!("{at}.values"), why);
            usable = false;
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => {
            let why = "not a valid selector operator";
            errors.invalid(format!("{at}.operator"), &other.into(), why);
            usable = false;
        }
    }
    let before = errors.0.len();
    let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
    errors.invalid_each(&format!("{at}.key"), key, validate_name::qualified_name(key));
    for (index, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        let problems = validate_name::label_value(value);
        errors.invalid_each(&format!("{at}.values[{index}]"), value, problems);
    }
    usable && errors.0.len() == before
}

/// Checks a number or a percentage.
pub(crate) fn validate_int_or_percent(
    value: &Value,
    at: &str,
    at_most_all: bool,
    errors: &mut Errors,
) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|n| n < 0) => {
            errors.invalid(at, value, "must be greater than or equal to 0");
        }
        Value::String(text) => match percentage(text) {
            None => {
                let why = "a valid percent string must be a numeric string followed by an ending '%' \
                           (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.invalid(at, value, why);
            }
            Some(number) if number > 100 && at_most_all => {
                errors.invalid(at, value, "must not be greater than 100%");
            }
            Some(_) => {}
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {}
    }
}

/// `25%` → 25.
fn percentage(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('%')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}
