//! `GET /quadrille/fights` and `POST /quadrille/fights/release`: fields that controllers fight over.

use quadrille_insight::Fight;
use quadrille_insight::fights::keep::told;
use quadrille_registry::Status;
use quadrille_server::{Question, Reply};
use quadrille_store::Key;
use serde_json::{Value, json};

use super::{HostInsight, attributes, hide, need_object};

impl HostInsight {
    /// The fights over objects that the asker may get; over one object where one is named. Others
    /// that have to do with it are hidden where they may not get them.
    pub(super) fn fights(&self, question: &Question) -> Result<Reply, Status> {
        let wanted = super::object(question)?.map(|key| key.to_string());
        let fights = self.fights.list().into_iter().filter(|fight| {
            wanted.as_ref().is_none_or(|wanted| *wanted == fight.object)
                && fight
                    .object
                    .parse::<Key>()
                    .is_ok_and(|key| question.rights.allow("get", attributes(&key)))
        });
        let fights = fights.map(|mut fight| {
            let chain = fight.chain.iter_mut().map(|link| &mut link.object);
            for object in chain.chain(fight.writers.iter_mut().map(|writer| &mut writer.runs_for)) {
                hide(&question.rights, object);
            }
            fight
        });
        let fights: Vec<Value> = fights.map(|fight| described(&fight)).collect();
        Ok(Reply::Json(json!({"fights": fights})))
    }

    /// Ends the fights over an object, and lets everybody run again. Needs `update` on the object.
    pub(super) fn release(&self, question: &Question) -> Result<Reply, Status> {
        let key = need_object(question)?;
        question.rights.require("update", attributes(&key))?;
        let released = self.fights.release(&key);
        Ok(Reply::Json(json!({"object": key.to_string(), "released": released})))
    }
}

fn described(fight: &Fight) -> Value {
    let mut value = serde_json::to_value(fight).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.insert("since".to_owned(), fight.since.to_rfc3339().into());
        fields.insert("last".to_owned(), fight.last.to_rfc3339().into());
        fields.insert("message".to_owned(), told(fight).into());
    }
    value
}
