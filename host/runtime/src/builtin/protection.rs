//! Volumes and claims in use are not removed: their finalizers go when nobody uses them.
//!
//! A claim is used by every Pod that is placed on a node, has not ended and mounts it; a volume by the claim that it is bound
//! to. Decided from the newest state alone, so looking twice does no harm.

use std::collections::BTreeSet;
use std::sync::Arc;

use quadrille_object::{GroupResource, Timestamp};
use quadrille_store::{Change, Key, Object, Query, Range, Revision, Selection, Snapshot, View};
use serde_json::{Value, json};

use super::batch::Batch;
use super::part::Part;
use super::pending::Pending;
use super::refused::Refused;

const VOLUME: &str = "kubernetes.io/pv-protection";
const CLAIM: &str = "kubernetes.io/pvc-protection";

#[derive(Debug, Default)]
pub(super) struct Protection {
    pending: Pending<Key>,
    /// Claims that are to go and are still used.
    waiting: BTreeSet<Key>,
}

fn core(resource: &str) -> GroupResource {
    GroupResource::new("", resource)
}

/// The finalizer that holds objects of a resource.
fn finalizer(key: &Key) -> Option<&'static str> {
    match &*key.resource.resource {
        "persistentvolumes" if key.resource.group.is_empty() => Some(VOLUME),
        "persistentvolumeclaims" if key.resource.group.is_empty() => Some(CLAIM),
        _ => None,
    }
}

impl Protection {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut this = Self::default();
        for resource in ["persistentvolumes", "persistentvolumeclaims"] {
            for object in snapshot.list(&Query::whole(Range::all(core(resource)))) {
                this.note(&object, Revision(0));
            }
        }
        this
    }

    pub(super) fn pending(&self) -> &Pending<Key> {
        &self.pending
    }

    pub(super) fn look_at(&mut self, change: &Change) {
        let key = change.key();
        if finalizer(key).is_some() {
            self.waiting.remove(key);
            match change.after() {
                Some(object) => self.note(object, change.revision),
                None => self.pending.remove(key),
            }
        } else if !self.waiting.is_empty() && key.resource == core("pods") {
            let of_namespace = |claim: &&Key| claim.namespace == key.namespace;
            let again: Vec<Key> = self.waiting.iter().filter(of_namespace).cloned().collect();
            for claim in again {
                self.pending.insert(claim, change.revision);
            }
        }
    }

    fn note(&mut self, object: &Object, cause: Revision) {
        let held = |of: &str| object.meta.finalizers.iter().any(|f| **f == *of);
        if object.meta.deleted_at.is_some() && finalizer(&object.key).is_some_and(held) {
            self.pending.insert(object.key.clone(), cause);
        }
    }

    fn look(&mut self, key: &Key, batch: &mut Batch) {
        let (Some(object), Some(held)) = (batch.view().get(key), finalizer(key)) else { return };
        if object.meta.deleted_at.is_none() {
            return;
        }
        let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
        let used = match held {
            VOLUME => value["status"]["phase"] == "Bound",
            _ => is_mounted(key, batch),
        };
        if used {
            self.waiting.insert(key.clone());
            return;
        }
        let rest: Vec<&str> =
            object.meta.finalizers.iter().map(AsRef::as_ref).filter(|f| *f != held).collect();
        let rest = if rest.is_empty() { Value::Null } else { json!(rest) };
        batch.patch(&object, json!({"metadata": {"finalizers": rest}}));
    }
}

impl Part for Protection {
    fn name(&self) -> &'static str {
        "volume-protection"
    }

    fn is_busy(&self, _now: Timestamp) -> bool {
        !self.pending.is_empty()
    }

    /// Lets go of what nobody uses.
    fn work(&mut self, batch: &mut Batch, _refused: &Refused) {
        while let Some((key, _)) = self.pending.take(batch) {
            self.look(&key, batch);
        }
    }

    fn settle(&mut self) {
        self.pending.settle();
    }

    fn retry(&mut self) {
        self.pending.retry();
    }

    fn give_up(&mut self) -> Option<Key> {
        self.pending.give_up()
    }

    fn look_again(&mut self, key: &Key) {
        if finalizer(key).is_some() {
            self.pending.insert(key.clone(), Revision(0));
        }
    }
}

/// Whether a Pod on a node mounts a claim.
fn is_mounted(claim: &Key, batch: &Batch) -> bool {
    let namespace = Some(Arc::clone(&claim.namespace));
    let pods = Range { resource: core("pods"), namespace, selection: Selection::All };
    batch.view().list(&Query::whole(pods)).iter().any(|pod| {
        let pod: Value = serde_json::from_slice(&pod.bytes).unwrap_or_default();
        let placed = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
        placed
            && !ended
            && volumes.iter().any(|volume| {
                let own = volume.get("ephemeral").is_some()
                    && *claim.name
                        == *format!("{name}-{}", volume["name"].as_str().unwrap_or_default());
                own || volume["persistentVolumeClaim"]["claimName"] == *claim.name
            })
    })
}
