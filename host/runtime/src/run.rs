//! One run: a snapshot, a request, the reconciler, the commit, and what follows from how it ended.
//!
//! # Ends
//! Well: its writes are one transaction, its read set becomes the key's subscription. Conflict: thrown away and
//! queued first in line; after some of them the run takes the registry's turn, so that nobody, run or client, can
//! be first again. Fenced: its controller was replaced, the successor runs the key. Failure: nothing is kept but
//! the read set, which wakes the key earlier than its backoff.

use std::sync::Arc;
use std::time::Duration;

use quadrille_object::Timestamp;
use quadrille_registry::{RecordedAnswer, Turn};
use quadrille_store::{
    Cause, Change, ChangeFilter, CommitError, Committed, Conflict, FenceTicket, Key, ReadSet,
    Revision, RunCause, Snapshot, View,
};

use crate::budget::Spent;
use crate::canary::Counted;
use crate::controller::{ControllerName, Version};
use crate::overlay::{Overlay, OverlayUse};
use crate::queue::{End, Taken};
use crate::reconciler::{Failure, Outcome, ReconcileRequest, Reconciled, WokenBy};
use crate::record::{EmptyReads, RunEnd, RunRecord, RunWake, RunWrite};
use crate::runtime::Shared;
use crate::state::State;
use crate::subscription::lies_in;
use crate::tell::Telling;
use crate::wakes::Occasion;
use crate::work::Work;

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

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) result: Result<Outcome, Bad>,
    /// What it read; `None` when the reconciler did not give its overlay back.
    reads: Option<ReadSet>,
    /// Which of that was not there.
    empty: EmptyReads,
    /// Everything that was read is as it was up to here.
    seen: Revision,
    /// What it wrote, or would have written.
    writes: Vec<RunWrite>,
    /// The changes that it was shown.
    wakes: Vec<RunWake>,
    /// What webhooks answered.
    answers: Vec<RecordedAnswer>,
    seed: u64,
    memory_bytes: u64,
    /// What it used of its limits.
    used: OverlayUse,
    reconcile_time: Duration,
}

#[derive(Debug)]
pub(crate) enum Bad {
    Failure(Failure),
    Conflict(Option<Key>),
    Fenced,
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
        state.budgets.may_take_turn(takes, self.clock.monotonic()).then_some(length)
    }

    fn begin(
        &self,
        state: &mut State,
        id: u32,
        taken: Taken,
        (snapshot, started): (&Snapshot, Duration),
    ) -> Option<Start> {
        let run = state.next_run;
        state.next_run += 1;
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

/// Ends the run as a trap when its task ends early, by a panic in a native reconciler: a key is never left running.
struct Guard {
    shared: Arc<Shared>,
    start: Start,
    in_slot: bool,
    had_turn: bool,
    ended: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.ended {
            let failure = Failure::Trap("the reconciler panicked".to_owned());
            let ended = Ended::bad(Bad::Failure(failure), self.start.snapshot.revision());
            self.end(ended);
        }
    }
}

