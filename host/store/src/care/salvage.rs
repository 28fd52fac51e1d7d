//! Repair: what can be read of a damaged store, made into a new one.
//!
//! # What is read
//! The log's whole frames, and every leaf page of redb's file that looks like one of `log` or of `index`, whether or not a tree
//! still leads to it. Every record and every index entry carries a checksum over what it is and where it belongs, so that
//! nothing is taken for one that is not.
//!
//! # What is kept
//! Of each key the newest record. Pages that redb has freed are found too, so a key may have been deleted since: where the engine
//! still opens, its index decides, key by key; else the newest index entry does. What neither knows is kept, and told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quadrille_object::Timestamp;

use super::names::{self, beside, discard};
use super::{BATCH, CareError, ahead, check_with, directory, failed, make_beside};
use crate::backup::Saved;
use crate::change::ChangeKind;
use crate::disk::Disk;
use crate::disk::shadow::Shadow;
use crate::engine::redb::{FILE, RedbEngine, leaves};
use crate::engine::state::State;
use crate::engine::wal::replayable;
use crate::engine::{Engine, Entry, files};
use crate::key::Revision;
use crate::record::{self, IndexEntry};
use crate::store::{OpenError, open_error};

/// How many keys are named.
const NAMED_MAX: usize = 20;

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Objects in the new store.
    pub objects: u64,
    /// Objects of which only an earlier state could be read.
    pub older: u64,
    /// Objects that are known to be missing.
    pub lost: u64,
    /// Objects of which it is not known whether they had been deleted.
    pub unsure: u64,
    /// Some of these, with what is the matter.
    pub named: Vec<String>,
    /// The revision at which the new store begins.
    pub revision: Revision,
    /// Where the damaged one is now.
    pub kept_at: PathBuf,
}

/// Everything that could be read.
#[derive(Debug, Default)]
struct Found {
    state: State,
    /// Of each key: the changes in the engine's pages, and the last one in the log.
    records: BTreeMap<Bytes, BTreeMap<Revision, Entry>>,
    log: BTreeMap<Bytes, Entry>,
    index: BTreeMap<Bytes, IndexEntry>,
    newest: Revision,
    /// The time of the newest change that was read.
    at: Timestamp,
}

/// Makes a new store of what can be read of a damaged one, which is moved aside.
///
/// # Errors
/// When it is whole, in use, or nothing of it can be read. It is as it was then.
pub fn repair(dir: &Path, now: Timestamp) -> Result<Repaired, CareError> {
    // By its own name: something is to lie beside it, and a link to it goes on leading to it.
    let real = dir.canonicalize();
    let real = real.map_err(|source| OpenError::Io { path: dir.to_owned(), source })?;
    repair_on(&directory(&real)?, &real, now)
}

/// The same on a disk that shows the directory.
pub(super) fn repair_on(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    now: Timestamp,
) -> Result<Repaired, CareError> {
    let opened = |error| open_error(dir.to_owned(), error);
    // Held to the end: who opened the store meanwhile would go on in the files that are moved away.
    let held = files::hold(disk.as_ref()).map_err(opened)?;
    let checked =
        check_with(Arc::clone(disk), dir, &|shadow| files::open_locked(shadow, held.clone()))?;
    if checked.problems.is_empty() {
        return Err(CareError::Whole { path: dir.to_owned() });
    }
    let shadow: Arc<dyn Disk> = Arc::new(Shadow::new(Arc::clone(disk)));
    let found = find(&shadow, dir)?;
    if found.records.is_empty() && found.log.is_empty() {
        return Err(CareError::Nothing { path: dir.to_owned() });
    }
    let mut done = Repaired { revision: ahead(found.newest, found.at, now), ..Repaired::default() };
    let kept = decide(&shadow, &found, &mut done);
    done.objects = kept.len() as u64;
    let new = beside(dir, names::REPAIRING);
    let made = make_beside(&new, |new| {
        for batch in kept.chunks(BATCH) {
            new.put(batch.to_vec())?;
        }
        new.begin_at(done.revision)
    });
    let replaced = made.and_then(|()| names::replace(&new, dir));
    done.kept_at = replaced.inspect_err(|_| discard(&new))?;
    drop(held);
    Ok(done)
}

