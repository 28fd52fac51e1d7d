//! Garbage collection, by the same rules as a host's: what all owners have left goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use quadrille_store::{Key, Object, Query, Range, View};
use serde_json::json;

use crate::world::World;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

impl World {
    /// One round over all objects; true when it changed something.
    pub(crate) fn collect_garbage(&mut self) -> Result<bool, String> {
        let objects = self.everything();
        let alive: BTreeSet<Arc<str>> = objects.iter().map(|o| Arc::clone(&o.meta.uid)).collect();
        let waiting =
            |object: &&Arc<Object>| object.meta.deleted_at.is_some() && holds(object, FOREGROUND);
        let foreground: BTreeSet<Arc<str>> =
            objects.iter().filter(waiting).map(|o| Arc::clone(&o.meta.uid)).collect();
        let mut changed = false;
        for object in &objects {
            let owners = &object.meta.owners;
            let orphaned = !owners.is_empty() && owners.iter().all(|o| !alive.contains(&o.uid));
            let owner_waits = owners.iter().any(|o| foreground.contains(&o.uid));
            if (orphaned || owner_waits) && object.meta.deleted_at.is_none() {
                self.delete_key(&object.key).map_err(|status| status.message)?;
                changed = true;
            }
            if object.meta.deleted_at.is_some() {
                changed |= self.finish(object, &objects)?;
            }
        }
        Ok(changed)
    }

    /// Takes the collector's own finalizers from a terminating object when their work is done.
    fn finish(&mut self, object: &Object, objects: &[Arc<Object>]) -> Result<bool, String> {
        let owned_by = |other: &&Arc<Object>| {
            other.meta.owners.iter().any(|owner| owner.uid == object.meta.uid)
        };
        if holds(object, ORPHAN) {
            for other in objects.iter().filter(owned_by) {
                self.patch_key(&other.key, &json!({"metadata": {"ownerReferences": null}}))
                    .map_err(|status| status.message)?;
            }
            return self.drop_finalizer(object, ORPHAN).map(|()| true);
        }
        let blocked = objects.iter().filter(owned_by).any(|other| {
            let blocks = |o: &&quadrille_object::OwnerReference| o.uid == object.meta.uid;
            other.meta.owners.iter().find(blocks).is_some_and(|o| o.block_owner_deletion)
        });
        if holds(object, FOREGROUND) && !blocked {
            return self.drop_finalizer(object, FOREGROUND).map(|()| true);
        }
        Ok(false)
    }

    fn drop_finalizer(&mut self, object: &Object, name: &str) -> Result<(), String> {
        let finalizers = object.meta.finalizers.iter().map(AsRef::as_ref);
        let others: Vec<&str> = finalizers.filter(|other| *other != name).collect();
        let patch = json!({"metadata": {"finalizers": others}});
        self.patch_key(&object.key, &patch).map_err(|status| status.message)
    }

    fn everything(&self) -> Vec<Arc<Object>> {
        let snapshot = self.registry.store().snapshot();
        let of = |resource| snapshot.list(&Query::whole(Range::all(resource)));
        snapshot.resources().cloned().flat_map(of).collect()
    }

    /// Every object's key and what it says, less what differs between equal worlds.
    pub(crate) fn keys_now(&self) -> Vec<Key> {
        self.everything().iter().map(|object| object.key.clone()).collect()
    }
}

fn holds(object: &Object, finalizer: &str) -> bool {
    object.meta.finalizers.iter().any(|name| **name == *finalizer)
}
