//! The state of the store at an earlier revision, for lists that go on where they began.
//!
//! Snapshots share their structure with the newest one, so the last few that a paged list began with are kept
//! for a while. For any other revision the state is worked out from the newest snapshot by taking the changes
//! of history back, as far as history reaches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quadrille_object::GroupResource;
use quadrille_registry::{Reason, Status};
use quadrille_store::{
    ChangeFilter, ChangeKind, ChangesError, Key, Object, Query, Range, Revision, Selection,
    Snapshot, Store, View,
};

/// How many snapshots are kept: clients that page at the same time beyond it work from history.
const SNAPSHOTS_MAX: usize = 16;
/// How long a snapshot is kept: etcd's default compaction interval, which clients are used to.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_mins(5);

/// The snapshots that paged lists began with.
#[derive(Debug, Default)]
pub(crate) struct Past {
    kept: Mutex<VecDeque<(Duration, Snapshot)>>,
}

/// Where a list reads.
#[derive(Debug)]
pub(crate) enum PastView {
    /// A snapshot.
    Snapshot(Snapshot),
    /// The objects of one resource at an earlier revision, in key order.
    Rebuilt(Revision, Vec<Arc<Object>>),
}

impl PastView {
    pub(crate) fn revision(&self) -> Revision {
        match self {
            Self::Snapshot(snapshot) => snapshot.revision(),
            Self::Rebuilt(revision, _) => *revision,
        }
    }

    /// The objects of a query, in key order.
    pub(crate) fn list(&self, query: &Query) -> Vec<Arc<Object>> {
        match self {
            Self::Snapshot(snapshot) => snapshot.list(query),
            Self::Rebuilt(_, objects) => {
                let after = |object: &&Arc<Object>| {
                    query.after.as_ref().is_none_or(|(namespace, name)| {
                        (&object.key.namespace, &object.key.name) > (namespace, name)
                    })
                };
                let found = objects.iter().filter(after).filter(|o| query.range.contains(o));
                found.take(query.limit.unwrap_or(usize::MAX)).cloned().collect()
            }
        }
    }
}

impl Past {
    /// Keeps a snapshot that a paged list began with.
    pub(crate) fn keep(&self, now: Duration, snapshot: &Snapshot) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.front().is_some_and(|(at, _)| now.saturating_sub(*at) > SNAPSHOT_AGE_MAX) {
            kept.pop_front();
        }
        if kept.iter().any(|(_, known)| known.revision() == snapshot.revision()) {
            return;
        }
        if kept.len() >= SNAPSHOTS_MAX {
            kept.pop_front();
        }
        kept.push_back((now, snapshot.clone()));
    }

    /// The state of a resource at a revision.
    ///
    /// # Errors
    /// 410 when history no longer reaches it.
    pub(crate) fn at(
        &self,
        store: &Store,
        revision: Revision,
        resource: &GroupResource,
    ) -> Result<PastView, Status> {
        let newest = store.snapshot();
        if revision >= newest.revision() {
            return Ok(PastView::Snapshot(newest));
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().find(|(_, known)| known.revision() == revision);
        if let Some((_, snapshot)) = known {
            return Ok(PastView::Snapshot(snapshot.clone()));
        }
        drop(kept);
        rebuild(store, &newest, revision, resource)
    }
}

/// The 410 for a resourceVersion that history does not reach.
pub(crate) fn expired(revision: Revision, oldest: Revision) -> Status {
    let message = format!("too old resource version: {revision} ({oldest})");
    Status::new(Reason::Expired, message)
}

fn rebuild(
    store: &Store,
    newest: &Snapshot,
    revision: Revision,
    resource: &GroupResource,
) -> Result<PastView, Status> {
    if revision < store.oldest() {
        return Err(expired(revision, store.oldest()));
    }
    let mut objects: BTreeMap<Key, Arc<Object>> = newest
        .list(&Query::whole(Range {
            resource: resource.clone(),
            namespace: None,
            selection: Selection::All,
        }))
        .into_iter()
        .map(|object| (object.key.clone(), object))
        .collect();
    // The first change after `revision` says what each key held then.
    let mut seen: BTreeMap<Key, Option<Arc<Object>>> = BTreeMap::new();
    let filter = ChangeFilter { resource: Some(resource.clone()) };
    let mut changes = store.changes(filter, revision);
    while changes.position() < newest.revision() {
        let batch = match changes.try_next() {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(ChangesError::Expired { oldest }) => return Err(expired(revision, oldest)),
            Err(error @ (ChangesError::Closed | ChangesError::Unavailable(_))) => {
                return Err(Status::new(Reason::ServiceUnavailable, error.to_string()));
            }
        };
        for change in batch.changes.iter().filter(|c| c.revision <= newest.revision()) {
            if change.before.is_none() && change.kind != ChangeKind::Created {
                return Err(expired(revision, store.oldest()));
            }
            seen.entry(change.key().clone()).or_insert_with(|| change.before.clone());
        }
    }
    for (key, before) in seen {
        match before {
            Some(object) => objects.insert(key, object),
            None => objects.remove(&key),
        };
    }
    Ok(PastView::Rebuilt(revision, objects.into_values().collect()))
}
