//! Reads are subscriptions: which sleeping keys a change wakes.
//!
//! Every sleeping key keeps what its last run read as a few 64-bit interests, and an index leads from an interest
//! to the keys that have it. A change has few interests too (its key, its owners, its labels, its namespace, its
//! resource), so that finding the sleepers costs the same however many sleep. Interests are hashes: two that
//! collide wake a key for nothing, which is harmless. Ranges by labels are filed under one of their requirements
//! and checked in full before they wake.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use quadrille_object::GroupResource;
use quadrille_object::selector::{LabelSelector, Operator};
use quadrille_store::{Change, Key, Object, Range, ReadSet, Revision, Selection};

use crate::queue::FixedMap;

/// So many single objects of a namespace that a run read are waited for one by one; more are all of the namespace's.
const KEYS_APART_MAX: usize = 2_000;

/// So many values of a label are waited for one by one; more are the label's, and the range is checked.
const VALUES_APART_MAX: usize = 16;

/// A key asleep.
#[derive(Clone, Debug)]
struct Sleeper {
    controller: u32,
    key: Key,
    /// Changes up to here are known not to matter.
    seen: Revision,
    interests: Box<[u64]>,
    /// The ranges that an interest alone does not decide.
    ranges: Box<[Range]>,
    /// What was read weakly by a run that committed: unchanged since its snapshot only.
    weak: Option<Box<Weak>>,
}

/// Ranges that are known to be unchanged up to a snapshot, and not up to the commit.
#[derive(Clone, Debug)]
struct Weak {
    at: Revision,
    ranges: Box<[Range]>,
}

/// The sleepers with one interest; most have one.
#[derive(Clone, Debug)]
enum Holders {
    One(u32),
    Many(BTreeSet<u32>),
}

/// All sleeping keys and what they wait for.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    sleepers: Vec<Option<Sleeper>>,
    free: Vec<u32>,
    by_key: FixedMap<u64, u32>,
    by_interest: FixedMap<u64, Holders>,
    counts: FixedMap<u32, usize>,
    /// Which controllers have read of a resource.
    readers: FixedMap<GroupResource, BTreeSet<u32>>,
}

impl Subscriptions {
    /// Replaces what a key waits for; changes up to `seen` do not matter to it.
    pub fn replace(&mut self, controller: u32, key: &Key, reads: &ReadSet, seen: Revision) {
        let (interests, ranges) = interests_of(reads);
        let weak = Weak::of(reads, seen);
        let place = self.place_of(controller, key);
        if let Some(Some(old)) = self.sleepers.get(place as usize)
            && old.interests == interests
        {
            // Most runs read what the one before read: nothing moves in the index.
            if let Some(Some(sleeper)) = self.sleepers.get_mut(place as usize) {
                sleeper.seen = seen;
                sleeper.ranges = ranges;
                sleeper.weak = weak;
            }
            return;
        }
        self.note_reader(controller, reads);
        self.unfile(place);
        for interest in &interests {
            self.file(*interest, place);
        }
        let sleeper = Sleeper { controller, key: key.clone(), seen, interests, ranges, weak };
        if let Some(slot) = self.sleepers.get_mut(place as usize) {
            *slot = Some(sleeper);
        }
    }

    /// Forgets a key.
    pub fn remove(&mut self, controller: u32, key: &Key) {
        if let Some(place) = self.by_key.remove(&name_of(controller, key)) {
            self.unfile(place);
            if let Some(slot) = self.sleepers.get_mut(place as usize) {
                *slot = None;
            }
            self.free.push(place);
            if let Some(count) = self.counts.get_mut(&controller) {
                *count -= 1;
            }
        }
    }

    /// Forgets all keys of a controller.
    pub fn remove_controller(&mut self, controller: u32) {
        let of_it = |sleeper: &&Sleeper| sleeper.controller == controller;
        let keys: Vec<Key> =
            self.sleepers.iter().flatten().filter(of_it).map(|s| s.key.clone()).collect();
        for key in keys {
            self.remove(controller, &key);
        }
        self.counts.remove(&controller);
        self.readers.retain(|_, controllers| {
            controllers.remove(&controller);
            !controllers.is_empty()
        });
    }

    /// Whether any run of a controller that is still there has read of a resource.
    pub fn is_read(&self, resource: &GroupResource) -> bool {
        self.readers.contains_key(resource)
    }

    fn note_reader(&mut self, controller: u32, reads: &ReadSet) {
        let keys = reads.keys.iter().map(|key| &key.resource);
        let ranges = reads.ranges.iter().chain(&reads.weak).map(|range| &range.resource);
        // Keys are sorted, so that most follow one of the same resource.
        let mut last = None;
        for resource in keys.chain(ranges) {
            if last == Some(resource) {
                continue;
            }
            last = Some(resource);
            match self.readers.get_mut(resource) {
                Some(controllers) => {
                    controllers.insert(controller);
                }
                None => {
                    self.readers.insert(resource.clone(), BTreeSet::from([controller]));
                }
            }
        }
    }

