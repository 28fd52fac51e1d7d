//! What changed between two states of an object, for people: a unified diff of YAML.
//!
//! Left out is what every write changes and nobody asks about (`managedFields`, `resourceVersion`); the values of
//! Secrets are shown as hashes, so that a diff tells that they changed and not what they are.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};

use quadrille_object::GroupResource;
use quadrille_store::Object;
use serde_json::Value;
use similar::TextDiff;

/// Lines around a change.
const CONTEXT: usize = 3;

/// The longest diff of one object that is told, in bytes.
const BYTES_MAX: usize = 64 << 10;

/// An object as it is shown.
pub fn shown(object: &Object) -> Value {
    let mut value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
    }
    if object.key.resource == GroupResource::new("", "secrets") {
        for part in ["data", "stringData"] {
            let values = value.get_mut(part).and_then(Value::as_object_mut);
            values.into_iter().flat_map(|map| map.values_mut()).for_each(hide);
        }
    }
    value
}

fn hide(value: &mut Value) {
    let mut hasher = DefaultHasher::new();
    value.as_str().unwrap_or_default().hash(&mut hasher);
    *value = format!("(hidden, #{:08x})", hasher.finish() >> 32).into();
}

/// The unified diff from one state to another, without a heading; empty when nothing that is shown differs.
pub fn unified(before: &Object, after: &Object) -> String {
    between(&shown(before), &shown(after))
}

/// The unified diff between two values as YAML.
pub fn between(before: &Value, after: &Value) -> String {
    let (before, after) = (yaml(before), yaml(after));
    if before == after {
        return String::new();
    }
    let diff = TextDiff::from_lines(&before, &after);
    let mut text = diff.unified_diff().context_radius(CONTEXT).to_string();
    if text.len() > BYTES_MAX {
        text.truncate(text.floor_char_boundary(BYTES_MAX));
        text.push_str("\n… (the diff goes on)\n");
    }
    text
}

/// A JSON value as YAML in block style.
pub fn yaml(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0, Place::Line);
    out
}

/// Where a value begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the beginning of a line.
    Line,
    /// Behind `key:`.
    Key,
    /// Behind `- `.
    Item,
}

fn write(out: &mut String, value: &Value, indent: usize, place: Place) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            if place == Place::Key {
                out.push('\n');
            }
            for (at, (key, value)) in map.iter().enumerate() {
                let pad = if at == 0 && place == Place::Item { 0 } else { indent };
                out.extend(std::iter::repeat_n(' ', pad));
                out.push_str(&scalar(key));
                out.push(':');
                write(out, value, indent + 2, Place::Key);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            if place == Place::Key {
                out.push('\n');
            }
            // Lists stand where their key stands.
            let indent = if place == Place::Key { indent.saturating_sub(2) } else { indent };
            for (at, item) in items.iter().enumerate() {
                let pad = if at == 0 && place == Place::Item { 0 } else { indent };
                out.extend(std::iter::repeat_n(' ', pad));
                out.push_str("- ");
                write(out, item, indent + 2, Place::Item);
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            if place == Place::Key {
                out.push(' ');
            }
            let text = value.as_str().map_or_else(|| value.to_string(), scalar);
            let written = writeln!(out, "{text}");
            debug_assert!(written.is_ok(), "writing into memory");
        }
    }
}

/// A text without quotes where YAML reads it as the same text.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./ ".contains(c))
        && !text.ends_with(' ')
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_as_the_same_value() {
        let value = json!({
            "a": {"b": [1, {"c": "yes", "d": [["x"], []]}, "two words"], "e": {}, "f": null},
            "1": "0x1f", "text": "a: b #c\n", "list": [[1, 2], {"k": true}],
        });
        let read = quadrille_object::decode::yaml(yaml(&value).as_bytes()).expect("it is YAML");
        assert_eq!(read.value, value);
    }

    #[test]
    fn a_diff_shows_the_changed_line_with_its_surroundings() {
        let (before, after) =
            (json!({"spec": {"a": 1, "b": 2}}), json!({"spec": {"a": 1, "b": 3}}));
        assert_eq!(
            between(&before, &after),
            "@@ -1,3 +1,3 @@\n spec:\n   a: 1\n-  b: 2\n+  b: 3\n"
        );
        assert_eq!(between(&before, &before), "");
    }
}
