//! Filling in the defaults of a custom resource's schema.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use serde_json::{Map, Value};

use super::{Node, Schema};

/// How deep a schema's defaults are followed. Requests are bounded by size and their decoder's depth; this bounds what
/// defaults can add below them.
pub const DEPTH_MAX: usize = 128;

pub(crate) fn fill(schema: &Schema, object: &mut Map<String, Value>) {
    if schema.is_custom() {
        fields(schema, schema.root(), object, 0);
    }
}

/// Fills in the defaults below one value.
pub(crate) fn value(schema: &Schema, node: &Node, value: &mut Value, depth: usize) {
    match value {
        Value::Object(map) => fields(schema, node, map, depth),
        Value::Array(list) => {
            let Some(item) = node.items.map(|id| schema.node(id)) else { return };
            for entry in list.iter_mut() {
                if entry.is_null()
                    && !item.nullable
                    && let Some(default) = &item.default
                {
                    *entry = (**default).clone();
                }
                self::value(schema, item, entry, depth + 1);
            }
        }
        _ => {}
    }
}

fn fields(schema: &Schema, node: &Node, map: &mut Map<String, Value>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    for property in &node.properties {
        if property.node.is_builtin() {
            continue;
        }
        let child = schema.node(property.node);
        match map.get_mut(&*property.name) {
            None => {
                let Some(default) = child.default.as_deref().filter(|d| keeps(child, d)) else {
                    continue;
                };
                let mut default = default.clone();
                value(schema, child, &mut default, depth + 1);
                map.insert(property.name.to_string(), default);
            }
            Some(Value::Null) if !child.nullable => drop_null(child, map, &property.name),
            Some(present) => value(schema, child, present, depth + 1),
        }
    }
    let Some(other) = node.additional.map(|id| schema.node(id)) else { return };
    if !other.nullable && !is_anything(other) && other.default.is_none() {
        map.retain(|key, present| !present.is_null() || node.property(key).is_some());
    }
    for (key, present) in map.iter_mut() {
        if node.property(key).is_some() {
            continue;
        }
        match other.default.as_deref().filter(|_| present.is_null() && !other.nullable) {
            Some(default) => *present = default.clone(),
            None => value(schema, other, present, depth + 1),
        }
    }
}

/// A null where the schema allows none counts as absent.
fn drop_null(child: &Node, map: &mut Map<String, Value>, name: &str) {
    match child.default.as_deref().filter(|d| keeps(child, d)) {
        Some(default) => map.insert(name.to_owned(), default.clone()),
        None => map.remove(name),
    };
}

/// `additionalProperties: true`, which says nothing about null.
fn is_anything(node: &Node) -> bool {
    node.open && node.kind == super::Kind::Any
}

/// A default of null is one only where null is allowed.
fn keeps(node: &Node, default: &Value) -> bool {
    node.nullable || !default.is_null()
}
