//! Bodies of requests: read within bounds of size and time, decoded by their `Content-Type`.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use quadrille_object::decode::{self, Decoded, TextEncoding};
use quadrille_object::protobuf;
use quadrille_registry::{Body, Reason, Status};

use crate::app::App;
use crate::audit;
use crate::negotiate::Media;

/// How much of an unwanted body is read so that the client gets to see its answer.
const DISCARD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The same where the client is known and may write, and only sent too much: four times the largest component.
const DISCARD_TOO_LARGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// JSON, also where nothing is said.
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf envelope.
    Protobuf,
}

/// Reads a body.
///
/// # Errors
/// 413 beyond `limit` bytes, 504 when it does not arrive in time, 400 when the client breaks off.
pub(crate) async fn read(
    app: &App,
    parts: &Parts,
    body: &mut Incoming,
    limit: usize,
) -> Result<Bytes, Status> {
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.and_then(|text| text.parse::<usize>().ok()).is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    tokio::select! {
        biased;
        bytes = collect(body, limit) => {
            if let (Ok(bytes), Some(noted)) = (&bytes, audit::of(parts)) {
                noted.came_in(bytes);
            }
            bytes
        }
        () = app.clock.sleep(app.config.limits.body_timeout) => {
            Err(Status::new(Reason::Timeout, "the body of the request did not arrive in time"))
        }
    }
}

async fn collect(body: &mut Incoming, limit: usize) -> Result<Bytes, Status> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Status::new(Reason::BadRequest, format!("cannot read the body: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        if first.is_empty() && all.is_empty() {
            // The usual body is one frame, which is passed on without a copy.
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads the rest of a body that nobody wants, within bounds: a client of HTTP/1.1 that is still sending would
/// otherwise see its connection reset instead of the answer.
pub(crate) async fn discard(app: &App, mut body: Incoming, too_large: bool) {
    let mut left = if too_large { DISCARD_TOO_LARGE_BYTES_MAX } else { DISCARD_BYTES_MAX };
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = app.clock.sleep(app.config.limits.body_timeout) => {}
    }
}

fn too_large(limit: usize) -> Status {
    let message = format!("Request entity too large: limit is {limit}");
    Status::new(Reason::RequestEntityTooLarge, message)
}

/// The encoding of a body that holds an object.
///
/// # Errors
/// 415 for any type but JSON, YAML and protobuf.
pub(crate) fn encoding(parts: &Parts) -> Result<Encoding, Status> {
    let Some(value) = parts.headers.get(CONTENT_TYPE) else { return Ok(Encoding::Json) };
    let text = value.to_str().unwrap_or_default();
    // An empty parameter makes the whole value malformed, as Go's parser has it.
    let well_formed = !text.contains(";;");
    match Media::parse(text).essence {
        "application/json" if well_formed => Ok(Encoding::Json),
        "application/yaml" if well_formed => Ok(Encoding::Yaml),
        "application/vnd.kubernetes.protobuf" if well_formed => Ok(Encoding::Protobuf),
        _ => Err(Status::new(
            Reason::UnsupportedMediaType,
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

/// Decodes a body that holds an object of `kind`.
///
/// # Errors
/// 400 when it cannot be read, in kube-apiserver's words.
pub(crate) fn object(bytes: &[u8], encoding: Encoding, kind: &str) -> Result<Body, Status> {
    let text = match encoding {
        Encoding::Json => TextEncoding::Json,
        Encoding::Yaml => TextEncoding::Yaml,
        Encoding::Protobuf => {
            let value = protobuf::object(bytes, kind);
            return decoded(value.map(|value| Decoded { value, duplicates: Vec::new() }));
        }
    };
    decoded(decode::object(bytes, text, kind))
}

/// Turns a decoder's answer into a body or a 400.
pub(crate) fn decoded(result: Result<Decoded, decode::DecodeError>) -> Result<Body, Status> {
    let decoded = result.map_err(|error| Status::new(Reason::BadRequest, error.0))?;
    Ok(Body { value: decoded.value, duplicates: decoded.duplicates })
}