    /// The keys that a change wakes, each once, in a fixed order.
    pub fn woken_by(&self, change: &Change) -> Vec<(u32, Key)> {
        let mut found = BTreeSet::new();
        for interest in interests_touched(change) {
            match self.by_interest.get(&interest) {
                None => {}
                Some(Holders::One(place)) => {
                    found.insert(*place);
                }
                Some(Holders::Many(places)) => found.extend(places),
            }
        }
        let sleeper = |place: u32| self.sleepers.get(place as usize).and_then(Option::as_ref);
        let found = found.into_iter().filter_map(sleeper);
        let woken = found.filter(|sleeper| sleeper.is_woken_by(change));
        woken.map(|sleeper| (sleeper.controller, sleeper.key.clone())).collect()
    }

    /// Up to where changes are known not to matter to a key; `None` when it never ran.
    pub fn seen(&self, controller: u32, key: &Key) -> Option<Revision> {
        let place = self.by_key.get(&name_of(controller, key))?;
        self.sleepers.get(*place as usize)?.as_ref().map(|sleeper| sleeper.seen)
    }

    /// How many keys sleep.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none sleeps.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// How many keys of a controller sleep.
    pub fn count(&self, controller: u32) -> usize {
        self.counts.get(&controller).copied().unwrap_or(0)
    }

    fn place_of(&mut self, controller: u32, key: &Key) -> u32 {
        let name = name_of(controller, key);
        if let Some(place) = self.by_key.get(&name) {
            return *place;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.sleepers.push(None);
            u32::try_from(self.sleepers.len() - 1).expect("objects fit in memory, so in 32 bits")
        });
        self.by_key.insert(name, place);
        *self.counts.entry(controller).or_default() += 1;
        place
    }

    fn file(&mut self, interest: u64, place: u32) {
        let holders = self.by_interest.entry(interest).or_insert(Holders::One(place));
        match holders {
            Holders::One(only) if *only == place => {}
            Holders::One(only) => *holders = Holders::Many(BTreeSet::from([*only, place])),
            Holders::Many(places) => {
                places.insert(place);
            }
        }
    }

    fn unfile(&mut self, place: u32) {
        let Some(Some(sleeper)) = self.sleepers.get_mut(place as usize) else { return };
        for interest in std::mem::take(&mut sleeper.interests) {
            let emptied = match self.by_interest.get_mut(&interest) {
                Some(Holders::Many(places)) => {
                    places.remove(&place);
                    places.is_empty()
                }
                Some(Holders::One(only)) => *only == place,
                None => false,
            };
            if emptied {
                self.by_interest.remove(&interest);
            }
        }
    }
}

impl Weak {
    fn of(reads: &ReadSet, seen: Revision) -> Option<Box<Self>> {
        let matters = !reads.weak.is_empty() && reads.at < seen;
        matters.then(|| Box::new(Self { at: reads.at, ranges: reads.weak.as_slice().into() }))
    }
}

impl Sleeper {
    fn is_woken_by(&self, change: &Change) -> bool {
        if change.revision > self.seen {
            return self.concerns(change);
        }
        // Between the snapshot and the commit; the transaction that ends with the commit is the run's own.
        self.weak.as_ref().is_some_and(|weak| {
            change.revision > weak.at
                && change.txn.1 != self.seen
                && weak.ranges.iter().any(|range| lies_in(range, change))
        })
    }

    /// Whether the change lies in what is filed by hash alone, or in a range that is checked in full.
    fn concerns(&self, change: &Change) -> bool {
        if self.ranges.is_empty() {
            return true;
        }
        let exact = interests_exact(change);
        exact.iter().any(|interest| self.interests.binary_search(interest).is_ok())
            || self.ranges.iter().any(|range| lies_in(range, change))
    }
}

/// Whether an object before or after the change lies in the range.
pub(crate) fn lies_in(range: &Range, change: &Change) -> bool {
    let holds = |object: &Object| range.contains(object);
    change.before.as_deref().is_some_and(holds)
        || change.after().map(AsRef::as_ref).is_some_and(holds)
        // A deletion from old history may lack the state before; its last state stands for it.
        || (change.before.is_none() && holds(&change.object))
}

