//! One run: a snapshot, a request, the reconciler, the commit, and what follows from how it ended.
//!
//! # Ends
//! Well: its writes are one transaction, its read set becomes the key's subscription. Conflict: thrown away and
//! queued first in line; after some of them the run takes the registry's turn, so that nobody, run or client, can
//! be first again. Fenced: its controller was replaced, the successor runs the key. Failure: nothing is kept but
//! the read set, which wakes the key earlier than its backoff. One that the reconciler calls permanent is not tried again,
//! but for one with a refused write, which depends on more than what was read: that one is, after the longest backoff.

use std::sync::Arc;
use std::time::Duration;

use quadrille_object::Timestamp;
use quadrille_registry::Turn;
use quadrille_store::{Cause, ChangeFilter, FenceTicket, Revision, Snapshot, View};

pub(crate) use self::cause::cause_of;
pub(crate) use self::ended::{Bad, Ended};
use self::guard::Guard;
use crate::controller::Version;
use crate::overlay::Overlay;
use crate::queue::Taken;
use crate::reconciler::{ReconcileRequest, Reconciled, WokenBy};
use crate::record::{RunWake, RunWrite};
use crate::runtime::Shared;
use crate::state::State;
use crate::subscription::lies_in;
use crate::work::Work;

mod cause;
mod ended;
mod guard;
mod release;

/// How far a run looks behind the trigger for changes that it read; beyond it they are counted as one.
const UNLOOKED_MAX: usize = 8192;

/// A run that was handed out.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) run: u64,
    id: u32,
    /// Every change up to here has woken the key, or did not matter to it.
    looked: Revision,
    pub(crate) taken: Taken,
    pub(crate) version: Version,
    /// Whether the version is one on trial.
    is_candidate: bool,
    ticket: FenceTicket,
    /// What the queue was told that the run reads; a run that waited for the gate reads something newer.
    snapshot: Snapshot,
    started: Duration,
    now: Timestamp,
}

impl Shared {
    /// Starts every run that may start.
    pub(crate) fn pump(self: &Arc<Self>) {
        let mut starts = Vec::new();
        let mut state = self.lock();
        let (slots, in_flight_max) = (self.config.slots, self.config.in_flight_max);
        if state.may_take(slots, in_flight_max) && !self.supervisor.shutdown().is_started() {
            let snapshot = self.registry.store().snapshot();
            let now = (snapshot.revision(), self.clock.monotonic());
            while let Some((id, taken)) = state.take(slots, in_flight_max, now) {
                starts.extend(self.begin(&mut state, id, taken, (&snapshot, now.1)));
            }
            if let Some(due) = state.postponed.take() {
                self.set_timer(&mut state, due);
            }
        }
        drop(state);
        for start in starts {
            let run = drive(Arc::clone(self), start);
            self.supervisor.spawn_work("run", run);
        }
    }

    /// How long a run that was invalidated too often may have the commit for itself.
    fn turn_of(&self, start: &Start) -> Option<Duration> {
        let length = self.config.turn_after(start.taken.conflicts)?;
        let state = self.lock();
        let takes = state.controllers.get(&start.id).map_or(Duration::ZERO, |c| c.lost_run);
        state.budgets.turn(takes, length, self.clock.monotonic())
    }

    /// Books a turn that is over; answers for how long it was held.
    fn note_turn(&self, since: Duration, length: Duration) -> Duration {
        let now = self.clock.monotonic();
        let held = now.saturating_sub(since).min(length);
        self.lock().budgets.note_turn(held, now);
        held
    }

    fn begin(
        &self,
        state: &mut State,
        id: u32,
        taken: Taken,
        (snapshot, started): (&Snapshot, Duration),
    ) -> Option<Start> {
        let run = state.next_run;
        state.next_run = run.saturating_add(1);
        let seen = state.subscriptions.seen(id, &taken.key).unwrap_or_default();
        let looked = state.position.max(seen);
        let controller = state.controllers.get(&id)?;
        let object = controller.candidate.as_ref().and_then(|_| snapshot.get(&taken.key));
        let (version, ticket, is_candidate) = controller.pick(object.as_deref());
        Some(Start {
            run,
            id,
            looked,
            taken,
            version,
            ticket,
            is_candidate,
            snapshot: snapshot.clone(),
            started,
            now: self.clock.now(),
        })
    }
}

