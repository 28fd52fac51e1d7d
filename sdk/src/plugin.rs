//! A plugin: controllers in one component. The same code answers the host natively and in Wasm.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::context::Context;
use crate::controller::{Capability, Controller, Next};
use crate::error::{Error, Result};
use crate::host::{Host, ObjectRef, ResourceRef};
use crate::resource::Resource;

/// One controller, as the host is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerDescription {
    /// Unique in the plugin.
    pub name: String,
    /// The resource of its primary objects.
    pub primary: ResourceRef,
    /// Only objects with these labels.
    pub label_selector: String,
    /// How many runs at once; 0 for the host's default.
    pub concurrency: u32,
    /// Seconds between resyncs; 0 for never.
    pub resync_seconds: u32,
    /// The finalizer to keep on its objects.
    pub finalizer: Option<String>,
    /// The field manager of its writes; empty for its name.
    pub field_manager: String,
}

/// What a plugin contains and asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The package's version.
    pub version: String,
    /// Its controllers.
    pub controllers: Vec<ControllerDescription>,
    /// The definitions that it brings.
    pub crds: Vec<Value>,
    /// What it asks for.
    pub capabilities: Vec<Capability>,
}

/// How an object changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One of the changes that woke the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// How it changed.
    pub kind: ChangeKind,
    /// What changed.
    pub object: ObjectRef,
    /// At which revision.
    pub revision: u64,
}

/// What a run is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The controller's name.
    pub controller: String,
    /// The primary object.
    pub object: ObjectRef,
    /// The object itself as JSON; none when it is gone.
    pub current: Option<String>,
    /// The changes since the last run that woke this key; empty for a resync, a timer or a retry.
    pub woken_by: Vec<Wake>,
    /// 0, or the number of failures in a row.
    pub attempt: u32,
}

type Run = fn(Rc<dyn Host>, Request) -> Result<Next>;

struct Registered {
    description: ControllerDescription,
    run: Run,
}

/// The controllers of a component; [`crate::plugin!`] makes the one that is exported.
pub struct Plugin {
    version: String,
    controllers: Vec<Registered>,
    crds: Vec<Value>,
    capabilities: Vec<Capability>,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            self.controllers.iter().map(|c| c.description.name.as_str()).collect();
        f.debug_struct("Plugin").field("controllers", &names).finish_non_exhaustive()
    }
}

impl Plugin {
    /// A plugin without controllers.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            controllers: Vec::new(),
            crds: Vec::new(),
            capabilities: Vec::new(),
        }
    }

    /// With one controller more.
    #[must_use]
    pub fn with<C: Controller>(mut self) -> Self {
        let resync = C::RESYNC.map_or(0, |every| every.as_secs().max(1));
        let description = ControllerDescription {
            name: C::NAME.to_owned(),
            primary: C::Primary::resource_ref(),
            label_selector: C::LABEL_SELECTOR.to_owned(),
            concurrency: C::CONCURRENCY,
            resync_seconds: u32::try_from(resync).unwrap_or(u32::MAX),
            finalizer: C::FINALIZER.map(str::to_owned),
            field_manager: C::FIELD_MANAGER.to_owned(),
        };
        self.controllers.push(Registered { description, run: run::<C> });
        self.crds.extend(C::Primary::definition().filter(|crd| !self.crds.contains(crd)));
        let primary = Capability {
            group: C::Primary::GROUP,
            resource: C::Primary::PLURAL,
            subresource: "",
            verbs: &["get", "list"],
        };
        let status = Capability { subresource: "status", verbs: &["update", "patch"], ..primary };
        let held = Capability { subresource: "finalizers", verbs: &["update"], ..primary };
        let held = C::FINALIZER.map(|_| held);
        for capability in [primary, status].iter().chain(&held).chain(C::CAPABILITIES) {
            if !self.capabilities.contains(capability) {
                self.capabilities.push(*capability);
            }
        }
        self
    }

    /// What it contains and asks for.
    pub fn describe(&self) -> Description {
        Description {
            version: self.version.clone(),
            controllers: self.controllers.iter().map(|c| c.description.clone()).collect(),
            crds: self.crds.clone(),
            capabilities: self.capabilities.clone(),
        }
    }

    /// Runs one of its controllers on one object.
    ///
    /// # Errors
    /// What the controller answers; permanent when there is no such controller.
    pub fn reconcile(&self, host: Rc<dyn Host>, request: Request) -> Result<Next> {
        let found = self.controllers.iter().find(|c| c.description.name == request.controller);
        match found {
            Some(controller) => (controller.run)(host, request),
            None => Err(Error::permanent(format!("no controller named {:?}", request.controller))),
        }
    }
}

fn run<C: Controller>(host: Rc<dyn Host>, request: Request) -> Result<Next> {
    // An object that is gone needs nothing: what it owned goes with it.
    let Some(current) = &request.current else { return Next::done() };
    let object = C::Primary::from_json(current)?;
    let ctx = Context::new(host, Rc::new(request), &object);
    let meta = object.meta();
    if !meta.is_terminating() {
        return C::reconcile(&object, &ctx);
    }
    let held = |name: &str| meta.finalizers.iter().any(|finalizer| finalizer == name);
    match C::FINALIZER {
        Some(finalizer) if held(finalizer) => C::finalize(&object, &ctx),
        _ if C::RECONCILES_TERMINATING => C::reconcile(&object, &ctx),
        _ => Next::done(),
    }
}

/// The wait of an outcome, as the host is told of it: at least a millisecond.
#[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "only the component says it"))]
pub(crate) fn wait_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Makes a plugin of controllers: `plugin!(Hello, Goodbye);`
///
/// It defines `plugin()`, which tests run natively, and exports it from the component.
#[macro_export]
macro_rules! plugin {
    ($($controller:ty),+ $(,)?) => {
        /// The plugin of this crate.
        pub fn plugin() -> $crate::Plugin {
            $crate::Plugin::new(::core::env!("CARGO_PKG_VERSION"))$(.with::<$controller>())+
        }

        #[cfg(target_arch = "wasm32")]
        mod exported {
            /// What the component exports.
            #[derive(Debug)]
            pub struct Entry;

            impl $crate::guest::Entry for Entry {
                fn plugin() -> $crate::Plugin {
                    super::plugin()
                }
            }

            type Component = $crate::guest::Component<Entry>;
            $crate::guest::export_component!(Component with_types_in $crate::guest);
        }
    };
}
