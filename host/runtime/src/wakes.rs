//! The merged set of what woke a key.

use std::sync::Arc;

use quadrille_store::{Change, Revision};

/// How many changes are handed to a run; the newest are. A run looks at the state and not at the changes, so that more
/// than this only costs memory.
pub const WAKES_MAX: usize = 32;

/// How many changes are listed by their revision, for the record; the newest are, the rest is counted. It costs eight
/// bytes for each while the key is queued, and as much in the cause of what the run writes.
pub const LISTED_MAX: usize = 1024;

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

    /// The occasion of that name, if there is one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [Self::Resync, Self::Requeue, Self::Backoff];
        all.into_iter().find(|occasion| occasion.as_str() == name)
    }
}

/// What woke a key since its last run that ended well.
#[derive(Clone, Debug, Default)]
pub struct Wakes {
    /// Ascending by revision, no duplicates, the newest [`WAKES_MAX`].
    changes: Vec<Arc<Change>>,
    /// The revisions of those and of older ones: ascending, no duplicates, the newest [`LISTED_MAX`].
    revisions: Vec<Revision>,
    /// How many more there were than are listed.
    dropped: u64,
    /// Why it runs besides.
    occasion: Option<Occasion>,
    /// What woke the run that asked for this one, where no change did.
    origin: Vec<Revision>,
    /// The newest revision when everything was queued because a controller was loaded or changes were missed.
    loaded_at: Option<Revision>,
}

impl Wakes {
    /// Adds a change; true when it was not there yet.
    pub fn add(&mut self, change: &Arc<Change>) -> bool {
        if !self.list(change.revision) {
            return false;
        }
        let at = self.changes.partition_point(|c| c.revision < change.revision);
        self.changes.insert(at, Arc::clone(change));
        if self.changes.len() > WAKES_MAX {
            self.changes.remove(0);
        }
        true
    }

    fn list(&mut self, revision: Revision) -> bool {
        let at = self.revisions.partition_point(|listed| *listed < revision);
        if self.revisions.get(at) == Some(&revision) {
            return false;
        }
        self.revisions.insert(at, revision);
        if self.revisions.len() > LISTED_MAX {
            self.revisions.remove(0);
            self.dropped += 1;
        }
        true
    }

    /// Adds changes that nobody can name.
    pub fn add_unknown(&mut self) {
        self.dropped += 1;
    }

    /// Adds an occasion; of several the one that says most (a failure) is kept.
    pub fn occur(&mut self, occasion: Occasion) {
        self.occasion = self.occasion.max(Some(occasion));
    }

    /// Adds that everything was queued at a revision, as it stood.
    pub fn load(&mut self, at: Revision) {
        self.loaded_at = self.loaded_at.max(Some(at));
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for change in &other.changes {
            self.add(change);
        }
        for revision in &other.revisions {
            self.list(*revision);
        }
        self.dropped += other.dropped;
        self.occasion = self.occasion.max(other.occasion);
        self.loaded_at = self.loaded_at.max(other.loaded_at);
        if self.origin.is_empty() {
            self.origin.clone_from(&other.origin);
        }
    }

    /// Forgets the changes, and keeps the occasion.
    pub fn forget_changes(&mut self) {
        self.changes.clear();
        self.revisions.clear();
        self.dropped = 0;
    }

    /// What a timer is for: the changes that woke the run that set it, or, where none did, what that run's was for.
    pub fn follow(&mut self, run: &Self) {
        self.origin.clone_from(run.roots());
    }

    /// Whether nothing woke the key.
    pub fn is_empty(&self) -> bool {
        self.revisions.is_empty() && self.occasion.is_none()
    }

    /// The newest changes, ascending.
    pub fn changes(&self) -> &[Arc<Change>] {
        &self.changes
    }

    /// The revisions of all changes that are listed, ascending.
    pub fn revisions(&self) -> &[Revision] {
        &self.revisions
    }

    /// What woke the run that asked for this one; empty where changes did.
    pub fn origin(&self) -> &[Revision] {
        if self.revisions.is_empty() { &self.origin } else { &[] }
    }

    fn roots(&self) -> &Vec<Revision> {
        if self.revisions.is_empty() { &self.origin } else { &self.revisions }
    }

    /// How many changes more there were than are listed.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Why the key runs besides the changes.
    pub fn occasion(&self) -> Option<Occasion> {
        self.occasion
    }

    /// Whether the key is awake because of one of the changes that `of` knows, the oldest of which is `first`. What is
    /// not listed counts, and so does everything that was there when a controller was loaded.
    pub(crate) fn descends(&self, first: Revision, of: impl Fn(Revision) -> bool) -> bool {
        let roots = self.roots();
        let unlisted = self.dropped > 0 && roots.first().is_none_or(|oldest| *oldest > first);
        unlisted
            || self.loaded_at.is_some_and(|at| first <= at)
            || roots.iter().rev().take_while(|root| **root >= first).any(|root| of(*root))
    }
}
