//! What a change follows from: the changes that woke its run, those that woke theirs, and so on.

use std::collections::{BTreeMap, VecDeque};

use quadrille_store::{Cause, Change, Revision};

use super::{Detector, is_update};

/// How many changes are looked at on the way back. A run has at most a few dozen wakes, and a round of a fight is a few
/// steps long.
const VISITED_MAX: usize = 256;
/// How many earlier updates of the same object are told: enough to judge, and some more.
const OF_OBJECT_MAX: usize = 12;

/// The changes that one follows from, as far as they are remembered.
#[derive(Debug)]
pub(super) struct Ancestry {
    from: Revision,
    /// From a change to the one that follows from it, nearest first.
    next: BTreeMap<Revision, Revision>,
    /// Updates of the same object by runs, newest first.
    pub(super) of_object: Vec<Revision>,
    /// The newest change among them in which the outside had a hand: a request, a timer, a resync. 0 for none.
    pub(super) outside: Revision,
}

impl Ancestry {
    /// The changes from the one that was asked about back to one that it follows from, newest first, without the last.
    pub(super) fn way_to(&self, ancestor: Revision) -> Vec<Revision> {
        let mut way = Vec::new();
        let mut at = ancestor;
        // Each step leads to a newer change, so that this ends.
        while let Some(next) = self.next.get(&at).filter(|next| **next > at) {
            way.push(*next);
            at = *next;
        }
        debug_assert!(way.last().is_none_or(|last| *last == self.from), "the way leads there");
        way.reverse();
        way
    }
}

impl Detector {
    pub(super) fn ancestry(&self, change: &Change) -> Ancestry {
        let from = change.revision;
        let (mut next, mut of_object) = (BTreeMap::new(), Vec::new());
        let mut outside = Revision::default();
        let mut open = VecDeque::from([from]);
        while let Some(revision) = open.pop_front() {
            let Some(at) = self.at(revision) else { continue };
            if revision != from && is_update(at) && at.key() == change.key() {
                of_object.push(revision);
            }
            if is_from_outside(at) {
                outside = outside.max(revision);
            }
            for woke in causes(at) {
                // A change follows from earlier ones only; whatever says otherwise is not followed.
                if *woke < revision && next.len() < VISITED_MAX && !next.contains_key(woke) {
                    next.insert(*woke, revision);
                    open.push_back(*woke);
                }
            }
        }
        of_object.sort_unstable_by(|a, b| b.cmp(a));
        of_object.truncate(OF_OBJECT_MAX);
        Ancestry { from, next, of_object, outside }
    }
}

fn is_from_outside(change: &Change) -> bool {
    match change.cause.as_ref() {
        Cause::Request(_) => true,
        Cause::Run(run) => run.occasion.is_some(),
        Cause::System(_) => false,
    }
}

fn causes(change: &Change) -> &[Revision] {
    match change.cause.as_ref() {
        Cause::Run(run) => &run.woken_by,
        Cause::System(system) => &system.because,
        Cause::Request(_) => &[],
    }
}
