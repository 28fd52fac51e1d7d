//! What is wrong with one field of an object, in the words of the Kubernetes API.
//!
//! The registry turns a list of them into a `Status` with reason `Invalid` and one cause each.

use std::fmt;

/// Why a field was refused; its wire form is the `reason` of a Status cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// A value that must be present is not.
    Required,
    /// A value appears twice in a list whose items must differ.
    Duplicate,
    /// A value has the right type and is not allowed.
    Invalid,
    /// A value is not one of an enumeration.
    NotSupported,
    /// A value may not be given here, or may not change.
    Forbidden,
    /// A text or list is longer than allowed.
    TooLong,
    /// A list has more items than allowed.
    TooMany,
    /// A value has the wrong type.
    TypeInvalid,
    /// A value names something that does not exist.
    NotFound,
    /// The server failed while it looked at the value.
    Internal,
}

impl FieldErrorKind {
    /// The `reason` of the Status cause, as kube-apiserver writes it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
        }
    }
}

/// One refused field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Why it was refused.
    pub kind: FieldErrorKind,
    /// The path of the field, such as `spec.template.spec.containers[0].image`.
    pub field: String,
    /// The cause's message, without the path: `Invalid value: "x": must be …`.
    pub message: String,
}

impl FieldError {
    /// Makes one; `message` is the text after the path.
    pub fn new(kind: FieldErrorKind, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, field: field.into(), message: message.into() }
    }
}

/// `spec.replicas: Invalid value: -1: must be …`, the form of kube-apiserver's messages.
impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}
