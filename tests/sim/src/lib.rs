//! The host in a simulation: the real store, registry and runtime under one seed, with clients, controllers and watchers,
//! over several lives that end in crashes.
//!
//! [`stage`] runs lives one after the other in one thread and in virtual time; a [`play`] is who works there.
//! [`witness`] sees every change once and is what all others are compared with; [`watcher`] is a client that watches,
//! stops, is slow and resumes; [`look`] compares snapshots and indexes with what they should hold. [`weather`] is the
//! clock that jumps, [`ground`] where the store lies. Everything follows from the seed: a seed that fails, fails again.

pub mod ground;
pub mod look;
pub mod play;
pub mod stage;
pub mod watcher;
pub mod weather;
pub mod witness;

pub use ground::Ground;
pub use play::{Play, Random};
pub use stage::{Figures, Plan, Stage};
