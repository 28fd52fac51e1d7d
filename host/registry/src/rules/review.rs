//! Bodies that are answered and never stored: what their decoding fills in.

use crate::field::{self, Object};
use crate::rules::Rules;

/// How long a token lives when the request does not say, in seconds.
const EXPIRATION: i64 = 3600;

/// The rules of `TokenRequest`s.
#[derive(Debug)]
pub(crate) struct TokenRequests;

impl Rules for TokenRequests {
    fn default(&self, object: &mut Object) {
        field::default(field::map_mut(object, &["spec"]), "expirationSeconds", EXPIRATION);
    }
}
