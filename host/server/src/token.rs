//! Continue tokens: opaque to clients, in kube-apiserver's own encoding (base64 of a small JSON object).

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, URL_SAFE_NO_PAD};
use quadrille_registry::{Reason, Status};
use serde::{Deserialize, Serialize};

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContinueToken {
    v: String,
    /// The revision that the list began at; -1 to go on at the newest one.
    rv: i64,
    /// The key of the last object that was sent: `NAMESPACE/NAME`, followed by a zero byte.
    start: String,
    /// How many objects were sent before.
    #[serde(default, rename = "n")]
    sent: usize,
}

/// As Go decodes it: bits too many at the end say nothing.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

const VERSION: &str = "meta.k8s.io/v1";

impl ContinueToken {
    pub(crate) fn new(revision: Option<u64>, namespace: &str, name: &str, sent: usize) -> Self {
        let rv = revision.and_then(|revision| i64::try_from(revision).ok()).unwrap_or(-1);
        Self { v: VERSION.to_owned(), rv, start: format!("{namespace}/{name}\0"), sent }
    }

    /// The revision to read at; `None` for the newest.
    pub(crate) fn revision(&self) -> Option<u64> {
        u64::try_from(self.rv).ok()
    }

    /// The namespace and name to start after.
    pub(crate) fn after(&self) -> (&str, &str) {
        let start = self.start.trim_end_matches('\0');
        start.split_once('/').unwrap_or(("", start))
    }

    /// How many objects were sent before.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    pub(crate) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads a token back.
    ///
    /// # Errors
    /// 400 when it is none of ours.
    pub(crate) fn decode(text: &str) -> Result<Self, Status> {
        let bad = |detail: &str| {
            let message = format!("invalid continue token: continue key is not valid: {detail}");
            Status::new(Reason::BadRequest, message)
        };
        let bytes = LENIENT
            .decode(text.trim_end_matches('='))
            .map_err(|error| bad(&format!("illegal base64 data: {error}")))?;
        let value = quadrille_object::decode::json(&bytes).map_err(|error| bad(&error.0))?.value;
        if value.get("v").and_then(serde_json::Value::as_str) != Some(VERSION) {
            return Err(bad("server does not recognize this encoded version "));
        }
        serde_json::from_value(value).map_err(|error| bad(&error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_and_garbage_does_not() {
        let token = ContinueToken::new(Some(7), "shop", "web", 3);
        let back = ContinueToken::decode(&token.encode()).expect("our own");
        assert_eq!(back, token);
        assert_eq!((back.revision(), back.after(), back.sent()), (Some(7), ("shop", "web"), 3));
        for garbage in ["garbage", "bm90anNvbg", "e30", "!!!"] {
            assert_eq!(ContinueToken::decode(garbage).expect_err(garbage).code, 400);
        }
    }
}
