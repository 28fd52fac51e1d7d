//! Messages to JSON, by the table, and the messages whose JSON form is their own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::table::{self, Field, Type};
use super::wire::{Reader, Wire, text};
use super::{MAGIC, decode_within};
use crate::decode::{self, DEPTH_MAX, DecodeError};
use crate::quantity::Quantity;
use crate::time::Timestamp;

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write; the first is that of the year 1.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// What is left of the bounds of one body.
#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) nodes_left: usize,
    pub(super) depth: usize,
}

impl Decoder {
    /// Decodes a message by its place in the table.
    pub(super) fn message(
        &mut self,
        at: usize,
        bytes: &[u8],
    ) -> Result<Map<String, Value>, DecodeError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(DecodeError("proto: exceeded max depth".to_owned()));
        }
        let mut object = Map::new();
        let mut reader = Reader::new(bytes);
        let message = table::message(at);
        while let Some((number, wire)) = reader.field()? {
            let Some(field) = message.and_then(|message| message.field(number)) else { continue };
            self.count()?;
            self.field(field, wire, &mut object)?;
        }
        self.depth -= 1;
        Ok(object)
    }

    fn field(
        &mut self,
        field: &Field,
        wire: Wire<'_>,
        object: &mut Map<String, Value>,
    ) -> Result<(), DecodeError> {
        if field.inline {
            let Value::Object(nested) = self.value(field, wire)? else { return Ok(()) };
            object.extend(nested);
        } else if field.map {
            let (key, value) = self.entry(field, wire)?;
            let map = object.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
        } else if field.repeated {
            let mut values = self.repeated(field, wire)?;
            let list = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.append(&mut values);
            }
        } else {
            let value = self.value(field, wire)?;
            if value.is_null() || (is_zero(&value, field.r#type) && !field.keeps_zero) {
                object.remove(field.name);
            } else {
                object.insert(field.name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// One element, or a packed list of them.
    fn repeated(&mut self, field: &Field, wire: Wire<'_>) -> Result<Vec<Value>, DecodeError> {
        let numeric = matches!(field.r#type, Type::Integer32 | Type::Integer64 | Type::Boolean);
        let Wire::Bytes(packed) = wire else { return Ok(vec![self.value(field, wire)?]) };
        if !numeric {
            return Ok(vec![self.value(field, wire)?]);
        }
        let mut reader = Reader::new(packed);
        let mut values = Vec::new();
        while !reader.is_empty() {
            self.count()?;
            values.push(self.value(field, Wire::Varint(reader.varint()?))?);
        }
        Ok(values)
    }

    fn entry(&mut self, field: &Field, wire: Wire<'_>) -> Result<(String, Value), DecodeError> {
        let Wire::Bytes(entry) = wire else { return Err(mistyped(field)) };
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader::new(entry);
        while let Some((number, wire)) = reader.field()? {
            match (number, wire) {
                (1, Wire::Bytes(bytes)) => key = text(bytes),
                (2, wire) => value = Some(self.value(field, wire)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            // An entry without a value has the zero value.
            None if field.r#type == Type::Integer64 => self.value(field, Wire::Varint(0))?,
            None => self.value(field, Wire::Bytes(&[]))?,
        };
        Ok((key, value))
    }

    fn value(&mut self, field: &Field, wire: Wire<'_>) -> Result<Value, DecodeError> {
        match (field.r#type, wire) {
            (Type::Integer32, Wire::Varint(bits)) => {
                // Negative numbers come as 64 bits; the upper half is their sign.
                let [a, b, c, d, ..] = bits.to_le_bytes();
                Ok(Value::from(i32::from_le_bytes([a, b, c, d])))
            }
            (Type::Integer64, Wire::Varint(bits)) => Ok(Value::from(bits.cast_signed())),
            (Type::Boolean, Wire::Varint(bits)) => Ok(Value::Bool(bits != 0)),
            (Type::Double, Wire::Fixed64(bits)) => {
                let number = Number::from_f64(f64::from_bits(bits));
                let unsupported = || DecodeError("json: unsupported value".to_owned());
                number.map(Value::Number).ok_or_else(unsupported)
            }
            (r#type, Wire::Bytes(bytes)) => self.of_bytes(field, r#type, bytes),
            _ => Err(mistyped(field)),
        }
    }

    fn of_bytes(
        &mut self,
        field: &Field,
        r#type: Type,
        bytes: &[u8],
    ) -> Result<Value, DecodeError> {
        match r#type {
            Type::Text => Ok(Value::String(text(bytes))),
            Type::Bytes => Ok(Value::String(STANDARD.encode(bytes))),
            Type::Time => time(bytes, Timestamp::to_rfc3339),
            Type::MicroTime => time(bytes, Timestamp::to_rfc3339_micros),
            Type::Quantity => quantity(bytes),
            Type::IntOrString => int_or_string(bytes),
            Type::Json => json(first_bytes(bytes)?),
            Type::Raw => match first_bytes(bytes)? {
                raw if raw.starts_with(&MAGIC) => {
                    self.depth += 1;
                    if self.depth > DEPTH_MAX {
                        return Err(DecodeError("proto: exceeded max depth".to_owned()));
                    }
                    let value = decode_within(raw, self)?;
                    self.depth -= 1;
                    Ok(value)
                }
                raw => json(raw),
            },
            Type::Texts => self.texts(bytes),
            Type::SchemaOr => self.schema_or(field, bytes),
            Type::Message(at) => self.message(at, bytes).map(Value::Object),
            Type::Integer32 | Type::Integer64 | Type::Boolean | Type::Double => {
                Err(mistyped(field))
            }
        }
    }

    fn texts(&mut self, bytes: &[u8]) -> Result<Value, DecodeError> {
        let mut list = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((_, wire)) = reader.field()? {
            self.count()?;
            if let Wire::Bytes(item) = wire {
                list.push(Value::String(text(item)));
            }
        }
        Ok(Value::Array(list))
    }

    /// A schema; or, as the field says, a list of schemas (`items`), whether anything is allowed
    /// (`additionalProperties`, `additionalItems`), or a list of texts (`dependencies`).
    fn schema_or(&mut self, field: &Field, bytes: &[u8]) -> Result<Value, DecodeError> {
        let schema =
            table::of_kind("apiextensions.k8s.io/v1", "JSONSchemaProps").unwrap_or(usize::MAX);
        let (mut one, mut allows, mut list) = (None, false, Vec::new());
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.field()? {
            self.count()?;
            match (number, wire) {
                (_, Wire::Varint(bits)) => allows = bits != 0,
                (2, Wire::Bytes(bytes)) if field.name == "dependencies" => {
                    list.push(Value::String(text(bytes)));
                }
                (2, Wire::Bytes(bytes)) if field.name == "items" => {
                    list.push(Value::Object(self.message(schema, bytes)?));
                }
                (1 | 2, Wire::Bytes(bytes)) => one = Some(self.message(schema, bytes)?),
                _ => {}
            }
        }
        let boolean = field.name.starts_with("additional");
        Ok(match one {
            Some(schema) => Value::Object(schema),
            None if boolean => Value::Bool(allows),
            None if list.is_empty() => Value::Null,
            None => Value::Array(list),
        })
    }

    fn count(&mut self) -> Result<(), DecodeError> {
        let too_many = || DecodeError("proto: too many values".to_owned());
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }
}

/// The zero value of a type; Go leaves it out unless the field is a pointer or is always written.
fn is_zero(value: &Value, r#type: Type) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => r#type != Type::IntOrString && number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty() && matches!(r#type, Type::Message(_)),
    }
}

/// Seconds and nanoseconds; none of either is Go's zero time, which is `null`.
fn time(bytes: &[u8], print: impl FnOnce(Timestamp) -> String) -> Result<Value, DecodeError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Varint(bits)) => seconds = bits.cast_signed(),
            (2, Wire::Varint(bits)) => nanos = bits.cast_signed().clamp(0, 999_999_999),
            _ => {}
        }
    }
    if bytes.is_empty() || seconds == *SECONDS.start() {
        return Ok(Value::Null);
    }
    if !SECONDS.contains(&seconds) {
        return Err(DecodeError("Time.MarshalJSON: year outside of range [0,9999]".to_owned()));
    }
    Ok(Value::String(print(Timestamp(Timestamp::from_seconds(seconds).0 + nanos / 1000))))
}

fn quantity(bytes: &[u8]) -> Result<Value, DecodeError> {
    let amount = text(first_bytes(bytes)?);
    if amount.is_empty() {
        return Ok(Value::String("0".to_owned()));
    }
    let quantity = Quantity::parse(&amount).map_err(|error| DecodeError(error.to_string()))?;
    Ok(Value::String(quantity.to_string()))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, DecodeError> {
    let (mut is_text, mut integer, mut string) = (false, 0_u64, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Varint(bits)) => is_text = bits == 1,
            (2, Wire::Varint(bits)) => integer = bits,
            (3, Wire::Bytes(bytes)) => string = text(bytes),
            _ => {}
        }
    }
    let [a, b, c, d, ..] = integer.to_le_bytes();
    let integer = i32::from_le_bytes([a, b, c, d]);
    Ok(if is_text { Value::String(string) } else { Value::from(integer) })
}

/// Field 1 of a message that wraps bytes.
fn first_bytes(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let (mut first, mut reader) = (&[][..], Reader::new(bytes));
    while let Some((number, wire)) = reader.field()? {
        if let (1, Wire::Bytes(found)) = (number, wire) {
            first = found;
        }
    }
    Ok(first)
}

fn json(bytes: &[u8]) -> Result<Value, DecodeError> {
    if bytes.is_empty() { Ok(Value::Null) } else { Ok(decode::json(bytes)?.value) }
}

fn mistyped(field: &Field) -> DecodeError {
    DecodeError(format!("proto: wrong wireType for field {}", field.name))
}
