//! Rules as messages quote them.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::text;

/// A rule as Go writes the type that holds it.
pub(super) fn shown(rule: &Map<String, Value>) -> String {
    let mut out = String::from("{");
    for (name, key) in
        [("Rule", "rule"), ("Message", "message"), ("MessageExpression", "messageExpression")]
    {
        field(&mut out, name, &quoted(text(rule, key)));
    }
    let reason = rule.get("reason").and_then(Value::as_str);
    field(&mut out, "Reason", &reason.map_or_else(|| "null".to_owned(), quoted));
    field(&mut out, "FieldPath", &quoted(text(rule, "fieldPath")));
    let optional = rule.get("optionalOldSelf").unwrap_or(&Value::Null);
    field(&mut out, "OptionalOldSelf", &optional.to_string());
    out.push('}');
    out
}

fn field(out: &mut String, name: &str, value: &str) {
    let comma = if out.len() > 1 { "," } else { "" };
    write!(out, "{comma}\"{name}\":{value}").expect("writing into memory cannot fail");
}

/// JSON as Go writes it, which makes texts safe for HTML.
fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("writing into memory cannot fail");
            }
            c => out.push(c),
        }
    }
    out
}
