//! Background work on the engine: checkpoints, compaction of history, giving space back.
//!
//! # Protocol
//! One thread. When enough was committed, or once a second, it checkpoints, then compacts in bounded steps
//! until the history is within its budget. A step is one engine transaction of at most [`STEPS_MAX`] changes,
//! so a commit that meets one waits for milliseconds, not for the whole of it. `oldest` moves on just before a
//! step is durable: nobody may miss what it removes and be told that it is damaged. A step that then fails leaves it there,
//! and the next one starts where it failed. After a refused commit it also asks the engine, once a
//! second, whether it works again. A failed step is logged and tried again later; nothing depends on it but space.

use std::time::Duration;

use crate::engine::{Budget, Engine, EngineError};
use crate::key::Revision;
use crate::shared::Shared;

/// Changes passed by one step of compaction.
const STEPS_MAX: usize = 1024;

/// How often age is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// A file below this is not worth giving space back from.
const SHRINK_FILE_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// A file is shrunk when it is this many times as large as its records.
const SHRINK_FACTOR: u64 = 3;

/// Works until the store ends.
pub(crate) fn run(shared: &Shared) {
    let mut seen = Revision(0);
    while shared.await_maintenance(PERIOD) {
        shared.probe();
        let newest = shared.bus.recent().newest();
        let idle = newest == seen;
        seen = newest;
        let done = work(shared).and_then(|()| if idle { shrink(shared) } else { Ok(()) });
        if let Err(error) = done {
            tracing::warn!(error = %error, "storage maintenance failed and will be tried again");
        }
    }
}

/// One round: checkpoint and compaction. Where there is no room for the one, the other may make it.
pub(crate) fn work(shared: &Shared) -> Result<(), EngineError> {
    let moved = shared.with_engine(|engine| engine.checkpoint()).unwrap_or(Ok(()));
    let compacted = loop {
        match compact(shared) {
            Ok(true) => {}
            done => break done.map(|_| ()),
        }
    };
    moved.and(compacted)
}

/// One step of compaction; whether more is to do.
fn compact(shared: &Shared) -> Result<bool, EngineError> {
    let (bytes_max, aged) = (shared.config.history_bytes_max, shared.aged());
    let budget = Budget { bytes_max, aged, steps_max: STEPS_MAX };
    // Asked before: a reader may note the step's end before this does.
    let before = shared.oldest();
    let Some(done) = shared.with_engine(|engine| engine.compact(budget)) else { return Ok(false) };
    let done = done?;
    let more = done.more && done.oldest > before;
    shared.compacted(done.oldest, done.buried);
    Ok(more)
}

fn shrink(shared: &Shared) -> Result<(), EngineError> {
    let wanted = |engine: &dyn Engine| {
        let size = engine.size();
        size.file_bytes > SHRINK_FILE_BYTES_MIN
            && size.file_bytes / SHRINK_FACTOR > size.record_bytes
    };
    let shrunk = shared.with_engine(|engine| if wanted(engine) { engine.shrink() } else { Ok(()) });
    shrunk.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use quadrille_kit::ManualClock;

    use super::*;
    use crate::bus::Bus;
    use crate::engine::conformance::story;
    use crate::engine::failing::Failing;
    use crate::recent::Limits;
    use crate::snapshot::Snapshot;
    use crate::store::Config;

    #[test]
    fn history_is_compacted_also_while_checkpoints_fail() {
        let engine = Failing::default();
        engine.persist(&story()).expect("persists");
        engine.checkpoints_fail.store(true, Ordering::SeqCst);
        let bus = Bus::new(Limits { changes_max: 1, bytes_max: 1 }, Revision(7));
        let config = Config { history_bytes_max: 0, ..Config::default() };
        let (clock, snapshot) = (Arc::new(ManualClock::default()), Snapshot::default());
        let shared = Shared::new(config, clock, snapshot, bus, Revision(0), Box::new(engine));
        assert!(work(&shared).is_err(), "the checkpoint's error is told");
        let history = shared.with_engine(|engine| engine.size().history_bytes);
        assert_eq!((history, shared.oldest()), (Some(0), Revision(7)));
    }
}
