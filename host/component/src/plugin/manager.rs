//! The manager's handle and its loop: follow the `Plugin` objects, and keep their status fresh at a bounded rate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quadrille_kit::{Clock, Supervisor};
use quadrille_registry::Registry;
use quadrille_runtime::{GrantRule, Runtime};
use quadrille_store::{ChangeFilter, ChangesError, Revision};
use serde_json::Value;

use super::controllers::Controllers;
use super::files::ComponentFiles;
use super::objects::{PluginObjects, plugins};
use super::rollout::PreflightRunner;
use super::setback::Again;
use super::spec::PluginSpec;
use super::status::{Blocked, Condition, KeptVersion, Phase};
use super::sweep::INTERVAL;
use super::trial::{Before, OnTrial};
use crate::component::LoadedComponent;
use crate::load::{LoadError, Loader};
use crate::log::PluginLog;

/// How plugins are managed.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    /// The directory of uploaded components.
    pub components_dir: PathBuf,
    /// How often a status is written at most, and looked at for changes. Default 1 s.
    pub status_interval: Duration,
}

impl ManagerConfig {
    /// The defaults, with a directory.
    pub fn new(components_dir: PathBuf) -> Self {
        Self { components_dir, status_interval: Duration::from_secs(1) }
    }
}

/// What the manager works with.
#[derive(Clone, Debug)]
pub struct ManagerParts {
    /// Reads and writes `Plugin` objects and definitions.
    pub registry: Registry,
    /// Makes components of bytes.
    pub loader: Arc<Loader>,
    /// Runs their controllers.
    pub runtime: Runtime,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes recorded runs again, for the strategy `Preflight`; `None` where runs are not recorded.
    pub preflight: Option<Arc<dyn PreflightRunner>>,
}

/// The plugin manager; cheap to clone.
#[derive(Clone, Debug)]
pub struct PluginManager {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: ManagerConfig,
    pub(super) loader: Arc<Loader>,
    pub(super) controllers: Controllers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) objects: PluginObjects,
    pub(super) files: ComponentFiles,
    pub(super) preflight: Option<Arc<dyn PreflightRunner>>,
    pub(super) entries: Mutex<Entries>,
}

/// The plugins by name.
pub(super) type Entries = BTreeMap<String, Arc<Entry>>;

/// One plugin.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Held while the plugin is brought in line: one at a time per plugin, any number of plugins at once.
    pub(super) state: Arc<tokio::sync::Mutex<State>>,
    pub(super) log: Arc<PluginLog>,
    pub(super) denials: Arc<AtomicU64>,
}

/// What is known of a plugin.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The uid of the object that all this is about.
    pub(super) uid: Option<Arc<str>>,
    /// The spec that was acted on last, with its generation.
    pub(super) applied: Option<(i64, PluginSpec)>,
    pub(super) active: Option<LoadedComponent>,
    /// The spec by which what runs was put in place; what was revoked since is taken out of it.
    pub(super) running: Option<PluginSpec>,
    /// Whether some controllers are not as `running` says, because a switch ended in the middle.
    pub(super) is_mixed: bool,
    /// Set after a failure that may pass.
    pub(super) again: Option<Again>,
    /// Grants that are in force no more, under which finalizers may still be on objects.
    pub(super) ending: Vec<GrantRule>,
    /// Set while finalizers of other versions, or under such grants, may still be on objects.
    pub(super) owed: Option<Again>,
    /// What the object's status said when the spec was first seen.
    pub(super) before: Before,
    /// Names of the controllers that the runtime has.
    pub(super) started: Vec<Arc<str>>,
    pub(super) blocked: Vec<Blocked>,
    pub(super) versions: Vec<KeptVersion>,
    pub(super) conditions: Vec<Condition>,
    pub(super) phase: Option<Phase>,
    pub(super) written: Option<Value>,
    /// A version that has some of the keys.
    pub(super) trial: Option<OnTrial>,
    /// How the last rollout went, as the status shows it; null for a plain replacement.
    pub(super) rollout: Value,
}

