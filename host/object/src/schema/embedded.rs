//! Whole objects inside of a custom resource (`x-kubernetes-embedded-resource`): their kind and their metadata.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::lists::enter;
use super::text::shown;
use super::{Node, Schema};
use crate::decode::cut;
use crate::error::{FieldErrorKind, FieldErrors};
use crate::validate_name;

pub(crate) fn check(schema: &Schema, object: &Map<String, Value>) -> FieldErrors {
    if !schema.parts.embedded {
        return FieldErrors::default();
    }
    let mut checker = Checker { schema, path: String::new(), errors: FieldErrors::default() };
    checker.fields(schema.root(), object);
    checker.errors
}

struct Checker<'a> {
    schema: &'a Schema,
    path: String,
    errors: FieldErrors,
}

impl Checker<'_> {
    fn value(&mut self, node: &Node, value: &Value) {
        if let Some(map) = value.as_object() {
            if node.embedded {
                self.envelope(map);
            }
            self.fields(node, map);
        } else if let (Some(items), Some(item)) = (value.as_array(), node.items) {
            for (index, value) in items.iter().enumerate() {
                let length = self.path.len();
                write!(self.path, "[{index}]").expect("writing into memory cannot fail");
                self.value(self.schema.node(item), value);
                self.path.truncate(length);
            }
        }
    }

    fn fields(&mut self, node: &Node, map: &Map<String, Value>) {
        for (key, value) in map {
            let Some(id) = node.field(key).filter(|id| !id.is_builtin()) else { continue };
            let length = self.path.len();
            enter(&mut self.path, node, key);
            self.value(self.schema.node(id), value);
            self.path.truncate(length);
        }
    }

    fn envelope(&mut self, map: &Map<String, Value>) {
        for key in ["apiVersion", "kind"] {
            match map.get(key) {
                None => {
                    let at = self.place(key);
                    let why = || "Required value".to_owned();
                    self.errors.report(FieldErrorKind::Required, at, why);
                }
                Some(Value::String(text)) if text.is_empty() => {
                    self.invalid(key, &Value::from(""), "must not be empty");
                }
                Some(Value::String(text)) => self.type_text(key, text),
                Some(other) => self.invalid(key, other, "must be a string"),
            }
        }
        match map.get("metadata") {
            None => {}
            Some(Value::Object(metadata)) => self.metadata(metadata),
            Some(other) => {
                let found = crate::decode::go_kind(other);
                let why =
                    format!("json: cannot unmarshal {found} into Go value of type v1.ObjectMeta");
                self.invalid("metadata", other, &why);
            }
        }
    }

    fn type_text(&mut self, key: &str, text: &str) {
        let value = Value::from(text);
        if key == "apiVersion" {
            if text != "/" && text.matches('/').count() > 1 {
                let why = format!("unexpected GroupVersion string: {text}");
                self.invalid(key, &value, &why);
            }
            return;
        }
        let problems = validate_name::dns_1035_label(&text.to_lowercase());
        if !problems.is_empty() {
            let why =
                format!("may have mixed case, but should otherwise match: {}", problems.join(","));
            self.invalid(key, &value, &why);
        }
    }

    fn metadata(&mut self, metadata: &Map<String, Value>) {
        let path = self.place("metadata");
        let of = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default();
        for key in ["generateName", "name"] {
            let name = of(key);
            let problems = validate_name::path_segment(name);
            for problem in problems.iter().filter(|_| !name.is_empty()) {
                self.errors.push(validate_name::invalid(&format!("{path}.{key}"), name, problem));
            }
        }
        let namespace = of("namespace");
        for problem in validate_name::dns_label(namespace).iter().filter(|_| !namespace.is_empty())
        {
            let at = format!("{path}.namespace");
            self.errors.push(validate_name::invalid(&at, namespace, problem));
        }
        let entries = |key: &str| {
            let map = metadata.get(key).and_then(Value::as_object).into_iter().flatten();
            map.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
        };
        self.errors.extend(validate_name::labels(&format!("{path}.labels"), entries("labels")));
        let annotations = entries("annotations");
        let at = format!("{path}.annotations");
        self.errors.extend(validate_name::annotations(&at, annotations));
        let finalizers = metadata.get("finalizers").and_then(Value::as_array);
        let names = finalizers.into_iter().flatten().filter_map(Value::as_str);
        let at = format!("{path}.finalizers");
        self.errors.extend(validate_name::finalizers(&at, names));
    }

    fn invalid(&mut self, key: &str, value: &Value, why: &str) {
        let at = self.place(key);
        self.errors.report(FieldErrorKind::Invalid, at, || {
            format!("Invalid value: {}: {why}", shown(value))
        });
    }

    /// Where a field of the envelope stands, as far as it is told.
    fn place(&self, key: &str) -> String {
        format!("{}.{key}", cut(&self.path))
    }
}
