//! Back in time: what the store held at an earlier revision.
//!
//! A rewind begins at the newest snapshot and takes changes back, newest first. Maps are shared, so a step costs the
//! changes that it takes back and nothing else, and a row of earlier states costs one walk when it is asked for from
//! the newest to the oldest. It reaches as far back as the history.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::change::{ChangeKind, ChangesError};
use crate::history::{self, Undo};
use crate::key::Revision;
use crate::query::View as _;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::store::Store;

/// Changes taken back at once: the objects of so many are held in memory together.
const CHANGES_MAX: u64 = 2_048;

/// A walk back through the history.
#[derive(Debug)]
pub struct Rewind {
    store: Store,
    snapshot: Snapshot,
}

impl Store {
    /// What the store held at `revision`; costs the changes since then.
    ///
    /// # Errors
    /// `Expired` when the history does not reach back that far.
    pub async fn snapshot_at(&self, revision: Revision) -> Result<Snapshot, ChangesError> {
        self.rewind().to(revision).await
    }

    /// A walk back that begins now.
    pub fn rewind(&self) -> Rewind {
        Rewind { store: self.clone(), snapshot: self.snapshot() }
    }
}

impl Rewind {
    /// Goes back to `revision` and gives what the store held then. A later revision than the last one begins again at
    /// the newest, so ask from the newest to the oldest; one that is not there yet gives the newest.
    ///
    /// # Errors
    /// `Expired` when the history does not reach back that far; the walk stays where it was.
    pub async fn to(&mut self, revision: Revision) -> Result<Snapshot, ChangesError> {
        if revision > self.snapshot.revision() {
            self.snapshot = self.store.snapshot();
        }
        while self.snapshot.revision() > revision {
            let snapshot = self.snapshot.clone();
            let back = self.store.reading(move |shared| step(shared, snapshot, revision)).await?;
            self.snapshot = back;
        }
        Ok(self.snapshot.clone())
    }
}

/// Takes up to [`CHANGES_MAX`] changes back.
fn step(
    shared: &Shared,
    mut snapshot: Snapshot,
    wanted: Revision,
) -> Result<Snapshot, ChangesError> {
    let newest = snapshot.revision();
    let target = wanted.max(Revision(newest.0.saturating_sub(CHANGES_MAX)));
    // Only the oldest change of a key counts: what it was before that one is what it is at the target.
    let mut seen = BTreeSet::new();
    for undo in undos(shared, target, newest)? {
        if !seen.insert(undo.key.clone()) {
            continue;
        }
        match undo.before {
            Some(before) => snapshot.insert(&before),
            None => snapshot.remove(&undo.key),
        }
    }
    snapshot.set_revision(target);
    Ok(snapshot)
}

/// The changes after `after` up to `through`, oldest first, with the state before each key's first one.
fn undos(shared: &Shared, after: Revision, through: Revision) -> Result<Vec<Undo>, ChangesError> {
    if let Some(undos) = recent(shared, after, through) {
        return Ok(undos);
    }
    history::undos(shared, after, through)
}

/// The same from memory, when it reaches back that far.
fn recent(shared: &Shared, after: Revision, through: Revision) -> Option<Vec<Undo>> {
    let recent = shared.bus.recent();
    let undo = |revision| {
        let change = recent.get(Revision(revision))?;
        let before = match change.kind {
            ChangeKind::Created => None,
            // From old history, where the state before may be unknown: the log decides.
            ChangeKind::Updated | ChangeKind::Deleted => Some(Arc::clone(change.before.as_ref()?)),
        };
        Some(Undo { key: change.key().clone(), before })
    };
    (after.0 + 1..=through.0).map(undo).collect()
}

#[cfg(test)]
mod tests;
