//! What one change looks like on disk, and in which order keys lie there.
//!
//! A record is self-contained: checksum, envelope (kind, transaction bounds, time, previous revision, key),
//! cause and the object's bytes. The checksum is XXH3-128 over everything behind it, seeded with the revision
//! under which the record is stored, so a record that was damaged or ended up at another place is never
//! served. An index entry is checked the same way, over its key.
//!
//! The layout is part of the disk format: changing it means raising [`FORMAT`].

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use quadrille_object::{GroupResource, Timestamp};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::change::ChangeKind;
use crate::key::{Key, Revision};

/// The version of the disk format, recorded in every store.
pub(crate) const FORMAT: u32 = 1;

const CHECKSUM_BYTES: usize = 16;

/// Everything of a record but the object's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) kind: ChangeKind,
    pub(crate) txn: (Revision, Revision),
    pub(crate) at: Timestamp,
    /// The revision of the last change of the same key before, also over a deletion; 0 for none.
    pub(crate) previous: Revision,
    pub(crate) key: Key,
}

/// A record in pieces that borrow from its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) kind: ChangeKind,
    pub(crate) txn: (Revision, Revision),
    pub(crate) at: Timestamp,
    pub(crate) previous: Revision,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) cause: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The bytes do not have the form, or not the checksum, of a record with this revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of revision {revision} is damaged")]
pub(crate) struct Damaged {
    pub(crate) revision: Revision,
}

/// Encodes the record of `revision`.
pub(crate) fn encode(revision: Revision, envelope: &Envelope, cause: &[u8], value: &[u8]) -> Bytes {
    let key = &envelope.key;
    let names = [&key.resource.group, &key.resource.resource, &key.namespace, &key.name];
    let length = 61 + names.iter().map(|n| n.len()).sum::<usize>() + cause.len() + value.len();
    let mut out = BytesMut::with_capacity(length);
    out.put_bytes(0, CHECKSUM_BYTES);
    out.put_u8(kind_code(envelope.kind));
    out.put_u64_le(envelope.txn.0.0);
    out.put_u64_le(envelope.txn.1.0);
    out.put_i64_le(envelope.at.0);
    out.put_u64_le(envelope.previous.0);
    for name in names {
        out.put_u16_le(u16::try_from(name.len()).expect("the committer checked the key's length"));
        out.put_slice(name.as_bytes());
    }
    out.put_u32_le(u32::try_from(cause.len()).expect("the committer checked the cause's length"));
    out.put_slice(cause);
    out.put_slice(value);
    let sum = xxh3_128_with_seed(&out[CHECKSUM_BYTES..], revision.0);
    out[..CHECKSUM_BYTES].copy_from_slice(&sum.to_le_bytes());
    out.freeze()
}

/// Checks a record and takes it apart.
///
/// # Errors
/// When it is not exactly what was stored under `revision`.
pub(crate) fn decode(revision: Revision, bytes: &[u8]) -> Result<Parts<'_>, Damaged> {
    let damaged = Damaged { revision };
    let Some((sum, rest)) = bytes.split_at_checked(CHECKSUM_BYTES) else { return Err(damaged) };
    if xxh3_128_with_seed(rest, revision.0).to_le_bytes() != *sum {
        return Err(damaged);
    }
    take_apart(rest).ok_or(damaged)
}

fn take_apart(rest: &[u8]) -> Option<Parts<'_>> {
    let mut reader = Reader(rest);
    let kind = kind_from(reader.take(1)?.first().copied()?)?;
    let txn = (Revision(reader.u64()?), Revision(reader.u64()?));
    let at = Timestamp(i64::from_le_bytes(reader.array()?));
    let previous = Revision(reader.u64()?);
    let (group, resource) = (reader.text()?, reader.text()?);
    let (namespace, name) = (reader.text()?, reader.text()?);
    let length = u32::from_le_bytes(reader.array()?);
    let cause = reader.take(usize::try_from(length).ok()?)?;
    let value = reader.0;
    Some(Parts { kind, txn, at, previous, group, resource, namespace, name, cause, value })
}

impl Parts<'_> {
    /// The key, each part newly allocated.
    pub(crate) fn key(&self) -> Key {
        Key::new(GroupResource::new(self.group, self.resource), self.namespace, self.name)
    }

    /// The key as the index spells it.
    pub(crate) fn index_key(&self) -> Vec<u8> {
        join([self.group, self.resource, self.namespace, self.name])
    }
}

