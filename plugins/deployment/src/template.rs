//! Templates: when two are the same, and the hash that names a replica set.

use quadrille_sdk::Time;
use quadrille_sdk::k8s::{PodTemplate, ReplicaSet};
use quadrille_sdk::prelude::*;
use serde_json::{Value, json};

/// The label that tells the sets of one deployment apart.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// A template in a form that compares and hashes.
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

    /// A name for the template: stable for its content, different after each collision.
    pub(crate) fn hash(&self, collisions: i64) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let text = json!([self.metadata, self.spec, collisions]).to_string();
        let digits = fnv1a(text.as_bytes()).to_string();
        // One letter per digit, from an alphabet without vowels, so that a hash spells nothing.
        let letter = |digit: u8| ALPHABET.get(usize::from(digit) % ALPHABET.len()).copied();
        digits.bytes().filter_map(letter).map(char::from).collect()
    }
}

/// FNV-1a, 32 bits wide.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Oldest first; of the same age by revision and by name.
pub(crate) fn age_order(set: &ReplicaSet) -> (Option<Time>, i64, &str) {
    (set.metadata.creation_timestamp, crate::new_set::revision(&set.metadata), set.name())
}
