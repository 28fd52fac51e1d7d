//! The tables of the redb file and what is done in one transaction on them: records by revision, an index entry per
//! key, and the bookkeeping, which always agree. It knows nothing of files, of who calls, or of what follows an error.

use std::collections::BTreeMap;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};

use super::errors::{damaged, io, lost, no_bookkeeping};
use crate::change::ChangeKind;
use crate::engine::state::State;
use crate::engine::{Budget, Compacted, EngineError, Entry};
use crate::key::Revision;
use crate::record::{self, FORMAT, IndexEntry};

pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(super) const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

pub(super) type LogTable<'a> = Table<'a, u64, &'static [u8]>;
pub(super) type IndexTable<'a> = Table<'a, &'static [u8], &'static [u8]>;

/// Makes the tables of a new file.
pub(super) fn begin(database: &Database, id: u64) -> Result<(), EngineError> {
    let mut state = State { id, ..State::default() };
    let mut txn = database.begin_write().map_err(io)?;
    txn.set_quick_repair(true);
    txn.open_table(META).map_err(io)?.insert("format", &FORMAT.to_le_bytes()[..]).map_err(io)?;
    txn.commit().map_err(io)?;
    change(database, &mut state, |_, _, _| Ok(()))
}

/// Checks the format and reads the bookkeeping.
pub(super) fn prepare(database: &Database) -> Result<State, EngineError> {
    let txn = database.begin_read().map_err(io)?;
    let meta = txn.open_table(META).map_err(|_| no_bookkeeping())?;
    let format = meta.get("format").map_err(io)?;
    let format = format.and_then(|bytes| bytes.value().try_into().ok().map(u32::from_le_bytes));
    let format = format.ok_or_else(no_bookkeeping)?;
    if format > FORMAT {
        return Err(EngineError::Newer { found: format, known: FORMAT });
    }
    let state = meta.get("state").map_err(io)?;
    state.and_then(|bytes| State::decode(bytes.value())).ok_or_else(no_bookkeeping)
}

/// One durable redb transaction over the tables.
pub(super) fn change(
    database: &Database,
    state: &mut State,
    work: impl FnOnce(&mut LogTable<'_>, &mut IndexTable<'_>, &mut State) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let mut txn = database.begin_write().map_err(io)?;
    txn.set_quick_repair(true);
    {
        let mut log = txn.open_table(LOG).map_err(io)?;
        let mut index = txn.open_table(INDEX).map_err(io)?;
        work(&mut log, &mut index, state)?;
        let mut meta = txn.open_table(META).map_err(io)?;
        meta.insert("state", state.encode().as_slice()).map_err(io)?;
    }
    txn.commit().map_err(io)
}

/// Appends to the log in order, then moves each key's index entry once, in the order of the tree.
pub(super) fn append(
    log: &mut LogTable<'_>,
    index: &mut IndexTable<'_>,
    state: &mut State,
    batch: &[Entry],
) -> Result<(), EngineError> {
    let mut last = BTreeMap::new();
    for entry in batch {
        log.insert(entry.revision.0, entry.record.as_ref()).map_err(io)?;
        state.add_record(entry.revision, entry.record.len());
        let indexed = IndexEntry { revision: entry.revision, live: entry.live };
        last.insert(&entry.index_key, indexed);
    }
    last.into_iter().try_for_each(|(key, entry)| point(index, state, key, Some(entry)))
}

/// Points the index at the last change of a key, or forgets the key, and keeps count and fingerprint.
fn point(
    index: &mut IndexTable<'_>,
    state: &mut State,
    key: &[u8],
    entry: Option<IndexEntry>,
) -> Result<(), EngineError> {
    let before = match entry {
        Some(entry) => {
            let (bytes, sum) = entry.encode(key);
            state.keys += 1;
            state.fingerprint ^= sum;
            index.insert(key, &bytes[..]).map_err(io)?
        }
        None => index.remove(key).map_err(io)?,
    };
    if let Some(before) = before {
        state.keys = state.keys.saturating_sub(1);
        state.fingerprint ^= indexed(key, before.value())?.1;
    }
    Ok(())
}

/// Whether the oldest change of the history is over the budget.
pub(super) fn due(state: &State, budget: Budget) -> bool {
    let over = state.history_bytes > budget.bytes_max || state.oldest < budget.aged;
    over && state.oldest < state.newest
}

