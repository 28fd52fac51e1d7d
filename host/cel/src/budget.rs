//! What evaluations may cost.
//!
//! Owns the limits of Kubernetes. One unit is roughly 50 nanoseconds of a plain processor. Must not know of
//! expressions.

/// The most that one evaluation may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// The most that all expressions may cost for one object or binding.
pub const OBJECT_BUDGET: u64 = 10_000_000;
/// The most that all match conditions of one webhook or binding may cost for one object.
pub const MATCH_CONDITIONS_BUDGET: u64 = OBJECT_BUDGET / 4;
/// The most that a rule of a `CustomResourceDefinition` may be estimated to cost.
pub const RULE_ESTIMATE_LIMIT: u64 = 10_000_000;
/// The most that all rules of a `CustomResourceDefinition`'s schema may be estimated to cost.
pub const SCHEMA_ESTIMATE_LIMIT: u64 = 100_000_000;
/// The longest text, in bytes, that a message expression may give.
pub const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// What several evaluations may cost together, and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    remaining: u64,
}

impl Budget {
    /// So many units.
    pub fn new(units: u64) -> Self {
        Self { remaining: units }
    }

    /// What one object or binding gets: [`OBJECT_BUDGET`].
    pub fn per_object() -> Self {
        Self::new(OBJECT_BUDGET)
    }

    /// What is left.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    pub(crate) fn spend(&mut self, units: u64) {
        self.remaining = self.remaining.saturating_sub(units);
    }
}
