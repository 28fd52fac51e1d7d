//! Protobuf bodies of Go clients, decoded to the JSON that such a client would have sent.
//!
//! A body is four bytes (`k8s` and zero) and an envelope that names the kind; what is inside is decoded by a table of
//! every message of the API ([`table`]), so that a further kind is data. Where Kubernetes gives a message a JSON form
//! of its own (times, quantities, int-or-string, raw JSON, bytes) that form is made ([`message`]). No bytes can make
//! it panic, nest without bound, or grow a value beyond [`NODES_MAX`] nodes.

use serde_json::{Map, Value};

use crate::decode::{self, DecodeError};

mod message;
mod table;
mod wire;

use message::Decoder;
use wire::{Reader, Wire};

/// The four bytes that begin every body.
pub const MAGIC: [u8; 4] = *b"k8s\0";
/// The most values that one body may become.
const NODES_MAX: usize = 200_000;

/// Decodes a body: an object with `apiVersion` and `kind` from the envelope.
///
/// # Errors
/// When it is malformed, or of a kind that has no protobuf form. [`decode::unrecognized`] makes the message of
/// the answer.
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    decode_within(bytes, &mut Decoder { nodes_left: NODES_MAX, depth: 0 })
}

/// Decodes the body of a create or update of a `kind`, or of `DeleteOptions`.
///
/// # Errors
/// With the whole message of the `BadRequest` that answers it.
pub fn object(bytes: &[u8], kind: &str) -> Result<Value, DecodeError> {
    decode(bytes).map_err(|error| decode::unrecognized(kind, &error.0, bytes))
}

/// The same below another message, whose depth and nodes count.
fn decode_within(bytes: &[u8], decoder: &mut Decoder) -> Result<Value, DecodeError> {
    let Some(body) = bytes.strip_prefix(&MAGIC[..]) else {
        let text = "provided data does not appear to be a protobuf message, expected prefix";
        return Err(DecodeError(format!("{text} [107 56 115 0]")));
    };
    if body.is_empty() {
        return Err(DecodeError("empty body".to_owned()));
    }
    let envelope = Envelope::read(body)?;
    if envelope.content_type == "application/json" {
        return Ok(decode::json(envelope.raw)?.value);
    }
    let mut object = Map::new();
    if let Some(message) = table::of_kind(&envelope.api_version, &envelope.kind) {
        object = decoder.message(message, envelope.raw)?;
    } else if !envelope.kind.is_empty() {
        let Envelope { api_version, kind, .. } = &envelope;
        let text = format!("no kind \"{kind}\" is registered for version \"{api_version}\"");
        return Err(DecodeError(text));
    }
    for (field, text) in [("apiVersion", envelope.api_version), ("kind", envelope.kind)] {
        if !text.is_empty() {
            object.insert(field.to_owned(), Value::String(text));
        }
    }
    Ok(Value::Object(object))
}

/// `runtime.Unknown`: what the body is, and its bytes.
#[derive(Debug, Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
    content_type: String,
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut envelope = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((number, wire)) = reader.field()? {
            match (number, wire) {
                (1, Wire::Bytes(type_meta)) => {
                    let mut reader = Reader::new(type_meta);
                    while let Some((number, wire)) = reader.field()? {
                        match (number, wire) {
                            (1, Wire::Bytes(text)) => envelope.api_version = wire::text(text),
                            (2, Wire::Bytes(text)) => envelope.kind = wire::text(text),
                            _ => {}
                        }
                    }
                }
                (2, Wire::Bytes(raw)) => envelope.raw = raw,
                (4, Wire::Bytes(text)) => envelope.content_type = wire::text(text),
                _ => {}
            }
        }
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests;
