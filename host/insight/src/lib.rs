//! What is derived from the record, and from nothing else: why an object is as it is, what followed from a change, and
//! what would follow from one.
//!
//! It reads the store's history and keeps no books of its own. It must never know of HTTP or Wasm.

pub mod check;
pub mod diff;
pub mod effects;
pub mod field;
pub mod fights;
pub mod plan;
pub mod rehearsal;
pub mod replay;
pub mod runs;
pub mod text;
pub mod waiting;
pub mod why;

mod value;

pub use check::{Effort, Principle, ScoreCard, Subject, check};
pub use effects::{Effect, Effects, effects};
pub use field::{Field, FieldError};
pub use fights::keep::Fights;
pub use fights::{Fight, FightKind, Response};
pub use plan::{Act, Plan, PlanRequest, Swap, plan};
pub use rehearsal::{Bounds, Ended};
pub use replay::{
    Code, CodeMissing, CodeSource, Difference, ReplaySummary, Replayed, Replays, Verdict, bisect,
    replay,
};
pub use why::{FieldChange, Step, Why, WhyError, last_change, parse_key, why, why_field};
