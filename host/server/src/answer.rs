//! Answers: bodies that share bytes, and the few headers that every answer carries.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use quadrille_registry::Status;
use quadrille_store::Revision;
use serde_json::{Value, json};

use crate::stall::Offer;

/// The stream of a long answer's pieces.
pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// How much goes out as it is, without being cut where nobody takes it: what one frame of HTTP/2 holds.
const SHORT_BYTES: usize = 16 * 1024;
/// How large a piece of a longer body is.
const PIECE_BYTES: usize = 64 * 1024;

/// The body of an answer.
pub(crate) enum Body {
    /// Bytes that are known when the answer begins; empty once they are sent.
    Whole(Bytes),
    /// Pieces that are made as fast as the client takes them.
    Pieces(PiecesBody),
}

/// Pieces of a body, not shown, and whether they are taken.
pub(crate) struct PiecesBody {
    pieces: Pieces,
    offer: Offer,
    /// How many bytes are to come, where that is known.
    left: Option<u64>,
    /// How many bytes lie in memory until the last one is taken.
    weight: usize,
    kept: Option<Box<dyn Send>>,
}

impl Body {
    pub(crate) fn pieces(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        let (pieces, offer) = (Box::pin(pieces), Offer::default());
        Self::Pieces(PiecesBody { pieces, offer, left: None, weight: 0, kept: None })
    }

    /// Pieces of what lies in memory meanwhile.
    pub(crate) fn weighing(mut self, bytes: usize) -> Self {
        if let Self::Pieces(PiecesBody { weight, .. }) = &mut self {
            *weight = bytes;
        }
        self
    }

    /// How many bytes lie in memory until the client has taken the last one; 0 where they are few.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Whole(bytes) if bytes.len() <= SHORT_BYTES => 0,
            Self::Whole(bytes) => bytes.len(),
            Self::Pieces(pieces) => pieces.weight,
        }
    }

    /// Bytes that are at hand, in pieces where they are many: whether pieces are taken can be seen, and nobody is waited
    /// for who takes none.
    pub(crate) fn in_pieces(self) -> Self {
        let Self::Whole(bytes) = self else { return self };
        if bytes.len() <= SHORT_BYTES {
            return Self::Whole(bytes);
        }
        let length = bytes.len();
        let mut body = Self::pieces(stream::iter(split(bytes))).weighing(length);
        if let Self::Pieces(PiecesBody { left, .. }) = &mut body {
            *left = Some(length as u64);
        }
        body
    }

    /// Keeps something until a body of pieces ends, however it ends.
    pub(crate) fn keep_until_end(&mut self, what: Box<dyn Send>) {
        if let Self::Pieces(PiecesBody { kept, .. }) = self {
            *kept = Some(match kept.take() {
                Some(other) => Box::new((other, what)),
                None => what,
            });
        }
    }
}

/// The pieces of many bytes. The last one is out of hand once it is given away, so it is short, and a copy that does not
/// keep the others in memory.
pub(crate) fn split(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || match bytes.len() {
        0 => None,
        short if short <= SHORT_BYTES => Some(Bytes::copy_from_slice(&std::mem::take(&mut bytes))),
        long => Some(bytes.split_to(PIECE_BYTES.min(long - SHORT_BYTES))),
    })
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
                let PiecesBody { pieces, offer, left, .. } = pieces;
                offer.asked();
                let piece = ready!(pieces.as_mut().poll_next(ctx));
                if let Some(piece) = &piece {
                    offer.handed_over();
                    if let Some(left) = left {
                        *left = left.saturating_sub(piece.len() as u64);
                    }
                }
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Pieces(pieces) => pieces.left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(pieces) => {
                pieces.left.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
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
