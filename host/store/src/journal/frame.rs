//! What a segment is made of: frames of length, checksum and body.
//!
//! The checksum is XXH3-64 over the body, seeded with segment and place, so that a frame that was damaged or came from
//! elsewhere is never taken for one. A body is a segment's beginning, a shared piece, or an entry.

use bytes::{Buf, BufMut, Bytes};
use quadrille_object::Timestamp;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Tag, Tags};

/// The version of the format, recorded in each segment.
pub(super) const FORMAT: u32 = 1;

/// Length and checksum.
pub(super) const HEADER_BYTES: usize = 12;

/// The longest body; a longer length is damage, and a longer entry is dropped.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;

const BEGIN: u8 = 1;
const SHARED: u8 = 2;
const RECORD: u8 = 3;

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u32,
}

impl Place {
    fn seed(self) -> u64 {
        (self.segment << 32) ^ u64::from(self.offset)
    }
}

/// What a body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// The first frame of a segment.
    Begin { format: u32, segment: u64 },
    /// A piece that entries of this segment share.
    Shared { hash: u128, bytes: Bytes },
    /// An entry.
    Record(Record),
}

/// An entry, its shared pieces by hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) tags: Tags,
    pub(super) shared: Vec<u128>,
    pub(super) body: Bytes,
}

/// Appends a frame whose body `write` gives; `None`, and nothing is appended, when it is too long.
pub(super) fn push(
    out: &mut Vec<u8>,
    place: Place,
    write: impl FnOnce(&mut Vec<u8>),
) -> Option<u32> {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES);
    write(out);
    let body = out.get(start + HEADER_BYTES..).unwrap_or_default();
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_BYTES_MAX);
    let Some(length) = length else {
        out.truncate(start);
        return None;
    };
    let sum = xxh3_64_with_seed(body, place.seed());
    if let Some((head, _)) = out.get_mut(start..).and_then(|frame| frame.split_at_mut_checked(4)) {
        head.copy_from_slice(&length.to_le_bytes());
    }
    if let Some(head) = out.get_mut(start + 4..start + HEADER_BYTES) {
        head.copy_from_slice(&sum.to_le_bytes());
    }
    Some(length)
}

pub(super) fn begin(out: &mut Vec<u8>, segment: u64) {
    out.put_u8(BEGIN);
    out.put_u32_le(FORMAT);
    out.put_u64_le(segment);
}

pub(super) fn shared(out: &mut Vec<u8>, hash: u128, bytes: &[u8]) {
    out.put_u8(SHARED);
    out.put_u128_le(hash);
    out.put_slice(bytes);
}

/// The head of an entry; its own bytes follow.
pub(super) fn record(out: &mut Vec<u8>, number: u64, at: Timestamp, tags: Tags, shared: &[u128]) {
    out.put_u8(RECORD);
    out.put_u64_le(number);
    out.put_i64_le(at.0);
    out.put_u64_le(tags.object.0);
    out.put_u64_le(tags.plugin.0);
    out.put_u8(u8::try_from(shared.len()).unwrap_or(u8::MAX));
    for hash in shared {
        out.put_u128_le(*hash);
    }
}

/// Checks the frame at the start of `bytes` and gives its body; `None` when it is damaged or not whole.
pub(super) fn check(place: Place, bytes: &Bytes) -> Option<Bytes> {
    let end = HEADER_BYTES + length(bytes)?;
    (bytes.len() >= end && is_good(place, bytes)).then(|| bytes.slice(HEADER_BYTES..end))
}

fn is_good(place: Place, bytes: &[u8]) -> bool {
    let Some((sum, rest)) = bytes.get(4..).and_then(<[u8]>::split_first_chunk::<8>) else {
        return false;
    };
    let body = length(bytes).and_then(|length| rest.get(..length));
    body.is_some_and(|body| xxh3_64_with_seed(body, place.seed()) == u64::from_le_bytes(*sum))
}

/// The length of the body that a frame claims.
fn length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?);
    usize::try_from(length).ok().filter(|length| (1..=BODY_BYTES_MAX).contains(length))
}

/// How many bytes are compared with checksums at most in search of a frame, so that no content makes a start slow.
const SEARCH_BYTES_MAX: usize = 1 << 30;

/// What follows a damaged frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// A good frame, there.
    Good(usize),
    /// No good frame.
    Nothing,
    /// What was looked through has none; it was not all.
    Unknown,
}

/// Looks behind the start of a damaged frame, whose length may be what is damaged, for the next good one.
pub(super) fn after_damage(segment: u64, bytes: &[u8], damaged: usize) -> Follows {
    let mut left = SEARCH_BYTES_MAX;
    for at in damaged + 1..bytes.len() {
        let Some((offset, rest)) = u32::try_from(at).ok().zip(bytes.get(at..)) else { break };
        let fits = |length: &usize| HEADER_BYTES + length <= rest.len();
        let is_kind = rest.get(HEADER_BYTES).is_some_and(|kind| (BEGIN..=RECORD).contains(kind));
        let Some(length) = length(rest).filter(fits).filter(|_| is_kind) else { continue };
        if is_good(Place { segment, offset }, rest) {
            return Follows::Good(at);
        }
        let Some(less) = left.checked_sub(length) else { return Follows::Unknown };
        left = less;
    }
    Follows::Nothing
}

/// Takes a checked body apart.
pub(super) fn read(mut body: Bytes) -> Option<Body> {
    match body.try_get_u8().ok()? {
        BEGIN => {
            let format = body.try_get_u32_le().ok()?;
            Some(Body::Begin { format, segment: body.try_get_u64_le().ok()? })
        }
        SHARED => Some(Body::Shared { hash: body.try_get_u128_le().ok()?, bytes: body }),
        RECORD => {
            let number = body.try_get_u64_le().ok()?;
            let at = Timestamp(body.try_get_i64_le().ok()?);
            let object = Tag(body.try_get_u64_le().ok()?);
            let tags = Tags { object, plugin: Tag(body.try_get_u64_le().ok()?) };
            let count = body.try_get_u8().ok()?;
            let shared = (0..count).map(|_| body.try_get_u128_le().ok()).collect::<Option<_>>()?;
            Some(Body::Record(Record { number, at, tags, shared, body }))
        }
        _ => None,
    }
}
