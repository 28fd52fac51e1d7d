//! Pod disruption budgets, as far as the controller looks at them.

use std::collections::BTreeMap;

use quadrille_sdk::k8s::IntOrString;
use quadrille_sdk::prelude::*;
use quadrille_sdk::{Condition, LabelSelector, Time};
use serde::{Deserialize, Serialize};

/// How many pods of a set may be missing at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodDisruptionBudget {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: PodDisruptionBudgetSpec,
    /// What is observed.
    pub status: PodDisruptionBudgetStatus,
}
quadrille_sdk::kind!(PodDisruptionBudget, "policy", "v1", "poddisruptionbudgets");

/// What is wanted of a budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetSpec {
    /// How many pods must be healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_available: Option<IntOrString>,
    /// Which pods; none without it, all with an empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// How many pods may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrString>,
}

/// What is observed of a budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDisruptionBudgetStatus {
    /// The generation that it speaks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods whose eviction was granted and that are still there, and since when.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub disrupted_pods: BTreeMap<String, Time>,
    /// How many pods may be evicted now.
    pub disruptions_allowed: i64,
    /// Pods that are healthy.
    pub current_healthy: i64,
    /// How many must be.
    pub desired_healthy: i64,
    /// How many there are to be.
    pub expected_pods: i64,
    /// Observations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