async fn drive(shared: Arc<Shared>, start: Start) {
    let mut guard =
        Guard { shared: Arc::clone(&shared), start, in_slot: true, had_turn: false, ended: false };
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
    let object = snapshot.get(&guard.start.taken.key);
    let Some(object) = object.filter(|object| guard.start.version.wants(object)) else {
        guard.end_unwanted(snapshot.revision());
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
    let reconcile_time = shared.clock.monotonic().saturating_sub(guard.start.started);
    guard.start.note_unlooked(&shared, &reconciled.overlay);
    guard.leave_slot();
    let mut ended = conclude(&shared, &guard.start, reconciled, reconcile_time, turn).await;
    if turn_length.is_some() {
        let now = shared.clock.monotonic();
        shared.lock().budgets.note_turn(now.saturating_sub(turned).min(length), now);
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
    let cause = cause_of(shared, start, ended.seen);
    let snapshot = overlay.snapshot().clone();
    let txn = overlay.into_txn(Some(start.ticket.clone()), Cause::Run(cause));
    ended.writes = txn.writes.iter().map(|write| RunWrite::of(write, &snapshot)).collect();
    let committed = match turn {
        Some(turn) => turn.commit(txn).await,
        None => shared.registry.commit(txn).await,
    };
    match committed {
        Ok(committed) => ended.commit(&committed),
        Err(error) => ended.result = Err(refused(error)),
    }
    ended
}

pub(crate) fn cause_of(shared: &Shared, start: &Start, snapshot: Revision) -> RunCause {
    let spec = &start.version.spec;
    let took = shared.clock.monotonic().saturating_sub(start.started);
    RunCause {
        run: start.run,
        plugin: spec.plugin.as_ref().to_owned(),
        controller: spec.name.as_ref().to_owned(),
        digest: spec.digest.as_ref().to_owned(),
        object: start.taken.key.to_string(),
        woken_by: start.taken.wakes.revisions().to_vec(),
        unlisted: start.taken.wakes.dropped(),
        origin: start.taken.wakes.origin().to_vec(),
        occasion: start.taken.wakes.occasion().map(|occasion| occasion.as_str().to_owned()),
        snapshot,
        started: start.now,
        duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    }
}

fn refused(error: CommitError) -> Bad {
    match error {
        CommitError::Conflict(Conflict::Key { key, .. } | Conflict::Read { key, .. }) => {
            Bad::Conflict(Some(key))
        }
        CommitError::Conflict(Conflict::TooOld) => Bad::Conflict(None),
        CommitError::Fenced => Bad::Fenced,
        CommitError::Invalid(_) | CommitError::Unavailable(_) | CommitError::Closed => {
            Bad::Failure(Failure::Host(error.to_string()))
        }
    }
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

impl Ended {
    fn bad(bad: Bad, seen: Revision) -> Self {
        Self {
            result: Err(bad),
            reads: None,
            empty: EmptyReads::default(),
            seen,
            writes: Vec::new(),
            wakes: Vec::new(),
            answers: Vec::new(),
            seed: 0,
            memory_bytes: 0,
            used: OverlayUse::default(),
            reconcile_time: Duration::ZERO,
        }
    }

    fn has_committed(&self) -> bool {
        self.writes.iter().any(|write| write.revision.is_some())
    }

    fn counted(&self, duration: Duration) -> Counted<'_> {
        let written = if self.has_committed() { self.writes.as_slice() } else { &[] };
        Counted {
            bad: self.result.as_ref().err(),
            duration,
            written: written.iter().map(|w| &w.key),
        }
    }

    fn commit(&mut self, committed: &Committed) {
        self.seen = committed.revision;
        for (write, object) in self.writes.iter_mut().zip(&committed.objects) {
            write.revision = Some(object.revision);
        }
    }
}

impl Guard {
    fn leave_slot(&mut self) {
        if std::mem::take(&mut self.in_slot) {
            let now = self.shared.clock.monotonic();
            self.shared.lock().leave_slot(self.start.id, self.start.started, now);
            self.shared.pump();
        }
    }

    /// There is no object, or it is none of the controller's: the key is forgotten until the object changes.
    fn end_unwanted(&mut self, seen: Revision) {
        let shared = Arc::clone(&self.shared);
        let (id, taken) = (self.start.id, &self.start.taken);
        let mut state = shared.lock();
        if self.start.has_queue(&state) {
            let reads = ReadSet { at: seen, keys: vec![taken.key.clone()], ..ReadSet::default() };
            let missed = state.missed(&reads, seen);
            state.subscriptions.remove(id, &taken.key);
            finish(&mut state, id, taken, missed, End::Done);
        }
        self.release(state);
    }

    /// Books how the run ended, and lets go of its key.
    fn end(&mut self, ended: Ended) {
        let shared = Arc::clone(&self.shared);
        let (id, key) = (self.start.id, &self.start.taken.key);
        let mut state = shared.lock();
        if ended.has_committed() {
            // What follows from a commit in the registry is committed by now too.
            state.last_commit = state.last_commit.max(shared.registry.store().revision());
        }
        let telling = Telling::of(&shared, &mut state, &self.start, &ended);
        if self.start.has_queue(&state) {
            let missed = match &ended.reads {
                Some(reads) => state.missed(reads, ended.seen),
                None => Some(Vec::new()),
            };
            if let Some(reads) = &ended.reads
                && !matches!(ended.result, Err(Bad::Fenced | Bad::Conflict(_)))
            {
                state.subscriptions.replace(id, key, reads, ended.seen);
            }
            self.book(&mut state, &ended, missed);
            self.record(&mut state, ended);
        }
        self.release(state);
        if let Some(telling) = telling {
            shared.supervisor.spawn_brief("event", telling.tell());
        }
    }

    fn book(&self, state: &mut State, ended: &Ended, missed: Option<Vec<Arc<Change>>>) {
        let (shared, start) = (&self.shared, &self.start);
        let (now, id) = (shared.clock.monotonic(), start.id);
        let duration = now.saturating_sub(start.started);
        if let Some(controller) = state.controllers.get_mut(&id) {
            let numbers = &mut controller.numbers;
            numbers.runs += 1;
            numbers.commits += u64::from(ended.has_committed());
            numbers.retries += u64::from(start.taken.conflicts + start.taken.failures > 0);
            numbers.turns += u64::from(self.had_turn);
            numbers.conflicts += u64::from(matches!(ended.result, Err(Bad::Conflict(_))));
            numbers.fenced += u64::from(matches!(ended.result, Err(Bad::Fenced)));
            if matches!(ended.result, Err(Bad::Conflict(_) | Bad::Fenced)) {
                numbers.thrown_away += duration;
            }
            numbers.memory_bytes_max = numbers.memory_bytes_max.max(ended.memory_bytes);
            numbers.durations.add(duration);
            numbers.last_run = Some(shared.clock.now());
            if matches!(ended.result, Err(Bad::Conflict(_))) {
                controller.lost_run = ended.reconcile_time;
            }
            if let Some(candidate) = &mut controller.candidate {
                candidate.count(start.is_candidate, &ended.counted(duration));
            }
            if let Err(Bad::Failure(failure)) = &ended.result {
                controller.note_failure(&start.taken.key, failure, shared.clock.now());
                if let Failure::Permanent(message) = failure {
                    controller.halt(&start.taken.key, message, &start.taken.wakes);
                }
            } else if ended.result.is_ok() {
                controller.failed.remove(&start.taken.key);
            }
        }
        let taken = &start.taken;
        state.budgets.spend(&start.version.spec.plugin, &self.spent(ended), now);
        match &ended.result {
            Ok(Outcome::Done) | Err(Bad::Failure(Failure::Permanent(_))) => {
                finish(state, id, taken, missed, End::Done);
            }
            Ok(Outcome::DoneUntil(wait)) => {
                let due = now.saturating_add(*wait);
                finish(state, id, taken, missed, |missed| End::DoneUntil(due, missed));
                shared.set_timer(state, due);
            }
            Err(Bad::Failure(_)) => {
                let draw = shared.random.next_u64();
                let due = now + shared.config.backoff.wait(taken.failures.saturating_add(1), draw);
                finish_failed(state, id, taken, missed, due);
                shared.set_timer(state, due);
            }
            Err(Bad::Conflict(_)) => finish(state, id, taken, Some(Vec::new()), |_| End::Conflict),
            Err(Bad::Fenced) => finish(state, id, taken, Some(Vec::new()), |_| End::Fenced),
        }
    }

    fn spent(&self, ended: &Ended) -> Spent {
        let wakes = &self.start.taken.wakes;
        let failure = match &ended.result {
            Err(Bad::Failure(failure)) => failure.event_reason(),
            _ => None,
        };
        Spent {
            used: ended.used,
            has_committed: ended.has_committed(),
            is_told: failure.is_some(),
            asked_for_itself: wakes.occasion() == Some(Occasion::Requeue)
                && wakes.changes().is_empty(),
        }
    }

    fn release(&mut self, mut state: std::sync::MutexGuard<'_, State>) {
        let start = &self.start;
        if std::mem::take(&mut self.in_slot) {
            state.leave_slot(start.id, start.started, self.shared.clock.monotonic());
        }
        let name = ControllerName::of(&start.version.spec);
        state.end_run(start.id, &name, start.version.generation, start.snapshot.revision());
        state.line_up(start.id);
        drop(state);
        self.ended = true;
        self.shared.pump();
        self.shared.progress.notify_waiters();
    }

    /// Keeps the run's record, in memory and in the journal.
    fn record(&self, state: &mut State, ended: Ended) {
        let (shared, start) = (&self.shared, &self.start);
        let (wakes, reads) = (&start.taken.wakes, ended.reads.unwrap_or_default());
        let record = RunRecord {
            run: start.run,
            code: Arc::clone(&start.version.code),
            object: start.taken.key.clone(),
            snapshot: reads.at,
            wakes: ended.wakes,
            woken_by: wakes.revisions().to_vec(),
            wakes_dropped: wakes.dropped(),
            occasion: wakes.occasion().map(Occasion::as_str),
            attempt: start.taken.failures,
            conflicts: start.taken.conflicts,
            now: start.now,
            seed: ended.seed,
            answers: ended.answers,
            reads,
            empty: ended.empty,
            writes: ended.writes,
            end: end_of(ended.result),
            reconcile_time: ended.reconcile_time,
            duration: shared.clock.monotonic().saturating_sub(start.started),
        };
        let record = Arc::new(record);
        state.records.add(&record);
        if let Some(journal) = &shared.config.journal {
            journal.append(record);
        }
    }
}

fn end_of(result: Result<Outcome, Bad>) -> RunEnd {
    match result {
        Ok(Outcome::Done) => RunEnd::Done { requeue: None },
        Ok(Outcome::DoneUntil(wait)) => RunEnd::Done { requeue: Some(wait) },
        Err(Bad::Failure(failure)) => {
            RunEnd::Failed { kind: failure.kind(), message: failure.message().to_owned() }
        }
        Err(Bad::Conflict(key)) => RunEnd::Conflict { key },
        Err(Bad::Fenced) => RunEnd::Fenced,
    }
}

/// Gives the key back to its queue. Without knowledge of what was missed it is run again behind new work.
fn finish(
    state: &mut State,
    id: u32,
    taken: &Taken,
    missed: Option<Vec<Arc<Change>>>,
    end: impl FnOnce(Vec<Arc<Change>>) -> End,
) {
    let Some(controller) = state.controllers.get_mut(&id) else { return };
    let unknown = missed.is_none();
    controller.queue.finish(taken, end(missed.unwrap_or_default()));
    if unknown {
        controller.queue.resync(&taken.key, Some(state.position));
    }
}

/// The same after a failure: what was missed wakes the key before its backoff is over.
fn finish_failed(
    state: &mut State,
    id: u32,
    taken: &Taken,
    missed: Option<Vec<Arc<Change>>>,
    due: Duration,
) {
    let Some(controller) = state.controllers.get_mut(&id) else { return };
    controller.queue.finish(taken, End::Failed(due));
    for change in missed.unwrap_or_default() {
        controller.queue.wake(&taken.key, &change);
    }
}
