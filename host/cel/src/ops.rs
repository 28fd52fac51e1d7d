//! Operators on values.
//!
//! Owns equality across types, ordering, arithmetic with its overflows, and access by index. Must not know
//! of expressions and costs.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::declared::ListKind;
use crate::error::EvalError;
use crate::eval::{ELEMENTS_MAX, TEXT_BYTES_MAX};
use crate::plan::Binary;
use crate::time::Duration;
use crate::value::{Key, List, Map, Object, Opaque, Value};

type Result<T> = std::result::Result<T, EvalError>;

/// How many parts of values are compared for one unit of cost.
pub(crate) const STEPS_PER_UNIT: u64 = 16;
/// More parts than an evaluation can pay for.
const STEPS_MAX: u64 = STEPS_PER_UNIT * crate::budget::PER_CALL_LIMIT;

/// Whether two values are equal; values of different types are not, except for numbers. Counts the parts
/// that were looked at.
pub(crate) fn equal(left: &Value<'_>, right: &Value<'_>, steps: &mut u64) -> Result<bool> {
    *steps += 1;
    if *steps > STEPS_MAX {
        return Err(EvalError::CostLimit);
    }
    Ok(match (left, right) {
        (Value::Null, Value::Null) | (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::String(left), Value::String(right)) | (Value::Type(left), Value::Type(right)) => {
            **left == **right
        }
        (Value::Bytes(left), Value::Bytes(right)) => left == right,
        (Value::Duration(left), Value::Duration(right)) => left == right,
        (Value::Timestamp(left), Value::Timestamp(right)) => left == right,
        (Value::List(left), Value::List(right)) => return lists(left, right, steps),
        (Value::Map(left), Value::Map(right)) => return maps(left, right, steps),
        (Value::Object(left), Value::Object(right)) => return objects(left, right, steps),
        (Value::Optional(Some(left)), Value::Optional(Some(right))) => {
            return equal(left, right, steps);
        }
        (Value::Opaque(left), Value::Opaque(right)) => opaques(left, right),
        _ => numbers(left, right) == Some(Ordering::Equal),
    })
}

fn lists(left: &List<'_>, right: &List<'_>, steps: &mut u64) -> Result<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    let kind = match left.kind() {
        ListKind::Atomic => right.kind(),
        kind => kind,
    };
    if *kind != ListKind::Atomic {
        return unordered(left, right, kind, steps);
    }
    if let (List::Built(left), List::Built(right)) = (left, right) {
        return all_equal(left.iter().zip(right.iter()), steps);
    }
    for (left, right) in left.iter().zip(right.iter()) {
        if !equal(&left, &right, steps)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn all_equal<'v, 'a: 'v, 'b: 'v>(
    mut pairs: impl Iterator<Item = (&'v Value<'a>, &'v Value<'b>)>,
    steps: &mut u64,
) -> Result<bool> {
    pairs.try_fold(true, |so_far, (left, right)| Ok(so_far && equal(left, right, steps)?))
}

/// What tells an element of a set, or of a list with keys, from the others.
type Identity<'a> = Vec<Option<Key<'a>>>;

fn identity<'a>(kind: &ListKind, element: &Value<'a>) -> Identity<'a> {
    match kind {
        ListKind::Atomic => Vec::new(),
        ListKind::Set => vec![element.key()],
        ListKind::Map(keys) => {
            keys.iter().map(|key| property(element, key).and_then(|value| value.key())).collect()
        }
    }
}

/// Sets, and lists whose elements have keys: each element has its equal on the other side, in any order.
fn unordered(left: &List<'_>, right: &List<'_>, kind: &ListKind, steps: &mut u64) -> Result<bool> {
    let mut present: BTreeMap<Identity<'_>, Value<'_>> =
        left.iter().map(|element| (identity(kind, &element), element)).collect();
    for element in right.iter() {
        *steps += 1;
        let Some(found) = present.remove(&identity(kind, &element)) else { return Ok(false) };
        if !equal(&found, &element, steps)? {
            return Ok(false);
        }
    }
    Ok(present.is_empty())
}

