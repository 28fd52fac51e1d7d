//! Which change of each key was its last, where something vouches for it: the engine's own index where that can be read, else
//! the index entries that its pages still have, when they are all of them.
//!
//! It decides nothing. A key that it knows nothing of may still be found, and is guessed then.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::salvage::Found;
use crate::disk::Disk;
use crate::engine::redb::RedbEngine;
use crate::engine::{EngineError, Entry};
use crate::key::Revision;
use crate::record::IndexEntry;

/// An index as it was at a revision.
#[derive(Debug)]
pub(super) struct Known {
    at: Revision,
    entries: BTreeMap<Bytes, IndexEntry>,
    /// Whether all of it could be read; else it ends with the last entry.
    is_whole: bool,
}

/// What is known of a key's last change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Is(IndexEntry),
    IsNot,
    /// Nothing better than this entry, which may be old, is known.
    Guess(Option<IndexEntry>),
}

impl Known {
    /// What is known of a store; `None` when nothing vouches for anything.
    ///
    /// # Errors
    /// When somebody else has the store.
    pub(super) fn of(disk: &Arc<dyn Disk>, found: &Found) -> Result<Option<Self>, EngineError> {
        let of_engine = match RedbEngine::open(disk) {
            Ok(engine) => {
                let read = Self::of_engine(&engine);
                engine.abandon();
                read
            }
            Err(EngineError::InUse) => return Err(EngineError::InUse),
            Err(EngineError::Io(_) | EngineError::Corrupt(_) | EngineError::Newer { .. }) => None,
        };
        Ok(match of_engine {
            Some(known) if known.is_whole => Some(known),
            part => Self::of_pages(found).or(part),
        })
    }

    /// The engine's index, as far as it can be read. One that is read to its end and does not match its fingerprint has an
    /// old page at the place of a newer one, so nothing of it counts.
    fn of_engine(engine: &RedbEngine) -> Option<Self> {
        let mut entries = BTreeMap::new();
        let read = engine.walk_index(|key, entry| {
            entries.insert(Bytes::copy_from_slice(key), entry);
        });
        let is_whole = read.is_ok();
        let is_sound = read.unwrap_or(true);
        is_sound.then_some(Self { at: engine.state().newest, entries, is_whole })
    }

    /// The index entries of all pages, where they are just those that the newest bookkeeping counts, and nothing that was
    /// read is newer than that. A deletion that the history has passed is in freed pages alone.
    pub(super) fn of_pages(found: &Found) -> Option<Self> {
        let state = found.state?;
        let counts = |entry: &IndexEntry| entry.live || entry.revision > state.oldest;
        let entries = found.index.iter().filter(|(_, entry)| counts(entry));
        let entries: BTreeMap<_, _> = entries.map(|(key, entry)| (key.clone(), *entry)).collect();
        let sums = entries.iter().map(|(key, entry)| entry.encode(key).1);
        let fingerprint = sums.fold(0, |all, sum| all ^ sum);
        let is_whole = (entries.len() as u64, fingerprint) == (state.keys, state.fingerprint)
            && found.newest_below <= state.newest
            && found.missing_after(state.newest).is_none();
        is_whole.then_some(Self { at: state.newest, entries, is_whole })
    }

    /// The revision up to which it counts; what the log has behind it is newer.
    pub(super) fn at(&self) -> Revision {
        self.at
    }

    /// What it says of a key of which the log has `logged`.
    pub(super) fn tell(&self, key: &Bytes, logged: Option<&Entry>) -> Option<Told> {
        if let Some(entry) = logged.filter(|entry| entry.revision > self.at) {
            return Some(Told::Is(entry.indexed()));
        }
        let reaches = || self.entries.last_key_value().is_some_and(|(last, _)| key <= last);
        let is_known = self.is_whole || reaches();
        is_known.then(|| self.entries.get(key).map_or(Told::IsNot, |entry| Told::Is(*entry)))
    }
}
