//! How a run is booked, once and however it ends: what it used, what its key waits for next, its record.
//!
//! Whoever holds a run holds its guard: a key is never left running. It knows nothing of what a reconciler does.

use std::sync::Arc;
use std::time::Duration;

use quadrille_store::{Change, ReadSet, Revision, View};

use super::Start;
use super::ended::{Bad, Ended, end_of};
use crate::budget::Spent;
use crate::controller::{Controller, ControllerName};
use crate::queue::{End, Taken};
use crate::reconciler::{Failure, Outcome};
use crate::record::RunRecord;
use crate::runtime::Shared;
use crate::state::State;
use crate::tell::Telling;
use crate::wakes::Occasion;

/// Ends the run as a trap when its task ends early, by a panic in a native reconciler: a key is never left running.
pub(super) struct Guard {
    shared: Arc<Shared>,
    pub(super) start: Start,
    in_slot: bool,
    pub(super) had_turn: bool,
    /// For how long nobody else could commit while the reconciler was at work, or its mark was taken away.
    pub(super) turn_held: Duration,
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

impl Guard {
    /// Guards a run that was handed out and holds a slot.
    pub(super) const fn of(shared: Arc<Shared>, start: Start) -> Self {
        let turn_held = Duration::ZERO;
        Self { shared, start, in_slot: true, had_turn: false, turn_held, ended: false }
    }

    /// Gives the slot back before the commit, which takes no processor. From then on others may see what the run wrote,
    /// and ask for its record.
    pub(super) fn leave_slot(&mut self, writes: usize) {
        if std::mem::take(&mut self.in_slot) {
            let now = self.shared.clock.monotonic();
            let mut state = self.shared.lock();
            state.leave_slot(self.start.id, self.start.started, now);
            if writes > 0 {
                state.committing.insert(self.start.run);
            }
            drop(state);
            self.shared.pump();
        }
    }

    /// There is no object, or it is none of the controller's: the key is forgotten until the object changes. `seen` tells
    /// up to where that is so, or why the object could not be let go.
    pub(super) fn end_unwanted(&mut self, seen: Result<Revision, Bad>) {
        let shared = Arc::clone(&self.shared);
        let (id, taken) = (self.start.id, &self.start.taken);
        let now = shared.clock.monotonic();
        let mut state = shared.lock();
        if self.start.has_queue(&state) {
            let spent = Spent { turn: self.turn_held, ..Spent::default() };
            state.budgets.spend(&self.start.version.spec.plugin, &spent, now);
            match seen {
                Ok(seen) => {
                    state.last_commit = state.last_commit.max(seen);
                    let keys = vec![taken.key.clone()];
                    let missed =
                        state.missed(&ReadSet { at: seen, keys, ..ReadSet::default() }, seen);
                    state.subscriptions.remove(id, &taken.key);
                    if let Some(controller) = state.controllers.get_mut(&id) {
                        controller.failed.remove(&taken.key);
                    }
                    finish(&mut state, id, taken, missed, End::Done);
                }
                Err(bad) => {
                    if let Some(controller) = state.controllers.get_mut(&id) {
                        match &bad {
                            Bad::Failure(failure) => {
                                controller.note_failure(&taken.key, failure, shared.clock.now());
                            }
                            // The next turn is for as long as this took.
                            Bad::Conflict(_) => {
                                controller.lost_run = now.saturating_sub(self.start.started);
                            }
                            Bad::Fenced => {}
                        }
                    }
                    let ended = Ended::bad(bad, self.start.snapshot.revision());
                    self.give_back(&mut state, &ended, Some(Vec::new()), now);
                }
            }
        }
        self.release(state);
    }

    /// Books how the run ended, and lets go of its key.
    pub(super) fn end(&mut self, ended: Ended) {
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
        }
        // Also where its controller has gone since: what it wrote stays.
        self.record(&mut state, ended);
        self.release(state);
        if let Some(telling) = telling {
            shared.supervisor.spawn_brief("event", telling.tell());
        }
    }

    fn book(&self, state: &mut State, ended: &Ended, missed: Option<Vec<Arc<Change>>>) {
        let now = self.shared.clock.monotonic();
        if let Some(controller) = state.controllers.get_mut(&self.start.id) {
            self.count(controller, ended, now.saturating_sub(self.start.started));
            self.note_failure(controller, ended);
        }
        state.budgets.spend(&self.start.version.spec.plugin, &self.spent(ended), now);
        self.give_back(state, ended, missed, now);
    }

