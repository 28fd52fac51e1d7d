//! Strict serialisability, checked from outside: random controllers and clients work on a few objects, everything that
//! they saw is noted, and a model that knows nothing of the host decides whether it can be true.
//!
//! [`world`] runs them, on memory under simulated time or on disk with threads; [`cast`] is who takes part, [`program`]
//! what a controller does, [`desk`] what all need for that; [`history`] is what was noted; [`check`] is the judge.

pub mod cast;
pub mod check;
pub mod desk;
pub mod history;
pub mod program;
pub mod world;

pub use cast::Cast;
pub use check::{Violation, check};
pub use history::History;
pub use world::{Plan, Plant};
