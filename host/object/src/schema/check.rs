//! The JSON types of built-in kinds, with the messages of the decoder that clients know.
//!
//! The order is that of the object's keys; the first wrong value ends the check, as it ends decoding.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use serde_json::{Map, Value};

use super::builtin::{OBJECT_META, builtin};
use super::canonical::{is_quantity, layout};
use super::{Kind, Node, NodeId, Schema};
use crate::decode::go_time;
use crate::quantity::{Quantity, QuantityError};

pub(crate) fn check_types(schema: &Schema, object: &Map<String, Value>) -> Result<(), String> {
    let mut checker = Checker { schema, fields: Vec::new(), words: Words::Decoder };
    checker.object(schema.root(), object)
}

/// The same in the words of the converter that strategic merge patches go through.
pub(crate) fn check_restored(schema: &Schema, object: &Map<String, Value>) -> Result<(), String> {
    let mut checker = Checker { schema, fields: Vec::new(), words: Words::Converter };
    checker.object(schema.root(), object)
}

pub(crate) fn check_metadata(metadata: &Value) -> Result<(), String> {
    let root = builtin().named(OBJECT_META).expect("the shapes hold ObjectMeta");
    let schema = Schema::of_builtin(root);
    let mut checker = Checker { schema: &schema, fields: Vec::new(), words: Words::Decoder };
    match metadata {
        Value::Object(fields) => checker.object(schema.root(), fields),
        Value::Null => Ok(()),
        other => Err(format!(
            "json: cannot unmarshal {} into Go value of type v1.ObjectMeta",
            value_name(other)
        )),
    }
}

/// Whose messages are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    Decoder,
    Converter,
}

struct Checker<'a> {
    words: Words,
    schema: &'a Schema,
    /// The names of the fields on the way here.
    fields: Vec<&'a str>,
}

impl<'a> Checker<'a> {
    fn object(&mut self, node: &'a Node, map: &'a Map<String, Value>) -> Result<(), String> {
        for (key, value) in map {
            if let Some(property) = node.property(key) {
                self.fields.push(key);
                self.value(node, property.node, value)?;
                self.fields.pop();
            } else if let Some(additional) = node.additional {
                self.value(node, additional, value)?;
            }
        }
        Ok(())
    }

    /// `holder` is the innermost named type on the way, which the message names.
    fn value(&mut self, holder: &'a Node, id: NodeId, value: &'a Value) -> Result<(), String> {
        let node = self.schema.node(id);
        match (node.kind, value) {
            (Kind::Object, Value::Object(_)) if node.open && node.properties.is_empty() => Ok(()),
            (Kind::Object, Value::Object(map)) if node.name.is_empty() => {
                for value in map.values() {
                    let Some(additional) = node.additional else { break };
                    self.value(holder, additional, value)?;
                }
                Ok(())
            }
            (Kind::Object, Value::Object(map)) => self.object(node, map),
            (Kind::Array, Value::Array(items)) => {
                let Some(item) = node.items else { return Ok(()) };
                items.iter().try_for_each(|value| self.value(holder, item, value))
            }
            (Kind::String, Value::String(text)) => check_format(node, text),
            (_, Value::String(_) | Value::Number(_)) if is_quantity(node) => {
                Quantity::from_value(value).map(drop).map_err(|error| error.to_string())
            }
            (_, Value::Null)
            | (Kind::Any, _)
            | (Kind::Boolean, Value::Bool(_))
            | (Kind::Number, Value::Number(_))
            | (Kind::IntOrString, Value::String(_)) => Ok(()),
            (Kind::IntOrString, Value::Number(number)) => {
                if number.is_f64() {
                    Err(self.wrong(holder, id, value))
                } else {
                    Ok(())
                }
            }
            (Kind::Integer, Value::Number(number)) if fits(number, &node.format) => Ok(()),
            _ if is_quantity(node) => Err(QuantityError::Form.to_string()),
            _ => Err(self.wrong(holder, id, value)),
        }
    }

    fn wrong(&self, holder: &Node, id: NodeId, value: &Value) -> String {
        if self.words == Words::Converter {
            return self.unrestored(id, value);
        }
        let short = holder.name.rsplit('.').next().unwrap_or_default();
        let wanted = self.type_name(id);
        // A number is quoted where its size or fraction is the matter.
        let found = match value {
            Value::Number(number) if self.schema.node(id).kind == Kind::Integer => {
                format!("number {number}")
            }
            other => value_name(other).to_owned(),
        };
        let path = self.fields.join(".");
        format!(
            "json: cannot unmarshal {found} into Go struct field {short}.{path} of type {wanted}"
        )
    }

    fn unrestored(&self, id: NodeId, value: &Value) -> String {
        let node = self.schema.node(id);
        let found = match value {
            Value::Null => "invalid",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_f64() => "float64",
            Value::Number(_) => "int64",
            Value::String(_) => "string",
            Value::Array(_) => "slice",
            Value::Object(_) => "map",
        };
        match node.kind {
            Kind::Array => format!("cannot restore slice from {found}"),
            Kind::Object if node.name.is_empty() => format!("cannot restore map from {found}"),
            Kind::Object => format!("cannot restore struct from: {found}"),
            _ => format!("unrecognized type: {}", self.type_name(id)),
        }
    }

    fn type_name(&self, id: NodeId) -> String {
        let node = self.schema.node(id);
        if !node.name.is_empty() {
            let mut parts = node.name.rsplit('.');
            let (kind, package) =
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            return format!("{package}.{kind}");
        }
        let inner = |id: Option<NodeId>| id.map(|id| self.type_name(id)).unwrap_or_default();
        match (node.kind, &*node.format) {
            (Kind::Integer, "int64") => "int64".to_owned(),
            (Kind::Integer, _) => "int32".to_owned(),
            (Kind::Number, _) => "float64".to_owned(),
            (Kind::Boolean, _) => "bool".to_owned(),
            (Kind::String, "byte") => "[]uint8".to_owned(),
            (Kind::Array, _) => format!("[]{}", inner(node.items)),
            (Kind::Object, _) => format!("map[string]{}", inner(node.additional)),
            (Kind::String | Kind::Any | Kind::IntOrString, _) => "string".to_owned(),
        }
    }
}

fn value_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn fits(number: &serde_json::Number, format: &str) -> bool {
    match (format, number.as_i64()) {
        ("int64", whole) => whole.is_some(),
        (_, whole) => whole.is_some_and(|whole| i32::try_from(whole).is_ok()),
    }
}

fn check_format(node: &Node, text: &str) -> Result<(), String> {
    match layout(node) {
        Some(layout) => go_time::parse(text, layout).map(drop),
        None if &*node.format == "byte" => check_base64(text),
        None => Ok(()),
    }
}

fn check_base64(text: &str) -> Result<(), String> {
    use base64::DecodeError;
    use base64::Engine as _;
    let standard = base64::engine::general_purpose::STANDARD;
    let mut room = vec![0; base64::decoded_len_estimate(text.len())];
    let at = match standard.decode_slice(text, &mut room) {
        Ok(_) => return Ok(()),
        Err(base64::DecodeSliceError::DecodeError(
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _),
        )) => at,
        Err(_) => text.len() / 4 * 4,
    };
    Err(format!("illegal base64 data at input byte {at}"))
}
