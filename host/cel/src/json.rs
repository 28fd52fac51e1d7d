//! JSON to values and back.
//!
//! Owns what a declared type makes of a scalar. Must not know of expressions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::declared::Declared;
use crate::error::EvalError;
use crate::time::{Duration, Timestamp};
use crate::types::Type;
use crate::value::{Text, Value};

/// A value deeper than this has no JSON; no expression builds one that deep from an object that was accepted.
const DEPTH_MAX: usize = 256;
/// A value with more parts has no JSON: a request has fewer.
const PARTS_MAX: usize = 2_000_000;

/// Sees JSON as it is declared; what does not fit its declaration is seen as what it is.
pub(crate) fn view<'a>(json: &'a Json, declared: &'a Declared) -> Value<'a> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => view_number(number, &declared.ty),
        Json::String(text) => view_text(text, &declared.ty),
        Json::Array(items) => Value::view_list(items, declared),
        Json::Object(entries) => Value::from_object(entries, declared),
    }
}

fn view_number<'a>(number: &serde_json::Number, ty: &Type) -> Value<'a> {
    let double = number.as_f64().unwrap_or(f64::NAN);
    if matches!(ty, Type::Double) {
        return Value::Double(double);
    }
    match number.as_i64() {
        Some(number) => Value::Int(number),
        None if matches!(ty, Type::Int) => whole(double).map_or(Value::Double(double), Value::Int),
        None => Value::Double(double),
    }
}

fn view_text<'a>(text: &'a str, ty: &Type) -> Value<'a> {
    let seen = match ty {
        Type::Timestamp => {
            Timestamp::parse(text).or_else(|| Timestamp::parse_date(text)).map(Value::Timestamp)
        }
        Type::Duration => Duration::parse(text).map(Value::Duration),
        Type::Bytes => STANDARD.decode(text).ok().map(|bytes| Value::Bytes(bytes.into())),
        _ => None,
    };
    seen.unwrap_or(Value::String(Text::Borrowed(text)))
}

/// The whole number that a floating-point number is exactly.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
pub(crate) fn whole(number: f64) -> Option<i64> {
    let in_range = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    (in_range && number.fract() == 0.0).then_some(number as i64)
}

pub(crate) fn write(value: &Value<'_>) -> Result<Json, EvalError> {
    Writer { parts: 0 }.write(value, 0)
}

/// Values share parts that JSON writes out, so that what is written is counted.
struct Writer {
    parts: usize,
}

impl Writer {
    fn write(&mut self, value: &Value<'_>, depth: usize) -> Result<Json, EvalError> {
        self.parts += 1;
        if depth > DEPTH_MAX || self.parts > PARTS_MAX {
            return Err(EvalError::new("value is too large for JSON"));
        }
        Ok(match value {
            Value::Null | Value::Optional(None) => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Int(number) => Json::from(*number),
            Value::Uint(number) => Json::from(*number),
            Value::Double(number) => write_double(*number)?,
            Value::String(text) => Json::String(text.to_string()),
            Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
            Value::Duration(span) => Json::String(span.to_string()),
            Value::Timestamp(time) => Json::String(time.to_string()),
            Value::List(list) => {
                let items = list.iter().map(|item| self.write(&item, depth + 1));
                Json::Array(items.collect::<Result<_, _>>()?)
            }
            Value::Map(map) => {
                let entries = map.entries().map(|(key, value)| {
                    let key = crate::library::display(&key.value());
                    Ok((key, self.write(&value, depth + 1)?))
                });
                Json::Object(entries.collect::<Result<_, EvalError>>()?)
            }
            Value::Object(object) => {
                let fields = object.fields().into_iter();
                let fields = fields
                    .map(|(name, value)| Ok((name.to_owned(), self.write(&value, depth + 1)?)));
                Json::Object(fields.collect::<Result<_, EvalError>>()?)
            }
            Value::Optional(Some(value)) => self.write(value, depth + 1)?,
            Value::Type(_) | Value::Opaque(_) => {
                let name = value.type_name();
                return Err(EvalError::new(format!("type conversion error from '{name}' to JSON")));
            }
        })
    }
}

fn write_double(number: f64) -> Result<Json, EvalError> {
    let json = serde_json::Number::from_f64(number);
    json.map(Json::Number).ok_or_else(|| EvalError::new(format!("{number} has no form in JSON")))
}
