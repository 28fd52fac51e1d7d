//! The form that Kubernetes' own servers give objects of built-in kinds: which empty fields are written and which are not.
//!
//! A field that cannot be told from its zero value is left out when it has it; a field without `omitempty` is written though
//! nobody set it; a part held by value is there, empty. `data/protobuf.txt` has these facts of every field.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{Kind, Node, Schema};
use crate::quantity::Quantity;

/// What becomes of a field that holds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Empty {
    /// Whatever was sent is kept, and nothing is added.
    #[default]
    Free,
    /// It is left out, though it was sent.
    Omitted,
    /// It is written as null.
    Null,
    /// It is written as the zero value of its type.
    Zero,
}

const FLAGS: &str = include_str!("../../data/protobuf.txt");
/// Pointers that are written though they are null.
const NULL_POINTERS: [&str; 2] =
    ["core.v1.TypedLocalObjectReference", "core.v1.TypedObjectReference"];

/// By message and field: type and flags.
type Flags = HashMap<&'static str, Vec<(&'static str, &'static str, &'static str)>>;

static BY_MESSAGE: LazyLock<Flags> = LazyLock::new(|| {
    let mut messages = Flags::new();
    let mut current = "";
    for line in FLAGS.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('@') {
            current = name;
            continue;
        }
        let mut words = line.split(' ').skip(1);
        if let (Some(name), Some(of)) = (words.next(), words.next()) {
            let flags = words.next().unwrap_or_default();
            messages.entry(current).or_default().push((name, of, flags));
        }
    }
    messages
});

/// What becomes of a field of a definition such as `io.k8s.api.core.v1.Pod` when it holds nothing.
pub(super) fn empty(definition: &str, field: &str) -> Empty {
    if definition.starts_with("io.k8s.apiextensions-apiserver.") {
        return Empty::Free;
    }
    let mut parts = definition.rsplitn(4, '.');
    let (kind, version, group) = (parts.next(), parts.next(), parts.next());
    let kind = kind.unwrap_or_default();
    let message = if definition.starts_with("io.k8s.apimachinery.pkg.apis.meta.") {
        format!("meta.{kind}")
    } else {
        format!("{}.{}.{kind}", group.unwrap_or_default(), version.unwrap_or_default())
    };
    of_field(&message, field).unwrap_or_default()
}

fn of_field(message: &str, field: &str) -> Option<Empty> {
    let fields = BY_MESSAGE.get(message)?;
    let inlined = fields.iter().filter(|(.., flags)| flags.contains('i'));
    let Some((_, of, flags)) = fields.iter().find(|(name, ..)| *name == field) else {
        return inlined.into_iter().find_map(|(_, of, _)| of_field(of, field));
    };
    let has = |flag: char| flags.contains(flag);
    let is_time = matches!(*of, "meta.Time" | "meta.MicroTime");
    let many = has('r') || has('m');
    let by_value = of.contains('.') && !many;
    Some(if NULL_POINTERS.contains(&message) && field == "apiGroup" {
        Empty::Null
    } else if has('p') || message == "meta.ObjectMeta" && (is_time || field == "managedFields") {
        Empty::Free
    } else if is_time && !many || has('k') && many {
        Empty::Null
    } else if has('k') || by_value {
        Empty::Zero
    } else {
        Empty::Omitted
    })
}

/// Removes what holds nothing and is then not written; a null in a map of texts is an empty text.
pub(super) fn drop_empty(schema: &Schema, node: &Node, map: &mut Map<String, Value>) {
    if node.open && node.properties.is_empty() {
        return;
    }
    map.retain(|key, value| {
        let Some(property) = node.property(key) else {
            let Some(additional) = node.additional else { return !value.is_null() };
            if value.is_null() {
                *value = Value::from("");
            }
            below(schema, schema.node(additional), value);
            return true;
        };
        below(schema, schema.node(property.node), value);
        match (property.empty, &*value) {
            (_, Value::Null) => false,
            (Empty::Omitted, value) => !is_zero(value),
            (Empty::Null, Value::Array(items)) => !items.is_empty(),
            (Empty::Null, Value::Object(entries)) => !entries.is_empty(),
            // An empty list is as good as none, but for field managers: there it is a wish to forget them.
            (Empty::Free, Value::Array(items)) => !items.is_empty() || key == "managedFields",
            _ => true,
        }
    });
}

fn below(schema: &Schema, node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) if node.kind != Kind::Any => drop_empty(schema, node, map),
        Value::Array(items) => {
            let Some(item) = node.items else { return };
            let item = schema.node(item);
            for value in items.iter_mut() {
                if value.is_null() {
                    *value = zero_of(item);
                }
                below(schema, item, value);
            }
        }
        _ => {}
    }
}

/// What Go's decoder makes of a null in a list.
fn zero_of(item: &Node) -> Value {
    match item.kind {
        Kind::String => "".into(),
        Kind::Integer | Kind::Number | Kind::IntOrString => 0.into(),
        Kind::Boolean => false.into(),
        Kind::Object => Map::new().into(),
        Kind::Array | Kind::Any => Value::Null,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Writes the fields that are always there, and quantities in their canonical form.
pub(super) fn fill_empty(schema: &Schema, node: &Node, map: &mut Map<String, Value>) {
    for property in &node.properties {
        match property.empty {
            Empty::Null if !map.contains_key(&*property.name) => {
                map.insert(property.name.as_ref().to_owned(), Value::Null);
            }
            Empty::Zero if map.get(&*property.name).is_none_or(Value::is_null) => {
                let zero = zero(schema.node(property.node));
                map.insert(property.name.as_ref().to_owned(), zero);
            }
            _ => {}
        }
    }
    if node.properties.is_empty() {
        let Some(additional) = node.additional.map(|id| schema.node(id)) else { return };
        map.values_mut().for_each(|value| fill_below(schema, additional, value));
        return;
    }
    let filled = map.iter_mut().filter(|(_, value)| !value.is_null() && !value.is_boolean());
    for (key, value) in filled {
        if let Some(property) = node.property(key) {
            fill_below(schema, schema.node(property.node), value);
        }
    }
}

fn fill_below(schema: &Schema, node: &Node, value: &mut Value) {
    match value {
        Value::String(_) | Value::Number(_) if node.name.ends_with(".Quantity") => {
            if let Ok(quantity) = Quantity::from_value(value) {
                *value = Value::from(quantity.to_string());
            }
        }
        Value::Object(map) if node.kind != Kind::Any => fill_empty(schema, node, map),
        Value::Array(items) => {
            let Some(item) = node.items else { return };
            let item = schema.node(item);
            for value in items.iter_mut() {
                fill_below(schema, item, value);
            }
        }
        _ => {}
    }
}

fn zero(node: &Node) -> Value {
    match node.kind {
        Kind::String => Value::from(""),
        Kind::Boolean => Value::from(false),
        Kind::IntOrString if node.name.ends_with("Quantity") => Value::from("0"),
        Kind::Integer | Kind::Number | Kind::IntOrString => Value::from(0),
        Kind::Object if !node.open => Value::Object(Map::new()),
        _ => Value::Null,
    }
}
