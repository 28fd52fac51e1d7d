//! Questions about the record, below `/quadrille/`: read here, answered by whoever keeps it.
//!
//! Whether somebody may ask at a path is decided as for every path that is no resource (`nonResourceURLs` of a role);
//! what a question leads to beyond its path is checked where it is answered, with the [`Rights`] that go with it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::Incoming;
use quadrille_registry::{Reason, Status, User};

use super::body;
use crate::answer::{Answer, Body, answer as answer_with, json_value, text};
use crate::app::{App, actor};
use crate::extension::{Form, Question, Reply, ReplyStream, Rights};
use crate::fairness::Seat;
use crate::negotiate::Media;
use crate::params::parameter;
use crate::path::decode;
use crate::place::method_not_allowed;

const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const FILE: HeaderValue = HeaderValue::from_static("application/octet-stream");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Answers a question; `path` is what follows `/quadrille/`. A question that waits gives its seat for a place among those
/// that do.
pub(crate) async fn answer(
    app: &App,
    parts: &Parts,
    incoming: &mut Incoming,
    path: &str,
    (user, peer): (&Arc<User>, &Arc<str>),
    seat: &mut Option<Seat>,
) -> Result<Answer, Status> {
    let Some(insight) = &app.insight else {
        let message = "this host answers no questions about its record";
        return Err(Status::new(Reason::ServiceUnavailable, message));
    };
    let body = match parts.method {
        Method::GET => Bytes::new(),
        Method::POST => {
            body::read(app, parts, incoming, app.config.limits.component_bytes_max).await?
        }
        _ => return Err(method_not_allowed()),
    };
    let question = Question {
        method: parts.method.clone(),
        path: decode(path).map(Cow::into_owned).unwrap_or_default(),
        query: query_of(parts),
        body,
        content_type: header(parts, &CONTENT_TYPE).unwrap_or_default().to_owned(),
        form: form_of(header(parts, &ACCEPT).unwrap_or_default()),
        last_seen: header(parts, &LAST_EVENT_ID).map(str::to_owned),
        actor: actor(parts, user, peer),
        rights: Rights::new(Arc::clone(&app.authorizer), Arc::clone(user)),
    };
    if let Some(own) = seat
        && insight.waits(&question)
    {
        *seat = Some(app.waiting.ticket(own.user())?.seat().await?);
    }
    Ok(replied(app, insight.ask(question).await?))
}

/// What was answered, as an answer over HTTP.
pub(crate) fn replied(app: &App, reply: Reply) -> Answer {
    match reply {
        Reply::Json(value) => json_value(StatusCode::OK, &value),
        Reply::Text(what) => text(StatusCode::OK, what),
        Reply::Lines(pieces) => streamed(app, LINES, pieces),
        Reply::Events(pieces) => streamed(app, EVENTS, pieces),
        Reply::File(pieces) => streamed(app, FILE, pieces),
    }
}

fn streamed(app: &App, content_type: HeaderValue, pieces: ReplyStream) -> Answer {
    let shutdown = app.shutdown.clone();
    let pieces = pieces.take_until(Box::pin(async move { shutdown.started().await }));
    answer_with(StatusCode::OK, content_type, Body::pieces(pieces))
}

fn header<'a>(parts: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

/// The decoded parameters in their order; what is no UTF-8 is empty.
fn query_of(parts: &Parts) -> Vec<(String, String)> {
    let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        let value = parameter(Some(pair), key).unwrap_or_default();
        (decode(key).unwrap_or_default().into_owned(), value.into_owned())
    });
    decoded.collect()
}

/// The first form that is accepted, by the order in which the types are named.
pub(crate) fn form_of(accept: &str) -> Form {
    let known = accept.split(',').find_map(|media| match Media::parse(media.trim()).essence {
        "application/json" => Some(Form::Json),
        "text/plain" => Some(Form::Text),
        "application/x-ndjson" | "application/jsonl" => Some(Form::Lines),
        "text/event-stream" => Some(Form::Events),
        _ => None,
    });
    known.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_type_that_is_accepted_is_the_form() {
        for (accept, form) in [
            ("", Form::Json),
            ("*/*", Form::Json),
            ("text/html, text/plain;q=0.9, application/json", Form::Text),
            ("application/x-ndjson", Form::Lines),
            ("text/event-stream", Form::Events),
        ] {
            assert_eq!(form_of(accept), form, "{accept}");
        }
    }
}
