//! What each step of an evaluation costs, by the rules of Kubernetes.
//!
//! Owns the numbers at run time; estimates before are in `cost`. Must not know of evaluation order.

use crate::ast::FoldKind;
use crate::signature::Cost;
use crate::value::{Opaque, Value};

/// Building a list.
pub(crate) const LIST: u64 = 10;
/// Building a map.
pub(crate) const MAP: u64 = 30;
/// Building an object.
pub(crate) const OBJECT: u64 = 40;
/// A question to the authorizer: two of them fit into one evaluation.
pub(crate) const CHECK: u64 = 350_000;
/// Going over one character of a text.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// One character of a pattern, for each character of the text.
pub(crate) const PATTERN: f64 = 0.25;
/// The most parts of a value that are counted to see what going over all of it costs.
const PARTS_MAX: u64 = 1_000_000;

/// A size times a factor, rounded up.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "costs are rounded, and a cast from a float saturates"
)]
pub(crate) fn scaled(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// The size of a value as costs count it.
pub(crate) fn size(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => text.chars().count() as u64,
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::List(list) => list.len() as u64,
        Value::Map(map) => map.len() as u64,
        Value::Object(object) => object.fields().len() as u64,
        Value::Optional(Some(value)) => size(value),
        Value::Opaque(Opaque::Ip(address)) => {
            if address.is_ipv4() {
                4
            } else {
                16
            }
        }
        Value::Opaque(Opaque::Cidr(range)) => range.bytes(),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Duration(_)
        | Value::Timestamp(_)
        | Value::Optional(None)
        | Value::Type(_)
        | Value::Opaque(_) => 1,
    }
}

pub(crate) fn equality(left: &Value<'_>, right: &Value<'_>) -> u64 {
    match (left, right) {
        // The length in bytes is at hand, the one in characters is not: equal for what is short.
        (Value::String(left), Value::String(right)) if left.len().min(right.len()) <= 10 => {
            u64::from(!left.is_empty() && !right.is_empty())
        }
        (Value::Opaque(_), _) => 1,
        _ => scaled(size(left).min(size(right)), TRAVERSAL),
    }
}

pub(crate) fn ordering(left: &Value<'_>, right: &Value<'_>) -> u64 {
    match left {
        Value::String(_) | Value::Bytes(_) => scaled(size(left).min(size(right)), TRAVERSAL),
        _ => 1,
    }
}

pub(crate) fn addition(left: &Value<'_>, right: &Value<'_>) -> u64 {
    match (left, right) {
        (Value::String(_), Value::String(_)) | (Value::Bytes(_), Value::Bytes(_)) => {
            scaled(size(left) + size(right), TRAVERSAL)
        }
        // Long lists are copied here, so that costs more than it does where they are not.
        (Value::List(left), Value::List(right)) => 1 + (left.len() + right.len()) as u64 / 64,
        _ => 1,
    }
}

/// Before the first turn and after the last.
pub(crate) fn fold_start(kind: FoldKind) -> u64 {
    match kind {
        FoldKind::All | FoldKind::Exists | FoldKind::List | FoldKind::Map | FoldKind::MapEntry => 1,
        FoldKind::ExistsOne => 2,
    }
}

/// Looking whether a loop is decided.
pub(crate) fn fold_condition(kind: FoldKind) -> u64 {
    match kind {
        FoldKind::All => 2,
        FoldKind::Exists => 3,
        FoldKind::ExistsOne | FoldKind::List | FoldKind::Map | FoldKind::MapEntry => 0,
    }
}

/// Each turn, beside what the macro's own expressions cost.
pub(crate) fn fold_step(kind: FoldKind) -> u64 {
    match kind {
        FoldKind::All | FoldKind::Map => 3,
        FoldKind::Exists => 4,
        FoldKind::ExistsOne => 1,
        FoldKind::List => LIST + 2,
        FoldKind::MapEntry => 2,
    }
}

