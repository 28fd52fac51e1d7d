//! The write path through its public face, over a store in memory.

mod definitions;
mod keepers;
mod kinds;
mod objects;
mod pods;
mod policies;
mod support;
