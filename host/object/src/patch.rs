//! JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386), as kube-apiserver applies them.
//!
//! Where the RFC and kube-apiserver's library differ, the library wins: indexes may count from the end, a path
//! without a leading slash loses its first step, testing an absent value against `null` holds. A patch is a program
//! in the hands of a client, so that its work, its growth and the depth of its result are bounded.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a value that is no map, or no container, is treated as one"
)]

use serde_json::{Map, Value};

use crate::decode::{self, Decoded, go_kind};

mod json;

pub use json::{JsonPatch, Operation, Pointer};

/// Why a patch was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 400: the body is no patch of its format.
    #[error("error decoding patch: {0}")]
    Decode(String),
    /// 413: more operations than allowed.
    #[error(
        "Request entity too large: The allowed maximum operations in a JSON patch is {max}, got {got}",
        max = json::OPERATIONS_MAX
    )]
    TooManyOperations {
        /// How many the patch has.
        got: usize,
    },
    /// 413: its copies grow the object too much.
    #[error("Request entity too large: the operations of the patch copy or move too much")]
    TooMuchWork,
    /// 422: an operation cannot be applied. The message on the wire tells nothing; the reason is for logs.
    #[error("the server rejected our request due to an error in our request")]
    DoesNotApply {
        /// Which operation, and why.
        reason: String,
    },
}

/// Decodes the body of a merge patch; what strict decoding objects to comes along.
///
/// # Errors
/// When it is not a JSON object.
pub fn decode_merge(bytes: &[u8]) -> Result<Decoded, PatchError> {
    let mut decoded = decode::json(bytes).map_err(|error| PatchError::Decode(error.0))?;
    match &decoded.value {
        Value::Object(_) => Ok(decoded),
        Value::Null => {
            decoded.value = Value::Object(Map::new());
            Ok(decoded)
        }
        other => {
            let wanted = "into Go value of type map[string]interface {}";
            Err(PatchError::Decode(format!("json: cannot unmarshal {} {wanted}", go_kind(other))))
        }
    }
}

/// Applies a merge patch: maps are merged, `null` removes, everything else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
