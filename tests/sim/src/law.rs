//! What must hold of every change and after every transaction, whoever made it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_store::{Cause, Change, ChangeKind, Key, Object, View};

use crate::cache::Cache;

/// The finalizer of an owner whose dependants shall stay.
const ORPHAN: &str = "orphan";

/// Something that must hold; it hears every change once, in order, over all lives.
pub trait Law: fmt::Debug + Send {
    /// What is wrong with a change, of the state before it.
    fn hear(&mut self, change: &Change, before: &Cache) -> Vec<String>;

    /// What is wrong with the state after a transaction.
    fn settle(&mut self, _after: &Cache) -> Vec<String> {
        Vec::new()
    }
}

fn namespaces() -> GroupResource {
    GroupResource::new("", "namespaces")
}

/// Nothing is created in a namespace that is not there or on its way out, and a namespace ends empty.
#[derive(Debug, Default)]
pub struct Lodging;

impl Law for Lodging {
    fn hear(&mut self, change: &Change, before: &Cache) -> Vec<String> {
        let (key, at) = (change.key(), change.revision);
        if key.resource == namespaces() && change.after().is_none() {
            let left: Vec<String> = before
                .iter()
                .filter(|object| object.key.namespace == key.name)
                .map(|object| object.key.to_string())
                .collect();
            return match left.first() {
                Some(one) => vec![format!("{key} ended at {at} with {}: {one}", left.len())],
                None => Vec::new(),
            };
        }
        if change.kind != ChangeKind::Created || key.namespace.is_empty() {
            return Vec::new();
        }
        let home = before.get(&Key::new(namespaces(), "", Arc::clone(&key.namespace)));
        let why = match home {
            None => "is not there",
            Some(home) if home.meta.deleted_at.is_some() => "is on its way out",
            Some(_) => return Vec::new(),
        };
        vec![format!("{key} was created at {at} by {:?}, and its namespace {why}", change.cause)]
    }
}

/// What the collector deletes has no owner that lives, and none that wanted it to stay.
#[derive(Debug, Default)]
pub struct Collecting {
    /// Owners that orphan, with those that they had when that was decided; by uid.
    orphans: BTreeSet<(Arc<str>, Arc<str>)>,
}

impl Law for Collecting {
    fn hear(&mut self, change: &Change, before: &Cache) -> Vec<String> {
        let lived = |object: &Arc<Object>| object.meta.deleted_at.is_none();
        let Some(was) = before.get(change.key()) else { return Vec::new() };
        let after = change.after();
        let part = "garbage-collector";
        let collects = matches!(&*change.cause, Cause::System(of) if of.part == part);
        if !lived(&was) {
            // Whoever deletes it once more may decide otherwise.
            if !collects && !after.is_some_and(|after| orphans(after)) {
                self.orphans.retain(|(owner, _)| *owner != was.meta.uid);
            }
            return Vec::new();
        }
        if after.is_some_and(|after| orphans(after)) {
            let owned = before.iter().filter(|o| is_owned_by(o, &was.meta.uid));
            let owned = owned.map(|o| (Arc::clone(&was.meta.uid), Arc::clone(&o.meta.uid)));
            self.orphans.extend(owned);
        }
        let goes = after.is_none_or(|after| after.meta.deleted_at.is_some());
        if !goes || !collects {
            return Vec::new();
        }
        let mut wrong = Vec::new();
        for owner in &was.meta.owners {
            let pair = (Arc::clone(&owner.uid), Arc::clone(&was.meta.uid));
            if before.with_uid(&owner.uid).is_some_and(lived) {
                wrong.push(format!(
                    "{} was collected at {}, and {owner:?} lives",
                    was.key, change.revision
                ));
            }
            if self.orphans.contains(&pair) {
                wrong
                    .push(format!("{} was collected at {} as an orphan", was.key, change.revision));
            }
        }
        if was.meta.owners.is_empty() {
            wrong.push(format!("{} was collected at {} without owners", was.key, change.revision));
        }
        wrong
    }
}

/// Whether it is on its way out, and leaves its dependants behind.
fn orphans(object: &Object) -> bool {
    let holds = object.meta.finalizers.iter().any(|name| **name == *ORPHAN);
    object.meta.deleted_at.is_some() && holds
}

fn is_owned_by(object: &Object, uid: &str) -> bool {
    object.meta.owners.iter().any(|owner| *owner.uid == *uid)
}

/// A question that every whole state answers alike.
pub type Rule = fn(&dyn View) -> Result<(), String>;

/// A rule holds after every transaction.
#[derive(Debug)]
pub struct Always(pub Rule);

impl Law for Always {
    fn hear(&mut self, _change: &Change, _before: &Cache) -> Vec<String> {
        Vec::new()
    }

    fn settle(&mut self, after: &Cache) -> Vec<String> {
        let broken = (self.0)(after).err();
        broken.map(|what| format!("after {}: {what}", after.revision())).into_iter().collect()
    }
}
