//! Dropping fields that a schema does not know.
//!
//! The order of the paths is that of the keys of the object.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use serde_json::{Map, Value};

use super::{Kind, Node, Schema};
use crate::decode::{PROBLEMS_MAX, cut};

pub(crate) fn prune(schema: &Schema, object: &mut Map<String, Value>) -> Vec<String> {
    let mut pruner = Pruner { schema, path: String::new(), dropped: Vec::new() };
    pruner.fields(schema.root(), object);
    pruner.dropped
}

/// The same for a part of an object.
pub(crate) fn prune_value(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut pruner = Pruner { schema, path: String::new(), dropped: Vec::new() };
    pruner.value(schema.root(), value);
    pruner.dropped
}

struct Pruner<'a> {
    schema: &'a Schema,
    path: String,
    dropped: Vec<String>,
}

impl Pruner<'_> {
    fn value(&mut self, node: &Node, value: &mut Value) {
        match value {
            Value::Object(map) if node.kind != Kind::Any || !node.properties.is_empty() => {
                self.fields(node, map);
            }
            Value::Array(items) => {
                let Some(item) = node.items else { return };
                let item = self.schema.node(item);
                if is_scalar(item) {
                    return;
                }
                for (index, value) in items.iter_mut().enumerate() {
                    let length = self.path.len();
                    push_index(&mut self.path, index);
                    self.value(item, value);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, node: &Node, map: &mut Map<String, Value>) {
        let closed = !node.open && node.additional.is_none();
        let mut unknown = Vec::new();
        for (key, value) in map.iter_mut() {
            let Some(child) = node.field(key) else {
                if closed {
                    let length = self.path.len();
                    if self.dropped.len() < PROBLEMS_MAX {
                        push_key(&mut self.path, key);
                        self.dropped.push(cut(&self.path).to_owned());
                        self.path.truncate(length);
                    }
                    unknown.push(key.clone());
                }
                continue;
            };
            if !value.is_object() && !value.is_array() {
                continue;
            }
            let length = self.path.len();
            push_key(&mut self.path, key);
            self.value(self.schema.node(child), value);
            self.path.truncate(length);
        }
        for key in unknown {
            map.remove(&key);
        }
    }
}

fn is_scalar(node: &Node) -> bool {
    matches!(node.kind, Kind::String | Kind::Integer | Kind::Number | Kind::Boolean)
}

fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

fn push_index(path: &mut String, index: usize) {
    use std::fmt::Write as _;
    write!(path, "[{index}]").expect("writing into memory cannot fail");
}
