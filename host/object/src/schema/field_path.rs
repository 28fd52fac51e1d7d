//! Paths to fields as definitions write them: `.spec.color`, `.labels['a.b']`.
//!
//! They name fields and keys of maps, never items of lists, and are checked against the schema they are about.

use serde_json::{Map, Value};

/// Whether a path may name keys in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brackets {
    /// `['key']` may stand in the path.
    Allowed,
    /// Only `.field`.
    Refused,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Place<'a> {
    /// The path as errors write it: `spec.color`, `labels[a.b]`.
    pub path: String,
    /// The path's first segment.
    pub first: String,
    /// The schema of the field; `None` where the schema says nothing about it.
    pub schema: Option<&'a Map<String, Value>>,
}

const NO_FIELD: &str = "does not refer to a valid field";

/// Follows a path through a schema.
///
/// # Errors
/// Why the path is none, in kube-apiserver's words.
pub fn resolve<'a>(
    schema: &'a Map<String, Value>,
    text: &str,
    brackets: Brackets,
) -> Result<Place<'a>, String> {
    let mut place = Place { path: String::new(), first: String::new(), schema: Some(schema) };
    let mut tokens = Tokens(text);
    while let Some(token) = tokens.next() {
        let end = || "unexpected end of JSON path".to_owned();
        match token {
            "[" if brackets == Brackets::Refused => {
                return Err("array notation is not allowed".to_owned());
            }
            "[" => {
                place.enter(&unquoted(tokens.next().ok_or_else(end)?)?)?;
                match tokens.next().ok_or_else(end)? {
                    "]" => {}
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            "." => place.enter(tokens.next().ok_or_else(end)?)?,
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok(place)
}

impl Place<'_> {
    fn enter(&mut self, name: &str) -> Result<(), String> {
        let schema = self.schema.ok_or(NO_FIELD)?;
        if self.path.is_empty() {
            name.clone_into(&mut self.first);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        if let Some(properties) = properties.filter(|fields| !fields.is_empty()) {
            self.schema = Some(properties.get(name).and_then(Value::as_object).ok_or(NO_FIELD)?);
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(name);
            return Ok(());
        }
        match schema.get("additionalProperties").filter(|of| !of.is_null()) {
            Some(of) => {
                self.schema = of.as_object();
                self.path.extend(["[", name, "]"]);
                Ok(())
            }
            None => Err(NO_FIELD.to_owned()),
        }
    }
}

/// `.`, `[`, `]`, and what is between them; a text in single quotes is one token.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0;
        let first = text.chars().next()?;
        let end = match first {
            '.' | '[' | ']' => 1,
            '\'' => closing_quote(text).unwrap_or(text.len()),
            _ => text.find(['.', '[', ']']).unwrap_or(text.len()),
        };
        let (token, rest) = text.split_at(end);
        self.0 = rest;
        Some(token)
    }
}

/// The end of a text in quotes, behind its closing one.
fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let closes = |at: &usize| bytes.get(*at) == Some(&b'\'') && bytes.get(*at - 1) != Some(&b'\\');
    (1..bytes.len()).find(closes).map(|at| at + 1)
}

fn unquoted(token: &str) -> Result<String, String> {
    let inner = token.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let inner = inner.ok_or_else(|| format!("expected single quoted string but got {token}"))?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\u{b}'),
            Some(same @ ('\'' | '\\')) => out.push(same),
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!("invalid string literal: invalid escape char \\{other}"));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let schema = json!({"properties": {
            "a": {"type": "string"}, "l": {"type": "array", "items": {"type": "string"}},
            "m": {"type": "object", "additionalProperties": {"properties": {"x.y": {"type": "string"}}}},
        }});
        let schema = schema.as_object().expect("an object");
        let found = resolve(schema, text, Brackets::Allowed).map(|place| place.path);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn paths_follow_fields_and_keys_and_nothing_else() {
        check(".a", Ok("a"));
        check(".m['it\\'s']", Ok("m[it's]"));
        check(".m.k['x.y']", Ok("m[k].x.y"));
        check("['a']", Ok("a"));
        check(".z", Err(NO_FIELD));
        check(".l[0]", Err("expected single quoted string but got 0"));
        check(".a.b", Err(NO_FIELD));
        check("a", Err("expected [ or . but got: a"));
        check(".", Err("unexpected end of JSON path"));
        check(".m['x'", Err("unexpected end of JSON path"));
        check(".m['\\q']", Err("invalid string literal: invalid escape char \\q"));
    }
}
