//! `GET /quadrille/settled`: whether everything that follows from a revision has happened.

use std::time::Duration;

use quadrille_registry::{Reason, Status};
use quadrille_runtime::{Settled, Standstill};
use quadrille_server::{Question, Reply, Rights};
use quadrille_store::{ChangesError, Revision};

use super::{HostInsight, duration, hide, number};

/// The longest time that a question may wait for its answer.
const WAIT_MAX: Duration = Duration::from_mins(5);

impl HostInsight {
    /// Waits until everything that follows from a revision has happened; without a revision, until nobody is at work.
    /// Not being settled in time is `Timeout` (504), with who is still busy or stuck.
    pub(super) async fn settled(&self, question: &Question) -> Result<Reply, Status> {
        let wait = duration(question, "wait")?.unwrap_or_default().min(WAIT_MAX);
        let mut answer = match number(question, "revision")? {
            Some(revision) => {
                let answer = self.runtime.settled(Revision(revision), wait).await;
                answer.map_err(|error| refused(&error))?
            }
            None => self.runtime.at_rest(self.store.revision(), wait).await,
        };
        hide_objects(&question.rights, &mut answer);
        let value = serde_json::to_value(&answer).unwrap_or_default();
        // Who asks without waiting, or says so, asks how it stands.
        if answer.settled || wait.is_zero() || question.parameter("onTimeout") == Some("answer") {
            return Ok(Reply::Json(value));
        }
        let message = format!("after {wait:?}: {}", message(&answer));
        Err(Status::new(Reason::Timeout, message))
    }
}

/// Hides the objects that the asker may not get, and what their runs said of them.
pub(crate) fn hide_objects(rights: &Rights, answer: &mut Settled) {
    for object in answer.busy.iter_mut().flat_map(|busy| &mut busy.objects) {
        hide(rights, object);
    }
    for stuck in &mut answer.stuck {
        if hide(rights, &mut stuck.object) {
            stuck.message = None;
        }
    }
}

/// In words, why a change has not settled.
pub(crate) fn message(answer: &Settled) -> String {
    let mut parts = Vec::new();
    for busy in &answer.busy {
        let count = busy.queued + busy.running;
        parts.push(format!(
            "{} is at work on {count}: {}",
            busy.controller,
            busy.objects.join(", ")
        ));
    }
    for stuck in &answer.stuck {
        let message = stuck.message.as_deref().unwrap_or("failed");
        let tries = match stuck.failures {
            0 => "not tried again".to_owned(),
            tries => format!("{tries} failures"),
        };
        parts.push(format!(
            "{} is stuck on {} ({tries}): {message}",
            stuck.controller, stuck.object
        ));
    }
    let state = match answer.state {
        Standstill::Settled => "settled",
        Standstill::Busy => "not settled",
        Standstill::Stuck => "stuck",
    };
    format!("revision {} is {state}: {}", answer.revision, parts.join("; "))
}

/// The refusal of a question that the history cannot answer.
pub(crate) fn refused(error: &ChangesError) -> Status {
    let reason = match error {
        ChangesError::Expired { .. } => Reason::Expired,
        ChangesError::Unavailable(_) | ChangesError::Closed => Reason::ServiceUnavailable,
    };
    Status::new(reason, error.to_string())
}
