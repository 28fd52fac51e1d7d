//! The bookkeeping that every engine keeps beside log and index, with its stored form.
//!
//! `fingerprint` is the exclusive or of the checksums of all index entries: with it and the count, an index
//! from which a damaged page hides an entry is told from a whole one.

use xxhash_rust::xxh3::xxh3_64;

use crate::key::Revision;

const WORDS: usize = 7;

/// Counters over log and index, changed in the same engine transaction as these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Names this store, so that files of two stores are not mixed.
    pub(crate) id: u64,
    pub(crate) newest: Revision,
    pub(crate) oldest: Revision,
    /// Bytes of the records above `oldest`.
    pub(crate) history_bytes: u64,
    /// Bytes of all records.
    pub(crate) record_bytes: u64,
    /// How many keys the index has, graves included.
    pub(crate) keys: u64,
    pub(crate) fingerprint: u64,
}

impl State {
    /// The stored form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let words = [
            self.id,
            self.newest.0,
            self.oldest.0,
            self.history_bytes,
            self.record_bytes,
            self.keys,
            self.fingerprint,
        ];
        let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let sum = xxh3_64(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Checks and reads the stored form.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<8>()?;
        let (words, rest) = body.as_chunks::<8>();
        if xxh3_64(body).to_le_bytes() != *sum || words.len() != WORDS || !rest.is_empty() {
            return None;
        }
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next();
        Some(Self {
            id: next()?,
            newest: Revision(next()?),
            oldest: Revision(next()?),
            history_bytes: next()?,
            record_bytes: next()?,
            keys: next()?,
            fingerprint: next()?,
        })
    }

    /// Counts a record of `bytes` in.
    pub(crate) fn add_record(&mut self, revision: Revision, bytes: usize) {
        self.newest = self.newest.max(revision);
        self.history_bytes += bytes as u64;
        self.record_bytes += bytes as u64;
    }
}
