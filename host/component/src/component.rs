//! A loaded component, and its controllers as reconcilers of the runtime.
//!
//! Every run gets a fresh instance and drops it: a controller keeps no state because it cannot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_registry::{Catalog, Registry};
use quadrille_runtime::{Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler};
use quadrille_store::{Change, ChangeKind, Key};

use crate::call::{CallError, Called, Caller};
use crate::description::{ControllerDescription, Description};
use crate::digest::Digest;
use crate::limit::CallLimits;
use crate::link::bindings::exports::quadrille::controller::controller as wit;
use crate::link::bindings::quadrille::controller::types::{ObjectRef, ResourceRef};
use crate::link::state::{CallStart, RunState};
use crate::log::{LogLevel, LogLine, PluginLog};
use crate::plugin::code::settings_of;

/// A component that has described itself and may run; cheap to clone.
#[derive(Clone, Debug)]
pub struct LoadedComponent {
    pub(crate) digest: Digest,
    pub(crate) size: usize,
    pub(crate) description: Description,
    pub(crate) caller: Arc<Caller>,
}

impl LoadedComponent {
    /// Its name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its bytes as uploaded.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What it contains and asks for.
    pub fn description(&self) -> &Description {
        &self.description
    }
}

/// What a plugin's controllers share.
#[derive(Clone, Debug)]
pub struct PluginContext {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// Its settings.
    pub config: Arc<BTreeMap<String, String>>,
    /// Ceilings of its runs.
    pub limits: Arc<CallLimits>,
    /// Its log.
    pub log: Arc<PluginLog>,
    /// How often it was denied something.
    pub denials: Arc<AtomicU64>,
}

/// One controller of a component. It belongs to no registry: a run writes through the one of its overlay, so that the
/// same code runs on a fork.
#[derive(Debug)]
pub struct ComponentReconciler {
    component: LoadedComponent,
    context: PluginContext,
    controller: ControllerDescription,
}

impl ComponentReconciler {
    /// A controller of `component`, as it described it.
    pub fn new(
        component: LoadedComponent,
        context: PluginContext,
        controller: ControllerDescription,
    ) -> Self {
        Self { component, context, controller }
    }

    async fn run(&self, request: ReconcileRequest, overlay: Overlay) -> Reconciled {
        let asked = match self.request(&request, overlay.registry()) {
            Ok(asked) => asked,
            Err(error) => {
                return Reconciled { overlay, result: Err(error.into()), memory_bytes: 0 };
            }
        };
        let start = self.start(&request, overlay);
        let log = Arc::clone(&start.log);
        let called = self.component.caller.reconcile(start, &asked).await;
        Self::ended(&request, called, &log)
    }

    /// What a trial logs and is denied is not the plugin's.
    fn start(&self, request: &ReconcileRequest, overlay: Overlay) -> CallStart {
        let context = &self.context;
        let (log, denials) = if request.trial {
            (Arc::default(), Arc::default())
        } else {
            (Arc::clone(&context.log), Arc::clone(&context.denials))
        };
        let catalog = overlay.registry().catalog();
        CallStart {
            limits: Arc::clone(&context.limits),
            log,
            origin: Self::origin(request),
            now: request.now,
            seed: request.seed,
            config: Arc::clone(&context.config),
            run: Some(RunState { overlay, catalog, denials }),
        }
    }

    fn origin(request: &ReconcileRequest) -> LogLine {
        LogLine {
            at: request.now,
            controller: Arc::clone(&request.controller),
            object: request.key.to_string().into(),
            run: request.run,
            ..LogLine::default()
        }
    }

    fn ended(
        request: &ReconcileRequest,
        called: Called<wit::Outcome>,
        log: &PluginLog,
    ) -> Reconciled {
        let memory_bytes = called.state.meter.memory_bytes();
        if let Err(error) = &called.result {
            let message = format!("the run {error}");
            log.push(LogLine { level: LogLevel::Error, message, ..Self::origin(request) });
        }
        let result = called.result.map_err(Into::into).map(|outcome| match outcome {
            wit::Outcome::Done => Outcome::Done,
            wit::Outcome::DoneUntilMs(ms) => Outcome::DoneUntil(Duration::from_millis(ms)),
        });
        let run = called.state.run.expect("a reconcile's state keeps its run until here");
        Reconciled { overlay: run.overlay, result, memory_bytes }
    }

    fn request(
        &self,
        request: &ReconcileRequest,
        registry: &Registry,
    ) -> Result<wit::Request, CallError> {
        let catalog = registry.catalog();
        let current = request.object.as_ref().map(|object| {
            let bytes = match catalog.by_gvr(&self.controller.primary) {
                Some(resource) => registry.present(object, resource),
                None => object.bytes.clone(),
            };
            String::from_utf8(bytes.into())
                .map_err(|_| CallError::Host(format!("{} is not stored as UTF-8", object.key)))
        });
        let woken_by = request.woken_by.iter();
        Ok(wit::Request {
            controller: request.controller.to_string(),
            object: self.reference(&request.key, &catalog),
            current: current.transpose()?,
            woken_by: woken_by.map(|woken| self.wake(&woken.change, &catalog)).collect(),
            attempt: request.attempt,
        })
    }

    fn wake(&self, change: &Change, catalog: &Catalog) -> wit::Wake {
        wit::Wake {
            kind: match change.kind {
                ChangeKind::Created => wit::ChangeKind::Added,
                ChangeKind::Updated => wit::ChangeKind::Modified,
                ChangeKind::Deleted => wit::ChangeKind::Deleted,
            },
            object: self.reference(change.key(), catalog),
            revision: change.revision.0,
        }
    }

    /// A key as the guest names it: its own resource in its own version, others in the version they are stored in.
    fn reference(&self, key: &Key, catalog: &Catalog) -> ObjectRef {
        let primary = &self.controller.primary;
        let version = if primary.group_resource() == key.resource {
            Arc::clone(&primary.version)
        } else {
            let served = catalog.by_group_resource(&key.resource);
            served.map_or_else(|| "".into(), |resource| Arc::clone(&resource.gvr.version))
        };
        ObjectRef {
            resource: ResourceRef {
                group: key.resource.group.to_string(),
                version: version.to_string(),
                resource: key.resource.resource.to_string(),
            },
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
        }
    }
}

impl Reconciler for ComponentReconciler {
    fn reconcile(&self, request: ReconcileRequest, overlay: Overlay) -> BoxFuture<'_, Reconciled> {
        Box::pin(self.run(request, overlay))
    }

    fn settings(&self) -> Arc<str> {
        settings_of(&self.context)
    }
}
