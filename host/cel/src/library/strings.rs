//! Text: the language's own functions and the extensions Kubernetes has.

use super::{Result, int, list, number, text};
use crate::error::EvalError;
use crate::eval::{ELEMENTS_MAX, TEXT_BYTES_MAX};
use crate::library::convert::display;
use crate::signature::Cost::{
    Affix, Elements, Join, One, Product, Quote, Replace, Split, Traverse,
};
use crate::signature::Row;
use crate::signature::Run::Pure;
use crate::value::{Key, Value};

pub(super) const ROWS: &[Row] = &[
    ("contains_string", "string::contains(string)->bool", Pure(contains), Product),
    ("starts_with_string", "string::startsWith(string)->bool", Pure(starts_with), Affix),
    ("ends_with_string", "string::endsWith(string)->bool", Pure(ends_with), Affix),
    ("string_char_at_int", "string::charAt(int)->string", Pure(char_at), One),
    ("string_index_of_string", "string::indexOf(string)->int", Pure(index_of), Elements),
    ("string_index_of_string_int", "string::indexOf(string,int)->int", Pure(index_of), Elements),
    (
        "string_last_index_of_string",
        "string::lastIndexOf(string)->int",
        Pure(last_index_of),
        Elements,
    ),
    (
        "string_last_index_of_string_int",
        "string::lastIndexOf(string,int)->int",
        Pure(last_index_of),
        Elements,
    ),
    ("string_lower_ascii", "string::lowerAscii()->string", Pure(lower), Traverse(0)),
    ("string_upper_ascii", "string::upperAscii()->string", Pure(upper), Traverse(0)),
    ("string_trim", "string::trim()->string", Pure(trim), Traverse(0)),
    (
        "string_replace_string_string",
        "string::replace(string,string)->string",
        Pure(replace),
        Replace,
    ),
    (
        "string_replace_string_string_int",
        "string::replace(string,string,int)->string",
        Pure(replace),
        Replace,
    ),
    ("string_split_string", "string::split(string)->list<string>", Pure(split), Split),
    ("string_split_string_int", "string::split(string,int)->list<string>", Pure(split), Split),
    ("string_substring_int", "string::substring(int)->string", Pure(substring), Traverse(0)),
    (
        "string_substring_int_int",
        "string::substring(int,int)->string",
        Pure(substring),
        Traverse(0),
    ),
    ("list_join", "list<string>::join()->string", Pure(join), Join),
    ("list_join_string", "list<string>::join(string)->string", Pure(join), Join),
    ("string_format", "string::format(list<dyn>)->string", Pure(format), Quote),
    ("strings_quote", "strings.quote(string)->string", Pure(quote), Quote),
    ("jsonpatch_escapeKey", "jsonpatch.escapeKey(string)->string", Pure(escape_key), Traverse(0)),
];

fn too_long<T>() -> Result<T> {
    Err(EvalError::CostLimit)
}

fn contains<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(text(args, 0)?.contains(&**text(args, 1)?)))
}

fn starts_with<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(text(args, 0)?.starts_with(&**text(args, 1)?)))
}

fn ends_with<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(text(args, 0)?.ends_with(&**text(args, 1)?)))
}

fn out_of_range<T>(place: i64) -> Result<T> {
    Err(EvalError::new(format!("index out of range: {place}")))
}

/// The place in bytes of a place in characters; one past the last is a place, too.
fn byte_place(text: &str, place: i64) -> Option<usize> {
    let place = usize::try_from(place).ok()?;
    if text.is_ascii() {
        return (place <= text.len()).then_some(place);
    }
    text.char_indices().map(|(byte, _)| byte).chain([text.len()]).nth(place)
}

fn char_at<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (text, place) = (text(args, 0)?, int(args, 1)?);
    match byte_place(text, place) {
        Some(byte) => Ok(Value::text(text[byte..].chars().take(1).collect::<String>())),
        None => out_of_range(place),
    }
}

fn characters_before(text: &str, byte: usize) -> Value<'static> {
    number(text[..byte].chars().count())
}

fn index_of<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (text, wanted) = (text(args, 0)?, text(args, 1)?);
    let from = if args.len() > 2 { int(args, 2)? } else { 0 };
    if wanted.is_empty() {
        return Ok(Value::Int(from));
    }
    let Some(start) = byte_place(text, from) else { return out_of_range(from) };
    let found = text[start..].find(&**wanted);
    Ok(found.map_or(Value::Int(-1), |byte| characters_before(text, start + byte)))
}

