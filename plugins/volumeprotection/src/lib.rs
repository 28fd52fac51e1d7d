//! Protection of volumes and claims in use: the host puts a finalizer on each, and it is taken off here when nobody
//! uses what is to go.

use quadrille_sdk::Query;
use quadrille_sdk::k8s::Raw;
use quadrille_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// A wish for storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PersistentVolumeClaim {
    /// The metadata.
    pub metadata: Metadata,
}
quadrille_sdk::kind!(PersistentVolumeClaim, "", "v1", "persistentvolumeclaims");

/// Storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PersistentVolume {
    /// The metadata.
    pub metadata: Metadata,
    /// What is observed.
    #[serde(skip_serializing)]
    pub status: VolumeStatus,
}
quadrille_sdk::kind!(PersistentVolume, "", "v1", "persistentvolumes", cluster);

/// What is observed of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct VolumeStatus {
    /// `Bound` when a claim has it.
    pub phase: String,
}

/// Lets claims go.
#[derive(Debug)]
pub struct Claims;

impl Controller for Claims {
    type Primary = PersistentVolumeClaim;
    const NAME: &'static str = "pvc-protection-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] =
        &[verbs::<PersistentVolumeClaim>(&["patch"]), verbs::<Pod>(&["list"])];
    const RECONCILES_TERMINATING: bool = true;

    fn reconcile(claim: &PersistentVolumeClaim, ctx: &Context) -> Result<Next> {
        const FINALIZER: &str = "kubernetes.io/pvc-protection";
        if is_held(claim, FINALIZER) && !is_used(claim.name(), ctx)? {
            release(claim, FINALIZER, ctx)?;
        }
        Next::done()
    }
}

/// Lets volumes go.
#[derive(Debug)]
pub struct Volumes;

impl Controller for Volumes {
    type Primary = PersistentVolume;
    const NAME: &'static str = "pv-protection-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] = &[verbs::<PersistentVolume>(&["patch"])];
    const RECONCILES_TERMINATING: bool = true;

    fn reconcile(volume: &PersistentVolume, ctx: &Context) -> Result<Next> {
        const FINALIZER: &str = "kubernetes.io/pv-protection";
        if is_held(volume, FINALIZER) && volume.status.phase != "Bound" {
            release(volume, FINALIZER, ctx)?;
        }
        Next::done()
    }
}

quadrille_sdk::plugin!(Claims, Volumes);

/// Whether the object is to go and only waits.
fn is_held(object: &impl Resource, finalizer: &str) -> bool {
    let meta = object.meta();
    meta.is_terminating() && meta.finalizers.iter().any(|name| name == finalizer)
}

fn release<T: Resource>(object: &T, finalizer: &str, ctx: &Context) -> Result<()> {
    let others: Vec<&String> =
        object.meta().finalizers.iter().filter(|name| *name != finalizer).collect();
    let patch = quadrille_sdk::serde_json::json!({
        "metadata": {"uid": object.uid(), "finalizers": others},
    });
    ctx.patch(object, &patch).map(drop)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    volumes: Vec<Volume>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    name: String,
    persistent_volume_claim: Option<ClaimSource>,
    ephemeral: Option<Raw>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimSource {
    claim_name: String,
}

/// Whether a pod that has not ended names the claim.
fn is_used(claim: &str, ctx: &Context) -> Result<bool> {
    for pod in ctx.list::<Pod>(Query::all())? {
        if matches!(pod.phase(), "Succeeded" | "Failed") {
            continue;
        }
        let spec: PodSpec = pod.spec.as_ref().map(Raw::read).transpose()?.unwrap_or_default();
        let names = |volume: &Volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => source.claim_name == claim,
            (None, Some(_)) => claim == format!("{}-{}", pod.name(), volume.name),
            (None, None) => false,
        };
        if spec.volumes.iter().any(names) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_testing::World;
    use serde_json::json;

    #[test]
    fn a_claim_goes_when_the_last_pod_that_uses_it_has_gone() {
        let mut world = World::new(plugin());
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        });
        world.apply_json(&claim).expect("a good claim");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user"},
            "spec": {
                "containers": [{"name": "c", "image": "img:1"}],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
            },
        });
        world.apply_json(&pod).expect("a good pod");
        world.delete::<PersistentVolumeClaim>("data");
        world.settle();
        assert!(world.get::<PersistentVolumeClaim>("data").is_some(), "a pod uses it");
        world.delete::<Pod>("user");
        world.settle();
        assert!(world.get::<PersistentVolumeClaim>("data").is_none());
    }

    #[test]
    fn a_volume_goes_unless_a_claim_has_it() {
        for (phase, goes) in [("Available", true), ("Bound", false)] {
            let mut world = World::new(plugin());
            let volume = json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
                "spec": {
                    "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": "/data"},
                },
            });
            world.apply_json(&volume).expect("a good volume");
            world.set_status::<PersistentVolume>("disk", &json!({"phase": phase}));
            world.delete::<PersistentVolume>("disk");
            world.settle();
            assert_eq!(world.get::<PersistentVolume>("disk").is_none(), goes);
        }
    }
}
