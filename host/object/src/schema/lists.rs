//! Items that must differ: those of sets, and the keys of associative lists.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::text::{json, shown};
use super::{ListKind, Node, Schema};
use crate::decode::cut;
use crate::error::{FieldErrorKind, FieldErrors};

pub(crate) fn check(schema: &Schema, object: &Map<String, Value>) -> FieldErrors {
    if !schema.parts.keyed_lists {
        return FieldErrors::default();
    }
    let mut checker = Checker { schema, path: String::new(), errors: FieldErrors::default() };
    checker.object(schema.root(), object);
    checker.errors
}

struct Checker<'a> {
    schema: &'a Schema,
    path: String,
    errors: FieldErrors,
}

impl Checker<'_> {
    fn object(&mut self, node: &Node, map: &Map<String, Value>) {
        if node.properties.is_empty() && node.additional.is_none() {
            return;
        }
        for (key, value) in map {
            let Some(id) = node.field(key).filter(|id| !id.is_builtin()) else { continue };
            if !value.is_object() && !value.is_array() {
                continue;
            }
            let length = self.path.len();
            enter(&mut self.path, node, key);
            self.value(self.schema.node(id), value);
            self.path.truncate(length);
        }
    }

    fn value(&mut self, node: &Node, value: &Value) {
        if let Some(map) = value.as_object() {
            self.object(node, map);
        } else if let Some(items) = value.as_array() {
            self.list(node, items);
        }
    }

    fn list(&mut self, node: &Node, items: &[Value]) {
        match &node.list {
            ListKind::Atomic => {}
            ListKind::Set => self.differ(items.iter().map(json)),
            ListKind::Map(keys) => {
                let odd = items.iter().position(|item| !item.is_object() && !item.is_null());
                if let Some(index) = odd {
                    self.report(FieldErrorKind::Invalid, index, || {
                        let shown = items.get(index).map(shown).unwrap_or_default();
                        let why = "must be an object for an array of list-type map";
                        format!("Invalid value: {shown}: {why}")
                    });
                    return;
                }
                let key_of = |item: &Value| {
                    let key = |key: &str| Some((key.to_owned(), item.get(key)?.clone()));
                    Value::Object(keys.iter().filter_map(|k| key(k)).collect()).to_string()
                };
                self.differ(items.iter().map(key_of));
            }
        }
        let Some(item) = node.items.map(|id| self.schema.node(id)) else { return };
        for (index, value) in items.iter().enumerate() {
            let length = self.path.len();
            write!(self.path, "[{index}]").expect("writing into memory cannot fail");
            self.value(item, value);
            self.path.truncate(length);
        }
    }

    /// Each text that stands more than once is reported once, where it stands again.
    fn differ(&mut self, texts: impl ExactSizeIterator<Item = String>) {
        if texts.len() < 2 {
            return;
        }
        let mut seen: HashMap<String, usize> = HashMap::with_capacity(texts.len());
        for (index, text) in texts.enumerate() {
            let times = seen.entry(text.clone()).or_insert(0);
            *times += 1;
            if *times == 2 {
                self.report(FieldErrorKind::Duplicate, index, || {
                    format!("Duplicate value: {text}")
                });
            }
        }
    }

    fn report(&mut self, kind: FieldErrorKind, index: usize, message: impl FnOnce() -> String) {
        if !self.errors.is_full() {
            self.errors.report(kind, format!("{}[{index}]", cut(&self.path)), message);
        }
    }
}

/// Appends a field, or a key of a map in brackets.
pub(super) fn enter(path: &mut String, node: &Node, key: &str) {
    if node.property(key).is_none() {
        path.push('[');
        path.push_str(key);
        path.push(']');
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}