fn find(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Found, CareError> {
    let mut found = Found::default();
    if disk.length(FILE).ok().flatten().is_some_and(|length| length > 0) {
        let scanned = leaves::scan(disk.as_ref(), &mut |leaf| found.take(leaf));
        scanned.map_err(|source| failed("read", &dir.join(FILE), source))?;
    }
    for entry in replayable(disk, found.state.id) {
        found.newest = found.newest.max(entry.revision);
        found.log.insert(entry.index_key.clone(), entry);
    }
    found.newest = found.newest.max(found.state.newest);
    Ok(found)
}

impl Found {
    /// One row of a leaf: of whichever table.
    fn take(&mut self, (key, value): (&[u8], &[u8])) {
        if let Some(state) = State::decode(value) {
            if state.newest >= self.state.newest {
                self.state = state;
            }
            return;
        }
        if let Some((entry, _)) = IndexEntry::decode(key, value) {
            let known = self.index.get(key).is_some_and(|known| known.revision >= entry.revision);
            if !known {
                self.index.insert(Bytes::copy_from_slice(key), entry);
            }
            self.newest = self.newest.max(entry.revision);
            return;
        }
        let Ok(revision) = key.try_into().map(u64::from_le_bytes) else {
            return;
        };
        let revision = Revision(revision);
        if let Ok(parts) = record::decode(revision, value) {
            let (index_key, live) = (parts.index_key().into(), parts.kind != ChangeKind::Deleted);
            self.at = self.at.max(parts.at);
            let record = Bytes::copy_from_slice(value);
            let entry = Entry { revision, index_key, live, record };
            self.newest = self.newest.max(revision);
            self.records.entry(entry.index_key.clone()).or_default().insert(revision, entry);
        }
    }
}

/// What of it goes into the new store.
fn decide(disk: &Arc<dyn Disk>, found: &Found, done: &mut Repaired) -> Vec<Saved> {
    let engine = RedbEngine::open(disk).ok();
    // The engine's own index stands where it can be read. It does not know what is only in the log in front of it.
    let below = engine.as_ref().map_or(Revision(0), |engine| engine.state().newest);
    let keys: BTreeSet<&Bytes> =
        found.records.keys().chain(found.log.keys()).chain(found.index.keys()).collect();
    let mut kept = Vec::new();
    for key in keys {
        let told = match (found.log.get(key), engine.as_ref().map(|engine| engine.index(key))) {
            (Some(entry), _) if entry.revision > below => Told::Is(entry.indexed()),
            (_, Some(Ok(Some(entry)))) => Told::Is(entry),
            (_, Some(Ok(None))) => Told::IsNot,
            (_, Some(Err(_)) | None) => found.guess(key),
        };
        match found.last(key, told) {
            Last::Is(entry, certain) => {
                match certain {
                    Certain::Yes => {}
                    Certain::Older => {
                        done.older += 1;
                        done.name(key, "only an earlier state could be read");
                    }
                    Certain::Perhaps => {
                        done.unsure += 1;
                        done.name(key, "it may have been deleted before");
                    }
                }
                let (revision, record) = (entry.revision, entry.record.clone());
                kept.push(Saved { revision, index_key: key.clone(), record });
            }
            Last::Lost => {
                done.lost += 1;
                done.name(key, "it cannot be read");
            }
            Last::IsNot => {}
        }
    }
    if let Some(engine) = &engine {
        engine.abandon();
    }
    kept
}

/// What is known of a key's last change.
#[derive(Clone, Copy)]
enum Told {
    Is(IndexEntry),
    IsNot,
    /// Nothing better than this entry, which may be old, is known.
    Guess(Option<IndexEntry>),
}

/// What becomes of a key.
enum Last<'a> {
    Is(&'a Entry, Certain),
    IsNot,
    Lost,
}

enum Certain {
    Yes,
    Older,
    Perhaps,
}

impl Found {
    fn guess(&self, key: &Bytes) -> Told {
        Told::Guess(self.index.get(key).copied())
    }

    fn last(&self, key: &Bytes, told: Told) -> Last<'_> {
        let logged = self.log.get(key).map(|entry| (entry.revision, entry));
        let records = self.records.get(key);
        let at_or_below = |revision: Revision| {
            let recorded = records.and_then(|r| r.range(..=revision).next_back());
            let recorded = recorded.map(|(revision, entry)| (*revision, entry));
            recorded.into_iter().chain(logged).filter(|(r, _)| *r <= revision).max_by_key(|f| f.0)
        };
        let (entry, sure) = match told {
            Told::IsNot => return Last::IsNot,
            Told::Is(entry) => (Some(entry), true),
            Told::Guess(entry) => (entry, false),
        };
        let newest = at_or_below(Revision(u64::MAX));
        match (entry, newest) {
            (Some(entry), Some((revision, newest))) if !sure && revision > entry.revision => {
                if newest.live {
                    Last::Is(newest, Certain::Perhaps)
                } else {
                    Last::IsNot
                }
            }
            (Some(entry), _) if !entry.live => Last::IsNot,
            (Some(entry), _) => match at_or_below(entry.revision).filter(|(_, found)| found.live) {
                Some((revision, found)) if revision == entry.revision => {
                    Last::Is(found, Certain::Yes)
                }
                Some((_, found)) => Last::Is(found, Certain::Older),
                None => Last::Lost,
            },
            (None, Some((_, newest))) if newest.live => Last::Is(newest, Certain::Perhaps),
            (None, _) => Last::IsNot,
        }
    }
}

impl Repaired {
    fn name(&mut self, key: &[u8], what: &str) {
        if self.named.len() < NAMED_MAX {
            let key = record::key_from_index(key).map_or_else(String::new, |key| key.to_string());
            self.named.push(format!("{key}: {what}"));
        }
    }
}
