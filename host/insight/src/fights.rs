//! Fights: fields that controllers change again and again because of each other's changes.
//!
//! What counts is value and cause, never rate. A change of a field *follows from* an earlier change of the same field
//! when the causes of its run lead back to that very change. Changes that follow from each other like this form a
//! lineage; a request from outside, a timer or a resync begins a new one. A lineage is a fight when its values come
//! back (A → B → A → B), when they grow or shrink in one direction, when one controller alone wakes itself into it, or
//! when it just does not end ([`lineage`]). So a start, a fan-out, and whatever the outside drives are none, however
//! fast they are.
//!
//! The detector is a pure function of the changes in their order. It remembers a bounded number of them
//! ([`CHANGES_MAX`], [`BYTES_MAX`]) and looks closer only at an update by a run whose causes contain two earlier
//! updates of the same object by runs; nothing else is ever parsed. What it cannot see: writers outside the host
//! (their requests have no cause), and rounds with more changes between them than it remembers.

pub mod diff;
pub mod keep;
pub mod lineage;

mod ancestry;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use quadrille_object::Timestamp;
use quadrille_store::{Cause, Change, ChangeKind, Key, Revision};
use serde::Serialize;

use ancestry::Ancestry;
pub use lineage::FightKind;
use lineage::{Lineage, Step, Verdict};

/// How many changes are remembered.
const CHANGES_MAX: usize = 16_384;
/// How many bytes of objects are remembered with them; most are shared with the store.
const BYTES_MAX: usize = 16 << 20;
/// How many fights are kept; the one that was quiet the longest goes.
const FIGHTS_MAX: usize = 1_024;
/// A fight that has been quiet this long, in microseconds, is over: ten minutes, twice the longest wait between rounds
/// that are slowed down.
pub const QUIET_US_MAX: i64 = 600_000_000;

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Writer {
    /// The plugin.
    pub plugin: String,
    /// The controller.
    pub controller: String,
    /// The digest of its code.
    pub digest: String,
    /// The object that it runs for, as a key in text form.
    pub runs_for: String,
}

/// One change on the way from one round to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Its revision.
    pub revision: Revision,
    /// The object that was changed.
    pub object: String,
    /// `plugin/controller`.
    pub by: String,
    /// The run.
    pub run: u64,
}

/// A fight over one field of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fight {
    /// The object, as a key in text form.
    pub object: String,
    /// The field: `spec.replicas`, `status.conditions[0].status`.
    pub field: String,
    /// What kind it is.
    pub kind: FightKind,
    /// Who writes the field, each once.
    pub writers: Vec<Writer>,
    /// The newest values, oldest first.
    pub values: Vec<String>,
    /// The changes of the last round, newest first: from the field's newest change back to the one before.
    pub chain: Vec<Link>,
    /// How many changes of the field followed from each other.
    pub rounds: u64,
    /// When it was found.
    pub since: Timestamp,
    /// When the field was changed last.
    pub last: Timestamp,
    /// The revision of that change.
    pub revision: Revision,
    /// What is done about it.
    pub response: Response,
}

/// What is done about a fight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Response {
    /// People are told.
    #[default]
    Warn,
    /// The writers wait longer and longer between their runs for these objects.
    Slow,
    /// The writers do not run for these objects until they are released, or something from outside changes.
    Freeze,
}

/// A fight went on: by one more change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The object.
    pub object: Key,
    /// The fight as it is now.
    pub fight: Fight,
    /// Whether it was not known before.
    pub is_new: bool,
}

/// Finds fights in the changes.
#[derive(Debug, Default)]
pub struct Detector {
    /// Without gaps, ascending.
    recent: VecDeque<Arc<Change>>,
    bytes: usize,
    /// Updates by runs among `recent`, per object.
    updates: HashMap<Key, usize>,
    /// What was found out about single changes among `recent`.
    steps: BTreeMap<Revision, Step>,
    fights: BTreeMap<(Key, String), Fight>,
    /// All that were ever found, by kind.
    found: BTreeMap<FightKind, u64>,
}

impl Detector {
    /// Looks at the next change; they come without gaps, or [`Self::forget_changes`] is called in between.
    pub fn observe(&mut self, change: &Arc<Change>) -> Vec<News> {
        self.remember(change);
        if change.kind == ChangeKind::Deleted {
            self.fights.retain(|(object, _), _| object != change.key());
            return Vec::new();
        }
        // The change itself and two before it.
        if !is_update(change) || self.updates.get(change.key()).is_none_or(|count| *count < 3) {
            return Vec::new();
        }
        let ancestry = self.ancestry(change);
        if ancestry.of_object.len() < 2 {
            return Vec::new();
        }
        self.take_steps(change, &ancestry);
        let Some(step) = self.steps.get(&change.revision) else { return Vec::new() };
        let mut found = Vec::new();
        for leaf in &step.leaves {
            let lineage = Lineage::of(&self.steps, change.revision, &leaf.path);
            let Some(previous) = lineage.previous() else { continue };
            let way = ancestry.way_to(previous);
            let chain: Vec<Link> = way.iter().filter_map(|r| self.link(*r)).collect();
            if let Some(mut verdict) = lineage.judge(chain) {
                self.name_all(&mut verdict);
                found.push(verdict);
            }
        }
        found.retain(|verdict| !self.is_echo(change, verdict));
        // A time that is written along with a fight is not a second one.
        if found.iter().any(|verdict| !verdict.is_time) {
            found.retain(|verdict| !verdict.is_time);
        }
        found.into_iter().map(|verdict| self.note(change, verdict)).collect()
    }

    /// Changes were missed: what follows is not known to follow from what was.
    pub fn forget_changes(&mut self) {
        self.recent.clear();
        self.steps.clear();
        self.updates.clear();
        self.bytes = 0;
    }