fn maps(left: &Map<'_>, right: &Map<'_>, steps: &mut u64) -> Result<bool> {
    if left.len() != right.len() {
        return Ok(false);
    }
    if let (Map::Built(left), Map::Built(right)) = (left, right) {
        return Ok(
            left.keys().eq(right.keys()) && all_equal(left.values().zip(right.values()), steps)?
        );
    }
    for ((key, left), (key2, right)) in left.entries().zip(right.entries()) {
        if key != key2 || !equal(&left, &right, steps)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn objects(left: &Object<'_>, right: &Object<'_>, steps: &mut u64) -> Result<bool> {
    let (mut known, mut known2) = (left.fields(), right.fields());
    if known.len() != known2.len() {
        return Ok(false);
    }
    known.sort_by_key(|(name, _)| *name);
    known2.sort_by_key(|(name, _)| *name);
    if let (Object::Json { properties, .. }, Object::Json { properties: others, .. }) =
        (left, right)
        && (properties.len() > known.len() || others.len() > known.len())
    {
        // What is not declared is compared as JSON.
        let unknown = properties.iter().filter(|(name, _)| {
            known.binary_search_by_key(&name.as_str(), |(name, _)| *name).is_err()
        });
        *steps += properties.len() as u64;
        if properties.len() != others.len()
            || !unknown.into_iter().all(|(name, value)| others.get(name) == Some(value))
        {
            return Ok(false);
        }
    }
    for ((name, left), (name2, right)) in known.iter().zip(&known2) {
        if name != name2 || !equal(left, right, steps)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn opaques(left: &Opaque, right: &Opaque) -> bool {
    match (left, right) {
        (Opaque::Quantity(left), Opaque::Quantity(right)) => left.cmp(right) == Ordering::Equal,
        (Opaque::Url(left), Opaque::Url(right)) => left == right,
        (Opaque::Ip(left), Opaque::Ip(right)) => left == right,
        (Opaque::Cidr(left), Opaque::Cidr(right)) => left == right,
        (Opaque::Semver(left), Opaque::Semver(right)) => left.cmp(right) == Ordering::Equal,
        (Opaque::Format(left), Opaque::Format(right)) => left.name == right.name,
        (Opaque::Authorization(left), Opaque::Authorization(right)) => left == right,
        _ => false,
    }
}

/// How two numbers of any types compare; `None` for what is no number, and for NaN.
pub(crate) fn numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Uint(left), Value::Uint(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Uint(right)) => Some(i128::from(*left).cmp(&i128::from(*right))),
        (Value::Uint(left), Value::Int(right)) => Some(i128::from(*left).cmp(&i128::from(*right))),
        (Value::Int(left), Value::Double(right)) => whole_and_double(i128::from(*left), *right),
        (Value::Uint(left), Value::Double(right)) => whole_and_double(i128::from(*left), *right),
        (Value::Double(left), Value::Int(right)) => {
            whole_and_double(i128::from(*right), *left).map(Ordering::reverse)
        }
        (Value::Double(left), Value::Uint(right)) => {
            whole_and_double(i128::from(*right), *left).map(Ordering::reverse)
        }
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a cast saturates, far outside of both types")]
fn whole_and_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    let floor = double.floor();
    let order = whole.cmp(&(floor as i128));
    Some(if order == Ordering::Equal && double > floor { Ordering::Less } else { order })
}

/// How two values compare, when their types have an order.
pub(crate) fn compare(left: &Value<'_>, right: &Value<'_>) -> Result<Option<Ordering>> {
    Ok(match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Some((**left).cmp(&**right)),
        (Value::Bytes(left), Value::Bytes(right)) => Some(left.cmp(right)),
        (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        (Value::Timestamp(left), Value::Timestamp(right)) => Some(left.cmp(right)),
        (
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
            Value::Int(_) | Value::Uint(_) | Value::Double(_),
        ) => numbers(left, right),
        _ => return Err(EvalError::no_such_overload()),
    })
}

pub(crate) fn ordered<'a>(
    operator: Binary,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<Value<'a>> {
    let Some(order) = compare(left, right)? else {
        return Err(EvalError::new("NaN values cannot be ordered"));
    };
    Ok(Value::Bool(match operator {
        Binary::Less => order.is_lt(),
        Binary::LessEqual => order.is_le(),
        Binary::Greater => order.is_gt(),
        _ => order.is_ge(),
    }))
}

pub(crate) fn negate<'a>(operand: &Value<'a>) -> Result<Value<'a>> {
    match operand {
        Value::Int(number) => number.checked_neg().map(Value::Int).ok_or_else(overflow),
        Value::Double(number) => Ok(Value::Double(-number)),
        other => Err(EvalError::new(format!("no such overload: -_({})", other.type_name()))),
    }
}

fn overflow() -> EvalError {
    EvalError::new("integer overflow")
}

fn unsigned_overflow() -> EvalError {
    EvalError::new("unsigned integer overflow")
}

pub(crate) fn arithmetic<'a>(
    operator: Binary,
    left: &Value<'a>,
    right: &Value<'a>,
) -> Result<Value<'a>> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => ints(operator, *left, *right),
        (Value::Uint(left), Value::Uint(right)) => uints(operator, *left, *right),
        (Value::Double(left), Value::Double(right)) => doubles(operator, *left, *right),
        _ => match operator {
            Binary::Add => add(left, right),
            Binary::Subtract => subtract(left, right),
            _ => Err(EvalError::no_such_overload()),
        },
    }
}

fn zero(operator: Binary) -> EvalError {
    EvalError::new(if operator == Binary::Divide { "division by zero" } else { "modulus by zero" })
}

fn ints<'a>(operator: Binary, left: i64, right: i64) -> Result<Value<'a>> {
    let result = match operator {
        Binary::Add => left.checked_add(right),
        Binary::Subtract => left.checked_sub(right),
        Binary::Multiply => left.checked_mul(right),
        Binary::Divide | Binary::Modulo if right == 0 => return Err(zero(operator)),
        Binary::Divide => left.checked_div(right),
        _ => left.checked_rem(right),
    };
    result.map(Value::Int).ok_or_else(overflow)
}