    fn count(&self, controller: &mut Controller, ended: &Ended, duration: Duration) {
        let start = &self.start;
        let is_conflict = matches!(ended.result, Err(Bad::Conflict(_)));
        let is_fenced = matches!(ended.result, Err(Bad::Fenced));
        let numbers = &mut controller.numbers;
        numbers.runs += 1;
        numbers.commits += u64::from(ended.has_committed());
        numbers.retries += u64::from(start.taken.conflicts + start.taken.failures > 0);
        numbers.turns += u64::from(self.had_turn);
        numbers.conflicts += u64::from(is_conflict);
        numbers.fenced += u64::from(is_fenced);
        if is_conflict || is_fenced {
            numbers.thrown_away += duration;
        }
        numbers.memory_bytes_max = numbers.memory_bytes_max.max(ended.memory_bytes);
        numbers.durations.add(duration);
        numbers.last_run = Some(self.shared.clock.now());
        if is_conflict {
            controller.lost_run = ended.reconcile_time;
        }
        if let Some(candidate) = &mut controller.candidate {
            candidate.count(start.is_candidate, &ended.counted(duration));
        }
    }

    fn note_failure(&self, controller: &mut Controller, ended: &Ended) {
        let taken = &self.start.taken;
        if let Err(Bad::Failure(failure)) = &ended.result {
            controller.note_failure(&taken.key, failure, self.shared.clock.now());
            if let Failure::Permanent(message) = failure {
                controller.halt(&taken.key, message, &taken.wakes);
            }
        } else if ended.result.is_ok() {
            controller.failed.remove(&taken.key);
        }
    }

    /// Gives the key back to its queue, to be run again when its end asks for that.
    fn give_back(
        &self,
        state: &mut State,
        ended: &Ended,
        missed: Option<Vec<Arc<Change>>>,
        now: Duration,
    ) {
        let (shared, id, taken) = (&self.shared, self.start.id, &self.start.taken);
        match &ended.result {
            Err(Bad::Failure(Failure::Permanent(_))) if ended.was_refused => {
                let due = now.saturating_add(shared.config.backoff.max);
                finish(state, id, taken, missed, |missed| End::DoneUntil(due, missed));
                shared.set_timer(state, due);
            }
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
            turn: self.turn_held,
        }
    }

    fn release(&mut self, mut state: std::sync::MutexGuard<'_, State>) {
        let start = &self.start;
        if std::mem::take(&mut self.in_slot) {
            state.leave_slot(start.id, start.started, self.shared.clock.monotonic());
        }
        let name = ControllerName::of(&start.version.spec);
        state.committing.remove(&start.run);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Host, map_key, native, runnable, spec};

    /// A host with a controller that fails for every object; one failed, and has gone or left the selector.
    async fn failed_once(then: &str) -> Host {
        let host = Host::new(false).await;
        let failing =
            native(|request, _| Err(Failure::Transient(format!("no {}", request.key.name))));
        host.runtime.add(spec("failing"), failing).expect("new");
        host.map("a", runnable()).await;
        host.settle().await;
        assert_eq!(failed(&host), [("a".to_owned(), "no a".to_owned())]);
        if then == "goes" {
            host.delete(&host.maps(), &map_key("a"), None).await;
        } else {
            let unlabelled = json!({"metadata": {"labels": {"run": null}}});
            host.patch(&host.maps(), &map_key("a"), unlabelled).await;
        }
        host.settle().await;
        host
    }

    fn failed(host: &Host) -> Vec<(String, String)> {
        let state = host.runtime.shared.lock();
        let failed = state.controllers.values().flat_map(|controller| &controller.failed);
        failed.map(|(key, message)| (key.name.as_ref().to_owned(), message.clone())).collect()
    }

    #[tokio::test]
    async fn what_failed_and_is_not_run_for_any_longer_is_forgotten() {
        for then in ["goes", "leaves"] {
            assert_eq!(failed(&failed_once(then).await), [], "{then}");
        }
    }

    #[tokio::test]
    async fn of_those_that_are_named_the_newest_message_is_kept_however_many_fail() {
        let host = failed_once("goes").await;
        let fail = |name: &str, message: &str| {
            let (failure, mut state) =
                (Failure::Transient(message.to_owned()), host.runtime.shared.lock());
            let controller = state.controllers.values_mut().next().expect("there is one");
            controller.note_failure(&map_key(name), &failure, host.runtime.shared.clock.now());
        };
        for number in 0..2_000 {
            fail(&format!("m{number:04}"), "old");
        }
        fail("m0000", "new");
        let failed = failed(&host);
        assert_eq!((failed.len(), failed[0].1.as_str()), (1_000, "new"));
    }
}
