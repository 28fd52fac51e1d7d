//! Horizontal pod autoscalers, as far as the controller looks at them.

use common::scale::Reference;
use quadrille_sdk::Time;
use quadrille_sdk::k8s::Raw;
use quadrille_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// How many pods an object wants, by measure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HorizontalPodAutoscaler {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(skip_serializing)]
    pub spec: HorizontalPodAutoscalerSpec,
    /// What is observed.
    pub status: HorizontalPodAutoscalerStatus,
}
quadrille_sdk::kind!(HorizontalPodAutoscaler, "autoscaling", "v2", "horizontalpodautoscalers");

/// What is wanted of an autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HorizontalPodAutoscalerSpec {
    /// What is scaled.
    pub scale_target_ref: Reference,
    /// The least pods; one where it is not set.
    pub min_replicas: Option<i64>,
    /// The most pods.
    pub max_replicas: i64,
    /// By which measures.
    pub metrics: Vec<Metric>,
}

/// One measure.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metric {
    /// `Resource`, `ContainerResource`, `Pods`, `Object` or `External`.
    pub r#type: String,
    /// Of the pods' containers together.
    pub resource: Option<ResourceMetric>,
    /// Of one container.
    pub container_resource: Option<ResourceMetric>,
    /// Of each pod.
    pub pods: Option<NamedMetric>,
    /// Of an object.
    pub object: Option<NamedMetric>,
    /// Of something else.
    pub external: Option<NamedMetric>,
}

/// A measure of a resource such as `cpu`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResourceMetric {
    /// The resource.
    pub name: String,
}

/// A measure with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NamedMetric {
    /// Its name.
    pub metric: ResourceMetric,
}

/// What is observed of an autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HorizontalPodAutoscalerStatus {
    /// The generation that it speaks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When it last scaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,
    /// How many pods the target wants.
    #[serde(skip_serializing_if = "is_zero")]
    pub current_replicas: i64,
    /// How many it is to want.
    pub desired_replicas: i64,
    /// The measures as they are; nobody measures here.
    pub current_metrics: Option<Raw>,
    /// Observations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<AutoscalerCondition>,
}

/// One observation of an autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AutoscalerCondition {
    /// `AbleToScale`, `ScalingActive` or `ScalingLimited`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When the status last moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Why, as one word.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
