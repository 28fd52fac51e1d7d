//! The replication controller: what replica sets were before there were deployments.
//!
//! Its selector is a plain map of labels; all else is a replica set's.

use common::replicas::{self, Replicas};
use quadrille_sdk::k8s::ReplicaSetStatus;
use quadrille_sdk::prelude::*;
use quadrille_sdk::{LabelSelector, Labels};
use serde::{Deserialize, Serialize};

/// A number of equal pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicationController {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: ReplicationControllerSpec,
    /// What is observed; the fields are those of a replica set.
    pub status: ReplicaSetStatus,
}
quadrille_sdk::kind!(ReplicationController, "", "v1", "replicationcontrollers");

/// What is wanted of a replication controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicationControllerSpec {
    /// How many pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// How long a pod is ready before it counts as available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i64>,
    /// Labels of the pods that are its own.
    pub selector: Labels,
    /// What they look like.
    pub template: PodTemplate,
}

/// Keeps replication controllers at their number of pods.
#[derive(Debug)]
pub struct ReplicationControllers;

impl Controller for ReplicationControllers {
    type Primary = ReplicationController;
    const NAME: &'static str = "replication-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] =
        &[verbs::<Pod>(&["get", "list", "create", "patch", "delete"])];
    const RECONCILES_TERMINATING: bool = true;

    fn reconcile(controller: &ReplicationController, ctx: &Context) -> Result<Next> {
        let spec = &controller.spec;
        let selector =
            LabelSelector { match_labels: spec.selector.clone(), match_expressions: Vec::new() };
        let replicas = Replicas {
            metadata: &controller.metadata,
            count: spec.replicas,
            min_ready_seconds: spec.min_ready_seconds,
            selector: &selector,
            template: &spec.template,
            status: &controller.status,
        };
        let (status, next) = replicas::reconcile(&replicas, ctx)?;
        // The one field of a replica set's status that this kind does not have.
        ctx.set_status(&ReplicaSetStatus { terminating_replicas: None, ..status })?;
        Ok(next)
    }
}

quadrille_sdk::plugin!(ReplicationControllers);

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_testing::World;
    use serde_json::json;

    #[test]
    fn pods_come_and_go_with_the_wanted_number() {
        let mut world = World::new(plugin());
        let controller = json!({
            "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "web"},
            "spec": {"replicas": 2, "selector": {"app": "web"}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "img:1"}]},
            }},
        });
        world.apply_json(&controller).expect("a good controller");
        world.settle();
        let pods = world.all::<Pod>();
        let owner = pods[0].metadata.controller().expect("owned");
        assert_eq!((pods.len(), owner.kind.as_str()), (2, "ReplicationController"));
        assert_eq!(world.expect::<ReplicationController>("web").status.replicas, 2);
        world.edit::<ReplicationController>("web", |rc| rc.spec.replicas = Some(1));
        world.settle();
        assert_eq!(world.all::<Pod>().len(), 1);
        world.torture(20);
    }
}
