//! `GET /quadrille/settled`: whether everything that follows from a revision has happened.

use std::time::Duration;

use quadrille_registry::{Reason, Status};
use quadrille_server::{Question, Reply};
use quadrille_store::Revision;

use super::{HostInsight, duration, number};

/// The longest time that a question may wait for its answer.
const WAIT_MAX: Duration = Duration::from_mins(5);

impl HostInsight {
    /// Waits until everything that follows from a revision (default: the newest) has happened. Not being settled
    /// in time is `Timeout` (504), with who is still busy.
    pub(super) async fn settled(&self, question: &Question) -> Result<Reply, Status> {
        let revision =
            number(question, "revision")?.map_or_else(|| self.store.revision(), Revision);
        let wait = duration(question, "wait")?.unwrap_or_default().min(WAIT_MAX);
        let answer = self.runtime.settled(revision, wait).await;
        let value = serde_json::to_value(&answer).unwrap_or_default();
        if answer.settled || wait.is_zero() {
            return Ok(Reply::Json(value));
        }
        let message = format!("not settled after {wait:?}: {value}");
        Err(Status::new(Reason::Timeout, message))
    }
}
