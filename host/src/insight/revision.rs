//! `revisions.quadrille.dev`: a change and whether it has settled, as an object.

use std::time::Duration;

use quadrille_registry::Status;
use quadrille_runtime::{Settled, Standstill};
use quadrille_server::Rights;
use quadrille_store::{Change, Revision};
use serde_json::{Value, json};

use super::settled::{hide_objects, message, refused};
use super::{HostInsight, hide};

impl HostInsight {
    /// The object of a revision; `None` when there is no such change. Waits up to `wait` until it has settled.
    /// Of objects that the asker may not get it tells nothing.
    pub(super) async fn revision_of(
        &self,
        number: u64,
        wait: Duration,
        rights: &Rights,
    ) -> Result<Option<Value>, Status> {
        let found = self.store.change(Revision(number)).await;
        let Some(change) = found.map_err(|error| refused(&error))? else { return Ok(None) };
        let answer = self.runtime.settled(Revision(number), wait).await;
        let mut answer = answer.map_err(|error| refused(&error))?;
        hide_objects(rights, &mut answer);
        let mut of = change.key().to_string();
        hide(rights, &mut of);
        let now = self.runtime.registry().clock().now().to_rfc3339();
        Ok(Some(object(&change, &of, &answer, &now)))
    }
}

fn object(change: &Change, of: &str, answer: &Settled, now: &str) -> Value {
    let (settled, stuck, reason) = match answer.state {
        Standstill::Settled => ("True", "False", "Settled"),
        Standstill::Busy => ("False", "False", "Busy"),
        Standstill::Stuck => ("False", "True", "Stuck"),
    };
    let told = match answer.state {
        Standstill::Settled => format!("nothing is left to follow; {} changes did", answer.changes),
        Standstill::Busy | Standstill::Stuck => message(answer),
    };
    let condition = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": told,
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
        "spec": {"object": of},
        "status": {
            "changes": answer.changes, "lastRevision": answer.last.to_string(),
            "conditions": [condition("Settled", settled), condition("Stuck", stuck)],
        },
    })
}
