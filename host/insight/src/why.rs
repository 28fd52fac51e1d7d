//! Why an object is as it is: its last change, the run or request that made it, the changes that woke the run,
//! and so on, back to requests from outside.
//!
//! The answer is a tree, written as a list in the order of a reader: each step names the steps it follows from.
//! A change that several steps follow from is told once. The walk is bounded ([`STEPS_MAX`], [`DEPTH_MAX`]) and
//! says where it was cut: by the bound, or by history that is compacted.
//!
//! Of a field, the walk begins at the last change of its value, and follows the value as far as can be told
//! (`value.rs`): from the run that wrote it to the object where it read it. Where that cannot be told, it follows all that
//! woke the run, as it does for a whole object.

use std::collections::BTreeSet;
use std::sync::Arc;

use quadrille_object::Timestamp;
use quadrille_store::{Cause, Change, ChangeKind, ChangesError, Key, Revision, Store, SystemCause};
use serde::Serialize;
use serde_json::Value;

use crate::field::Field;
use crate::value;

/// The most steps that are told; a chain of ten controllers with a hundred wakes fits.
pub const STEPS_MAX: usize = 2_000;
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
    /// No change of the field is in the history.
    #[error(
        "no change of {field} of {key} is in the history, which begins after revision {oldest}"
    )]
    UnknownField {
        /// The object.
        key: Box<Key>,
        /// The field.
        field: String,
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

/// A field and what a change did to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Its path.
    pub path: String,
    /// The value before; `None` when there was none.
    pub before: Option<Value>,
    /// The value after; `None` when there is none.
    pub after: Option<Value>,
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
    /// What made the change; the digest of the code that wrote it is in there. What a part of the host acted on is told by
    /// `because` alone.
    pub cause: Cause,
    /// The revisions that it follows from, all of them; each is a step of its own unless the walk ended before it, or
    /// followed a field elsewhere.
    pub because: Vec<Revision>,
    /// The field that was followed to here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<FieldChange>,
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
    let last = last_change(store, key).await?;
    walk(store, last, None).await
}

/// Tells why a field of the object at `key` has its value.
///
/// # Errors
/// [`WhyError::UnknownField`] when no change of it is in the history.
pub async fn why_field(store: &Store, key: &Key, field: &Field) -> Result<Why, WhyError> {
    let last = last_change(store, key).await?;
    let unknown = || WhyError::UnknownField {
        key: Box::new(key.clone()),
        field: field.to_string(),
        oldest: store.oldest(),
    };
    let changed = value::last_change_of(store, last, field).await?.ok_or_else(unknown)?;
    walk(store, changed, Some(field.clone())).await
}

/// The last change alone, without what it follows from.
///
/// # Errors
/// [`WhyError::Unknown`] when no change of it is in the history.
pub async fn last_change(store: &Store, key: &Key) -> Result<Arc<Change>, WhyError> {
    match store.last_change(key, store.revision()).await {
        Ok(Some(change)) => Ok(change),
        Ok(None) | Err(ChangesError::Expired { .. }) => {
            Err(WhyError::Unknown { key: Box::new(key.clone()), oldest: store.oldest() })
        }
        Err(error) => Err(unreadable(error)),
    }
}

async fn walk(store: &Store, first: Arc<Change>, field: Option<Field>) -> Result<Why, WhyError> {
    let mut walk = Walk { store, answer: Why::default(), seen: BTreeSet::new() };
    walk.run(first, field).await?;
    Ok(walk.answer)
}

struct Walk<'a> {
    store: &'a Store,
    answer: Why,
    seen: BTreeSet<Revision>,
}

impl Walk<'_> {
    /// Depth first, so that a chain reads from top to bottom.
    async fn run(&mut self, first: Arc<Change>, field: Option<Field>) -> Result<(), WhyError> {
        self.seen.insert(first.revision);
        let mut open = vec![(0, first, field)];
        while let Some((depth, change, field)) = open.pop() {
            if self.answer.steps.len() == STEPS_MAX || depth > DEPTH_MAX {
                self.answer.truncated = true;
                continue;
            }
            let because = self.because(&change).await?;
            let source = match &field {
                Some(field) => value::source(self.store, &change, field, &because).await?,
                None => None,
            };
            if let Some((source, field)) = source {
                if self.seen.insert(source.revision) {
                    open.push((depth + 1, source, Some(field)));
                }
            } else {
                for revision in because.iter().rev() {
                    if self.seen.insert(*revision) {
                        match change_at(self.store, *revision).await? {
                            Some(change) => open.push((depth + 1, change, None)),
                            None => self.answer.compacted.push(*revision),
                        }
                    }
                }
            }
            self.answer.steps.push(step(depth, &change, because, field.as_ref()));
        }
        Ok(())
    }

    /// The changes that a change follows from. A run that no change woke follows from what its timer was for, or
    /// (a resync) from the last change of its own object that it saw.
    async fn because(&self, change: &Change) -> Result<Vec<Revision>, WhyError> {
        let run = match &*change.cause {
            Cause::Request(_) => return Ok(Vec::new()),
            Cause::System(system) => return Ok(system.because.clone()),
            Cause::Run(run) if !run.woken_by.is_empty() => return Ok(run.woken_by.clone()),
            Cause::Run(run) if !run.origin.is_empty() => return Ok(run.origin.clone()),
            Cause::Run(run) => run,
        };
        let Some(key) = parse_key(&run.object) else { return Ok(Vec::new()) };
        match self.store.last_change(&key, run.snapshot).await {
            Ok(Some(seen)) if seen.revision < change.revision => Ok(vec![seen.revision]),
            Ok(_) | Err(ChangesError::Expired { .. }) => Ok(Vec::new()),
            Err(error) => Err(unreadable(error)),
        }
    }
}

/// One change; `None` when it is compacted.
pub(crate) async fn change_at(
    store: &Store,
    revision: Revision,
) -> Result<Option<Arc<Change>>, WhyError> {
    match store.change(revision).await {
        Ok(change) => Ok(change),
        Err(ChangesError::Expired { .. }) => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

pub(crate) fn unreadable(error: ChangesError) -> WhyError {
    match error {
        ChangesError::Unavailable(what) => WhyError::Unavailable(what),
        ChangesError::Closed => WhyError::Closed,
        ChangesError::Expired { .. } => WhyError::Unavailable(error.to_string()),
    }
}

/// What a change did, in a word.
pub fn verb(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Created => "created",
        ChangeKind::Updated => "updated",
        ChangeKind::Deleted => "deleted",
    }
}

fn step(depth: usize, change: &Change, because: Vec<Revision>, field: Option<&Field>) -> Step {
    Step {
        depth,
        revision: change.revision,
        object: change.key().to_string(),
        change: verb(change.kind),
        at: Timestamp::to_rfc3339_micros(change.at),
        cause: told_cause(&change.cause),
        because,
        field: field.map(|field| value::change_of(change, field)),
    }
}

/// A cause as it is told beside what the change follows from: a batch of the host names hundreds of changes, and would
/// name them again with each of its own.
pub(crate) fn told_cause(cause: &Cause) -> Cause {
    match cause {
        Cause::System(system) => {
            Cause::System(SystemCause { because: Vec::new(), ..system.clone() })
        }
        Cause::Request(_) | Cause::Run(_) => cause.clone(),
    }
}

/// Reads a key from its text form, `replicasets.apps/default/web` or `namespaces/default`.
pub fn parse_key(text: &str) -> Option<Key> {
    text.parse().ok()
}

#[cfg(test)]
mod tests;
