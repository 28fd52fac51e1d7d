//! What follows from a change: the forward closure over the causes that are stored with every change.
//!
//! A change follows when a change that woke its run, or that a part of the host acted on, follows. It is looked at
//! once per change, in order, and only when somebody asks: nothing is kept for those who do not. Where a cause does not
//! say everything (more wakes than are listed, a run that a load began) the change counts as following, so that nothing is
//! called settled too early.

use std::collections::BTreeSet;

use quadrille_store::{
    Cause, Change, ChangeFilter, ChangeStream, ChangesError, Revision, RunCause, Store,
};

/// The changes that follow from one, itself among them.
#[derive(Debug)]
pub struct Descent {
    first: Revision,
    last: Revision,
    found: BTreeSet<Revision>,
    changes: ChangeStream,
}

impl Descent {
    /// Of the transaction that made `revision`; `None` while there is no such change.
    ///
    /// # Errors
    /// `Expired` when it is compacted.
    pub async fn of(store: &Store, revision: Revision) -> Result<Option<Self>, ChangesError> {
        let Some(change) = store.change(revision).await? else { return Ok(None) };
        let (first, last) = change.txn;
        if first <= store.oldest() && last < store.revision() && last < store.oldest() {
            return Err(ChangesError::Expired { oldest: store.oldest() });
        }
        let found = (first.0..=last.0).map(Revision).collect();
        let changes = store.changes(ChangeFilter::default(), last);
        Ok(Some(Self { first, last, found, changes }))
    }

    /// Looks at all changes up to the newest of the store.
    ///
    /// # Errors
    /// As the stream of changes.
    pub async fn catch_up(&mut self, store: &Store) -> Result<(), ChangesError> {
        while self.changes.position() < store.revision() {
            let batch = self.changes.next().await?;
            for change in &batch.changes {
                self.look_at(change);
            }
        }
        Ok(())
    }

    /// The same for the few that came meanwhile, without waiting.
    pub(crate) fn finish(&mut self, newest: Revision) -> Result<(), ChangesError> {
        while self.changes.position() < newest {
            let Some(batch) = self.changes.try_next()? else { break };
            for change in &batch.changes {
                self.look_at(change);
            }
        }
        Ok(())
    }

    /// Takes the next change in; true when it follows.
    pub fn look_at(&mut self, change: &Change) -> bool {
        let follows = change.revision > self.last && self.follows(&change.cause);
        if follows {
            self.last = change.revision;
            self.found.insert(change.revision);
        }
        follows
    }

    fn follows(&self, cause: &Cause) -> bool {
        match cause {
            Cause::Request(_) => false,
            Cause::System(system) => self.has_any(&system.because),
            Cause::Run(run) => self.led_to(run),
        }
    }

    fn led_to(&self, run: &RunCause) -> bool {
        if run.woken_by.is_empty() && run.origin.is_empty() {
            // A load or a resync looks at everything that is there.
            return run.snapshot >= self.first;
        }
        let unlisted = run.unlisted > 0 && run.woken_by.first().is_none_or(|of| *of > self.first);
        unlisted || self.has_any(&run.woken_by) || self.has_any(&run.origin)
    }

    fn has_any(&self, revisions: &[Revision]) -> bool {
        let newest_first = revisions.iter().rev().take_while(|of| **of >= self.first);
        newest_first.into_iter().any(|of| self.found.contains(of))
    }

    /// Whether a change is known to follow.
    pub fn contains(&self, revision: Revision) -> bool {
        self.found.contains(&revision)
    }

    /// Whether a change after `after` and up to `through` is known to follow.
    pub(crate) fn has_between(&self, after: Revision, through: Revision) -> bool {
        after < through && self.found.range(after.next()..=through).next().is_some()
    }

    /// The first revision of the transaction that was asked about.
    pub fn first(&self) -> Revision {
        self.first
    }

    /// The newest change that follows.
    pub fn last(&self) -> Revision {
        self.last
    }

    /// How many changes follow, those of the transaction itself among them.
    pub fn count(&self) -> usize {
        self.found.len()
    }
}
