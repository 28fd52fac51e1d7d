//! Why an object is as it is: its last change, the run or request that made it, the changes that woke the run,
//! and so on, back to requests from outside.
//!
//! The answer is a tree, written as a list in the order of a reader: each step names the steps it follows from.
//! A change that several steps follow from is told once. The walk is bounded ([`STEPS_MAX`], [`DEPTH_MAX`]) and
//! says where it was cut: by the bound, or by history that is compacted.

use std::collections::BTreeSet;
use std::sync::Arc;

use quadrille_object::{GroupResource, Timestamp};
use quadrille_store::{Cause, Change, ChangeKind, ChangesError, Key, Revision, Store};
use serde::Serialize;

/// The most steps that are told; a chain of ten controllers with a hundred wakes fits.
pub const STEPS_MAX: usize = 500;
/// The longest chain that is followed.
pub const DEPTH_MAX: usize = 64;

/// Why nothing can be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyError {
    /// No change of the object is in the history.
    #[error("no change of {key} is in the history, which begins after revision {oldest}")]
    Unknown {
        /// The object.
        key: Box<Key>,
        /// Where history begins.
        oldest: Revision,
    },
    /// The history on disk cannot be read.
    #[error("history cannot be read: {0}")]
    Unavailable(String),
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
}

/// One change and what led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// How far it is from the object that was asked about: 0, 1, …
    pub depth: usize,
    /// The change's revision.
    pub revision: Revision,
    /// What was changed, as text: `pods/default/web-0`.
    pub object: String,
    /// `created`, `updated` or `deleted`.
    pub change: &'static str,
    /// When, in RFC 3339 with microseconds.
    pub at: String,
    /// What made the change.
    pub cause: Cause,
    /// The revisions that it follows from; each is a step of its own unless the walk ended before it.
    pub because: Vec<Revision>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// The steps, each before those that it follows from.
    pub steps: Vec<Step>,
    /// Revisions that the walk did not reach: their history is compacted.
    pub compacted: Vec<Revision>,
    /// Whether the walk was ended by its bound.
    pub truncated: bool,
}

/// Tells why the object at `key` is as it is, or why it is gone.
///
/// # Errors
/// [`WhyError::Unknown`] when no change of it is in the history.
pub async fn why(store: &Store, key: &Key) -> Result<Why, WhyError> {
    let last = store.last_change(key, store.revision()).await;
    let last = match last {
        Ok(Some(change)) => change,
        Ok(None) | Err(ChangesError::Expired { .. }) => {
            return Err(WhyError::Unknown { key: Box::new(key.clone()), oldest: store.oldest() });
        }
        Err(ChangesError::Unavailable(what)) => return Err(WhyError::Unavailable(what)),
        Err(ChangesError::Closed) => return Err(WhyError::Closed),
    };
    let mut walk = Walk { store, answer: Why::default(), seen: BTreeSet::new() };
    walk.run(last).await?;
    Ok(walk.answer)
}

struct Walk<'a> {
    store: &'a Store,
    answer: Why,
    seen: BTreeSet<Revision>,
}

impl Walk<'_> {
    /// Depth first, so that a chain reads from top to bottom.
    async fn run(&mut self, first: Arc<Change>) -> Result<(), WhyError> {
        self.seen.insert(first.revision);
        let mut open = vec![(0, first)];
        while let Some((depth, change)) = open.pop() {
            if self.answer.steps.len() == STEPS_MAX || depth > DEPTH_MAX {
                self.answer.truncated = true;
                continue;
            }
            let because = self.because(&change).await?;
            for revision in because.iter().rev() {
                if self.seen.insert(*revision) {
                    match self.change(*revision).await? {
                        Some(change) => open.push((depth + 1, change)),
                        None => self.answer.compacted.push(*revision),
                    }
                }
            }
            self.answer.steps.push(step(depth, &change, because));
        }
        Ok(())
    }

    async fn change(&self, revision: Revision) -> Result<Option<Arc<Change>>, WhyError> {
        match self.store.change(revision).await {
            Ok(change) => Ok(change),
            Err(ChangesError::Expired { .. }) => Ok(None),
            Err(ChangesError::Unavailable(what)) => Err(WhyError::Unavailable(what)),
            Err(ChangesError::Closed) => Err(WhyError::Closed),
        }
    }

    /// The changes that a change follows from. A run that no change woke (a resync, a timer) follows from
    /// the last change of its own object that it saw.
    async fn because(&self, change: &Change) -> Result<Vec<Revision>, WhyError> {
        let run = match &*change.cause {
            Cause::Request(_) => return Ok(Vec::new()),
            Cause::System(system) => return Ok(system.because.clone()),
            Cause::Run(run) if run.woken_by.is_empty() => run,
            Cause::Run(run) => return Ok(run.woken_by.clone()),
        };
        let Some(key) = parse_key(&run.object) else { return Ok(Vec::new()) };
        match self.store.last_change(&key, run.snapshot).await {
            Ok(Some(seen)) if seen.revision < change.revision => Ok(vec![seen.revision]),
            Ok(_) | Err(ChangesError::Expired { .. }) => Ok(Vec::new()),
            Err(ChangesError::Unavailable(what)) => Err(WhyError::Unavailable(what)),
            Err(ChangesError::Closed) => Err(WhyError::Closed),
        }
    }
}

fn step(depth: usize, change: &Change, because: Vec<Revision>) -> Step {
    Step {
        depth,
        revision: change.revision,
        object: change.key().to_string(),
        change: match change.kind {
            ChangeKind::Created => "created",
            ChangeKind::Updated => "updated",
            ChangeKind::Deleted => "deleted",
        },
        at: Timestamp::to_rfc3339_micros(change.at),
        cause: Cause::clone(&change.cause),
        because,
    }
}

/// Reads a key from its text form, `replicasets.apps/default/web` or `namespaces/default`.
pub fn parse_key(text: &str) -> Option<Key> {
    let mut parts = text.split('/');
    let (resource, second, third) = (parts.next()?, parts.next()?, parts.next());
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let resource = GroupResource::new(group, resource);
    match (third, parts.next()) {
        (Some(name), None) => Some(Key::new(resource, second, name)),
        (None, _) => Some(Key::new(resource, "", second)),
        (Some(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests;
