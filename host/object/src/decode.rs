//! Bodies of requests as values: JSON, YAML, and a way to read one field out of encoded JSON.
//!
//! Decoders are strict about form and lenient about meaning: they know no kinds. They notice keys that stand
//! twice (the last one counts, as in Go), bound depth and size, and speak with the messages that clients of
//! kube-apiserver know.

use serde_json::Value;

pub(crate) mod go_time;
mod json;
mod path;
mod yaml;

pub use json::json;
pub use path::scalar_at;
pub use yaml::{yaml, yaml_documents};

/// The deepest nesting of a body. Readers of stored objects stop at 128 levels, and managed fields nest a few
/// levels deeper than the object that they describe.
pub const DEPTH_MAX: usize = 100;
/// The most problems that are listed for one body.
pub(crate) const PROBLEMS_MAX: usize = 100;
/// The longest path that a problem is told with, in bytes: what is longer is cut off.
pub(crate) const PROBLEM_BYTES_MAX: usize = 1_024;

/// A decoded body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// What the text says.
    pub value: Value,
    /// What strict decoding objects to: `duplicate field "spec.replicas"` for JSON, `line 7: key "k" already
    /// set in map` for YAML.
    pub duplicates: Vec<String>,
}

/// A body that cannot be decoded; the message is the one of kube-apiserver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// A value in Go's plain notation, as messages show the patch that they blame: `map[a:1 b:[x y]]`.
pub fn go_text(value: &Value) -> String {
    crate::schema::plain_text(value)
}

/// The text encodings of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEncoding {
    /// `application/json`.
    Json,
    /// `application/yaml`, and the body of server-side apply.
    Yaml,
}

/// Decodes the body of a create or update of a `kind`: an object whose `apiVersion` and `kind` are texts
/// where they are given. A `null` body is an empty object.
///
/// # Errors
/// With the whole message of the `BadRequest` that answers it.
pub fn object(bytes: &[u8], encoding: TextEncoding, kind: &str) -> Result<Decoded, DecodeError> {
    let decoded = match encoding {
        TextEncoding::Json => json(bytes).map_err(|error| version_unknown(&error.0)),
        TextEncoding::Yaml => yaml(bytes),
    };
    let checked = decoded.and_then(|mut decoded| {
        if decoded.value.is_null() {
            decoded.value = Value::Object(serde_json::Map::new());
        }
        let wrong = envelope_problem(&decoded.value);
        wrong.map_or(Ok(decoded), |problem| Err(version_unknown(&problem)))
    });
    checked.map_err(|error| unrecognized(kind, &error.0, bytes))
}

/// `the object provided is unrecognized (must be of type ConfigMap): PROBLEM (START OF THE BODY)`.
pub fn unrecognized(kind: &str, problem: &str, bytes: &[u8]) -> DecodeError {
    let must = format!("the object provided is unrecognized (must be of type {kind})");
    DecodeError(format!("{must}: {problem} ({})", summary(bytes)))
}

fn version_unknown(problem: &str) -> DecodeError {
    DecodeError(format!("couldn't get version/kind; json parse error: {problem}"))
}

/// What is wrong with the fields that say which kind the body is.
fn envelope_problem(value: &Value) -> Option<String> {
    let go_type = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                   Kind string \"json:\\\"kind,omitempty\\\"\" }";
    let Value::Object(object) = value else {
        let found = go_kind(value);
        return Some(format!("json: cannot unmarshal {found} into Go value of type {go_type}"));
    };
    let wrong =
        |field: &&&str| !matches!(object.get(**field), None | Some(Value::String(_) | Value::Null));
    let field = ["apiVersion", "kind"].iter().find(wrong)?;
    let found = go_kind(object.get(*field).unwrap_or(&Value::Null));
    Some(format!("json: cannot unmarshal {found} into Go struct field .{field} of type string"))
}

/// What Go calls the type of a JSON value.
pub fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The first bytes of a body, as text where it looks like JSON, else in hexadecimal.
fn summary(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let start = bytes.get(..SHOWN).unwrap_or(bytes);
    let dots = if bytes.len() > SHOWN { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{dots}", String::from_utf8_lossy(start)),
        Some(_) => {
            let mut digits = String::with_capacity(2 * SHOWN + dots.len());
            for digit in start.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
                digits.extend(char::from_digit(u32::from(digit), 16));
            }
            digits + dots
        }
    }
}

/// Notes a problem of strict decoding, once and up to a bound.
fn note(duplicates: &mut Vec<String>, problem: &str) {
    let problem = cut(problem);
    if duplicates.len() < PROBLEMS_MAX && !duplicates.iter().any(|known| known == problem) {
        duplicates.push(problem.to_owned());
    }
}

/// As much of a path as a message tells.
pub fn cut(text: &str) -> &str {
    start(text, PROBLEM_BYTES_MAX)
}

/// The first so many bytes of a text, up to the end of a character.
pub fn start(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