fn kind_code(kind: ChangeKind) -> u8 {
    match kind {
        ChangeKind::Created => 1,
        ChangeKind::Updated => 2,
        ChangeKind::Deleted => 3,
    }
}

fn kind_from(code: u8) -> Option<ChangeKind> {
    match code {
        1 => Some(ChangeKind::Created),
        2 => Some(ChangeKind::Updated),
        3 => Some(ChangeKind::Deleted),
        _ => None,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u16::from_le_bytes(self.array()?);
        std::str::from_utf8(self.take(usize::from(length))?).ok()
    }
}

/// A key as the index spells it: its parts with a zero byte between them, so that the order of the bytes is
/// the order of keys. No part of a key contains a zero byte (the committer refuses such keys).
pub(crate) fn index_key(key: &Key) -> Bytes {
    join([&key.resource.group, &key.resource.resource, &key.namespace, &key.name]).into()
}

fn join(parts: [&str; 4]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

/// Reads a key back from its spelling in the index.
pub(crate) fn key_from_index(bytes: &[u8]) -> Option<Key> {
    let mut parts = std::str::from_utf8(bytes).ok()?.split('\0').map(Arc::<str>::from);
    let mut next = || parts.next();
    let resource = GroupResource { group: next()?, resource: next()? };
    let key = Key { resource, namespace: next()?, name: next()? };
    parts.next().is_none().then_some(key)
}

/// What the index knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// The revision of its last change.
    pub(crate) revision: Revision,
    /// Whether the object exists; if not, the change was its deletion.
    pub(crate) live: bool,
}

/// The stored form of an index entry.
pub(crate) type IndexBytes = [u8; 17];

impl IndexEntry {
    /// The stored form under `key`, and its checksum, which also counts in the fingerprint of the index.
    pub(crate) fn encode(self, key: &[u8]) -> (IndexBytes, u64) {
        let sum = xxh3_64_with_seed(key, self.revision.0 << 1 | u64::from(self.live));
        let mut bytes = [0; 17];
        bytes[..8].copy_from_slice(&self.revision.0.to_le_bytes());
        bytes[8] = u8::from(self.live);
        bytes[9..].copy_from_slice(&sum.to_le_bytes());
        (bytes, sum)
    }

    /// Checks and reads the stored form; also gives the checksum.
    pub(crate) fn decode(key: &[u8], bytes: &[u8]) -> Option<(Self, u64)> {
        let (revision, rest) = bytes.split_first_chunk::<8>()?;
        let entry =
            Self { revision: Revision(u64::from_le_bytes(*revision)), live: *rest.first()? != 0 };
        let (expected, sum) = entry.encode(key);
        (expected == bytes).then_some((entry, sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Envelope, Bytes) {
        let key = Key::new(GroupResource::new("apps", "replicasets"), "default", "web");
        let txn = (Revision(6), Revision(8));
        let (at, previous) = (Timestamp(-5), Revision(3));
        let envelope = Envelope { kind: ChangeKind::Updated, txn, at, previous, key };
        let bytes = encode(Revision(7), &envelope, b"{}", b"{\"a\":1}");
        (envelope, bytes)
    }

    #[test]
    fn a_record_is_read_back_as_written() {
        let (envelope, bytes) = sample();
        let parts = decode(Revision(7), &bytes).expect("undamaged");
        assert_eq!((parts.kind, parts.txn, parts.at), (envelope.kind, envelope.txn, envelope.at));
        assert_eq!((parts.key(), parts.previous), (envelope.key.clone(), envelope.previous));
        assert_eq!((parts.cause, parts.value), (&b"{}"[..], &b"{\"a\":1}"[..]));
        assert_eq!(key_from_index(&index_key(&envelope.key)), Some(envelope.key));
    }

    #[test]
    fn no_flipped_bit_and_no_other_revision_is_accepted() {
        let (_, bytes) = sample();
        assert_eq!(decode(Revision(8), &bytes).err(), Some(Damaged { revision: Revision(8) }));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(Revision(7), &flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(Revision(7), &bytes[..length]).is_err(), "cut at {length}");
        }
        let entry = IndexEntry { revision: Revision(7), live: true };
        let (stored, sum) = entry.encode(b"key");
        assert_eq!(IndexEntry::decode(b"key", &stored), Some((entry, sum)));
        assert_eq!(IndexEntry::decode(b"kez", &stored), None);
    }
}
