//! A run that happened on a host, made again in a unit test.
//!
//! `quadrille runs export RUN > case.json` writes a run down with everything that it read. [`Case::load`] reads it, and
//! [`Case::run`] runs the author's controller on it, natively, at the run's moment and with its chance: what it writes is
//! compared with what was written then. So a failure from production becomes a test that stays.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, ManualClock, SeededRandom};
use quadrille_registry::Registry;
use quadrille_runtime::case::end_text;
use quadrille_runtime::{
    Failure, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler, RunCase, RunEnd, RunWrite,
};
use quadrille_sdk::plugin::{ChangeKind, Request, Wake};
use quadrille_sdk::{Host, Next, ObjectRef, Plugin, ResourceRef};
use quadrille_store::{Change, Key, Snapshot, Store, Write};
use serde_json::Value;

use crate::host::OverlayHost;
use crate::world::panic_with;

/// A recorded run with everything that it read.
#[derive(Debug)]
pub struct Case {
    recorded: RunCase,
    snapshot: Snapshot,
    registry: Registry,
}

/// What a controller did on a case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseRun {
    /// How it ended, in words: `done`, `permanent: no such class`.
    pub end: String,
    /// How the run of the record ended.
    pub recorded_end: String,
    /// What it wrote: the object as it would be stored, `None` for a deletion; by key, such as `pods/default/web-0`.
    pub writes: BTreeMap<String, Option<Value>>,
    /// What it did otherwise than the recorded run, one line each; empty when it did the same, byte for byte.
    pub differences: Vec<String>,
}

impl Case {
    /// Reads the file that `quadrille runs export` wrote.
    ///
    /// # Panics
    /// When it cannot be read or is no case.
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path);
        let text = text.unwrap_or_else(|error| panic_with(&format!("{}: {error}", path.display())));
        Self::read(&text).unwrap_or_else(|why| panic_with(&format!("{}: {why}", path.display())))
    }

    /// Reads a case from its text.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(text: &str) -> Result<Self, String> {
        let told = |error: &dyn std::error::Error| quadrille_kit::supervisor::chain(error);
        let case = RunCase::read(text).map_err(|error| told(&error))?;
        let snapshot = case.to_snapshot().map_err(|error| told(&error))?;
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let store = Store::fork(&snapshot, Arc::clone(&clock));
        let random = Arc::new(SeededRandom::new(0));
        let config = quadrille_registry::Config::default();
        let registry = Registry::build(config, store, clock, random);
        let registry = registry.map_err(|status| status.message)?;
        Ok(Self { recorded: case, snapshot, registry })
    }

    /// The run's controller.
    pub fn controller(&self) -> &str {
        &self.recorded.code.spec.name
    }

    /// Runs the plugin's controller of the same name on the case.
    ///
    /// # Panics
    /// When the plugin has no such controller.
    #[track_caller]
    pub fn run(&self, plugin: Plugin) -> CaseRun {
        let described = plugin.describe().controllers;
        if !described.iter().any(|controller| controller.name == self.controller()) {
            panic_with(&format!("the case is of controller {}: no such one", self.controller()));
        }
        let native = Native { plugin, config: self.config(), version: self.version(&described) };
        let tasks = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let tasks = tasks.expect("a runtime without threads needs nothing");
        let rerun = self.recorded.rerun(Arc::new(native));
        let reran = tasks.block_on(rerun.run(&self.registry, &self.snapshot));
        let end = end_text(&match &reran.result {
            Ok(Outcome::Done) => RunEnd::Done { requeue: None },
            Ok(Outcome::DoneUntil(wait)) => RunEnd::Done { requeue: Some(*wait) },
            Err(failure) => {
                let message = failure.message().to_owned();
                RunEnd::Failed { kind: failure.kind(), message }
            }
        });
        let written: BTreeMap<&Key, &Write> =
            reran.writes.iter().map(|write| (write.key(), write)).collect();
        CaseRun {
            recorded_end: self.recorded.end.clone(),
            differences: self.differences(&end, &written),
            writes: written.iter().map(|(key, write)| (key.to_string(), value_of(write))).collect(),
            end,
        }
    }

    fn config(&self) -> BTreeMap<String, String> {
        let settings: Value =
            serde_json::from_str(&self.recorded.code.settings).unwrap_or_default();
        let config = settings.get("config").cloned().unwrap_or_default();
        serde_json::from_value(config).unwrap_or_default()
    }

    fn version(&self, described: &[quadrille_sdk::plugin::ControllerDescription]) -> ResourceRef {
        let found = described.iter().find(|controller| controller.name == self.controller());
        found.map(|controller| controller.primary.clone()).unwrap_or_default()
    }

    fn differences(&self, end: &str, written: &BTreeMap<&Key, &Write>) -> Vec<String> {
        let mut found = Vec::new();
        // A run that the host threw away had no end of its own.
        if end != self.recorded.end && !self.recorded.end.starts_with("thrown away") {
            found.push(format!("it ended \"{end}\" and not \"{}\"", self.recorded.end));
        }
        for recorded in &self.recorded.writes {
            match written.get(&recorded.key) {
                None => found.push(format!("{} is not written", recorded.key)),
                Some(write) if recorded.is(&RunWrite::of(write, &self.snapshot)) => {}
                Some(write) => {
                    let (was, is) = (recorded.object.clone().unwrap_or_default(), value_of(write));
                    let fields = differing(&was, &is.unwrap_or_default(), "");
                    found.push(format!("{} is written otherwise: {fields}", recorded.key));
                }
            }
        }
        let known = |key: &Key| self.recorded.writes.iter().any(|recorded| recorded.key == *key);
        let new = written.keys().filter(|key| !known(key));
        found.extend(new.map(|key| format!("{key} is written and was not")));
        found
    }
}

