//! Unit tests for controllers: a [`World`] runs them natively on the host's own store, registry and overlay.
//!
//! It owns a driver that is as small as can be: one thread, a clock that stands still, chance from a seed, so that a
//! failure happens again. What a controller sees (defaults, validation, server-side apply, finalizers, garbage
//! collection, reads that are subscriptions) is what it sees on a host. It must never know of Wasm.

mod case;
mod client;
mod collect;
mod drive;
mod host;
mod native;
mod torture;
mod world;

pub use case::{Case, CaseRun};
pub use native::native;
pub use quadrille_insight::check::{Principle, ScoreCard, Verdict};
pub use world::World;
