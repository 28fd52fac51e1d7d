//! The SDK of Quadrille: what the author of a controller sees.
//!
//! A controller is an implementation of [`Controller`]: a function from one object and a [`Context`] (everything
//! else it may read) to writes. [`plugin!`] makes a component of it; natively the same code runs in unit tests.
//! The crate owns the author's side of the contract in `wit/`. It must know nothing of the host's insides.

mod claim;
pub mod condition;
pub mod context;
pub mod controller;
pub mod error;
#[cfg(target_arch = "wasm32")]
pub mod guest;
pub mod host;
pub mod k8s;
pub mod meta;
pub mod plugin;
pub mod prelude;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod time;

pub use condition::{Condition, Conditions};
pub use context::Context;
pub use controller::{Capability, Controller, Next, owns, reads, verbs};
pub use error::{ApiError, Error, Reason, Result};
pub use host::{EventKind, Host, Level, ObjectRef, PatchFormat, Propagation, Query, ResourceRef};
pub use meta::{Labels, Metadata, OwnerReference};
pub use plugin::{Description, Plugin, Request};
pub use quadrille_sdk_macros::{resource, schema};
pub use resource::{Partial, Resource};
pub use schema::Schema;
pub use selector::LabelSelector;
pub use time::Time;

// What the macros expand to names these.
#[doc(hidden)]
pub use serde;
#[doc(hidden)]
pub use serde_json;

/// The README's examples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
