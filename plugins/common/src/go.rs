//! Two text forms of Go that hashes are taken over: its JSON, and the dump of a pod template.
//!
//! The dump names every field of every type, in the order of their declaration and with their types, also those that
//! are not set; the table in `data/` has them. A JSON field that the table does not know is not part of the hash, as
//! it would not be in Kubernetes.

mod quantity;
mod table;

use std::fmt::Write;

use quadrille_sdk::k8s::PodTemplate;
use quadrille_sdk::prelude::*;
use serde_json::Value;

use table::Table;

/// Deeper than this no type of the table goes.
const DEPTH_MAX: usize = 32;

/// JSON as Go writes it: fields in the order of their names, no spaces, and `<`, `>` and `&` escaped.
pub fn json(value: &Value) -> String {
    let mut text = String::new();
    write_json(value, &mut text);
    text
}

fn write_json(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|a, b| a.0.cmp(b.0));
            text.push('{');
            for (at, (name, value)) in fields.into_iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                write_string(name, text);
                text.push(':');
                write_json(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                write_json(item, text);
            }
            text.push(']');
        }
        Value::String(string) => write_string(string, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

fn write_string(string: &str, text: &mut String) {
    for char in Value::from(string).to_string().chars() {
        match char {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string cannot fail.
                let _written = write!(text, "\\u{:04x}", u32::from(char));
            }
            _ => text.push(char),
        }
    }
}

/// The dump of a pod template.
///
/// # Errors
/// When the template is no JSON object.
pub fn dump_template(template: &PodTemplate) -> Result<String> {
    let value = serde_json::to_value(template)
        .map_err(|error| Error::permanent(format!("cannot read the pod template: {error}")))?;
    let mut dump = Dump { table: Table::built_in(), text: String::new() };
    dump.typed("v1.PodTemplateSpec", Some(&value), 0);
    Ok(dump.text)
}

struct Dump {
    table: Table,
    text: String,
}

impl Dump {
    /// A value with its type before it.
    fn typed(&mut self, r#type: &str, value: Option<&Value>, depth: usize) {
        self.text.push('(');
        self.text.push_str(r#type);
        self.text.push(')');
        match (r#type.strip_prefix('*'), value.filter(|value| !value.is_null())) {
            (Some(_), None) => self.text.push_str("<nil>"),
            (Some(pointed), value) => self.bare(pointed, value, depth + 1),
            (None, value) => self.bare(r#type, value, depth + 1),
        }
    }

    fn bare(&mut self, r#type: &str, value: Option<&Value>, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        if let Some(of) = r#type.strip_prefix("[]") {
            return self.slice(of, value, depth);
        }
        let map = if r#type == "v1.ResourceList" { "resource.Quantity" } else { "string" };
        if r#type == "v1.ResourceList" || r#type.starts_with("map[") {
            return self.map(map, value, depth);
        }
        match r#type {
            "v1.Time" => self.text.push_str(
                "{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}",
            ),
            "resource.Quantity" => quantity::dump(&mut self.text, value),
            "intstr.IntOrString" => self.int_or_string(value),
            "bool" => {
                let set = value.and_then(Value::as_bool).unwrap_or(false);
                self.text.push_str(if set { "true" } else { "false" });
            }
            "int32" | "int64" => {
                let number = value.and_then(Value::as_i64).unwrap_or(0);
                self.text.push_str(&number.to_string());
            }
            _ if self.table.has(r#type) => self.object(r#type, value, depth),
            // Whatever is left is a string, or a type made of one.
            _ => self.text.push_str(value.and_then(Value::as_str).unwrap_or_default()),
        }
    }

    fn object(&mut self, r#type: &str, value: Option<&Value>, depth: usize) {
        self.text.push('{');
        for (at, field) in self.table.fields(r#type).into_iter().enumerate() {
            self.text.push_str(if at > 0 { " " } else { "" });
            self.text.push_str(field.name);
            self.text.push(':');
            let value = match field.json.as_str() {
                "-" => value,
                json => value.and_then(|value| value.get(json)),
            };
            self.typed(field.r#type, value, depth);
        }
        self.text.push('}');
    }

    fn slice(&mut self, of: &str, value: Option<&Value>, depth: usize) {
        let items = value.and_then(Value::as_array).filter(|items| !items.is_empty());
        let Some(items) = items else { return self.text.push_str("<nil>") };
        self.text.push('[');
        for (at, item) in items.iter().enumerate() {
            self.text.push_str(if at > 0 { " " } else { "" });
            self.bare(of, Some(item), depth);
        }
        self.text.push(']');
    }

    fn map(&mut self, of: &str, value: Option<&Value>, depth: usize) {
        let entries = value.and_then(Value::as_object).filter(|entries| !entries.is_empty());
        let Some(entries) = entries else { return self.text.push_str("<nil>") };
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by(|a, b| a.0.cmp(b.0));
        self.text.push_str("map[");
        for (at, (key, value)) in entries.into_iter().enumerate() {
            self.text.push_str(if at > 0 { " " } else { "" });
            self.text.push_str(key);
            self.text.push(':');
            self.bare(of, Some(value), depth);
        }
        self.text.push(']');
    }

    fn int_or_string(&mut self, value: Option<&Value>) {
        let text = value.and_then(Value::as_str);
        let number = value.and_then(Value::as_i64).unwrap_or(0);
        let (kind, text) = text.map_or((0, ""), |text| (1, text));
        let dump =
            format!("{{Type:(intstr.Type){kind} IntVal:(int32){number} StrVal:(string){text}}}");
        self.text.push_str(&dump);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_written_as_go_writes_it() {
        let value = json!({"b": "a<b>&c", "a": [1, null, true], "c": {}});
        assert_eq!(json(&value), r#"{"a":[1,null,true],"b":"a\u003cb\u003e\u0026c","c":{}}"#);
    }

    #[test]
    fn fields_maps_and_numbers_are_dumped_with_their_types() {
        let template: PodTemplate = serde_json::from_value(json!({"spec": {"containers": [{
            "name": "c",
            "resources": {"limits": {"memory": "1Gi", "cpu": "100m"}},
            "readinessProbe": {"httpGet": {"port": "web"}, "periodSeconds": 5},
        }]}}))
        .expect("a template");
        let dump = dump_template(&template).expect("JSON");
        let has = |part: &str| assert!(dump.contains(part), "{part} in {dump}");
        has("Limits:(v1.ResourceList)map[cpu:{i:(resource.int64Amount){value:(int64)100");
        has("memory:{i:(resource.int64Amount){value:(int64)1073741824 scale:(resource.Scale)0}");
        has("ReadinessProbe:(*v1.Probe){ProbeHandler:(v1.ProbeHandler){Exec:(*v1.ExecAction)<nil>");
        has("Port:(intstr.IntOrString){Type:(intstr.Type)1 IntVal:(int32)0 StrVal:(string)web}");
        has("PeriodSeconds:(int32)5");
    }
}
