//! Stateful sets and claims, as far as the controller looks at them.

use quadrille_sdk::LabelSelector;
use quadrille_sdk::k8s::{IntOrString, PodTemplate, Raw};
use quadrille_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// Pods with a number each, and storage of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatefulSet {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: StatefulSetSpec,
    /// What is observed.
    pub status: StatefulSetStatus,
}
quadrille_sdk::kind!(StatefulSet, "apps", "v1", "statefulsets");

/// What is wanted of a stateful set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetSpec {
    /// How many pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// Which pods are its own.
    pub selector: LabelSelector,
    /// What they look like.
    pub template: PodTemplate,
    /// The storage that each has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_claim_templates: Vec<Claim>,
    /// The service under which they are found.
    pub service_name: String,
    /// `OrderedReady` or `Parallel`.
    pub pod_management_policy: String,
    /// How old pods make way for new ones.
    pub update_strategy: UpdateStrategy,
    /// How many old revisions are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i64>,
    /// How long a pod is ready before it counts as available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ready_seconds: Option<i64>,
    /// When claims go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim_retention_policy: Option<Retention>,
    /// The first number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordinals: Option<Ordinals>,
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
    /// Pods with a lower number stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i64>,
    /// How many may be missing; one where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
}

/// When claims go: `Retain` or `Delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retention {
    /// With the set.
    pub when_deleted: String,
    /// With the pod, when there are to be fewer.
    pub when_scaled: String,
}

/// How pods are numbered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    /// The first number.
    pub start: i64,
}

/// What is observed of a stateful set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatefulSetStatus {
    /// The generation that it speaks for.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i64,
    /// Those that are ready.
    #[serde(skip_serializing_if = "is_zero")]
    pub ready_replicas: i64,
    /// Those of the current revision.
    #[serde(skip_serializing_if = "is_zero")]
    pub current_replicas: i64,
    /// Those of the newest revision.
    #[serde(skip_serializing_if = "is_zero")]
    pub updated_replicas: i64,
    /// The revision that all pods had last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub current_revision: String,
    /// The revision of the template.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub update_revision: String,
    /// How often the name of a revision was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i64>,
    /// Observations; carried, not made here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Raw>,
    /// Pods that are available.
    pub available_replicas: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A wish for storage; also the template of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted, unparsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Raw>,
}

impl Resource for Claim {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "PersistentVolumeClaim";
    const PLURAL: &'static str = "persistentvolumeclaims";
    const NAMESPACED: bool = true;

    fn meta(&self) -> &Metadata {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}

impl StatefulSet {
    /// How many pods are wanted.
    pub(crate) fn wanted(&self) -> i64 {
        self.spec.replicas.unwrap_or(1).max(0)
    }

    /// The first number.
    pub(crate) fn start(&self) -> i64 {
        self.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start.max(0))
    }

    /// The numbers that pods are to have.
    pub(crate) fn numbers(&self) -> std::ops::Range<i64> {
        self.start()..self.start().saturating_add(self.wanted())
    }

    /// Whether one pod waits for the other.
    pub(crate) fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy != "Parallel"
    }

    /// Whether pods are replaced when the template changes.
    pub(crate) fn rolls(&self) -> bool {
        self.spec.update_strategy.r#type != "OnDelete"
    }

    /// Pods with a lower number stay as they are.
    pub(crate) fn partition(&self) -> Option<i64> {
        self.spec.update_strategy.rolling_update.as_ref().map(|r| r.partition.unwrap_or(0))
    }
}
