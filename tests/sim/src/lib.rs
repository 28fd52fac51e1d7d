//! The host in a simulation: the real store, registry and runtime under one seed, with clients, controllers and watchers,
//! over several lives that end in crashes.
//!
//! [`stage`] runs lives one after the other in one thread and in virtual time; a [`play`] is who works there.
//! `audience` are those who see it, [`figures`] what there was of it all.
//! [`witness`] sees every change once, holds it to the [`law`]s and is what all others are compared with; [`watcher`] is
//! a client that watches, stops, is slow and resumes; [`reflector`] one that keeps a copy ([`cache`]); [`look`] compares
//! snapshots and indexes with what they should hold. [`weather`] is the clock that jumps, [`ground`] where the store lies.
//! Everything follows from the seed: a seed that fails, fails again.

mod audience;
pub mod brawl;
pub mod cache;
pub mod crowd;
pub mod figures;
pub mod ground;
pub mod law;
pub mod look;
pub mod ordeal;
pub mod play;
pub mod reflector;
pub mod stage;
pub mod town;
pub mod watcher;
pub mod weather;
pub mod witness;

pub use crowd::Crowd;
pub use figures::Figures;
pub use ground::Ground;
pub use ordeal::{Course, Mishap};
pub use play::{Play, Random};
pub use stage::{Plan, Stage};
pub use town::Town;
