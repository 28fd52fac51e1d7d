//! The text of a path.

use serde_json::Value;

use super::{Comparison, JsonPathError, Operand, Step};

/// The most steps of one path.
const STEPS_MAX: usize = 100;
/// The longest path, which also bounds how deep filters nest.
const LENGTH_MAX: usize = 1024;

pub(super) fn path(text: &str) -> Result<Vec<Step>, JsonPathError> {
    let text = text.trim();
    if text.len() > LENGTH_MAX {
        return Err(wrong("the path is too long"));
    }
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(|| wrong("unclosed action"))?,
        None => text,
    };
    steps(inner.strip_prefix('$').unwrap_or(inner))
}

fn steps(text: &str) -> Result<Vec<Step>, JsonPathError> {
    let mut steps = Vec::new();
    let mut rest = text.trim();
    while let Some(c) = rest.chars().next() {
        if steps.len() >= STEPS_MAX {
            return Err(wrong("too many steps"));
        }
        match c {
            '.' if rest.starts_with("..") => {
                steps.push(Step::Descent);
                rest = rest.get(2..).unwrap_or_default();
            }
            '.' => rest = rest.get(1..).unwrap_or_default(),
            '[' => {
                let (inside, after) = bracketed(rest.get(1..).unwrap_or_default())?;
                steps.push(bracket(inside)?);
                rest = after;
            }
            ']' | '{' | '}' | '(' | ')' => return Err(wrong(&format!("unexpected {c}"))),
            '*' => {
                steps.push(Step::Wildcard);
                rest = rest.get(1..).unwrap_or_default();
            }
            _ => {
                let (name, after) = field(rest);
                steps.push(Step::Field(name));
                rest = after;
            }
        }
    }
    Ok(steps)
}

/// A name up to the next step; a backslash takes the next character as it is.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' | ']' | '{' | '}' | '(' | ')' => {
                return (name, text.get(at..).unwrap_or_default());
            }
            c => name.push(c),
        }
    }
    (name, "")
}

/// What stands in brackets, and what follows them; quotes and inner brackets are skipped.
fn bracketed(text: &str) -> Result<(&str, &str), JsonPathError> {
    let (mut quote, mut depth) = (None, 0_usize);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth > 0 => depth -= 1,
            (None, ']') => {
                let after = text.get(at + 1..).unwrap_or_default();
                return Ok((text.get(..at).unwrap_or_default(), after));
            }
            _ => {}
        }
    }
    Err(wrong("unterminated array"))
}

fn bracket(inside: &str) -> Result<Step, JsonPathError> {
    let inside = inside.trim();
    if let Some(filter) = inside.strip_prefix("?(") {
        let filter = filter.strip_suffix(')').ok_or_else(|| wrong("unterminated filter"))?;
        return comparison(filter);
    }
    let parts = split_outside_quotes(inside, ',');
    if parts.len() > 1 {
        let steps: Result<_, _> = parts.into_iter().map(|part| bracket(part.trim())).collect();
        return steps.map(Step::Union);
    }
    if inside == "*" {
        return Ok(Step::Wildcard);
    }
    if let Some(text) = quoted(inside) {
        return Ok(Step::Field(text));
    }
    let number = |text: &str| -> Result<Option<i64>, JsonPathError> {
        let text = text.trim();
        let invalid = || wrong(&format!("invalid array index {inside}"));
        if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| invalid()) }
    };
    let mut parts = inside.split(':');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    match (second, number(first)?) {
        (None, None) => Err(wrong("an array index is missing")),
        // The last element has no one after it to end at.
        (None, Some(-1)) => Ok(Step::Slice(Some(-1), None, None)),
        (None, Some(at)) => Ok(Step::Slice(Some(at), Some(at.saturating_add(1)), None)),
        (Some(to), from) => Ok(Step::Slice(from, number(to)?, number(third.unwrap_or_default())?)),
    }
}

fn comparison(filter: &str) -> Result<Step, JsonPathError> {
    let operators = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let mut quote = None;
    for (at, c) in filter.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => continue,
            (None, '\'' | '"') => quote = Some(c),
            (None, _) => {}
        }
        let rest = filter.get(at..).unwrap_or_default();
        let found = operators.iter().find(|(text, _)| quote.is_none() && rest.starts_with(text));
        if let Some((text, comparison)) = found {
            let left = operand(filter.get(..at).unwrap_or_default())?;
            let right = operand(rest.get(text.len()..).unwrap_or_default())?;
            return Ok(Step::Filter(left, *comparison, right));
        }
    }
    Ok(Step::Filter(operand(filter)?, Comparison::Exists, Operand::Nothing))
}

fn operand(text: &str) -> Result<Operand, JsonPathError> {
    let text = text.trim();
    if let Some(path) = text.strip_prefix('@') {
        return steps(path).map(Operand::Path);
    }
    if let Some(text) = quoted(text) {
        return Ok(Operand::Literal(Value::String(text)));
    }
    let literal =
        serde_json::from_str::<Value>(text).ok().filter(|v| v.is_number() || v.is_boolean());
    literal.map(Operand::Literal).ok_or_else(|| wrong(&format!("{text} is no operand of a filter")))
}

fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(inner.replace("\\'", "'").replace("\\\"", "\"").replace("\\\\", "\\"))
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut quote = None;
    let at_separator = |c: char| {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            _ => {}
        }
        quote.is_none() && c == separator
    };
    text.split(at_separator).collect()
}

fn wrong(message: &str) -> JsonPathError {
    JsonPathError(message.to_owned())
}
