//! The one write path: every change, whoever asks for it, is decoded, defaulted, admitted and validated here
//! before the store sees it.
//!
//! It owns the catalog of resources (built-in kinds as data and rules, custom resources from their
//! definitions), the verbs that write, and the translation of every error into a `Status`. It must never know
//! of HTTP, tasks of its own, queues or Wasm.

pub mod access;
mod admission;
mod bootstrap;
pub mod catalog;
mod conversion;
mod convert;
mod definition;
mod field;
mod metadata;
#[cfg(test)]
mod promptly;
pub mod registry;
pub mod request;
mod rules;
mod shape;
pub mod signing_request;
pub mod status;
mod turn;
pub mod webhooks;
mod write;

pub use access::{Access, Asker, Attributes, Decision, Extra, ResourceAttributes, User};
pub use admission::KeepQuotasError;
pub use catalog::{
    Catalog, Column, Definition, NameRule, Resource, ScalePaths, Subresource, Traits,
};
pub use registry::{Config, OpenQuestions, Prepared, Received, Registry, Unprepared, Written};
pub use request::{
    Action, Actor, Body, DeleteOptions, FieldValidation, PatchFormat, Preconditions, Propagation,
    Target, WriteOptions, WriteRequest,
};
pub use status::{CAUSES_MAX, Reason, Status, StatusCause};
pub use turn::Turn;
pub use webhooks::{Consultation, RecordedAnswer, WebhookEndpoint, WebhookReply, Webhooks};
