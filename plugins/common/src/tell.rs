//! Events. They are news and no duty: one that is refused goes to the log, and the run goes on.

use quadrille_sdk::prelude::*;

/// How many names one event lists.
const NAMES_MAX: usize = 10;

/// Says something about the primary object.
pub fn event(ctx: &Context, reason: &str, message: &str) {
    if ctx.event(reason, message).is_err() {
        info!(ctx, "{message}");
    }
}

/// Says that something is wrong with the primary object.
pub fn warning(ctx: &Context, reason: &str, message: &str) {
    if ctx.warning(reason, message).is_err() {
        warn!(ctx, "{message}");
    }
}

/// One event for all objects of the run: one each would cost as much as the objects. `what` is such as
/// `Created pod`.
pub fn done(ctx: &Context, reason: &str, what: &str, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let shown = names.get(..NAMES_MAX.min(names.len())).unwrap_or_default().join(", ");
    let more = names.len().saturating_sub(NAMES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let plural = if names.len() == 1 { "" } else { "s" };
    event(ctx, reason, &format!("{what}{plural}: {shown}{more}"));
}

/// What the API said, without what was tried.
pub fn refusal(error: &Error) -> String {
    match error {
        Error::Api { source, .. } => source.message.clone(),
        Error::Transient(_) | Error::Permanent(_) | Error::Json { .. } => error.chain(),
    }
}
