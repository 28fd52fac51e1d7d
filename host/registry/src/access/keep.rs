//! Keeping the index and the aggregated roles in step with the store.
//!
//! Flow: the index is loaded when the registry is built, and follows each commit that goes through the registry before
//! its writer is answered. A writer that gives up meanwhile takes that step with it; [`Registry::keep_access`], which
//! reads the changes, takes it then. It also gives aggregated roles their rules: a change of one role may reach
//! another aggregated role through a first one, so it goes on until nothing is stale, which the length of the longest
//! chain bounds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::Shutdown;
use quadrille_object::Gvk;
use quadrille_store::{
    Cause, ChangeBatch, ChangeFilter, ChangeStream, ChangesError, Key, Query, Range, Revision,
    SystemCause, View as _,
};
use serde_json::json;

use super::GROUP;
use super::index::resources;
use super::rule::PolicyRule;
use crate::definition::follow::host_request;
use crate::registry::Registry;
use crate::request::{Action, Target};
use crate::status::{Reason, Status};

/// How often roles are aggregated anew in a row: the longest chain of aggregated roles that ends.
const ROUNDS_MAX: usize = 16;
/// Who manages the rules of aggregated roles.
const MANAGER: &str = "clusterrole-aggregation-controller";

/// How long a keeper waits after the store could not be read, or written.
pub(crate) const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Why the keeping ended.
#[derive(Debug, thiserror::Error)]
#[error("cannot follow the changes of roles and bindings")]
pub struct KeepError(#[source] ChangesError);

impl Registry {
    /// Makes the index from what the store says. What it knows is looked at, too: some of that may be gone.
    pub(crate) fn load_access(&self) {
        let mut keys = self.access().known();
        let snapshot = self.store().snapshot();
        for resource in resources() {
            let objects = snapshot.list(&Query::whole(Range::all(resource)));
            keys.extend(objects.iter().map(|object| object.key.clone()));
        }
        self.follow_access(&keys);
    }

    /// Brings the index up to date with what the store says now about some keys.
    pub(crate) fn follow_access<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) {
        self.access().follow(keys, || self.store().snapshot());
    }

    /// Keeps the index and the aggregated roles in step with the store until the shutdown.
    ///
    /// # Errors
    /// When the store is closed before the shutdown.
    pub async fn keep_access(self, shutdown: Shutdown) -> Result<(), KeepError> {
        let mut after = self.store().revision();
        self.load_access();
        loop {
            let kept = tokio::select! {
                () = shutdown.started() => return Ok(()),
                kept = self.keep_after(after) => kept,
            };
            match kept {
                ChangesError::Expired { .. } => {}
                // The disk may be read again in a while, and what is in memory does not need it.
                ChangesError::Unavailable(_) => tokio::select! {
                    () = shutdown.started() => return Ok(()),
                    () = self.clock().sleep(STORE_PAUSE) => {}
                },
                ChangesError::Closed if shutdown.is_started() => return Ok(()),
                ChangesError::Closed => return Err(KeepError(kept)),
            }
            // Too far behind: whatever has changed meanwhile is read whole.
            after = self.store().revision();
            self.load_access();
        }
    }

    async fn keep_after(&self, after: Revision) -> ChangesError {
        let [mut roles, mut cluster_roles, mut bindings, mut cluster_bindings] =
            resources().map(|of| self.store().changes(ChangeFilter { resource: Some(of) }, after));
        let mut aggregated = self.aggregate().await;
        loop {
            let aggregates = tokio::select! {
                // The store did not take the rules; no change would tell that it does again.
                () = async { self.clock().sleep(STORE_PAUSE).await }, if !aggregated => Ok(true),
                batch = roles.next() => batch.map(|batch| self.keep_batch(&batch, false)),
                batch = cluster_roles.next() => batch.map(|batch| self.keep_batch(&batch, true)),
                batch = bindings.next() => batch.map(|batch| self.keep_batch(&batch, false)),
                batch = cluster_bindings.next() => batch.map(|batch| self.keep_batch(&batch, false)),
            };
            match aggregates {
                Err(error) => return error,
                Ok(due) if due || !aggregated => {
                    if let Some(error) = self.take_rest(&mut cluster_roles) {
                        return error;
                    }
                    aggregated = self.aggregate().await;
                }
                Ok(_) => {}
            }
        }
    }

    fn keep_batch(&self, batch: &ChangeBatch, aggregates: bool) -> bool {
        self.follow_access(batch.changes.iter().map(|change| change.key()));
        aggregates && !batch.changes.is_empty()
    }

    /// Many changes in a row are aggregated once.
    fn take_rest(&self, changes: &mut ChangeStream) -> Option<ChangesError> {
        loop {
            match changes.try_next() {
                Ok(Some(batch)) => {
                    self.keep_batch(&batch, true);
                }
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    }

    /// Gives the aggregated roles the rules that they should have; false when the store takes none now.
    async fn aggregate(&self) -> bool {
        // What was refused once is refused in the next round too, until the rules are others.
        let mut refused: HashMap<Arc<str>, Vec<PolicyRule>> = HashMap::new();
        for _ in 0..ROUNDS_MAX {
            let mut stale = self.access().stale();
            stale.retain(|(name, rules)| refused.get(name) != Some(rules));
            if stale.is_empty() {
                return true;
            }
            for (name, rules) in stale {
                match Box::pin(self.give_rules(&name, &rules)).await {
                    // It is gone, or changed meanwhile: its own change comes along.
                    Err(status)
                        if !matches!(status.reason, Reason::NotFound | Reason::Conflict) =>
                    {
                        tracing::warn!(object = &*name, error = %status, "role is not aggregated");
                        if status.reason == Reason::ServiceUnavailable {
                            return false;
                        }
                        refused.insert(name, rules);
                    }
                    Ok(()) | Err(_) => {}
                }
            }
        }
        true
    }

    async fn give_rules(&self, name: &Arc<str>, rules: &[PolicyRule]) -> Result<(), Status> {
        let kind = Gvk::new(GROUP, "v1", "ClusterRole");
        let Some(resource) = self.resource_of(&kind) else { return Ok(()) };
        let body = json!({
            "apiVersion": &*resource.api_version, "kind": &*kind.kind,
            "metadata": {"name": &**name}, "rules": rules,
        });
        let key = Key::new(resource.group_resource(), "", Arc::clone(name));
        if self.store().snapshot().get(&key).is_none() {
            return Ok(());
        }
        let target = Target {
            resource,
            namespace: "".into(),
            name: Some(Arc::clone(name)),
            subresource: None,
        };
        let mut request = host_request(target, Action::Apply(body.into()));
        request.options.field_manager = Some(MANAGER.into());
        request.options.force = true;
        let cause = Cause::System(SystemCause {
            part: "roles".to_owned(),
            act: format!("aggregate {name}"),
            because: Vec::new(),
        });
        self.submit(&request, cause).await.map(drop)
    }
}
