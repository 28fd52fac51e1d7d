//! A plugin's controllers as reconcilers of the host's runtime, and the check of their principles.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quadrille_insight::check::{Begin, Code};
use quadrille_insight::{Effort, ScoreCard, Subject, check};
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, SystemClock};
use quadrille_object::{GroupResource, LabelSelector};
use quadrille_runtime::{
    Config, ControllerSpec, Failure, Grant, Outcome, Overlay, ReconcileRequest, Reconciled,
    Reconciler, Runtime,
};
use quadrille_sdk::plugin::{ChangeKind, ControllerDescription, Request, Wake};
use quadrille_sdk::{Error, Host, Next, ObjectRef, Plugin, ResourceRef};
use quadrille_store::Key;

use crate::drive;
use crate::host::OverlayHost;
use crate::world::{World, panic_with};

/// How long a check may take: nobody wants to hear from a test that the machine was too slow to know.
const CHECK_MAX: Duration = Duration::from_mins(10);

type Make = dyn Fn() -> Plugin + Send + Sync;

impl World {
    /// Checks whether a plugin's controllers keep to the principles (`quadrille check`), for their objects in this
    /// world: run twice writes nothing, the same state gives the same writes, refused calls, crashes, missed changes and
    /// stale reads change nothing of the end, no foreign field is written. The world stays as it is. `plugin` makes
    /// the plugin anew for each run, as a host does. What could not be tried, because no object of theirs is here or ten
    /// minutes were not enough, is [`Verdict::Unknown`](crate::Verdict::Unknown).
    ///
    /// # Panics
    /// When the operating system has no thread to give.
    #[track_caller]
    pub fn check(&self, plugin: impl Fn() -> Plugin + Send + Sync + 'static) -> ScoreCard {
        let make: Arc<Make> = Arc::new(plugin);
        let config = self.config.clone();
        let begin: Arc<Begin> = Arc::new(move || code(&make, &config));
        let subject = Subject { plugin: "test".into(), begin, others: Vec::new() };
        let wall: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let supervisor = quadrille_kit::Supervisor::default();
        let live = Runtime::build(Config::default(), self.registry.clone(), supervisor);
        let effort = Effort { wall_max: CHECK_MAX, ..Effort::default() };
        match check(&live, &wall, &subject, effort) {
            Ok(card) => card,
            Err(error) => panic_with(&format!("cannot check: {error}")),
        }
    }

    /// [`World::check`], for a test: nothing may be broken, and everything must have been tried.
    ///
    /// # Panics
    /// When a principle is broken, or is not known to be kept: the message is the score card with the smallest
    /// counterexamples, or with what was in the way of a verdict.
    #[track_caller]
    pub fn expect_principles(&self, plugin: impl Fn() -> Plugin + Send + Sync + 'static) {
        let card = self.check(plugin);
        if !card.broken().is_empty() || !card.is_whole() {
            panic_with(&card.text());
        }
    }
}

/// A plugin's controllers as they are added to a runtime, for simulations of a whole host. `plugin` makes the plugin
/// anew for each run, as a host does; all that it asks for is granted.
pub fn native(plugin: impl Fn() -> Plugin + Send + Sync + 'static) -> Code {
    let make: Arc<Make> = Arc::new(plugin);
    code(&make, &BTreeMap::new())
}

fn code(make: &Arc<Make>, config: &BTreeMap<String, String>) -> Code {
    let described = make().describe();
    let grant = drive::grant(&described.capabilities);
    let controllers = described.controllers.into_iter().map(|controller| {
        let spec = spec_of(&controller, &grant);
        let (make, config) = (Arc::clone(make), config.clone());
        let native = Native { make, controller, config };
        (spec, Arc::new(native) as Arc<dyn Reconciler>)
    });
    controllers.collect()
}

