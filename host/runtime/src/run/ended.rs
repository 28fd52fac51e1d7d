//! What a run came to: what it read and wrote, or why nothing of it is kept. It books nothing and knows no queue.

use std::time::Duration;

use quadrille_registry::RecordedAnswer;
use quadrille_store::{CommitError, Committed, Conflict, Key, ReadSet, Revision};

use crate::canary::Counted;
use crate::overlay::OverlayUse;
use crate::reconciler::{Failure, Outcome};
use crate::record::{EmptyReads, RunEnd, RunWake, RunWrite};

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) result: Result<Outcome, Bad>,
    /// What it read; `None` when the reconciler did not give its overlay back.
    pub(super) reads: Option<ReadSet>,
    /// Which of that was not there.
    pub(super) empty: EmptyReads,
    /// Everything that was read is as it was up to here.
    pub(super) seen: Revision,
    /// What it wrote, or would have written.
    pub(super) writes: Vec<RunWrite>,
    /// The changes that it was shown.
    pub(super) wakes: Vec<RunWake>,
    /// What webhooks answered.
    pub(super) answers: Vec<RecordedAnswer>,
    pub(super) seed: u64,
    pub(super) memory_bytes: u64,
    /// Whether the API refused one of its writes.
    pub(super) was_refused: bool,
    /// What it used of its limits.
    pub(super) used: OverlayUse,
    pub(super) reconcile_time: Duration,
}

/// Why a run came to nothing.
#[derive(Debug)]
pub(crate) enum Bad {
    Failure(Failure),
    Conflict(Option<Key>),
    Fenced,
}

impl Ended {
    pub(super) fn bad(bad: Bad, seen: Revision) -> Self {
        Self {
            result: Err(bad),
            reads: None,
            empty: EmptyReads::default(),
            seen,
            writes: Vec::new(),
            wakes: Vec::new(),
            answers: Vec::new(),
            seed: 0,
            memory_bytes: 0,
            was_refused: false,
            used: OverlayUse::default(),
            reconcile_time: Duration::ZERO,
        }
    }

    pub(super) fn has_committed(&self) -> bool {
        self.writes.iter().any(|write| write.revision.is_some())
    }

    pub(super) fn counted(&self, duration: Duration) -> Counted<'_> {
        let written = if self.has_committed() { self.writes.as_slice() } else { &[] };
        Counted {
            bad: self.result.as_ref().err(),
            duration,
            written: written.iter().map(|w| &w.key),
        }
    }

    pub(super) fn commit(&mut self, committed: &Committed) {
        self.seen = committed.revision;
        for (write, object) in self.writes.iter_mut().zip(&committed.objects) {
            write.revision = Some(object.revision);
        }
    }
}

impl From<CommitError> for Bad {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict(Conflict::Key { key, .. } | Conflict::Read { key, .. }) => {
                Self::Conflict(Some(key))
            }
            CommitError::Conflict(Conflict::TooOld) => Self::Conflict(None),
            CommitError::Fenced => Self::Fenced,
            CommitError::Invalid(_) | CommitError::Unavailable(_) | CommitError::Closed => {
                Self::Failure(Failure::Host(error.to_string()))
            }
        }
    }
}

/// The end as the record keeps it.
pub(super) fn end_of(result: Result<Outcome, Bad>) -> RunEnd {
    match result {
        Ok(Outcome::Done) => RunEnd::Done { requeue: None },
        Ok(Outcome::DoneUntil(wait)) => RunEnd::Done { requeue: Some(wait) },
        Err(Bad::Failure(failure)) => {
            RunEnd::Failed { kind: failure.kind(), message: failure.message().to_owned() }
        }
        Err(Bad::Conflict(key)) => RunEnd::Conflict { key },
        Err(Bad::Fenced) => RunEnd::Fenced,
    }
}
