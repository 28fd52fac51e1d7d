//! Amounts, as `1500m` or `2Gi`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Result, text};
use crate::error::EvalError;
use crate::signature::Cost::{One, Traverse};
use crate::signature::Row;
use crate::signature::Run::Pure;
use crate::value::{Opaque, Value};

pub(super) const ROWS: &[Row] = &[
    ("string_to_quantity", "quantity(string)->quantity", Pure(to_quantity), Traverse(0)),
    ("is_quantity_string", "isQuantity(string)->bool", Pure(is_quantity), Traverse(0)),
    ("quantity_sign", "sign(quantity)->int", Pure(sign), One),
    ("quantity_is_greater_than", "quantity::isGreaterThan(quantity)->bool", Pure(is_greater), One),
    ("quantity_is_less_than", "quantity::isLessThan(quantity)->bool", Pure(is_less), One),
    ("quantity_compare_to", "quantity::compareTo(quantity)->int", Pure(compare_to), One),
    ("quantity_get_float", "quantity::asApproximateFloat()->double", Pure(as_float), One),
    ("quantity_get_int", "quantity::asInteger()->int", Pure(as_integer), One),
    ("quantity_is_integer", "quantity::isInteger()->bool", Pure(is_integer), One),
    ("quantity_add", "quantity::add(quantity)->quantity", Pure(add), One),
    ("quantity_add_int", "quantity::add(int)->quantity", Pure(add), One),
    ("quantity_sub", "quantity::sub(quantity)->quantity", Pure(sub), One),
    ("quantity_sub_int", "quantity::sub(int)->quantity", Pure(sub), One),
];

/// An amount in billionths, which is as fine as amounts get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nanos: i128,
}

const NANO: i128 = 1_000_000_000;
/// More digits than any amount that fits.
const DIGITS_MAX: usize = 60;

impl Quantity {
    /// Reads an amount: a number with a decimal or binary suffix or an exponent. What is finer than a
    /// billionth is rounded up; what is larger than 10^29 is that.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let (factor, exponent) = scale(suffix)?;
        let digits: String = whole.chars().chain(fraction.chars()).collect();
        let digits = digits.trim_start_matches('0');
        let shift = exponent - i32::try_from(fraction.len()).ok()? + 9;
        let nanos = scaled(digits, factor, shift);
        Some(Self { nanos: if negative { -nanos } else { nanos } })
    }

    /// A whole number.
    pub fn whole(number: i64) -> Self {
        Self { nanos: i128::from(number) * NANO }
    }

    fn as_whole(self) -> Option<i64> {
        (self.nanos % NANO == 0).then(|| i64::try_from(self.nanos / NANO).ok()).flatten()
    }
}

/// What a suffix multiplies by, and the power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.trim_start_matches(['+', '-']);
            let one_sign = exponent.len() - digits.len() <= 1;
            if digits.is_empty() || !one_sign || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (1, exponent.parse::<i32>().unwrap_or(i32::MAX).clamp(-1000, 1000))
        }
    })
}

/// Digits times a factor times a power of ten, rounded up.
fn scaled(digits: &str, factor: i128, shift: i32) -> i128 {
    if digits.is_empty() {
        return 0;
    }
    let length = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if length.saturating_add(shift) > 38 {
        return i128::MAX;
    }
    // Digits far behind the last place that counts only make it round up.
    let kept = digits.len().min(DIGITS_MAX).min(30);
    let dropped = i32::try_from(digits.len() - kept).unwrap_or(i32::MAX);
    let inexact = digits[kept..].bytes().any(|digit| digit != b'0');
    let number: i128 = digits[..kept].parse().unwrap_or(i128::MAX);
    let number = number.saturating_mul(factor);
    let shift = shift.saturating_add(dropped);
    if shift >= 0 {
        let power = 10_i128.checked_pow(shift.unsigned_abs()).unwrap_or(i128::MAX);
        return number.saturating_mul(power).saturating_add(i128::from(inexact));
    }
    let Some(power) = 10_i128.checked_pow(shift.unsigned_abs()) else { return 1 };
    let up = number % power != 0 || inexact;
    number / power + i128::from(up)
}

fn quantity(args: &[Value<'_>], place: usize) -> Result<Quantity> {
    match args.get(place) {
        Some(Value::Opaque(Opaque::Quantity(amount))) => Ok(**amount),
        Some(Value::Int(number)) => Ok(Quantity::whole(*number)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn value<'a>(nanos: i128) -> Value<'a> {
    Value::Opaque(Opaque::Quantity(Arc::new(Quantity { nanos })))
}

fn to_quantity<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let text = text(args, 0)?;
    let amount = Quantity::parse(text).ok_or_else(|| EvalError::new(problem(text)))?;
    Ok(value(amount.nanos))
}

/// Whether it is the suffix that no amount has, or no amount looks so.
fn problem(text: &str) -> &'static str {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let suffix = unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = &unsigned[..unsigned.len() - suffix.len()];
    let exponent = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let looks_right = !number.is_empty()
        && number.matches('.').count() < 2
        && exponent.bytes().all(|byte| byte.is_ascii_digit());
    if looks_right {
        return "unable to parse quantity's suffix";
    }
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
}

fn is_quantity<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(Quantity::parse(text(args, 0)?).is_some()))
}

fn order<'a>(order: Ordering) -> Value<'a> {
    Value::Int(match order {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    })
}

fn sign<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(order(quantity(args, 0)?.nanos.cmp(&0)))
}

fn is_greater<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(quantity(args, 0)? > quantity(args, 1)?))
}

fn is_less<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(quantity(args, 0)? < quantity(args, 1)?))
}

fn compare_to<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(order(quantity(args, 0)?.cmp(&quantity(args, 1)?)))
}

#[expect(clippy::cast_precision_loss, reason = "the number is approximate by its name")]
fn as_float<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let nanos = quantity(args, 0)?.nanos;
    Ok(Value::Double((nanos / NANO) as f64 + (nanos % NANO) as f64 / NANO as f64))
}

fn as_integer<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let whole = quantity(args, 0)?.as_whole();
    whole.map(Value::Int).ok_or_else(|| EvalError::new("cannot convert value to integer"))
}

fn is_integer<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(quantity(args, 0)?.as_whole().is_some()))
}

fn add<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(value(quantity(args, 0)?.nanos.saturating_add(quantity(args, 1)?.nanos)))
}

fn sub<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(value(quantity(args, 0)?.nanos.saturating_sub(quantity(args, 1)?.nanos)))
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn amounts_are_the_same_in_all_their_forms() {
        let same = [
            ("1Ki", "1024"),
            ("0.5", "500m"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("2E", "2000P"),
            ("1.5Gi", "1536Mi"),
            (".5", "0.5"),
            ("+1", "1"),
            ("0.0000000001", "1n"),
        ];
        for (left, right) in same {
            assert_eq!(Quantity::parse(left), Quantity::parse(right), "{left} {right}");
            assert!(Quantity::parse(left).is_some());
        }
        for text in ["", "Ki", "1.2.3", "1K", "1e", "1 ", "--1", "1ki", "."] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
        assert!(Quantity::parse("-1") < Quantity::parse("0"));
        assert!(Quantity::parse(&"9".repeat(500)) > Quantity::parse("1E"));
    }
}
