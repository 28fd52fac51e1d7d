//! What the tests of this crate share: a host without HTTP and Wasm, and reconcilers that are closures.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, ManualClock, SeededRandom, Supervisor, SystemClock};
use quadrille_object::selector::LabelSelector;
use quadrille_object::{GroupResource, Gvk};
use quadrille_registry::{
    Action, Actor, Body, DeleteOptions, PatchFormat, Propagation, Registry, Resource, Status,
    Target, WriteOptions, WriteRequest,
};
use quadrille_store::{Cause, Key, Object, RequestCause, Store, View};
use serde_json::{Value, json};

use crate::{
    Config, ControllerSpec, Failure, Grant, Outcome, Overlay, ReconcileRequest, Reconciled,
    Reconciler, Runtime, Settled,
};

type Work = dyn Fn(&ReconcileRequest, &mut Overlay) -> Result<Outcome, Failure> + Send + Sync;

/// A reconciler that yields once before and once after its work, so that runs interleave.
pub(crate) struct Native(Box<Work>);

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Native")
    }
}

impl Reconciler for Native {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let result = (self.0)(&request, &mut overlay);
            tokio::task::yield_now().await;
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

pub(crate) fn native(
    work: impl Fn(&ReconcileRequest, &mut Overlay) -> Result<Outcome, Failure> + Send + Sync + 'static,
) -> Arc<dyn Reconciler> {
    Arc::new(Native(Box::new(work)))
}

/// How long a test waits for what must come, by real time.
#[derive(Default)]
pub(crate) struct Patience(SystemClock);

impl Patience {
    /// Whether it lasts; a minute, for a machine that is busy with other things.
    pub(crate) fn is_left(&self) -> bool {
        self.0.monotonic() < Duration::from_mins(1)
    }
}

pub(crate) struct Host {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) registry: Registry,
    pub(crate) runtime: Runtime,
}

impl Host {
    pub(crate) async fn new(builtin: bool) -> Self {
        Self::on(builtin, quadrille_store::Config::default(), 7).await
    }

    /// A host on a store that is set up like this; one seed decides uids and jitter.
    pub(crate) async fn on(builtin: bool, store: quadrille_store::Config, seed: u64) -> Self {
        let config = Config { builtin, slots: 4, ..Config::default() };
        Self::with(config, store, seed).await
    }

    /// A host that keeps its runs in a journal.
    pub(crate) async fn recording(journal: quadrille_store::Journal) -> Self {
        let config =
            Config { builtin: false, slots: 4, journal: Some(journal), ..Config::default() };
        Self::with(config, quadrille_store::Config::default(), 7).await
    }

    /// A host whose runtime is set up like this.
    pub(crate) async fn with(
        of_runtime: Config,
        store: quadrille_store::Config,
        seed: u64,
    ) -> Self {
        let clock = Arc::new(ManualClock::default());
        let supervisor = Supervisor::default();
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let store = Store::open(store, Arc::clone(&shared), &supervisor);
        let store = store.await.expect("memory opens");
        let random = Arc::new(SeededRandom::new(seed));
        let config = quadrille_registry::Config::default();
        let registry = Registry::build(config, store, shared, random).expect("built-in data");
        registry.bootstrap().await.expect("an empty store takes it");
        let runtime = Runtime::build(of_runtime, registry.clone(), supervisor);
        runtime.start();
        Self { clock, registry, runtime }
    }

    pub(crate) fn resource(&self, group: &str, version: &str, kind: &str) -> Arc<Resource> {
        self.registry.resource_of(&Gvk::new(group, version, kind)).expect("a built-in kind")
    }

    pub(crate) fn maps(&self) -> Arc<Resource> {
        self.resource("", "v1", "ConfigMap")
    }

    pub(crate) async fn submit(&self, target: Target, action: Action) -> Result<(), Status> {
        let actor = Actor { user: "tester".into(), ..Actor::default() };
        let request = WriteRequest { target, action, options: WriteOptions::default(), actor };
        let cause = Cause::Request(RequestCause::default());
        self.registry.submit(&request, cause).await.map(|_| ())
    }

    pub(crate) async fn create(&self, resource: &Arc<Resource>, namespace: &str, object: Value) {
        let target = target(resource, namespace, None);
        self.submit(target, Action::Create(Body::from(object))).await.expect("created");
    }

    pub(crate) async fn map(&self, name: &str, extra: Value) {
        let mut object = json!({"metadata": {"name": name}});
        merge(&mut object, extra);
        self.create(&self.maps(), "default", object).await;
    }

    pub(crate) async fn patch(&self, resource: &Arc<Resource>, key: &Key, patch: Value) {
        let target = target(resource, &key.namespace, Some(&key.name));
        let action = Action::Patch(PatchFormat::Merge, Body::from(patch));
        self.submit(target, action).await.expect("patched");
    }

    pub(crate) async fn delete(
        &self,
        resource: &Arc<Resource>,
        key: &Key,
        propagation: Option<Propagation>,
    ) {
        let target = target(resource, &key.namespace, Some(&key.name));
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        self.submit(target, Action::Delete(options)).await.expect("deleted");
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.registry.store().snapshot().get(key)
    }

    pub(crate) fn value(&self, key: &Key) -> Value {
        let object = self.get(key).expect("the object exists");
        serde_json::from_slice(&object.bytes).expect("stored JSON")
    }

    /// Waits until nothing is left to do, by real time: a bound for the test, not part of it, and no count of looks, which
    /// a machine that gives the other threads no time uses up.
    pub(crate) async fn settle(&self) -> Settled {
        let patience = Patience::default();
        while patience.is_left() {
            let revision = self.registry.store().revision();
            let settled = self.runtime.at_rest(revision, Duration::ZERO).await;
            if settled.settled {
                return settled;
            }
            tokio::task::yield_now().await;
        }
        let revision = self.registry.store().revision();
        panic!("never settled: {:?}", self.runtime.at_rest(revision, Duration::ZERO).await);
    }
}

pub(crate) fn merge(object: &mut Value, extra: Value) {
    match (object, extra) {
        (Value::Object(object), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, extra) => *object = extra,
    }
}

pub(crate) fn target(resource: &Arc<Resource>, namespace: &str, name: Option<&str>) -> Target {
    Target {
        resource: Arc::clone(resource),
        namespace: namespace.into(),
        name: name.map(Into::into),
        subresource: None,
    }
}

pub(crate) fn map_key(name: &str) -> Key {
    Key::new(GroupResource::new("", "configmaps"), "default", name)
}

/// A controller of `ConfigMap`s with the label `run=yes`.
pub(crate) fn spec(name: &str) -> ControllerSpec {
    ControllerSpec {
        name: name.into(),
        plugin: "demo".into(),
        digest: "sha256:1".into(),
        primary: GroupResource::new("", "configmaps"),
        version: "v1".into(),
        selector: LabelSelector::parse("run=yes").expect("a selector"),
        concurrency: 4,
        resync: None,
        finalizer: None,
        field_manager: name.into(),
        grant: Grant { unlimited: true, ..Grant::default() },
    }
}

pub(crate) fn runnable() -> Value {
    json!({"metadata": {"labels": {"run": "yes"}}})
}

pub(crate) fn transient(status: Status) -> Failure {
    Failure::Transient(status.message)
}
