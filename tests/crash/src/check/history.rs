//! The one order of changes, and the states in between.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::check::Found;
use crate::journal::{Change, Item, Kind, Text};
use crate::watcher::Scope;

/// What a watch sees.
type Events = Rc<Vec<(Kind, Item)>>;

/// The resource that clients work on.
const OURS: &str = "configmaps";

/// All changes of the clients' resource, by revision and by object.
#[derive(Debug)]
pub struct History {
    changes: BTreeMap<u64, Change>,
    objects: BTreeMap<Text, Vec<u64>>,
    deletions: BTreeMap<Text, u64>,
    newest: u64,
    scopes: RefCell<BTreeMap<Scope, Events>>,
}

impl History {
    /// Checks that the changes have every revision once, in whole transactions, each object from its creation to its
    /// deletion and every life of it under a uid of its own.
    pub(crate) fn new(changes: &[Change], found: &mut Found) -> Self {
        let mut this = Self {
            changes: BTreeMap::new(),
            objects: BTreeMap::new(),
            deletions: BTreeMap::new(),
            newest: changes.iter().map(|change| change.item.revision).max().unwrap_or_default(),
            scopes: RefCell::default(),
        };
        let (mut before, mut open) = (None, None);
        for change in changes {
            let revision = change.item.revision;
            if before.is_some_and(|before: u64| before + 1 != revision) {
                found.violate(format!("revision {revision} follows {before:?}"));
            }
            before = Some(revision);
            let begins = open.is_none() && change.txn.0 == revision;
            if !(begins || open == Some(change.txn)) || change.txn.1 < revision {
                found.violate(format!("revision {revision} tears transaction {:?}", change.txn));
            }
            open = (revision < change.txn.1).then_some(change.txn);
            if &*change.resource == OURS {
                this.add(change, found);
            }
        }
        if let Some(open) = open {
            found.violate(format!("transaction {open:?} is half there"));
        }
        this
    }

    fn add(&mut self, change: &Change, found: &mut Found) {
        let item = &change.item;
        let lives = self.objects.entry(Text::clone(&item.key)).or_default();
        let last = lives.last().and_then(|revision| self.changes.get(revision));
        let alive = last.filter(|last| last.kind != Kind::Deleted);
        let fits = match (change.kind, alive) {
            (Kind::Added, None) => last.is_none_or(|last| last.item.uid != item.uid),
            (Kind::Added, Some(_)) | (Kind::Modified | Kind::Deleted, None) => false,
            (Kind::Modified, Some(alive)) => alive.item.uid == item.uid,
            // A deletion shows the last state.
            (Kind::Deleted, Some(alive)) => {
                alive.item.uid == item.uid && alive.item.value == item.value
            }
        };
        if !fits {
            found.violate(format!("{change} does not follow {last:?}"));
        }
        if change.kind == Kind::Deleted {
            self.deletions.insert(Text::clone(&item.uid), item.revision);
        }
        lives.push(item.revision);
        self.changes.insert(item.revision, change.clone());
    }

    /// The newest revision of any resource.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// The change at a revision.
    pub(crate) fn at(&self, revision: u64) -> Option<&Change> {
        self.changes.get(&revision)
    }

    /// All changes.
    pub(crate) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.values()
    }

    /// All changes of an object.
    pub(crate) fn of(&self, key: &str) -> impl Iterator<Item = &Change> {
        let lives = self.objects.get(key).map(Vec::as_slice).unwrap_or_default();
        lives.iter().filter_map(|revision| self.changes.get(revision))
    }

    /// The revision at which the object with a uid was deleted.
    pub(crate) fn deleted(&self, uid: &str) -> Option<u64> {
        self.deletions.get(uid).copied()
    }

    /// The last change of an object before a revision.
    pub(crate) fn before(&self, key: &str, revision: u64) -> Option<&Change> {
        let lives = self.objects.get(key)?;
        let at = lives.partition_point(|of| *of < revision);
        self.changes.get(lives.get(at.checked_sub(1)?)?)
    }

    /// The first change of an object after a revision.
    pub(crate) fn after(&self, key: &str, revision: u64) -> Option<&Change> {
        let lives = self.objects.get(key)?;
        self.changes.get(lives.get(lives.partition_point(|of| *of <= revision))?)
    }

    /// The objects of a scope at a revision, by key.
    pub(crate) fn state(&self, scope: &Scope, revision: u64) -> BTreeMap<&str, &Item> {
        let alive = self.objects.keys().filter_map(|key| {
            let last = self.before(key, revision + 1)?;
            let there = last.kind != Kind::Deleted && scope.holds(&last.item);
            there.then_some((&**key, &last.item))
        });
        alive.collect()
    }

    /// The watch events of a scope: what leaves it is deleted, what enters it is added.
    pub(crate) fn events(&self, scope: &Scope) -> Events {
        if let Some(events) = self.scopes.borrow().get(scope) {
            return Rc::clone(events);
        }
        let events = self.changes.values().filter_map(|change| {
            let before = self.before(&change.item.key, change.item.revision);
            let before = before.filter(|of| of.kind != Kind::Deleted && scope.holds(&of.item));
            let after =
                Some(&change.item).filter(|of| change.kind != Kind::Deleted && scope.holds(of));
            match (before, after) {
                (None, None) => None,
                (None, Some(after)) => Some((Kind::Added, after.clone())),
                (Some(_), Some(after)) => Some((Kind::Modified, after.clone())),
                (Some(before), None) => {
                    let revision = change.item.revision;
                    Some((Kind::Deleted, Item { revision, ..before.item.clone() }))
                }
            }
        });
        let events = Rc::new(events.collect::<Vec<_>>());
        self.scopes.borrow_mut().insert(scope.clone(), Rc::clone(&events));
        events
    }
}
