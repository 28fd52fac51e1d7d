//! A copy of the whole store, kept from its changes: what a client's cache is, and what the witness knows.
//!
//! It is a view as the store's own snapshots are, so that the same question can be asked of both.

use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_store::{Change, Key, Object, Query, Range, Revision, Snapshot, View};

use crate::witness::weight;

/// All objects at one revision, with a sum over them.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    revision: u64,
    objects: BTreeMap<Key, Arc<Object>>,
    by_uid: BTreeMap<Arc<str>, Key>,
    sum: u64,
}

impl Cache {
    /// What a snapshot holds.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut this = Self { revision: snapshot.revision().0, ..Self::default() };
        let resources = snapshot.resources();
        let all = resources.flat_map(|of| snapshot.list(&Query::whole(Range::all(of.clone()))));
        for object in all {
            this.put(&object);
        }
        this
    }

    /// Follows a change; answers the state before it.
    pub fn apply(&mut self, change: &Change) -> Option<Arc<Object>> {
        self.revision = change.revision.0;
        let before = self.take(change.key());
        if let Some(after) = change.after() {
            self.put(after);
        }
        before
    }

    /// It holds all that was up to here, though nothing changed there.
    pub fn reach(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    fn put(&mut self, object: &Arc<Object>) {
        self.sum = self.sum.wrapping_add(weight(object));
        self.by_uid.insert(Arc::clone(&object.meta.uid), object.key.clone());
        self.objects.insert(object.key.clone(), Arc::clone(object));
    }

    fn take(&mut self, key: &Key) -> Option<Arc<Object>> {
        let before = self.objects.remove(key)?;
        self.sum = self.sum.wrapping_sub(weight(&before));
        self.by_uid.remove(&before.meta.uid);
        Some(before)
    }

    /// A sum over everything, in any order.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// All objects, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// The object with a uid.
    pub fn with_uid(&self, uid: &str) -> Option<&Arc<Object>> {
        self.objects.get(self.by_uid.get(uid)?)
    }
}

impl View for Cache {
    fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.objects.get(key).cloned()
    }

    fn list(&self, query: &Query) -> Vec<Arc<Object>> {
        let resource = &query.range.resource;
        let first = Key::new(resource.clone(), "", "");
        let of_it = self.objects.range(first..).map(|(_, object)| object);
        let of_it = of_it.take_while(|object| object.key.resource == *resource);
        let after = |object: &Object| {
            let place = (Arc::clone(&object.key.namespace), Arc::clone(&object.key.name));
            query.after.as_ref().is_none_or(|after| place > *after)
        };
        let found = of_it.filter(|object| query.range.contains(object) && after(object));
        found.take(query.limit.unwrap_or(usize::MAX)).cloned().collect()
    }
}
