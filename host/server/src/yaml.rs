//! JSON values as YAML text: block style, sorted keys, quotes only where a plain text would be read otherwise.

use serde_json::{Map, Value};

/// What stands on the line of its key: everything but a map or list with something in it.
macro_rules! small {
    () => {
        Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_)
    };
}

/// A value as a YAML document.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0),
        Value::Array(list) if !list.is_empty() => write_list(&mut out, list, 0),
        small!() => write_scalar_line(&mut out, value),
    }
    out
}

fn write_map(out: &mut String, map: &Map<String, Value>, depth: usize) {
    for (at, (key, value)) in map.iter().enumerate() {
        // The first key of a map in a list stands behind the dash.
        if at > 0 || !out.ends_with("- ") {
            indent(out, depth);
        }
        write_text(out, key);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                write_map(out, map, depth + 1);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                write_list(out, list, depth);
            }
            small!() => {
                out.push(' ');
                write_scalar_line(out, value);
            }
        }
    }
}

fn write_list(out: &mut String, list: &[Value], depth: usize) {
    for item in list {
        if !out.ends_with("- ") {
            indent(out, depth);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(out, map, depth + 1),
            Value::Array(list) if !list.is_empty() => write_list(out, list, depth + 1),
            small!() => write_scalar_line(out, item),
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Empty maps and lists, numbers, booleans and null look alike in JSON and YAML.
fn write_scalar_line(out: &mut String, value: &Value) {
    match value.as_str() {
        Some(text) => write_text(out, text),
        None => out.push_str(&value.to_string()),
    }
    out.push('\n');
}

/// A text, quoted as JSON quotes it unless it is safe as it stands.
fn write_text(out: &mut String, text: &str) {
    if is_plain(text) { out.push_str(text) } else { out.push_str(&Value::from(text).to_string()) }
}

/// Whether every YAML reader takes the text for a string: it starts with a letter and is no word that YAML
/// 1.1 or 1.2 gives a meaning, and has no character that could end it.
fn is_plain(text: &str) -> bool {
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '-' | '_');
    let first = text.chars().next();
    let starts = first.is_some_and(|c| c.is_ascii_alphabetic())
        || (text.len() > 2 && (text.starts_with("f:") || text.starts_with("k:")));
    let body = text.strip_prefix("f:").unwrap_or(text);
    starts && body.chars().all(safe) && !words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_reads_back_as_the_same_value() {
        let value = json!({
            "apiVersion": "v1", "empty": {}, "none": [], "n": 1.5, "yes": "no", "null": null,
            "text": "a: b\n# \"c\"", "number": "12", "time": "2026-01-02T03:04:05Z",
            "list": [{"a": 1, "b": {"c": [1, [2, "x"], {"d": "- e"}]}}, "plain", [], {}],
            "f:metadata": {"f:labels": {".": {}, "k:{\"a\":1}": {}}},
        });
        let text = document(&value);
        let back = quadrille_object::decode::yaml(text.as_bytes()).expect("YAML");
        assert_eq!(back.value, value, "{text}");
    }

    #[test]
    fn plain_texts_stay_plain() {
        let value = json!({"kind": "ConfigMap", "data": {"k": "v"}, "list": [{"a": "b"}]});
        assert_eq!(document(&value), "data:\n  k: v\nkind: ConfigMap\nlist:\n- a: b\n");
    }
}
