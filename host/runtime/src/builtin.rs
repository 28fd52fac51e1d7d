//! The controllers that are part of every host: the garbage collector, the namespace life-cycle, the protection of volumes
//! and the expiry of Events.
//!
//! They are one loop over the changes, apart from the runs: their work is many small deletions, which they put into
//! few large transactions, one part after the other. A transaction that cannot be committed is tried with less in it, then
//! while nobody else commits, and holds up neither the other parts nor, in the end, anything but the one write in it. What
//! they write has a system cause, and they count for `settled` as every controller.

mod batch;
mod collector;
mod expiry;
mod namespaces;
mod part;
mod pending;
mod protection;
mod refused;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quadrille_registry::Consultation;
use quadrille_store::{ChangeFilter, ChangeStream, ChangesError, Revision, Snapshot};

use crate::runtime::{Gauge, Runtime, Shared};
use crate::trigger::TriggerError;
use batch::{Batch, Ending};
use collector::Collector;
use expiry::Expiry;
use namespaces::Namespaces;
use part::{Pace, Part};
use pending::Pending;
use protection::Protection;
use refused::Refused;

/// Starts them.
pub(crate) fn start(runtime: &Runtime) {
    let shared = Arc::clone(&runtime.shared);
    let gauge = shared.part("housekeeping");
    runtime.shared.supervisor.spawn("housekeeping", keep_house(shared, gauge));
}

async fn keep_house(shared: Arc<Shared>, gauge: Arc<Gauge>) -> Result<(), TriggerError> {
    let shutdown = shared.supervisor.shutdown();
    loop {
        let snapshot = shared.registry.store().snapshot();
        let mut house = House::of(&shared, &snapshot);
        let after = quadrille_store::View::revision(&snapshot);
        shared.report(&gauge, after, house.pending(), house.causes());
        let mut changes = shared.registry.store().changes(ChangeFilter::default(), after);
        let ended = tokio::select! {
            biased;
            () = shutdown.started() => return Ok(()),
            ended = house.follow(&shared, &gauge, &mut changes) => ended,
        };
        match ended {
            ChangesError::Closed if shutdown.is_started() => return Ok(()),
            ChangesError::Closed => return Err(TriggerError::Changes(ended)),
            // Changes were missed: look at everything again.
            ChangesError::Expired { .. } => {}
            ChangesError::Unavailable(_) => shared.clock.sleep(crate::trigger::RETRY).await,
        }
    }
}

/// All parts.
#[derive(Debug)]
struct Parts {
    collector: Collector,
    namespaces: Namespaces,
    protection: Protection,
    expiry: Expiry,
}

/// How many there are.
const PARTS: usize = 4;

/// The place of the one that waits for the clock.
const EXPIRY: usize = 3;

impl Parts {
    /// In the order of their turns.
    fn all(&mut self) -> [&mut dyn Part; PARTS] {
        [&mut self.namespaces, &mut self.protection, &mut self.collector, &mut self.expiry]
    }
}

#[derive(Debug)]
struct House {
    parts: Parts,
    paces: [Pace; PARTS],
    /// Whose turn it is.
    next: usize,
    refused: Refused,
    /// What admission webhooks said about a batch that is to be made again, and whose it is.
    answers: Option<(usize, Consultation)>,
}

impl House {
    fn of(shared: &Shared, snapshot: &Snapshot) -> Self {
        let parts = Parts {
            collector: Collector::of(snapshot, &shared.registry.catalog()),
            namespaces: Namespaces::of(snapshot),
            protection: Protection::of(snapshot),
            expiry: Expiry::of(snapshot, shared.config.event_life),
        };
        let (paces, refused) = ([Pace::default(); PARTS], Refused::default());
        Self { parts, paces, next: 0, refused, answers: None }
    }

    async fn follow(
        &mut self,
        shared: &Arc<Shared>,
        gauge: &Gauge,
        changes: &mut ChangeStream,
    ) -> ChangesError {
        loop {
            let batch = match (changes.try_next(), self.wait(shared)) {
                (Ok(None), Some(wait)) => tokio::select! {
                    biased;
                    batch = changes.next() => batch.map(Some),
                    () = shared.clock.sleep(wait) => Ok(None),
                },
                (other, _) => other,
            };
            match batch {
                Err(error) => return error,
                Ok(Some(batch)) => {
                    // Busy before the position moves: nobody may see both at rest.
                    shared.report(gauge, gauge_position(gauge), 1, self.causes());
                    let catalog = shared.registry.catalog();
                    for change in &batch.changes {
                        self.parts.collector.look_at(change, &catalog);
                        self.parts.namespaces.look_at(change);
                        self.parts.protection.look_at(change);
                        self.parts.expiry.look_at(change);
                    }
                    shared.report(gauge, batch.through, self.pending(), self.causes());
                }
                Ok(None) => {
                    let now = shared.clock.monotonic();
                    self.look_again(now);
                    self.work(shared, now).await;
                    let refused = self.parts.namespaces.furnish(shared).await;
                    self.refused.note(refused, shared.clock.monotonic());
                    if self.pending() == 0 {
                        self.refused.settle();
                    }
                    shared.report(gauge, gauge_position(gauge), self.pending(), self.causes());
                }
            }
        }
    }

