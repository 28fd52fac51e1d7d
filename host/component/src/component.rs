//! A loaded component, and its controllers as reconcilers of the runtime.
//!
//! Every run gets a fresh instance and drops it: a controller keeps no state because it cannot.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_registry::Registry;
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
    /// Presents objects in the versions that it asks for.
    pub registry: Registry,
}

/// One controller of a component.
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
        let asked = match self.request(&request) {
            Ok(asked) => asked,
            Err(error) => {
                return Reconciled { overlay, result: Err(error.into()), memory_bytes: 0 };
            }
        };
        let called = self.component.caller.reconcile(self.start(&request, overlay), &asked).await;
        self.ended(&request, called)
    }

    fn start(&self, request: &ReconcileRequest, overlay: Overlay) -> CallStart {
        let context = &self.context;
        CallStart {
            limits: Arc::clone(&context.limits),
            log: Arc::clone(&context.log),
            origin: Self::origin(request),
            now: request.now,
            seed: request.seed,
            config: Arc::clone(&context.config),
            run: Some(RunState {
                overlay,
                catalog: context.registry.catalog(),
                denials: Arc::clone(&context.denials),
            }),
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

    fn ended(&self, request: &ReconcileRequest, called: Called<wit::Outcome>) -> Reconciled {
        let memory_bytes = called.state.meter.memory_bytes();
        if let Err(error) = &called.result {
            let message = format!("the run {error}");
            let line = LogLine { level: LogLevel::Error, message, ..Self::origin(request) };
            self.context.log.push(line);
        }
        let result = called.result.map_err(Into::into).map(|outcome| match outcome {
            wit::Outcome::Done => Outcome::Done,
            wit::Outcome::DoneUntilMs(ms) => Outcome::DoneUntil(Duration::from_millis(ms)),
        });
        let run = called.state.run.expect("a reconcile's state keeps its run until here");
        Reconciled { overlay: run.overlay, result, memory_bytes }
    }

    fn request(&self, request: &ReconcileRequest) -> Result<wit::Request, CallError> {
        let current = request.object.as_ref().map(|object| {
            let catalog = self.context.registry.catalog();
            let served = catalog.by_gvr(&self.controller.primary);
            let bytes = match served {
                Some(resource) => self.context.registry.present(object, resource),
                None => object.bytes.clone(),
            };
            String::from_utf8(bytes.into())
                .map_err(|_| CallError::Host(format!("{} is not stored as UTF-8", object.key)))
        });
        Ok(wit::Request {
            controller: request.controller.to_string(),
            object: self.reference(&request.key),
            current: current.transpose()?,
            woken_by: request.woken_by.iter().map(|woken| self.wake(&woken.change)).collect(),
            attempt: request.attempt,
        })
    }

    fn wake(&self, change: &Change) -> wit::Wake {
        wit::Wake {
            kind: match change.kind {
                ChangeKind::Created => wit::ChangeKind::Added,
                ChangeKind::Updated => wit::ChangeKind::Modified,
                ChangeKind::Deleted => wit::ChangeKind::Deleted,
            },
            object: self.reference(change.key()),
            revision: change.revision.0,
        }
    }

    /// A key as the guest names it: its own resource in its own version, others in the version they are stored in.
    fn reference(&self, key: &Key) -> ObjectRef {
        let primary = &self.controller.primary;
        let version = if primary.group_resource() == key.resource {
            Arc::clone(&primary.version)
        } else {
            let catalog = self.context.registry.catalog();
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
}
