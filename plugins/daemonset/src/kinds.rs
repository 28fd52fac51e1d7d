//! Daemon sets and nodes, as far as the controller looks at them.

use quadrille_sdk::k8s::{IntOrString, PodTemplate, Raw};
use quadrille_sdk::prelude::*;
use quadrille_sdk::{LabelSelector, Time};
use serde::{Deserialize, Serialize};

/// One pod on every node that fits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DaemonSet {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: DaemonSetSpec,
    /// What is observed.
    pub status: DaemonSetStatus,
}
quadrille_sdk::kind!(DaemonSet, "apps", "v1", "daemonsets");

/// What is wanted of a daemon set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetSpec {
    /// Which pods are its own.
    pub selector: LabelSelector,
    /// What they look like.
    pub template: PodTemplate,
    /// How old pods make way for new ones.
    pub update_strategy: UpdateStrategy,
    /// How long a pod is ready before it counts as available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i64>,
    /// How many old revisions are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i64>,
}

/// How old pods make way for new ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    pub r#type: String,
    /// The bounds of a rolling update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdate>,
}

/// The bounds of a rolling update.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// How many nodes may be without a pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
    /// How many nodes may have two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrString>,
}

/// What is observed of a daemon set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetStatus {
    /// Nodes that are to have a pod and have one.
    pub current_number_scheduled: i64,
    /// Nodes that have one and are not to.
    pub number_misscheduled: i64,
    /// Nodes that are to have one.
    pub desired_number_scheduled: i64,
    /// Those with a ready one.
    pub number_ready: i64,
    /// The generation that it speaks for.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Nodes with a pod of the newest revision.
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_number_scheduled: i64,
    /// Those with an available one.
    #[serde(skip_serializing_if = "is_zero")]
    pub number_available: i64,
    /// Those without.
    #[serde(skip_serializing_if = "is_zero")]
    pub number_unavailable: i64,
    /// How often the name of a revision was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i64>,
    /// Observations; carried, not made here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Raw>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted of it.
    pub spec: NodeSpec,
}
quadrille_sdk::kind!(Node, "", "v1", "nodes", cluster);

/// What is wanted of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// What keeps pods away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}

/// What keeps pods away from a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// When it was put on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<Time>,
}
