//! How things go wrong: what the host refuses, and what a reconcile ends with.

use std::fmt;

/// The reasons for which the host refuses a call: those of the Kubernetes API, and two of the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request makes no sense.
    BadRequest,
    /// Known, and not allowed: a quota, or a namespace that goes away.
    Forbidden,
    /// No such object or resource.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// A precondition does not hold.
    Conflict,
    /// A field is wrong.
    Invalid,
    /// The revision that was asked for is compacted.
    Expired,
    /// The object is too large.
    TooLarge,
    /// The host's fault.
    Internal,
    /// A capability is missing from the plugin's grants.
    Denied,
    /// A limit of the run was reached; every further call answers the same.
    LimitReached,
}

impl Reason {
    /// Whether trying again can help although nothing that was read has changed.
    pub fn is_transient(self) -> bool {
        match self {
            Self::BadRequest | Self::Invalid | Self::TooLarge | Self::Denied => false,
            Self::Forbidden
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Conflict
            | Self::Expired
            | Self::Internal
            | Self::LimitReached => true,
        }
    }
}

/// A refusal of the host. It is an answer: the run may go on, and what it wrote before stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// The paths of the fields that are wrong, for [`Reason::Invalid`].
    pub fields: Vec<String>,
}

impl ApiError {
    /// A refusal without fields.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), fields: Vec::new() }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

/// How a reconcile ends badly. Nothing that it wrote is kept.
///
/// `?` on a refused call makes the right one of [`Error::Transient`] and [`Error::Permanent`]; a conflict is never
/// seen, because the host runs the reconcile again by itself.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A later try may work: the host tries again, with backoff.
    #[error("{0}")]
    Transient(String),
    /// No retry helps until something that was read changes.
    #[error("{0}")]
    Permanent(String),
    /// The host refused a call; transient or permanent by its reason.
    #[error("cannot {act}")]
    Api {
        /// What was tried, such as `create pods default/web-`.
        act: String,
        /// The refusal.
        #[source]
        source: ApiError,
    },
    /// JSON that the controller cannot read or write.
    #[error("cannot {act}")]
    Json {
        /// What was tried, such as `read pods`.
        act: String,
        /// What the JSON library says, as text: its error cannot be copied.
        message: String,
    },
}

/// What the functions of a controller answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that a retry may cure.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::Transient(message.into())
    }

    /// An error that stays until something that was read changes, such as a spec that makes no sense.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::Permanent(message.into())
    }

    /// Whether the host should try again, with backoff.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transient(_) => true,
            Self::Permanent(_) | Self::Json { .. } => false,
            Self::Api { source, .. } => source.reason.is_transient(),
        }
    }

    /// The reason, where the host refused a call.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Api { source, .. } => Some(source.reason),
            Self::Transient(_) | Self::Permanent(_) | Self::Json { .. } => None,
        }
    }

    /// The error with its cause on one line, as the host shows it.
    pub fn chain(&self) -> String {
        match self {
            Self::Transient(message) | Self::Permanent(message) => message.clone(),
            Self::Api { source, .. } => format!("{self}: {source}"),
            Self::Json { message, .. } => format!("{self}: {message}"),
        }
    }

    pub(crate) fn json(act: impl Into<String>, error: &serde_json::Error) -> Self {
        Self::Json { act: act.into(), message: error.to_string() }
    }
}
