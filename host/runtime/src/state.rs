//! What the runtime knows at one moment, behind one lock: the controllers, who sleeps on what, and how far the
//! changes have been looked at.
//!
//! # No wake-up is lost
//! A run reads a snapshot at revision S. When it ends, everything it read is known to be unchanged up to `seen`:
//! the commit's revision when it wrote (the store checked the read set), else S. Under the lock of this state the
//! changes after `seen` that the trigger has already looked at are matched against the new read set, and the read
//! set becomes the key's subscription; every later change finds it there. So each change is matched either here
//! or by the trigger, and what a run saw wakes nobody. What was read weakly is known to be unchanged up to S only:
//! it is matched from there on, less the run's own writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quadrille_object::GroupResource;
use quadrille_store::{Change, EFFORT_MAX, Key, Range, ReadSet, Revision};

use crate::budget::Budgets;
use crate::controller::{Controller, ControllerName};
use crate::hold::NEVER;
use crate::queue::{FixedMap, Sight, Taken};
use crate::record::Records;
use crate::rotation::Rotation;
use crate::shares::Shares;
use crate::subscription::{Subscriptions, lies_in};
use crate::wakes::Wakes;

/// Changes kept for runs that are under way; a run that reads something older is simply run again.
const RECENT_MAX: usize = 65_536;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) controllers: BTreeMap<u32, Controller>,
    pub(crate) names: BTreeMap<ControllerName, u32>,
    pub(crate) primaries: FixedMap<GroupResource, Vec<u32>>,
    pub(crate) rotation: Rotation,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) records: Records,
    /// Every change up to here has been looked at.
    pub(crate) position: Revision,
    /// Changes looked at that a run under way may not have seen, ascending.
    recent: VecDeque<Arc<Change>>,
    /// `recent` holds every change after this one that was looked at.
    recent_after: Revision,
    /// How many runs under way read at each snapshot.
    snapshots: BTreeMap<Revision, usize>,
    pub(crate) executing: usize,
    pub(crate) shares: Shares,
    pub(crate) budgets: Budgets,
    pub(crate) in_flight: usize,
    /// Runs that have not ended of controllers that were removed, by name: one that comes back waits for them, so that a
    /// key never runs twice at once.
    leaving: BTreeMap<ControllerName, usize>,
    /// The runs whose writes others may see already, and whose record is not kept yet.
    pub(crate) committing: BTreeSet<u64>,
    /// The runs that failed and whose Events are not committed yet, with what woke them.
    pub(crate) telling: BTreeMap<u64, Arc<Wakes>>,
    /// The newest revision that a run or a part of the host committed.
    pub(crate) last_commit: Revision,
    /// When the timers are looked at next.
    pub(crate) next_tick: Option<Duration>,
    /// When the first of the keys that were held back may run, where nobody has set a timer for it.
    pub(crate) postponed: Option<Duration>,
    pub(crate) next_controller: u32,
    pub(crate) next_run: u64,
}

impl State {
    pub(crate) fn new(position: Revision, first_run: u64, records_max: usize) -> Self {
        Self {
            controllers: BTreeMap::new(),
            names: BTreeMap::new(),
            primaries: FixedMap::default(),
            rotation: Rotation::default(),
            subscriptions: Subscriptions::default(),
            records: Records::new(records_max),
            position,
            recent: VecDeque::new(),
            recent_after: position,
            snapshots: BTreeMap::new(),
            executing: 0,
            shares: Shares::default(),
            budgets: Budgets::default(),
            in_flight: 0,
            leaving: BTreeMap::new(),
            committing: BTreeSet::new(),
            telling: BTreeMap::new(),
            last_commit: Revision::default(),
            next_tick: None,
            postponed: None,
            next_controller: 0,
            next_run: first_run,
        }
    }

    /// What is known here, where nothing has run yet: controllers, who sleeps on what, who waits.
    pub(crate) fn fork(&self, records_max: usize) -> Self {
        let controllers: BTreeMap<u32, Controller> =
            self.controllers.iter().map(|(id, controller)| (*id, controller.fork())).collect();
        let ids: Vec<u32> = controllers.keys().copied().collect();
        let mut fork = Self {
            controllers,
            names: self.names.clone(),
            primaries: self.primaries.clone(),
            subscriptions: self.subscriptions.clone(),
            next_controller: self.next_controller,
            ..Self::new(self.position, self.next_run, records_max)
        };
        for id in ids {
            fork.line_up(id);
        }
        fork
    }

