//! The runtime: which controller runs for which object, when, on what view, and how its writes commit.
//!
//! It owns workqueues, triggers, read sets, the overlay and the run record, and the controllers that are
//! part of every host: garbage collection and the namespace life-cycle. It declares what a [`Reconciler`] is and
//! must never know how one is made: no Wasm here, no HTTP.

pub mod backoff;
pub mod canary;
pub mod case;
pub mod controller;
pub mod descent;
pub mod find;
pub mod fork;
pub mod overlay;
pub mod queue;
pub mod reconciler;
pub mod record;
pub mod rerun;
pub mod runtime;
pub mod settled;
pub mod stats;
pub mod subscription;
pub mod wakes;

mod budget;
mod builtin;
mod hold;
mod leftover;
mod numbers;
mod rotation;
mod run;
mod shares;
mod state;
mod tell;
#[cfg(test)]
mod testing;
mod trigger;
mod work;

pub use backoff::Backoff;
pub use canary::{CanaryStats, Portion, TrialNumbers};
pub use case::{CaseChange, CaseError, CaseWrite, RunCase};
pub use controller::ControllerName;
pub use descent::Descent;
pub use find::{FindError, RunQuery};
pub use fork::ForkParts;
pub use overlay::{Fault, Note, Overlay, OverlayLimits, OverlayOwner, OverlayUse, Refusal};
pub use reconciler::{
    ControllerSpec, Failure, Grant, GrantRule, Outcome, ReconcileRequest, Reconciled, Reconciler,
    WokenBy,
};
pub use record::{EmptyReads, RunCode, RunEnd, RunRecord, RunWake, RunWrite};
pub use rerun::{Reran, Rerun};
pub use runtime::{Config, ControllerError, Runtime};
pub use settled::{Busy, Settled, Standstill, Stuck};
pub use stats::{ControllerStats, Durations, LastError};
