//! The engine on redb: one durable redb transaction per batch.
//!
//! # Recovery
//! After an error the database object may no longer be trusted (redb refuses to go on after a failed write or
//! sync, rightly: what the kernel dropped is not retried). It is closed, and the next call opens the file
//! again. If the failed batch turns out to be in the file, it was refused to its callers, so it is taken out
//! again before anything else happens: its records go, and the index points to the changes before.
//!
//! # A new file
//! is made under another name, completed, and moved to its own when it is durable. So a file of that name is whole, and
//! one that is missing while its log is there is a loss, not a beginning.
//!
//! # Damage
//! redb does not check pages when it reads them, and may panic on damaged ones; so they are checked below it
//! ([`pages`]). Besides, every call is guarded, the records, index entries and bookkeeping carry checksums of their own,
//! and the index has a fingerprint: an old page at its place is found by these. A database found damaged is abandoned,
//! not closed: closing writes to it, and redb 4.4 can panic twice while it does (which ends the process). A page that a
//! reader or compaction was refused is another matter: redb has seen nothing of it, so it is closed and opened again, and
//! whoever reads that page is told, while all else goes on.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use redb::{Database, ReadableDatabase};

use self::errors::{guarded, io, lost, open_error};
use self::tables::{INDEX, LOG, append, begin, change, due, indexed, pass, prepare, rewind, walk};
use super::state::State;
use super::{Budget, Compacted, Engine, EngineError, Entry, Loaded, ReadLimit, Size};
use crate::disk::Disk;
use crate::key::Revision;
use crate::record::IndexEntry;

mod errors;
#[cfg(test)]
pub(crate) mod failing;
pub(crate) mod leaves;
mod pages;
mod tables;

/// The name of the file.
pub(crate) const FILE: &str = "store.redb";

/// The name of a file in the making.
const PART: &str = "store.part";

/// redb's page cache. Reads come from the store's own memory, so it only serves the tree's inner pages and
/// history; too small and checkpoints read pages back, too large and idle memory grows.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

type Opener = Box<dyn Fn() -> Result<Database, EngineError> + Send + Sync>;

/// Whether damage that was met does not end the use of a database.
type Spared = fn(&pages::Held) -> bool;

/// The redb engine.
pub(crate) struct RedbEngine {
    opener: Opener,
    /// `None` after an error, until it is opened again.
    database: RwLock<Option<Database>>,
    state: Mutex<State>,
    /// Held over each change of file and bookkeeping together, and while the database is closed after an error: opened
    /// again between the two, it would take out a batch that is about to be acknowledged.
    writing: Mutex<()>,
    /// As far as steps of compaction have come or are about to: raised before readers can miss what a step removes.
    passed: AtomicU64,
    /// Whether damage was found.
    damaged: AtomicBool,
    file_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    blocks: bool,
    /// The file, taken away from a database that is abandoned.
    held: Arc<pages::Held>,
}

impl fmt::Debug for RedbEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbEngine").field("state", &self.state).finish_non_exhaustive()
    }
}

impl RedbEngine {
    /// Opens the file.
    pub(crate) fn open(disk: &Arc<dyn Disk>) -> Result<Self, EngineError> {
        let (on, measured) = (Arc::clone(disk), Arc::clone(disk));
        let held = Arc::<pages::Held>::default();
        let holding = Arc::clone(&held);
        let opener = move || {
            let file = on.open(FILE).map_err(EngineError::of_disk)?;
            let pages = pages::Pages::open(file, &holding)?;
            let opened = builder().create_with_backend(pages).map_err(open_error)?;
            holding.end_repairs();
            Ok(opened)
        };
        let file_bytes = move || measured.length(FILE).ok().flatten().unwrap_or(0);
        let opened = Self::with_opener(Box::new(opener), Box::new(file_bytes));
        let mut opened = opened.inspect_err(|_| held.close())?;
        (opened.blocks, opened.held) = (disk.blocks(), held);
        Ok(opened)
    }

    /// Makes an empty file; `id` names the store.
    pub(crate) fn make(disk: &dyn Disk, id: u64) -> Result<(), EngineError> {
        let file = disk.create(PART).map_err(EngineError::of_disk)?;
        guarded(|| {
            let pages = pages::Pages::make(Arc::clone(&file));
            let database = builder().create_with_backend(pages).map_err(open_error)?;
            begin(&database, id)
        })?;
        pages::seal(file.as_ref()).map_err(EngineError::of_disk)?;
        disk.rename(PART, FILE).and_then(|()| disk.sync_names()).map_err(EngineError::of_disk)
    }