/// The kinds of interests; the number is part of the hash.
#[derive(Hash)]
enum Interest<'a> {
    Key(&'a str, &'a str, &'a str, &'a str),
    Name(&'a str, &'a str, &'a str),
    Owner(&'a str, &'a str, Option<&'a str>, &'a str),
    Label(&'a str, &'a str, Option<&'a str>, &'a str, &'a str),
    LabelKey(&'a str, &'a str, Option<&'a str>, &'a str),
    /// A selector without a positive requirement.
    AnyLabels(&'a str, &'a str, Option<&'a str>),
    All(&'a str, &'a str, Option<&'a str>),
}

impl Interest<'_> {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }
}

fn name_of(controller: u32, key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    (controller, key).hash(&mut hasher);
    hasher.finish()
}

fn interest_of_key(key: &Key) -> Interest<'_> {
    Interest::Key(&key.resource.group, &key.resource.resource, &key.namespace, &key.name)
}

fn interests_of(reads: &ReadSet) -> (Box<[u64]>, Box<[Range]>) {
    let mut interests = Vec::with_capacity(reads.keys.len().min(KEYS_APART_MAX));
    // They are sorted, so that those of a resource and a namespace follow each other.
    let alike = |a: &Key, b: &Key| a.resource == b.resource && a.namespace == b.namespace;
    for keys in reads.keys.chunk_by(alike) {
        match keys {
            [one, ..] if keys.len() > KEYS_APART_MAX => {
                let (group, resource) = (&*one.resource.group, &*one.resource.resource);
                let namespace = Some(&*one.namespace);
                interests.push(Interest::All(group, resource, namespace).hash());
            }
            _ => interests.extend(keys.iter().map(|key| interest_of_key(key).hash())),
        }
    }
    let mut checked = Vec::new();
    for range in reads.ranges.iter().chain(&reads.weak) {
        let (group, resource) = (&*range.resource.group, &*range.resource.resource);
        let namespace = range.namespace.as_deref();
        match &range.selection {
            Selection::All => interests.push(Interest::All(group, resource, namespace).hash()),
            Selection::Owner(uid) => {
                interests.push(Interest::Owner(group, resource, namespace, uid).hash());
            }
            Selection::Names(names) => interests.extend(names.iter().map(|name| match namespace {
                Some(namespace) => Interest::Key(group, resource, namespace, name).hash(),
                None => Interest::Name(group, resource, name).hash(),
            })),
            Selection::Labels(selector) => {
                file_selector(selector, (group, resource, namespace), &mut interests);
                checked.push(range.clone());
            }
        }
    }
    interests.sort_unstable();
    interests.dedup();
    (interests.into(), checked.into())
}

/// Files a selector under its most telling requirement: one value, then several, then mere presence.
fn file_selector(
    selector: &LabelSelector,
    (group, resource, namespace): (&str, &str, Option<&str>),
    interests: &mut Vec<u64>,
) {
    let telling = selector.requirements.iter().min_by_key(|r| match &r.operator {
        Operator::Equals(_) => 1,
        Operator::In(values) => values.len(),
        Operator::Exists | Operator::GreaterThan(_) | Operator::LessThan(_) => usize::MAX - 1,
        Operator::NotEquals(_) | Operator::NotIn(_) | Operator::DoesNotExist => usize::MAX,
    });
    match telling.map(|r| (&r.key, &r.operator)) {
        Some((key, Operator::Equals(value))) => {
            interests.push(Interest::Label(group, resource, namespace, key, value).hash());
        }
        Some((key, Operator::In(values))) if values.len() <= VALUES_APART_MAX => interests.extend(
            values.iter().map(|v| Interest::Label(group, resource, namespace, key, v).hash()),
        ),
        Some((
            key,
            Operator::In(_) | Operator::Exists | Operator::GreaterThan(_) | Operator::LessThan(_),
        )) => {
            interests.push(Interest::LabelKey(group, resource, namespace, key).hash());
        }
        Some((_, Operator::NotEquals(_) | Operator::NotIn(_) | Operator::DoesNotExist)) | None => {
            interests.push(Interest::AnyLabels(group, resource, namespace).hash());
        }
    }
}

fn states(change: &Change) -> impl Iterator<Item = &Object> {
    let before = change.before.as_deref().filter(|before| before.meta != change.object.meta);
    before.into_iter().chain([change.object.as_ref()])
}

/// The interests for which nothing more has to be checked.
fn interests_exact(change: &Change) -> Vec<u64> {
    let key = change.key();
    let (group, resource) = (&*key.resource.group, &*key.resource.resource);
    let mut found = vec![
        interest_of_key(key).hash(),
        Interest::Name(group, resource, &key.name).hash(),
        Interest::All(group, resource, None).hash(),
        Interest::All(group, resource, Some(&key.namespace)).hash(),
    ];
    for owner in states(change).flat_map(|object| object.meta.owners.iter()) {
        for namespace in [None, Some(&*key.namespace)] {
            found.push(Interest::Owner(group, resource, namespace, &owner.uid).hash());
        }
    }
    found
}

fn interests_touched(change: &Change) -> Vec<u64> {
    let key = change.key();
    let (group, resource) = (&*key.resource.group, &*key.resource.resource);
    let mut found = interests_exact(change);
    for namespace in [None, Some(&*key.namespace)] {
        found.push(Interest::AnyLabels(group, resource, namespace).hash());
        for (label, value) in states(change).flat_map(|object| object.meta.labels.iter()) {
            found.push(Interest::Label(group, resource, namespace, label, value).hash());
            found.push(Interest::LabelKey(group, resource, namespace, label).hash());
        }
    }
    found
}

#[cfg(test)]
mod tests;
