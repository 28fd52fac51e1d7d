//! How the events of a watch are told apart: lines of JSON, or protobuf messages behind their length.

use bytes::{BufMut as _, BytesMut};
use http::header::HeaderValue;
use quadrille_object::protobuf;
use quadrille_registry::Status;

use crate::answer::JSON;
use crate::negotiate::Encoding;
use crate::present;

const PROTOBUF_STREAM: HeaderValue =
    HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch");

/// The form of a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One line of JSON each.
    Lines,
    /// Four bytes of length, then a `WatchEvent` whose object is a body of its own.
    Lengths,
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
            Self::Lines => JSON,
            Self::Lengths => PROTOBUF_STREAM,
        }
    }

    /// Appends one event; the object is JSON.
    pub(crate) fn frame(self, out: &mut BytesMut, r#type: &str, object: &[u8]) {
        match self {
            Self::Lines => line(out, r#type, object),
            Self::Lengths => {
                let object = present::to_protobuf(object).unwrap_or_default();
                out.put_slice(&protobuf::watch_event(r#type, &object));
            }
        }
    }

    /// Appends the event that ends a watch before its time.
    pub(crate) fn error(self, out: &mut BytesMut, status: &Status) {
        self.frame(out, "ERROR", status.to_value().to_string().as_bytes());
    }
}

fn line(out: &mut BytesMut, r#type: &str, object: &[u8]) {
    out.reserve(object.len() + 48);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(r#type.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}
