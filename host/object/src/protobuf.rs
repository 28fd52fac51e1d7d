//! Protobuf bodies of Go clients, decoded to the JSON that such a client would have sent, and answers in that form.
//!
//! A body is four bytes (`k8s` and zero) and an envelope that names the kind; what is inside is read and written by a
//! table of every message of the API ([`table`]), so that a further kind is data. Where Kubernetes gives a message a JSON form
//! of its own (times, quantities, int-or-string, raw JSON, bytes) that form is made ([`message`]). No bytes can make
//! it panic, nest without bound, or grow a value beyond [`NODES_MAX`] nodes.

use serde_json::{Map, Value};

use crate::decode::{self, DecodeError};

mod encode;
mod go_json;
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

/// Encodes an object by its `apiVersion` and `kind`; `None` when the kind has no protobuf form.
pub fn encode(object: &Map<String, Value>) -> Option<Vec<u8>> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let message = table::message(table::of_kind(api_version, kind)?)?;
    let mut raw = Vec::with_capacity(1024);
    encode::message(&mut raw, message, object);
    let mut out = enveloped(api_version, kind, raw.len());
    out.append(&mut raw);
    Some(out)
}

/// An object as kube-apiserver shows what a patch has made of it: fields in the order of their type, but in that of the
/// alphabet where `touched`, which has the shape of the patch, says that it was there. The type is that of the endpoint:
/// the patch may have changed what the object says of itself.
pub fn as_patched(
    api_version: &str,
    kind: &str,
    object: &Map<String, Value>,
    touched: &Value,
) -> String {
    let message = table::of_kind(api_version, kind).and_then(table::message);
    go_json::patched(object, touched, message)
}

/// Whether a kind has a protobuf form.
pub fn knows(api_version: &str, kind: &str) -> bool {
    table::of_kind(api_version, kind).is_some()
}

/// Writes the items of one kind of list; their whole length must be known before the list begins.
#[derive(Debug)]
pub struct ItemEncoder(&'static table::Message);

impl ItemEncoder {
    /// For the items of an `apiVersion` and `kind`; `None` when they have no protobuf form.
    pub fn new(api_version: &str, kind: &str) -> Option<Self> {
        table::message(table::of_kind(api_version, kind)?).map(Self)
    }

    /// Appends one item.
    pub fn write(&self, out: &mut Vec<u8>, object: &Map<String, Value>) {
        encode::delimited(out, 2, |out| encode::message(out, self.0, object));
    }
}

/// What stands before the items of a list: `items_length` bytes of them complete the body.
pub fn list_head(
    api_version: &str,
    list_kind: &str,
    metadata: &Map<String, Value>,
    items_length: usize,
) -> Vec<u8> {
    let mut own = Vec::with_capacity(64);
    if let Some(message) = table::of_kind("v1", "ListMeta").and_then(table::message) {
        encode::delimited(&mut own, 1, |out| encode::message(out, message, metadata));
    }
    let mut out = enveloped(api_version, list_kind, own.len() + items_length);
    out.append(&mut own);
    out
}

/// One event of a watch, framed by its length: the type and the body of the object.
pub fn watch_event(r#type: &str, object: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.reserve(object.len() + 32);
    encode::bytes(&mut out, 1, r#type.as_bytes());
    encode::delimited(&mut out, 2, |out| encode::bytes(out, 1, object));
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out.splice(..4, length.to_be_bytes());
    out
}

/// An envelope that `length` bytes of a message complete.
fn enveloped(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    encode::delimited(&mut out, 1, |out| {
        encode::bytes(out, 1, api_version.as_bytes());
        encode::bytes(out, 2, kind.as_bytes());
    });
    encode::tag(&mut out, 2, 2);
    encode::varint(&mut out, length as u64);
    out.reserve(length);
    out
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
