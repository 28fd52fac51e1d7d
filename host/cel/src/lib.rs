//! The Common Expression Language as Kubernetes uses it.
//!
//! [`Environment`] says what an expression may refer to and compiles it: `token` and `parse` read it (`macros`
//! expands loops), `check` types it, `plan` makes it ready to run. A [`Program`] is run by `eval` on [`Value`]s,
//! which are views over JSON, within a [`Budget`]; what it can cost at most is estimated by `cost` before it
//! ever runs. Everything is bounded: the expression's length and depth, the steps of a run, the size of what it
//! builds.
//!
//! Owns the language and its libraries. Must not know of resources, admission or HTTP: it stands at the bottom
//! and depends on no other crate of the host.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else a value, type or token may be, now or later, is an error of the expression"
)]

mod ast;
mod budget;
mod charge;
mod check;
mod cost;
mod declared;
mod environment;
mod error;
mod escape;
mod eval;
mod infer;
mod json;
mod library;
mod macros;
mod ops;
mod parse;
mod plan;
mod signature;
mod time;
mod token;
mod types;
mod value;

pub use budget::{
    Budget, MATCH_CONDITIONS_BUDGET, MESSAGE_BYTES_MAX, OBJECT_BUDGET, PER_CALL_LIMIT,
    RULE_ESTIMATE_LIMIT, SCHEMA_ESTIMATE_LIMIT,
};
pub use cost::CostEstimate;
pub use declared::{Declared, ListKind, SchemaRoot, Shape};
pub use environment::{Environment, Program};
pub use error::{CompileError, EvalError, Issue};
pub use escape::{escape, is_reserved, unescape};
pub use eval::Variables;
pub use library::{Authorization, Cidr, Decision, Format, Quantity, Question, Semver, Target, Url};
pub use time::{Duration, Timestamp};
pub use types::{Field, ObjectType, OpaqueType, Type};
pub use value::{Key, List, Map, Object, Opaque, Text, Value};