fn uints<'a>(operator: Binary, left: u64, right: u64) -> Result<Value<'a>> {
    let result = match operator {
        Binary::Add => left.checked_add(right),
        Binary::Subtract => left.checked_sub(right),
        Binary::Multiply => left.checked_mul(right),
        Binary::Divide | Binary::Modulo if right == 0 => return Err(zero(operator)),
        Binary::Divide => left.checked_div(right),
        _ => left.checked_rem(right),
    };
    result.map(Value::Uint).ok_or_else(unsigned_overflow)
}

fn doubles<'a>(operator: Binary, left: f64, right: f64) -> Result<Value<'a>> {
    Ok(Value::Double(match operator {
        Binary::Add => left + right,
        Binary::Subtract => left - right,
        Binary::Multiply => left * right,
        Binary::Divide => left / right,
        _ => return Err(EvalError::no_such_overload()),
    }))
}

fn add<'a>(left: &Value<'a>, right: &Value<'a>) -> Result<Value<'a>> {
    let late = || EvalError::new("timestamp overflow");
    match (left, right) {
        (Value::String(left), Value::String(right)) => {
            if left.len() + right.len() > TEXT_BYTES_MAX {
                return Err(EvalError::CostLimit);
            }
            Ok(Value::text([&**left, &**right].concat()))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            if left.len() + right.len() > TEXT_BYTES_MAX {
                return Err(EvalError::CostLimit);
            }
            Ok(Value::Bytes([&**left, &**right].concat().into()))
        }
        (Value::List(left), Value::List(right)) => joined(left, right),
        (Value::Duration(left), Value::Duration(right)) => left
            .0
            .checked_add(right.0)
            .map(|sum| Value::Duration(Duration(sum)))
            .ok_or_else(overflow),
        (Value::Timestamp(time), Value::Duration(span))
        | (Value::Duration(span), Value::Timestamp(time)) => {
            time.later(*span).map(Value::Timestamp).ok_or_else(late)
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

/// One list after another. What is declared as a set takes what it has not, and what has keys is merged by
/// them.
fn joined<'a>(left: &List<'a>, right: &List<'a>) -> Result<Value<'a>> {
    if left.len() + right.len() > ELEMENTS_MAX {
        return Err(EvalError::CostLimit);
    }
    let kind = left.kind();
    let mut all: Vec<Value<'a>> = left.iter().collect();
    if *kind == ListKind::Atomic {
        all.extend(right.iter());
        return Ok(Value::list(all));
    }
    let mut places: BTreeMap<Identity<'a>, usize> =
        all.iter().enumerate().map(|(place, element)| (identity(kind, element), place)).collect();
    for element in right.iter() {
        match places.entry(identity(kind, &element)) {
            Entry::Occupied(place) => all[*place.get()] = element,
            Entry::Vacant(place) => {
                place.insert(all.len());
                all.push(element);
            }
        }
    }
    Ok(Value::list(all))
}

fn property<'a>(value: &Value<'a>, name: &str) -> Option<Value<'a>> {
    match value {
        Value::Object(object) => object.get(name),
        Value::Map(map) => map.get_text(name),
        _ => None,
    }
}

fn subtract<'a>(left: &Value<'a>, right: &Value<'a>) -> Result<Value<'a>> {
    match (left, right) {
        (Value::Duration(left), Value::Duration(right)) => left
            .0
            .checked_sub(right.0)
            .map(|span| Value::Duration(Duration(span)))
            .ok_or_else(overflow),
        (Value::Timestamp(time), Value::Duration(span)) => {
            let earlier = time.earlier(*span).map(Value::Timestamp);
            earlier.ok_or_else(|| EvalError::new("timestamp overflow"))
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => {
            left.since(*right).map(Value::Duration).ok_or_else(overflow)
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

/// The element at an index, or the value of a key.
pub(crate) fn index<'a>(range: &Value<'a>, index: &Value<'a>) -> Result<Value<'a>> {
    match range {
        Value::List(list) => {
            let place = match index {
                Value::Int(number) => Some(*number),
                Value::Uint(number) => Some(i64::try_from(*number).unwrap_or(i64::MAX)),
                Value::Double(number) => crate::json::whole(*number),
                _ => None,
            };
            let Some(place) = place else {
                let name = index.type_name();
                return Err(EvalError::new(format!("unsupported index type '{name}' in list")));
            };
            let found = usize::try_from(place).ok().and_then(|place| list.get(place));
            found.ok_or_else(|| EvalError::new(format!("index out of bounds: {place}")))
        }
        Value::Map(map) => {
            let found = index.key().and_then(|key| map.get(&key));
            found.ok_or_else(|| EvalError::no_such_key(&crate::library::display(index)))
        }
        Value::Object(object) => {
            let found = index.as_str().and_then(|field| object.get(field));
            found.ok_or_else(|| EvalError::no_such_key(&crate::library::display(index)))
        }
        _ => Err(EvalError::no_such_overload()),
    }
}
