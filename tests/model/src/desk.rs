//! What whoever works on config maps needs: where they are, how one is written, a controller's facts with what nobody
//! cares about filled in, and who is at work on what.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quadrille_object::selector::LabelSelector;
use quadrille_object::{GroupResource, Gvk};
use quadrille_registry::{Action, Actor, Registry, Status, Target, WriteOptions, WriteRequest};
use quadrille_runtime::{ControllerSpec, Grant};
use quadrille_store::{Cause, RequestCause, Revision};

/// The config maps of the namespace `default`, or one of them.
///
/// # Panics
/// When the registry has none.
pub fn target(registry: &Registry, name: Option<&str>) -> Target {
    let resource = registry.resource_of(&Gvk::new("", "v1", "ConfigMap")).expect("built in");
    Target { resource, namespace: "default".into(), name: name.map(Into::into), subresource: None }
}

/// Writes one of them as nobody in particular; answers where that was.
///
/// # Errors
/// What the registry says.
pub async fn submit(
    registry: &Registry,
    name: Option<&str>,
    action: Action,
) -> Result<Revision, Status> {
    let (target, options) = (target(registry, name), WriteOptions::default());
    let request = WriteRequest { target, action, options, actor: Actor::default() };
    let cause = Cause::Request(RequestCause::default());
    registry.submit(&request, cause).await.map(|written| written.revision)
}

/// A controller of config maps with this label, that may do everything; its plugin has its name.
///
/// # Panics
/// When that is no selector.
pub fn spec(name: &str, selector: &str, concurrency: usize) -> ControllerSpec {
    ControllerSpec {
        name: name.into(),
        plugin: name.into(),
        digest: "sha256:0".into(),
        primary: GroupResource::new("", "configmaps"),
        version: "v1".into(),
        selector: LabelSelector::parse(selector).expect("a selector"),
        concurrency,
        resync: None,
        finalizer: None,
        field_manager: name.into(),
        grant: Grant { unlimited: true, ..Grant::default() },
    }
}

/// Who is at work on what: a controller and a key at a time.
#[derive(Debug, Default)]
pub struct Workshop(Mutex<BTreeSet<(String, String)>>);

/// A reconciler at work on a key; it ends when this is dropped.
#[derive(Debug)]
pub struct Working<'a> {
    shop: &'a Workshop,
    at: (String, String),
}

impl Workshop {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A controller begins to work on a key; answers whether nobody else of it works there.
    pub fn enter(&self, controller: &str, key: &str) -> (bool, Working<'_>) {
        let at = (controller.to_owned(), key.to_owned());
        let is_alone = self.lock().insert(at.clone());
        (is_alone, Working { shop: self, at })
    }

    /// Nobody is at work any more: the host was killed.
    pub fn clear(&self) {
        self.lock().clear();
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.shop.lock().remove(&self.at);
    }
}
