//! Changes from the log: what streams below the ring, `change` and `last_change` read.
//!
//! Every call opens and ends its own engine read, so no client ever holds one open. A record that is damaged
//! or missing within the history ends the call with an error; it is never skipped.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use quadrille_object::{GroupResource, Meta};

use crate::cause::Cause;
use crate::change::{Change, ChangeKind, ChangesError};
use crate::engine::{Engine, EngineError, ReadLimit};
use crate::key::{Key, Revision};
use crate::record::{self, Parts};
use crate::shared::Shared;
use crate::snapshot::Object;

/// Records read at once for a stream, so that one step of a late stream stays short.
const RECORDS_MAX: usize = 1024;
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The next changes after a revision from the log, and up to where that is all of them.
pub(crate) fn after(
    shared: &Shared,
    resource: Option<&GroupResource>,
    after: Revision,
) -> Result<(Vec<Arc<Change>>, Revision), ChangesError> {
    expired_below(shared, after)?;
    let through = shared.bus.recent().newest();
    let read = shared.read(|engine| {
        let records = whole_txns(engine, after, through)?;
        let mut changes = Vec::new();
        for (revision, bytes) in &records {
            let parts = record::decode(*revision, bytes).map_err(corrupt)?;
            let wanted =
                resource.is_none_or(|r| *r.resource == *parts.resource && *r.group == *parts.group);
            if wanted {
                let change = change(engine, *revision, &parts)?;
                changes.push(Arc::new(whole(shared, change, parts.previous)?));
            }
        }
        Ok((changes, records.last().map_or(after, |(revision, _)| *revision)))
    });
    // What compaction took away meanwhile looks like damage; so this is asked after the read, too.
    expired_below(shared, after)?;
    read
}

/// A change with the state before it. Behind `oldest` that state is always there: one that is not was compacted while this
/// was read, and without it a reader would take the object for one that it has never seen.
fn whole(shared: &Shared, change: Change, previous: Revision) -> Result<Change, EngineError> {
    if change.kind == ChangeKind::Created || change.before.is_some() {
        return Ok(change);
    }
    let before = shared.begun_with(change.key(), previous).ok_or_else(|| gap(previous))?;
    Ok(Change { before: Some(before), ..change })
}

/// Records without a gap, ending with a transaction.
fn whole_txns(
    engine: &dyn Engine,
    after: Revision,
    through: Revision,
) -> Result<Vec<(Revision, Bytes)>, EngineError> {
    let limit = ReadLimit { through, records_max: RECORDS_MAX, bytes_max: BYTES_MAX };
    let mut records = engine.read(after, limit)?;
    if let Some((last, bytes)) = records.last() {
        let (last, end) = (*last, record::decode(*last, bytes).map_err(corrupt)?.txn.1);
        if last < end {
            let rest = ReadLimit { through: end, records_max: usize::MAX, bytes_max: usize::MAX };
            records.extend(engine.read(last, rest)?);
        }
    }
    let expected = (after.0 + 1..).map(Revision);
    match records.iter().zip(expected).find(|((found, _), expected)| found != expected) {
        Some((_, missing)) => Err(gap(missing)),
        None if records.is_empty() && after < through => Err(gap(after.next())),
        None => Ok(records),
    }
}

/// One change by its revision; one that is still the newest of its key is found below `oldest`, too.
pub(crate) fn at(shared: &Shared, revision: Revision) -> Result<Option<Arc<Change>>, ChangesError> {
    let recent = shared.bus.recent();
    if revision == Revision(0) || revision > recent.newest() {
        return Ok(None);
    }
    if let Some(change) = recent.get(revision) {
        return Ok(Some(Arc::clone(change)));
    }
    drop(recent);
    let found = shared.read(|engine| load(engine, revision))?;
    match found {
        Some(change) => Ok(Some(change)),
        None if revision <= shared.oldest() => {
            Err(ChangesError::Expired { oldest: shared.oldest() })
        }
        None => Err(ChangesError::Unavailable(gap(revision).to_string())),
    }
}

/// The last change of a key at or before a revision: walks back from record to record.
pub(crate) fn last_of(
    shared: &Shared,
    key: &Key,
    at: Revision,
) -> Result<Option<Arc<Change>>, ChangesError> {
    let index_key = record::index_key(key);
    let found = shared.read(|engine| {
        let mut next = engine.index(&index_key)?.map(|entry| entry.revision).unwrap_or_default();
        while next > at {
            let Some(bytes) = engine.record(next)? else { return Ok(None) };
            next = record::decode(next, &bytes).map_err(corrupt)?.previous;
        }
        load(engine, next)
    })?;
    match found {
        Some(change) => Ok(Some(change)),
        None => expired_below(shared, at).map(|()| None),
    }
}

