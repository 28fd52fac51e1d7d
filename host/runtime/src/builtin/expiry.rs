//! Events expire: a while after its last write, an Event is deleted.
//!
//! When each is due is kept in memory; after a restart it follows from the times that the Events themselves tell. Expired
//! Events are deleted as every object is, in batches, so that watchers see them go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quadrille_object::{GroupResource, Timestamp};
use quadrille_store::{Change, Key, Object, Query, Range, Snapshot, View};
use serde_json::Value;

use super::batch::Batch;
use super::part::Part;
use super::refused::Refused;

/// Expired Events wait this long for others, so that a sweep finds more than one. It is measured from when the first was
/// due, so that it ends whatever else changes meanwhile.
const GATHER_MICROS: i64 = 1_000_000;
/// The longest wait for the next sweep; it only bounds how late a jump of the wall clock is seen.
const WAIT_MAX: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(super) struct Expiry {
    /// How long an Event lives; `None` keeps it for good.
    life: Option<Duration>,
    /// By when it is due.
    due: BTreeSet<(Timestamp, Key)>,
    by_key: BTreeMap<Key, Timestamp>,
    looking: Vec<(Timestamp, Key)>,
    /// Whether the last sweep left something.
    sweeping: bool,
}

fn events() -> GroupResource {
    GroupResource::new("", "events")
}

impl Expiry {
    pub(super) fn of(snapshot: &Snapshot, life: Option<Duration>) -> Self {
        let (due, by_key) = (BTreeSet::new(), BTreeMap::new());
        let mut this = Self { life, due, by_key, looking: Vec::new(), sweeping: false };
        if life.is_some() {
            for event in snapshot.list(&Query::whole(Range::all(events()))) {
                this.note(&event.key, last_written(&event));
            }
        }
        this
    }

    pub(super) fn look_at(&mut self, change: &Change) {
        let key = change.key();
        if self.life.is_none() || key.resource != events() {
            return;
        }
        self.forget(key);
        if change.after().is_some() {
            self.note(key, change.at);
        }
    }

    fn note(&mut self, key: &Key, written: Timestamp) {
        let life = self.life.unwrap_or_default();
        let micros = i64::try_from(life.as_micros()).unwrap_or(i64::MAX);
        let at = Timestamp(written.0.saturating_add(micros));
        self.by_key.insert(key.clone(), at);
        self.due.insert((at, key.clone()));
    }

    fn forget(&mut self, key: &Key) {
        if let Some(at) = self.by_key.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }

    /// How long until the next sweep has something to do.
    pub(super) fn wait(&self, now: Timestamp) -> Duration {
        if self.sweeping && self.is_busy(now) {
            return Duration::ZERO;
        }
        let Some((at, _)) = self.due.first() else { return WAIT_MAX };
        let gathered = at.0.saturating_add(GATHER_MICROS);
        let micros = u64::try_from(gathered.saturating_sub(now.0)).unwrap_or(0);
        Duration::from_micros(micros).min(WAIT_MAX)
    }
}

impl Part for Expiry {
    fn name(&self) -> &'static str {
        "event-expiry"
    }

    fn is_busy(&self, now: Timestamp) -> bool {
        self.due.first().is_some_and(|(at, _)| *at <= now)
    }

    /// Deletes what is due, as much as a batch takes.
    fn work(&mut self, batch: &mut Batch, _refused: &Refused) {
        let now = batch.view().0.registry().clock().now();
        batch.act_on(&[]);
        while !batch.is_full() && self.is_busy(now) {
            let Some((at, key)) = self.due.pop_first() else { break };
            self.by_key.remove(&key);
            if let Some(event) = batch.view().get(&key) {
                batch.delete(&event, None);
            }
            self.looking.push((at, key));
        }
        self.sweeping = self.is_busy(now);
    }

    fn settle(&mut self) {
        self.looking.clear();
    }

    fn retry(&mut self) {
        self.sweeping = true;
        for (at, key) in self.looking.drain(..) {
            self.by_key.entry(key.clone()).or_insert(at);
            self.due.insert((at, key));
        }
    }

    fn give_up(&mut self) -> Option<Key> {
        let last = self.looking.pop();
        self.looking.clear();
        last.map(|(_, key)| key)
    }

    fn look_again(&mut self, key: &Key) {
        if self.life.is_some() && key.resource == events() && !self.by_key.contains_key(key) {
            self.by_key.insert(key.clone(), Timestamp(0));
            self.due.insert((Timestamp(0), key.clone()));
        }
    }
}

/// The latest time that an Event tells of itself.
fn last_written(event: &Object) -> Timestamp {
    let value: Value = serde_json::from_slice(&event.bytes).unwrap_or_default();
    let places = [
        "/metadata/creationTimestamp",
        "/firstTimestamp",
        "/lastTimestamp",
        "/eventTime",
        "/series/lastObservedTime",
    ];
    let times = places.iter().filter_map(|place| value.pointer(place)?.as_str());
    times.filter_map(Timestamp::parse_rfc3339).max().unwrap_or(Timestamp(0))
}
