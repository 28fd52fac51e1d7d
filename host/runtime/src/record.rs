//! Run records: for every run what was read, what was written, what woke it and which code ran.
//!
//! The newest are kept in memory. What must outlive the host, the cause of each change, is stored with the change
//! ([`quadrille_store::RunCause`]); this ring is where a durable record would be fed from.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use quadrille_object::Timestamp;
use quadrille_store::{Key, ReadSet, Revision};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Well; `requeue` is when it asked to be run again.
    Done {
        /// The wait that it asked for.
        requeue: Option<Duration>,
    },
    /// Badly.
    Failed {
        /// `transient`, `permanent`, `trap`, `deadline`, `limit` or `host`.
        kind: &'static str,
        /// What it said.
        message: String,
    },
    /// Thrown away: somebody else changed what it read.
    Conflict {
        /// On which key.
        key: Option<Key>,
    },
    /// Thrown away: its controller was replaced or removed meanwhile.
    Fenced,
}

/// One run.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// Its number.
    pub run: u64,
    /// The plugin.
    pub plugin: Arc<str>,
    /// The controller.
    pub controller: Arc<str>,
    /// The digest of the code.
    pub digest: Arc<str>,
    /// The object it ran for.
    pub object: Key,
    /// The revision it read.
    pub snapshot: Revision,
    /// The changes that woke it, ascending.
    pub woken_by: Vec<Revision>,
    /// Why it ran when no change woke it.
    pub occasion: Option<&'static str>,
    /// What it read.
    pub reads: ReadSet,
    /// What it changed, with the revisions.
    pub writes: Vec<(Key, Revision)>,
    /// How it ended.
    pub end: RunEnd,
    /// When it started.
    pub started: Timestamp,
    /// In the reconciler.
    pub reconcile_time: Duration,
    /// From the start to the end of the commit.
    pub duration: Duration,
    /// How often the key's run was thrown away before this one.
    pub conflicts: u32,
}

/// The newest records.
#[derive(Debug)]
pub(crate) struct Records {
    ring: VecDeque<Arc<RunRecord>>,
    max: usize,
}

impl Records {
    pub(crate) fn new(max: usize) -> Self {
        Self { ring: VecDeque::new(), max }
    }

    pub(crate) fn add(&mut self, record: RunRecord) {
        if self.max == 0 {
            return;
        }
        if self.ring.len() >= self.max {
            self.ring.pop_front();
        }
        self.ring.push_back(Arc::new(record));
    }

    /// The newest records that pass, newest first.
    pub(crate) fn newest(
        &self,
        limit: usize,
        mut passes: impl FnMut(&RunRecord) -> bool,
    ) -> Vec<Arc<RunRecord>> {
        self.ring.iter().rev().filter(|record| passes(record)).take(limit).cloned().collect()
    }
}
