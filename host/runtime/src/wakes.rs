//! The merged set of what woke a key.

use std::sync::Arc;

use quadrille_store::{Change, Revision};

/// How many changes are kept per key; the newest are, the rest is counted. A run looks at the state and not at
/// the changes, so that more than this only costs memory.
pub const WAKES_MAX: usize = 32;

/// Why a key runs though no change woke it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occasion {
    /// The controller was (re)loaded, or its resync is due.
    Resync,
    /// Its last run asked for it.
    Requeue,
    /// Its last run failed.
    Backoff,
}

impl Occasion {
    /// As the record has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resync => "resync",
            Self::Requeue => "requeue",
            Self::Backoff => "backoff",
        }
    }
}

/// What woke a key since its last run that ended well.
#[derive(Clone, Debug, Default)]
pub struct Wakes {
    /// Ascending by revision, no duplicates, at most [`WAKES_MAX`].
    changes: Vec<Arc<Change>>,
    /// How many more there were.
    dropped: u64,
    /// Why it runs besides.
    occasion: Option<Occasion>,
}

impl Wakes {
    /// Adds a change; true when it was not there yet.
    pub fn add(&mut self, change: &Arc<Change>) -> bool {
        let at = self.changes.partition_point(|c| c.revision < change.revision);
        if self.changes.get(at).is_some_and(|c| c.revision == change.revision) {
            return false;
        }
        self.changes.insert(at, Arc::clone(change));
        if self.changes.len() > WAKES_MAX {
            self.changes.remove(0);
            self.dropped += 1;
        }
        true
    }

    /// Adds an occasion; of several the one that says most (a failure) is kept.
    pub fn occur(&mut self, occasion: Occasion) {
        self.occasion = self.occasion.max(Some(occasion));
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for change in &other.changes {
            self.add(change);
        }
        self.dropped += other.dropped;
        self.occasion = self.occasion.max(other.occasion);
    }

    /// Forgets the changes, and keeps the occasion.
    pub fn forget_changes(&mut self) {
        self.changes.clear();
        self.dropped = 0;
    }

    /// Whether nothing woke the key.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.occasion.is_none()
    }

    /// The changes, ascending.
    pub fn changes(&self) -> &[Arc<Change>] {
        &self.changes
    }

    /// Their revisions, ascending.
    pub fn revisions(&self) -> Vec<Revision> {
        self.changes.iter().map(|change| change.revision).collect()
    }

    /// How many changes more there were than are kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Why the key runs besides the changes.
    pub fn occasion(&self) -> Option<Occasion> {
        self.occasion
    }
}
