//! Errors as the Kubernetes API writes them: one type from here to the wire.

use std::collections::HashSet;

pub use quadrille_object::CAUSES_MAX;
use quadrille_object::{FieldError, FieldErrors, GroupResource};
use quadrille_store::CommitError;
use serde::{Deserialize, Serialize};

/// The machine-readable reason of a `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// 400: the request makes no sense.
    BadRequest,
    /// 401: nobody known.
    Unauthorized,
    /// 403: known, and not allowed.
    Forbidden,
    /// 404: no such object or resource.
    NotFound,
    /// 405: the resource has no such verb.
    MethodNotAllowed,
    /// 406: none of the asked encodings.
    NotAcceptable,
    /// 409: the name is taken.
    AlreadyExists,
    /// 409: somebody else was first, or a precondition does not hold.
    Conflict,
    /// 410: the resourceVersion or continue token is too old.
    Expired,
    /// 410: gone for good.
    Gone,
    /// 413: the body is over the limit.
    RequestEntityTooLarge,
    /// 415: the body's encoding is not understood.
    UnsupportedMediaType,
    /// 422: a field is wrong.
    Invalid,
    /// 429: too many requests.
    TooManyRequests,
    /// 500: our fault.
    InternalError,
    /// 503: not now.
    ServiceUnavailable,
    /// 504: not in time.
    Timeout,
    /// 500: no reason is given; some of kube-apiserver's own refusals have none.
    #[serde(rename = "")]
    Unknown,
}

impl Reason {
    /// The HTTP status code.
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Expired | Self::Gone => 410,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooManyRequests => 429,
            Self::InternalError | Self::Unknown => 500,
            Self::ServiceUnavailable => 503,
            Self::Timeout => 504,
        }
    }
}

/// One cause among a Status' details.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCause {
    /// Such as `FieldValueInvalid` or `FieldManagerConflict`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The path of the field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What a `Status` says beyond its message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDetails {
    /// The object's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource (Kubernetes puts the plural here) or the kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One entry per wrong field or conflict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    /// When to try again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The machine-readable reason; decides the code unless `code` says otherwise.
    pub reason: Reason,
    /// The HTTP status code.
    pub code: u16,
    /// For people, in kube-apiserver's words where clients or people rely on them.
    pub message: String,
    /// About what.
    pub details: Option<Box<StatusDetails>>,
    /// What the client is warned of all the same; headers of the answer, not part of its body.
    pub warnings: Vec<String>,
    /// What admission has to say to the audit log about the refusal: annotations, as key and value.
    pub audit: Vec<(String, String)>,
}

impl Status {
    /// A refusal without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            code: reason.code(),
            message: message.into(),
            details: None,
            warnings: Vec::new(),
            audit: Vec::new(),
        }
    }

    /// 404 for one object: `pods "x" not found`.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::about(Reason::NotFound, resource, name, format!("{resource} \"{name}\" not found"))
    }

    /// 409 for a taken name: `pods "x" already exists`.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        let message = format!("{resource} \"{name}\" already exists");
        Self::about(Reason::AlreadyExists, resource, name, message)
    }

    /// 409 for an object that changed.
    pub fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::about(Reason::Conflict, resource, name, message)
    }

    /// 422 for wrong fields, of which as much is told as a list of errors takes; `kind` is the object's kind.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let errors: FieldErrors = errors.iter().cloned().collect();
        let texts: Vec<String> = errors.iter().map(FieldError::to_string).collect();
        let mut seen = HashSet::with_capacity(texts.len());
        let texts: Vec<&str> =
            texts.iter().map(String::as_str).filter(|text| seen.insert(*text)).collect();
        let list = match texts.as_slice() {
            [one] => (*one).to_owned(),
            many => format!("[{}]", many.join(", ")),
        };
        let kind_text = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let causes = errors.into_iter().map(|error| StatusCause {
            reason: error.kind.reason().to_owned(),
            message: error.message,
            field: error.field,
        });
        let details = StatusDetails {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes: causes.collect(),
            ..StatusDetails::default()
        };
        let message = format!("{kind_text} \"{name}\" is invalid: {list}");
        Self { details: Some(Box::new(details)), ..Self::new(Reason::Invalid, message) }
    }

    /// 403 for an object that may not be written: `pods "x" is forbidden: WHY`.
    pub fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("{resource} \"{name}\" is forbidden: {why}");
        Self::about(Reason::Forbidden, resource, name, message)
    }

    /// The same with details that say nothing, as kube-apiserver has it for some refusals.
    #[must_use]
    pub fn with_empty_details(self) -> Self {
        Self { details: Some(Box::default()), ..self }
    }

    fn about(reason: Reason, resource: &GroupResource, name: &str, message: String) -> Self {
        let details = StatusDetails {
            name: name.to_owned(),
            group: resource.group.as_ref().to_owned(),
            kind: resource.resource.as_ref().to_owned(),
            ..StatusDetails::default()
        };
        Self { details: Some(Box::new(details)), ..Self::new(reason, message) }
    }

    /// The same with a code of its own.
    #[must_use]
    pub fn with_code(self, code: u16) -> Self {
        Self { code, ..self }
    }

    /// The wire form: a `v1` `Status` object.
    pub fn to_value(&self) -> serde_json::Value {
        let mut value = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if self.reason == Reason::Unknown
            && let Some(map) = value.as_object_mut()
        {
            map.remove("reason");
        }
        if let Some(details) = &self.details {
            value["details"] = serde_json::to_value(details).unwrap_or_default();
        }
        value
    }
}

/// Why a commit failed, as far as it is not the caller's to try again.
impl From<&CommitError> for Status {
    fn from(error: &CommitError) -> Self {
        let reason = match error {
            CommitError::Conflict(_) | CommitError::Fenced => Reason::Conflict,
            CommitError::Invalid(_) => Reason::RequestEntityTooLarge,
            CommitError::Unavailable(_) | CommitError::Closed => Reason::ServiceUnavailable,
        };
        Self::new(reason, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use quadrille_object::FieldErrorKind;

    use super::*;

    #[test]
    fn a_refusal_for_many_long_reasons_is_short() {
        let error = |n: usize| {
            FieldError::new(FieldErrorKind::Invalid, "f".repeat(10_000), format!("{n:060000}"))
        };
        let errors: Vec<FieldError> = (0..50).map(error).collect();
        let status = Status::invalid("", "Pod", "x", &errors);
        let size = status.to_value().to_string().len();
        assert!((1..3_000_000).contains(&size), "{size} bytes");
    }
}
