//! What one of the host's own parts is still to look at, and the changes that led there.

use std::collections::BTreeMap;

use quadrille_store::Revision;

use super::batch::Batch;
use crate::wakes::LISTED_MAX;

/// The changes that led to a piece of work, ascending; revision 0 stands for whatever was there at the start.
pub(super) type Causes = Vec<Revision>;

/// How many things are looked at for one transaction, whether they lead to a write or not.
const LOOKED_MAX: usize = 512;

/// Things to look at, each once, in their order.
#[derive(Debug)]
pub(super) struct Pending<K> {
    things: BTreeMap<K, Causes>,
    /// How many things each change led to.
    causes: BTreeMap<Revision, usize>,
    /// What was looked at for the transaction that is being made.
    in_hand: Vec<(K, Causes)>,
}

impl<K> Default for Pending<K> {
    fn default() -> Self {
        Self { things: BTreeMap::new(), causes: BTreeMap::new(), in_hand: Vec::new() }
    }
}

impl<K: Ord + Clone> Pending<K> {
    /// Adds a thing because of a change.
    pub(super) fn insert(&mut self, thing: K, cause: Revision) {
        let causes = self.things.entry(thing).or_default();
        if let Err(place) = causes.binary_search(&cause)
            && causes.len() < LISTED_MAX
        {
            causes.insert(place, cause);
            *self.causes.entry(cause).or_default() += 1;
        }
    }

    /// Adds a thing because of all these changes.
    pub(super) fn insert_all(&mut self, thing: &K, causes: &[Revision]) {
        for cause in causes {
            self.insert(thing.clone(), *cause);
        }
    }

    /// Takes the first thing out.
    pub(super) fn pop_first(&mut self) -> Option<(K, Causes)> {
        let (thing, causes) = self.things.pop_first()?;
        self.forget(&causes);
        Some((thing, causes))
    }

    /// Takes the first thing in hand, when it still goes into the batch; what is written next is written because of it.
    pub(super) fn take(&mut self, batch: &mut Batch) -> Option<(K, Causes)> {
        let (_, causes) = self.things.first_key_value()?;
        if self.in_hand.len() >= LOOKED_MAX || !batch.fits(causes) {
            return None;
        }
        let (thing, causes) = self.pop_first()?;
        batch.act_on(&causes);
        self.in_hand.push((thing.clone(), causes.clone()));
        Some((thing, causes))
    }

    /// What is in hand was done.
    pub(super) fn settle(&mut self) {
        self.in_hand.clear();
    }

    /// What is in hand was not done: it is to be looked at again.
    pub(super) fn retry(&mut self) {
        for (thing, causes) in std::mem::take(&mut self.in_hand) {
            self.insert_all(&thing, &causes);
        }
    }

    /// Takes out what was taken in hand last, and cannot be done. The rest is done.
    pub(super) fn give_up(&mut self) -> Option<K> {
        let (thing, _) = self.in_hand.pop()?;
        self.in_hand.clear();
        self.remove(&thing);
        Some(thing)
    }

    pub(super) fn remove(&mut self, thing: &K) {
        if let Some(causes) = self.things.remove(thing) {
            self.forget(&causes);
        }
    }

    fn forget(&mut self, causes: &[Revision]) {
        for cause in causes {
            if let Some(count) = self.causes.get_mut(cause) {
                *count -= 1;
                if *count == 0 {
                    self.causes.remove(cause);
                }
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.things.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    /// How many changes led to one thing at most, but for this one.
    #[cfg(test)]
    pub(super) fn most_causes(&self, but: &K) -> usize {
        let others = self.things.iter().filter(|(thing, _)| *thing != but);
        others.map(|(_, causes)| causes.len()).max().unwrap_or_default()
    }

    /// The changes that led to all of them.
    pub(super) fn causes(&self) -> impl Iterator<Item = Revision> {
        self.causes.keys().copied()
    }
}
