//! What is done to a store that nobody serves from: look, save, put back, repair.
//!
//! Looking and saving open the store on a [`Shadow`]: not a byte of its files changes, however damaged they are. Putting back and
//! repairing make a new store beside, and give it its name when it is whole; nothing that is there is written over.
//!
//! A new store begins behind every revision that the old one can have issued ([`ahead`]), and without a history. So whoever
//! resumes a watch from before is told `Expired` and lists anew, and no resourceVersion is ever used twice.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quadrille_kit::{Random, SystemRandom};
use quadrille_object::{Meta, Timestamp};

use self::names::{beside, discard, settle};
use crate::backup::{self, Backup, BackupError, BackupHead, Saved};
use crate::disk::shadow::Shadow;
use crate::disk::{Directory, Disk};
use crate::engine::redb::RedbEngine;
use crate::engine::wal::WalEngine;
use crate::engine::{Engine, EngineError, Entry, ReadLimit, files};
use crate::key::Revision;
use crate::open;
use crate::record;
use crate::store::{OpenError, open_error};

mod known;
mod names;
mod salvage;
#[cfg(test)]
mod tests;

pub(crate) use names::has_store;
pub use salvage::{Repaired, repair};

/// Records looked at in one go.
const STEP: ReadLimit =
    ReadLimit { through: Revision(u64::MAX - 1), records_max: 1024, bytes_max: 8 << 20 };

/// Objects that are put into a new store in one go.
const BATCH: usize = 1024;

/// How many problems are told; there may be one for each record.
const PROBLEMS_MAX: usize = 20;

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkup {
    /// Objects that exist.
    pub objects: u64,
    /// Changes in the history.
    pub changes: u64,
    /// The newest revision.
    pub newest: Revision,
    /// The revision after which watches can resume.
    pub oldest: Revision,
    /// Bytes of records that were read and compared with their checksums.
    pub record_bytes: u64,
    /// What is wrong, the first of it; empty when all is well.
    pub problems: Vec<String>,
}

/// Why a store is not put back or repaired.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// The backup cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// There is a store already.
    #[error(
        "{path} exists; a store is never written over: name another directory, or move it away"
    )]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot {act} {path}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is nothing to be done.
    #[error("{path} is whole: nothing to repair")]
    Whole {
        /// The store.
        path: PathBuf,
    },
    /// Nothing in it can be read.
    #[error("nothing of {path} can be read; restore the last backup")]
    Nothing {
        /// The store.
        path: PathBuf,
    },
}

/// Reads everything of a store and compares it with its checksums and with itself. Changes nothing.
///
/// # Errors
/// When it cannot be looked at: another process has it, a newer version wrote it, there is none. Damage is no error here.
pub fn check(dir: &Path) -> Result<Checkup, OpenError> {
    check_on(directory(dir)?, dir)
}

/// The same on any disk.
///
/// # Errors
/// As [`check`].
pub fn check_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Checkup, OpenError> {
    check_with(disk, dir, &files::open)
}

/// Opens a store's files on a shadow.
type Opener<'a> = &'a dyn Fn(&Arc<dyn Disk>) -> Result<WalEngine, EngineError>;

fn check_with(disk: Arc<dyn Disk>, dir: &Path, opener: Opener<'_>) -> Result<Checkup, OpenError> {
    let shadow: Arc<dyn Disk> = Arc::new(Shadow::new(disk));
    let mut found = Checkup::default();
    let looked = catch_unwind(AssertUnwindSafe(|| look(&shadow, opener, &mut found)));
    match looked {
        Ok(Ok(())) => {}
        Ok(Err(EngineError::Corrupt(what))) => found.tell(what),
        Ok(Err(other)) => return Err(open_error(dir.to_owned(), other)),
        Err(_) => found.tell("reading it made the engine panic".to_owned()),
    }
    Ok(found)
}

