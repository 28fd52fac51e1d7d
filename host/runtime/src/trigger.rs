//! The two tasks that wake keys: one follows the changes of the store, one looks at the timers.

use std::sync::Arc;
use std::time::Duration;

use quadrille_store::{ChangeFilter, ChangesError};

use crate::runtime::{Resync, Shared};

/// How long to wait before a history that cannot be read is tried again.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Why the trigger ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TriggerError {
    #[error("cannot follow the changes of the store")]
    Changes(#[source] ChangesError),
}

/// Looks at every change once, in order, and wakes the keys that it concerns.
pub(crate) async fn follow(shared: Arc<Shared>) -> Result<(), TriggerError> {
    let shutdown = shared.supervisor.shutdown();
    let position = shared.lock().position;
    let mut changes = shared.registry.store().changes(ChangeFilter::default(), position);
    loop {
        let next = tokio::select! {
            biased;
            () = shutdown.started() => return Ok(()),
            next = changes.next() => next,
        };
        match next {
            Ok(batch) => {
                let mut state = shared.lock();
                for change in &batch.changes {
                    state.look_at(change);
                }
                state.advance(batch.through);
            }
            Err(ChangesError::Expired { .. }) => {
                let position = start_over(&shared);
                changes = shared.registry.store().changes(ChangeFilter::default(), position);
            }
            Err(ChangesError::Unavailable(detail)) => {
                tracing::error!(error = detail, "history cannot be read, resyncing everything");
                shared.clock.sleep(RETRY).await;
                let position = start_over(&shared);
                changes = shared.registry.store().changes(ChangeFilter::default(), position);
            }
            Err(ChangesError::Closed) if shutdown.is_started() => return Ok(()),
            Err(error @ ChangesError::Closed) => return Err(TriggerError::Changes(error)),
        }
        shared.pump();
        shared.progress.notify_waiters();
    }
}

/// Changes were missed: every object is reconciled again.
fn start_over(shared: &Arc<Shared>) -> quadrille_store::Revision {
    let position = shared.registry.store().revision();
    tracing::warn!(revision = position.0, "trigger fell behind the history, resyncing everything");
    let mut state = shared.lock();
    state.restart_at(position);
    let controllers: Vec<u32> = state.controllers.keys().copied().collect();
    for id in controllers {
        shared.resync(&mut state, id, Resync::Loaded);
    }
    position
}

/// Looks at the timers when the next of them is due.
pub(crate) async fn tick(shared: Arc<Shared>) -> Result<(), TriggerError> {
    let shutdown = shared.supervisor.shutdown();
    loop {
        let wait = {
            let now = shared.clock.monotonic();
            let mut state = shared.lock();
            let (next, resyncs) = state.ripen(now);
            state.next_tick = next;
            for id in resyncs {
                shared.resync(&mut state, id, Resync::Due);
            }
            state.next_tick.map(|due| due.saturating_sub(now))
        };
        shared.pump();
        let due = async {
            match wait {
                Some(wait) => shared.clock.sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.started() => return Ok(()),
            () = shared.timers.notified() => {}
            () = due => {}
        }
    }
}
