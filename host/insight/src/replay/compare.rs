//! What differs between a recorded run and its replay: the end, and the writes object by object.

use std::collections::BTreeMap;

use quadrille_runtime::{Failure, Outcome, RunEnd, RunWrite};
use quadrille_store::{ChangeKind, Key, Object, Revision, Snapshot, Store, Write};
use serde::Serialize;
use serde_json::Value;

use crate::diff;

/// One object that a replay writes otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The object as a key.
    #[serde(skip)]
    pub key: Key,
    /// The same as text.
    pub object: String,
    /// What the run did: `created`, `updated`, `deleted`, or nothing.
    pub recorded: Option<&'static str>,
    /// What the replay does.
    pub replayed: Option<&'static str>,
    /// From what the run wrote to what the replay writes, as a unified diff.
    pub diff: String,
}

/// The ends when they differ. A run that was thrown away by the host had no end of its own.
pub(super) fn ends(recorded: &RunEnd, now: &Result<Outcome, Failure>) -> Option<(RunEnd, RunEnd)> {
    let same = match (recorded, now) {
        (RunEnd::Conflict { .. } | RunEnd::Fenced, Ok(_))
        | (RunEnd::Done { requeue: None }, Ok(Outcome::Done)) => true,
        (RunEnd::Done { requeue: Some(a) }, Ok(Outcome::DoneUntil(b))) => {
            a.as_micros() == b.as_micros()
        }
        (RunEnd::Failed { kind, message }, Err(failure)) => {
            *kind == failure.kind() && message == failure.message()
        }
        (
            RunEnd::Done { .. } | RunEnd::Failed { .. } | RunEnd::Conflict { .. } | RunEnd::Fenced,
            _,
        ) => false,
    };
    (!same).then(|| (recorded.clone(), end_of(now)))
}

fn end_of(result: &Result<Outcome, Failure>) -> RunEnd {
    match result {
        Ok(Outcome::Done) => RunEnd::Done { requeue: None },
        Ok(Outcome::DoneUntil(wait)) => RunEnd::Done { requeue: Some(*wait) },
        Err(failure) => {
            let message = failure.message().to_owned();
            RunEnd::Failed { kind: failure.kind(), message }
        }
    }
}

/// The objects that are written otherwise, in the order of their keys.
pub(super) async fn writes(
    store: &Store,
    recorded: &[RunWrite],
    now: &[Write],
    snapshot: &Snapshot,
) -> Vec<Difference> {
    let old: BTreeMap<&Key, &RunWrite> = recorded.iter().map(|write| (&write.key, write)).collect();
    let new: BTreeMap<&Key, (&Write, RunWrite)> =
        now.iter().map(|write| (write.key(), (write, RunWrite::of(write, snapshot)))).collect();
    let mut keys: Vec<&Key> = old.keys().chain(new.keys()).copied().collect();
    keys.sort();
    keys.dedup();
    let mut found = Vec::new();
    for key in keys {
        let (was, is) = (old.get(key).copied(), new.get(key));
        let same = |was: &RunWrite, is: &RunWrite| was.kind == is.kind && was.hash == is.hash;
        if was.zip(is).is_some_and(|(was, (_, is))| same(was, is)) {
            continue;
        }
        let before = match was {
            Some(write) => Side::of_record(store, write).await,
            None => Side::Nothing,
        };
        let after = is.map_or(Side::Nothing, |(write, _)| Side::of_write(write));
        found.push(Difference {
            key: key.clone(),
            object: key.to_string(),
            recorded: was.map(|write| kind_text(write.kind)),
            replayed: is.map(|(_, write)| kind_text(write.kind)),
            diff: difference_text(&before, &after),
        });
    }
    found
}

pub(crate) fn kind_text(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Created => "created",
        ChangeKind::Updated => "updated",
        ChangeKind::Deleted => "deleted",
    }
}

/// One side of a difference.
#[derive(Clone, Debug, PartialEq)]
pub enum Side {
    /// No object was left.
    Nothing,
    /// An object that nobody has kept.
    Unknown,
    /// This object.
    Object(Value),
}

impl Side {
    async fn of_record(store: &Store, write: &RunWrite) -> Self {
        if write.kind == ChangeKind::Deleted {
            return Self::Nothing;
        }
        let Some(revision) = write.revision else { return Self::Unknown };
        match store.change(revision).await {
            Ok(Some(change)) => Self::Object(diff::shown(&change.object)),
            Ok(None) | Err(_) => Self::Unknown,
        }
    }

    fn of_write(write: &Write) -> Self {
        match write {
            Write::Delete { .. } => Self::Nothing,
            Write::Put { key, meta, object, .. } => {
                let (revision, bytes) = (Revision(0), object.with_revision(0));
                let object = Object { key: key.clone(), revision, meta: meta.clone(), bytes };
                Self::Object(diff::shown(&object))
            }
        }
    }
}

/// The difference between two sides for people.
pub fn difference_text(before: &Side, after: &Side) -> String {
    match (before, after) {
        (Side::Object(before), Side::Object(after)) => match diff::between(before, after) {
            text if text.is_empty() => "(only managedFields differ)\n".to_owned(),
            text => text,
        },
        (Side::Nothing, Side::Object(after)) => marked('+', after),
        (Side::Object(before), Side::Nothing) => marked('-', before),
        (Side::Unknown, Side::Object(after)) => {
            let note = "(what the run would have written is not kept, because it did not commit)\n";
            note.to_owned() + &marked('+', after)
        }
        (Side::Nothing | Side::Object(_) | Side::Unknown, _) => String::new(),
    }
}

fn marked(mark: char, value: &Value) -> String {
    let mut out = String::new();
    for line in diff::yaml(value).lines() {
        out.push(mark);
        out.push_str(line);
        out.push('\n');
    }
    out
}
