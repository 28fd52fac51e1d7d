//! `GET /quadrille/effects?revision=R`: what followed from a change.

use quadrille_insight::{effects, text};
use quadrille_registry::{Reason, Status};
use quadrille_server::{Form, Question, Reply};
use quadrille_store::Revision;
use serde_json::json;

use super::settled::refused;
use super::{HIDDEN, HostInsight, bad, hide_cause, may_see, number};

impl HostInsight {
    pub(super) async fn effects(&self, question: &Question) -> Result<Reply, Status> {
        let missing = || bad("effects needs the parameter revision");
        let revision = number(question, "revision")?.ok_or_else(missing)?;
        let found = effects(&self.store, Revision(revision)).await;
        let absent = || {
            let message = format!("there is no change with revision {revision}");
            Status::new(Reason::NotFound, message)
        };
        let mut found = found.map_err(|error| refused(&error))?.ok_or_else(absent)?;
        for change in &mut found.changes {
            if !may_see(&question.rights, &change.object) {
                HIDDEN.clone_into(&mut change.object);
            }
            hide_cause(&question.rights, "", &mut change.cause);
        }
        if question.form == Form::Text {
            return Ok(Reply::Text(text::effects(&found)));
        }
        Ok(Reply::Json(json!({
            "revision": revision,
            "changes": found.changes,
            "through": found.through,
            "truncated": found.truncated,
            "text": text::effects(&found),
        })))
    }
}
