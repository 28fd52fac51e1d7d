//! What the API tells of the record, below `/quadrille/`: `why` and `settled`.

use std::time::Duration;

use quadrille_insight::{WhyError, text, why};
use quadrille_kit::clock::BoxFuture;
use quadrille_object::GroupResource;
use quadrille_registry::{Reason, Status};
use quadrille_runtime::Runtime;
use quadrille_server::Insight;
use quadrille_store::{Key, Revision, Store};
use serde_json::{Value, json};

use crate::config::Text;

/// Answers questions from the store's history and the runtime.
#[derive(Debug)]
pub(crate) struct HostInsight {
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
}

type Query<'a> = &'a [(String, String)];

fn parameter<'a>(query: Query<'a>, name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn bad(message: impl Into<String>) -> Status {
    Status::new(Reason::BadRequest, message)
}

impl Insight for HostInsight {
    fn ask<'a>(
        &'a self,
        path: &'a str,
        query: &'a [(String, String)],
    ) -> BoxFuture<'a, Result<Value, Status>> {
        Box::pin(async move {
            match path {
                "why" => self.why(query).await,
                "settled" => self.settled(query).await,
                _ => Err(Status::new(Reason::NotFound, format!("there is no /quadrille/{path}"))),
            }
        })
    }
}

impl HostInsight {
    async fn why(&self, query: Query<'_>) -> Result<Value, Status> {
        let need = |name: &str| {
            parameter(query, name).ok_or_else(|| bad(format!("why needs the parameter {name}")))
        };
        let optional = |name: &str| parameter(query, name).unwrap_or_default();
        let resource = GroupResource::new(optional("group"), need("resource")?);
        let key = Key::new(resource, optional("namespace"), need("name")?);
        let answer = why(&self.store, &key).await.map_err(|error| match error {
            WhyError::Unknown { .. } => Status::new(Reason::NotFound, error.to_string()),
            WhyError::Closed | WhyError::Unavailable(_) => {
                Status::new(Reason::ServiceUnavailable, error.to_string())
            }
        })?;
        Ok(json!({
            "object": key.to_string(),
            "steps": answer.steps,
            "compacted": answer.compacted,
            "truncated": answer.truncated,
            "text": text::tree(&answer),
        }))
    }
}

/// The longest time that a question may wait for its answer.
const WAIT_MAX: Duration = Duration::from_mins(5);

impl HostInsight {
    /// Waits until everything that follows from a revision (default: the newest) has happened. Not being settled
    /// in time is `Timeout` (504), with who is still busy.
    async fn settled(&self, query: Query<'_>) -> Result<Value, Status> {
        let revision = number(query, "revision")?.map_or_else(|| self.store.revision(), Revision);
        let wait = duration(query, "wait", Duration::ZERO)?.min(WAIT_MAX);
        let answer = self.runtime.settled(revision, wait).await;
        let value = serde_json::to_value(&answer).unwrap_or_default();
        if answer.settled || wait.is_zero() {
            return Ok(value);
        }
        let message = format!("not settled after {wait:?}: {value}");
        Err(Status::new(Reason::Timeout, message))
    }
}

fn number(query: Query<'_>, name: &str) -> Result<Option<u64>, Status> {
    let text = parameter(query, name);
    text.map(|text| text.parse().map_err(|_| bad(format!("{name}: {text:?} is no number"))))
        .transpose()
}

/// A duration parameter such as `30s`.
fn duration(query: Query<'_>, name: &str, default: Duration) -> Result<Duration, Status> {
    let Some(text) = parameter(query, name) else { return Ok(default) };
    let parsed: Text<Duration> = text.parse().map_err(|error| bad(format!("{name}: {error}")))?;
    Ok(parsed.0)
}