async fn drive(shared: Arc<Shared>, start: Start) {
    let mut guard = Guard::of(Arc::clone(&shared), start);
    let length = shared.turn_of(&guard.start);
    guard.had_turn = length.is_some();
    let mut turn = match length {
        Some(_) => Some(shared.registry.turn().await),
        None => None,
    };
    let turned = shared.clock.monotonic();
    let snapshot = match turn {
        Some(_) => shared.registry.store().snapshot(),
        None => guard.start.snapshot.clone(),
    };
    let found = snapshot.get(&guard.start.taken.key);
    let has_left = found.as_ref().is_some_and(|object| guard.start.version.has_left(object));
    let Some(object) = found.filter(|object| guard.start.version.wants(object)) else {
        guard.leave_slot(0);
        let seen = if has_left {
            release::let_go(&shared, &guard.start, &snapshot, (turn, length)).await
        } else {
            drop(turn);
            Ok(snapshot.revision())
        };
        if let Some(length) = length {
            guard.turn_held = shared.note_turn(turned, length);
        }
        guard.end_unwanted(seen);
        return;
    };
    let request = request_of(&shared, &guard.start);
    let work = Work {
        registry: &shared.registry,
        spec: &guard.start.version.code.spec,
        reconciler: guard.start.version.reconciler.as_ref(),
        limits: &shared.config.limits,
        snapshot: &snapshot,
        request: &request,
    };
    let (turn_length, length) = (length, length.unwrap_or_default());
    let reconciled = in_turn(&shared, &mut turn, length, work.asking(object)).await;
    if turn_length.is_some() {
        guard.turn_held = shared.clock.monotonic().saturating_sub(turned).min(length);
    }
    let reconcile_time = shared.clock.monotonic().saturating_sub(guard.start.started);
    guard.start.note_unlooked(&shared, &reconciled.overlay);
    guard.leave_slot(reconciled.overlay.written().len());
    let mut ended = conclude(&shared, &guard.start, reconciled, reconcile_time, turn).await;
    if turn_length.is_some() {
        shared.note_turn(turned, length);
    }
    ended.seed = request.seed;
    ended.wakes = request.woken_by.iter().map(|woken| RunWake::of(&woken.change)).collect();
    guard.end(ended);
}

/// Works within the turn, if there is one. A turn that takes too long for everybody else ends early, and the run goes
/// on as every other.
async fn in_turn<T>(
    shared: &Shared,
    turn: &mut Option<Turn<'_>>,
    length: Duration,
    work: impl Future<Output = T>,
) -> T {
    if turn.is_none() {
        return work.await;
    }
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = shared.clock.sleep(length) => *turn = None,
    }
    work.await
}

/// What the reconciler is asked, less the object.
fn request_of(shared: &Shared, start: &Start) -> ReconcileRequest {
    let changes = start.taken.wakes.changes().iter();
    ReconcileRequest {
        run: start.run,
        controller: Arc::clone(&start.version.spec.name),
        key: start.taken.key.clone(),
        object: None,
        woken_by: changes.map(|change| WokenBy { change: Arc::clone(change) }).collect(),
        attempt: start.taken.failures,
        now: start.now,
        seed: shared.random.next_u64(),
        trial: shared.config.trial,
    }
}

/// Commits what there is to commit.
async fn conclude(
    shared: &Shared,
    start: &Start,
    reconciled: Reconciled,
    reconcile_time: Duration,
    turn: Option<Turn<'_>>,
) -> Ended {
    let Reconciled { mut overlay, result, memory_bytes } = reconciled;
    let reads = overlay.reads();
    let mut ended = Ended {
        seen: reads.at,
        reads: Some(reads),
        empty: overlay.take_empty(),
        result: result.map_err(Bad::Failure),
        writes: Vec::new(),
        wakes: Vec::new(),
        answers: overlay.answers(),
        seed: 0,
        memory_bytes,
        was_refused: overlay.was_refused(),
        used: overlay.used(),
        reconcile_time,
    };
    if ended.result.is_err() {
        return ended;
    }
    if overlay.written().is_empty() {
        if !start.ticket.is_valid() {
            ended.result = Err(Bad::Fenced);
        }
        return ended;
    }
    let cause = cause_of(shared, start, ended.seen, overlay.written().len());
    let snapshot = overlay.snapshot().clone();
    let txn = overlay.into_txn(Some(start.ticket.clone()), Cause::Run(cause));
    ended.writes = txn.writes.iter().map(|write| RunWrite::of(write, &snapshot)).collect();
    let committed = match turn {
        Some(turn) => turn.commit(txn).await,
        None => shared.registry.commit(txn).await,
    };
    match committed {
        Ok(committed) => ended.commit(&committed),
        Err(error) => ended.result = Err(error.into()),
    }
    ended
}

impl Start {
    /// Adds the changes that the run read before the trigger had looked at them: they would have woken it. So what a
    /// run writes names all changes that it follows from, however late the trigger is.
    fn note_unlooked(&mut self, shared: &Shared, overlay: &Overlay) {
        let at = overlay.revision();
        if self.looked >= at {
            return;
        }
        let (reads, mut left) = (overlay.reads(), UNLOOKED_MAX);
        let wakes = Arc::make_mut(&mut self.taken.wakes);
        let mut changes = shared.registry.store().changes(ChangeFilter::default(), self.looked);
        while changes.position() < at && left > 0 {
            let Ok(Some(batch)) = changes.try_next() else { break };
            left = left.saturating_sub(batch.changes.len());
            for change in batch.changes.iter().filter(|change| change.revision <= at) {
                let after = change.after().map(AsRef::as_ref);
                let weakly = || reads.weak.iter().any(|range| lies_in(range, change));
                if reads.touches(change.key(), change.before.as_deref(), after) || weakly() {
                    wakes.add(change);
                }
            }
        }
        if changes.position() < at {
            wakes.add_unknown();
        }
    }

    /// Whether the queue that the key came from is still there: it goes with the controller, and with the primary
    /// resource that a replacement changes.
    fn has_queue(&self, state: &State) -> bool {
        let generation = self.version.generation;
        state.controllers.get(&self.id).is_some_and(|c| c.queue_since <= generation)
    }
}
