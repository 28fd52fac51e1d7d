//! The host's refusals as a guest sees them: the reasons of the Kubernetes API, one to one.

use quadrille_registry::{Reason, Status};
use quadrille_runtime::Refusal;

use super::bindings::quadrille::controller::types as wit;
use crate::limit::LimitHit;

/// How many field paths a refusal carries at most.
const FIELDS_MAX: usize = 32;

pub(super) fn refusal(status: Status) -> wit::ApiError {
    let own = match Refusal::of(&status) {
        Some(Refusal::Denied) => Some(wit::Reason::Denied),
        Some(Refusal::LimitReached) => Some(wit::Reason::LimitReached),
        None => None,
    };
    let causes = status.details.map(|details| details.causes).unwrap_or_default();
    let fields = causes.into_iter().map(|cause| cause.field).filter(|field| !field.is_empty());
    wit::ApiError {
        reason: own.unwrap_or_else(|| reason(status.reason)),
        message: status.message,
        fields: fields.take(FIELDS_MAX).collect(),
    }
}

pub(super) fn denied(message: String) -> wit::ApiError {
    wit::ApiError { reason: wit::Reason::Denied, message, fields: Vec::new() }
}

pub(super) fn limit_reached(hit: &LimitHit) -> wit::ApiError {
    let message = format!("the run {hit}");
    wit::ApiError { reason: wit::Reason::LimitReached, message, fields: Vec::new() }
}

pub(super) fn bad_request(message: String) -> Status {
    Status::new(Reason::BadRequest, message)
}

fn reason(reason: Reason) -> wit::Reason {
    match reason {
        Reason::BadRequest
        | Reason::MethodNotAllowed
        | Reason::NotAcceptable
        | Reason::UnsupportedMediaType => wit::Reason::BadRequest,
        Reason::Unauthorized | Reason::Forbidden => wit::Reason::Forbidden,
        Reason::NotFound => wit::Reason::NotFound,
        Reason::AlreadyExists => wit::Reason::AlreadyExists,
        Reason::Conflict => wit::Reason::Conflict,
        Reason::Expired | Reason::Gone => wit::Reason::Expired,
        Reason::RequestEntityTooLarge => wit::Reason::TooLarge,
        Reason::Invalid => wit::Reason::Invalid,
        Reason::TooManyRequests => wit::Reason::LimitReached,
        Reason::InternalError | Reason::ServiceUnavailable | Reason::Timeout | Reason::Unknown => {
            wit::Reason::Internal
        }
    }
}