/// A call, before it is made.
pub(crate) fn before(cost: Cost, args: &[Value<'_>]) -> u64 {
    let of = |place: usize| args.get(place).map_or(1, size);
    match cost {
        Cost::One | Cost::AddList => 1,
        Cost::Traverse(place) => scaled(of(place), TRAVERSAL),
        Cost::Affix | Cost::Quote | Cost::Encode | Cost::Decode => scaled(of(0), TRAVERSAL),
        Cost::Twice(place) => scaled(of(place), 2.0 * TRAVERSAL),
        Cost::Replace | Cost::Split => scaled(of(0), 2.0 * TRAVERSAL),
        Cost::Product => scaled(of(0), TRAVERSAL).saturating_mul(scaled(of(1), TRAVERSAL)),
        Cost::Regex | Cost::Find => {
            scaled(of(0) + 1, TRAVERSAL).saturating_mul(scaled(of(1), PATTERN))
        }
        Cost::Validate => {
            let pattern = match args.first() {
                Some(Value::Opaque(Opaque::Format(format))) => format.pattern_max,
                _ => 1,
            };
            scaled(of(1) + 1, TRAVERSAL).saturating_mul(scaled(pattern, PATTERN))
        }
        Cost::Elements => {
            let mut left = PARTS_MAX;
            args.first().map_or(1, |value| traversal(value, &mut left))
        }
        Cost::In => of(1),
        Cost::Smaller => scaled(of(0).min(of(1)), TRAVERSAL),
        Cost::Concat => scaled(of(0).saturating_add(of(1)), TRAVERSAL),
        Cost::Join => 0,
        Cost::Check => CHECK,
        Cost::Selector => selector(of(1)),
        Cost::Contains { range, text } => {
            let compared = scaled(of(0) * 2, TRAVERSAL);
            let masked = if range { scaled(of(0), TRAVERSAL) + 1 } else { 0 };
            let parsed = if text { scaled(of(1), TRAVERSAL) } else { 0 };
            compared + masked + parsed
        }
        Cost::Sets(factor) => scaled(of(0).saturating_mul(of(1)), factor) + 1,
        Cost::Slice | Cost::Range => LIST + 1,
        Cost::Reverse => of(0) + LIST + 1,
        Cost::Flatten => {
            let depth = match args.get(1) {
                Some(Value::Int(depth)) => u64::try_from(*depth).unwrap_or(0),
                _ => 1,
            };
            of(0).saturating_mul(depth).saturating_add(LIST + 1)
        }
        Cost::SelfCompare(place) => {
            let text = match args.get(place) {
                Some(Value::List(list)) => {
                    matches!(list.get(0), Some(Value::String(_) | Value::Bytes(_)))
                }
                _ => false,
            };
            let factor = if text { 2.0 + TRAVERSAL } else { 2.0 };
            scaled(of(place).saturating_mul(of(place)), factor).saturating_add(LIST + 1)
        }
    }
}

/// Going over very long texts, which no function does for nothing; of what people write it is nothing.
pub(crate) fn long_texts(args: &[Value<'_>]) -> u64 {
    let length = |value: &Value<'_>| match value {
        Value::String(text) => text.len() as u64 / 1000,
        Value::Bytes(bytes) => bytes.len() as u64 / 1000,
        _ => 0,
    };
    args.iter().map(length).sum()
}

/// Compiling a pattern that is no literal.
pub(crate) fn pattern(text: &str) -> u64 {
    256 + 8 * text.len() as u64
}

/// A call, when its result is there.
pub(crate) fn after(cost: Cost, args: &[Value<'_>], result: &Value<'_>) -> u64 {
    match cost {
        // What Kubernetes takes from the arguments alone, though the result can be much larger.
        Cost::Replace | Cost::Quote => {
            let paid = args.iter().map(size).fold(1000, u64::saturating_add);
            scaled(size(result).saturating_sub(paid), TRAVERSAL)
        }
        Cost::Flatten => size(result) / 16,
        Cost::Join => scaled(size(result), 2.0 * TRAVERSAL),
        Cost::Slice | Cost::Range => size(result),
        _ => 0,
    }
}

/// Parsing a selector of so many characters.
pub(crate) fn selector(length: u64) -> u64 {
    let requirements = scaled(length, 0.5);
    LIST + scaled(length, TRAVERSAL) + requirements.saturating_mul(LIST + OBJECT)
}

/// Going over everything in a value.
fn traversal(value: &Value<'_>, left: &mut u64) -> u64 {
    *left = left.saturating_sub(1);
    if *left == 0 {
        return PARTS_MAX;
    }
    match value {
        Value::String(text) => (text.len() as u64) / 10,
        Value::Bytes(bytes) => (bytes.len() as u64) / 10,
        Value::List(list) => {
            list.iter().fold(0, |sum: u64, item| sum.saturating_add(traversal(&item, left)))
        }
        Value::Map(map) => map.entries().fold(0, |sum: u64, (key, value)| {
            let key = traversal(&key.value(), left);
            sum.saturating_add(key).saturating_add(traversal(&value, left))
        }),
        _ => 1,
    }
}
