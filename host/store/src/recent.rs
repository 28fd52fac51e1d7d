//! The changes still in memory, in order: one feed for all of them and one per resource.
//!
//! It answers two questions without a disk: which changes come after a revision (streams), and whether any of
//! them touches a read set (the committer). For the second, each feed knows the last change per namespace and
//! per owner, so that a run that read a quiet corner is checked in a few look-ups however busy the rest is.
//!
//! Bounds: changes and bytes (`Limits`); at the bound the oldest change is dropped, and what asks below a
//! feed's floor is sent to the log.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use quadrille_object::GroupResource;

use crate::change::Change;
use crate::key::{Key, Revision};
use crate::query::{Range, ReadSet, Selection};
use crate::snapshot::Object;
use crate::txn::Conflict;

/// The most effort that holding changes against the ranges of a read set may take, in comparisons: some 50 ms, in which
/// nobody else commits. Beyond it the read set counts as too old.
pub const EFFORT_MAX: usize = 2_000_000;

/// How much to keep in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) changes_max: usize,
    pub(crate) bytes_max: usize,
}

/// The recent changes.
#[derive(Debug)]
pub(crate) struct Recent {
    limits: Limits,
    newest: Revision,
    bytes: usize,
    all: Feed,
    feeds: BTreeMap<GroupResource, Feed>,
}

/// The recent changes of one resource, or of all. The maps are only looked up in, never walked.
#[derive(Debug, Default)]
struct Feed {
    changes: VecDeque<Arc<Change>>,
    /// Every change of the feed after this revision is here.
    floor: Revision,
    namespaces: HashMap<Arc<str>, Revision>,
    owners: HashMap<Arc<str>, Revision>,
}

impl Recent {
    /// No changes; those up to `newest` are known to the log only.
    pub(crate) fn new(limits: Limits, newest: Revision) -> Self {
        let all = Feed { floor: newest, ..Feed::default() };
        Self { limits, newest, bytes: 0, all, feeds: BTreeMap::new() }
    }

    pub(crate) fn newest(&self) -> Revision {
        self.newest
    }

    pub(crate) fn push(&mut self, change: &Arc<Change>) {
        self.newest = change.revision;
        self.bytes += change.object.bytes.len();
        self.all.changes.push_back(Arc::clone(change));
        let floor = self.all.floor;
        if let Some(feed) = self.feeds.get_mut(&change.key().resource) {
            feed.push(change);
        } else {
            let mut feed = Feed { floor, ..Feed::default() };
            feed.push(change);
            self.feeds.insert(change.key().resource.clone(), feed);
        }
        while self.all.changes.len() > self.limits.changes_max || self.bytes > self.limits.bytes_max
        {
            if !self.drop_oldest() {
                break;
            }
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(change) = self.all.changes.pop_front() else { return false };
        self.all.floor = change.revision;
        self.bytes -= change.object.bytes.len();
        if let Some(feed) = self.feeds.get_mut(&change.key().resource) {
            feed.drop_oldest(&change);
        }
        true
    }

    /// Forgets the resources without a change in memory that nobody listens to: there may be new ones for ever. For those
    /// it keeps, memory goes on reaching back to their own floor, which may be far below that of all.
    pub(crate) fn forget_quiet(&mut self, is_heard: impl Fn(&GroupResource) -> bool) {
        self.feeds.retain(|resource, feed| !feed.changes.is_empty() || is_heard(resource));
    }

    /// The changes after a revision, of one resource or of all, and up to where that is all of them; `None`
    /// when memory does not reach back that far. A transaction is never split.
    pub(crate) fn after(
        &self,
        resource: Option<&GroupResource>,
        after: Revision,
        changes_max: usize,
    ) -> Option<(Vec<Arc<Change>>, Revision)> {
        let feed = match resource {
            None => Some(&self.all),
            Some(resource) => self.feeds.get(resource),
        };
        let Some(feed) = feed else {
            return (after >= self.all.floor).then(|| (Vec::new(), self.newest));
        };
        if after < feed.floor {
            return None;
        }
        let mut found: Vec<Arc<Change>> = Vec::new();
        for change in feed.after(after) {
            let last = found.last().map(|last| last.txn.1);
            if found.len() >= changes_max && last.is_some_and(|last| change.revision > last) {
                return Some((found, last.unwrap_or(after)));
            }
            found.push(Arc::clone(change));
        }
        Some((found, self.newest))
    }

    /// One change, when it is still here.
    pub(crate) fn get(&self, revision: Revision) -> Option<&Arc<Change>> {
        let first = self.all.changes.front()?.revision;
        let at = usize::try_from(revision.0.checked_sub(first.0)?).ok()?;
        self.all.changes.get(at)
    }

    /// The first change found after `reads.at` that touches one of the ranges read.
    pub(crate) fn touched(&self, reads: &ReadSet) -> Option<Conflict> {
        let mut unnamed = reads.ranges.iter().filter(|range| !is_named(range));
        let mut effort = EFFORT_MAX;
        unnamed.find_map(|range| self.range_touched(range, reads.at, &mut effort))
    }

    fn range_touched(&self, range: &Range, at: Revision, left: &mut usize) -> Option<Conflict> {
        let Some(feed) = self.feeds.get(&range.resource) else {
            return (at < self.all.floor).then_some(Conflict::TooOld);
        };
        if at < feed.floor {
            return Some(Conflict::TooOld);
        }
        if !feed.may_touch(range, at) {
            return None;
        }
        let Some(rest) = left.checked_sub(feed.after(at).len().saturating_mul(range.effort()))
        else {
            return Some(Conflict::TooOld);
        };
        *left = rest;
        let holds = |object: &Arc<Object>| range.contains(object);
        let change = feed.after(at).find(|change| {
            change.before.as_ref().is_some_and(holds) || change.after().is_some_and(holds)
        })?;
        Some(Conflict::Read { key: change.key().clone(), revision: change.revision })
    }
}

impl Feed {
    fn push(&mut self, change: &Arc<Change>) {
        let namespace = Arc::clone(&change.key().namespace);
        self.namespaces.insert(namespace, change.revision);
        for uid in owners(change) {
            self.owners.insert(Arc::clone(uid), change.revision);
        }
        self.changes.push_back(Arc::clone(change));
    }

