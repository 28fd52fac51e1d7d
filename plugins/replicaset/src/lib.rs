//! The replica set controller: as many pods of one template as are wanted.
//!
//! It must not know of deployments.

use common::replicas::{self, Replicas};
use quadrille_sdk::k8s::ReplicaSet;
use quadrille_sdk::prelude::*;

/// Keeps replica sets at their number of pods.
#[derive(Debug)]
pub struct ReplicaSets;

impl Controller for ReplicaSets {
    type Primary = ReplicaSet;
    const NAME: &'static str = "replicaset-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] =
        &[verbs::<Pod>(&["get", "list", "create", "patch", "delete"])];
    const RECONCILES_TERMINATING: bool = true;

    fn reconcile(set: &ReplicaSet, ctx: &Context) -> Result<Next> {
        let replicas = Replicas {
            metadata: &set.metadata,
            count: set.spec.replicas,
            min_ready_seconds: set.spec.min_ready_seconds,
            selector: &set.spec.selector,
            template: &set.spec.template,
            status: &set.status,
        };
        let (status, next) = replicas::reconcile(&replicas, ctx)?;
        ctx.set_status(&status)?;
        Ok(next)
    }
}

quadrille_sdk::plugin!(ReplicaSets);

#[cfg(test)]
mod tests;