    /// The fights, those of longest standing first; those that have been quiet up to `now` are over.
    pub fn fights(&mut self, now: Timestamp) -> Vec<Fight> {
        let over = |fight: &Fight| now.0.saturating_sub(fight.last.0) > QUIET_US_MAX;
        self.fights.retain(|_, fight| fight.response == Response::Freeze || !over(fight));
        let mut fights: Vec<Fight> = self.fights.values().cloned().collect();
        fights.sort_by_key(|fight| fight.since);
        fights
    }

    /// How many were found so far, of each kind.
    pub fn found(&self) -> &BTreeMap<FightKind, u64> {
        &self.found
    }

    /// Notes what is done about a fight.
    pub fn respond(&mut self, object: &Key, field: &str, response: Response) {
        if let Some(fight) = self.fights.get_mut(&(object.clone(), field.to_owned())) {
            fight.response = response;
        }
    }

    /// Takes the fights over an object out of the books, with those who write.
    pub fn release(&mut self, object: &Key) -> Vec<Fight> {
        let of_it = |(key, _): &(Key, String), _: &mut Fight| key == object;
        self.fights.extract_if(.., of_it).map(|(_, fight)| fight).collect()
    }

    fn remember(&mut self, change: &Arc<Change>) {
        if self.recent.back().is_some_and(|last| last.revision.next() != change.revision) {
            self.forget_changes();
        }
        self.bytes += change.object.bytes.len();
        if is_update(change) {
            *self.updates.entry(change.key().clone()).or_default() += 1;
        }
        self.recent.push_back(Arc::clone(change));
        while self.recent.len() > CHANGES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.bytes -= oldest.object.bytes.len();
            self.steps.remove(&oldest.revision);
            if is_update(&oldest)
                && let Some(count) = self.updates.get_mut(oldest.key())
            {
                *count -= 1;
                if *count == 0 {
                    self.updates.remove(oldest.key());
                }
            }
        }
    }

    fn at(&self, revision: Revision) -> Option<&Arc<Change>> {
        let first = self.recent.front()?.revision;
        self.recent.get(usize::try_from(revision.0.checked_sub(first.0)?).ok()?)
    }

    /// Finds out what a change and those that it follows from changed.
    fn take_steps(&mut self, change: &Arc<Change>, ancestry: &Ancestry) {
        let mut taken = vec![(change.revision, Step::of(change, ancestry))];
        for revision in &ancestry.of_object {
            if let Some(earlier) = self.at(*revision).filter(|_| !self.steps.contains_key(revision))
            {
                taken.push((*revision, Step::of(earlier, &self.ancestry(earlier))));
            }
        }
        let taken = taken.into_iter().filter_map(|(revision, step)| Some((revision, step?)));
        self.steps.extend(taken);
    }

    fn link(&self, revision: Revision) -> Option<Link> {
        let change = self.at(revision)?;
        let (by, run) = match change.cause.as_ref() {
            Cause::Run(run) => (format!("{}/{}", run.plugin, run.controller), run.run),
            Cause::System(system) => (format!("quadrille/{}", system.part), 0),
            Cause::Request(request) => (request.user.clone(), 0),
        };
        Some(Link { revision, object: change.key().to_string(), by, run })
    }

    /// Where one controller alone writes the field, the others of the round are its counterparts.
    fn name_all(&self, verdict: &mut Verdict) {
        if verdict.shared || verdict.kind == FightKind::SelfLoop {
            return;
        }
        let changes = verdict.chain.iter().filter_map(|link| self.at(link.revision));
        let others = changes.filter_map(|change| match change.cause.as_ref() {
            Cause::Run(run) => Some(Writer::of(run)),
            Cause::Request(_) | Cause::System(_) => None,
        });
        verdict.writers.extend(others.collect::<Vec<_>>());
        verdict.writers.sort();
        verdict.writers.dedup();
    }

    /// Whether the field only follows another one that is fought over: that one is told.
    fn is_echo(&self, change: &Change, verdict: &Verdict) -> bool {
        let own = change.key().to_string();
        let others =
            || verdict.chain.iter().map(|link| &link.object).filter(|object| **object != own);
        let told = |object: &String| self.fights.values().any(|fight| fight.object == *object);
        !verdict.shared && others().any(told)
    }

    fn note(&mut self, change: &Change, verdict: Verdict) -> News {
        let object = change.key().clone();
        let place = (object.clone(), verdict.field.clone());
        let known = self.fights.get(&place);
        let is_new = known.is_none();
        let fight = Fight {
            object: object.to_string(),
            field: verdict.field,
            kind: known.map_or(verdict.kind, |fight| fight.kind),
            writers: verdict.writers,
            values: verdict.values,
            chain: verdict.chain,
            rounds: known.map_or(verdict.rounds, |fight| fight.rounds + 1),
            since: known.map_or(change.at, |fight| fight.since),
            last: change.at,
            revision: change.revision,
            response: known.map_or(Response::Warn, |fight| fight.response),
        };
        if is_new {
            *self.found.entry(fight.kind).or_default() += 1;
            self.make_room();
        }
        self.fights.insert(place, fight.clone());
        News { object, fight, is_new }
    }

    fn make_room(&mut self) {
        if self.fights.len() < FIGHTS_MAX {
            return;
        }
        let quietest = self.fights.iter().min_by_key(|(_, fight)| fight.last);
        if let Some(place) = quietest.map(|(place, _)| place.clone()) {
            self.fights.remove(&place);
        }
    }
}

/// Whether a run changed an object that was there before.
fn is_update(change: &Change) -> bool {
    change.kind == ChangeKind::Updated && matches!(*change.cause, Cause::Run(_))
}

#[cfg(test)]
mod tests;
