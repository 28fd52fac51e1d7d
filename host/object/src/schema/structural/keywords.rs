//! Keywords that no schema of a custom resource may use, and values that a keyword may not have.

use serde_json::{Map, Value};

use super::{children, flag, junctor_members, text, unsupported};
use crate::error::{FieldError, FieldErrorKind};
use crate::schema::text::{json, quoted};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// Keywords without a meaning here.
const FORBIDDEN: &[&str] =
    &["additionalItems", "definitions", "dependencies", "patternProperties", "id", "$ref"];

pub(super) fn check(
    schema: &Map<String, Value>,
    path: &str,
    root: bool,
    errors: &mut Vec<FieldError>,
) {
    for keyword in FORBIDDEN {
        if schema.get(*keyword).is_some_and(|value| !value.is_null()) {
            forbid(errors, format!("{path}.{keyword}"), &format!("{keyword} is not supported"));
        }
    }
    if flag(schema, "uniqueItems") {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        forbid(errors, format!("{path}.uniqueItems"), why);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let additional = schema.get("additionalProperties").filter(|of| !of.is_null());
    if properties.is_some_and(|p| !p.is_empty()) && additional.is_some() && !root {
        let why = "additionalProperties and properties are mutual exclusive";
        forbid(errors, format!("{path}.additionalProperties"), why);
    }
    let given = text(schema, "type");
    if !given.is_empty() && !TYPES.contains(&given) {
        errors.push(unsupported(format!("{path}.type"), given, TYPES));
    }
    enumerations(schema, path, errors);
    pattern(schema, path, errors);
    if matches!(schema.get("items"), Some(Value::Array(_))) {
        let why = "items must be a schema object and not an array";
        forbid(errors, format!("{path}.items"), why);
    }
    below(schema, path, errors);
}

fn enumerations(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let known: [(&str, &[&str]); 2] = [
        ("x-kubernetes-list-type", &["atomic", "set", "map"]),
        ("x-kubernetes-map-type", &["atomic", "granular"]),
    ];
    for (keyword, values) in known {
        let given = text(schema, keyword);
        if !given.is_empty() && !values.contains(&given) {
            errors.push(unsupported(format!("{path}.{keyword}"), given, values));
        }
    }
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let at = format!("{path}.x-kubernetes-preserve-unknown-fields");
        let message = "Invalid value: false: must be true or undefined";
        errors.push(FieldError::new(FieldErrorKind::Invalid, at, message));
    }
}

fn pattern(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let pattern = text(schema, "pattern");
    let Err(error) = regex::Regex::new(pattern) else { return };
    let why = if pattern.matches('(').count() > pattern.matches(')').count() {
        format!("error parsing regexp: missing closing ): `{pattern}`")
    } else {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        format!("error parsing regexp: {}", last.trim_start_matches("error: "))
    };
    let message = format!(
        "Invalid value: {}: must be a valid regular expression, but isn't: {why}",
        quoted(pattern)
    );
    errors.push(FieldError::new(FieldErrorKind::Invalid, format!("{path}.pattern"), message));
}

fn below(schema: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    for keyword in super::JUNCTORS {
        let Some(schemas) = schema.get(*keyword) else { continue };
        for (index, of) in junctor_members(schemas) {
            check(of, &super::member_path(path, keyword, index), false, errors);
        }
    }
    for (name, of) in children(schema, "properties") {
        check(of, &format!("{path}.properties[{name}]"), false, errors);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(of) = schema.get(keyword).and_then(Value::as_object) {
            check(of, &format!("{path}.{keyword}"), false, errors);
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, of) in properties.filter(|(_, of)| !of.is_object()) {
        let message = format!("Invalid value: {}: must be a schema", json(of));
        let at = format!("{path}.properties[{name}]");
        errors.push(FieldError::new(FieldErrorKind::Invalid, at, message));
    }
}

fn forbid(errors: &mut Vec<FieldError>, path: String, why: &str) {
    errors.push(FieldError::new(FieldErrorKind::Forbidden, path, format!("Forbidden: {why}")));
}
