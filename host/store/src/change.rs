//! Changes: what the history holds and the bus carries.

use std::sync::Arc;

use quadrille_object::{GroupResource, Timestamp};

use crate::cause::Cause;
use crate::key::{Key, Revision};
use crate::snapshot::Object;

/// What happened to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It did not exist before.
    Created,
    /// It existed before and after.
    Updated,
    /// It is gone.
    Deleted,
}

/// One committed mutation of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its own revision.
    pub revision: Revision,
    /// The first and the last revision of the transaction that it is part of.
    pub txn: (Revision, Revision),
    /// What happened.
    pub kind: ChangeKind,
    /// The object before; `None` when it was created. May be `None` for an update or a deletion asked for by its number
    /// or its key, when the state before has been compacted; a stream always has it.
    pub before: Option<Arc<Object>>,
    /// The object after; for a deletion its last state with the deletion's revision.
    pub object: Arc<Object>,
    /// Why.
    pub cause: Arc<Cause>,
    /// When it was committed.
    pub at: Timestamp,
}

impl Change {
    /// The key it is about.
    pub fn key(&self) -> &Key {
        &self.object.key
    }

    /// The state after it: `None` when the object is gone.
    pub fn after(&self) -> Option<&Arc<Object>> {
        (self.kind != ChangeKind::Deleted).then_some(&self.object)
    }
}

/// Which changes a stream carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    /// Only this resource; `None` for all.
    pub resource: Option<GroupResource>,
}

/// The next changes of a stream, in order.
#[derive(Clone, Debug)]
pub struct ChangeBatch {
    /// The changes that pass the filter; may be empty.
    pub changes: Vec<Arc<Change>>,
    /// Every change up to here was looked at: the place to resume from, and what a bookmark may carry.
    pub through: Revision,
}

/// Why a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// The history no longer reaches back to where the stream was.
    #[error("history before revision {oldest} is compacted")]
    Expired {
        /// The oldest revision after which a stream may still start.
        oldest: Revision,
    },
    /// The history on disk cannot be read: the disk fails, or a record of it is damaged.
    #[error("history cannot be read: {0}")]
    Unavailable(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// An ordered, gapless, resumable stream of changes. It costs the committer nothing when it lags: it reads
/// from memory while it can, from the log when it must, and ends with `Expired` below that.
#[derive(Debug)]
pub struct ChangeStream {
    pub(crate) inner: crate::stream::Stream,
}

impl ChangeStream {
    /// Waits for the next changes. A transaction is never split over two batches.
    ///
    /// With a resource filter, a batch may also be empty and only move `through`; a stream that waits is woken
    /// for that only after thousands of changes elsewhere. To learn where a waiting stream is (for a bookmark),
    /// drop the future and ask [`Self::try_next`] or [`Self::position`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<ChangeBatch, ChangesError> {
        self.inner.next().await
    }

    /// What is there now, without waiting; `None` when the stream has seen everything.
    pub fn try_next(&mut self) -> Result<Option<ChangeBatch>, ChangesError> {
        self.inner.try_next()
    }

    /// What is there now, like [`Self::try_next`], but without holding up a worker: what memory does not reach back
    /// to is read elsewhere.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn catch_up(&mut self) -> Result<Option<ChangeBatch>, ChangesError> {
        self.inner.catch_up().await
    }

    /// Every change up to here has been returned.
    pub fn position(&self) -> Revision {
        self.inner.position()
    }
}
