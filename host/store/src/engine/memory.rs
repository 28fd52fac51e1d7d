//! The engine without a disk, for tests, simulation and plans: the same records in two maps.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::state::State;
use super::{Budget, Compacted, Engine, EngineError, Entry, Loaded, ReadLimit, Size};
use crate::change::ChangeKind;
use crate::key::Revision;
use crate::record::{self, IndexEntry};

/// Everything in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryEngine {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    log: BTreeMap<Revision, Bytes>,
    index: BTreeMap<Bytes, IndexEntry>,
    state: State,
}

impl MemoryEngine {
    /// Without records; the next change is the one after `revision`.
    pub(crate) fn after(revision: Revision) -> Self {
        let state = State { newest: revision, oldest: revision, ..State::default() };
        Self { tables: Mutex::new(Tables { state, ..Tables::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    fn load(&self) -> Result<Loaded, EngineError> {
        let tables = self.lock();
        let mut loaded = Loaded {
            newest: tables.state.newest,
            oldest: tables.state.oldest,
            ..Loaded::default()
        };
        for (key, entry) in &tables.index {
            if !entry.live {
                loaded.graves.push((key.clone(), entry.revision));
            } else if let Some(record) = tables.log.get(&entry.revision) {
                loaded.live.push((entry.revision, record.clone()));
            }
        }
        Ok(loaded)
    }

    fn persist(&self, batch: &[Entry]) -> Result<(), EngineError> {
        let mut tables = self.lock();
        for entry in batch {
            tables.state.add_record(entry.revision, entry.record.len());
            tables.log.insert(entry.revision, entry.record.clone());
            let indexed = IndexEntry { revision: entry.revision, live: entry.live };
            tables.index.insert(entry.index_key.clone(), indexed);
        }
        Ok(())
    }

    fn read(
        &self,
        after: Revision,
        limit: ReadLimit,
    ) -> Result<Vec<(Revision, Bytes)>, EngineError> {
        let tables = self.lock();
        if after >= limit.through {
            return Ok(Vec::new());
        }
        let mut bytes = 0;
        let range = (Bound::Excluded(after), Bound::Included(limit.through));
        let records = tables.log.range(range).take(limit.records_max);
        let inside = records.take_while(|(_, record)| {
            let first = bytes == 0;
            bytes += record.len();
            first || bytes <= limit.bytes_max
        });
        Ok(inside.map(|(revision, record)| (*revision, record.clone())).collect())
    }

    fn record(&self, revision: Revision) -> Result<Option<Bytes>, EngineError> {
        Ok(self.lock().log.get(&revision).cloned())
    }

    fn index(&self, index_key: &[u8]) -> Result<Option<IndexEntry>, EngineError> {
        Ok(self.lock().index.get(index_key).copied())
    }

    fn compact(&self, budget: Budget) -> Result<Compacted, EngineError> {
        let mut guard = self.lock();
        let tables = &mut *guard;
        let mut done = Compacted { oldest: tables.state.oldest, ..Compacted::default() };
        let mut steps = 0;
        loop {
            let next = tables.log.range((Bound::Excluded(done.oldest), Bound::Unbounded)).next();
            let Some((revision, bytes)) = next.map(|(r, b)| (*r, b.clone())) else { break };
            let parts = record::decode(revision, &bytes)
                .map_err(|damaged| EngineError::Corrupt(damaged.to_string()))?;
            let inside_txn = parts.txn.0 < revision;
            let due = tables.state.history_bytes > budget.bytes_max || revision <= budget.aged;
            if !inside_txn && (!due || steps >= budget.steps_max) {
                done.more = due;
                break;
            }
            steps += 1;
            tables.state.history_bytes =
                tables.state.history_bytes.saturating_sub(bytes.len() as u64);
            let mut gone = vec![parts.previous];
            if parts.kind == ChangeKind::Deleted {
                gone.push(revision);
                let key = Bytes::from(parts.index_key());
                if tables.index.get(&key).is_some_and(|entry| entry.revision == revision) {
                    tables.index.remove(&key);
                    done.buried.push((key, revision));
                }
            }
            for revision in gone {
                let removed = tables.log.remove(&revision).map_or(0, |record| record.len() as u64);
                tables.state.record_bytes = tables.state.record_bytes.saturating_sub(removed);
            }
            done.oldest = revision;
        }
        tables.state.oldest = done.oldest;
        Ok(done)
    }

    fn size(&self) -> Size {
        let state = self.lock().state;
        Size { file_bytes: 0, history_bytes: state.history_bytes, record_bytes: state.record_bytes }
    }

    fn oldest(&self) -> Revision {
        self.lock().state.oldest
    }

    fn blocks(&self) -> bool {
        false
    }
}
