//! What is wrong with one field of an object, in the words of the Kubernetes API.
//!
//! The registry turns a list of them into a `Status` with reason `Invalid` and one cause each. Clients decide how much is
//! wrong and how long the names of their fields are, so a list has a bound ([`FieldErrors`]): in number, and in bytes.

use std::fmt;
use std::ops::Deref;

use crate::decode::{cut, start};

/// Of how many wrong fields one answer tells.
pub const CAUSES_MAX: usize = 1_000;
/// A list whose texts take so many bytes takes no more of them.
pub const CAUSES_BYTES_MAX: usize = 1024 * 1024;
/// How much of one message is told.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

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

/// What was found to be wrong, in the order in which it was found: the first [`CAUSES_MAX`], or fewer where those take
/// [`CAUSES_BYTES_MAX`]. What is longer than any honest path or message is cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors {
    told: Vec<FieldError>,
    bytes: usize,
}

impl FieldErrors {
    /// Whether nothing more is taken: then no message needs to be made.
    pub fn is_full(&self) -> bool {
        self.told.len() >= CAUSES_MAX || self.bytes >= CAUSES_BYTES_MAX
    }

    /// Adds an error, unless the list is full.
    pub fn push(&mut self, mut error: FieldError) {
        if self.is_full() {
            return;
        }
        shorten(&mut error.field, cut);
        shorten(&mut error.message, |text| start(text, MESSAGE_BYTES_MAX));
        self.bytes += bytes(&error);
        self.told.push(error);
    }

    /// The same for a message that is made only if it is told.
    pub fn report(
        &mut self,
        kind: FieldErrorKind,
        field: impl Into<String>,
        message: impl FnOnce() -> String,
    ) {
        if !self.is_full() {
            self.push(FieldError::new(kind, field, message()));
        }
    }

    /// Forgets all but the first so many.
    pub fn truncate(&mut self, length: usize) {
        if length < self.told.len() {
            let forgotten: usize = self.told.drain(length..).map(|error| bytes(&error)).sum();
            self.bytes = self.bytes.saturating_sub(forgotten);
        }
    }

    /// Puts them in the order of a key; what has the same key stays in its order.
    pub fn sort_by_cached_key<K: Ord>(&mut self, key: impl FnMut(&FieldError) -> K) {
        self.told.sort_by_cached_key(key);
    }
}

fn bytes(error: &FieldError) -> usize {
    error.field.len() + error.message.len()
}

/// Cuts a text, whose memory goes with what is cut off.
fn shorten(text: &mut String, cut: impl FnOnce(&str) -> &str) {
    let length = cut(text).len();
    if length < text.len() {
        text.truncate(length);
        text.shrink_to_fit();
    }
}

impl Deref for FieldErrors {
    type Target = [FieldError];

    fn deref(&self) -> &[FieldError] {
        &self.told
    }
}

impl Extend<FieldError> for FieldErrors {
    fn extend<T: IntoIterator<Item = FieldError>>(&mut self, errors: T) {
        for error in errors {
            if self.is_full() {
                return;
            }
            self.push(error);
        }
    }
}

impl FromIterator<FieldError> for FieldErrors {
    fn from_iter<T: IntoIterator<Item = FieldError>>(errors: T) -> Self {
        let mut told = Self::default();
        told.extend(errors);
        told
    }
}

impl IntoIterator for FieldErrors {
    type Item = FieldError;
    type IntoIter = std::vec::IntoIter<FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.told.into_iter()
    }
}

impl<'a> IntoIterator for &'a FieldErrors {
    type Item = &'a FieldError;
    type IntoIter = std::slice::Iter<'a, FieldError>;

    fn into_iter(self) -> Self::IntoIter {
        self.told.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: String) -> FieldError {
        FieldError::new(FieldErrorKind::Invalid, "f", message)
    }

    #[test]
    fn a_list_is_full_by_number_and_by_bytes() {
        let short: FieldErrors = (0..5_000).map(|n| error(n.to_string())).collect();
        assert_eq!(short.len(), CAUSES_MAX);
        let long: FieldErrors = (0..5_000).map(|_| error("m".repeat(100_000))).collect();
        assert_eq!(long.len(), CAUSES_BYTES_MAX.div_ceil(MESSAGE_BYTES_MAX + 1));
        assert!(long.is_full() && long.iter().all(|e| e.message.len() == MESSAGE_BYTES_MAX));
    }

    #[test]
    fn what_is_forgotten_leaves_room() {
        let mut errors: FieldErrors = (0..5_000).map(|_| error("m".repeat(50_000))).collect();
        errors.truncate(1);
        assert!(!errors.is_full());
        errors.push(error("after".to_owned()));
        let messages: Vec<usize> = errors.iter().map(|e| e.message.len()).collect();
        assert_eq!(messages, [50_000, 5]);
    }
}
