//! The workqueue of one controller: which of its keys are ready, running, or waiting for a time.
//!
//! A pure state machine: it is told what happened and the monotonic time, and answers what to do. It spawns,
//! waits and reads nothing.
//!
//! Invariants: a key is in one place only; a running key is never handed out again; what wakes a running key is
//! kept and judged when the run ends; a wake is never forgotten but by a run that saw it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use quadrille_store::{Change, Key, Revision};

use crate::wakes::{Occasion, Wakes};

/// A hash map whose order depends on its content alone, so that runs of a simulation repeat.
pub(crate) type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// Of so many keys taken, one is taken from the low lane though the high one has work, so that a resync ends
/// even under constant change.
const LOW_EVERY: u64 = 16;

/// Where a ready key stands: new work before resync and retry, and first come first served within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    High,
    Low,
}

type Place = (Lane, i64);
type Due = (Duration, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Ready(Place),
    /// With the snapshot that the run reads (at least).
    Running(Revision),
    Waiting(Due),
}

#[derive(Clone, Debug)]
struct Entry {
    at: At,
    wakes: Wakes,
    /// Whether it waits because it was taken back, and not for a time that a run of it set.
    held: bool,
    /// What the run under way was woken by.
    running: Option<UnderWay>,
    failures: u32,
    conflicts: u32,
}

/// A run under way, as far as it matters what it follows from.
#[derive(Clone, Debug)]
pub(crate) struct UnderWay {
    /// What woke it.
    pub(crate) wakes: Arc<Wakes>,
    /// Changes after this one, up to the snapshot, may have been read without having woken anybody.
    pub(crate) looked: Revision,
    pub(crate) snapshot: Revision,
}

/// What a run gets to see.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Every change up to here has woken whom it concerns.
    pub looked: Revision,
    /// The snapshot that the run reads (at least).
    pub snapshot: Revision,
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It could run now.
    Ready,
    /// It runs.
    Running,
    /// It waits for a time that its run asked for.
    Timer,
    /// It would run, and is kept back.
    Held,
    /// It waits to be tried again, after so many failures.
    Failing(u32),
}

/// A key that is not asleep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awake<'a> {
    pub(crate) key: &'a Key,
    pub(crate) standing: Standing,
    /// What woke it, besides what the run under way was woken by.
    pub(crate) wakes: &'a Wakes,
    pub(crate) under_way: Option<&'a UnderWay>,
}

/// A key that is to be run now.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The key.
    pub key: Key,
    /// What woke it.
    pub wakes: Arc<Wakes>,
    /// Failures in a row.
    pub failures: u32,
    /// Times in a row that the run was thrown away because somebody else was first.
    pub conflicts: u32,
}

/// How a run ended, as far as the queue cares.
#[derive(Clone, Debug)]
pub enum End {
    /// Well, up to date but for these changes.
    Done(Vec<Arc<Change>>),
    /// Well, to be run again at this time at the latest; up to date but for these changes.
    DoneUntil(Duration, Vec<Arc<Change>>),
    /// Badly, to be tried again at this time.
    Failed(Duration),
    /// Somebody else was first: to be run again at once.
    Conflict,
    /// The controller was replaced meanwhile: to be run by its successor.
    Fenced,
}

/// The keys of one controller that are not asleep.
#[derive(Debug, Default)]
pub struct Workqueue {
    entries: FixedMap<Key, Entry>,
    ready: BTreeMap<Place, Key>,
    timers: BTreeMap<Due, Key>,
    next: i64,
    front: i64,
    taken: u64,
    running: usize,
    failing: usize,
}

impl Workqueue {
    /// Wakes a key because of a change. A run under way that reads a snapshot with the change is enough.
    pub fn wake(&mut self, key: &Key, change: &Arc<Change>) {
        let Some(entry) = self.entries.get_mut(key) else {
            let mut wakes = Wakes::default();
            wakes.add(change);
            self.insert_ready(key, wakes, Lane::High);
            return;
        };
        match entry.at {
            At::Running(snapshot) if change.revision <= snapshot => {}
            At::Running(_) | At::Ready((Lane::High, _)) => {
                entry.wakes.add(change);
            }
            At::Ready(_) | At::Waiting(_) => {
                entry.wakes.add(change);
                self.move_to_ready(key, Lane::High);
            }
        }
    }

