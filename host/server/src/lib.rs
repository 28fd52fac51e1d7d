//! The Kubernetes HTTP API over the registry and the store.
//!
//! It owns TLS, HTTP/1.1 and HTTP/2, who asks (tokens) and whether they may (the [`Authorizer`]), the verbs
//! that read, and the forms of answers. Whatever writes goes to the registry. It must never know of Wasm,
//! queues or the record: what those add to the API comes in through the traits of [`extension`].

pub mod accounts;
pub mod audit;
pub mod authentication;
pub mod authorization;
pub mod config;
pub mod dissect;
pub mod extension;
pub mod identity;
pub mod oidc;
pub mod server;
pub mod signer;

mod answer;
mod app;
mod certificate;
mod connection;
mod discovery;
mod fairness;
mod forms;
mod framing;
mod gather;
mod gzip;
mod impersonation;
mod jwt;
mod metrics;
mod negotiate;
mod openapi;
mod params;
mod past;
mod path;
mod place;
mod present;
mod routes;
mod shape;
mod stall;
mod strangers;
mod table;
mod token;
mod verbs;
mod webhook;
mod websocket;
mod yaml;

pub use accounts::AccountTokens;
pub use audit::{AuditConfig, Policy};
pub use authentication::Tokens;
pub use authorization::{Authorizer, Roles};
pub use config::{Config, Limits};
pub use extension::{
    Form, Insight, LogOptions, LogStream, PluginUploads, Question, Reply, ReplyStream, Rights,
    Summary, Upload,
};
pub use oidc::{Oidc, OidcConfig};
pub use quadrille_registry::access::{Attributes, Decision, ResourceAttributes, User};
pub use server::{Parts, Server, ServerError};
pub use signer::{Signer, SignerError};
pub use webhook::WebhookCaller;
