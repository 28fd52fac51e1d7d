//! The seam below the committer: what a storage engine must do.
//!
//! An engine keeps two things: the `log` (revision → record of one change, the only place of values) and the
//! `index` (key → revision of its last change). It knows records, not objects. One committer calls
//! [`Engine::persist`]; everything else may be called at the same time from other threads.
//!
//! Guarantees every engine gives (`engine/conformance.rs` checks them):
//! - `persist` is atomic and durable when it returns `Ok`; when it returns an error, nothing of the batch is
//!   visible through the engine then or later (a crash in between may still show it), and a later call works
//!   again as soon as the medium does.
//! - Records are checked by whoever decodes them; the engine checks its own index and bookkeeping, and says
//!   [`EngineError::Corrupt`] rather than leave something out.
//! - Compaction passes the changes in order and never removes the last record of a live key.

use std::fmt::Debug;

use bytes::Bytes;

use crate::key::Revision;
use crate::record::IndexEntry;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod failing;
pub(crate) mod files;
pub(crate) mod memory;
pub(crate) mod redb;
pub(crate) mod state;
pub(crate) mod wal;

/// One change on its way to the disk.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) revision: Revision,
    pub(crate) index_key: Bytes,
    /// Whether the object exists after it.
    pub(crate) live: bool,
    pub(crate) record: Bytes,
}

impl Entry {
    /// What the index says of its key then.
    pub(crate) fn indexed(&self) -> IndexEntry {
        IndexEntry { revision: self.revision, live: self.live }
    }
}

/// All that is needed to serve again.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) newest: Revision,
    pub(crate) oldest: Revision,
    /// The last record of every live key, in key order.
    pub(crate) live: Vec<(Revision, Bytes)>,
    /// The keys whose last change, still in the history, is their deletion.
    pub(crate) graves: Vec<(Bytes, Revision)>,
}

/// Why an engine did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EngineError {
    /// The medium refused; trying again later may help.
    #[error("{0}")]
    Io(String),
    /// What is stored is not what was written.
    #[error("{0}")]
    Corrupt(String),
    /// Another process has the store open.
    #[error("another process has it open")]
    InUse,
    /// Written by a newer version of this program.
    #[error("its format is {found}, this program reads up to {known}")]
    Newer { found: u32, known: u32 },
}

impl EngineError {
    /// What a disk said: that it cannot, or that what is there is not what has to be.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
    pub(crate) fn of_disk(error: std::io::Error) -> Self {
        let damage = [std::io::ErrorKind::InvalidData, std::io::ErrorKind::UnexpectedEof];
        let message = error.to_string();
        if damage.contains(&error.kind()) { Self::Corrupt(message) } else { Self::Io(message) }
    }
}

/// How much history to keep, and how much work to do at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) bytes_max: u64,
    /// Changes up to this one are too old.
    pub(crate) aged: Revision,
    /// At most about this many changes are passed in one call (a transaction is passed as a whole).
    pub(crate) steps_max: usize,
}

/// What one step of compaction did.
#[derive(Debug, Default)]
pub(crate) struct Compacted {
    pub(crate) oldest: Revision,
    /// Deletions that were passed: their keys are forgotten.
    pub(crate) buried: Vec<(Bytes, Revision)>,
    /// Whether more is to do.
    pub(crate) more: bool,
}

/// How large a store is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "units go last, also when all are the same")]
pub struct Size {
    /// Bytes of the files on disk; 0 in memory.
    pub file_bytes: u64,
    /// Bytes of records that can still be compacted.
    pub history_bytes: u64,
    /// Bytes of all records, history included.
    pub record_bytes: u64,
}

/// How much of the log to read at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimit {
    /// Nothing behind this revision.
    pub(crate) through: Revision,
    pub(crate) records_max: usize,
    pub(crate) bytes_max: usize,
}

/// A storage engine.
pub(crate) trait Engine: Debug + Send + Sync {
    /// Reads everything that is served from memory.
    fn load(&self) -> Result<Loaded, EngineError>;

    /// Stores a batch of consecutive changes.
    fn persist(&self, batch: &[Entry]) -> Result<(), EngineError>;

    /// Whether the next batch would be stored; called after one was refused. May write, but no change.
    fn probe(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// The records after a revision, in order; stops early at the limit.
    fn read(
        &self,
        after: Revision,
        limit: ReadLimit,
    ) -> Result<Vec<(Revision, Bytes)>, EngineError>;

    /// One record.
    fn record(&self, revision: Revision) -> Result<Option<Bytes>, EngineError>;

    /// The last change of a key.
    fn index(&self, index_key: &[u8]) -> Result<Option<IndexEntry>, EngineError>;

    /// Does one bounded step of compaction.
    fn compact(&self, budget: Budget) -> Result<Compacted, EngineError>;

    /// Moves what was persisted quickly to where it stays; nothing to do for most engines.
    fn checkpoint(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Gives free space back to the file system; may take long and hold up `persist`.
    fn shrink(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// How large it is.
    fn size(&self) -> Size;

    /// The revision up to which changes were passed. A step of compaction that failed may have got there all the same, and
    /// one that is under way counts before anybody misses what it removes.
    fn oldest(&self) -> Revision;

    /// Whether its calls may wait for a disk.
    fn blocks(&self) -> bool {
        true
    }
}
