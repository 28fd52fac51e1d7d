//! A fork of the runtime: the same controllers, sleeping keys and timers over a fork of the store.
//!
//! Nothing is run again because of it: keys sleep on what they slept on, so that a change in the fork wakes whom it
//! would wake here, and the cost is that of copying what the runtime knows. Its runs are trials
//! ([`crate::ReconcileRequest::trial`]). It lives on a clock and a supervisor of its own, which whoever asked for it steers.

use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::{Clock, Random, Supervisor};
use quadrille_object::GroupResource;
use quadrille_registry::Registry;
use quadrille_store::{ChangeFilter, Key, Revision, Snapshot, Store, View};

use crate::controller::{Controller, ControllerName, Version};
use crate::reconciler::{ControllerSpec, Reconciler};
use crate::runtime::{Config, ControllerError, Resync, Runtime};
use crate::state::State;

/// What a fork lives on.
#[derive(Clone, Debug)]
pub struct ForkParts {
    /// Its time; should begin with the time here, because timers are kept.
    pub clock: Arc<dyn Clock>,
    /// Its chance.
    pub random: Arc<dyn Random>,
    /// Its tasks.
    pub supervisor: Supervisor,
    /// How many run records it keeps.
    pub records_max: usize,
}

impl Runtime {
    /// A runtime over a fork of the store as it is now, with all controllers. It is not started.
    #[must_use]
    pub fn fork(&self, parts: ForkParts) -> Self {
        let state = self.shared.lock();
        let snapshot = self.registry().store().snapshot();
        let mut copied = state.fork(parts.records_max);
        drop(state);
        let known = self.catch_up(&mut copied, snapshot.revision());
        let fork = self.over(&snapshot, parts, copied);
        if !known {
            // Changes that nobody here has looked at are gone from the history: every object is looked at.
            let mut state = fork.shared.lock();
            let ids: Vec<u32> = state.controllers.keys().copied().collect();
            for id in ids {
                fork.shared.resync(&mut state, id, Resync::Loaded);
            }
        }
        fork
    }

    /// A runtime without controllers over a fork of a snapshot. It is not started.
    #[must_use]
    pub fn fork_bare(&self, snapshot: &Snapshot, parts: ForkParts) -> Self {
        let state = State::new(snapshot.revision(), self.next_run(), parts.records_max);
        self.over(snapshot, parts, state)
    }

    fn over(&self, snapshot: &Snapshot, parts: ForkParts, state: State) -> Self {
        let store = Store::fork(snapshot, Arc::clone(&parts.clock));
        let registry = self.registry().fork(store, parts.clock, parts.random);
        let records_max = parts.records_max;
        let config =
            Config { records_max, journal: None, trial: true, ..self.shared.config.clone() };
        Self::with_state(config, registry, parts.supervisor, state)
    }

    /// Looks at the changes up to a revision that the state does not know; false when they cannot be read any more.
    fn catch_up(&self, state: &mut State, through: Revision) -> bool {
        let mut changes = self.registry().store().changes(ChangeFilter::default(), state.position);
        while state.position < through {
            let Ok(Some(batch)) = changes.try_next() else {
                state.restart_at(through);
                return false;
            };
            for change in batch.changes.iter().filter(|change| change.revision <= through) {
                state.look_at(change);
            }
            state.advance(batch.through.min(through));
        }
        true
    }

    /// The runtime over another registry and with another state.
    fn with_state(
        config: Config,
        registry: Registry,
        supervisor: Supervisor,
        state: State,
    ) -> Self {
        let fork = Self::build(config, registry, supervisor);
        *fork.shared.lock() = state;
        fork
    }

    /// Adds a controller whose objects are left alone until something wakes them.
    ///
    /// # Errors
    /// [`ControllerError::Taken`].
    pub fn add_asleep(
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
        Ok(())
    }

    /// Queues one object as a resync would.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`].
    pub fn resync_object(&self, name: &ControllerName, key: &Key) -> Result<(), ControllerError> {
        let mut state = self.shared.lock();
        let unknown = || ControllerError::Unknown(name.clone());
        let id = state.names.get(name).copied().ok_or_else(unknown)?;
        let controller = state.controllers.get_mut(&id).ok_or_else(unknown)?;
        controller.queue.resync(key, None);
        state.line_up(id);
        drop(state);
        self.shared.pump();
        Ok(())
    }

    /// The controllers with their code; of one plugin, or all.
    pub fn controllers(
        &self,
        plugin: Option<&str>,
    ) -> Vec<(Arc<ControllerSpec>, Arc<dyn Reconciler>)> {
        let state = self.shared.lock();
        let versions = state.controllers.values().map(|controller| &controller.version);
        let wanted = versions.filter(|v| plugin.is_none_or(|p| *v.spec.plugin == *p));
        wanted.map(|v| (Arc::clone(&v.spec), Arc::clone(&v.reconciler))).collect()
    }

    /// The number of the next run: what is below it has begun.
    pub fn next_run(&self) -> u64 {
        self.shared.lock().next_run
    }

    /// How many runs are under way.
    pub fn under_way(&self) -> usize {
        self.shared.lock().in_flight
    }

    /// The next time that a key asked for, or waits for after a failure, and the key's resource; resyncs do not count.
    pub fn next_timer(&self) -> Option<(Duration, GroupResource)> {
        let state = self.shared.lock();
        let timers = state.controllers.values().filter(|controller| !controller.suspended);
        let timers = timers.filter_map(|controller| {
            Some((controller.queue.next_due()?, controller.version.spec.primary.clone()))
        });
        timers.min()
    }

    /// Waits until something ends or is looked at.
    pub async fn progressed(&self) {
        self.shared.progress.notified().await;
    }
}
