//! The seam between a controller and whatever runs it: the WIT imports as a trait.
//!
//! In a component the calls go to the Quadrille host; natively (tests) to any other implementation. Names and
//! meaning are those of `wit/controller.wit`, one for one.

use std::fmt;

use crate::error::ApiError;

/// A resource in one version: `apps`, `v1`, `deployments`. The core group is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceRef {
    /// The API group.
    pub group: String,
    /// The API version.
    pub version: String,
    /// The plural name in lower case.
    pub resource: String,
}

/// One object by name. `namespace` is empty for a cluster-scoped resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its resource.
    pub resource: ResourceRef,
    /// Its namespace, or empty.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource.resource)?;
        f.write_str(if self.namespace.is_empty() { " " } else { " in " })?;
        write!(
            f,
            "{}{}{}",
            self.namespace,
            if self.namespace.is_empty() { "" } else { "/" },
            self.name
        )
    }
}

/// Which objects a list returns; all that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The resource; [`crate::Context::list`] fills it in.
    pub resource: ResourceRef,
    /// Only this namespace; none for all of them.
    pub namespace: Option<String>,
    /// Only those with this label selector, in text form.
    pub label_selector: Option<String>,
    /// Only those with an owner reference to this uid.
    pub owner_uid: Option<String>,
    /// At most this many, in the order of namespace and name.
    pub limit: Option<u32>,
}

/// How a delete treats what the object owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// The owner goes first, the garbage collector follows.
    #[default]
    Background,
    /// The owner waits for those that block it.
    Foreground,
    /// The owned lose their reference and stay.
    Orphan,
}

/// Which of the three encodings a patch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchFormat {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge patch; built-in kinds only.
    Strategic,
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the author.
    Debug,
    /// What happened.
    Info,
    /// Degraded, still working.
    Warn,
    /// A person must act.
    Error,
}

/// Whether an `Event` tells of something expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Expected.
    Normal,
    /// Something is wrong.
    Warning,
}

impl EventKind {
    /// The `type` of the `Event`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What a run can ask of its host.
///
/// Every read joins the run's read set, every write is admitted at once and seen by later reads; all writes of a
/// run commit together or not at all.
pub trait Host {
    /// Reads one object as JSON; `None` when it does not exist.
    ///
    /// # Errors
    /// `Denied` without `get`.
    fn get(&self, object: &ObjectRef) -> Result<Option<String>, ApiError>;

    /// Reads the objects of a query.
    ///
    /// # Errors
    /// `Denied` without `list`.
    fn list(&self, query: &Query) -> Result<Vec<String>, ApiError>;

    /// As [`Self::list`], but a change of what was listed only wakes, and does not throw the run away.
    ///
    /// # Errors
    /// `Denied` without `list`.
    fn list_weakly(&self, query: &Query) -> Result<Vec<String>, ApiError>;

    /// Creates an object and answers it as stored.
    ///
    /// # Errors
    /// Every refusal of the API.
    fn create(&self, resource: &ResourceRef, object: &str) -> Result<String, ApiError>;

    /// Replaces an object.
    ///
    /// # Errors
    /// Every refusal of the API.
    fn update(&self, resource: &ResourceRef, object: &str) -> Result<String, ApiError>;

    /// Server-side apply with the controller as field manager.
    ///
    /// # Errors
    /// Every refusal of the API.
    fn apply(&self, resource: &ResourceRef, object: &str, force: bool) -> Result<String, ApiError>;

    /// Patches an object.
    ///
    /// # Errors
    /// Every refusal of the API.
    fn patch(
        &self,
        object: &ObjectRef,
        format: PatchFormat,
        patch: &str,
    ) -> Result<String, ApiError>;

    /// Deletes an object, or marks it as terminating. With `uid`, only that incarnation.
    ///
    /// # Errors
    /// Every refusal of the API.
    fn delete(
        &self,
        object: &ObjectRef,
        uid: Option<&str>,
        propagation: Propagation,
    ) -> Result<(), ApiError>;

    /// Replaces the status of an object by this JSON value.
    ///
    /// # Errors
    /// Every refusal of the API.
    fn set_status(&self, object: &ObjectRef, status: &str) -> Result<(), ApiError>;

    /// Replaces an object through its `status` subresource and answers it as stored.
    ///
    /// # Errors
    /// Every refusal of the API.
    fn update_status(&self, resource: &ResourceRef, object: &str) -> Result<String, ApiError>;

    /// Says something about an object in an `Event`.
    ///
    /// # Errors
    /// `LimitReached` over the run's budget.
    fn record_event(
        &self,
        object: &ObjectRef,
        kind: EventKind,
        reason: &str,
        message: &str,
    ) -> Result<(), ApiError>;

    /// Microseconds since the Unix epoch; the same during one run.
    fn now(&self) -> i64;

    /// Sixty-four random bits from the run's seed.
    fn random(&self) -> u64;

    /// Writes a log line.
    fn log(&self, level: Level, message: &str);

    /// One value of the plugin's configuration.
    fn config(&self, key: &str) -> Option<String>;
}