    /// How long nothing can be done, unless something changes; `None` when there is something to do.
    fn wait(&mut self, shared: &Shared) -> Option<Duration> {
        let (now, wall) = (shared.clock.monotonic(), shared.clock.now());
        // Events that are due wait a little for others.
        let gathers = self.parts.expiry.wait(wall);
        let furnishes = self.parts.namespaces.wait(now).unwrap_or(Duration::MAX);
        let mut wait = self.refused.wait(now).unwrap_or(Duration::MAX).min(furnishes);
        for (place, part) in self.parts.all().into_iter().enumerate() {
            let closed = self.paces[place].opens_at.saturating_sub(now);
            match part.is_busy(wall) {
                true if place == EXPIRY => wait = wait.min(closed.max(gathers)),
                true => wait = wait.min(closed),
                false if place == EXPIRY => wait = wait.min(gathers),
                false => {}
            }
        }
        (!wait.is_zero()).then_some(wait)
    }

    /// One batch: of the first part from the one whose turn it is that has something to do.
    async fn work(&mut self, shared: &Shared, now: Duration) {
        let (first, mut answers) = match self.answers.take() {
            Some((part, answers)) => (part, Some(answers)),
            None => (self.next, None),
        };
        for place in (first..first + PARTS).map(|place| place % PARTS) {
            let wall = shared.clock.now();
            let (part, pace) = (&mut *self.parts.all()[place], self.paces[place]);
            if now < pace.opens_at || !part.is_busy(wall) {
                continue;
            }
            let turn = if pace.wants_turn() { Some(shared.registry.turn().await) } else { None };
            let answers = answers.take().filter(|_| place == first);
            let mut batch = Batch::new(shared, pace.room, answers);
            part.work(&mut batch, &self.refused);
            if batch.is_idle() {
                part.settle();
                continue;
            }
            let name = part.name();
            let ending = batch.commit(shared, name, turn).await;
            self.next = (place + 1) % PARTS;
            self.conclude(place, ending, shared.clock.monotonic());
            return;
        }
    }

    /// Books what became of a part's batch.
    fn conclude(&mut self, place: usize, ending: Ending, now: Duration) {
        let (part, pace) = (&mut *self.parts.all()[place], &mut self.paces[place]);
        match ending {
            Ending::Committed(refused) => {
                part.settle();
                pace.committed();
                self.refused.note(refused, now);
            }
            Ending::Asked(answers) => {
                part.retry();
                self.answers = Some((place, answers));
            }
            Ending::Conflict => {
                part.retry();
                pace.conflict();
            }
            Ending::Invalid if pace.halve() => part.retry(),
            Ending::Invalid => self.refused.note(part.give_up().into_iter().collect(), now),
            Ending::Unavailable => {
                part.retry();
                pace.wait_until(now.saturating_add(crate::trigger::RETRY));
            }
        }
    }

    fn pending(&self) -> usize {
        let namespaces: usize = self.parts.namespaces.pending().iter().map(|of| of.len()).sum();
        self.parts.collector.pending().len() + namespaces + self.parts.protection.pending().len()
    }

    /// The changes that led to what is pending.
    fn causes(&self) -> BTreeSet<Revision> {
        let namespaces = self.parts.namespaces.pending().into_iter().flat_map(Pending::causes);
        let collector = self.parts.collector.pending().causes();
        namespaces.chain(collector).chain(self.parts.protection.pending().causes()).collect()
    }

    /// What was refused a while ago is pending again with the part that it may be of.
    fn look_again(&mut self, now: Duration) {
        while let Some(key) = self.refused.pop_due(now) {
            for part in self.parts.all() {
                part.look_again(&key);
            }
        }
    }
}

fn gauge_position(gauge: &Gauge) -> Revision {
    Revision(gauge.position.load(std::sync::atomic::Ordering::Acquire))
}

#[cfg(test)]
mod tests;