    pub(crate) fn with_opener(
        opener: Opener,
        file_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<Self, EngineError> {
        let database = guarded(&opener)?;
        let state = match guarded(|| prepare(&database)) {
            Ok(state) => state,
            Err(error) => {
                abandon(database);
                return Err(error);
            }
        };
        let (database, state) = (RwLock::new(Some(database)), Mutex::new(state));
        let (writing, damaged) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self {
            opener,
            database,
            state,
            writing,
            passed: AtomicU64::new(0),
            damaged,
            file_bytes,
            blocks: true,
            held: Arc::default(),
        })
    }

    /// Lets a store that was filled begin at a revision: what is in it is no history.
    pub(crate) fn begin_at(&self, revision: Revision) -> Result<(), EngineError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        (state.newest, state.oldest, state.history_bytes) = (revision, revision, 0);
        self.write(|_| false, |database| change(database, &mut state, |_, _, _| Ok(())))?;
        *self.lock_state() = state;
        Ok(())
    }

    /// Whether all of redb's own checksums hold, and its lists of free pages match its trees. Reads the whole file.
    pub(crate) fn verify(&self) -> Result<bool, EngineError> {
        let mut guard = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = guard.as_mut() else { return Ok(false) };
        guarded(|| database.check_integrity().map_err(open_error))
    }

    /// Leaves the database as it is, without closing it: for one that may be damaged.
    pub(crate) fn abandon(&self) {
        self.damaged.store(true, Ordering::Release);
        self.drop_database();
    }

    /// Gives every index entry to `each`, in order; then whether these are all, by count and fingerprint.
    pub(crate) fn walk_index(
        &self,
        mut each: impl FnMut(&[u8], IndexEntry),
    ) -> Result<bool, EngineError> {
        let state = self.state();
        self.look(|database| {
            let txn = database.begin_read().map_err(io)?;
            let index = txn.open_table(INDEX).map_err(io)?;
            walk(&index, &state, |key, entry| {
                each(key, entry);
                Ok(())
            })
        })
    }

    /// Takes out what was refused and may have reached the file all the same.
    pub(crate) fn settle(&self) -> Result<(), EngineError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.opened().map(drop)
    }

    /// The bookkeeping as last committed.
    pub(crate) fn state(&self) -> State {
        *self.lock_state()
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads. redb reads nothing any more once one read has failed, so an error closes the database as one of writing
    /// does: a disk that works again is read again. So does a damaged page, of which redb has seen nothing: everything else can
    /// still be read and written.
    fn look<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.with(pages::Held::has_refused, work).inspect_err(|error| {
            let is_damaged = self.damaged.load(Ordering::Acquire);
            let is_page = matches!(error, EngineError::Corrupt(_)) && !is_damaged;
            if is_page || matches!(error, EngineError::Io(_)) {
                let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
                self.drop_database();
            }
        })
    }

    /// Works on the open database, opening it again when the last use failed. Damage ends its use for good, unless it is
    /// `spared`.
    fn with<T>(
        &self,
        spared: Spared,
        work: impl FnOnce(&Database) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let guard = self.opened()?;
        let Some(database) = guard.as_ref() else {
            return Err(EngineError::Io("the engine was closed after an error".to_owned()));
        };
        let mut has_ended = false;
        let worked = guarded(|| {
            let answer = work(database);
            has_ended = true;
            answer
        });
        // The database is opened again only when nobody works on it any more, so what was refused was refused to this one.
        worked.inspect_err(|error| {
            let is_damage = matches!(error, EngineError::Corrupt(_));
            if is_damage && !(has_ended && spared(&self.held)) {
                self.damaged.store(true, Ordering::Release);
            }
        })
    }

    /// Writes, with `writing` held: an error closes the database.
    fn write<T>(
        &self,
        spared: Spared,
        work: impl FnOnce(&Database) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.with(spared, work).inspect_err(|_| self.drop_database())
    }

    fn opened(&self) -> Result<RwLockReadGuard<'_, Option<Database>>, EngineError> {
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if guard.is_some() {
            return Ok(guard);
        }
        drop(guard);
        if self.damaged.load(Ordering::Acquire) {
            return Err(EngineError::Corrupt("it was found damaged before".to_owned()));
        }
        let mut writer = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if writer.is_none() {
            let expected = self.state();
            let opened = guarded(|| {
                let database = (self.opener)()?;
                let state = rewind(&database, expected)?;
                *self.lock_state() = state;
                Ok(database)
            })?;
            tracing::info!(revision = expected.newest.0, "storage engine opened again");
            *writer = Some(opened);
        }
        drop(writer);
        Ok(self.database.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn drop_database(&self) {
        let mut guard = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = guard.take() else { return };
        if self.damaged.load(Ordering::Acquire) {
            self.held.close();
            return abandon(database);
        }
        // Closing touches the failing medium; whatever comes of it, the file is read afresh later.
        let closed = catch_unwind(AssertUnwindSafe(|| drop(database)));
        if closed.is_err() {
            tracing::warn!("storage engine panicked while it was closed after an error");
        }
    }
}

