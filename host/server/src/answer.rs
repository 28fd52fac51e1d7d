//! Answers: bodies that share bytes, and the few headers that every answer carries.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use quadrille_registry::Status;
use quadrille_store::Revision;
use serde_json::{Value, json};

use crate::stall::Offer;

/// The stream of a long answer's pieces.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The body of an answer.
pub(crate) enum Body {
    /// Bytes that are known when the answer begins; empty once they are sent.
    Whole(Bytes),
    /// Pieces that are made as fast as the client takes them.
    Pieces(PiecesBody),
}

/// Pieces of a body, not shown, and whether they are taken.
pub(crate) struct PiecesBody(Pieces, Offer, Option<Box<dyn Send>>);

impl Body {
    pub(crate) fn pieces(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::Pieces(PiecesBody(Box::pin(pieces), Offer::begin(), None))
    }

    /// Keeps something until a body of pieces ends, however it ends.
    pub(crate) fn keep_until_end(&mut self, what: Box<dyn Send>) {
        if let Self::Pieces(PiecesBody(_, _, kept)) = self {
            *kept = Some(what);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => f.debug_tuple("Whole").field(&bytes.len()).finish(),
            Self::Pieces(_) => f.write_str("Pieces"),
        }
    }
}

impl fmt::Debug for PiecesBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PiecesBody")
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces(pieces) => {
                let PiecesBody(pieces, offer, _) = pieces;
                offer.asked();
                let piece = ready!(pieces.as_mut().poll_next(ctx));
                if piece.is_some() {
                    offer.handed_over();
                }
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// What stands for the code of an answer that there was nobody to give to.
pub(crate) const UNANSWERED: u16 = 499;

/// An answer.
pub(crate) type Answer = Response<Body>;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, private");
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The header that names a request in logs of both sides.
pub(crate) fn audit_id() -> HeaderName {
    AUDIT_ID
}

/// An answer of one type and body.
pub(crate) fn answer(code: StatusCode, content_type: HeaderValue, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = code;
    answer.headers_mut().reserve(6);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    answer
}

/// An answer of JSON bytes.
pub(crate) fn json_bytes(code: StatusCode, body: Bytes) -> Answer {
    answer(code, JSON, Body::Whole(body))
}

/// An answer of a JSON value.
pub(crate) fn json_value(code: StatusCode, value: &Value) -> Answer {
    json_bytes(code, Bytes::from(value.to_string()))
}

/// An answer of plain text.
pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Answer {
    answer(code, TEXT, Body::Whole(text.into()))
}

/// 204: there is nothing to say.
pub(crate) fn empty() -> Answer {
    let mut answer = text(StatusCode::NO_CONTENT, Bytes::new());
    answer.headers_mut().remove(CONTENT_TYPE);
    answer
}

/// The 404 of a path that nothing is served at.
pub(crate) fn no_such_path() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A refusal.
pub(crate) fn refusal(status: &Status) -> Answer {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if code.is_server_error() {
        tracing::warn!(code = status.code, error = status.message, "request failed");
    }
    let mut answer = json_value(code, &status.to_value());
    let seconds = status.details.as_ref().and_then(|details| details.retry_after_seconds);
    if let Some(seconds) = seconds.or_else(|| (status.code == 429).then_some(1)) {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// A failure that kube-apiserver answers without a reason.
pub(crate) fn failure_without_reason(code: StatusCode, message: &str) -> Answer {
    let value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "code": code.as_u16(),
    });
    json_value(code, &value)
}

const REVISION: HeaderName = HeaderName::from_static("quadrille-revision");

/// Says up to which revision a write has come: what follows from it is waited for by that number.
pub(crate) fn add_revision(answer: &mut Answer, revision: Revision) {
    answer.headers_mut().insert(REVISION, HeaderValue::from(revision.0));
}

/// How much of warnings is told, in characters, and of each of them when they are more: as kube-apiserver has it.
const WARNINGS_LENGTH_MAX: usize = 4_096;
const WARNING_LENGTH_MAX: usize = 256;

/// Adds `Warning` headers; control characters and quotes are made safe.
pub(crate) fn add_warnings(answer: &mut Answer, warnings: &[String]) {
    let whole = warnings.iter().map(|warning| warning.chars().count()).sum::<usize>();
    let each = if whole > WARNINGS_LENGTH_MAX { WARNING_LENGTH_MAX } else { usize::MAX };
    let mut left = WARNINGS_LENGTH_MAX;
    for warning in warnings {
        let warning: String = warning.chars().take(each).collect();
        let Some(rest) = left.checked_sub(warning.chars().count()) else { return };
        left = rest;
        let mut line = String::with_capacity(warning.len() + 10);
        line.push_str("299 - \"");
        for c in warning.chars() {
            match c {
                '"' | '\\' => line.extend(['\\', c]),
                c if c.is_control() => line.push(' '),
                c => line.push(c),
            }
        }
        line.push('"');
        if let Ok(value) = HeaderValue::from_bytes(line.as_bytes()) {
            answer.headers_mut().append(http::header::WARNING, value);
        }
    }
}
