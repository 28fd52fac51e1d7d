//! From what an engine has stored to a store's first snapshot.
//!
//! Every live record is checked and its envelope parsed, on as many threads as the machine has; a single bad
//! record stops the opening.

use std::sync::Arc;

use bytes::Bytes;

use crate::engine::{Engine, EngineError};
use crate::group::Working;
use crate::history;
use crate::key::{Key, Revision};
use crate::record;
use crate::snapshot::{Object, Snapshot};

/// Below this many records threads cost more than they bring.
const RECORDS_PER_THREAD_MIN: usize = 2_000;

/// What a committer starts from.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) working: Working,
    pub(crate) oldest: Revision,
}

/// Reads and checks everything.
pub(crate) fn recover(engine: &dyn Engine) -> Result<Recovered, EngineError> {
    let loaded = engine.load()?;
    let mut snapshot = Snapshot::default();
    for object in decode_all(&loaded.live)? {
        let key = snapshot.interned(object.key.clone());
        snapshot.insert(&Arc::new(Object { key, ..object }));
    }
    snapshot.set_revision(loaded.newest);
    let graves = loaded.graves.iter().map(|(key, revision)| {
        let bad = || EngineError::Corrupt(format!("the key of revision {revision} is damaged"));
        Ok((record::key_from_index(key).ok_or_else(bad)?, *revision))
    });
    let graves = graves.collect::<Result<imbl::OrdMap<Key, Revision>, EngineError>>()?;
    Ok(Recovered { working: Working { snapshot, graves }, oldest: loaded.oldest })
}

fn decode_all(records: &[(Revision, Bytes)]) -> Result<Vec<Object>, EngineError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = records.len().div_ceil(threads).max(RECORDS_PER_THREAD_MIN);
    let decoded = std::thread::scope(|scope| {
        let workers: Vec<_> = records
            .chunks(share)
            .map(|records| {
                scope.spawn(|| records.iter().map(decode).collect::<Result<Vec<_>, _>>())
            })
            .collect();
        let joined = workers.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| {
                Err(EngineError::Corrupt("reading a record made a thread panic".to_owned()))
            })
        });
        joined.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(decoded.into_iter().flatten().collect())
}

fn decode((revision, bytes): &(Revision, Bytes)) -> Result<Object, EngineError> {
    let parts = record::decode(*revision, bytes).map_err(history::corrupt)?;
    history::object(*revision, &parts, parts.key())
}