fn last_index_of<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (text, wanted) = (text(args, 0)?, text(args, 1)?);
    let found = if args.len() > 2 {
        let from = int(args, 2)?;
        if wanted.is_empty() {
            return Ok(Value::Int(from));
        }
        let Some(start) = byte_place(text, from) else { return out_of_range(from) };
        let end = (start + wanted.len()).min(text.len());
        let end = (end..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
        text[..end].rfind(&**wanted)
    } else {
        text.rfind(&**wanted)
    };
    Ok(found.map_or(Value::Int(-1), |byte| characters_before(text, byte)))
}

fn lower<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(text(args, 0)?.to_ascii_lowercase()))
}

fn upper<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(text(args, 0)?.to_ascii_uppercase()))
}

fn trim<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(text(args, 0)?.trim().to_owned()))
}

fn replace<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (text, from, to) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let count = if args.len() > 3 { int(args, 3)? } else { -1 };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let most = if from.is_empty() { text.len() + 1 } else { text.len() / from.len() };
    if text.len().saturating_add(most.min(count).saturating_mul(to.len())) > TEXT_BYTES_MAX {
        let times = text.matches(&**from).take(count).count();
        if text.len().saturating_add(times.saturating_mul(to.len())) > TEXT_BYTES_MAX {
            return too_long();
        }
    }
    Ok(Value::text(text.replacen(&**from, to, count)))
}

fn split<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (text, separator) = (text(args, 0)?, text(args, 1)?);
    let count = if args.len() > 2 { int(args, 2)? } else { -1 };
    let count = match usize::try_from(count) {
        Ok(0) => return Ok(Value::list(Vec::new())),
        Ok(count) => count.min(ELEMENTS_MAX + 1),
        Err(_) => ELEMENTS_MAX + 1,
    };
    let piece = |piece: &str| Value::text(piece.to_owned());
    let pieces: Vec<Value<'a>> = if separator.is_empty() {
        // Each character apart, and the rest together when there may not be that many pieces.
        let mut pieces = Vec::new();
        let mut rest: &str = text;
        while let Some(character) = rest.chars().next() {
            let end = if pieces.len() + 1 == count { rest.len() } else { character.len_utf8() };
            pieces.push(piece(&rest[..end]));
            rest = &rest[end..];
        }
        pieces
    } else {
        text.splitn(count, &**separator).map(piece).collect()
    };
    if pieces.len() > ELEMENTS_MAX {
        return too_long();
    }
    Ok(Value::list(pieces))
}

fn substring<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (text, from) = (text(args, 0)?, int(args, 1)?);
    let Some(start) = byte_place(text, from) else { return out_of_range(from) };
    if args.len() < 3 {
        return Ok(Value::text(text[start..].to_owned()));
    }
    let to = int(args, 2)?;
    let Some(end) = byte_place(text, to) else { return out_of_range(to) };
    if start > end {
        return Err(EvalError::new(format!("invalid substring range. start: {from}, end: {to}")));
    }
    Ok(Value::text(text[start..end].to_owned()))
}

fn join<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let separator = if args.len() > 1 { &**text(args, 1)? } else { "" };
    let mut joined = String::new();
    for (place, piece) in list(args, 0)?.iter().enumerate() {
        if place > 0 {
            joined.push_str(separator);
        }
        joined.push_str(piece.as_str().ok_or_else(EvalError::no_such_overload)?);
        if joined.len() > TEXT_BYTES_MAX {
            return too_long();
        }
    }
    Ok(Value::text(joined))
}

fn quote<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let mut quoted = String::from("\"");
    for character in text(args, 0)?.chars() {
        match character {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    Ok(Value::text(quoted))
}

fn escape_key<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(text(args, 0)?.replace('~', "~0").replace('/', "~1")))
}

/// `'%s has %d'.format([name, count])`.
fn format<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let template = text(args, 0)?;
    let values = list(args, 1)?;
    let mut out = String::new();
    let mut next = 0;
    let mut rest: &str = template;
    while let Some(place) = rest.find('%') {
        out.push_str(&rest[..place]);
        rest = &rest[place + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (precision, after) = precision(rest)?;
        let verb = after.chars().next().ok_or_else(|| {
            EvalError::new("could not parse formatting clause: unexpected end of string")
        })?;
        rest = &after[verb.len_utf8()..];
        let Some(value) = values.get(next) else {
            return Err(EvalError::new(format!("index {next} out of range")));
        };
        next += 1;
        one(&mut out, verb, precision, &value)?;
        if out.len() > TEXT_BYTES_MAX {
            return too_long();
        }
    }
    out.push_str(rest);
    Ok(Value::text(out))
}

