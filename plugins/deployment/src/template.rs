//! Templates: when two are the same, and the order of replica sets.

use quadrille_sdk::Time;
use quadrille_sdk::k8s::{PodTemplate, ReplicaSet};
use quadrille_sdk::prelude::*;
use serde_json::Value;

/// The label that tells the sets of one deployment apart.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// A template in a form that compares.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template {
    metadata: Metadata,
    spec: Value,
}

impl Template {
    pub(crate) fn of(template: &PodTemplate) -> Result<Self> {
        let mut metadata = template.metadata.clone();
        metadata.labels.remove(HASH_LABEL);
        metadata.creation_timestamp = None;
        let spec = template.spec.as_ref().map(quadrille_sdk::k8s::Raw::to_value).transpose()?;
        Ok(Self { metadata, spec: spec.unwrap_or_default() })
    }

    /// Whether a set has this template, its hash label aside.
    pub(crate) fn is_of(&self, set: &ReplicaSet) -> Result<bool> {
        Ok(*self == Self::of(&set.spec.template)?)
    }
}

/// Oldest first; of the same age by revision and by name.
pub(crate) fn age_order(set: &ReplicaSet) -> (Option<Time>, i64, &str) {
    (set.metadata.creation_timestamp, crate::new_set::revision(&set.metadata), set.name())
}