impl Drop for RedbEngine {
    fn drop(&mut self) {
        self.drop_database();
    }
}

/// Leaves a damaged database open until the process ends.
#[expect(clippy::mem_forget, reason = "closing a damaged database can end the process")]
fn abandon(database: Database) {
    std::mem::forget(database);
}

impl Engine for RedbEngine {
    fn load(&self) -> Result<Loaded, EngineError> {
        let state = self.state();
        self.look(|database| {
            let txn = database.begin_read().map_err(io)?;
            let (index, log) =
                (txn.open_table(INDEX).map_err(io)?, txn.open_table(LOG).map_err(io)?);
            let mut loaded =
                Loaded { newest: state.newest, oldest: state.oldest, ..Loaded::default() };
            let is_whole = walk(&index, &state, |key, entry| {
                if !entry.live {
                    loaded.graves.push((Bytes::copy_from_slice(key), entry.revision));
                    return Ok(());
                }
                let record = log.get(entry.revision.0).map_err(io)?;
                let record = record.ok_or_else(|| lost(entry.revision))?;
                loaded.live.push((entry.revision, Bytes::copy_from_slice(record.value())));
                Ok(())
            })?;
            if !is_whole {
                return Err(EngineError::Corrupt(
                    "the index lacks keys or has foreign ones".to_owned(),
                ));
            }
            Ok(loaded)
        })
        // What cannot be loaded is not served.
        .inspect_err(|error| {
            if matches!(error, EngineError::Corrupt(_)) {
                self.damaged.store(true, Ordering::Release);
            }
        })
    }

    fn persist(&self, batch: &[Entry]) -> Result<(), EngineError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened()?);
        let mut state = self.state();
        self.write(
            |_| false,
            |database| {
                change(database, &mut state, |log, index, state| append(log, index, state, batch))
            },
        )?;
        *self.lock_state() = state;
        Ok(())
    }

    fn read(
        &self,
        after: Revision,
        limit: ReadLimit,
    ) -> Result<Vec<(Revision, Bytes)>, EngineError> {
        if after >= limit.through {
            return Ok(Vec::new());
        }
        self.look(|database| {
            let txn = database.begin_read().map_err(io)?;
            let log = txn.open_table(LOG).map_err(io)?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            for row in log.range(after.0 + 1..=limit.through.0).map_err(io)? {
                let (revision, record) = row.map_err(io)?;
                let record = record.value();
                bytes += record.len();
                if found.len() >= limit.records_max
                    || (!found.is_empty() && bytes > limit.bytes_max)
                {
                    break;
                }
                found.push((Revision(revision.value()), Bytes::copy_from_slice(record)));
            }
            Ok(found)
        })
    }

    fn record(&self, revision: Revision) -> Result<Option<Bytes>, EngineError> {
        self.look(|database| {
            let txn = database.begin_read().map_err(io)?;
            let log = txn.open_table(LOG).map_err(io)?;
            let record = log.get(revision.0).map_err(io)?;
            Ok(record.map(|record| Bytes::copy_from_slice(record.value())))
        })
    }

    fn index(&self, index_key: &[u8]) -> Result<Option<IndexEntry>, EngineError> {
        self.look(|database| {
            let txn = database.begin_read().map_err(io)?;
            let index = txn.open_table(INDEX).map_err(io)?;
            let entry = index.get(index_key).map_err(io)?;
            entry.map(|bytes| Ok(indexed(index_key, bytes.value())?.0)).transpose()
        })
    }

    fn compact(&self, budget: Budget) -> Result<Compacted, EngineError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened()?);
        let mut state = self.state();
        let mut done = Compacted { oldest: state.oldest, ..Compacted::default() };
        if !due(&state, budget) {
            return Ok(done);
        }
        // A damaged page of old history must not end the writing of what is new.
        self.write(pages::Held::has_refused, |database| {
            change(database, &mut state, |log, index, state| {
                pass(log, index, state, budget, &mut done)?;
                self.passed.fetch_max(state.oldest.0, Ordering::AcqRel);
                Ok(())
            })
        })?;
        *self.lock_state() = state;
        Ok(done)
    }

    fn shrink(&self) -> Result<(), EngineError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened()?);
        let mut guard = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = guard.as_mut() else { return Ok(()) };
        let shrunk = guarded(|| database.compact().map_err(io));
        drop(guard);
        shrunk.map(|_| ()).inspect_err(|_| self.drop_database())
    }

    fn size(&self) -> Size {
        let state = self.state();
        let file_bytes = (self.file_bytes)();
        Size { file_bytes, history_bytes: state.history_bytes, record_bytes: state.record_bytes }
    }

    fn oldest(&self) -> Revision {
        self.state().oldest.max(Revision(self.passed.load(Ordering::Acquire)))
    }

    fn blocks(&self) -> bool {
        self.blocks
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

#[cfg(test)]
mod tests;
