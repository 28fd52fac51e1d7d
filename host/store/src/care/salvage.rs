//! Repair: what can be read of a damaged store, made into a new one.
//!
//! # What is read
//! The log's whole frames, and every leaf page of redb's file that looks like one of `log` or of `index`, whether or not a tree
//! still leads to it. Every record and every index entry carries a checksum over what it is and where it belongs, so that
//! nothing is taken for one that is not.
//!
//! # What is kept
//! Of each key its last change, where something vouches for which that is ([`Known`]). Pages that redb has freed and frames that
//! the log has not written over are found, too, so that a key may have been changed or deleted since; where nothing vouches,
//! the newest that was found is kept, and told as unsure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quadrille_object::Timestamp;

use super::known::{Known, Told};
use super::names::{self, beside, discard};
use super::{BATCH, CareError, ahead, check_with, directory, failed, make_beside};
use crate::backup::Saved;
use crate::change::ChangeKind;
use crate::disk::Disk;
use crate::disk::shadow::Shadow;
use crate::engine::redb::{FILE, leaves};
use crate::engine::state::State;
use crate::engine::wal::replayable;
use crate::engine::{Entry, files};
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
    /// Objects of which only an earlier state could be read. A change that is missing and that nothing says more of counts as one.
    pub older: u64,
    /// Objects that are known to be missing.
    pub lost: u64,
    /// Objects of which it is not known whether they had been changed or deleted since.
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
pub(super) struct Found {
    /// The newest bookkeeping.
    pub(super) state: Option<State>,
    /// Of each key: the changes in the engine's pages, and the last one in the log.
    records: BTreeMap<Bytes, BTreeMap<Revision, Entry>>,
    log: BTreeMap<Bytes, Entry>,
    /// Of each key: the newest index entry in the engine's pages.
    pub(super) index: BTreeMap<Bytes, IndexEntry>,
    /// All revisions in the log.
    logged: BTreeSet<Revision>,
    /// The newest revision of a record or an index entry in the engine's pages.
    pub(super) newest_below: Revision,
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
    let known = Known::of(&shadow, &found).map_err(opened)?;
    let kept = decide(known.as_ref(), &found, &mut done);
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
    let state = found.state.unwrap_or_default();
    for entry in replayable(disk, state.id) {
        found.logged.insert(entry.revision);
        found.log.insert(entry.index_key.clone(), entry);
    }
    let logged = found.logged.last().copied().unwrap_or_default();
    found.newest = found.newest_below.max(state.newest).max(logged);
    Ok(found)
}

impl Found {
    /// One row of a leaf: of whichever table.
    pub(super) fn take(&mut self, (key, value): (&[u8], &[u8])) {
        if let Some(state) = State::decode(value) {
            let known = self.state.map(|known| (known.newest, known.oldest));
            if known.is_none_or(|known| (state.newest, state.oldest) >= known) {
                self.state = Some(state);
            }
            return;
        }
        if let Some((entry, _)) = IndexEntry::decode(key, value) {
            let known = self.index.get(key).is_some_and(|known| known.revision >= entry.revision);
            if !known {
                self.index.insert(Bytes::copy_from_slice(key), entry);
            }
            self.newest_below = self.newest_below.max(entry.revision);
            return;
        }
        let Ok(revision) = key.try_into().map(u64::from_le_bytes) else { return };
        let revision = Revision(revision);
        if let Ok(parts) = record::decode(revision, value) {
            let (index_key, live) = (parts.index_key().into(), parts.kind != ChangeKind::Deleted);
            self.at = self.at.max(parts.at);
            let record = Bytes::copy_from_slice(value);
            let entry = Entry { revision, index_key, live, record };
            self.newest_below = self.newest_below.max(revision);
            self.records.entry(entry.index_key.clone()).or_default().insert(revision, entry);
        }
    }
}

/// What of it goes into the new store.
pub(super) fn decide(known: Option<&Known>, found: &Found, done: &mut Repaired) -> Vec<Saved> {
    if let Some((after, missing)) = known.and_then(|known| found.missing_after(known.at())) {
        done.older += missing;
        let changes = format!("{missing} changes after revision {after} are missing from the log");
        done.named.push(format!("{changes}: what they changed is in an earlier state"));
    }
    let keys: BTreeSet<&Bytes> =
        found.records.keys().chain(found.log.keys()).chain(found.index.keys()).collect();
    let (mut kept, mut unsure) = (Vec::new(), Vec::new());
    for key in keys {
        let told = known.and_then(|known| known.tell(key, found.log.get(key)));
        match found.last(key, told.unwrap_or_else(|| found.guess(key))) {
            Last::Is(entry, certain) => {
                match certain {
                    Certain::Yes => {}
                    Certain::Older => {
                        done.older += 1;
                        done.name(key, "only an earlier state could be read");
                    }
                    Certain::Perhaps => {
                        done.unsure += 1;
                        unsure.push(key);
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
    for key in unsure {
        done.name(key, "it may have been changed or deleted since");
    }
    kept
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
    /// Of the changes that a log has after `revision`: after which the first are missing, and how many in all.
    pub(super) fn missing_after(&self, revision: Revision) -> Option<(Revision, u64)> {
        let there = self.logged.range(revision.next()..);
        let (mut last, mut gap, mut missing) = (revision, None, 0);
        for logged in there {
            if *logged != last.next() {
                gap = gap.or(Some(last));
                missing += logged.0 - last.next().0;
            }
            last = *logged;
        }
        gap.map(|after| (after, missing))
    }

    fn guess(&self, key: &Bytes) -> Told {
        let (indexed, logged) = (self.index.get(key).copied(), self.log.get(key));
        let entries = logged.map(Entry::indexed).into_iter().chain(indexed);
        Told::Guess(entries.max_by_key(|entry| entry.revision))
    }

    fn last(&self, key: &Bytes, told: Told) -> Last<'_> {
        let logged = self.log.get(key).map(|entry| (entry.revision, entry));
        let records = self.records.get(key);
        let at_or_below = |revision: Revision| {
            let recorded = records.and_then(|r| r.range(..=revision).next_back());
            let recorded = recorded.map(|(revision, entry)| (*revision, entry));
            // The log may also have a frame that was refused, of the same revision.
            logged.into_iter().filter(|(r, _)| *r <= revision).chain(recorded).max_by_key(|f| f.0)
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
                    Last::Is(found, if sure { Certain::Yes } else { Certain::Perhaps })
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