/// Moves `oldest` over changes that are over the budget, and removes what nobody needs then: the state before
/// each of them, and the record of a deletion with its grave.
pub(super) fn pass(
    log: &mut LogTable<'_>,
    index: &mut IndexTable<'_>,
    state: &mut State,
    budget: Budget,
    done: &mut Compacted,
) -> Result<(), EngineError> {
    for step in 0.. {
        if state.oldest >= state.newest {
            break;
        }
        let revision = state.oldest.next();
        let bytes = fetch(log, revision)?.ok_or_else(|| lost(revision))?;
        let parts = record::decode(revision, &bytes).map_err(damaged)?;
        let due = state.history_bytes > budget.bytes_max || revision <= budget.aged;
        if parts.txn.0 == revision && (!due || step >= budget.steps_max) {
            done.more = due;
            break;
        }
        state.history_bytes = state.history_bytes.saturating_sub(bytes.len() as u64);
        remove(log, state, parts.previous)?;
        if parts.kind == ChangeKind::Deleted {
            remove(log, state, revision)?;
            let key = parts.index_key();
            let last = index.get(key.as_slice()).map_err(io)?;
            let last = last.map(|bytes| indexed(&key, bytes.value())).transpose()?;
            if last.is_some_and(|(entry, _)| entry.revision == revision) {
                point(index, state, &key, None)?;
                done.buried.push((key.into(), revision));
            }
        }
        state.oldest = revision;
    }
    done.oldest = state.oldest;
    Ok(())
}

fn fetch(log: &LogTable<'_>, revision: Revision) -> Result<Option<Bytes>, EngineError> {
    let record = log.get(revision.0).map_err(io)?;
    Ok(record.map(|record| Bytes::copy_from_slice(record.value())))
}

fn remove(
    log: &mut LogTable<'_>,
    state: &mut State,
    revision: Revision,
) -> Result<(), EngineError> {
    let removed = log.remove(revision.0).map_err(io)?;
    let bytes = removed.map_or(0, |record| record.value().len() as u64);
    state.record_bytes = state.record_bytes.saturating_sub(bytes);
    Ok(())
}

/// Takes a batch out of the file that was refused to its callers and got there all the same.
pub(super) fn rewind(database: &Database, expected: State) -> Result<State, EngineError> {
    let mut state = prepare(database)?;
    if state.newest < expected.newest || state.id != expected.id {
        return Err(EngineError::Corrupt(
            "acknowledged changes are missing after an error".to_owned(),
        ));
    }
    if state.newest == expected.newest {
        // At most a step of compaction got there although its commit failed, which is as good as done.
        return Ok(state);
    }
    change(database, &mut state, |log, index, state| {
        for revision in (expected.newest.0 + 1..=state.newest.0).rev().map(Revision) {
            let bytes = fetch(log, revision)?.ok_or_else(|| lost(revision))?;
            log.remove(revision.0).map_err(io)?;
            let parts = record::decode(revision, &bytes).map_err(damaged)?;
            let before = fetch(log, parts.previous)?
                .map(|bytes| {
                    let kind = record::decode(parts.previous, &bytes).map_err(damaged)?.kind;
                    Ok(IndexEntry { revision: parts.previous, live: kind != ChangeKind::Deleted })
                })
                .transpose()?;
            point(index, state, &parts.index_key(), before)?;
        }
        *state = State { keys: state.keys, fingerprint: state.fingerprint, ..expected };
        Ok(())
    })?;
    if state == expected {
        return Ok(state);
    }
    Err(EngineError::Corrupt("a refused batch could not be taken back".to_owned()))
}

/// Gives every row of the index to `each`, in order; then whether these are all, by count and fingerprint.
pub(super) fn walk(
    index: &impl ReadableTable<&'static [u8], &'static [u8]>,
    state: &State,
    mut each: impl FnMut(&[u8], IndexEntry) -> Result<(), EngineError>,
) -> Result<bool, EngineError> {
    let (mut keys, mut fingerprint) = (0, 0);
    for row in index.iter().map_err(io)? {
        let (key, bytes) = row.map_err(io)?;
        let (entry, sum) = indexed(key.value(), bytes.value())?;
        keys += 1;
        fingerprint ^= sum;
        each(key.value(), entry)?;
    }
    Ok((keys, fingerprint) == (state.keys, state.fingerprint))
}

pub(super) fn indexed(key: &[u8], bytes: &[u8]) -> Result<(IndexEntry, u64), EngineError> {
    IndexEntry::decode(key, bytes).ok_or_else(|| {
        EngineError::Corrupt(format!(
            "the index entry of {:?} is damaged",
            String::from_utf8_lossy(key)
        ))
    })
}
