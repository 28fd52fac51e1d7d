//! Transactions: what a committer is asked for and what it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quadrille_object::{Meta, Template};

use crate::cause::Cause;
use crate::key::{Key, Revision};
use crate::query::ReadSet;
use crate::snapshot::Object;

/// What must hold for a key at the moment of the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// No object has the key.
    Absent,
    /// Some object has the key.
    Present,
    /// The object's newest revision is this one.
    Revision(Revision),
}

/// One change of a transaction.
#[derive(Clone, Debug)]
pub enum Write {
    /// Stores an object, new or changed.
    Put {
        /// Where.
        key: Key,
        /// Its parsed envelope.
        meta: Meta,
        /// Its encoding, less the revision.
        object: Template,
        /// What must hold before.
        expect: Expect,
    },
    /// Removes an object.
    Delete {
        /// Where.
        key: Key,
        /// What must hold before, besides that it exists.
        expect: Expect,
    },
}

impl Write {
    /// The key it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }
}

/// A number that only grows; what was begun under an older one may no longer commit.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<AtomicU64>);

impl Fence {
    /// A ticket for work that begins now.
    pub fn ticket(&self) -> FenceTicket {
        FenceTicket { fence: self.clone(), at: self.0.load(Ordering::Acquire) }
    }

    /// Refuses every ticket given out so far. A commit that is being written may still become durable; one
    /// that has not been checked yet will not.
    pub fn advance(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Work begun under one state of a fence.
#[derive(Clone, Debug)]
pub struct FenceTicket {
    fence: Fence,
    at: u64,
}

impl FenceTicket {
    /// Whether the fence has not moved since.
    pub fn is_valid(&self) -> bool {
        self.fence.0.load(Ordering::Acquire) == self.at
    }
}

/// Changes that become visible and durable together, or not at all.
#[derive(Clone, Debug)]
pub struct Txn {
    /// The changes, in the order of their revisions; no key twice. May be empty: then only the checks are made.
    pub writes: Vec<Write>,
    /// Further keys and what must hold for them.
    pub requires: Vec<(Key, Expect)>,
    /// What was read; `None` when only the preconditions count.
    pub reads: Option<ReadSet>,
    /// Refused when the fence has moved.
    pub fence: Option<FenceTicket>,
    /// Why.
    pub cause: Cause,
}

/// A transaction that is visible and durable.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The newest revision after it; equal to the store's revision then, for an empty transaction.
    pub revision: Revision,
    /// One object per write, in order; for a deletion its last state with the deletion's revision.
    pub objects: Vec<Arc<Object>>,
}

/// What stood in the way of a commit. Nothing of the transaction happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A precondition on this key does not hold.
    Key {
        /// The key.
        key: Key,
        /// Its newest revision; `None` when no object has it.
        found: Option<Revision>,
    },
    /// A change after the snapshot touches the read set.
    Read {
        /// The key of that change.
        key: Key,
        /// Its revision.
        revision: Revision,
    },
    /// The read set is older than the changes kept for the check.
    TooOld,
}

/// Why a transaction did not commit.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// Somebody else was first: read again and try again.
    #[error("conflict: {0:?}")]
    Conflict(Conflict),
    /// The fence has moved: whoever began this may not finish it.
    #[error("fenced")]
    Fenced,
    /// The transaction is malformed or over a limit; trying again does not help.
    #[error("invalid transaction: {0}")]
    Invalid(String),
    /// The disk cannot take it now (full, failing); the store still serves reads.
    #[error("storage unavailable: {0}")]
    Unavailable(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}
