//! The object model of Kubernetes-style resources: names, metadata, encodings, selectors, patches,
//! schemas and server-side apply.
//!
//! It owns pure functions over `serde_json::Value` and bytes. It must never know of storage, HTTP, tasks,
//! a clock or chance: whatever depends on time is handed a [`Timestamp`].

pub mod apply;
pub mod decode;
pub mod encode;
pub mod error;
pub mod jsonpath;
pub mod managed;
pub mod meta;
pub mod name;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod strategic;
pub mod time;
pub mod validate_name;

pub use apply::{ApplyError, Conflict};
pub use decode::{DecodeError, Decoded};
pub use encode::Template;
pub use error::{CAUSES_MAX, FieldError, FieldErrorKind, FieldErrors};
pub use jsonpath::{JsonPath, JsonPathError};
pub use managed::{FieldManager, FieldSet, Scope};
pub use meta::{Meta, OwnerReference};
pub use name::{GroupResource, GroupVersion, Gvk, Gvr, ObjectRef};
pub use patch::{JsonPatch, PatchError};
pub use quantity::Quantity;
pub use schema::Schema;
pub use selector::{FieldSelector, LabelSelector, SelectorError};
pub use time::Timestamp;
