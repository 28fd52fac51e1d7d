//! Quantities of resources (`100m`, `1.5Gi`, `1e3`) and values that are an integer or a percentage.
//!
//! A quantity is kept as a whole number of nanounits, which is exact: Kubernetes rounds smaller parts up and caps
//! larger ones. [`Quantity`] prints in the canonical form that kube-apiserver stores.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// The largest quantity: 2^63 - 1 units.
const NANOS_MAX: i128 = i64::MAX as i128 * NANOS_PER_UNIT;
/// The most characters that are read; a longer text is no quantity that anybody means.
const LENGTH_MAX: usize = 256;

/// A text that is no quantity; the messages are those of kube-apiserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text has another form.
    #[error(
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Form,
    /// The number cannot be read.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// Which suffixes a quantity is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// An amount of a resource; compared by amount, whatever the suffix.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

impl Quantity {
    /// Reads a quantity such as `100m`, `1.5Gi` or `1e3`.
    ///
    /// # Errors
    /// When the text has another form or an unknown suffix.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (sign, body) = match text.as_bytes().first() {
            None => return Err(QuantityError::Form),
            Some(b'-') => (-1, text.get(1..).unwrap_or_default()),
            Some(b'+') => (1, text.get(1..).unwrap_or_default()),
            Some(_) => (1, text),
        };
        if text.len() > LENGTH_MAX {
            return Err(QuantityError::Form);
        }
        let end = body.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(body.len());
        let (number, suffix) = body.split_at(end);
        if !suffix_form(suffix) {
            return Err(QuantityError::Form);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') {
            return Err(QuantityError::Form);
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(QuantityError::Number);
        }
        let (exponent, twos, format) = scale(suffix).ok_or(QuantityError::Suffix)?;
        Ok(Self { nanos: sign * nanos(whole, fraction, exponent, twos), format })
    }

    /// Reads a quantity as JSON has it: a text, a number, or `null` for zero.
    ///
    /// # Errors
    /// As [`Quantity::parse`].
    pub fn from_value(value: &Value) -> Result<Self, QuantityError> {
        match value {
            Value::Null => Ok(Self::from(0)),
            Value::String(text) => Self::parse(text.trim()),
            Value::Number(number) => Self::parse(&number.to_string()),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(QuantityError::Form),
        }
    }

    /// The amount in whole units, rounded away from zero.
    pub fn units(self) -> i64 {
        let rest = i128::from(self.nanos % NANOS_PER_UNIT != 0) * self.nanos.signum();
        let units = self.nanos / NANOS_PER_UNIT + rest;
        i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
    }

    /// The amount in thousandths, rounded away from zero, as CPU is counted.
    pub fn millis(self) -> i64 {
        let per = NANOS_PER_UNIT / 1000;
        let millis = self.nanos / per + i128::from(self.nanos % per != 0) * self.nanos.signum();
        i64::try_from(millis).unwrap_or(if millis < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// The sum, in the format of `self` (of `other` where `self` is zero); capped.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: (self.nanos + other.nanos).clamp(-NANOS_MAX, NANOS_MAX), format }
    }

    /// The difference, in the format of `self`; capped.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { nanos: -other.nanos, format: other.format })
    }
}

impl From<i64> for Quantity {
    fn from(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANOS_PER_UNIT, format: Format::Decimal }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// The canonical form: no fraction, the largest suffix that allows it.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.nanos / NANOS_PER_UNIT;
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos % NANOS_PER_UNIT == 0;
        if self.format == Format::Binary && units.abs() >= 1024 && whole {
            let (mut amount, mut step) = (units, 0_usize);
            while amount % 1024 == 0 && step < 6 {
                amount /= 1024;
                step += 1;
            }
            let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].get(step).unwrap_or(&"");
            return write!(f, "{amount}{suffix}");
        }
        let (mut amount, mut exponent) = (self.nanos, -9);
        while amount % 1000 == 0 && exponent < 18 {
            amount /= 1000;
            exponent += 3;
        }
        match (self.format, exponent) {
            (_, 0) => write!(f, "{amount}"),
            (Format::Exponent, _) => write!(f, "{amount}e{exponent}"),
            (Format::Decimal | Format::Binary, _) => {
                let suffix = DECIMAL_SUFFIXES.iter().find(|(_, e)| *e == exponent);
                write!(f, "{amount}{}", suffix.map_or("", |(suffix, _)| *suffix))
            }
        }
    }
}

const DECIMAL_SUFFIXES: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// Letters, then a sign, then digits.
fn suffix_form(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    rest.bytes().all(|b| b.is_ascii_digit())
}

