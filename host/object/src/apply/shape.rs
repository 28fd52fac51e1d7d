//! How a value is owned: as a map, as a list or as a whole, by its schema or (without one) by its looks.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::managed::set::Step;
use crate::schema::{Kind, ListKind, Node, NodeId, Schema};

/// A place in a schema; `None` is a place of which the schema says nothing.
pub(crate) type Place<'s> = Option<&'s Node>;

/// How a value is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Map,
    List,
    Scalar,
}

/// The shape that a schema gives to a value, or `None` where the value does not fit.
pub(crate) fn shape(place: Place<'_>, value: &Value) -> Shape {
    let deduced = match value {
        Value::Object(_) => Shape::Map,
        Value::Array(_) => Shape::List,
        _ => Shape::Scalar,
    };
    match place.map(|node| node.kind) {
        Some(Kind::Object) => Shape::Map,
        Some(Kind::Array) => Shape::List,
        Some(Kind::String | Kind::Integer | Kind::Number | Kind::Boolean | Kind::IntOrString) => {
            Shape::Scalar
        }
        // Null takes any shape; a map's is the first that is tried.
        Some(Kind::Any) | None if value.is_null() => Shape::Map,
        Some(Kind::Any) | None => deduced,
    }
}

/// Whether the whole map has one owner.
pub(crate) fn is_atomic_map(place: Place<'_>) -> bool {
    place.is_some_and(|node| node.atomic)
}

/// The items' place, where items have owners of their own.
pub(crate) fn separate_items(place: Place<'_>) -> Option<(&ListKind, Option<NodeId>)> {
    let node = place?;
    (node.list != ListKind::Atomic).then_some((&node.list, node.items))
}

/// The place of a field; the second part is whether the schema names the field.
pub(crate) fn field<'s>(schema: &'s Schema, place: Place<'s>, key: &str) -> (Place<'s>, bool) {
    let Some(node) = place else { return (None, false) };
    match node.property(key) {
        Some(property) => (Some(schema.node(property.node)), true),
        None => (node.additional.map(|id| schema.node(id)), false),
    }
}

/// The step to an item of a list whose items have owners of their own.
pub(crate) fn item_step<'v>(
    schema: &Schema,
    list: &ListKind,
    item_type: Option<&Node>,
    item: &'v Value,
) -> Result<Step<'v>, String> {
    match list {
        ListKind::Map(keys) => key_step(schema, keys, item_type, item).map(Step::Key),
        ListKind::Set | ListKind::Atomic => match item {
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => {
                Err("not supported: associative list with lists as elements".to_owned())
            }
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null"
                    .to_owned())
            }
            scalar => Ok(Step::Value(scalar.to_string().into())),
        },
    }
}

fn key_step<'v>(
    _schema: &Schema,
    keys: &[Box<str>],
    item_type: Option<&Node>,
    item: &Value,
) -> Result<Cow<'v, str>, String> {
    let item = match item {
        Value::Object(map) => map,
        Value::Null => {
            return Err("associative list with keys may not have a null element".to_owned());
        }
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut out = String::with_capacity(48);
    let mut sorted: Vec<&str> = keys.iter().map(|key| &**key).collect();
    sorted.sort_unstable();
    for (index, key) in sorted.into_iter().enumerate() {
        let default = || item_type?.property(key)?.key_default.as_deref();
        let Some(value) = item.get(key).or_else(default) else {
            return Err(format!(
                "associative list with keys has an element that omits key field {key:?} (and doesn't have \
                 default value)"
            ));
        };
        out.push(if index == 0 { '{' } else { ',' });
        push_json_text(&mut out, key);
        out.push(':');
        match value {
            Value::String(text) => push_json_text(&mut out, text),
            other => out.push_str(&other.to_string()),
        }
    }
    out.push('}');
    Ok(out.into())
}

/// Appends a JSON string; most need no escapes.
fn push_json_text(out: &mut String, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

/// An empty object, for what is there without being written.
pub(crate) fn empty() -> &'static Value {
    static EMPTY: std::sync::LazyLock<Value> =
        std::sync::LazyLock::new(|| Value::Object(Map::new()));
    &EMPTY
}