impl CaseRun {
    /// Expects that the controller did what the recorded run did.
    ///
    /// # Panics
    /// When it did not: the message names what differs.
    #[track_caller]
    pub fn expect_as_recorded(&self) -> &Self {
        if !self.differences.is_empty() {
            panic_with(&format!("not as recorded:\n{}", self.differences.join("\n")));
        }
        self
    }
}

/// The paths at which two values differ, the shortest ones.
fn differing(was: &Value, is: &Value, path: &str) -> String {
    if let (Value::Object(was), Value::Object(is)) = (was, is) {
        let keys: std::collections::BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        let differ = keys.into_iter().filter(|key| was.get(*key) != is.get(*key));
        let differ = differ.filter(|key| !(path == ".metadata" && *key == "resourceVersion"));
        let parts = differ.map(|key| {
            let side = |map: &serde_json::Map<String, Value>| map.get(key).cloned();
            let (was, is) = (side(was).unwrap_or_default(), side(is).unwrap_or_default());
            differing(&was, &is, &format!("{path}.{key}"))
        });
        return parts.collect::<Vec<_>>().join(", ");
    }
    format!("{path} is {is} and was {was}")
}

fn value_of(write: &Write) -> Option<Value> {
    match write {
        Write::Put { object, .. } => serde_json::from_slice(&object.with_revision(0)).ok(),
        Write::Delete { .. } => None,
    }
}

/// A plugin's controllers without Wasm.
struct Native {
    plugin: Plugin,
    config: BTreeMap<String, String>,
    /// The primary resource of the controller, as it names it.
    version: ResourceRef,
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Native").field(&self.plugin).finish()
    }
}

impl Reconciler for Native {
    fn reconcile(&self, request: ReconcileRequest, overlay: Overlay) -> BoxFuture<'_, Reconciled> {
        let reconciled = self.act(&request, overlay);
        Box::pin(async move { reconciled })
    }
}

impl Native {
    fn act(&self, request: &ReconcileRequest, overlay: Overlay) -> Reconciled {
        let catalog = overlay.registry().catalog();
        let reference = |key: &Key| {
            let served = catalog.by_group_resource(&key.resource);
            let version = served.map_or("", |resource| &*resource.gvr.version);
            let resource = if *key.resource.resource == *self.version.resource
                && *key.resource.group == *self.version.group
            {
                self.version.clone()
            } else {
                ResourceRef {
                    group: key.resource.group.to_string(),
                    version: version.to_owned(),
                    resource: key.resource.resource.to_string(),
                }
            };
            let (namespace, name) = (key.namespace.to_string(), key.name.to_string());
            ObjectRef { resource, namespace, name }
        };
        let wake = |change: &Change| Wake {
            kind: match change.kind {
                quadrille_store::ChangeKind::Created => ChangeKind::Added,
                quadrille_store::ChangeKind::Updated => ChangeKind::Modified,
                quadrille_store::ChangeKind::Deleted => ChangeKind::Deleted,
            },
            object: reference(change.key()),
            revision: change.revision.0,
        };
        let current = request.object.as_ref();
        let asked = Request {
            controller: request.controller.to_string(),
            object: reference(&request.key),
            current: current.map(|object| String::from_utf8_lossy(&object.bytes).into_owned()),
            woken_by: request.woken_by.iter().map(|woken| wake(&woken.change)).collect(),
            attempt: request.attempt,
        };
        let host = Rc::new(OverlayHost::new(overlay, request.seed, self.config.clone()));
        let shared: Rc<dyn Host> = Rc::<OverlayHost>::clone(&host);
        let result = self.plugin.reconcile(shared, asked);
        let overlay = host.take_overlay().expect("nobody else takes it");
        let result = match result {
            Ok(Next::Done) => Ok(Outcome::Done),
            Ok(Next::After(wait)) => Ok(Outcome::DoneUntil(wait)),
            Err(error) if error.is_transient() => Err(Failure::Transient(error.chain())),
            Err(error) => Err(Failure::Permanent(error.chain())),
        };
        Reconciled { overlay, result, memory_bytes: 0 }
    }
}
