//! The changes of one field that follow from each other, and what they amount to.

use std::collections::BTreeMap;

use quadrille_store::{Cause, Change, Revision, RunCause};
use serde::Serialize;

use super::ancestry::Ancestry;
use super::diff::{Leaf, LeafValue, diff};
use super::{Link, Writer};

/// How many changes of a lineage are looked at.
const LINKS_MAX: usize = 12;
/// A value has to come back this often: A → B → A → B, where nobody from outside had a hand in it.
const RETURNS_MIN: usize = 2;
/// A value has to grow (or shrink) this often, each time because it did before.
const STEPS_MIN: usize = 3;
/// A controller has to change a field this often because it changed it before.
const SELF_MIN: usize = 3;
/// A field that changes this often because it changed before does not come to rest, whatever its values are.
const RESTLESS_MIN: usize = 6;
/// How many values are told.
const VALUES_MAX: usize = 6;

/// The kinds of fights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FightKind {
    /// Values come back: each writer undoes what the other did.
    Oscillation,
    /// One controller, woken by its own changes.
    SelfLoop,
    /// A value that moves on each round, and never comes to rest.
    Runaway,
}

impl FightKind {
    /// As metrics and people have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oscillation => "oscillation",
            Self::SelfLoop => "self-loop",
            Self::Runaway => "runaway",
        }
    }
}

/// One change by a run, looked at closely.
#[derive(Clone, Debug)]
pub(super) struct Step {
    writer: Writer,
    pub(super) leaves: Vec<Leaf>,
    /// Earlier updates of the same object that it follows from, newest first.
    ancestors: Vec<Revision>,
    /// The newest change that it follows from in which the outside had a hand.
    outside: Revision,
}

impl Step {
    pub(super) fn of(change: &Change, ancestry: &Ancestry) -> Option<Self> {
        let (ancestors, outside) = (ancestry.of_object.clone(), ancestry.outside);
        let Cause::Run(run) = change.cause.as_ref() else { return None };
        let before = change.before.as_ref()?;
        let leaves = diff(&before.bytes, &change.object.bytes);
        Some(Self { writer: Writer::of(run), leaves, ancestors, outside })
    }

    fn leaf(&self, path: &str) -> Option<&Leaf> {
        self.leaves.iter().find(|leaf| leaf.path == path)
    }
}

impl Writer {
    pub(super) fn of(run: &RunCause) -> Self {
        Self {
            plugin: run.plugin.clone(),
            controller: run.controller.clone(),
            digest: run.digest.clone(),
            runs_for: run.object.clone(),
        }
    }

    /// `plugin/controller`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.plugin, self.controller)
    }
}

/// The changes of one field of one object that follow from each other, newest first.
#[derive(Debug)]
pub(super) struct Lineage<'a> {
    path: &'a str,
    links: Vec<(Revision, &'a Step, &'a Leaf)>,
}

/// What a lineage amounts to.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) field: String,
    pub(super) kind: FightKind,
    pub(super) writers: Vec<Writer>,
    pub(super) values: Vec<String>,
    pub(super) chain: Vec<Link>,
    pub(super) rounds: u64,
    pub(super) is_time: bool,
    /// Whether several controllers write the field.
    pub(super) shared: bool,
}

impl<'a> Lineage<'a> {
    pub(super) fn of(steps: &'a BTreeMap<Revision, Step>, from: Revision, path: &'a str) -> Self {
        let mut links: Vec<(Revision, &Step, &Leaf)> = Vec::new();
        let mut next = Some(from);
        while let Some(revision) = next.filter(|_| links.len() < LINKS_MAX) {
            let found = steps.get(&revision).and_then(|step| Some((step, step.leaf(path)?)));
            let Some((step, leaf)) = found else { break };
            links.push((revision, step, leaf));
            let changed_it = |revision: &&Revision| {
                steps.get(revision).is_some_and(|step| step.leaf(path).is_some())
            };
            next = step.ancestors.iter().find(changed_it).copied();
        }
        Self { path, links }
    }

    /// The change of the field that the newest one follows from.
    pub(super) fn previous(&self) -> Option<Revision> {
        self.links.get(1).map(|(revision, ..)| *revision)
    }

    /// `chain`: the changes from the newest one back to the one before.
    pub(super) fn judge(&self, chain: Vec<Link>) -> Option<Verdict> {
        let (_, newest, leaf) = self.links.first()?;
        let values = self.values();
        let by_itself = chain.iter().all(|link| link.by == newest.writer.name())
            && self.links.iter().all(|(_, step, _)| step.writer.name() == newest.writer.name());
        let alone = self.links_alone();
        let kind = if by_itself && alone >= SELF_MIN {
            FightKind::SelfLoop
        } else if returns(&values) >= RETURNS_MIN {
            FightKind::Oscillation
        } else if moves(&values).min(alone) >= STEPS_MIN || alone >= RESTLESS_MIN {
            FightKind::Runaway
        } else {
            return None;
        };
        let told = values.get(values.len().saturating_sub(VALUES_MAX)..).unwrap_or_default();
        Some(Verdict {
            field: self.path.to_owned(),
            kind,
            shared: self.writers().iter().any(|writer| writer.name() != newest.writer.name()),
            writers: self.writers(),
            values: told.iter().map(|value| value.text.clone()).collect(),
            chain,
            rounds: self.links.len() as u64,
            is_time: leaf.after.is_time,
        })
    }

    /// How many of the newest links follow from each other with no hand of the outside in between. A value that comes
    /// back is a fight whoever else has a part in it; one that moves on may just follow what happens outside.
    fn links_alone(&self) -> usize {
        let pairs = self.links.iter().zip(self.links.iter().skip(1));
        1 + pairs.take_while(|((_, step, _), (before, ..))| step.outside <= *before).count()
    }

    /// The values of the field, oldest first, with the one before the lineage.
    fn values(&self) -> Vec<&'a LeafValue> {
        let first = self.links.last().map(|(.., leaf)| &leaf.before);
        first.into_iter().chain(self.links.iter().rev().map(|(.., leaf)| &leaf.after)).collect()
    }

    fn writers(&self) -> Vec<Writer> {
        let mut writers: Vec<Writer> =
            self.links.iter().map(|(_, step, _)| step.writer.clone()).collect();
        writers.sort();
        writers.dedup();
        writers
    }
}

/// How often a value came back after it was another one.
fn returns(values: &[&LeafValue]) -> usize {
    let came_back = |at: &usize| {
        let earlier = values.get(..at.saturating_sub(1)).unwrap_or_default();
        values.get(*at).is_some_and(|value| earlier.iter().any(|other| other.hash == value.hash))
    };
    (0..values.len()).filter(came_back).count()
}

/// How often in a row, up to now, the value moved in the direction in which it moved last.
fn moves(values: &[&LeafValue]) -> usize {
    let direction = |pair: &[&LeafValue]| match pair {
        [before, after] => before.order.zip(after.order).and_then(|(b, a)| a.partial_cmp(&b)),
        _ => None,
    };
    let mut directions = values.windows(2).rev().map(direction);
    let Some(Some(last)) = directions.next().filter(|d| *d != Some(std::cmp::Ordering::Equal))
    else {
        return 0;
    };
    1 + directions.take_while(|direction| *direction == Some(last)).count()
}
