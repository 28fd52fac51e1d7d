//! What other parts of the host add to the HTTP API: declared here, implemented elsewhere, so that the server
//! knows neither Wasm nor the runtime.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::Method;
use quadrille_kit::clock::BoxFuture;
use quadrille_object::{GroupResource, Timestamp};
use quadrille_registry::access::{self, Attributes, ResourceAttributes, User};
use quadrille_registry::{Actor, Status};
use quadrille_store::{Key, Object, Revision};
use serde_json::Value;

use crate::authorization::Authorizer;

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

/// How an answer about the record is wanted: the first of these types that `Accept` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// One JSON document.
    #[default]
    Json,
    /// `text/plain`: for people.
    Text,
    /// `application/x-ndjson`: a JSON document per line, for as long as there are some.
    Lines,
    /// `text/event-stream`: server-sent events.
    Events,
}

/// What somebody may do, for questions that lead to more than their path says.
#[derive(Clone, Debug)]
pub struct Rights {
    authorizer: Arc<dyn Authorizer>,
    user: Arc<User>,
}

impl Rights {
    /// What a user may do, as an authorizer decides it.
    pub fn new(authorizer: Arc<dyn Authorizer>, user: Arc<User>) -> Self {
        Self { authorizer, user }
    }

    /// Whether they may.
    pub fn allow(&self, verb: &str, of: ResourceAttributes<'_>) -> bool {
        self.authorizer.allows(&self.user, &Attributes::of(verb, of))
    }

    /// The refusal, unless they may.
    ///
    /// # Errors
    /// 403, in the words of every other refusal.
    pub fn require(&self, verb: &str, of: ResourceAttributes<'_>) -> Result<(), Status> {
        let attributes = Attributes::of(verb, of);
        let decision = self.authorizer.decide(&self.user, &attributes);
        if decision.allowed {
            return Ok(());
        }
        Err(access::forbidden(&self.user.name, &attributes, &decision.reason))
    }
}

/// A question about the record: a request below `/quadrille/`, by somebody who may make one to that path.
#[derive(Clone, Debug)]
pub struct Question {
    /// `GET` or `POST`.
    pub method: Method,
    /// The path without `/quadrille/`: `why`, `settled`, `runs/17`.
    pub path: String,
    /// The decoded parameters in their order.
    pub query: Vec<(String, String)>,
    /// The body of a `POST`; bounded as an uploaded component is.
    pub body: Bytes,
    /// The body's `Content-Type`; empty where none was sent.
    pub content_type: String,
    /// How the answer is wanted.
    pub form: Form,
    /// The `Last-Event-ID` of a client that lost its stream.
    pub last_seen: Option<String>,
    /// Who asks.
    pub actor: Actor,
    /// What else they may do.
    pub rights: Rights,
}

impl Question {
    /// The first parameter of a name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What is told of an object's last change.
#[derive(Clone, Debug)]
pub struct Summary {
    /// In one line.
    pub message: String,
    /// When the change was made.
    pub at: Timestamp,
    /// The change.
    pub revision: Revision,
}

/// A stream of an answer's pieces.
pub type ReplyStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// What is answered.
pub enum Reply {
    /// One JSON document.
    Json(Value),
    /// Plain text.
    Text(String),
    /// JSON documents, each with its line end.
    Lines(ReplyStream),
    /// Server-sent events, each with its empty line.
    Events(ReplyStream),
    /// `application/octet-stream`: a file.
    File(ReplyStream),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(value) => f.debug_tuple("Json").field(value).finish(),
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::Lines(_) => f.write_str("Lines"),
            Self::Events(_) => f.write_str("Events"),
            Self::File(_) => f.write_str("File"),
        }
    }
}

/// What the record can tell: below `/quadrille/`.
pub trait Insight: fmt::Debug + Send + Sync {
    /// Answers a question. That the asker may ask at this path is known; what the question leads to is checked by
    /// whoever answers. The future is dropped when the client leaves.
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Reply, Status>>;

    /// Whether the answer of a question is mostly waited for, and not worked on by whoever answers requests. Such a
    /// question keeps no seat from those that are worked on.
    fn waits(&self, _: &Question) -> bool {
        false
    }

    /// Tells why an object, or a field of it, is as it is, to somebody who may be told that. What it leads to beyond
    /// the object is checked by whoever answers.
    fn why(
        &self,
        object: Key,
        field: Option<String>,
        form: Form,
        rights: Rights,
    ) -> BoxFuture<'_, Result<Reply, Status>>;

    /// A line about the object's last change; `None` when a request from outside made it. `rights` decide which other
    /// objects it names.
    fn summary(&self, object: Arc<Object>, rights: Rights) -> BoxFuture<'_, Option<Summary>>;

    /// A change as an object of `revisions.quadrille.dev`; `None` when there is no such change. Waits up to `wait` until
    /// it has settled, or nothing more will happen by itself. `rights` decide which objects it names.
    fn revision(
        &self,
        number: u64,
        wait: Duration,
        rights: Rights,
    ) -> BoxFuture<'_, Result<Option<Value>, Status>>;

    /// What else `/metrics` tells, in the text form of Prometheus.
    fn metrics(&self) -> String {
        String::new()
    }

    /// Whether a controller reads objects of a resource. Whoever creates one of a custom resource that nobody reads is
    /// warned.
    fn is_read(&self, _: &GroupResource) -> bool {
        true
    }
}
