//! The garbage collector: objects whose owners are gone go too.
//!
//! It keeps who depends on whom, by the owner's uid, and a set of objects to look at. Looking at one decides from the
//! newest state alone (a deletion in the background, in the foreground, or with orphans), so that looking twice does no
//! harm and a restart begins by looking at everything that has an owner.
//!
//! An owner that waits for its dependents is looked at again with every batch of them that went or was orphaned. It tells
//! them once that it waits, and they follow from that alone: what it costs grows with the dependents and not with their square.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use quadrille_object::{GroupResource, GroupVersion, Gvk, Meta, OwnerReference, Timestamp};
use quadrille_registry::{Catalog, Propagation};
use quadrille_store::{Change, Key, Object, Query, Range, Revision, Snapshot, View};
use serde_json::{Value, json};

use super::batch::{BATCH_MAX, Batch};
use super::part::Part;
use super::pending::Pending;
use super::refused::Refused;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// How many ends of custom objects are kept in mind.
const GONE_MAX: usize = 4_096;
/// Over how many objects a circle of owners is looked for.
const CIRCLE_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct Collector {
    /// By the owner's uid.
    dependents: BTreeMap<Arc<str>, BTreeSet<Key>>,
    pending: Pending<Key>,
    /// The owners that are being deleted in the foreground, or before they orphan their dependents.
    waiting: BTreeMap<Key, Wait>,
    /// The uids of custom objects that went lately: where their kind went too, nothing else tells of it.
    gone: BTreeSet<Arc<str>>,
    gone_in_order: VecDeque<Arc<str>>,
    /// Objects with an owner of a kind that is not served: looked at again when the kinds change.
    unjudged: BTreeSet<Key>,
    /// The catalog that they were looked at with.
    generation: u64,
}

/// What an owner reference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// It exists, or cannot be judged.
    Solid,
    /// It is gone, or another object has its name.
    Dangling,
    /// It is being deleted in the foreground.
    Waiting,
}

/// An owner that waits for its dependents.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    /// The change that made it wait; revision 0 when it did so at the start.
    since: Revision,
    /// Whether every dependent has been pending since, so that none is to be told again in the foreground.
    told: bool,
}

impl Collector {
    pub(super) fn of(snapshot: &Snapshot, catalog: &Catalog) -> Self {
        let (dependents, pending) = (BTreeMap::new(), Pending::default());
        let mut this = Self {
            dependents,
            pending,
            waiting: BTreeMap::new(),
            gone: BTreeSet::new(),
            gone_in_order: VecDeque::new(),
            unjudged: BTreeSet::new(),
            generation: catalog.generation,
        };
        let resources: Vec<_> = snapshot.resources().cloned().collect();
        for object in
            resources.into_iter().flat_map(|r| snapshot.list(&Query::whole(Range::all(r))))
        {
            this.file(&object.key, &object.meta);
            if is_work(&object) || !object.meta.owners.is_empty() {
                this.pending.insert(object.key.clone(), Revision(0));
            }
        }
        this
    }

    pub(super) fn pending(&self) -> &Pending<Key> {
        &self.pending
    }

    pub(super) fn look_at(&mut self, change: &Change, catalog: &Catalog) {
        let key = change.key();
        let last = change.before.as_ref().unwrap_or(&change.object);
        let after = change.after();
        let owners_changed = after.is_none_or(|after| after.meta.owners != last.meta.owners);
        if owners_changed {
            self.unfile(key, &last.meta);
        }
        self.note_waiting(change, owners_changed);
        if let Some(after) = after {
            self.file(key, &after.meta);
            let is_new = change.before.is_none() && !after.meta.owners.is_empty();
            if is_new || owners_changed || is_work(after) {
                self.pending.insert(key.clone(), change.revision);
            }
        }
        if after.is_none() {
            self.unjudged.remove(key);
        }
        if after.is_none_or(|after| after.meta.uid != last.meta.uid) {
            self.remember(&key.resource, &last.meta.uid, catalog);
            self.owner_is_gone(&last.meta.uid, change.revision);
        }
        if is_definition(&key.resource) || self.generation != catalog.generation {
            self.generation = catalog.generation;
            self.waiting.values_mut().for_each(|wait| wait.told = false);
            for unjudged in std::mem::take(&mut self.unjudged) {
                self.pending.insert(unjudged, change.revision);
            }
        }
        // A foreground deletion of an owner waits for this.
        if owners_changed || after.is_none() {
            for owner in last.meta.owners.iter().filter_map(|owner| key_of(owner, key, catalog)) {
                self.pending.insert(owner, change.revision);
            }
        }
    }

