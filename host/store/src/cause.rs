//! Why a change happened: stored with every change, so that `why` can walk back to the first request.

use quadrille_object::Timestamp;
use serde::{Deserialize, Serialize};

use crate::key::Revision;

/// What led to a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Cause {
    /// A request from outside.
    Request(RequestCause),
    /// A run of a controller.
    Run(RunCause),
    /// A part of the host: garbage collector, namespace life-cycle, plugin manager, start-up.
    System(SystemCause),
}

/// A request from outside: the end of every chain of causes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestCause {
    /// Who asked.
    pub user: String,
    /// With what client: the `User-Agent`.
    pub client: String,
    /// From where: the peer's address.
    pub address: String,
    /// What was asked: `create`, `patch`, `delete`, …
    pub verb: String,
}

/// A run: which code, for which object, and what woke it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunCause {
    /// The run's number, unique in the store's life.
    pub run: u64,
    /// The plugin that the controller belongs to.
    pub plugin: String,
    /// The controller.
    pub controller: String,
    /// The digest of the code, `sha256:…`; empty for a controller that is part of the host.
    pub digest: String,
    /// The object it ran for, as a key in text form: `replicasets.apps/default/web`.
    pub object: String,
    /// The revisions of the changes that woke it, or would have if it had not been there first, ascending; empty for
    /// a timer or a resync.
    pub woken_by: Vec<Revision>,
    /// How many more there were than are listed; those listed are the newest.
    #[serde(skip_serializing_if = "is_zero")]
    pub unlisted: u64,
    /// For a timer: the changes that woke the run that set it, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origin: Vec<Revision>,
    /// Why it ran when no change woke it: `resync`, `requeue`, `backoff`.
    pub occasion: Option<String>,
    /// The snapshot it read.
    pub snapshot: Revision,
    /// When it started.
    pub started: Timestamp,
    /// How long it took up to the commit, in microseconds.
    pub duration_us: u64,
}

/// A part of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SystemCause {
    /// Which part: `garbage-collector`, `namespace-lifecycle`, `plugin-manager`, `start`.
    pub part: String,
    /// What it did, in a few words.
    pub act: String,
    /// The changes it acted on, ascending.
    pub because: Vec<Revision>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
