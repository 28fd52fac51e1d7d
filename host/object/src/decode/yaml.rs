//! YAML, with the meaning that kube-apiserver's library gives it.
//!
//! Plain scalars follow YAML 1.1 (`yes` and `on` are booleans, `0644` is octal), keys become texts, and merge
//! keys (`<<`) are resolved. Aliases are copied, within a budget of nodes, so that a small text cannot become a
//! large value.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever event or value is not expected is an error"
)]

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

use super::{DEPTH_MAX, DecodeError, Decoded, note};
use crate::validate_name::quote;

/// The most nodes that one text may become, aliases expanded.
const NODES_MAX: usize = 1_000_000;
/// The most bytes that anchors keep and aliases repeat: texts, and [`NODE_BYTES`] for each node.
const COPIED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What a node takes in memory beside its text.
const NODE_BYTES: usize = 64;
/// The most documents in one stream.
const DOCUMENTS_MAX: usize = 10_000;

/// Decodes the first document of a text; none is `null`.
///
/// # Errors
/// When it is not YAML, nests deeper than [`DEPTH_MAX`] or grows beyond a bound.
pub fn yaml(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    Ok(documents(bytes, 1)?.into_iter().next().unwrap_or_default())
}

/// Decodes every document of a text; empty ones are left out.
///
/// # Errors
/// As [`yaml`], for any of the documents.
pub fn yaml_documents(bytes: &[u8]) -> Result<Vec<Decoded>, DecodeError> {
    let mut all = documents(bytes, DOCUMENTS_MAX)?;
    all.retain(|document| !document.value.is_null());
    Ok(all)
}

fn documents(bytes: &[u8], count_max: usize) -> Result<Vec<Decoded>, DecodeError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| DecodeError("yaml: invalid leading UTF-8 octet".to_owned()))?;
    let mut documents = Vec::new();
    let mut loader = Loader {
        events: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        read: Size::default(),
        copied_bytes: 0,
        depth: 0,
        duplicates: Vec::new(),
    };
    loop {
        match loader.next()?.0 {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(_) => {
                let value = loader.document()?;
                let duplicates = std::mem::take(&mut loader.duplicates);
                documents.push(Decoded { value, duplicates });
                if documents.len() >= count_max {
                    return Ok(documents);
                }
            }
            _ => {}
        }
    }
}

/// How large a part of a document is.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    nodes: usize,
    text_bytes: usize,
}

impl Size {
    fn since(self, before: Self) -> Self {
        Self { nodes: self.nodes - before.nodes, text_bytes: self.text_bytes - before.text_bytes }
    }

    fn bytes(self) -> usize {
        self.nodes.saturating_mul(NODE_BYTES).saturating_add(self.text_bytes)
    }
}

struct Loader<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    /// The finished values of anchors, with their sizes.
    anchors: BTreeMap<usize, (Value, Size)>,
    /// What was read so far, aliases expanded.
    read: Size,
    copied_bytes: usize,
    depth: usize,
    duplicates: Vec<String>,
}

impl<'a> Loader<'a> {
    fn document(&mut self) -> Result<Value, DecodeError> {
        self.anchors.clear();
        let (event, span) = self.next()?;
        self.node(event, span)
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), DecodeError> {
        match self.events.next_event() {
            None => Ok((Event::StreamEnd, Span::default())),
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let line = error.marker().line();
                let place = if line > 1 { format!("line {line}: ") } else { String::new() };
                Err(DecodeError(format!("yaml: {place}{}", error.info())))
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Value, DecodeError> {
        let before = self.read;
        self.count(Size { nodes: 1, text_bytes: 0 })?;
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(Size { nodes: 0, text_bytes: text.len() })?;
                (scalar(&text, style, tag.as_deref(), span)?, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.nested(Self::sequence)?, anchor),
            Event::MappingStart(anchor, _) => (self.nested(Self::mapping)?, anchor),
            _ => {
                return Err(DecodeError(
                    "yaml: a document ends where a value was wanted".to_owned(),
                ));
            }
        };
        if anchor > 0 {
            let size = self.read.since(before);
            self.copy(size)?;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        Ok(value)
    }

    fn alias(&mut self, anchor: usize) -> Result<Value, DecodeError> {
        let unfinished = || DecodeError("yaml: an anchor contains itself".to_owned());
        let (_, size) = self.anchors.get(&anchor).ok_or_else(unfinished)?;
        let size = *size;
        self.count(size)?;
        self.copy(size)?;
        self.anchors.get(&anchor).map(|(value, _)| value.clone()).ok_or_else(unfinished)
    }

    fn count(&mut self, size: Size) -> Result<(), DecodeError> {
        self.read.nodes = self.read.nodes.saturating_add(size.nodes);
        self.read.text_bytes = self.read.text_bytes.saturating_add(size.text_bytes);
        if self.read.nodes > NODES_MAX { Err(excessive()) } else { Ok(()) }
    }

    /// Before something is kept or repeated.
    fn copy(&mut self, size: Size) -> Result<(), DecodeError> {
        self.copied_bytes = self.copied_bytes.saturating_add(size.bytes());
        if self.copied_bytes > COPIED_BYTES_MAX { Err(excessive()) } else { Ok(()) }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, DecodeError>,
    ) -> Result<Value, DecodeError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(DecodeError("yaml: exceeded max depth".to_owned()));
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn sequence(&mut self) -> Result<Value, DecodeError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value, DecodeError> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<");
            let key = match event {
                Event::MappingEnd => break,
                event => self.node(event, span)?,
            };
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span)?;
            if merge {
                merged.push(value);
                continue;
            }
            let key = key_text(key)?;
            if map.contains_key(&key) {
                let line = span.start.line();
                let problem = format!("line {line}: key {} already set in map", quote(&key));
                note(&mut self.duplicates, &problem);
            }
            map.insert(key, value);
        }
        for value in merged {
            merge_into(&mut map, value)?;
        }
        Ok(Value::Object(map))
    }
}

