//! Holding keys back: a key that fights runs later, or not until it is released.
//!
//! What wakes a held key is kept, and its run begins when the hold ends. A change from outside ends it at once: people
//! who step in are not kept waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quadrille_store::{Cause, Change, Key};

use crate::controller::ControllerName;
use crate::runtime::Runtime;

/// When a key that is frozen would run by itself: never, as far as a clock goes.
pub(crate) const NEVER: Duration = Duration::from_hours(24 * 365 * 100);
/// How many keys of a controller are held; of more the rest runs.
const HELD_MAX: usize = 10_000;

/// The keys of one controller that are held.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    keys: BTreeMap<Key, Hold>,
}

#[derive(Clone, Debug)]
struct Hold {
    until: Duration,
    /// Why, where it is for good.
    frozen: Option<Arc<str>>,
}

impl Holds {
    /// Until when a key may not run, if it may not run now.
    pub(crate) fn until(&mut self, key: &Key, now: Duration) -> Option<Duration> {
        if self.keys.is_empty() {
            return None;
        }
        let until = self.keys.get(key)?.until;
        if until > now {
            return Some(until);
        }
        self.keys.remove(key);
        None
    }

    /// Ends the hold of a key when somebody outside changed something that it reads.
    pub(crate) fn wake(&mut self, key: &Key, change: &Change) {
        if !self.keys.is_empty() && matches!(*change.cause, Cause::Request(_)) {
            self.keys.remove(key);
        }
    }

    /// Keys that are held for good, and why.
    pub(crate) fn frozen(&self) -> impl Iterator<Item = (&Key, &Arc<str>)> {
        self.keys.iter().filter_map(|(key, hold)| Some((key, hold.frozen.as_ref()?)))
    }

    /// Why a key is held for good, if it is.
    pub(crate) fn frozen_for(&self, key: &Key) -> Option<&Arc<str>> {
        self.keys.get(key)?.frozen.as_ref()
    }

    fn set(&mut self, key: &Key, hold: Hold) {
        if self.keys.len() < HELD_MAX || self.keys.contains_key(key) {
            self.keys.insert(key.clone(), hold);
        }
    }
}

impl Runtime {
    /// Lets a key of a controller not run before `wait` is over; a controller that is not there is fine.
    pub fn hold(&self, name: &ControllerName, key: &Key, wait: Duration) {
        let until = self.shared.clock.monotonic().saturating_add(wait);
        self.set_hold(name, key, Hold { until, frozen: None });
    }

    /// Lets a key of a controller not run until it is released, or something that it reads is changed from outside.
    pub fn freeze(&self, name: &ControllerName, key: &Key, why: &str) {
        self.set_hold(name, key, Hold { until: NEVER, frozen: Some(why.into()) });
    }

    /// Ends the hold of a key, and runs it if something woke it meanwhile.
    pub fn release(&self, name: &ControllerName, key: &Key) {
        let mut state = self.shared.lock();
        let Some(id) = state.names.get(name).copied() else { return };
        if let Some(controller) = state.controllers.get_mut(&id)
            && controller.holds.keys.remove(key).is_some()
        {
            controller.queue.ripen_key(key);
        }
        state.line_up(id);
        drop(state);
        self.shared.pump();
    }

    fn set_hold(&self, name: &ControllerName, key: &Key, hold: Hold) {
        let mut state = self.shared.lock();
        let Some(id) = state.names.get(name).copied() else { return };
        if let Some(controller) = state.controllers.get_mut(&id) {
            controller.holds.set(key, hold);
        }
    }
}