    /// Queues a key behind all new work. `loaded_at` is the newest revision where it is queued for all that may have
    /// changed up to there, and not just because it is time.
    pub fn resync(&mut self, key: &Key, loaded_at: Option<Revision>) {
        let note = |wakes: &mut Wakes| {
            wakes.occur(Occasion::Resync);
            if let Some(at) = loaded_at {
                wakes.load(at);
            }
        };
        match self.entries.get_mut(key) {
            None => {
                let mut wakes = Wakes::default();
                note(&mut wakes);
                self.insert_ready(key, wakes, Lane::Low);
            }
            Some(entry) => {
                note(&mut entry.wakes);
                if matches!(entry.at, At::Waiting(_)) {
                    self.move_to_ready(key, Lane::Low);
                }
            }
        }
    }

    /// Moves the keys whose time has come to the ready ones.
    pub fn ripen(&mut self, now: Duration) {
        while let Some((due, key)) = self.timers.first_key_value() {
            if due.0 > now {
                break;
            }
            let key = key.clone();
            let entry = self.entries.get_mut(&key).expect("a timer's key has an entry");
            let failed = entry.failures > 0;
            // A key that was held back runs because of what woke it before.
            if failed || entry.wakes.changes().is_empty() {
                entry.wakes.occur(if failed { Occasion::Backoff } else { Occasion::Requeue });
            }
            self.move_to_ready(&key, Lane::Low);
        }
    }

    /// Hands out the next key, which runs from now on.
    pub fn take(&mut self, sight: Sight) -> Option<Taken> {
        let first = *self.ready.first_key_value()?.0;
        let low = self.ready.range((Lane::Low, i64::MIN)..).next().map(|(place, _)| *place);
        self.taken += 1;
        let place = low.filter(|_| self.taken.is_multiple_of(LOW_EVERY)).unwrap_or(first);
        let key = self.ready.remove(&place).expect("the place was just seen");
        let entry = self.entries.get_mut(&key).expect("a ready key has an entry");
        entry.at = At::Running(sight.snapshot);
        self.running += 1;
        let wakes = Arc::new(std::mem::take(&mut entry.wakes));
        let Sight { looked, snapshot } = sight;
        entry.running = Some(UnderWay { wakes: Arc::clone(&wakes), looked, snapshot });
        Some(Taken { key, wakes, failures: entry.failures, conflicts: entry.conflicts })
    }

    /// Takes a key back that was handed out: it waits until then, with what woke it.
    pub(crate) fn postpone(&mut self, taken: &Taken, until: Duration) {
        let Some(mut entry) = self.entries.remove(&taken.key) else { return };
        self.running -= 1;
        entry.running = None;
        entry.held = true;
        entry.wakes.merge(&taken.wakes);
        self.put_timer(&taken.key, entry, until);
    }

    /// Makes a key that waits for a time ready.
    pub(crate) fn ripen_key(&mut self, key: &Key) {
        if self.entries.get(key).is_some_and(|entry| matches!(entry.at, At::Waiting(_))) {
            self.move_to_ready(key, Lane::High);
        }
    }

    /// Ends the run of a key; `taken` is what [`Self::take`] gave.
    pub fn finish(&mut self, taken: &Taken, end: End) {
        let Some(mut entry) = self.entries.remove(&taken.key) else { return };
        debug_assert!(matches!(entry.at, At::Running(_)), "only a running key ends");
        entry.running = None;
        self.running -= 1;
        self.failing -= usize::from(entry.failures > 0);
        match end {
            End::Done(missed) => self.rest(taken, &mut entry, &missed, None),
            End::DoneUntil(due, missed) => self.rest(taken, &mut entry, &missed, Some(due)),
            End::Failed(due) => {
                entry.failures = entry.failures.saturating_add(1);
                entry.conflicts = 0;
                self.failing += 1;
                let woken_meanwhile = !entry.wakes.is_empty();
                entry.wakes.merge(&taken.wakes);
                if woken_meanwhile {
                    self.put_ready(&taken.key, entry, Lane::High);
                } else {
                    self.put_timer(&taken.key, entry, due);
                }
            }
            End::Conflict | End::Fenced => {
                entry.conflicts += u32::from(matches!(end, End::Conflict));
                self.failing += usize::from(entry.failures > 0);
                entry.wakes.merge(&taken.wakes);
                self.front -= 1;
                let place = (Lane::High, self.front);
                self.put_at(&taken.key, entry, place);
            }
        }
    }