impl Checkup {
    fn tell(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

fn look(
    shadow: &Arc<dyn Disk>,
    opener: Opener<'_>,
    found: &mut Checkup,
) -> Result<(), EngineError> {
    let engine = opener(shadow)?;
    let looked = look_into(&engine, found);
    if looked.is_ok() && found.problems.is_empty() && !engine.below().verify()? {
        found.tell("the engine's lists of free pages do not match its trees".to_owned());
    }
    // Closing would only write to the shadow, and what is damaged had better not be touched again.
    engine.below().abandon();
    looked
}

fn look_into(engine: &WalEngine, found: &mut Checkup) -> Result<(), EngineError> {
    let loaded = engine.load()?;
    (found.newest, found.oldest) = (loaded.newest, loaded.oldest);
    found.objects = loaded.live.len() as u64;
    let (mut needed, mut last) = (BTreeSet::new(), Vec::new());
    for (revision, bytes) in &loaded.live {
        needed.insert(*revision);
        match record::decode(*revision, bytes) {
            Ok(parts) => {
                let key = parts.index_key();
                if key <= last {
                    found.tell(format!("revision {revision} is indexed under another key"));
                }
                last = key;
                if let Err(error) = Meta::parse_stored(parts.value) {
                    found
                        .tell(format!("the object of revision {revision} cannot be read: {error}"));
                }
            }
            Err(damaged) => found.tell(damaged.to_string()),
        }
    }
    drop(loaded);
    look_at_log(engine, found, needed)
}

/// The history without a gap, before it what is still needed and nothing else, and as many bytes as there should be.
fn look_at_log(
    engine: &WalEngine,
    found: &mut Checkup,
    mut needed: BTreeSet<Revision>,
) -> Result<(), EngineError> {
    let (mut after, mut expected, mut kept) = (Revision(0), found.oldest, Vec::new());
    let mut history_bytes = 0;
    loop {
        let records = engine.read(after, STEP)?;
        let Some((last, _)) = records.last() else { break };
        after = *last;
        for (revision, bytes) in &records {
            found.record_bytes += bytes.len() as u64;
            if *revision > found.oldest {
                history_bytes += bytes.len() as u64;
                found.changes += 1;
                if *revision != expected.next() {
                    found.tell(format!("changes after revision {expected} are missing"));
                }
                expected = *revision;
            } else {
                kept.push(*revision);
            }
            match record::decode(*revision, bytes) {
                Ok(parts) if *revision > found.oldest => {
                    needed.insert(parts.previous);
                }
                Ok(_) => {}
                Err(damaged) => found.tell(damaged.to_string()),
            }
        }
    }
    if expected != found.newest {
        found.tell(format!("changes after revision {expected} are missing"));
    }
    if let Some(revision) = kept.iter().find(|revision| !needed.contains(revision)) {
        found.tell(format!("revision {revision} is there and nothing needs it"));
    }
    let size = engine.size();
    if (size.history_bytes, size.record_bytes) != (history_bytes, found.record_bytes) {
        found.tell("the engine's count of bytes is wrong".to_owned());
    }
    Ok(())
}

/// A backup of a store that nobody serves from. Changes nothing.
///
/// # Errors
/// When it cannot be opened, or is damaged.
pub fn backup(dir: &Path, now: Timestamp) -> Result<Backup, OpenError> {
    let shadow: Arc<dyn Disk> = Arc::new(Shadow::new(directory(dir)?));
    let engine = files::open(&shadow).map_err(|error| open_error(dir.to_owned(), error))?;
    let recovered = open::recover(&engine).map_err(|error| open_error(dir.to_owned(), error))?;
    Ok(Backup::of(recovered.working.snapshot, now))
}

/// What was put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub head: BackupHead,
    /// The revision at which the new store begins.
    pub revision: Revision,
}

/// Makes a store of a backup, in a directory that does not exist or is empty.
///
/// # Errors
/// When there is a store, the backup is not whole, or the disk fails. Nothing is left of it then.
pub fn restore(source: &mut impl Read, dir: &Path, now: Timestamp) -> Result<Restored, CareError> {
    let dir = &names::real(dir).map_err(|source| failed("find", dir, source))?;
    let is_empty = !dir.exists() || fs::read_dir(dir).is_ok_and(|mut files| files.next().is_none());
    if !is_empty {
        return Err(CareError::Exists { path: dir.to_owned() });
    }
    let beside = beside(dir, names::RESTORING);
    let made = make_beside(&beside, |new| {
        let mut batch = Vec::new();
        let head = backup::read(source, |_, saved| {
            batch.push(saved);
            if batch.len() >= BATCH { new.put(std::mem::take(&mut batch)) } else { Ok(()) }
        })?;
        new.put(batch)?;
        let revision = ahead(head.revision, head.at, now);
        new.begin_at(revision)?;
        Ok(Restored { head, revision })
    });
    // An empty directory of the name gives way by the same step.
    let settled = made.and_then(|restored| settle(&beside, dir).map(|()| restored));
    settled.inspect_err(|_| discard(&beside))
}

/// The most changes that a store is taken to have had since a backup: what it can do without a pause for decades. A backup
/// that is older by its date comes from a machine whose clock was wrong, and revisions are not to be used up by that.
const CHANGES_SINCE_MAX: u64 = 100_000_000_000_000;

/// A revision behind all that a store can have issued since it was at `revision`: a million a second, which is ten times what
/// it can do, and a thousand million for clocks that are wrong.
fn ahead(revision: Revision, at: Timestamp, now: Timestamp) -> Revision {
    let elapsed = u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0).min(CHANGES_SINCE_MAX);
    Revision(revision.0.saturating_add(elapsed).saturating_add(1_000_000_000))
}

/// A store in the making.
struct New {
    engine: RedbEngine,
    path: PathBuf,
}

impl New {
    fn put(&self, batch: Vec<Saved>) -> Result<(), CareError> {
        let entries = batch.into_iter().map(|saved| Entry {
            revision: saved.revision,
            index_key: saved.index_key,
            live: true,
            record: saved.record,
        });
        let entries: Vec<Entry> = entries.collect();
        self.engine.persist(&entries).map_err(|error| self.failed(error))
    }

    fn begin_at(&self, revision: Revision) -> Result<(), CareError> {
        self.engine.begin_at(revision).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: EngineError) -> CareError {
        open_error(self.path.clone(), error).into()
    }
}

/// Makes a store in a directory of its own, whole when this returns.
fn make_beside<T>(
    path: &Path,
    fill: impl FnOnce(&New) -> Result<T, CareError>,
) -> Result<T, CareError> {
    discard(path);
    let made = Directory::open_or_make(path).map_err(|source| failed("make", path, source))?;
    let disk: Arc<dyn Disk> = Arc::new(made);
    let told = |error| CareError::from(open_error(path.to_owned(), error));
    files::make(disk.as_ref(), SystemRandom::default().next_u64()).map_err(told)?;
    let new = New { engine: RedbEngine::open(&disk).map_err(told)?, path: path.to_owned() };
    fill(&new)
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> CareError {
    CareError::Io { act, path: path.to_owned(), source }
}

fn directory(dir: &Path) -> Result<Arc<dyn Disk>, OpenError> {
    let opened = Directory::open(dir);
    let opened = opened.map_err(|source| OpenError::Io { path: dir.to_owned(), source })?;
    Ok(Arc::new(opened))
}
