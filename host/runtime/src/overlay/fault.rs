//! Faults on purpose: for a check of what a controller does when a call of its is refused, or never answered.
//!
//! Calls are counted whether they are disturbed or not: reads, writes and events, in their order.

use quadrille_registry::{Consultation, Reason, Status};
use quadrille_store::Snapshot;

use super::Overlay;

/// What befalls one call of a run, by its number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused, as by a host that is busy; the next one works.
    Refuse(usize),
    /// The run is cut before it: it and every later call are refused, and nothing of the run counts. One past the
    /// last call cuts the run before its commit.
    Cut(usize),
}

/// The faults of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    planned: Option<Fault>,
    calls: usize,
}

impl Overlay {
    /// The same with a fault.
    #[must_use]
    pub fn disturbed(mut self, fault: Fault) -> Self {
        self.faults.planned = Some(fault);
        self
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.faults.calls
    }

    /// Whether the run was cut.
    pub fn was_cut(&self) -> bool {
        matches!(self.faults.planned, Some(Fault::Cut(at)) if at <= self.faults.calls)
    }

    /// An overlay without reads and writes for the same run, with another chance.
    #[must_use]
    pub fn again(&self, seed: u64) -> Self {
        self.again_on(self.snapshot.clone(), seed)
    }

    /// The same on another snapshot.
    #[must_use]
    pub fn again_on(&self, snapshot: Snapshot, seed: u64) -> Self {
        let fresh = Self::new(snapshot, self.registry.clone(), self.grant.clone());
        let fresh = fresh.limited(self.limits.clone()).owned_by(self.owner.clone());
        fresh.answered(Some(Consultation::at(self.owner.now, seed)))
    }

    /// Counts a call, and refuses it when that is planned.
    pub(super) fn befall(&mut self) -> Result<(), Status> {
        let call = self.faults.calls;
        self.faults.calls += 1;
        let disturbed = match self.faults.planned {
            None => false,
            Some(Fault::Refuse(at)) => at == call,
            Some(Fault::Cut(at)) => at <= call,
        };
        if disturbed {
            let message = "the host cannot answer this call now; try again";
            return Err(Status::new(Reason::ServiceUnavailable, message));
        }
        Ok(())
    }
}
