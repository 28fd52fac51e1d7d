//! `GET /quadrille/why`: why an object is as it is.

use quadrille_insight::{WhyError, text, why};
use quadrille_registry::{Reason, Status};
use quadrille_server::{Form, Question, Reply};
use serde_json::json;

use super::{HostInsight, need_object};

impl HostInsight {
    pub(super) async fn why(&self, question: &Question) -> Result<Reply, Status> {
        let key = need_object(question)?;
        let answer = why(&self.store, &key).await.map_err(|error| refused(&error))?;
        if question.form == Form::Text {
            return Ok(Reply::Text(text::tree(&answer)));
        }
        Ok(Reply::Json(json!({
            "object": key.to_string(),
            "steps": answer.steps,
            "compacted": answer.compacted,
            "truncated": answer.truncated,
            "text": text::tree(&answer),
        })))
    }
}

fn refused(error: &WhyError) -> Status {
    let reason = match error {
        WhyError::Unknown { .. } => Reason::NotFound,
        WhyError::Closed | WhyError::Unavailable(_) => Reason::ServiceUnavailable,
    };
    Status::new(reason, error.to_string())
}
