//! What other parts of the host add to the HTTP API: declared here, implemented elsewhere, so that the server
//! knows neither Wasm nor the runtime.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use quadrille_kit::clock::BoxFuture;
use quadrille_registry::{Actor, Status};
use serde_json::Value;

/// A stream of log lines, each with its line end.
pub type LogStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// A component that is uploaded for a plugin.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The plugin's name.
    pub plugin: String,
    /// The component's bytes.
    pub component: Bytes,
    /// Whether everything that the component asks for is granted (`?grant=all`).
    pub grant_all: bool,
    /// Whether it is only kept, and not made active (`?activate=false`).
    pub keep_only: bool,
    /// Everything but the effect (`?dryRun=All`).
    pub dry_run: bool,
    /// Who uploads.
    pub actor: Actor,
}

/// Which part of a plugin's log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// At most this many of the newest lines; `None` for all that are kept.
    pub tail: Option<usize>,
    /// Go on with new lines until the client leaves.
    pub follow: bool,
}

/// The code and the logs of plugins.
pub trait PluginUploads: fmt::Debug + Send + Sync {
    /// Takes a component in. The answer describes what was loaded, or the refusal says why nothing changed.
    fn upload(&self, upload: Upload) -> BoxFuture<'_, Result<Value, Status>>;

    /// The bytes of a plugin's active component, or of the one with a digest.
    fn download<'a>(
        &'a self,
        plugin: &'a str,
        digest: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Bytes, Status>>;

    /// A plugin's log.
    fn log<'a>(
        &'a self,
        plugin: &'a str,
        options: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, Status>>;
}

/// What the record can tell: below `/quadrille/`, as JSON.
pub trait Insight: fmt::Debug + Send + Sync {
    /// Answers `/quadrille/PATH?QUERY`; `path` is without the prefix, such as `why`, `settled` or `runs/17`,
    /// and `query` holds the decoded parameters in their order.
    fn ask<'a>(
        &'a self,
        path: &'a str,
        query: &'a [(String, String)],
    ) -> BoxFuture<'a, Result<Value, Status>>;
}
