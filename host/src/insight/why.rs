//! `GET /quadrille/why` and `…/NAME/why`: why an object, or a field of it, is as it is.

use quadrille_insight::why::verb;
use quadrille_insight::{Field, WhyError, text, why, why_field};
use quadrille_object::Timestamp;
use quadrille_registry::{Reason, Status};
use quadrille_server::{Form, Question, Reply, Rights, Summary};
use quadrille_store::{Cause, Key, Object};
use serde_json::json;

use super::{HIDDEN, HostInsight, bad, hide_cause, may_see, need_object};

impl HostInsight {
    pub(super) async fn why(&self, question: &Question) -> Result<Reply, Status> {
        let key = need_object(question)?;
        self.why_of(&key, question.parameter("field"), question.form, &question.rights).await
    }

    /// The same where it is known that the asker may be told of the object. Of others that it leads to, those that they
    /// may not get are hidden.
    pub(super) async fn why_of(
        &self,
        key: &Key,
        field: Option<&str>,
        form: Form,
        rights: &Rights,
    ) -> Result<Reply, Status> {
        let field = field.filter(|field| !field.is_empty()).map(Field::parse).transpose();
        let field = field.map_err(|error| bad(error.to_string()))?;
        let answer = match &field {
            Some(field) => why_field(&self.store, key, field).await,
            None => why(&self.store, key).await,
        };
        let mut answer = answer.map_err(|error| refused(&error))?;
        let own = key.to_string();
        for step in &mut answer.steps {
            if step.object != own && !may_see(rights, &step.object) {
                HIDDEN.clone_into(&mut step.object);
                step.field = None;
            }
            hide_cause(rights, &own, &mut step.cause);
        }
        if form == Form::Text {
            return Ok(Reply::Text(text::tree(&answer)));
        }
        Ok(Reply::Json(json!({
            "object": own,
            "field": field.map(|field| field.to_string()),
            "steps": answer.steps,
            "compacted": answer.compacted,
            "truncated": answer.truncated,
            "text": text::tree(&answer),
        })))
    }
}

impl HostInsight {
    /// One line about the last change of an object, when a run or a part of the host made it. The object that the run
    /// was for is not named to somebody who may not get it.
    pub(super) async fn summary_of(&self, object: &Object, rights: &Rights) -> Option<Summary> {
        let change = self.store.change(object.revision).await.ok()??;
        let because = match &*change.cause {
            Cause::Request(_) => return None,
            Cause::System(system) => system.because.len(),
            Cause::Run(run) => run.woken_by.len(),
        };
        let at = Timestamp::to_rfc3339_micros(change.at);
        let mut cause = Cause::clone(&change.cause);
        hide_cause(rights, &object.key.to_string(), &mut cause);
        let maker = text::maker(&cause, because, &at);
        let message = format!("{} by {maker}", verb(change.kind));
        Some(Summary { message, at: change.at, revision: change.revision })
    }
}

fn refused(error: &WhyError) -> Status {
    let reason = match error {
        WhyError::Unknown { .. } | WhyError::UnknownField { .. } => Reason::NotFound,
        WhyError::Closed | WhyError::Unavailable(_) => Reason::ServiceUnavailable,
    };
    Status::new(reason, error.to_string())
}
