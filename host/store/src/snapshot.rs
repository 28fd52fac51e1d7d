//! Snapshots: all live objects at one revision, shared and immutable.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
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

pub(crate) type ObjectMap = OrdMap<(Arc<str>, Arc<str>), Arc<Object>>;

/// All live objects at one revision. A copy costs one pointer.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) revision: Revision,
    pub(crate) resources: OrdMap<GroupResource, ObjectMap>,
}

impl View for Snapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &Key) -> Option<Arc<Object>> {
        let objects = self.resources.get(&key.resource)?;
        objects.get(&(Arc::clone(&key.namespace), Arc::clone(&key.name))).cloned()
    }

    fn list(&self, query: &Query) -> Vec<Arc<Object>> {
        let Some(objects) = self.resources.get(&query.range.resource) else { return Vec::new() };
        let found = objects
            .iter()
            .filter(|(at, _)| query.after.as_ref().is_none_or(|after| *at > after))
            .map(|(_, object)| object)
            .filter(|object| query.range.contains(object));
        found.take(query.limit.unwrap_or(usize::MAX)).cloned().collect()
    }
}

impl Snapshot {
    /// How many objects a resource has; in one namespace, or in all.
    pub fn count(&self, resource: &GroupResource, namespace: Option<&str>) -> usize {
        let Some(objects) = self.resources.get(resource) else { return 0 };
        let Some(namespace) = namespace else { return objects.len() };
        let range = crate::query::Range {
            resource: resource.clone(),
            namespace: Some(namespace.into()),
            selection: Selection::All,
        };
        self.list(&Query::whole(range)).len()
    }

    /// The resources that have objects.
    pub fn resources(&self) -> impl Iterator<Item = &GroupResource> {
        self.resources.keys()
    }
}
