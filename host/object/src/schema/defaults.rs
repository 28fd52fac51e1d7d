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
        let mut filler = Filler { schema, fields_left: FIELDS_MAX, bytes_left: BYTES_MAX };
        filler.fields(schema.root(), object, 0);
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

/// How many fields, and how many bytes of keys and values, defaults may add to one object: more than an object that
/// can be stored has room for, the smallest field taking six bytes of it. What goes on beyond stays without, and is
/// too large as it is.
const FIELDS_MAX: usize = 262_144;
const BYTES_MAX: usize = 8 << 20;

/// Fills in defaults, until there are too many.
struct Filler<'s> {
    schema: &'s Schema,
    fields_left: usize,
    bytes_left: usize,
}

impl<'s> Filler<'s> {
    fn value(&mut self, node: &'s Node, value: &mut Value, depth: usize) {
        match value {
            Value::Object(map) => self.fields(node, map, depth),
            Value::Array(list) => {
                let schema = self.schema;
                let Some(item) = node.items.map(|id| schema.node(id)) else { return };
                for entry in list.iter_mut() {
                    self.replace_null(item, entry, depth);
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, node: &'s Node, map: &mut Map<String, Value>, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        let schema = self.schema;
        for property in &node.properties {
            if property.node.is_builtin() {
                continue;
            }
            let child = schema.node(property.node);
            match map.get_mut(&*property.name) {
                None => {
                    let Some(mut default) = self.add(&property.name, child) else { continue };
                    self.value(child, &mut default, depth + 1);
                    map.insert(property.name.to_string(), default);
                }
                Some(present) => self.replace_null(child, present, depth),
            }
        }
        let Some(other) = node.additional.map(|id| schema.node(id)) else { return };
        for (key, present) in map.iter_mut() {
            if node.property(key).is_none() {
                self.replace_null(other, present, depth);
            }
        }
    }

    /// Puts the default in the place of a null that is not allowed, and fills in what is below.
    fn replace_null(&mut self, node: &'s Node, present: &mut Value, depth: usize) {
        if present.is_null()
            && !node.nullable
            && let Some(default) = self.take(node)
        {
            *present = default;
        }
        self.value(node, present, depth + 1);
    }

    /// The default of a field that is not there, while there may be more fields.
    fn add(&mut self, key: &str, node: &Node) -> Option<Value> {
        default_of(node)?;
        self.fields_left = self.fields_left.checked_sub(1)?;
        self.bytes_left = self.bytes_left.checked_sub(key.len())?;
        self.take(node)
    }

    /// The default of a node, while there may be more bytes.
    fn take(&mut self, node: &Node) -> Option<Value> {
        let default = default_of(node)?;
        self.bytes_left = weigh(default, self.bytes_left)?;
        Some(default.clone())
    }
}

/// What a value leaves of some bytes; `None` where it takes more. Every value counts eight beside its texts.
fn weigh(value: &Value, left: usize) -> Option<usize> {
    let left = left.checked_sub(8)?;
    match value {
        Value::String(text) => left.checked_sub(text.len()),
        Value::Array(items) => items.iter().try_fold(left, |left, item| weigh(item, left)),
        Value::Object(map) => map
            .iter()
            .try_fold(left, |left, (key, value)| weigh(value, left.checked_sub(key.len())?)),
        _ => Some(left),
    }
}

/// `additionalProperties: true`, which says nothing about null.
fn is_anything(node: &Node) -> bool {
    node.open && node.kind == super::Kind::Any
}

/// A default of null is one only where null is allowed.
fn default_of(node: &Node) -> Option<&Value> {
    node.default.as_deref().filter(|default| node.nullable || !default.is_null())
}
