//! Answers that are compressed, because they are large and the client asked for it.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{Stream, StreamExt as _, stream};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http::request::Parts;

use crate::answer::{Answer, Body, split};

/// Answers below this size are not worth compressing, as in kube-apiserver.
pub(crate) const BYTES_MIN: usize = 128 * 1024;
/// How much room there is for what comes out of one piece.
const PACKED_BYTES: usize = 16 * 1024;

/// Whether the client takes gzip.
pub(crate) fn is_taken(parts: &Parts) -> bool {
    let accepted = parts.headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| {
        accepted.split(',').any(|entry| entry.split(';').next().is_some_and(|e| e.trim() == "gzip"))
    })
}

/// Compresses an answer of known size where that is asked for and pays.
pub(crate) fn pack_whole(parts: &Parts, answer: &mut Answer) {
    let Body::Whole(bytes) = answer.body_mut() else { return };
    if bytes.len() < BYTES_MIN || !is_taken(parts) {
        return;
    }
    let bytes = std::mem::take(bytes);
    let weight = bytes.len();
    pack(answer, stream::iter(split(bytes)), weight);
}

/// Makes compressed pieces the body of an answer: each is compressed when the client takes it. `weight` is what lies in
/// memory for them meanwhile.
pub(crate) fn pack(
    answer: &mut Answer,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
    weight: usize,
) {
    let encoder = GzEncoder::new(Vec::with_capacity(PACKED_BYTES), Compression::fast());
    let state = (Box::pin(pieces.fuse()), Some(encoder));
    let packed = stream::unfold(state, |(mut pieces, encoder)| async move {
        let mut encoder = encoder?;
        loop {
            let Some(piece) = pieces.next().await else {
                let rest = encoder.finish().unwrap_or_default();
                return Some((Bytes::from(rest), (pieces, None)));
            };
            // Writing into memory cannot fail; were it to, the client would see a truncated stream.
            encoder.write_all(&piece).ok()?;
            if !encoder.get_ref().is_empty() {
                let out = std::mem::take(encoder.get_mut());
                return Some((Bytes::from(out), (pieces, Some(encoder))));
            }
        }
    });
    *answer.body_mut() = Body::pieces(packed).weighing(weight);
    let headers = answer.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
}
