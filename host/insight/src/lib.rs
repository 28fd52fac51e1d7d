//! What is derived from the record, and from nothing else: so far, why an object is as it is.
//!
//! It reads the store's history and keeps no books of its own. It must never know of HTTP or Wasm.

pub mod text;
pub mod why;

pub use why::{Step, Why, WhyError, why};