    /// Looks at a change: wakes who has to know.
    pub(crate) fn look_at(&mut self, change: &Arc<Change>) {
        for id in self.primaries.get(&change.key().resource).cloned().unwrap_or_default() {
            let seen = self.subscriptions.seen(id, change.key());
            let concerned = self.controllers.get(&id).is_some_and(|c| c.concerns(change));
            if concerned && seen.is_none_or(|seen| seen < change.revision) {
                self.wake(id, change.key(), change);
            }
        }
        for (id, key) in self.subscriptions.woken_by(change) {
            self.wake(id, &key, change);
        }
        if !self.snapshots.is_empty() {
            self.recent.push_back(Arc::clone(change));
        }
    }

    /// Everything up to `through` has been looked at.
    pub(crate) fn advance(&mut self, through: Revision) {
        self.position = self.position.max(through);
        let needed_after = self.snapshots.first_key_value().map_or(self.position, |(at, _)| *at);
        while let Some(oldest) = self.recent.front() {
            if oldest.revision > needed_after && self.recent.len() <= RECENT_MAX {
                break;
            }
            self.recent_after = oldest.revision;
            self.recent.pop_front();
        }
        if self.recent.is_empty() {
            self.recent_after = self.position;
        }
    }

    /// Forgets what was looked at: the stream of changes broke off and begins again at `position`.
    pub(crate) fn restart_at(&mut self, position: Revision) {
        self.position = position;
        self.recent.clear();
        self.recent_after = position;
    }

    fn wake(&mut self, id: u32, key: &Key, change: &Arc<Change>) {
        let Some(controller) = self.controllers.get_mut(&id) else { return };
        controller.holds.wake(key, change);
        controller.queue.wake(key, change);
        self.rotation.add(&controller.version.spec.plugin, id);
    }

    /// Whether a run may start, as far as the whole host goes.
    pub(crate) fn may_take(&self, slots: usize, in_flight_max: usize) -> bool {
        self.executing < slots && self.in_flight < in_flight_max && !self.rotation.is_empty()
    }

    /// The next run, if one may start: the controller whose turn it is and its first key.
    pub(crate) fn take(
        &mut self,
        slots: usize,
        in_flight_max: usize,
        (snapshot, now): (Revision, Duration),
    ) -> Option<(u32, Taken)> {
        if !self.may_take(slots, in_flight_max) {
            return None;
        }
        self.shares.judge(now);
        let (id, taken) = loop {
            let Some((id, taken)) = self.take_key(slots, snapshot, now) else {
                let open = self.budgets.next_open(now);
                self.postponed = self.postponed.into_iter().chain(open).min();
                return None;
            };
            let controller = self.controllers.get_mut(&id)?;
            let Some(until) = controller.holds.until(&taken.key, now) else { break (id, taken) };
            controller.queue.postpone(&taken, until);
            self.postponed = self.postponed.into_iter().chain([until]).min();
        };
        let controller = self.controllers.get_mut(&id)?;
        controller.halted.remove(&taken.key);
        controller.executing += 1;
        *controller.under_way.entry(controller.version.generation).or_default() += 1;
        self.executing += 1;
        self.shares.take(id, now);
        self.in_flight += 1;
        *self.snapshots.entry(snapshot).or_default() += 1;
        Some((id, taken))
    }

    /// The first key of the controller whose turn it is.
    fn take_key(
        &mut self,
        slots: usize,
        snapshot: Revision,
        now: Duration,
    ) -> Option<(u32, Taken)> {
        // One slot stays free of any single controller, so that a slow one cannot take them all.
        let share = slots.saturating_sub(1).max(1);
        let (controllers, leaving, budgets) = (&self.controllers, &self.leaving, &self.budgets);
        let may_run = |id: u32, controller: &Controller| {
            controller.may_run(share)
                && self.shares.allows(id, slots)
                && (leaving.is_empty() || !leaving.contains_key(&controller.name()))
                && budgets.closed_until(&controller.version.spec.plugin, now).is_none()
        };
        let id = self.rotation.next(|id| controllers.get(&id).is_some_and(|c| may_run(id, c)))?;
        let controller = self.controllers.get_mut(&id)?;
        let taken = controller.queue.take(Sight { looked: self.position, snapshot })?;
        if controller.queue.ready() == 0 {
            let plugin = Arc::clone(&controller.version.spec.plugin);
            self.rotation.remove(&plugin, id);
        }
        Some((id, taken))
    }

