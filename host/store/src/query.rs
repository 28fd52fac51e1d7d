//! What can be read, and what was read: the same ranges serve a list, a read set and a wake index.

use std::fmt;
use std::sync::Arc;

use quadrille_object::{GroupResource, selector::LabelSelector};

use crate::key::{Key, Revision};
use crate::snapshot::Object;

/// Which objects of a namespace (or of all) are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    /// All of them.
    All,
    /// Those whose labels match.
    Labels(LabelSelector),
    /// Those with an owner reference to this uid.
    Owner(Arc<str>),
    /// Those with one of these names.
    Names(Vec<Arc<str>>),
}

/// A set of objects of one resource, including those that do not exist yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The resource.
    pub resource: GroupResource,
    /// Only this namespace; `None` for all of them.
    pub namespace: Option<Arc<str>>,
    /// Which of them.
    pub selection: Selection,
}

impl Range {
    /// All objects of a resource in all namespaces.
    pub fn all(resource: GroupResource) -> Self {
        Self { resource, namespace: None, selection: Selection::All }
    }

    /// How much it takes to tell whether an object lies in it, against one that is all of a resource.
    pub fn effort(&self) -> usize {
        match &self.selection {
            Selection::All | Selection::Owner(_) => 1,
            Selection::Labels(selector) => 1 + selector.values(),
            Selection::Names(names) => 1 + names.len(),
        }
    }

    /// Whether `object` lies in the range.
    pub fn contains(&self, object: &Object) -> bool {
        self.resource == object.key.resource
            && self.namespace.as_ref().is_none_or(|ns| *ns == object.key.namespace)
            && match &self.selection {
                Selection::All => true,
                Selection::Labels(selector) => selector.matches(&object.meta),
                Selection::Owner(uid) => object.meta.owners.iter().any(|o| o.uid == *uid),
                Selection::Names(names) => names.contains(&object.key.name),
            }
    }
}

/// A range, page by page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which objects.
    pub range: Range,
    /// Only those after this (namespace, name), in key order.
    pub after: Option<(Arc<str>, Arc<str>)>,
    /// At most this many; `None` for all.
    pub limit: Option<usize>,
}

impl Query {
    /// The whole of a range.
    pub fn whole(range: Range) -> Self {
        Self { range, after: None, limit: None }
    }
}

/// Everything a run read: checked at commit, and what wakes it afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSet {
    /// The snapshot that was read.
    pub at: Revision,
    /// Single objects, whether they existed or not; sorted, no duplicates.
    pub keys: Vec<Key>,
    /// Sets of objects; no duplicates.
    pub ranges: Vec<Range>,
    /// Sets of objects that were read weakly: they wake as the others do, and nothing of them is checked at commit.
    /// None of them is in `ranges`; no duplicates.
    pub weak: Vec<Range>,
}

impl ReadSet {
    /// Whether a change from `before` to `after` of the object at `key` touches what is checked at commit.
    pub fn touches(&self, key: &Key, before: Option<&Object>, after: Option<&Object>) -> bool {
        self.keys.binary_search(key).is_ok()
            || self.ranges.iter().any(|range| {
                before.is_some_and(|object| range.contains(object))
                    || after.is_some_and(|object| range.contains(object))
            })
    }
}

/// A consistent view of all objects: a snapshot, or a run's overlay on one.
pub trait View: fmt::Debug + Send + Sync {
    /// The newest revision that the view contains.
    fn revision(&self) -> Revision;

    /// One object.
    fn get(&self, key: &Key) -> Option<Arc<Object>>;

    /// The objects of a query, in key order (namespace, then name).
    fn list(&self, query: &Query) -> Vec<Arc<Object>>;
}
