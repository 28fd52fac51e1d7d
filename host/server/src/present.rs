//! Objects on their way out: the form and encoding that was asked for.

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use quadrille_registry::Status;
use serde_json::Value;

use crate::answer::{Answer, Body, JSON, YAML, answer};
use crate::app::{App, ResourceRequest, user_agent};
use crate::negotiate::{Encoding, Shape};
use crate::{forms, shape, yaml};

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
    match request.wanted.encoding {
        Encoding::Json if wants_pretty(request) => {
            let bytes = shape::pretty(&json).unwrap_or(json);
            answer(code, JSON, Body::Whole(bytes))
        }
        Encoding::Json => answer(code, JSON, Body::Whole(json)),
        Encoding::Yaml => {
            let value: Value = serde_json::from_slice(&json).unwrap_or_default();
            answer(code, YAML, Body::Whole(yaml::document(&value).into()))
        }
    }
}

/// Whether the answer is for people: asked for, or read by a browser or curl.
pub(crate) fn wants_pretty(request: &ResourceRequest<'_>) -> bool {
    request.params.pretty.unwrap_or_else(|| is_for_people(request.parts))
}

/// Whether a person is likely to read the answer as it is.
pub(crate) fn is_for_people(parts: &Parts) -> bool {
    let client = user_agent(parts);
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| client.starts_with(name))
}