/// The power of ten and the power of two that a suffix stands for.
fn scale(suffix: &str) -> Option<(i32, u32, Format)> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(s, _)| *s == suffix) {
        return Some((*exponent, 0, Format::Decimal));
    }
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|s| *s == suffix);
    if let Some(at) = binary {
        return Some((0, 10 * (u32::try_from(at).ok()? + 1), Format::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let exponent: i64 = exponent.parse().ok()?;
    let bound = i64::from(i32::MAX / 2);
    let exponent = i32::try_from(exponent.clamp(-bound, bound)).ok()?;
    Some((exponent, 0, Format::Exponent))
}

/// `whole.fraction * 10^exponent * 2^twos` in nanounits, rounded up and capped.
fn nanos(whole: &str, fraction: &str, exponent: i32, twos: u32) -> i128 {
    let digits: Vec<i128> =
        whole.bytes().chain(fraction.bytes()).map(|b| i128::from(b - b'0')).collect();
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = digits.get(leading..).unwrap_or_default();
    if digits.is_empty() {
        return 0;
    }
    // Where the point stands, counted from the first digit that is not zero.
    let point = i64::try_from(whole.len()).unwrap_or(0) - i64::try_from(leading).unwrap_or(0)
        + i64::from(exponent);
    if point > 20 {
        return NANOS_MAX;
    }
    // 18 digits behind the point decide, the rest only whether to round up.
    let (mut units, mut parts, mut rest) = (0_i128, 0_i128, false);
    let mut place = point;
    for digit in digits {
        place -= 1;
        match place {
            0.. => units = units * 10 + digit,
            -18..=-1 => parts += digit * 10_i128.pow(u32::try_from(18 + place).unwrap_or(0)),
            _ => rest |= *digit != 0,
        }
    }
    if place > 0 {
        units *= 10_i128.pow(u32::try_from(place).unwrap_or(0));
    }
    let twos = 1_i128 << twos;
    let below = parts * twos;
    let up = i128::from(below % NANOS_PER_UNIT != 0 || rest);
    units
        .checked_mul(NANOS_PER_UNIT)
        .and_then(|nanos| nanos.checked_mul(twos))
        .and_then(|nanos| nanos.checked_add(below / NANOS_PER_UNIT + up))
        .map_or(NANOS_MAX, |nanos| nanos.min(NANOS_MAX))
}

/// What an integer or a percentage such as `"25%"` is of `total`; a percentage is rounded up or down.
///
/// # Errors
/// When the value is neither, with kube-apiserver's message.
pub fn int_or_percent(value: &Value, total: i64, round_up: bool) -> Result<i64, String> {
    if let Some(integer) = value.as_i64() {
        return Ok(integer);
    }
    let percent = value.as_str().and_then(|text| text.strip_suffix('%'));
    let percent: i128 =
        percent.and_then(|text| text.parse::<i32>().ok()).map(i128::from).ok_or_else(|| {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!(
                "invalid value for IntOrString: invalid type: string is not a percentage: {shown}"
            )
        })?;
    let product = percent * i128::from(total);
    let part = if round_up { -(-product).div_euclid(100) } else { product.div_euclid(100) };
    Ok(i64::try_from(part).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn canonical(text: &str, expected: &str) {
        assert_eq!(Quantity::parse(text).map(|q| q.to_string()).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn quantities_are_canonicalised() {
        for (text, expected) in [
            ("0.1", "100m"),
            ("1e3", "1e3"),
            ("1.5Gi", "1536Mi"),
            ("1000", "1k"),
            ("1000m", "1"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("0.5Ki", "512"),
            ("1.1Ki", "1126400m"),
            ("0.0001n", "1n"),
            ("-1.5", "-1500m"),
            ("+2", "2"),
            ("010", "10"),
            (".5", "500m"),
            ("5.", "5"),
            ("0Gi", "0"),
            ("1E", "1E"),
            ("12E3", "12e3"),
            ("100e-3", "100e-3"),
            ("1e100", "9223372036854775807"),
            ("1500", "1500"),
        ] {
            canonical(text, expected);
        }
    }

    #[test]
    fn malformed_quantities_get_the_recorded_message() {
        for text in ["abc", "", "1 ", "1.2.3", "1Kb"] {
            assert_eq!(Quantity::parse(text), Err(QuantityError::Form), "{text}");
        }
        assert_eq!(Quantity::parse("Ki"), Err(QuantityError::Number));
        assert_eq!(Quantity::parse("1KK"), Err(QuantityError::Suffix));
        assert_eq!(
            QuantityError::Form.to_string(),
            "quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        );
    }

    #[test]
    fn quantities_are_compared_and_added_by_amount() {
        let quantity = |text: &str| Quantity::parse(text).expect(text);
        assert_eq!(quantity("1Ki"), quantity("1024"));
        assert!(quantity("999m") < quantity("1"));
        assert_eq!(quantity("1Gi").plus(quantity("512Mi")).to_string(), "1536Mi");
        assert_eq!(quantity("1").minus(quantity("1500m")).to_string(), "-500m");
        assert_eq!(quantity("1500m").units(), 2);
        assert_eq!(quantity("1.5").millis(), 1500);
    }

    #[test]
    fn percentages_round_as_asked() {
        assert_eq!(int_or_percent(&json!(3), 10, true), Ok(3));
        assert_eq!(int_or_percent(&json!("25%"), 10, true), Ok(3));
        assert_eq!(int_or_percent(&json!("25%"), 10, false), Ok(2));
        assert!(int_or_percent(&json!("25"), 10, false).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,20}|[+-]?[0-9.]{0,40}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,12}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                // The canonical form of a quantity is the quantity, and its own canonical form.
                let canonical = quantity.to_string();
                let again = Quantity::parse(&canonical).expect("canonical forms are read");
                prop_assert_eq!(again, quantity);
                prop_assert_eq!(again.to_string(), canonical);
            }
        }
    }
}
