//! Values that may be absent.

use super::Result;
use crate::error::EvalError;
use crate::signature::Cost::One;
use crate::signature::Row;
use crate::signature::Run::Pure;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("optional_of", "optional.of(A)->optional<A>", Pure(of), One),
    ("optional_ofNonZeroValue", "optional.ofNonZeroValue(A)->optional<A>", Pure(of_non_zero), One),
    ("optional_none", "optional.none()->optional<A>", Pure(none), One),
    ("optional_value", "optional<A>::value()->A", Pure(value), One),
    ("optional_hasValue", "optional<A>::hasValue()->bool", Pure(has_value), One),
    ("optional_or_optional", "optional<A>::or(optional<A>)->optional<A>", Pure(or), One),
    ("optional_orValue_value", "optional<A>::orValue(A)->A", Pure(or_value), One),
    ("optional_unwrap", "optional.unwrap(list<optional<A>>)->list<A>", Pure(unwrap), One),
    ("optional_unwrapOpt", "list<optional<A>>::unwrapOpt()->list<A>", Pure(unwrap), One),
];

fn of<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::some(args[0].clone()))
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(flag) => !flag,
        Value::Int(number) => *number == 0,
        Value::Uint(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Duration(span) => span.0 == 0,
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Object(object) => object.fields().is_empty(),
        Value::Timestamp(_) | Value::Optional(Some(_)) | Value::Type(_) | Value::Opaque(_) => false,
    }
}

fn of_non_zero<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(if is_zero(&args[0]) { Value::Optional(None) } else { Value::some(args[0].clone()) })
}

fn none<'a>(_: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Optional(None))
}

fn inner<'v, 'a>(args: &'v [Value<'a>]) -> Result<Option<&'v Value<'a>>> {
    match args.first() {
        Some(Value::Optional(inner)) => Ok(inner.as_deref()),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn value<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    inner(args)?.cloned().ok_or_else(|| EvalError::new("optional.none() dereference"))
}

fn has_value<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(inner(args)?.is_some()))
}

fn or<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(if inner(args)?.is_some() { args[0].clone() } else { args[1].clone() })
}

fn or_value<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(inner(args)?.unwrap_or(&args[1]).clone())
}

fn unwrap<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let mut values = Vec::new();
    for item in super::list(args, 0)?.iter() {
        match item {
            Value::Optional(inner) => values.extend(inner.map(|inner| (*inner).clone())),
            _ => return Err(EvalError::no_such_overload()),
        }
    }
    Ok(Value::list(values))
}
