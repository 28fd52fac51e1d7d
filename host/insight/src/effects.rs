//! What followed from a change: the runs and writes that descend from it, as a tree.
//!
//! The inverse of `why`, from the same causes: a change is below the newest of the changes that it follows from. The
//! walk goes through the history once, from the change on, and says where it was cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_object::Timestamp;
use quadrille_runtime::Descent;
use quadrille_store::{Cause, Change, ChangeFilter, ChangesError, Revision, Store};
use serde::Serialize;

use crate::why::{told_cause, verb};

/// The most changes that are told.
pub const EFFECTS_MAX: usize = 2_000;
/// The most changes that are looked through.
pub const LOOKED_THROUGH_MAX: u64 = 500_000;

/// One change that follows.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// How far below the change that was asked about: 0 for that one itself.
    pub depth: usize,
    /// Its revision.
    pub revision: Revision,
    /// What was changed.
    pub object: String,
    /// `created`, `updated` or `deleted`.
    pub change: &'static str,
    /// When.
    pub at: String,
    /// What made it.
    pub cause: Cause,
    /// The changes of this tree that it follows from.
    pub because: Vec<Revision>,
}

/// The tree, in the order of a reader: each change before those that are below it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Effects {
    /// The changes.
    pub changes: Vec<Effect>,
    /// Up to here the history was looked through.
    pub through: Revision,
    /// Whether it was cut: there may be more after `through`.
    pub truncated: bool,
}

/// Finds what followed from a change so far.
///
/// # Errors
/// `Expired` when it is compacted; `None` when there is no such change.
pub async fn effects(store: &Store, revision: Revision) -> Result<Option<Effects>, ChangesError> {
    let Some(mut descent) = Descent::of(store, revision).await? else { return Ok(None) };
    let mut found = Found::default();
    let root = descent.first();
    let mut changes = store.changes(ChangeFilter::default(), Revision(root.0.saturating_sub(1)));
    let newest = store.revision();
    let mut answer = Effects::default();
    'through: while changes.position() < newest {
        let batch = changes.next().await?;
        for change in &batch.changes {
            let is_root = descent.contains(change.revision);
            if change.revision > newest {
                break;
            }
            if is_root || descent.look_at(change) {
                if found.count == EFFECTS_MAX {
                    answer.truncated = true;
                    break 'through;
                }
                found.add(change, &descent);
            }
            answer.through = change.revision;
        }
        if batch.through.0.saturating_sub(root.0) > LOOKED_THROUGH_MAX {
            answer.truncated = batch.through < newest;
            break;
        }
    }
    answer.changes = found.told();
    Ok(Some(answer))
}

/// A change, and the changes of the tree that it follows from.
type Below = (Arc<Change>, Vec<Revision>);

/// What was found, each by the change that it is told below.
#[derive(Default)]
struct Found {
    below: BTreeMap<Option<Revision>, Vec<Below>>,
    count: usize,
}

impl Found {
    fn add(&mut self, change: &Arc<Change>, descent: &Descent) {
        let all: &[Revision] = match &*change.cause {
            Cause::Request(_) => &[],
            Cause::System(system) => &system.because,
            Cause::Run(run) if run.woken_by.is_empty() => &run.origin,
            Cause::Run(run) => &run.woken_by,
        };
        let known = |of: &&Revision| **of < change.revision && descent.contains(**of);
        let because: Vec<Revision> = all.iter().filter(known).copied().collect();
        self.count += 1;
        self.below.entry(because.last().copied()).or_default().push((Arc::clone(change), because));
    }

    /// Depth first; a change is below an earlier one, so this ends.
    fn told(mut self) -> Vec<Effect> {
        let mut told = Vec::new();
        let roots = self.below.remove(&None).unwrap_or_default();
        let mut open: Vec<_> = roots.into_iter().rev().map(|of| (0, of)).collect();
        while let Some((depth, (change, because))) = open.pop() {
            let below = self.below.remove(&Some(change.revision)).unwrap_or_default();
            open.extend(below.into_iter().rev().map(|of| (depth + 1, of)));
            told.push(Effect {
                depth,
                revision: change.revision,
                object: change.key().to_string(),
                change: verb(change.kind),
                at: Timestamp::to_rfc3339_micros(change.at),
                cause: told_cause(&change.cause),
                because,
            });
        }
        told
    }
}
