//! The judge: one pass over the transactions in the order of the store, with a model of the objects.
//!
//! The store's own order is the candidate: a history is strictly serialisable in it when each run that committed read
//! exactly what stood there just before its transaction, when nobody, not even a run that was thrown away, ever saw a
//! state that was not between two transactions, when what was acknowledged comes before whatever began later, and when
//! everything acknowledged is there, once and whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::history::{Deed, History, Maker, Objects, Read, Run, Txn};

/// Something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What must hold when the model has come to a revision.
#[derive(Debug)]
struct Look<'a> {
    who: String,
    reads: &'a [Read],
}

/// Everything that is wrong with a history.
pub fn check(history: &History) -> Vec<Violation> {
    let mut judge = Judge { history, wrong: Vec::new(), committed: BTreeMap::new() };
    judge.walk();
    judge.check_runs();
    judge.check_turns();
    judge.check_wakes();
    judge.check_deeds();
    judge.wrong
}

struct Judge<'a> {
    history: &'a History,
    wrong: Vec<Violation>,
    /// Where each maker's transaction is.
    committed: BTreeMap<Maker, &'a Txn>,
}

impl<'a> Judge<'a> {
    fn claim(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(Violation(what()));
        }
    }

    /// Replays the transactions, and looks at what was read where it was read.
    fn walk(&mut self) {
        let history = self.history;
        let mut looks = looks(history);
        let mut objects = history.start.clone();
        let mut newest = history.start_revision;
        self.look(&mut looks, newest, &objects);
        for txn in &history.txns {
            let first = txn.first;
            self.claim(first == newest + 1, || format!("revision {first} follows {newest}"));
            if let Maker::Run(number) = txn.maker {
                self.check_run(number, txn, &objects);
            }
            let again = self.committed.insert(txn.maker, txn).is_some();
            self.claim(!again, || format!("{:?} committed twice, or in halves", txn.maker));
            for (revision, name, state) in &txn.changes {
                self.claim(*revision > newest, || format!("revision {revision} after {newest}"));
                newest = *revision;
                if name.is_empty() {
                    continue;
                }
                if let Some(state) = state {
                    objects.insert(name.clone(), state.clone());
                } else {
                    let was = objects.remove(name).is_some();
                    self.claim(was, || format!("{name} was deleted twice at {revision}"));
                }
            }
            self.look(&mut looks, newest, &objects);
        }
        for (at, looks) in looks {
            let who: Vec<String> = looks.into_iter().map(|look| look.who).collect();
            self.claim(false, || {
                format!("{who:?} saw revision {at}, which is within a transaction")
            });
        }
        self.claim(objects == history.end, || {
            format!(
                "what is there at the end is not what was committed: {:?} {objects:?}",
                history.end
            )
        });
    }

    fn look(&mut self, looks: &mut BTreeMap<u64, Vec<Look<'a>>>, at: u64, objects: &Objects) {
        for look in looks.remove(&at).unwrap_or_default() {
            for read in look.reads {
                self.claim(read.is_true(objects), || {
                    format!("{} read at {at} what was not there: {read:?}", look.who)
                });
            }
        }
    }

    /// A run that committed read what stood there just before, and wrote all that it wrote.
    fn check_run(&mut self, number: u64, txn: &Txn, objects: &Objects) {
        let Some(run) = self.history.runs.get(&number) else {
            return self.claim(false, || format!("run {number} committed and never ran"));
        };
        for read in &run.reads {
            self.claim(read.is_true(objects), || {
                let before = txn.first - 1;
                format!("run {number} committed at {before} though it is not so: {read:?}")
            });
        }
        let (began, first) = (run.acknowledged, txn.first);
        self.claim(began < first, || format!("run {number} at {first} began after {began}"));
        let wrote: BTreeMap<String, Option<String>> = txn
            .changes
            .iter()
            .map(|(_, name, state)| (name.clone(), state.as_ref().map(|state| state.tag.clone())))
            .collect();
        self.claim(wrote == run.writes, || {
            format!("run {number} wrote {:?}, and {wrote:?} was committed", run.writes)
        });
        self.claim(run.ended_well, || format!("run {number} failed and was committed"));
    }

    /// No run saw the future.
    fn check_runs(&mut self) {
        for (number, run) in &self.history.runs {
            let Some(txn) = self.committed.get(&Maker::Run(*number)).copied() else { continue };
            self.claim(run.at < txn.first, || format!("run {number} read its own commit"));
        }
    }

    /// A key runs once at a time: whoever begins after a run that committed reads what that committed.
    fn check_turns(&mut self) {
        let history = self.history;
        for (controller, of) in &history.met {
            self.claim(false, || format!("{controller} ran twice at once for {of}"));
        }
        for numbers in by_key(history).into_values() {
            let (mut newest, mut by) = (0, 0);
            for number in numbers {
                let Some(run) = history.runs.get(&number) else { continue };
                self.claim(newest <= run.at, || {
                    format!("run {number} read {} after run {by} had committed {newest}", run.at)
                });
                let committed = self.committed.get(&Maker::Run(number)).copied();
                if let Some(txn) = committed.filter(|txn| !history.late.contains(&txn.first)) {
                    newest = txn.changes.last().map_or(newest, |(revision, ..)| *revision);
                    by = number;
                }
            }
        }
    }

    /// No wake-up and no run is lost: at rest, the last run of a key was committed, and everything that it read or wrote
    /// is still so.
    fn check_wakes(&mut self) {
        let history = self.history;
        self.claim(history.at_rest, || "it did not come to rest".to_owned());
        for ((controller, of), numbers) in by_key(history) {
            let last = numbers.last().and_then(|number| Some((number, history.runs.get(number)?)));
            let Some((number, run)) = last.filter(|_| history.at_rest) else { continue };
            self.claim(run.ended_well, || {
                format!("{controller} sleeps for {of} though its last run {number} failed")
            });
            let committed = self.committed.contains_key(&Maker::Run(*number));
            self.claim(run.writes.is_empty() || committed, || {
                format!("{controller} sleeps for {of} though its last run {number} was thrown away")
            });
            for read in &run.reads {
                self.claim(read.is_true_beside(&history.end, &run.writes), || {
                    format!("{controller} sleeps for {of} since run {number} and was not woken: {read:?}")
                });
            }
            // It looked at each before it wrote there, so that it is woken when somebody else writes there later.
            for (name, tag) in &run.writes {
                let stands = history.end.get(name).map(|state| &state.tag);
                self.claim(stands == tag.as_ref(), || {
                    format!("{controller} sleeps for {of} since run {number} wrote {name}, which is {stands:?} now")
                });
            }
        }
    }

    /// What was acknowledged is there, and came after what had been acknowledged before.
    fn check_deeds(&mut self) {
        let mut numbers = BTreeSet::new();
        for deed in &self.history.deeds {
            match deed {
                Deed::Wrote { number, acknowledged, revision, name, tag } => {
                    let once = numbers.insert(*number);
                    self.claim(once, || format!("write {number} was acknowledged twice"));
                    self.claim(acknowledged < revision, || {
                        format!("write {number} came to {revision}, after {acknowledged} was known")
                    });
                    let txn = self.committed.get(&Maker::Client(*number)).copied();
                    let there = txn.is_some_and(|txn| {
                        txn.changes.iter().any(|(at, of, state)| {
                            (at, of) == (revision, name)
                                && state.as_ref().map(|state| &state.tag) == tag.as_ref()
                        })
                    });
                    self.claim(there, || format!("write {number} was acknowledged and is lost"));
                }
                Deed::Refused { number, why } => {
                    let happened = self.committed.contains_key(&Maker::Client(*number));
                    self.claim(!happened, || {
                        format!("write {number} was refused, and happened: {why}")
                    });
                }
                Deed::Looked { acknowledged, at, .. } => {
                    self.claim(acknowledged <= at, || {
                        format!("somebody saw {at} after {acknowledged} was acknowledged")
                    });
                }
            }
        }
    }
}

/// The runs of each controller for each object, in the order in which they began.
fn by_key(history: &History) -> BTreeMap<(&str, &str), Vec<u64>> {
    let mut runs: Vec<(&u64, &Run)> = history.runs.iter().collect();
    runs.sort_by_key(|(_, run)| run.start);
    let mut found: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for (number, run) in runs {
        found.entry((&run.controller, &run.of)).or_default().push(*number);
    }
    found
}

/// Who looked, by revision: clients, and all runs, those that were thrown away too.
fn looks(history: &History) -> BTreeMap<u64, Vec<Look<'_>>> {
    let mut looks: BTreeMap<u64, Vec<Look<'_>>> = BTreeMap::new();
    for (number, Run { at, reads, .. }) in &history.runs {
        looks.entry(*at).or_default().push(Look { who: format!("run {number}"), reads });
    }
    for deed in &history.deeds {
        if let Deed::Looked { at, reads, .. } = deed {
            looks.entry(*at).or_default().push(Look { who: "a client".to_owned(), reads });
        }
    }
    looks
}
