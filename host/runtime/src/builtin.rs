//! The controllers that are part of every host: the garbage collector, the namespace life-cycle, the protection of volumes
//! and the expiry of Events.
//!
//! They are one loop over the changes, apart from the runs: their work is many small deletions, which they put into
//! few large transactions. What they write has a system cause, and they count for `settled` as every controller.

mod batch;
mod collector;
mod expiry;
mod namespaces;
mod pending;
mod protection;
mod refused;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quadrille_registry::Consultation;
use quadrille_store::{ChangeFilter, ChangeStream, ChangesError, Revision};

use crate::runtime::{Gauge, Runtime, Shared};
use crate::trigger::TriggerError;
use batch::Batch;
use collector::Collector;
use expiry::Expiry;
use namespaces::Namespaces;
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
        let catalog = shared.registry.catalog();
        let mut house = House {
            collector: Collector::of(&snapshot, &catalog),
            namespaces: Namespaces::of(&snapshot),
            protection: Protection::of(&snapshot),
            expiry: Expiry::of(&snapshot, shared.config.event_life),
            refused: Refused::default(),
            answers: None,
        };
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

#[derive(Debug)]
struct House {
    collector: Collector,
    namespaces: Namespaces,
    protection: Protection,
    expiry: Expiry,
    refused: Refused,
    /// What admission webhooks said about a batch that is to be made again.
    answers: Option<Consultation>,
}

impl House {
    async fn follow(
        &mut self,
        shared: &Arc<Shared>,
        gauge: &Gauge,
        changes: &mut ChangeStream,
    ) -> ChangesError {
        loop {
            let idle = self.pending() == 0;
            let batch = match changes.try_next() {
                Ok(None) if idle => {
                    let wait = self.expiry.wait(shared.clock.now());
                    let refused = self.refused.wait(shared.clock.monotonic());
                    let wait = refused.map_or(wait, |refused| refused.min(wait));
                    tokio::select! {
                        biased;
                        batch = changes.next() => batch.map(Some),
                        () = shared.clock.sleep(wait) => Ok(None),
                    }
                }
                other => other,
            };
            match batch {
                Err(error) => return error,
                Ok(Some(batch)) => {
                    // Busy before the position moves: nobody may see both at rest.
                    shared.report(gauge, gauge_position(gauge), 1, self.causes());
                    let catalog = shared.registry.catalog();
                    for change in &batch.changes {
                        self.collector.look_at(change, &catalog);
                        self.namespaces.look_at(change);
                        self.protection.look_at(change);
                        self.expiry.look_at(change);
                    }
                    shared.report(gauge, batch.through, self.pending(), self.causes());
                }
                Ok(None) => {
                    self.look_again(shared.clock.monotonic());
                    let (batch, part) = self.work(shared);
                    self.commit(shared, batch, part).await;
                    self.namespaces.furnish(shared).await;
                    shared.report(gauge, gauge_position(gauge), self.pending(), self.causes());
                }
            }
        }
    }

    /// The next batch: of the first part that has something to do.
    fn work(&mut self, shared: &Shared) -> (Batch, &'static str) {
        let mut batch = Batch::new(shared, self.answers.take());
        self.namespaces.work(&mut batch);
        if !batch.is_empty() {
            return (batch, "namespace-lifecycle");
        }
        self.protection.work(&mut batch);
        if !batch.is_empty() {
            return (batch, "volume-protection");
        }
        self.collector.work(&mut batch);
        if !batch.is_empty() {
            return (batch, "garbage-collector");
        }
        self.expiry.work(&mut batch, shared.clock.now());
        (batch, "event-expiry")
    }

    fn pending(&self) -> usize {
        let namespaces: usize = self.namespaces.pending().iter().map(|of| of.len()).sum();
        self.collector.pending().len() + namespaces + self.protection.pending().len()
    }

    /// The changes that led to what is pending.
    fn causes(&self) -> BTreeSet<Revision> {
        let namespaces = self.namespaces.pending().into_iter().flat_map(Pending::causes);
        let rest = self.collector.pending().causes().chain(self.protection.pending().causes());
        namespaces.chain(rest).collect()
    }

    /// What was refused a while ago is pending again with the part that it may be of.
    fn look_again(&mut self, now: Duration) {
        while let Some(key) = self.refused.pop_due(now) {
            self.namespaces.look_again(&key);
            self.protection.look_again(&key);
            self.collector.look_again(&key);
        }
    }

    async fn commit(&mut self, shared: &Arc<Shared>, mut batch: Batch, part: &'static str) {
        let refused = batch.take_refused();
        let Err(answers) = batch.commit(shared, part).await else {
            self.collector.settle();
            self.refused.note(refused, shared.clock.monotonic());
            return;
        };
        self.answers = answers;
        self.collector.retry();
        self.namespaces.retry();
        self.protection.retry();
        self.expiry.retry();
    }
}

fn gauge_position(gauge: &Gauge) -> Revision {
    Revision(gauge.position.load(std::sync::atomic::Ordering::Acquire))
}

#[cfg(test)]
mod tests;
