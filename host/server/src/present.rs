//! Objects on their way out: the form and encoding that was asked for.

use bytes::Bytes;
use http::StatusCode;
use quadrille_registry::Status;

use crate::answer::{Answer, Body, JSON, YAML, answer};
use crate::app::{App, ResourceRequest, user_agent};
use crate::negotiate::{Encoding, Shape};
use crate::{forms, shape};

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
        // Every JSON text is a YAML text; with line breaks it is also readable as one.
        Encoding::Yaml => {
            let bytes = shape::pretty(&json).unwrap_or(json);
            answer(code, YAML, Body::Whole(bytes))
        }
    }
}

/// Whether the answer is for people: asked for, or read by a browser or curl.
pub(crate) fn wants_pretty(request: &ResourceRequest<'_>) -> bool {
    request.params.pretty.unwrap_or_else(|| {
        let client = user_agent(request.parts);
        ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| client.starts_with(name))
    })
}
