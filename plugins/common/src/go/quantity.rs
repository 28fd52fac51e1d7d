//! Quantities, as Go keeps them: a number, a power of ten, and the text where it is written in its shortest form.

use serde_json::Value;

/// What is left of a number's text, and the suffix after it.
struct Parts<'a> {
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
    negative: bool,
}

/// Writes a quantity. One with more digits than a fast number has, which no pod asks for, is written by its text.
pub(super) fn dump(text: &mut String, value: Option<&Value>) {
    let given = match value {
        Some(Value::String(given)) => given.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "0".to_owned(),
    };
    let known = number(&given);
    let (amount, scale, format, kept) = known.unwrap_or((0, 0, "DecimalSI", true));
    let kept = if kept { given.as_str() } else { "" };
    let dump = format!(
        "{{i:(resource.int64Amount){{value:(int64){amount} scale:(resource.Scale){scale}}} \
         d:(resource.infDecAmount){{Dec:(*inf.Dec)<nil>}} s:(string){kept} \
         Format:(resource.Format){format}}}"
    );
    text.push_str(&dump);
}

/// The number, its power of ten, its format, and whether its text is kept.
fn number(given: &str) -> Option<(i64, i32, &'static str, bool)> {
    if given == "0" {
        return Some((0, 0, "DecimalSI", true));
    }
    let parts = split(given)?;
    let digits = format!("{}{}", parts.whole, parts.fraction);
    let plain: i64 = digits.parse().ok()?;
    let signed = |number: i64| if parts.negative { -number } else { number };
    if let Some(shift) = binary(parts.suffix) {
        let number = plain.checked_mul(1_i64.checked_shl(shift)?)?;
        let kept = plain & 7 != 0;
        return parts.fraction.is_empty().then(|| (signed(number), 0, "BinarySI", kept));
    }
    let (exponent, format) = match decimal(parts.suffix) {
        Some(exponent) => (exponent, "DecimalSI"),
        None => (parts.suffix.get(1..)?.parse::<i32>().ok()?, "DecimalExponent"),
    };
    let scale = exponent - i32::try_from(parts.fraction.len()).ok()?;
    let kept = scale % 3 == 0 && !digits.ends_with("000") && !digits.starts_with('0');
    Some((signed(plain), scale, format, kept))
}

fn split(given: &str) -> Option<Parts<'_>> {
    let negative = given.starts_with('-');
    let given = given.trim_start_matches(['-', '+']);
    let end = given.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(given.len());
    let (digits, suffix) = given.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    // Zeroes in front do not count.
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    (!digits.is_empty()).then_some(Parts { whole, fraction, suffix, negative })
}

fn binary(suffix: &str) -> Option<u32> {
    let all = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let at = all.iter().position(|known| *known == suffix)?;
    u32::try_from(10 * (at + 1)).ok()
}

fn decimal(suffix: &str) -> Option<i32> {
    let all = [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9)];
    let large = [("T", 12), ("P", 15), ("E", 18)];
    all.iter().chain(&large).find(|(known, _)| *known == suffix).map(|(_, exponent)| *exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_go_reads_them() {
        assert_eq!(number("100m"), Some((100, -3, "DecimalSI", true)));
        assert_eq!(number("1"), Some((1, 0, "DecimalSI", true)));
        assert_eq!(number("1.5"), Some((15, -1, "DecimalSI", false)));
        assert_eq!(number("64Mi"), Some((64 << 20, 0, "BinarySI", false)));
        assert_eq!(number("1Gi"), Some((1 << 30, 0, "BinarySI", true)));
        assert_eq!(number("1e3"), Some((1, 3, "DecimalExponent", true)));
        assert_eq!(number("many"), None);
    }
}