    fn drop_oldest(&mut self, change: &Change) {
        self.changes.pop_front();
        self.floor = change.revision;
        let last = |found: Option<&Revision>| found == Some(&change.revision);
        if last(self.namespaces.get(&change.key().namespace)) {
            self.namespaces.remove(&change.key().namespace);
        }
        for uid in owners(change) {
            if last(self.owners.get(uid)) {
                self.owners.remove(uid);
            }
        }
    }

    fn after(&self, revision: Revision) -> impl ExactSizeIterator<Item = &Arc<Change>> {
        let start = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.range(start..)
    }

    /// False when nothing in the range's namespace, or of its owner, has changed since.
    fn may_touch(&self, range: &Range, at: Revision) -> bool {
        let since = |last: Option<&Revision>| last.is_some_and(|last| *last > at);
        range.namespace.as_ref().is_none_or(|ns| since(self.namespaces.get(ns)))
            && match &range.selection {
                Selection::Owner(uid) => since(self.owners.get(uid)),
                Selection::All | Selection::Labels(_) | Selection::Names(_) => true,
            }
    }
}

fn owners(change: &Change) -> impl Iterator<Item = &Arc<str>> {
    let before = change.before.iter().flat_map(|object| object.meta.owners.iter());
    before.chain(change.object.meta.owners.iter()).map(|owner| &owner.uid)
}

/// Whether a range is nothing but single keys, which [`keys_read`] gives.
fn is_named(range: &Range) -> bool {
    range.namespace.is_some() && matches!(range.selection, Selection::Names(_))
}

/// The single keys that a read set names: its keys, and names in a given namespace.
pub(crate) fn keys_read(reads: &ReadSet) -> impl Iterator<Item = Key> {
    let named =
        reads.ranges.iter().filter_map(|range| match (&range.namespace, &range.selection) {
            (Some(namespace), Selection::Names(names)) => Some((range, namespace, names)),
            _ => None,
        });
    let named = named.flat_map(|(range, namespace, names)| {
        names.iter().map(|name| Key {
            resource: range.resource.clone(),
            namespace: Arc::clone(namespace),
            name: Arc::clone(name),
        })
    });
    reads.keys.iter().cloned().chain(named)
}

#[cfg(test)]
mod tests;
