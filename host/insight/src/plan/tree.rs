//! Which writes of a fork follow from the planned change, and from which write each.
//!
//! A change names what it follows from ([`Cause`]); where it does not (a timer, a part of the host), it follows from
//! the last change of the object that its run was for, of its owners, or of its namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quadrille_object::{GroupResource, Timestamp};
use quadrille_store::{Cause, Change, ChangeKind, Key, Revision, RunCause};

use super::Done;
use crate::why::{Step, parse_key, told_cause};

#[derive(Debug)]
struct Node {
    change: Arc<Change>,
    because: Vec<Revision>,
}

/// The writes that follow, by revision.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<Revision, Node>,
    /// The last write of each object and of each uid so far.
    by_key: BTreeMap<Key, Revision>,
    by_uid: BTreeMap<Arc<str>, Revision>,
}

impl Tree {
    pub(crate) fn of(changes: &[Arc<Change>], done: &Done) -> Self {
        let mut tree = Self::default();
        for change in changes {
            let at = change.revision;
            let is_act = done.ranges.iter().any(|(after, last)| *after < at && at <= *last);
            let because = tree.because(change, done);
            if is_act || !because.is_empty() {
                tree.add(change, because);
            }
        }
        tree
    }

    fn add(&mut self, change: &Arc<Change>, because: Vec<Revision>) {
        self.by_key.insert(change.key().clone(), change.revision);
        self.by_uid.insert(Arc::clone(&change.object.meta.uid), change.revision);
        let node = Node { change: Arc::clone(change), because };
        self.nodes.insert(change.revision, node);
    }

    fn because(&self, change: &Change, done: &Done) -> Vec<Revision> {
        match &*change.cause {
            Cause::Request(_) => Vec::new(),
            Cause::Run(run) => self.because_of_run(run, done),
            Cause::System(system) => {
                // A batch of the host names all that it acted on; owner and namespace are nearer.
                let near = self.near(change);
                if near.is_empty() { self.known(&system.because) } else { near }
            }
        }
    }

    fn because_of_run(&self, run: &RunCause, done: &Done) -> Vec<Revision> {
        let mut named = self.known(&run.woken_by);
        named.extend(self.known(&run.origin));
        if !named.is_empty() {
            return named;
        }
        let own = parse_key(&run.object).and_then(|key| self.by_key.get(&key).copied());
        let own = own.filter(|own| *own <= run.snapshot);
        let swap = || {
            let swapped = done.swapped.get(run.plugin.as_str()).copied();
            swapped.filter(|_| run.occasion.is_some())
        };
        own.or_else(swap).into_iter().collect()
    }

    fn known(&self, because: &[Revision]) -> Vec<Revision> {
        because.iter().copied().filter(|revision| self.nodes.contains_key(revision)).collect()
    }

    fn near(&self, change: &Change) -> Vec<Revision> {
        let meta = change.before.as_ref().map_or(&change.object.meta, |before| &before.meta);
        let owners: BTreeSet<Revision> =
            meta.owners.iter().filter_map(|o| self.by_uid.get(&o.uid).copied()).collect();
        if !owners.is_empty() {
            return owners.into_iter().collect();
        }
        let key = change.key();
        let namespace = match &*key.namespace {
            "" => key.clone(),
            namespace => Key::new(GroupResource::new("", "namespaces"), "", namespace),
        };
        self.by_key.get(&namespace).copied().into_iter().collect()
    }

    /// How many writes follow.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The objects that are written, by their names.
    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        self.by_key.keys().cloned().collect()
    }

    /// The writes, each behind the one that it follows from.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut below: BTreeMap<Option<Revision>, Vec<Revision>> = BTreeMap::new();
        for (revision, node) in &self.nodes {
            let parent = node.because.iter().max().copied();
            below.entry(parent).or_default().push(*revision);
        }
        let children = |of: Option<Revision>| below.get(&of).into_iter().flatten().rev().copied();
        let mut open: Vec<(usize, Revision)> = children(None).map(|root| (0, root)).collect();
        let mut steps = Vec::with_capacity(self.nodes.len());
        while let Some((depth, revision)) = open.pop() {
            open.extend(children(Some(revision)).map(|child| (depth + 1, child)));
            if let Some(node) = self.nodes.get(&revision) {
                steps.push(step(depth, node));
            }
        }
        steps
    }
}

fn step(depth: usize, node: &Node) -> Step {
    let change = &node.change;
    Step {
        depth,
        revision: change.revision,
        object: change.key().to_string(),
        change: match change.kind {
            ChangeKind::Created => "created",
            ChangeKind::Updated => "updated",
            ChangeKind::Deleted => "deleted",
        },
        at: Timestamp::to_rfc3339_micros(change.at),
        cause: told_cause(&change.cause),
        because: node.because.clone(),
        field: None,
    }
}
