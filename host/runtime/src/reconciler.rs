//! What a reconciler is: a function from a request and an overlay to an outcome.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_object::{GroupResource, Timestamp, selector::LabelSelector};
use quadrille_store::{Change, FenceTicket, Key, Object};
use serde::{Deserialize, Serialize};

use crate::overlay::Overlay;

/// What a controller may do, as the operator granted it; empty allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Each allows some verbs on some resources.
    pub rules: Vec<GrantRule>,
    /// Whether everything is allowed: for the controllers that are part of the host.
    pub unlimited: bool,
}

/// Verbs on a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRule {
    /// The API group.
    pub group: Arc<str>,
    /// The resource, or `resource/subresource`.
    pub resource: Arc<str>,
    /// `get`, `list`, `create`, `update`, `patch`, `delete`.
    pub verbs: Vec<Arc<str>>,
    /// Only in these namespaces; empty for all.
    pub namespaces: Vec<Arc<str>>,
}

impl Grant {
    /// Whether `verb` on `resource` (with its subresource) in `namespace` is allowed.
    pub fn allows(
        &self,
        verb: &str,
        resource: &GroupResource,
        subresource: Option<&str>,
        namespace: &str,
    ) -> bool {
        let names = |rule: &GrantRule| match subresource {
            None => *rule.resource == *resource.resource,
            Some(sub) => rule.resource.split_once('/') == Some((resource.resource.as_ref(), sub)),
        };
        self.unlimited
            || self.rules.iter().any(|rule| {
                rule.group == resource.group
                    && names(rule)
                    && rule.verbs.iter().any(|v| **v == *verb)
                    && (rule.namespaces.is_empty()
                        || rule.namespaces.iter().any(|n| **n == *namespace))
            })
    }
}

/// A controller, as it is registered with the runtime.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerSpec {
    /// Its name, unique in its plugin.
    pub name: Arc<str>,
    /// The plugin that it belongs to; `quadrille` for those that are part of the host.
    pub plugin: Arc<str>,
    /// The digest of its code, `sha256:…`; empty for those that are part of the host.
    pub digest: Arc<str>,
    /// The resource of the objects that it reconciles.
    pub primary: GroupResource,
    /// The API version in which it wants its objects.
    pub version: Arc<str>,
    /// Only objects with these labels.
    pub selector: LabelSelector,
    /// How many of its runs may be under way at once.
    pub concurrency: usize,
    /// How often every object is reconciled though nothing woke it; `None` for never.
    pub resync: Option<Duration>,
    /// The finalizer that the host keeps on its objects for it; `None` for none.
    pub finalizer: Option<Arc<str>>,
    /// The field manager of its writes.
    pub field_manager: Arc<str>,
    /// What its runs may do. Where its rules lack `get` on the primary resource there are no objects for it.
    pub grant: Grant,
}

impl ControllerSpec {
    /// Whether objects of the primary resource in a namespace are its business: those that its grant lets it get. The
    /// host shows it no other, and neither marks nor speaks of one in its name.
    pub fn reaches(&self, namespace: &str) -> bool {
        self.grant.allows("get", &self.primary, None, namespace)
    }

    /// Whether the host may keep its finalizer on objects of a namespace: it holds up their deletion, and may bear
    /// anybody's name. It takes `update` on the primary resource's `finalizers`, as kube-apiserver has it for owners that
    /// hold up others, or on the objects themselves.
    pub fn may_hold(&self, namespace: &str) -> bool {
        let may =
            |verb: &str, sub: Option<&str>| self.grant.allows(verb, &self.primary, sub, namespace);
        may("update", Some("finalizers")) || may("update", None) || may("patch", None)
    }
}

/// One of the changes that woke a key.
#[derive(Clone, Debug)]
pub struct WokenBy {
    /// The change.
    pub change: Arc<Change>,
}

/// What a run is asked for.
#[derive(Clone, Debug)]
pub struct ReconcileRequest {
    /// The run's number.
    pub run: u64,
    /// The controller's name.
    pub controller: Arc<str>,
    /// The key to reconcile.
    pub key: Key,
    /// The object at the run's snapshot, in the controller's version; `None` when it is gone.
    pub object: Option<Arc<Object>>,
    /// The changes that woke the key since its last run, ascending; bounded, the newest are kept.
    pub woken_by: Vec<WokenBy>,
    /// 0 for the first try, then the number of failures in a row.
    pub attempt: u32,
    /// The time of the run: the only clock a replayable reconciler may see.
    pub now: Timestamp,
    /// The seed of the run's random numbers.
    pub seed: u64,
    /// Whether the run is a trial: what it reads and writes is a fork, and nothing else of it may be kept either.
    pub trial: bool,
}

/// How a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do until something that was read changes.
    Done,
    /// Run again after this time at the latest.
    DoneUntil(Duration),
}

/// How a run ended badly; nothing that it wrote is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The reconciler says that a later try may work.
    Transient(String),
    /// The reconciler says that no retry helps until something that it read changes.
    Permanent(String),
    /// The guest trapped (panic, stack overflow, memory limit).
    Trap(String),
    /// The run took longer than allowed.
    Deadline(String),
    /// A limit of the run was reached: host calls, bytes, writes, log lines.
    Limit(String),
    /// The host failed.
    Host(String),
}

impl Failure {
    /// Its kind in one word, as records and statuses have it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Transient(_) => "transient",
            Self::Permanent(_) => "permanent",
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Limit(_) => "limit",
            Self::Host(_) => "host",
        }
    }

    /// The kind of that name, if there is one.
    pub(crate) fn kind_named(name: &str) -> Option<&'static str> {
        let kinds = ["transient", "permanent", "trap", "deadline", "limit", "host"];
        kinds.into_iter().find(|kind| *kind == name)
    }

    /// What it says.
    pub fn message(&self) -> &str {
        match self {
            Self::Transient(message)
            | Self::Permanent(message)
            | Self::Trap(message)
            | Self::Deadline(message)
            | Self::Limit(message)
            | Self::Host(message) => message,
        }
    }

    /// The reason of the Warning event that people find on the object; `None` where the controller itself
    /// expected the failure and can say so better.
    pub(crate) fn event_reason(&self) -> Option<&'static str> {
        match self {
            Self::Transient(_) => None,
            Self::Permanent(_) => Some("ReconcileStopped"),
            Self::Trap(_) => Some("ReconcileTrapped"),
            Self::Deadline(_) => Some("ReconcileDeadline"),
            Self::Limit(_) => Some("ReconcileLimit"),
            Self::Host(_) => Some("ReconcileFailed"),
        }
    }
}

/// What comes back from a reconciler.
#[derive(Debug)]
pub struct Reconciled {
    /// The overlay with what was read and written.
    pub overlay: Overlay,
    /// How it ended.
    pub result: Result<Outcome, Failure>,
    /// The guest's memory at the end, in bytes; 0 for a reconciler without one.
    pub memory_bytes: u64,
}

/// A function that brings one object closer to what is wanted. It keeps no state between calls.
pub trait Reconciler: fmt::Debug + Send + Sync {
    /// Runs once. The overlay is the only way to read and to write.
    fn reconcile(&self, request: ReconcileRequest, overlay: Overlay) -> BoxFuture<'_, Reconciled>;

    /// Its own settings as text: with the code that its controller's digest names they make it again.
    fn settings(&self) -> Arc<str> {
        "".into()
    }
}

/// The ticket that a run's commit carries, so that a run that outlived its version cannot commit.
pub type RunFence = FenceTicket;