    /// A run leaves its reconciler; from now on it only waits for its commit.
    pub(crate) fn leave_slot(&mut self, id: u32, taken_at: Duration, now: Duration) {
        // The slots of a controller that was removed went with it.
        if let Some(controller) = self.controllers.get_mut(&id) {
            self.shares.leave(id, taken_at, now);
            controller.executing -= 1;
            self.executing -= 1;
        }
    }

    /// A controller was taken out: what runs of it is awaited by the next of its name.
    pub(crate) fn leave(&mut self, controller: &Controller) {
        let under_way: usize = controller.under_way.values().sum();
        if under_way > 0 {
            *self.leaving.entry(controller.name()).or_default() += under_way;
        }
    }

    /// A run of a controller that was taken out is over.
    fn left(&mut self, name: &ControllerName) {
        let Some(left) = self.leaving.get_mut(name) else { return };
        *left -= 1;
        if *left == 0 {
            self.leaving.remove(name);
            if let Some(id) = self.names.get(name).copied() {
                self.line_up(id);
            }
        }
    }

    /// A run is over: nobody needs the changes for it any more.
    pub(crate) fn end_run(
        &mut self,
        id: u32,
        name: &ControllerName,
        generation: u64,
        snapshot: Revision,
    ) {
        self.in_flight -= 1;
        if let Some(count) = self.snapshots.get_mut(&snapshot) {
            *count -= 1;
            if *count == 0 {
                self.snapshots.remove(&snapshot);
            }
        }
        match self.controllers.get_mut(&id) {
            None => self.left(name),
            Some(controller) => {
                if let Some(left) = controller.under_way.get_mut(&generation) {
                    *left -= 1;
                    if *left == 0 {
                        controller.under_way.remove(&generation);
                    }
                }
            }
        }
        self.advance(self.position);
    }

    /// The changes after `seen` that were already looked at and touch `reads`; `None` when they are not all
    /// known any more, or too many to hold them against all that was read.
    pub(crate) fn missed(&self, reads: &ReadSet, seen: Revision) -> Option<Vec<Arc<Change>>> {
        let after = if reads.weak.is_empty() { seen } else { reads.at.min(seen) };
        if self.position <= after {
            return Some(Vec::new());
        }
        if self.recent_after > after {
            return None;
        }
        let from = self.recent.partition_point(|change| change.revision <= after);
        let ranges = reads.ranges.iter().chain(&reads.weak);
        let effort: usize = ranges.map(Range::effort).sum();
        if effort.saturating_mul(self.recent.len() - from) > EFFORT_MAX {
            return None;
        }
        let within = |ranges: &[Range], change| ranges.iter().any(|range| lies_in(range, change));
        let touched = self.recent.range(from..).filter(|change| {
            let unchecked = change.revision > seen;
            let checked =
                || reads.keys.binary_search(change.key()).is_ok() || within(&reads.ranges, change);
            // The transaction that ends at `seen` is the run's own.
            (unchecked && checked()) || (change.txn.1 != seen && within(&reads.weak, change))
        });
        Some(touched.cloned().collect())
    }

    /// Changes of a resource no longer concern a controller.
    pub(crate) fn watch_no_more(&mut self, resource: &GroupResource, id: u32) {
        if let Some(ids) = self.primaries.get_mut(resource) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.primaries.remove(resource);
            }
        }
    }

    /// Puts a controller with ready keys in line.
    pub(crate) fn line_up(&mut self, id: u32) {
        if let Some(controller) = self.controllers.get(&id)
            && controller.queue.ready() > 0
        {
            self.rotation.add(&controller.version.spec.plugin, id);
        }
    }

    /// Moves the timers that are due, and queues the resyncs that are due; answers when to come again.
    pub(crate) fn ripen(&mut self, now: Duration) -> (Option<Duration>, Vec<u32>) {
        let mut next: Option<Duration> = None;
        let mut resyncs = Vec::new();
        for (id, controller) in &mut self.controllers {
            controller.queue.ripen(now);
            if controller.next_resync.is_some_and(|due| due <= now) {
                resyncs.push(*id);
                controller.next_resync = controller.version.spec.resync.map(|every| now + every);
            }
            let due = controller.queue.next_due().filter(|due| *due < NEVER);
            let due = due.into_iter().chain(controller.next_resync);
            next = next.into_iter().chain(due).min();
            if controller.queue.ready() > 0 {
                self.rotation.add(&controller.version.spec.plugin, *id);
            }
        }
        (next, resyncs)
    }
}
