//! Plugins: which component runs under which name, with which grants, and how that is going.
//!
//! The truth is the `Plugin` object; the manager brings the runtime in line with it and writes what it sees into
//! the status. A swap is a sequence of visible steps: read the file, check, compile, describe, apply the definitions
//! that it brings, put its controllers in place, take those away that it no longer has. A step that fails leaves
//! what ran before running, with what the new spec still grants it, and says so in the conditions; it is tried again
//! where that may help.
//!
//! ```text
//! upload ─ load ─ keep the file ─ write spec.digest ─┐
//! kubectl apply / patch / delete ── change ──────────┴─ sync ─ controllers ─ status
//! ```

pub(crate) mod code;
mod controllers;
mod entry;
mod files;
mod leave;
mod manager;
mod objects;
mod part;
mod rehearsal;
mod rollout;
mod setback;
mod spec;
mod status;
mod sweep;
mod sync;
mod trial;
mod upload;

pub use code::{CodeError, check_is_component};
pub use manager::{ManagerConfig, ManagerParts, PluginManager};
pub use rehearsal::Rehearsed;
pub use rollout::{PreflightReport, PreflightRunner};
pub use status::Phase;
pub use upload::{PluginUpload, Uploaded};
