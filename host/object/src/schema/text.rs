//! Values as they stand in messages.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::Value;

use crate::decode::start;

/// How much of one value a message shows, in bytes.
pub const SHOWN_BYTES_MAX: usize = 32 * 1024;

/// What stands for the rest of a value that is too long to be shown.
const REST: &str = "...";

/// As JSON, with texts in Go's quotes.
pub(super) fn json(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// The same, the way field errors show a value: as much of it as messages have room for.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => shown_text(text),
        other => shown_json(other),
    }
}

/// A text in Go's quotes, as much of it as messages have room for.
pub fn shown_text(text: &str) -> String {
    let first = start(text, SHOWN_BYTES_MAX);
    let mut out = quoted(first);
    if first.len() < text.len() {
        out.push_str(REST);
    }
    out
}

/// A value as JSON, as much of it as messages have room for: no more than that is written.
pub fn shown_json(value: &(impl Serialize + ?Sized)) -> String {
    let mut out = Shown(Vec::new());
    let is_whole = serde_json::to_writer(&mut out, value).is_ok();
    let mut text = match String::from_utf8(out.0) {
        Ok(text) => text,
        Err(cut) => {
            let valid = cut.utf8_error().valid_up_to();
            let mut bytes = cut.into_bytes();
            bytes.truncate(valid);
            String::from_utf8(bytes).unwrap_or_default()
        }
    };
    if !is_whole {
        text.push_str(REST);
    }
    text
}

/// Texts one after the other, as many of them as messages have room for.
pub(super) fn listed(texts: impl Iterator<Item = String>) -> String {
    let mut out = String::new();
    for text in texts {
        if !out.is_empty() {
            out.push_str(", ");
        }
        if out.len() > SHOWN_BYTES_MAX {
            out.push_str(REST);
            break;
        }
        out.push_str(&text);
    }
    out
}

/// Takes the first bytes that are written to it, and then refuses.
struct Shown(Vec<u8>);

impl io::Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = SHOWN_BYTES_MAX.saturating_sub(self.0.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.0.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A text in Go's quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                write!(out, "\\x{:02x}", u32::from(c)).expect("writing into memory cannot fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// In Go's plain notation: `map[a:1 b:[x y]]`.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}
