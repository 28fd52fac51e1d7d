//! Guests for tests and benches, made from WebAssembly text in milliseconds.
//!
//! [`Guest`] is a component of the controller world with the bodies of `describe` and `reconcile` to choose;
//! [`hostile`] holds those that the host must refuse or survive, each under a name that a test can loop over, [`bombs`]
//! those that cost a compiler too much, [`crowd`] the neighbours of a host that good and bad plugins share.

pub mod bombs;
pub mod crowd;
mod guest;
pub mod hostile;
mod memory;

pub use guest::{Capability, Guest};
