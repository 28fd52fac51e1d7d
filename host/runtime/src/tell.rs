//! Telling people that a run failed: a Warning event on its object.
//!
//! The event is committed apart from the run, which is over by then. It counts for `settled` until it is committed or
//! dropped; nobody else waits for it, and a refusal is only logged.

use std::sync::Arc;

use quadrille_store::{Cause, Key, RunCause, View};

use crate::overlay::{Note, Overlay, OverlayOwner};
use crate::reconciler::{ControllerSpec, Failure, Grant};
use crate::run::{Bad, Ended, Start, cause_of};
use crate::runtime::Shared;
use crate::state::State;

/// An event that is still to be committed.
#[derive(Debug)]
pub(crate) struct Telling {
    shared: Arc<Shared>,
    spec: Arc<ControllerSpec>,
    key: Key,
    reason: &'static str,
    failure: Failure,
    cause: RunCause,
}

impl Telling {
    /// Logs the failure of a run; `Some` where people are to be told.
    pub(crate) fn of(
        shared: &Arc<Shared>,
        state: &mut State,
        start: &Start,
        ended: &Ended,
    ) -> Option<Self> {
        let Err(Bad::Failure(failure)) = &ended.result else { return None };
        let (spec, key) = (Arc::clone(&start.version.spec), start.taken.key.clone());
        tracing::debug!(
            object = %key, plugin = %spec.plugin, controller = %spec.name, run = start.run,
            kind = failure.kind(), error = failure.message(), "run failed"
        );
        let reason = failure.event_reason()?;
        state.telling.insert(start.run, Arc::clone(&start.taken.wakes));
        let cause = cause_of(shared, start, state.position, 1);
        let (shared, failure) = (Arc::clone(shared), failure.clone());
        Some(Self { shared, spec, key, reason, failure, cause })
    }

    /// Commits the event.
    pub(crate) async fn tell(self) {
        let shared = &self.shared;
        let snapshot = shared.registry.store().snapshot();
        let cause = RunCause { snapshot: snapshot.revision(), ..self.cause.clone() };
        let owner = OverlayOwner {
            plugin: Arc::clone(&self.spec.plugin),
            controller: Arc::clone(&self.spec.name),
            field_manager: Arc::clone(&self.spec.field_manager),
            primary: Some(self.key.clone()),
            now: shared.clock.now(),
        };
        let note = Note { kind: "Warning", reason: self.reason, message: self.failure.message() };
        let registry = &shared.registry;
        let mut answers = registry.has_webhooks().then(|| registry.consultation());
        let overlay = loop {
            let overlay = Overlay::new(snapshot.clone(), registry.clone(), Grant::default());
            let mut overlay = overlay.owned_by(owner.clone()).answered(answers.take());
            if overlay.record_event(&self.key, &note).is_err() || overlay.written().is_empty() {
                return;
            }
            // What webhooks refuse, or ask about without end, is not told.
            let Some((questions, known)) = overlay.take_questions() else { break overlay };
            let Some(mut known) = known else { return };
            if registry.consult(questions, &mut known).await.is_err() {
                return;
            }
            answers = Some(known);
        };
        let mut txn = overlay.into_txn(None, Cause::Run(cause));
        txn.reads = None;
        match shared.registry.commit(txn).await {
            Ok(committed) => {
                let mut state = shared.lock();
                state.last_commit = state.last_commit.max(committed.revision);
            }
            Err(error) => {
                tracing::debug!(object = %self.key, error = %error, "event about a failed run dropped");
            }
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.shared.lock().telling.remove(&self.cause.run);
        self.shared.progress.notify_waiters();
    }
}