fn excessive() -> DecodeError {
    DecodeError("yaml: document contains excessive aliasing".to_owned())
}

/// Adds what a merge key brings; keys that are there stay.
fn merge_into(map: &mut Map<String, Value>, value: Value) -> Result<(), DecodeError> {
    let wrong =
        || DecodeError("yaml: map merge requires map or sequence of maps as the value".to_owned());
    let maps = match value {
        Value::Array(maps) => maps,
        value => vec![value],
    };
    for value in maps {
        let Value::Object(from) = value else { return Err(wrong()) };
        for (key, value) in from {
            map.entry(key).or_insert(value);
        }
    }
    Ok(())
}

/// A key as JSON has it: a text, whatever scalar it was.
fn key_text(key: Value) -> Result<String, DecodeError> {
    match key {
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Ok("null".to_owned()),
        Value::Array(_) | Value::Object(_) => {
            Err(DecodeError("yaml: invalid map key: only scalars can be keys".to_owned()))
        }
    }
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    span: Span,
) -> Result<Value, DecodeError> {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    let string = || Value::String(text.to_owned());
    match (core, style) {
        (Some("str" | "binary"), _) => Ok(string()),
        (Some(wanted @ ("int" | "float" | "bool" | "null")), _) => {
            let value = plain(text);
            let fits = match wanted {
                "int" | "float" => value.is_number(),
                "bool" => value.is_boolean(),
                _ => value.is_null(),
            };
            let line = span.start.line();
            let wrong =
                || DecodeError(format!("yaml: line {line}: cannot decode !!{wanted} `{text}`"));
            fits.then_some(value).ok_or_else(wrong)
        }
        (_, ScalarStyle::Plain) => match plain(text) {
            Value::Null if !matches!(text, "" | "~" | "null" | "Null" | "NULL") => {
                Err(DecodeError(format!("json: unsupported value: {text}")))
            }
            value => Ok(value),
        },
        _ => Ok(string()),
    }
}

/// What a plain scalar means in YAML 1.1; infinities and not-a-number, which JSON lacks, give `null`.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf"
        | "+.INF" | "-.inf" | "-.Inf" | "-.INF" | ".nan" | ".NaN" | ".NAN" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        text => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    let digits = text.replace('_', "");
    if let Some(integer) = integer(&digits) {
        return Some(integer);
    }
    let body = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    let form = body.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && body.contains(|c: char| c.is_ascii_digit())
        && body.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    let float: f64 = if form { digits.parse().ok()? } else { return None };
    Number::from_f64(float)
}

/// Integers in the bases of YAML 1.1: `0x`, `0b`, `0o`, and a leading zero for octal.
fn integer(digits: &str) -> Option<Number> {
    let (negative, body) = match digits.as_bytes().first()? {
        b'-' => (true, digits.get(1..)?),
        b'+' => (false, digits.get(1..)?),
        _ => (false, digits),
    };
    if !body.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (radix, body) = match body.get(..2) {
        Some("0x" | "0X") => (16, body.get(2..)?),
        Some("0b" | "0B") => (2, body.get(2..)?),
        Some("0o" | "0O") => (8, body.get(2..)?),
        Some(_) if body.starts_with('0') => (8, body.get(1..)?),
        _ => (10, body),
    };
    if body.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from_str_radix(body, radix).ok()?;
    let signed = if negative { -magnitude } else { magnitude };
    i64::try_from(signed).ok().map(Number::from)
}
