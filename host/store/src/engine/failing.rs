//! An engine for tests: it waits like a disk, has its records in memory, and fails as it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use super::memory::MemoryEngine;
use super::{Budget, Compacted, Engine, EngineError, Entry, Loaded, ReadLimit, Size};
use crate::key::Revision;
use crate::record::IndexEntry;

/// The switches may be held by a test.
#[derive(Debug, Default)]
pub(crate) struct Failing {
    below: MemoryEngine,
    /// Whether batches are refused.
    pub(crate) refuses: Arc<AtomicBool>,
    /// Whether checkpoints fail.
    pub(crate) checkpoints_fail: Arc<AtomicBool>,
    /// A record that is gone, as one that compaction removes; 0 for none.
    pub(crate) lost: Arc<AtomicU64>,
}

fn full() -> EngineError {
    EngineError::Io("no space left on device".to_owned())
}

impl Engine for Failing {
    fn load(&self) -> Result<Loaded, EngineError> {
        self.below.load()
    }

    fn persist(&self, batch: &[Entry]) -> Result<(), EngineError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(full());
        }
        self.below.persist(batch)
    }

    fn probe(&self) -> Result<(), EngineError> {
        self.persist(&[])
    }

    fn checkpoint(&self) -> Result<(), EngineError> {
        if self.checkpoints_fail.load(Ordering::SeqCst) { Err(full()) } else { Ok(()) }
    }

    fn oldest(&self) -> Revision {
        self.below.oldest()
    }

    fn read(
        &self,
        after: Revision,
        limit: ReadLimit,
    ) -> Result<Vec<(Revision, Bytes)>, EngineError> {
        self.below.read(after, limit)
    }

    fn record(&self, revision: Revision) -> Result<Option<Bytes>, EngineError> {
        if self.lost.load(Ordering::SeqCst) == revision.0 {
            return Ok(None);
        }
        self.below.record(revision)
    }

    fn index(&self, key: &[u8]) -> Result<Option<IndexEntry>, EngineError> {
        self.below.index(key)
    }

    fn compact(&self, budget: Budget) -> Result<Compacted, EngineError> {
        self.below.compact(budget)
    }

    fn size(&self) -> Size {
        self.below.size()
    }
}
