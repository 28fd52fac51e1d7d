//! Snapshots: all live objects at one revision, shared and immutable.
//!
//! The maps are persistent (structurally shared): a copy is a pointer, and the committer builds the next
//! snapshot beside the ones that are being read. Lists walk the maps in key order from where they start, so a
//! page costs what it returns, and owners and namespaces have indexes of their own.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use quadrille_object::{GroupResource, Meta};

use crate::key::{Key, Revision};
use crate::query::{Query, Selection, View};

/// One stored object: its bytes, encoded once, and its parsed envelope.
#[derive(Debug, PartialEq, Eq)]
pub struct Object {
    /// Where it is stored.
    pub key: Key,
    /// The revision of its last change; also inside `bytes` as `metadata.resourceVersion`.
    pub revision: Revision,
    /// The parsed envelope.
    pub meta: Meta,
    /// The whole object as JSON, in its storage version.
    pub bytes: Bytes,
}

/// Namespace and name: the order of lists.
type Place = (Arc<str>, Arc<str>);

/// All live objects at one revision. A copy costs one pointer.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    revision: Revision,
    resources: OrdMap<GroupResource, Objects>,
}

/// The objects of one resource.
#[derive(Clone, Debug, Default)]
struct Objects {
    places: OrdMap<Place, Arc<Object>>,
    /// (owner's uid, namespace, name).
    owned: OrdSet<(Arc<str>, Arc<str>, Arc<str>)>,
    /// How many objects each namespace has; never 0.
    namespaces: OrdMap<Arc<str>, usize>,
}

impl View for Snapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &Key) -> Option<Arc<Object>> {
        let objects = self.resources.get(&key.resource)?;
        objects.get(&key.namespace, &key.name).cloned()
    }

    fn list(&self, query: &Query) -> Vec<Arc<Object>> {
        let Some(objects) = self.resources.get(&query.range.resource) else { return Vec::new() };
        let limit = query.limit.unwrap_or(usize::MAX);
        match &query.range.selection {
            Selection::All => objects.from(query).take(limit).cloned().collect(),
            Selection::Labels(selector) => {
                let found = objects.from(query).filter(|object| selector.matches(&object.meta));
                found.take(limit).cloned().collect()
            }
            Selection::Owner(uid) => objects.owned_by(uid, query).take(limit).cloned().collect(),
            Selection::Names(names) => objects.named(names, query).take(limit).cloned().collect(),
        }
    }
}

impl Snapshot {
    /// A snapshot of these objects at a revision, as they are: for a case that was exported elsewhere.
    pub fn of(revision: Revision, objects: impl IntoIterator<Item = Object>) -> Self {
        let mut snapshot = Self { revision, ..Self::default() };
        for object in objects {
            snapshot.insert(&Arc::new(object));
        }
        snapshot
    }

    /// How many objects a resource has; in one namespace, or in all. Does not list them.
    pub fn count(&self, resource: &GroupResource, namespace: Option<&str>) -> usize {
        let Some(objects) = self.resources.get(resource) else { return 0 };
        match namespace {
            None => objects.places.len(),
            Some(namespace) => objects.namespaces.get(namespace).copied().unwrap_or(0),
        }
    }

    /// The resources that have objects.
    pub fn resources(&self) -> impl Iterator<Item = &GroupResource> {
        self.resources.keys()
    }

    /// The namespaces in which a resource has objects, in order; the empty one for cluster-scoped objects.
    pub fn namespaces(&self, resource: &GroupResource) -> impl Iterator<Item = &Arc<str>> {
        self.resources.get(resource).into_iter().flat_map(|objects| objects.namespaces.keys())
    }

    pub(crate) fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    pub(crate) fn find(&self, key: &Key) -> Option<&Arc<Object>> {
        self.resources.get(&key.resource)?.get(&key.namespace, &key.name)
    }

    /// `key` with the snapshot's own copies of its resource and namespace, so that each is in memory once.
    pub(crate) fn interned(&self, key: Key) -> Key {
        let Some((resource, objects)) = self.resources.get_key_value(&key.resource) else {
            return key;
        };
        let namespace = objects.namespaces.get_key_value(&key.namespace);
        let namespace = namespace.map_or(key.namespace, |(known, _)| Arc::clone(known));
        Key { resource: resource.clone(), namespace, name: key.name }
    }

