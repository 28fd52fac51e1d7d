//! JSON to messages, by the same table that the decoder reads.
//!
//! What the table does not know is left out, as is what has a type that it cannot have: objects that reach this place
//! have passed their schema. A nested message is written behind one byte of room for its length, and moved when the
//! length needs more.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::table::{self, Field, Message, Type};
use crate::time::Timestamp;

/// The wire types of a tag.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;

/// Appends every field of a message, in the order of their numbers.
pub(super) fn message(out: &mut Vec<u8>, message: &Message, object: &Map<String, Value>) {
    for of in message.fields() {
        if of.inline {
            inline(out, of, object);
        } else if let Some(value) = object.get(of.name) {
            field(out, of, value);
        }
    }
}

/// A message whose fields stand among those of its parent in JSON.
fn inline(out: &mut Vec<u8>, of: &Field, object: &Map<String, Value>) {
    let Type::Message(at) = of.r#type else { return };
    let Some(nested) = table::message(at) else { return };
    let before = out.len();
    delimited(out, of.number, |out| message(out, nested, object));
    // A tag and a length of zero: nothing of it was there.
    if out.len() == before + tag_length(of.number) + 1 {
        out.truncate(before);
    }
}

fn field(out: &mut Vec<u8>, of: &Field, given: &Value) {
    match given {
        Value::Null => {}
        Value::Object(entries) if of.map => {
            for (key, entry) in entries {
                delimited(out, of.number, |out| {
                    bytes(out, 1, key.as_bytes());
                    value(out, of, 2, entry);
                });
            }
        }
        Value::Array(items) if of.repeated => {
            for item in items {
                value(out, of, of.number, item);
            }
        }
        one if !of.map && !of.repeated => value(out, of, of.number, one),
        _ => {}
    }
}

/// One value as the field `number`: the field itself, an element of it, or the value of an entry.
fn value(out: &mut Vec<u8>, of: &Field, number: u64, given: &Value) {
    match (of.r#type, given) {
        (Type::Text, Value::String(text)) => bytes(out, number, text.as_bytes()),
        (Type::Bytes, Value::String(text)) => {
            bytes(out, number, &STANDARD.decode(text).unwrap_or_default());
        }
        (Type::Integer32 | Type::Integer64, Value::Number(given)) => {
            if let Some(integer) = integer(given) {
                tag(out, number, VARINT);
                varint(out, integer.cast_unsigned());
            }
        }
        (Type::Boolean, Value::Bool(given)) => boolean(out, number, *given),
        (Type::Double, Value::Number(given)) => {
            tag(out, number, FIXED_64);
            out.extend_from_slice(&given.as_f64().unwrap_or_default().to_bits().to_le_bytes());
        }
        (Type::Time | Type::MicroTime, Value::String(text)) => time(out, number, text),
        (Type::Quantity, Value::String(text)) => {
            delimited(out, number, |out| bytes(out, 1, text.as_bytes()));
        }
        (Type::Quantity, Value::Number(given)) => {
            delimited(out, number, |out| bytes(out, 1, given.to_string().as_bytes()));
        }
        (Type::IntOrString, given) => int_or_string(out, number, given),
        (Type::Json | Type::Raw, given) => {
            delimited(out, number, |out| bytes(out, 1, given.to_string().as_bytes()));
        }
        (Type::Texts, Value::Array(items)) => delimited(out, number, |out| {
            items.iter().filter_map(Value::as_str).for_each(|text| bytes(out, 1, text.as_bytes()));
        }),
        (Type::SchemaOr, given) => delimited(out, number, |out| schema_or(out, of, given)),
        (Type::Message(at), Value::Object(object)) => {
            if let Some(nested) = table::message(at) {
                delimited(out, number, |out| message(out, nested, object));
            }
        }
        _ => {}
    }
}

fn integer(given: &serde_json::Number) -> Option<i64> {
    given.as_i64().or_else(|| {
        let float = given.as_f64().filter(|float| float.fract() == 0.0)?;
        // Printed and read again: beyond the range it does not read, and is left out.
        format!("{float:.0}").parse().ok()
    })
}

/// Seconds and nanoseconds.
fn time(out: &mut Vec<u8>, number: u64, text: &str) {
    let Some(Timestamp(micros)) = Timestamp::parse_rfc3339(text) else { return };
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    delimited(out, number, |out| {
        tag(out, 1, VARINT);
        varint(out, seconds.cast_unsigned());
        if micros != 0 {
            tag(out, 2, VARINT);
            varint(out, (micros * 1000).cast_unsigned());
        }
    });
}

fn int_or_string(out: &mut Vec<u8>, number: u64, given: &Value) {
    delimited(out, number, |out| match given {
        Value::String(text) => {
            tag(out, 1, VARINT);
            varint(out, 1);
            bytes(out, 3, text.as_bytes());
        }
        other => {
            tag(out, 1, VARINT);
            varint(out, 0);
            tag(out, 2, VARINT);
            let given = other.as_number().and_then(integer);
            varint(out, given.unwrap_or_default().cast_unsigned());
        }
    });
}

/// The counterpart of the decoder's: a schema, or as the field says a list of them, a boolean, or a list of texts.
fn schema_or(out: &mut Vec<u8>, of: &Field, given: &Value) {
    let schema = table::of_kind("apiextensions.k8s.io/v1", "JSONSchemaProps");
    let Some(schema) = schema.and_then(table::message) else { return };
    let boolean_first = of.name.starts_with("additional");
    match given {
        Value::Bool(allows) if boolean_first => boolean(out, 1, *allows),
        Value::Object(object) => {
            if boolean_first {
                boolean(out, 1, true);
            }
            let number = if boolean_first { 2 } else { 1 };
            delimited(out, number, |out| message(out, schema, object));
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::String(text) => bytes(out, 2, text.as_bytes()),
                    Value::Object(object) => delimited(out, 2, |out| message(out, schema, object)),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn boolean(out: &mut Vec<u8>, number: u64, given: bool) {
    tag(out, number, VARINT);
    out.push(given.into());
}

/// A field of bytes.
pub(super) fn bytes(out: &mut Vec<u8>, number: u64, content: &[u8]) {
    tag(out, number, BYTES);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// A field whose content is written by `write`.
pub(super) fn delimited(out: &mut Vec<u8>, number: u64, write: impl FnOnce(&mut Vec<u8>)) {
    tag(out, number, BYTES);
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    let mut prefix = Vec::with_capacity(10);
    varint(&mut prefix, length as u64);
    out.splice(at..=at, prefix);
}

pub(super) fn tag(out: &mut Vec<u8>, number: u64, wire: u64) {
    varint(out, number << 3 | wire);
}

fn tag_length(number: u64) -> usize {
    let mut out = Vec::with_capacity(10);
    tag(&mut out, number, 0);
    out.len()
}

/// A number in groups of seven bits, the lowest first.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    let [last, ..] = value.to_le_bytes();
    out.push(last);
}
