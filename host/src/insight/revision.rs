//! `revisions.quadrille.dev`: a change and whether it has settled, as an object.

use std::time::Duration;

use quadrille_registry::Status;
use quadrille_runtime::{Settled, Standstill};
use quadrille_store::{Change, Revision};
use serde_json::{Value, json};

use super::HostInsight;
use super::settled::{message, refused};

impl HostInsight {
    /// The object of a revision; `None` when there is no such change. Waits up to `wait` until it has settled.
    pub(super) async fn revision_of(
        &self,
        number: u64,
        wait: Duration,
    ) -> Result<Option<Value>, Status> {
        let found = self.store.change(Revision(number)).await;
        let Some(change) = found.map_err(|error| refused(&error))? else { return Ok(None) };
        let answer = self.runtime.settled(Revision(number), wait).await;
        let answer = answer.map_err(|error| refused(&error))?;
        let now = self.runtime.registry().clock().now().to_rfc3339();
        Ok(Some(object(&change, &answer, &now)))
    }
}

fn object(change: &Change, answer: &Settled, now: &str) -> Value {
    let (settled, stuck, reason) = match answer.state {
        Standstill::Settled => ("True", "False", "Settled"),
        Standstill::Busy => ("False", "False", "Busy"),
        Standstill::Stuck => ("False", "True", "Stuck"),
    };
    let told = match answer.state {
        Standstill::Settled => format!("nothing is left to follow; {} changes did", answer.changes),
        Standstill::Busy | Standstill::Stuck => message(answer),
    };
    let condition = |of: &str, status: &str| {
        json!({"type": of, "status": status, "reason": reason, "message": told,
            "lastTransitionTime": now})
    };
    json!({
        "apiVersion": "quadrille.dev/v1", "kind": "Revision",
        "metadata": {
            "name": change.revision.to_string(),
            "uid": format!("00000000-0000-0000-{:04x}-{:012x}", change.revision.0 >> 48, change.revision.0 & 0xffff_ffff_ffff),
            "resourceVersion": answer.position.max(change.revision).to_string(),
            "creationTimestamp": change.at.to_rfc3339(),
        },
        "spec": {"object": change.key().to_string()},
        "status": {
            "changes": answer.changes, "lastRevision": answer.last.to_string(),
            "conditions": [condition("Settled", settled), condition("Stuck", stuck)],
        },
    })
}
