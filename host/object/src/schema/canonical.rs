//! Built-in kinds in the form in which Go writes them: times in UTC, quantities by their shortest suffix.

use serde_json::{Map, Value};

use super::{Kind, Node, NodeId, Schema};
use crate::decode::go_time::{self, Layout};
use crate::quantity::Quantity;

/// How a type writes its times; `None` when it holds none.
pub(super) fn layout(node: &Node) -> Option<Layout> {
    if node.kind != Kind::String || &*node.format != "date-time" {
        return None;
    }
    Some(if node.name.ends_with(".MicroTime") { Layout::MicroTime } else { Layout::Time })
}

/// Whether a type is a quantity.
pub(super) fn is_quantity(node: &Node) -> bool {
    node.name.ends_with(".api.resource.Quantity")
}

/// Writes every time and quantity anew; what cannot be read stays.
pub(crate) fn canonicalize(schema: &Schema, object: &mut Map<String, Value>) {
    fields(schema, schema.root(), object);
}

fn fields(schema: &Schema, node: &Node, map: &mut Map<String, Value>) {
    for (key, value) in map.iter_mut() {
        let child = node.property(key).map(|property| property.node).or(node.additional);
        if let Some(child) = child {
            self::value(schema, child, value);
        }
    }
}

fn value(schema: &Schema, id: NodeId, value: &mut Value) {
    let node = schema.node(id);
    match value {
        Value::Object(map) => fields(schema, node, map),
        Value::Array(items) => {
            let Some(item) = node.items else { return };
            if !matches!(schema.node(item).kind, Kind::Object | Kind::Array) {
                return;
            }
            for entry in items {
                self::value(schema, item, entry);
            }
        }
        Value::String(text) => {
            if let Some(layout) = layout(node) {
                if let Ok(time) = go_time::parse(text, layout) {
                    *text = layout.write(time);
                }
            } else if is_quantity(node) {
                quantity(value);
            }
        }
        Value::Number(_) if is_quantity(node) => quantity(value),
        Value::Number(_) | Value::Null | Value::Bool(_) => {}
    }
}

fn quantity(value: &mut Value) {
    if let Ok(quantity) = Quantity::from_value(value) {
        let canonical = quantity.to_string();
        if value.as_str() != Some(canonical.as_str()) {
            *value = Value::String(canonical);
        }
    }
}