impl PluginManager {
    /// Opens the directory of components; starts nothing.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn build(config: ManagerConfig, parts: ManagerParts) -> Result<Self, LoadError> {
        let files = ComponentFiles::open(&config.components_dir)?;
        let inner = Inner {
            config,
            loader: parts.loader,
            controllers: Controllers { runtime: parts.runtime, clock: Arc::clone(&parts.clock) },
            clock: parts.clock,
            objects: PluginObjects { registry: parts.registry },
            files,
            preflight: parts.preflight,
            entries: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Loads every plugin there is and answers the revision from which [`Self::run`] goes on. A plugin that cannot
    /// be loaded says so in its status and stops no other.
    pub async fn start(&self) -> Revision {
        let from = self.inner.objects.registry.store().revision();
        // Those that went while nobody looked are known by nothing but their entries.
        let mut gone: BTreeSet<String> = self.lock().keys().cloned().collect();
        for object in self.inner.objects.all() {
            gone.remove(&*object.key.name);
            if object.meta.deleted_at.is_some() {
                self.leave_later(&object.key.name);
            } else {
                self.sync(&object.key.name).await;
            }
        }
        for name in gone {
            self.sync(&name).await;
        }
        self.sweep();
        from
    }

    /// Follows the `Plugin` objects until the shutdown.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn run(self, from: Revision, supervisor: Supervisor) -> Result<(), ChangesError> {
        let shutdown = supervisor.shutdown();
        let filter = ChangeFilter { resource: Some(plugins()) };
        let store = self.inner.objects.registry.store().clone();
        let mut changes = store.changes(filter.clone(), from);
        let (clock, interval) = (&self.inner.clock, self.inner.config.status_interval);
        let sync = |name: String| {
            let this = self.clone();
            supervisor.spawn_brief("plugin-sync", async move { this.sync(&name).await });
        };
        let mut look_at = clock.monotonic() + interval;
        let mut sweep_at = clock.monotonic() + INTERVAL;
        loop {
            let wait = look_at.saturating_sub(clock.monotonic());
            if wait.is_zero() {
                self.refresh().await;
                self.due().into_iter().for_each(sync);
                look_at = clock.monotonic() + interval;
                if clock.monotonic() >= sweep_at {
                    self.sweep();
                    sweep_at = clock.monotonic() + INTERVAL;
                }
                continue;
            }
            // Steady changes of plugins put off no look at the others: the wait goes on from batch to batch.
            let batch = tokio::select! {
                biased;
                () = shutdown.started() => return Ok(()),
                batch = changes.next() => batch,
                () = clock.sleep(wait) => continue,
            };
            match batch {
                Ok(batch) => {
                    batch.changes.iter().for_each(|change| sync(change.key().name.to_string()));
                }
                Err(ChangesError::Closed) if shutdown.is_started() => return Ok(()),
                Err(ChangesError::Closed) => return Err(ChangesError::Closed),
                Err(ChangesError::Expired { .. }) => {
                    changes = store.changes(filter.clone(), self.start().await);
                }
                Err(error) => {
                    tracing::warn!(%error, "plugins cannot be followed, reading all again");
                    clock.sleep(interval).await;
                    changes = store.changes(filter.clone(), self.start().await);
                }
            }
        }
    }

    /// A plugin's log, from its first line since the host started; `None` when there is no such plugin.
    pub fn log(&self, plugin: &str) -> Option<Arc<PluginLog>> {
        self.lock().get(plugin).map(|entry| Arc::clone(&entry.log))
    }

    /// The bytes of a plugin's active component, or of the one with a digest.
    ///
    /// # Errors
    /// `NotFound` when there is no such plugin or component.
    pub fn download(
        &self,
        plugin: &str,
        digest: Option<&str>,
    ) -> Result<Vec<u8>, quadrille_registry::Status> {
        self.read_component(plugin, digest)
    }

    /// Writes the status of every plugin whose numbers changed.
    async fn refresh(&self) {
        let entries: Vec<_> = self.lock().iter().map(|(n, e)| (n.clone(), Arc::clone(e))).collect();
        for (name, entry) in entries {
            // A plugin that is being brought in line writes its own status.
            if let Ok(mut state) = entry.state.try_lock() {
                if state.trial.is_some() {
                    self.watch_trial(&name, &entry, &mut state).await;
                }
                self.write_status(&name, &entry, &mut state, Revision(0)).await;
            }
        }
    }

    /// The plugins of which something that failed is tried again now.
    fn due(&self) -> Vec<String> {
        let now = self.inner.clock.monotonic();
        let is_due =
            |entry: &Entry| entry.state.try_lock().is_ok_and(|state| state.is_to_be_seen(now));
        self.lock()
            .iter()
            .filter(|(_, entry)| is_due(entry))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
