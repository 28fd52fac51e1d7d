//! Objects on their way out: the form and encoding that was asked for.

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT, HeaderValue};
use http::request::Parts;
use quadrille_object::protobuf;
use quadrille_registry::{Reason, Status};
use serde_json::{Map, Value};

use crate::answer::{self, Answer, Body, JSON, YAML, answer};
use crate::app::{App, ResourceRequest, user_agent};
use crate::negotiate::{Encoding, Shape, Source, negotiate};
use crate::{forms, shape, yaml};

pub(crate) const PROTOBUF: HeaderValue =
    HeaderValue::from_static("application/vnd.kubernetes.protobuf");

/// One object as an answer.
pub(crate) fn one(
    app: &App,
    request: &ResourceRequest<'_>,
    code: StatusCode,
    object: Bytes,
) -> Result<Answer, Status> {
    let object = match request.wanted.shape {
        Shape::Whole => object,
        Shape::Partial(version) => shape::partial(&object, version),
        Shape::Table(version) => forms::table_of_one(app, request, version, &object)?,
    };
    Ok(encoded(request, code, object))
}

/// JSON bytes in the encoding that was asked for.
pub(crate) fn encoded(request: &ResourceRequest<'_>, code: StatusCode, json: Bytes) -> Answer {
    let encoding = request.wanted.encoding;
    if encoding == Encoding::Json && wants_pretty(request) {
        let bytes = shape::pretty(&json).unwrap_or(json);
        return answer(code, JSON, Body::Whole(bytes));
    }
    written(encoding, code, json)
}

/// JSON bytes in an encoding.
pub(crate) fn written(encoding: Encoding, code: StatusCode, json: Bytes) -> Answer {
    match encoding {
        Encoding::Json => answer(code, JSON, Body::Whole(json)),
        Encoding::Yaml => {
            let value: Value = serde_json::from_slice(&json).unwrap_or_default();
            answer(code, YAML, Body::Whole(yaml::document(&value).into()))
        }
        Encoding::Protobuf => match to_protobuf(&json) {
            Some(bytes) => answer(code, PROTOBUF, Body::Whole(bytes)),
            // What has no such form was not promised in it; a client reads what the answer says it is.
            None => answer(code, JSON, Body::Whole(json)),
        },
    }
}

/// The protobuf form of an object in JSON; `None` when its kind has none.
pub(crate) fn to_protobuf(json: &[u8]) -> Option<Bytes> {
    let object: Map<String, Value> = serde_json::from_slice(json).ok()?;
    protobuf::encode(&object).map(Bytes::from)
}

/// A refusal in the encoding that the client asked for.
pub(crate) fn refusal(parts: &Parts, status: &Status) -> Answer {
    let mut answer = encoded_refusal(parts, status);
    answer::add_warnings(&mut answer, &status.warnings);
    answer
}

fn encoded_refusal(parts: &Parts, status: &Status) -> Answer {
    let plain = answer::refusal(status);
    let accept = parts.headers.get(ACCEPT).map(HeaderValue::as_bytes);
    if status.reason == Reason::NotAcceptable {
        return plain;
    }
    let encoding = match negotiate(accept, Source::Any) {
        Ok(wanted) if wanted.encoding != Encoding::Json => wanted.encoding,
        _ => return plain,
    };
    let (head, body) = plain.into_parts();
    let Body::Whole(json) = body else { return Answer::from_parts(head, body) };
    let mut encoded = written(encoding, head.status, json);
    for (name, value) in &head.headers {
        if !encoded.headers().contains_key(name) {
            encoded.headers_mut().append(name, value.clone());
        }
    }
    encoded
}

/// Whether the answer is for people: asked for, or read by a browser or curl.
pub(crate) fn wants_pretty(request: &ResourceRequest<'_>) -> bool {
    request.params.pretty.unwrap_or_else(|| is_for_people(request.parts))
}

/// Whether the client shows warnings to a person. Programs get those that Kubernetes gives, and no others.
pub(crate) fn shows_warnings(parts: &Parts) -> bool {
    let client = user_agent(parts);
    let tools = ["kubectl", "quadrille/", "Helm/", "helm"];
    is_for_people(parts) || tools.iter().any(|name| client.starts_with(name))
}

/// Whether a person is likely to read the answer as it is.
pub(crate) fn is_for_people(parts: &Parts) -> bool {
    let client = user_agent(parts);
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| client.starts_with(name))
}