    /// The same keys where nothing has run yet: a key that runs is ready, and what woke it is not told again.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut fork = Self {
            entries: self.entries.clone(),
            ready: self.ready.clone(),
            timers: self.timers.clone(),
            next: self.next,
            front: self.front,
            taken: self.taken,
            running: 0,
            failing: self.failing,
        };
        let mut running: Vec<Key> =
            self.entries.keys().filter(|key| self.is_running(key)).cloned().collect();
        running.sort();
        for key in running {
            if let Some(entry) = fork.entries.get_mut(&key) {
                entry.wakes.occur(Occasion::Resync);
            }
            fork.move_to_ready(&key, Lane::High);
        }
        fork
    }

    /// The object of a running key is gone: forgets the key, unless something woke it meanwhile.
    pub fn forget(&mut self, taken: &Taken) {
        self.finish(taken, End::Done(Vec::new()));
    }

    /// After a good end only what the run did not see counts; an occasion from meanwhile stands.
    fn rest(
        &mut self,
        taken: &Taken,
        entry: &mut Entry,
        missed: &[Arc<Change>],
        due: Option<Duration>,
    ) {
        let key = &taken.key;
        let mut wakes = std::mem::take(&mut entry.wakes);
        wakes.forget_changes();
        for change in missed {
            wakes.add(change);
        }
        let lane = if wakes.changes().is_empty() { Lane::Low } else { Lane::High };
        let rested = |wakes| Entry {
            at: entry.at,
            wakes,
            held: false,
            running: None,
            failures: 0,
            conflicts: 0,
        };
        if !wakes.is_empty() {
            self.put_ready(key, rested(wakes), lane);
        } else if let Some(due) = due {
            wakes.follow(&taken.wakes);
            self.put_timer(key, rested(wakes), due);
        }
    }

    fn insert_ready(&mut self, key: &Key, wakes: Wakes, lane: Lane) {
        let at = At::Ready((lane, 0));
        let entry = Entry { at, wakes, held: false, running: None, failures: 0, conflicts: 0 };
        self.put_ready(key, entry, lane);
    }

    fn move_to_ready(&mut self, key: &Key, lane: Lane) {
        let Some(entry) = self.entries.remove(key) else { return };
        match entry.at {
            At::Ready(place) => self.ready.remove(&place),
            At::Waiting(due) => self.timers.remove(&due),
            At::Running(_) => None,
        };
        self.put_ready(key, entry, lane);
    }

    fn put_ready(&mut self, key: &Key, entry: Entry, lane: Lane) {
        self.next += 1;
        let place = (lane, self.next);
        self.put_at(key, entry, place);
    }

    fn put_at(&mut self, key: &Key, mut entry: Entry, place: Place) {
        entry.at = At::Ready(place);
        entry.held = false;
        self.ready.insert(place, key.clone());
        self.entries.insert(key.clone(), entry);
    }

    fn put_timer(&mut self, key: &Key, mut entry: Entry, due: Duration) {
        self.next += 1;
        let due = (due, self.next.unsigned_abs());
        entry.at = At::Waiting(due);
        self.timers.insert(due, key.clone());
        self.entries.insert(key.clone(), entry);
    }
}

/// What can be asked.
impl Workqueue {
    /// When the next timer is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.timers.first_key_value().map(|((due, _), _)| *due)
    }

    /// Keys that could run now.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Keys that run now.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Keys that wait for a time, those in backoff among them.
    pub fn waiting(&self) -> usize {
        self.timers.len()
    }

    /// Keys whose last run failed.
    pub fn failing(&self) -> usize {
        self.failing
    }

    /// Whether the key runs now.
    pub fn is_running(&self, key: &Key) -> bool {
        self.entries.get(key).is_some_and(|entry| matches!(entry.at, At::Running(_)))
    }

    /// The keys that are not asleep, in no order.
    pub(crate) fn awake(&self) -> impl Iterator<Item = Awake<'_>> {
        self.entries.iter().map(|(key, entry)| Awake {
            key,
            standing: match (entry.at, entry.failures) {
                (At::Ready(_), _) => Standing::Ready,
                (At::Running(_), _) => Standing::Running,
                (At::Waiting(_), _) if entry.held => Standing::Held,
                (At::Waiting(_), 0) => Standing::Timer,
                (At::Waiting(_), failures) => Standing::Failing(failures),
            },
            wakes: &entry.wakes,
            under_way: entry.running.as_ref(),
        })
    }

    /// Some of the keys that are ready or running, for people.
    pub fn busy(&self, limit: usize) -> Vec<Key> {
        let running = self.entries.iter().filter(|(_, e)| matches!(e.at, At::Running(_)));
        let running = running.map(|(key, _)| key).take(limit.min(self.running));
        running.chain(self.ready.values()).take(limit).cloned().collect()
    }

    /// Some of the keys in backoff, with the number of failures.
    pub fn failing_keys(&self, limit: usize) -> Vec<(Key, u32)> {
        let waiting = self.timers.values().filter_map(|key| Some((key, self.entries.get(key)?)));
        let failed = waiting.filter(|(_, entry)| entry.failures > 0);
        failed.take(limit).map(|(key, entry)| (key.clone(), entry.failures)).collect()
    }
}

#[cfg(test)]
mod tests;