fn spec_of(described: &ControllerDescription, grant: &Grant) -> ControllerSpec {
    let primary = &described.primary;
    let seconds = u64::from(described.resync_seconds);
    ControllerSpec {
        name: described.name.as_str().into(),
        plugin: "test".into(),
        digest: "".into(),
        primary: GroupResource::new(&*primary.group, &*primary.resource),
        version: primary.version.as_str().into(),
        selector: LabelSelector::parse(&described.label_selector).unwrap_or_default(),
        concurrency: 1,
        resync: (seconds > 0).then(|| Duration::from_secs(seconds)),
        finalizer: described.finalizer.as_deref().map(Into::into),
        field_manager: match described.field_manager.as_str() {
            "" => described.name.as_str().into(),
            manager => manager.into(),
        },
        grant: grant.clone(),
    }
}

/// One controller of a plugin that is made anew for each run.
struct Native {
    make: Arc<Make>,
    controller: ControllerDescription,
    config: BTreeMap<String, String>,
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native").field("controller", &self.controller.name).finish_non_exhaustive()
    }
}

impl Reconciler for Native {
    fn reconcile(&self, request: ReconcileRequest, overlay: Overlay) -> BoxFuture<'_, Reconciled> {
        Box::pin(std::future::ready(self.run(&request, overlay)))
    }
}

impl Native {
    fn run(&self, request: &ReconcileRequest, overlay: Overlay) -> Reconciled {
        let asked = self.asked(request, &overlay);
        let host = Rc::new(OverlayHost::new(overlay, request.seed, self.config.clone()));
        let shared: Rc<dyn Host> = Rc::<OverlayHost>::clone(&host);
        let result = (self.make)().reconcile(shared, asked);
        let overlay = host.take_overlay().expect("nobody else takes it");
        let result = match result {
            Ok(Next::Done) => Ok(Outcome::Done),
            Ok(Next::After(wait)) => Ok(Outcome::DoneUntil(wait)),
            Err(error) => Err(failure(&error)),
        };
        Reconciled { overlay, result, memory_bytes: 0 }
    }

    fn asked(&self, request: &ReconcileRequest, overlay: &Overlay) -> Request {
        let current = request.object.as_ref();
        let wake = |change: &quadrille_store::Change| Wake {
            kind: match change.kind {
                quadrille_store::ChangeKind::Created => ChangeKind::Added,
                quadrille_store::ChangeKind::Updated => ChangeKind::Modified,
                quadrille_store::ChangeKind::Deleted => ChangeKind::Deleted,
            },
            object: self.reference(change.key(), overlay),
            revision: change.revision.0,
        };
        Request {
            controller: request.controller.as_ref().to_owned(),
            object: self.reference(&request.key, overlay),
            current: current.map(|object| String::from_utf8_lossy(&object.bytes).into_owned()),
            woken_by: request.woken_by.iter().map(|woken| wake(&woken.change)).collect(),
            attempt: request.attempt,
        }
    }

    fn reference(&self, key: &Key, overlay: &Overlay) -> ObjectRef {
        let primary = &self.controller.primary;
        let is_primary =
            *primary.group == *key.resource.group && *primary.resource == *key.resource.resource;
        let catalog = overlay.registry().catalog();
        let stored = catalog.by_group_resource(&key.resource);
        let version = match stored {
            _ if is_primary => primary.version.clone(),
            Some(resource) => resource.gvr.version.as_ref().to_owned(),
            None => String::new(),
        };
        let resource = ResourceRef {
            group: key.resource.group.as_ref().to_owned(),
            version,
            resource: key.resource.resource.as_ref().to_owned(),
        };
        ObjectRef {
            resource,
            namespace: key.namespace.as_ref().to_owned(),
            name: key.name.as_ref().to_owned(),
        }
    }
}

fn failure(error: &Error) -> Failure {
    if error.is_transient() {
        Failure::Transient(error.chain())
    } else {
        Failure::Permanent(error.chain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "there is no object of its controllers to try it with")]
    fn principles_that_could_not_be_tried_are_not_kept() {
        World::new(Plugin::new("1")).expect_principles(|| Plugin::new("1"));
    }
}