    /// Keeps in mind whether an object waits for its dependents, and since which change.
    fn note_waiting(&mut self, change: &Change, owners_changed: bool) {
        let key = change.key();
        let Some(after) = change.after().filter(|after| is_work(after)) else {
            self.waiting.remove(key);
            return;
        };
        let waited = |before: &&Arc<Object>| is_work(before);
        let as_before = change.before.as_ref().filter(waited).is_some_and(|before| {
            // With other owners it may wait for itself.
            before.meta.finalizers == after.meta.finalizers && !owners_changed
        });
        if !as_before {
            let fresh = Wait { since: change.revision, told: false };
            self.waiting.entry(key.clone()).or_insert(fresh).told = false;
        }
    }

    fn look(&mut self, key: &Key, batch: &mut Batch) {
        let Some(object) = batch.view().get(key) else { return };
        if object.meta.deleted_at.is_some() {
            if has(&object, ORPHAN) {
                self.orphan(&object, batch);
            } else if has(&object, FOREGROUND) {
                self.foreground(&object, batch);
            }
            return;
        }
        if object.meta.owners.is_empty() {
            return;
        }
        let judged: Vec<Owner> =
            object.meta.owners.iter().map(|owner| self.judge(owner, key, batch)).collect();
        if judged.contains(&Owner::Solid) {
            if judged.iter().any(|owner| *owner != Owner::Solid) {
                let solid = |place: usize| judged.get(place) == Some(&Owner::Solid);
                batch.patch(&object, with_owners(&object, solid));
            }
            return;
        }
        let waited_for = judged.contains(&Owner::Waiting);
        let has_dependents = self.dependents.contains_key(&object.meta.uid);
        if waited_for && self.owns_what_waits(&object, batch) && !unblock_owners(&object, batch) {
            return;
        }
        let propagation = if has(&object, ORPHAN) {
            Propagation::Orphan
        } else if has(&object, FOREGROUND) || (waited_for && has_dependents) {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        batch.delete(&object, Some(propagation));
    }

    /// What an owner reference leads to. An object of a kind that is not served counts as being there, unless its end
    /// was seen.
    fn judge(&mut self, owner: &OwnerReference, dependent: &Key, batch: &Batch) -> Owner {
        let Some(key) = key_of(owner, dependent, batch.catalog()) else {
            if self.gone.contains(&owner.uid) {
                return Owner::Dangling;
            }
            self.unjudged.insert(dependent.clone());
            return Owner::Solid;
        };
        match batch.view().get(&key) {
            Some(found) if found.meta.uid == owner.uid => {
                if waits(&found) {
                    Owner::Waiting
                } else {
                    Owner::Solid
                }
            }
            Some(_) | None => Owner::Dangling,
        }
    }

    /// Keeps the end of a custom object in mind.
    fn remember(&mut self, resource: &GroupResource, uid: &Arc<str>, catalog: &Catalog) {
        if catalog.by_group_resource(resource).is_some_and(|resource| !resource.custom) {
            return;
        }
        if self.gone.insert(Arc::clone(uid)) {
            self.gone_in_order.push_back(Arc::clone(uid));
        }
        if self.gone_in_order.len() > GONE_MAX
            && let Some(oldest) = self.gone_in_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }

    /// Its dependents lose their reference. Not before all have may it go, or they would follow it.
    fn orphan(&mut self, object: &Object, batch: &mut Batch) {
        let since = self.waiting.get(&object.key).copied().unwrap_or_default().since;
        batch.act_on(&[since]);
        let dependents: Vec<_> = self.dependents_of(object, batch).take(BATCH_MAX).collect();
        let mut orphaned = false;
        for dependent in &dependents {
            if batch.is_full() {
                break;
            }
            let owners = &dependent.meta.owners;
            let patch = with_owners(dependent, |place| {
                owners.get(place).is_some_and(|owner| owner.uid != object.meta.uid)
            });
            orphaned |= batch.patch_for(&object.key, dependent, patch);
        }
        let is_done = self.dependents_of(object, batch).next().is_none();
        if is_done && !batch.is_full() {
            drop_finalizer(object, ORPHAN, batch);
        } else if batch.is_full() && orphaned && !batch.has_put_off(&object.key) {
            self.pending.insert(object.key.clone(), since);
        } else {
            batch.put_off(&object.key);
        }
    }

    /// Its dependents go first; it waits for those that block it.
    fn foreground(&mut self, object: &Object, batch: &mut Batch) {
        if !self.dependents_of(object, batch).any(|dependent| blocks(&dependent, object)) {
            drop_finalizer(object, FOREGROUND, batch);
            return;
        }
        let wait = self.waiting.get(&object.key).copied().unwrap_or_default();
        if wait.told {
            return;
        }
        let dependents = self.dependents_in(object, batch);
        if self.waits_for_itself(object, &dependents, batch) {
            unblock_owners(object, batch);
            return;
        }
        let living = dependents.iter().filter(|dependent| dependent.meta.deleted_at.is_none());
        for dependent in living {
            self.pending.insert(dependent.key.clone(), wait.since);
        }
        self.waiting.insert(object.key.clone(), Wait { told: true, ..wait });
    }

    /// Whether a dependent waits for its own ones, and so for this object, which it would wait for in turn. It is enough
    /// to suspect that: then the dependent does not wait for this object.
    fn owns_what_waits(&self, object: &Object, batch: &Batch) -> bool {
        self.dependents_in(object, batch).iter().any(|dependent| waits(dependent))
    }

    /// Whether it waits for dependents that wait, over however many, for itself. They were deleted one by one.
    fn waits_for_itself(&self, object: &Object, dependents: &[Arc<Object>], batch: &Batch) -> bool {
        let (mut known, mut next) = (BTreeSet::new(), waited_for(object, dependents));
        while let Some(waiting) = next.pop() {
            if waiting.meta.uid == object.meta.uid {
                return true;
            }
            if known.len() < CIRCLE_MAX && known.insert(Arc::clone(&waiting.meta.uid)) {
                next.extend(waited_for(&waiting, &self.dependents_in(&waiting, batch)));
            }
        }
        false
    }

    /// The dependents of an object, but for those of kinds that nobody can write.
    fn dependents_of(&self, object: &Object, batch: &Batch) -> impl Iterator<Item = Arc<Object>> {
        let keys = self.dependents.get(&object.meta.uid).into_iter().flatten();
        let served = |key: &&Key| batch.catalog().by_group_resource(&key.resource).is_some();
        let found = keys.filter(served).filter_map(|key| batch.view().get(key));
        found.filter(|d| d.meta.owners.iter().any(|o| o.uid == object.meta.uid))
    }

    /// The same, in hand.
    fn dependents_in(&self, object: &Object, batch: &Batch) -> Vec<Arc<Object>> {
        self.dependents_of(object, batch).collect()
    }

    fn owner_is_gone(&mut self, uid: &Arc<str>, cause: Revision) {
        for key in self.dependents.get(uid).into_iter().flatten() {
            self.pending.insert(key.clone(), cause);
        }
    }

    fn file(&mut self, key: &Key, meta: &Meta) {
        for owner in &meta.owners {
            self.dependents.entry(Arc::clone(&owner.uid)).or_default().insert(key.clone());
        }
    }

    fn unfile(&mut self, key: &Key, meta: &Meta) {
        for owner in &meta.owners {
            if let Some(keys) = self.dependents.get_mut(&owner.uid) {
                keys.remove(key);
                if keys.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}

impl Part for Collector {
    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    fn is_busy(&self, _now: Timestamp) -> bool {
        !self.pending.is_empty()
    }

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
        if let Some(wait) = self.waiting.get_mut(key) {
            wait.told = false;
        }
        self.pending.insert(key.clone(), Revision(0));
    }
}

fn is_definition(resource: &GroupResource) -> bool {
    *resource.group == *"apiextensions.k8s.io" && *resource.resource == *"customresourcedefinitions"
}

fn has(object: &Object, finalizer: &str) -> bool {
    object.meta.finalizers.iter().any(|f| **f == *finalizer)
}

/// Whether the object itself waits for the collector.
fn is_work(object: &Object) -> bool {
    object.meta.deleted_at.is_some() && (has(object, ORPHAN) || has(object, FOREGROUND))
}

/// Whether an object waits for its dependents to go.
fn waits(object: &Object) -> bool {
    object.meta.deleted_at.is_some() && has(object, FOREGROUND)
}

/// Whether an owner waits for a dependent.
fn blocks(dependent: &Object, owner: &Object) -> bool {
    let owners = dependent.meta.owners.iter();
    owners.filter(|o| o.uid == owner.meta.uid).any(|o| o.block_owner_deletion)
}

/// The dependents that an object waits for and that wait themselves.
fn waited_for(object: &Object, dependents: &[Arc<Object>]) -> Vec<Arc<Object>> {
    let found = dependents.iter().filter(|dependent| waits(dependent) && blocks(dependent, object));
    found.cloned().collect()
}

/// Where the owner of an object is stored; `None` when its kind is unknown, or namespaced while the object is not.
fn key_of(owner: &OwnerReference, dependent: &Key, catalog: &Catalog) -> Option<Key> {
    let version = GroupVersion::parse(&owner.api_version)?;
    let kind = Gvk::new(version.group, version.version, &*owner.kind);
    let resource = catalog.by_kind(&kind)?;
    if resource.namespaced && dependent.namespace.is_empty() {
        return None;
    }
    let namespace: Arc<str> =
        if resource.namespaced { Arc::clone(&dependent.namespace) } else { "".into() };
    Some(Key::new(resource.group_resource(), namespace, &*owner.name))
}

/// The owner references anew, without those that are not kept.
fn with_owners(object: &Object, keep: impl Fn(usize) -> bool) -> Value {
    let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
    let owners = value["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    let kept: Vec<Value> =
        owners.into_iter().enumerate().filter(|(place, _)| keep(*place)).map(|(_, o)| o).collect();
    let kept = if kept.is_empty() { Value::Null } else { Value::Array(kept) };
    json!({"metadata": {"ownerReferences": kept}})
}

/// No owner waits for the object any longer; answers whether that was taken.
fn unblock_owners(object: &Object, batch: &mut Batch) -> bool {
    if !object.meta.owners.iter().any(|owner| owner.block_owner_deletion) {
        return true;
    }
    let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
    let mut owners = value["metadata"]["ownerReferences"].clone();
    for owner in owners.as_array_mut().into_iter().flatten() {
        if owner["blockOwnerDeletion"] == true {
            owner["blockOwnerDeletion"] = false.into();
        }
    }
    batch.patch(object, json!({"metadata": {"ownerReferences": owners}}))
}

fn drop_finalizer(object: &Object, finalizer: &str, batch: &mut Batch) {
    let kept = object.meta.finalizers.iter().filter(|f| ***f != *finalizer);
    let kept: Vec<&str> = kept.map(AsRef::as_ref).collect();
    batch.patch(object, json!({"metadata": {"finalizers": kept}}));
}

#[cfg(test)]
mod tests {
    use quadrille_store::ChangeFilter;

    use super::*;
    use crate::testing::{Host, map_key};

    #[tokio::test]
    async fn what_waits_for_its_owners_kind_is_forgotten_when_it_goes() {
        let host = Host::new(false).await;
        let ghost =
            json!({"apiVersion": "example.com/v1", "kind": "Ghost", "name": "g", "uid": "u"});
        host.map("owned", json!({"metadata": {"ownerReferences": [ghost]}})).await;
        let (store, catalog) = (host.registry.store(), host.registry.catalog());
        let snapshot = store.snapshot();
        let mut collector = Collector::of(&snapshot, &catalog);
        collector.work(&mut Batch::new(&host.runtime.shared, 512, None), &Refused::default());
        assert!(collector.unjudged.contains(&map_key("owned")));
        host.delete(&host.maps(), &map_key("owned"), None).await;
        let mut changes = store.changes(ChangeFilter::default(), snapshot.revision());
        let batch = changes.try_next().expect("kept").expect("a deletion");
        batch.changes.iter().for_each(|change| collector.look_at(change, &catalog));
        assert!(collector.unjudged.is_empty());
    }
}
