//! Conversions between types, `size` and `type`, and how values are written as text.

use super::{Result, number, text};
use crate::error::EvalError;
use crate::json::whole;
use crate::signature::Cost::{Decode, Encode, One};
use crate::signature::Row;
use crate::signature::Run::Pure;
use crate::time::{Duration, Timestamp};
use crate::value::{Text, Value};

pub(super) const ROWS: &[Row] = &[
    ("size_bytes", "size(bytes)->int", Pure(size), One),
    ("size_list", "size(list<A>)->int", Pure(size), One),
    ("size_map", "size(map<A,B>)->int", Pure(size), One),
    ("size_string", "size(string)->int", Pure(size), One),
    ("bytes_size", "bytes::size()->int", Pure(size), One),
    ("list_size", "list<A>::size()->int", Pure(size), One),
    ("map_size", "map<A,B>::size()->int", Pure(size), One),
    ("string_size", "string::size()->int", Pure(size), One),
    ("type", "type(A)->type<A>", Pure(type_of), One),
    ("to_dyn", "dyn(A)->dyn", Pure(same), One),
    ("bool_to_bool", "bool(bool)->bool", Pure(same), One),
    ("string_to_bool", "bool(string)->bool", Pure(to_bool), One),
    ("bytes_to_bytes", "bytes(bytes)->bytes", Pure(same), One),
    ("string_to_bytes", "bytes(string)->bytes", Pure(to_bytes), Encode),
    ("double_to_double", "double(double)->double", Pure(same), One),
    ("int64_to_double", "double(int)->double", Pure(to_double), One),
    ("string_to_double", "double(string)->double", Pure(to_double), One),
    ("uint64_to_double", "double(uint)->double", Pure(to_double), One),
    ("duration_to_duration", "duration(duration)->duration", Pure(same), One),
    ("int64_to_duration", "duration(int)->duration", Pure(to_duration), One),
    ("string_to_duration", "duration(string)->duration", Pure(to_duration), One),
    ("int64_to_int64", "int(int)->int", Pure(same), One),
    ("double_to_int64", "int(double)->int", Pure(to_int), One),
    ("duration_to_int64", "int(duration)->int", Pure(to_int), One),
    ("string_to_int64", "int(string)->int", Pure(to_int), One),
    ("timestamp_to_int64", "int(timestamp)->int", Pure(to_int), One),
    ("uint64_to_int64", "int(uint)->int", Pure(to_int), One),
    ("string_to_string", "string(string)->string", Pure(same), One),
    ("bool_to_string", "string(bool)->string", Pure(to_string), One),
    ("bytes_to_string", "string(bytes)->string", Pure(to_string), Decode),
    ("double_to_string", "string(double)->string", Pure(to_string), One),
    ("duration_to_string", "string(duration)->string", Pure(to_string), One),
    ("int64_to_string", "string(int)->string", Pure(to_string), One),
    ("timestamp_to_string", "string(timestamp)->string", Pure(to_string), One),
    ("uint64_to_string", "string(uint)->string", Pure(to_string), One),
    ("timestamp_to_timestamp", "timestamp(timestamp)->timestamp", Pure(same), One),
    ("int64_to_timestamp", "timestamp(int)->timestamp", Pure(to_timestamp), One),
    ("string_to_timestamp", "timestamp(string)->timestamp", Pure(to_timestamp), One),
    ("uint64_to_uint64", "uint(uint)->uint", Pure(same), One),
    ("double_to_uint64", "uint(double)->uint", Pure(to_uint), One),
    ("int64_to_uint64", "uint(int)->uint", Pure(to_uint), One),
    ("string_to_uint64", "uint(string)->uint", Pure(to_uint), One),
];

fn cannot(value: &Value<'_>, to: &str) -> EvalError {
    let from = value.type_name();
    EvalError::new(format!("type conversion error from '{from}' to '{to}'"))
}

fn same<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    args.first().cloned().ok_or_else(EvalError::no_such_overload)
}

fn size<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(number(match &args[0] {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return Err(EvalError::no_such_overload()),
    }))
}

fn type_of<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let name = args[0].type_name();
    Ok(Value::Type(Text::from(name.to_owned())))
}

fn to_bool<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match &**text(args, 0)? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
        _ => Err(cannot(&args[0], "bool")),
    }
}

fn to_bytes<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bytes(text(args, 0)?.as_bytes().into()))
}

#[expect(clippy::cast_precision_loss, reason = "that is what the conversion means")]
fn to_double<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Double(match &args[0] {
        Value::Int(number) => *number as f64,
        Value::Uint(number) => *number as f64,
        Value::String(text) => read_double(text).ok_or_else(|| cannot(&args[0], "double"))?,
        other => return Err(cannot(other, "double")),
    }))
}

/// Numbers as Go reads them: `inf` and `NaN` are some, and so is `1_000` not.
fn read_double(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let unsigned = lower.trim_start_matches(['+', '-']);
    let plain = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !plain && !matches!(unsigned, "inf" | "infinity" | "nan") {
        return None;
    }
    lower.parse().ok()
}

fn to_duration<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let found = match &args[0] {
        Value::Int(nanos) => Some(Duration(*nanos)),
        Value::String(text) => Duration::parse(text),
        _ => None,
    };
    found.map(Value::Duration).ok_or_else(|| cannot(&args[0], "google.protobuf.Duration"))
}

fn to_timestamp<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let found = match &args[0] {
        Value::Int(seconds) => Timestamp::new(*seconds, 0),
        Value::String(text) => Timestamp::parse(text),
        _ => None,
    };
    found.map(Value::Timestamp).ok_or_else(|| cannot(&args[0], "google.protobuf.Timestamp"))
}

fn to_int<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let overflow = || EvalError::new("integer overflow");
    Ok(Value::Int(match &args[0] {
        Value::Double(number) => {
            whole(number.trunc()).filter(|found| *found != i64::MIN).ok_or_else(overflow)?
        }
        Value::Duration(span) => span.0,
        Value::Timestamp(time) => time.seconds(),
        Value::Uint(number) => i64::try_from(*number).map_err(|_| overflow())?,
        Value::String(text) => text.parse().map_err(|_| cannot(&args[0], "int"))?,
        other => return Err(cannot(other, "int")),
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before"
)]
fn to_uint<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let overflow = || EvalError::new("unsigned integer overflow");
    Ok(Value::Uint(match &args[0] {
        Value::Double(number) if (0.0..18_446_744_073_709_551_616.0).contains(number) => {
            *number as u64
        }
        Value::Double(_) => return Err(overflow()),
        Value::Int(number) => u64::try_from(*number).map_err(|_| overflow())?,
        Value::String(text) => text.parse().map_err(|_| cannot(&args[0], "uint"))?,
        other => return Err(cannot(other, "uint")),
    }))
}

fn to_string<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    if let Value::Bytes(bytes) = &args[0] {
        let text = std::str::from_utf8(bytes);
        let text =
            text.map_err(|_| EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))?;
        return Ok(Value::text(text.to_owned()));
    }
    Ok(Value::text(display(&args[0])))
}

/// A value as `string()` writes it and errors show it.
pub(crate) fn display(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => double(*number),
        Value::String(text) | Value::Type(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Duration(span) => span.to_string(),
        Value::Timestamp(time) => time.to_string(),
        Value::List(_)
        | Value::Map(_)
        | Value::Object(_)
        | Value::Optional(_)
        | Value::Opaque(_) => value.type_name().to_owned(),
    }
}

/// The shortest text that reads as the same number; with an exponent when it is very large or small.
pub(super) fn double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{number}")
}
