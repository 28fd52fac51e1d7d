//! Filling in the defaults of a custom resource's schema.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use serde_json::{Map, Value};

use super::{Node, NodeId, Schema};

/// How deep a schema's defaults are followed. Requests are bounded by size and their decoder's depth; this bounds what
/// defaults can add below them.
pub const DEPTH_MAX: usize = 128;

/// What happens to a null where the schema allows none and has no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nulls {
    /// It counts as absent, as in what a client sends.
    Drop,
    /// It stays, to be refused: what is applied says what it wants.
    Keep,
}

pub(crate) fn fill(schema: &Schema, object: &mut Map<String, Value>, nulls: Nulls) {
    if schema.is_custom() {
        if nulls == Nulls::Drop {
            drop_nulls(schema, schema.root(), object, 0);
        }
        fields(schema, schema.root(), object, 0);
    }
}

/// Takes out the nulls that are not allowed and have no default.
fn drop_nulls(schema: &Schema, node: &Node, map: &mut Map<String, Value>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    let counts = |id: NodeId| {
        let child = schema.node(id);
        !child.nullable && !is_anything(child) && default_of(child).is_none()
    };
    map.retain(|key, value| {
        let Some(id) = node.field(key).filter(|id| !id.is_builtin()) else { return true };
        !value.is_null() || !counts(id)
    });
    for (key, value) in map.iter_mut() {
        let Some(id) = node.field(key).filter(|id| !id.is_builtin()) else { continue };
        drop_nulls_below(schema, schema.node(id), value, depth + 1);
    }
}

fn drop_nulls_below(schema: &Schema, node: &Node, value: &mut Value, depth: usize) {
    match value {
        Value::Object(map) => drop_nulls(schema, node, map, depth),
        Value::Array(list) if depth <= DEPTH_MAX => {
            let Some(item) = node.items.map(|id| schema.node(id)) else { return };
            for entry in list {
                drop_nulls_below(schema, item, entry, depth + 1);
            }
        }
        _ => {}
    }
}

/// Fills in the defaults below one value.
pub(crate) fn value(schema: &Schema, node: &Node, value: &mut Value, depth: usize) {
    match value {
        Value::Object(map) => fields(schema, node, map, depth),
        Value::Array(list) => {
            let Some(item) = node.items.map(|id| schema.node(id)) else { return };
            for entry in list.iter_mut() {
                replace_null(schema, item, entry, depth);
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
                let Some(default) = default_of(child) else { continue };
                let mut default = default.clone();
                value(schema, child, &mut default, depth + 1);
                map.insert(property.name.to_string(), default);
            }
            Some(present) => replace_null(schema, child, present, depth),
        }
    }
    let Some(other) = node.additional.map(|id| schema.node(id)) else { return };
    for (key, present) in map.iter_mut() {
        if node.property(key).is_none() {
            replace_null(schema, other, present, depth);
        }
    }
}

/// Puts the default in the place of a null that is not allowed, and fills in what is below.
fn replace_null(schema: &Schema, node: &Node, present: &mut Value, depth: usize) {
    if present.is_null()
        && !node.nullable
        && let Some(default) = default_of(node)
    {
        *present = default.clone();
    }
    value(schema, node, present, depth + 1);
}

/// `additionalProperties: true`, which says nothing about null.
fn is_anything(node: &Node) -> bool {
    node.open && node.kind == super::Kind::Any
}

/// A default of null is one only where null is allowed.
fn default_of(node: &Node) -> Option<&Value> {
    node.default.as_deref().filter(|default| node.nullable || !default.is_null())
}
