//! How the events of a watch are told apart: lines of JSON, protobuf messages behind their length, or messages of a
//! WebSocket.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, BytesMut};
use http::header::HeaderValue;
use quadrille_object::protobuf;
use quadrille_registry::Status;

use crate::answer::JSON;
use crate::negotiate::Encoding;
use crate::present;
use crate::websocket::{self, Opcode};

const PROTOBUF_STREAM: HeaderValue =
    HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch");

/// The form of a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Framing {
    /// One line of JSON each.
    Lines,
    /// Four bytes of length, then a `WatchEvent` whose object is a body of its own.
    Lengths,
    /// One message of a WebSocket each.
    Messages(Content),
}

/// What the messages of a WebSocket contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) encoding: Encoding,
    /// Whether it is base64 text.
    pub(crate) base64: bool,
}

impl Framing {
    pub(crate) fn of(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Json | Encoding::Yaml => Self::Lines,
            Encoding::Protobuf => Self::Lengths,
        }
    }

    /// The type of an answer that is such a stream.
    pub(crate) fn content_type(self) -> HeaderValue {
        match self {
            Self::Lines | Self::Messages(_) => JSON,
            Self::Lengths => PROTOBUF_STREAM,
        }
    }

    /// Appends one event; the object is JSON.
    pub(crate) fn frame(self, out: &mut BytesMut, r#type: &str, object: &[u8]) {
        match self {
            Self::Lines => line(out, r#type, object),
            Self::Lengths => out.put_slice(&message(r#type, object)),
            Self::Messages(content) => content.frame(out, r#type, object),
        }
    }

    /// Appends the event that ends a watch before its time.
    pub(crate) fn error(self, out: &mut BytesMut, status: &Status) {
        self.frame(out, "ERROR", status.to_value().to_string().as_bytes());
    }
}

impl Content {
    fn frame(self, out: &mut BytesMut, r#type: &str, object: &[u8]) {
        const LENGTH_BYTES: usize = 4;
        let (payload, opcode) = if self.encoding == Encoding::Protobuf {
            // A message knows its own length.
            let framed = message(r#type, object);
            (framed.get(LENGTH_BYTES..).unwrap_or_default().to_vec(), Opcode::Binary)
        } else {
            let mut text = BytesMut::new();
            line(&mut text, r#type, object);
            (text.to_vec(), Opcode::Text)
        };
        let (payload, opcode) = if self.base64 {
            (STANDARD.encode(payload).into_bytes(), Opcode::Text)
        } else {
            (payload, opcode)
        };
        out.put_slice(&websocket::header(opcode, payload.len()));
        out.put_slice(&payload);
    }
}

/// An event in protobuf behind its length.
fn message(r#type: &str, object: &[u8]) -> Vec<u8> {
    let object = present::to_protobuf(object).unwrap_or_default();
    protobuf::watch_event(r#type, &object)
}

fn line(out: &mut BytesMut, r#type: &str, object: &[u8]) {
    out.reserve(object.len() + 48);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(r#type.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}
