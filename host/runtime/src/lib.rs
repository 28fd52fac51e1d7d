//! The runtime: which controller runs for which object, when, on what view, and how its writes commit.
//!
//! It owns workqueues, triggers, read sets, the overlay and the run record, and the two controllers that are
//! part of every host: garbage collection and the namespace life-cycle. It declares what a [`Reconciler`] is and
//! must never know how one is made: no Wasm here, no HTTP.

pub mod overlay;
pub mod reconciler;

pub use overlay::Overlay;
pub use reconciler::{
    ControllerSpec, Failure, Grant, GrantRule, Outcome, ReconcileRequest, Reconciled, Reconciler,
    WokenBy,
};
