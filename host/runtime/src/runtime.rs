//! The runtime's handle: controllers come, are replaced, and go while everything runs.
//!
//! [`Runtime::build`] opens nothing and spawns nothing; [`Runtime::start`] spawns the trigger, the timers and the
//! host's own controllers under the supervisor. Runs are tasks of their own: a run holds one of few slots while its
//! reconciler works and none while it waits for its commit, so that many commits share one flush to disk.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::{Clock, Random, Supervisor};
use quadrille_object::GroupResource;
use quadrille_registry::Registry;
use quadrille_store::{Journal, Key, Query, Range, Revision, View};
use tokio::sync::Notify;

use crate::backoff::Backoff;
use crate::controller::{Controller, ControllerName, Version};
use crate::numbers;
use crate::overlay::OverlayLimits;
use crate::queue::Workqueue;
use crate::reconciler::{ControllerSpec, Reconciler};
use crate::record::RunRecord;
use crate::state::State;
use crate::stats::ControllerStats;

/// How the runtime is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many reconcilers work at once, in all. Default: one per core, and at least 2, so that a slow one
    /// leaves room for the others. More helps only reconcilers that wait for the outside.
    pub slots: usize,
    /// How many runs are under way at once, those that wait for their commit among them. Default 256: enough to
    /// fill a group commit; each holds its writes in memory.
    pub in_flight_max: usize,
    /// After so many invalidated runs in a row nobody else commits while the key runs again. Default 3.
    pub invalidations_max: u32,
    /// How long others wait for such a run at first; a slower one takes its chance with everybody else, and gets
    /// twice as long the next time, up to eight times this. Default 1 s.
    pub turn_max: Duration,
    /// The wait after failures.
    pub backoff: Backoff,
    /// What one run may do.
    pub limits: OverlayLimits,
    /// How many run records are kept in memory. Default 4,096.
    pub records_max: usize,
    /// Where all run records are kept; default `None`: only the newest are, in memory.
    pub journal: Option<Journal>,
    /// Whether the host's own controllers run: garbage collector, namespace life-cycle, default objects.
    pub builtin: bool,
    /// How long an Event lives after its last write; default one hour, `None` keeps Events for good.
    pub event_life: Option<Duration>,
    /// Whether runs are trials on a fork. Default false.
    pub trial: bool,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            slots: cores.max(2),
            in_flight_max: 256,
            invalidations_max: 3,
            turn_max: Duration::from_secs(1),
            backoff: Backoff::default(),
            limits: OverlayLimits::default(),
            records_max: 4096,
            journal: None,
            builtin: true,
            event_life: Some(Duration::from_hours(1)),
            trial: false,
        }
    }
}

/// How often the length of a key's turn doubles when its run outlives it: to eight times, so that a run which waits
/// for webhooks gets its commit, and nobody holds up the others for longer than a client waits for an answer.
const TURN_DOUBLINGS_MAX: u32 = 3;

impl Config {
    /// How long a run may have the commit for itself, after its key's runs were thrown away so often in a row; `None`
    /// when it has to share.
    pub(crate) fn turn_after(&self, conflicts: u32) -> Option<Duration> {
        let turns = conflicts.checked_sub(self.invalidations_max)?;
        Some(self.turn_max * (1 << turns.min(TURN_DOUBLINGS_MAX)))
    }
}

/// A controller is missing, or there already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControllerError {
    /// Nothing has this name.
    #[error("no controller {0}")]
    Unknown(ControllerName),
    /// The name is taken.
    #[error("controller {0} is already there")]
    Taken(ControllerName),
    /// A candidate is for another resource than the version that runs.
    #[error(
        "the candidate for controller {0} reconciles another resource than the version that runs"
    )]
    OtherPrimary(ControllerName),
}

/// The runtime; cheap to clone.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) supervisor: Supervisor,
    state: Mutex<State>,
    /// An earlier timer was set.
    pub(crate) timers: Notify,
    /// Something ended or was looked at.
    pub(crate) progress: Notify,
    parts: Mutex<Vec<Arc<Gauge>>>,
}

/// Why every object of a controller is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resync {
    /// It is time.
    Due,
    /// Its code is new, or changes were missed: it may act on anything that is there.
    Loaded,
}

/// How far one of the host's own loops is.
#[derive(Debug)]
pub(crate) struct Gauge {
    pub(crate) name: &'static str,
    pub(crate) position: AtomicU64,
    pub(crate) busy: AtomicUsize,
    /// The changes that led to what is still to be done; revision 0 stands for what was there at the start.
    pub(crate) causes: Mutex<BTreeSet<Revision>>,
}