    pub(crate) fn insert(&mut self, object: &Arc<Object>) {
        if let Some(objects) = self.resources.get_mut(&object.key.resource) {
            objects.insert(object);
        } else {
            let mut objects = Objects::default();
            objects.insert(object);
            self.resources.insert(object.key.resource.clone(), objects);
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        let Some(objects) = self.resources.get_mut(&key.resource) else { return };
        objects.remove(key);
        if objects.places.is_empty() {
            self.resources.remove(&key.resource);
        }
    }
}

impl Objects {
    fn get(&self, namespace: &Arc<str>, name: &Arc<str>) -> Option<&Arc<Object>> {
        self.places.get(&(Arc::clone(namespace), Arc::clone(name)))
    }

    fn insert(&mut self, object: &Arc<Object>) {
        let (namespace, name) = (&object.key.namespace, &object.key.name);
        let place = (Arc::clone(namespace), Arc::clone(name));
        let before = self.places.insert(place, Arc::clone(object));
        match before {
            Some(before) if before.meta.owners == object.meta.owners => {}
            Some(before) => {
                self.disown(&before);
                self.own(object);
            }
            None => {
                *self.namespaces.entry(Arc::clone(namespace)).or_insert(0) += 1;
                self.own(object);
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        let place = (Arc::clone(&key.namespace), Arc::clone(&key.name));
        let Some(before) = self.places.remove(&place) else { return };
        self.disown(&before);
        let left = self.namespaces.get(&key.namespace).map_or(0, |count| count - 1);
        if left == 0 {
            self.namespaces.remove(&key.namespace);
        } else {
            self.namespaces.insert(Arc::clone(&before.key.namespace), left);
        }
    }

    fn own(&mut self, object: &Object) {
        for owner in &object.meta.owners {
            self.owned.insert(owned_place(&owner.uid, object));
        }
    }

    fn disown(&mut self, object: &Object) {
        for owner in &object.meta.owners {
            self.owned.remove(&owned_place(&owner.uid, object));
        }
    }

    /// The objects of the query's namespace behind its start, in order.
    fn from(&self, query: &Query) -> impl Iterator<Item = &Arc<Object>> {
        let empty: Arc<str> = Arc::default();
        let namespace = query.range.namespace.clone();
        // The snapshot's own copy, which the keys share: then comparing is looking at the pointer.
        let known = namespace.as_ref().and_then(|ns| self.namespaces.get_key_value(ns));
        let namespace = known.map(|(known, _)| Arc::clone(known)).or(namespace);
        let first = (namespace.clone().unwrap_or_default(), empty);
        let start = match &query.after {
            Some(after) if *after >= first => Bound::Excluded(after.clone()),
            _ => Bound::Included(first),
        };
        let inside = move |place: &Place| namespace.as_ref().is_none_or(|ns| *ns == place.0);
        let found = self.places.range((start, Bound::Unbounded));
        found.take_while(move |(place, _)| inside(place)).map(|(_, object)| object)
    }

    fn owned_by(&self, uid: &Arc<str>, query: &Query) -> impl Iterator<Item = &Arc<Object>> {
        let (wanted, namespace) = (Arc::clone(uid), query.range.namespace.clone());
        let first = (namespace.clone().unwrap_or_default(), Arc::default());
        let start = match &query.after {
            Some(after) if *after >= first => {
                Bound::Excluded((Arc::clone(uid), Arc::clone(&after.0), Arc::clone(&after.1)))
            }
            _ => Bound::Included((Arc::clone(uid), first.0, first.1)),
        };
        let found = self.owned.range((start, Bound::Unbounded));
        found
            .take_while(move |(uid, ns, _)| {
                *uid == wanted && namespace.as_ref().is_none_or(|wanted| wanted == ns)
            })
            .filter_map(|(_, namespace, name)| self.get(namespace, name))
    }

    fn named(&self, names: &[Arc<str>], query: &Query) -> impl Iterator<Item = &Arc<Object>> {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        let namespaces: Vec<Arc<str>> = match &query.range.namespace {
            Some(namespace) => vec![Arc::clone(namespace)],
            None => self.namespaces.keys().cloned().collect(),
        };
        let after = query.after.clone();
        let places = namespaces.into_iter().flat_map(move |namespace| {
            let names = names.clone();
            names.into_iter().map(move |name| (Arc::clone(&namespace), name))
        });
        places
            .filter(move |place| after.as_ref().is_none_or(|after| place > after))
            .filter_map(|place| self.places.get(&place))
    }
}

fn owned_place(uid: &Arc<str>, object: &Object) -> (Arc<str>, Arc<str>, Arc<str>) {
    (Arc::clone(uid), Arc::clone(&object.key.namespace), Arc::clone(&object.key.name))
}

#[cfg(test)]
mod tests;
