//! What is derived from the record, and from nothing else: why an object is as it is, and what would follow from a
//! change.
//!
//! It reads the store's history and keeps no books of its own. It must never know of HTTP or Wasm.

pub mod diff;
pub mod plan;
pub mod rehearsal;
pub mod text;
pub mod why;

pub use plan::{Act, Plan, PlanRequest, Swap, plan};
pub use rehearsal::{Bounds, Ended};
pub use why::{Step, Why, WhyError, why};