impl Runtime {
    /// A runtime without controllers.
    pub fn build(config: Config, registry: Registry, supervisor: Supervisor) -> Self {
        let (clock, random) = (Arc::clone(registry.clock()), Arc::clone(registry.random()));
        let position = registry.store().revision();
        let last = config.journal.as_ref().map_or(0, Journal::last_number);
        let first_run = numbers::first(position, last);
        let state = Mutex::new(State::new(position, first_run, config.records_max));
        let shared = Shared {
            config,
            registry,
            clock,
            random,
            supervisor,
            state,
            timers: Notify::new(),
            progress: Notify::new(),
            parts: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Spawns what drives it; call it once.
    pub fn start(&self) {
        let shared = &self.shared;
        shared.supervisor.spawn("trigger", crate::trigger::follow(Arc::clone(shared)));
        shared.supervisor.spawn("timers", crate::trigger::tick(Arc::clone(shared)));
        if shared.config.builtin {
            crate::builtin::start(self);
        }
    }

    /// Adds a controller; every object of its primary resource is queued.
    ///
    /// # Errors
    /// [`ControllerError::Taken`]: use [`Self::replace`].
    pub fn add(
        &self,
        spec: ControllerSpec,
        reconciler: Arc<dyn Reconciler>,
    ) -> Result<(), ControllerError> {
        let name = ControllerName::of(&spec);
        let mut state = self.shared.lock();
        if state.names.contains_key(&name) {
            return Err(ControllerError::Taken(name));
        }
        let id = state.next_controller;
        state.next_controller += 1;
        state.primaries.entry(spec.primary.clone()).or_default().push(id);
        state.names.insert(name, id);
        let version = Version::new(spec, reconciler, 1, &self.shared.config.limits);
        state.controllers.insert(id, Controller::new(version));
        self.shared.resync(&mut state, id, Resync::Loaded);
        drop(state);
        self.shared.pump();
        Ok(())
    }

    /// Puts a new version in the place of an old one, at once: no run of the old version starts any more, and none
    /// that has not been checked by the store commits any more. Keys of such runs are queued again, every object is
    /// reconciled by the new version, timers and backoff stay. A finalizer that only the old one has goes from its objects.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`].
    pub fn replace(
        &self,
        spec: ControllerSpec,
        reconciler: Arc<dyn Reconciler>,
    ) -> Result<u64, ControllerError> {
        let name = ControllerName::of(&spec);
        let mut state = self.shared.lock();
        let Some(id) = state.names.get(&name).copied() else {
            return Err(ControllerError::Unknown(name));
        };
        let Some(controller) = state.controllers.get_mut(&id) else {
            return Err(ControllerError::Unknown(name));
        };
        controller.fence.advance();
        let candidate = controller.candidate.take();
        if let Some(candidate) = &candidate {
            candidate.end();
        }
        let generation = controller.version.generation + 1;
        let before = Arc::clone(&controller.version.spec);
        let (old, new) = (before.primary.clone(), spec.primary.clone());
        let limits = &self.shared.config.limits;
        controller.version = Version::new(spec, reconciler, generation, limits);
        controller.halted.clear();
        controller.failed.clear();
        if old != new {
            // The old keys mean nothing to the new version.
            controller.queue = Workqueue::default();
            controller.queue_since = generation;
            state.subscriptions.remove_controller(id);
            state.watch_no_more(&old, id);
            state.primaries.entry(new).or_default().push(id);
        }
        let after = state.controllers.get(&id).map(|c| Arc::clone(&c.version.spec));
        let is_left = after.is_some_and(|after| {
            after.finalizer != before.finalizer
                || old != after.primary
                || before.grant != after.grant
        });
        self.shared.resync(&mut state, id, Resync::Loaded);
        drop(state);
        if is_left {
            self.shared.release(before);
        }
        // Where it takes over it holds what it kept.
        if let Some(candidate) = candidate {
            self.shared.release(Arc::clone(candidate.spec()));
        }
        self.shared.pump();
        Ok(generation)
    }

    /// Waits until no run of a version before the present one is under way.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`].
    pub async fn drained(&self, name: &ControllerName) -> Result<(), ControllerError> {
        loop {
            let progress = self.shared.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let drained = self.shared.with(name, |controller| {
                let present = controller.version.generation;
                controller.under_way.range(..present).next().is_none()
            })?;
            if drained {
                return Ok(());
            }
            progress.await;
        }
    }

    /// Takes a controller out: no run starts and none commits any more. One of the same name that comes later begins
    /// when the runs of this one have ended.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`].
    pub fn remove(&self, name: &ControllerName) -> Result<(), ControllerError> {
        let mut state = self.shared.lock();
        let unknown = || ControllerError::Unknown(name.clone());
        let id = state.names.remove(name).ok_or_else(unknown)?;
        let controller = state.controllers.remove(&id).ok_or_else(unknown)?;
        controller.fence.advance();
        if let Some(candidate) = &controller.candidate {
            candidate.end();
        }
        state.executing -= controller.executing;
        state.shares.forget(id);
        state.leave(&controller);
        state.rotation.remove(&name.plugin, id);
        state.subscriptions.remove_controller(id);
        state.watch_no_more(&controller.version.spec.primary, id);
        drop(state);
        self.shared.progress.notify_waiters();
        self.shared.pump();
        Ok(())
    }

    /// Starts no run any more until [`Self::resume`]; keys, wakes and timers are kept, runs under way end.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`].
    pub fn suspend(&self, name: &ControllerName) -> Result<(), ControllerError> {
        self.shared.with(name, |controller| controller.suspended = true)
    }

    /// Goes on with what was kept.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`].
    pub fn resume(&self, name: &ControllerName) -> Result<(), ControllerError> {
        self.shared.with(name, |controller| controller.suspended = false)?;
        let mut state = self.shared.lock();
        if let Some(id) = state.names.get(name).copied() {
            state.line_up(id);
        }
        drop(state);
        self.shared.pump();
        Ok(())
    }

    /// The controllers in numbers; of one plugin, or all.
    pub fn stats(&self, plugin: Option<&str>) -> Vec<ControllerStats> {
        let state = self.shared.lock();
        let named = state.controllers.iter();
        let wanted = named.filter(|(_, c)| plugin.is_none_or(|p| *c.version.spec.plugin == *p));
        wanted.map(|(id, c)| c.stats(state.subscriptions.count(*id))).collect()
    }

    /// Whether any controller reads objects of a resource: as its primary, in a run so far, or by a grant that lets it.
    pub fn is_read(&self, resource: &GroupResource) -> bool {
        let state = self.shared.lock();
        let may_read = |controller: &Controller| {
            let grant = &controller.version.spec.grant;
            grant.rules.iter().any(|rule| {
                rule.group == resource.group
                    && rule.resource == resource.resource
                    && rule.verbs.iter().any(|verb| matches!(&**verb, "get" | "list"))
            })
        };
        state.primaries.contains_key(resource)
            || state.subscriptions.is_read(resource)
            || state.controllers.values().any(may_read)
    }

    /// The newest runs that are in memory, newest first; for one object, of one plugin, or all. What is older is in
    /// the journal: [`Self::find_runs`].
    pub fn runs(
        &self,
        object: Option<&Key>,
        plugin: Option<&str>,
        limit: usize,
    ) -> Vec<Arc<RunRecord>> {
        self.shared.lock().records.newest(limit, |record| {
            object.is_none_or(|key| record.object == *key)
                && plugin.is_none_or(|plugin| **record.plugin() == *plugin)
        })
    }

    /// The registry that runs write through.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Up to where the changes have been looked at.
    pub fn position(&self) -> Revision {
        self.shared.lock().position
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with<T>(
        &self,
        name: &ControllerName,
        work: impl FnOnce(&mut Controller) -> T,
    ) -> Result<T, ControllerError> {
        let mut state = self.lock();
        let unknown = || ControllerError::Unknown(name.clone());
        let id = state.names.get(name).copied().ok_or_else(unknown)?;
        Ok(work(state.controllers.get_mut(&id).ok_or_else(unknown)?))
    }

    /// Queues every object of the controller's primary resource behind all new work.
    pub(crate) fn resync(&self, state: &mut State, id: u32, why: Resync) {
        let Some(controller) = state.controllers.get_mut(&id) else { return };
        let spec = Arc::clone(&controller.version.spec);
        controller.next_resync = spec.resync.map(|every| self.clock.monotonic() + every);
        let all = Query::whole(Range::all(spec.primary.clone()));
        let snapshot = self.registry.store().snapshot();
        let loaded_at = (why == Resync::Loaded).then(|| snapshot.revision());
        for object in snapshot.list(&all) {
            if controller.version.minds(&object) {
                controller.queue.resync(&object.key, loaded_at);
            }
        }
        if let Some(due) = controller.next_resync {
            self.set_timer(state, due);
        }
        state.line_up(id);
    }

    /// Sees to it that the timers are looked at when this one is due.
    pub(crate) fn set_timer(&self, state: &mut State, due: Duration) {
        if state.next_tick.is_none_or(|next| due < next) {
            state.next_tick = Some(due);
            self.timers.notify_one();
        }
    }

    /// Registers one of the host's own loops, so that it counts for [`Runtime::settled`].
    pub(crate) fn part(&self, name: &'static str) -> Arc<Gauge> {
        let position = AtomicU64::new(self.registry.store().revision().0);
        let (busy, causes) = (AtomicUsize::new(0), Mutex::default());
        let gauge = Arc::new(Gauge { name, position, busy, causes });
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&gauge));
        gauge
    }

    pub(crate) fn parts(&self) -> Vec<Arc<Gauge>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One of the host's own loops looked at everything up to `through` and has `busy` things to do, because of the
    /// changes `causes`.
    pub(crate) fn report(
        &self,
        gauge: &Gauge,
        through: Revision,
        busy: usize,
        causes: BTreeSet<Revision>,
    ) {
        *gauge.causes.lock().unwrap_or_else(PoisonError::into_inner) = causes;
        gauge.busy.store(busy, Ordering::Release);
        gauge.position.store(through.0, Ordering::Release);
        self.progress.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