/// The `.3` of `%.3f`.
fn precision(clause: &str) -> Result<(Option<usize>, &str)> {
    let Some(rest) = clause.strip_prefix('.') else { return Ok((None, clause)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let wrong = || EvalError::new("error while converting precision to integer");
    let digits: usize = rest[..end].parse().map_err(|_| wrong())?;
    Ok((Some(digits.min(1000)), &rest[end..]))
}

fn one(out: &mut String, verb: char, precision: Option<usize>, value: &Value<'_>) -> Result<()> {
    let wrong = |verbs: &str| {
        let name = value.type_name();
        Err(EvalError::new(format!(
            "error during formatting: {verbs} clause can only be used on {name}"
        )))
    };
    match (verb, value) {
        ('s', value) => write(out, value, 0)?,
        ('d', Value::Int(_) | Value::Uint(_)) => out.push_str(&display(value)),
        ('d', Value::Double(number)) if !number.is_finite() => out.push_str(&fixed(*number, 6)),
        ('f', Value::Double(number)) => out.push_str(&fixed(*number, precision.unwrap_or(6))),
        ('e', Value::Double(number)) => out.push_str(&scientific(*number, precision.unwrap_or(6))),
        ('b', Value::Int(number)) => out.push_str(&signed(*number, |n| format!("{n:b}"))),
        ('b', Value::Uint(number)) => written(out, format_args!("{number:b}")),
        ('b', Value::Bool(flag)) => out.push_str(if *flag { "1" } else { "0" }),
        ('o', Value::Int(number)) => out.push_str(&signed(*number, |n| format!("{n:o}"))),
        ('o', Value::Uint(number)) => written(out, format_args!("{number:o}")),
        ('x', Value::Int(number)) => out.push_str(&signed(*number, |n| format!("{n:x}"))),
        ('X', Value::Int(number)) => out.push_str(&signed(*number, |n| format!("{n:X}"))),
        ('x', Value::Uint(number)) => written(out, format_args!("{number:x}")),
        ('X', Value::Uint(number)) => written(out, format_args!("{number:X}")),
        ('x', Value::String(text)) => hex(out, text.as_bytes()),
        ('X', Value::String(text)) => upper_hex(out, text.as_bytes()),
        ('x', Value::Bytes(bytes)) => hex(out, bytes),
        ('X', Value::Bytes(bytes)) => upper_hex(out, bytes),
        ('d', _) => return wrong("decimal"),
        ('f', _) => return wrong("fixed-point"),
        ('e', _) => return wrong("scientific"),
        ('b', _) => return wrong("binary"),
        ('o', _) => return wrong("octal"),
        ('x' | 'X', _) => return wrong("hex"),
        (other, _) => {
            let message = format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            );
            return Err(EvalError::new(message));
        }
    }
    Ok(())
}

fn written(out: &mut String, what: std::fmt::Arguments<'_>) {
    std::fmt::write(out, what).expect("writing into memory cannot fail");
}

fn signed(number: i64, digits: impl Fn(u64) -> String) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", digits(number.unsigned_abs()))
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        written(out, format_args!("{byte:02x}"));
    }
}

fn upper_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        written(out, format_args!("{byte:02X}"));
    }
}

fn not_finite(number: f64) -> Option<&'static str> {
    match number {
        _ if number.is_nan() => Some("NaN"),
        _ if number.is_infinite() => Some(if number > 0.0 { "Infinity" } else { "-Infinity" }),
        _ => None,
    }
}

fn fixed(number: f64, precision: usize) -> String {
    not_finite(number).map_or_else(|| format!("{number:.precision$}"), str::to_owned)
}

fn scientific(number: f64, precision: usize) -> String {
    if let Some(text) = not_finite(number) {
        return text.to_owned();
    }
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// `%s` of anything that has a text.
fn write(out: &mut String, value: &Value<'_>, depth: usize) -> Result<()> {
    if out.len() > TEXT_BYTES_MAX || depth > 64 {
        return too_long();
    }
    match value {
        Value::List(list) => {
            out.push('[');
            for (place, item) in list.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                write(out, &item, depth + 1)?;
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            let mut entries: Vec<(String, Value<'_>)> = map
                .entries()
                .map(|(key, value): (Key<'_>, _)| (display(&key.value()), value))
                .collect();
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            for (place, (key, value)) in entries.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                out.push_str(key);
                out.push_str(": ");
                write(out, value, depth + 1)?;
            }
            out.push('}');
        }
        Value::Object(_) | Value::Optional(_) | Value::Opaque(_) => {
            let name = value.type_name();
            let message = format!(
                "error during formatting: string clause can only be used on strings, bools, bytes, ints, \
                 doubles, maps, lists, types, durations, and timestamps, was given {name}"
            );
            return Err(EvalError::new(message));
        }
        Value::Double(number) if !number.is_finite() => {
            out.push_str(not_finite(*number).unwrap_or_default());
        }
        other => out.push_str(&display(other)),
    }
    Ok(())
}