/// A change seen backwards: what stood at its key before it.
#[derive(Debug)]
pub(crate) struct Undo {
    pub(crate) key: Key,
    /// `None` when nothing did.
    pub(crate) before: Option<Arc<Object>>,
}

/// The changes after `after` up to `through`, oldest first, each key once: with the state before its first change.
pub(crate) fn undos(
    shared: &Shared,
    after: Revision,
    through: Revision,
) -> Result<Vec<Undo>, ChangesError> {
    let read = shared.read(|engine| {
        let (mut undos, mut seen, mut at) = (Vec::new(), BTreeSet::new(), after);
        while at < through {
            let limit = ReadLimit { through, records_max: RECORDS_MAX, bytes_max: BYTES_MAX };
            let records = engine.read(at, limit)?;
            for (revision, bytes) in &records {
                if *revision != at.next() {
                    return Err(gap(at.next()));
                }
                at = *revision;
                let parts = record::decode(*revision, bytes).map_err(corrupt)?;
                if seen.insert(parts.index_key()) {
                    undos.push(undo(shared, engine, &parts)?);
                }
            }
            if records.is_empty() {
                return Err(gap(at.next()));
            }
        }
        Ok(undos)
    });
    // What compaction took away meanwhile looks like damage; so this is asked after the read.
    expired_below(shared, after)?;
    read
}

fn undo(shared: &Shared, engine: &dyn Engine, parts: &Parts<'_>) -> Result<Undo, EngineError> {
    let key = parts.key();
    if parts.kind == ChangeKind::Created {
        return Ok(Undo { key, before: None });
    }
    let before = before(engine, parts, &key)?;
    let before = before.or_else(|| shared.begun_with(&key, parts.previous));
    let before = before.ok_or_else(|| gap(parts.previous))?;
    Ok(Undo { key, before: Some(before) })
}

fn expired_below(shared: &Shared, after: Revision) -> Result<(), ChangesError> {
    let oldest = shared.oldest();
    if after < oldest { Err(ChangesError::Expired { oldest }) } else { Ok(()) }
}

fn load(engine: &dyn Engine, revision: Revision) -> Result<Option<Arc<Change>>, EngineError> {
    let Some(bytes) = engine.record(revision)? else { return Ok(None) };
    let parts = record::decode(revision, &bytes).map_err(corrupt)?;
    Ok(Some(Arc::new(change(engine, revision, &parts)?)))
}

fn change(
    engine: &dyn Engine,
    revision: Revision,
    parts: &Parts<'_>,
) -> Result<Change, EngineError> {
    let object = Arc::new(object(revision, parts, parts.key())?);
    let before = match parts.kind {
        ChangeKind::Created => None,
        ChangeKind::Updated | ChangeKind::Deleted => before(engine, parts, &object.key)?,
    };
    let cause: Cause =
        serde_json::from_slice(parts.cause).map_err(|error| unreadable(revision, &error))?;
    let (txn, kind, at) = (parts.txn, parts.kind, parts.at);
    Ok(Change { revision, txn, kind, before, object, cause: Arc::new(cause), at })
}

/// The state that a change has replaced, as far as the log still has it.
fn before(
    engine: &dyn Engine,
    parts: &Parts<'_>,
    key: &Key,
) -> Result<Option<Arc<Object>>, EngineError> {
    let Some(bytes) = engine.record(parts.previous)? else { return Ok(None) };
    let last = record::decode(parts.previous, &bytes).map_err(corrupt)?;
    object(parts.previous, &last, key.clone()).map(Arc::new).map(Some)
}

/// Decodes the object of a record.
pub(crate) fn object(
    revision: Revision,
    parts: &Parts<'_>,
    key: Key,
) -> Result<Object, EngineError> {
    let meta = Meta::parse_stored(parts.value).map_err(|error| unreadable(revision, &error))?;
    Ok(Object { key, revision, meta, bytes: Bytes::copy_from_slice(parts.value) })
}

pub(crate) fn corrupt(damaged: record::Damaged) -> EngineError {
    EngineError::Corrupt(damaged.to_string())
}

fn gap(revision: Revision) -> EngineError {
    EngineError::Corrupt(format!("the record of revision {revision} is missing"))
}

fn unreadable(revision: Revision, error: &serde_json::Error) -> EngineError {
    EngineError::Corrupt(format!("the record of revision {revision} cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
