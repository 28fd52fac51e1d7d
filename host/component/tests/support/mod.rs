//! A whole host without HTTP: real store, registry, runtime and Wasm.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quadrille_component::{
    CompileMode, ComponentEngine, LoadConfig, LoadedComponent, Loader, ManagerConfig, ManagerParts,
    PluginManager, PluginUpload, PreflightReport, PreflightRunner,
};
use quadrille_guests::Guest;
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, Random, SeededRandom, Supervisor, SystemClock};
use quadrille_object::{GroupResource, Gvr};
use quadrille_registry::{
    Action, Actor, Body, PatchFormat, Registry, Target, WriteOptions, WriteRequest,
};
use quadrille_runtime::Runtime;
use quadrille_store::{Cause, Key, RequestCause, Store, View};
use serde_json::{Value, json};

/// A record of runs that cannot be read at first, and has none.
#[derive(Debug, Default)]
struct FailsOnce(AtomicBool);

impl PreflightRunner for FailsOnce {
    fn preflight<'a>(
        &'a self,
        _plugin: &'a str,
        _candidate: &'a LoadedComponent,
        _runs: usize,
    ) -> BoxFuture<'a, Result<PreflightReport, String>> {
        let is_first = !self.0.swap(true, Ordering::Relaxed);
        let none = PreflightReport { runs: 0, differing: 0, skipped: 0, differences: Vec::new() };
        Box::pin(
            async move { if is_first { Err("a disk that fails".to_owned()) } else { Ok(none) } },
        )
    }
}

pub(crate) struct TestHost {
    pub(crate) registry: Registry,
    pub(crate) runtime: Runtime,
    pub(crate) manager: PluginManager,
    supervisor: Supervisor,
}

async fn engine(supervisor: &Supervisor) -> ComponentEngine {
    static ENGINE: tokio::sync::OnceCell<ComponentEngine> = tokio::sync::OnceCell::const_new();
    let build = || async { ComponentEngine::build().expect("the machine has an engine") };
    let engine = ENGINE.get_or_init(build).await.clone();
    engine.run(supervisor).expect("the machine has a thread");
    engine
}

impl TestHost {
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_looking_every(Duration::from_millis(50), dir).await
    }

    /// A host that looks at all plugins, and writes their status, so often.
    pub(crate) async fn start_looking_every(status_interval: Duration, dir: &Path) -> Self {
        let host = Self::without_manager(status_interval, dir).await;
        host.follow(&host.supervisor).await;
        host
    }

    /// Looks at the plugins until the supervisor ends.
    pub(crate) async fn follow(&self, supervisor: &Supervisor) {
        let from = self.manager.start().await;
        supervisor.spawn("plugins", self.manager.clone().run(from, supervisor.clone()));
    }

    /// A host whose plugins nobody looks at.
    pub(crate) async fn without_manager(status_interval: Duration, dir: &Path) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let supervisor = Supervisor::default();
        let config = quadrille_store::Config { dir: Some(dir.join("store")), ..Default::default() };
        let store =
            Store::open(config, Arc::clone(&clock), &supervisor).await.expect("the store opens");
        Self::on(store, dir, (clock, status_interval), supervisor).await
    }

    pub(crate) async fn on(
        store: Store,
        dir: &Path,
        (clock, status_interval): (Arc<dyn Clock>, Duration),
        supervisor: Supervisor,
    ) -> Self {
        let random: Arc<dyn Random> = Arc::new(SeededRandom::new(7));
        let config = quadrille_registry::Config::default();
        let registry = Registry::build(config, store, Arc::clone(&clock), Arc::clone(&random));
        let registry = registry.expect("the catalog builds");
        registry.bootstrap().await.expect("namespaces are made");
        let config = quadrille_runtime::Config { builtin: false, slots: 8, ..Default::default() };
        let runtime = Runtime::build(config, registry.clone(), supervisor.clone());
        runtime.start();
        let config = LoadConfig::new(dir.join("code"), CompileMode::InProcess);
        let loader = Loader::build(config, engine(&supervisor).await, Arc::clone(&clock), &*random);
        let loader = Arc::new(loader.expect("the cache opens"));
        let config =
            ManagerConfig { status_interval, ..ManagerConfig::new(dir.join("components")) };
        let parts = ManagerParts {
            registry: registry.clone(),
            loader,
            runtime: runtime.clone(),
            clock,
            preflight: Some(Arc::new(FailsOnce::default())),
        };
        let manager = PluginManager::build(config, parts).expect("the directory is writable");
        Self { registry, runtime, manager, supervisor }
    }

    pub(crate) async fn stop(self) {
        self.end().await;
    }

    /// The same; answers what its tasks were under.
    pub(crate) async fn end(self) -> Supervisor {
        assert!(self.supervisor.stop(Duration::from_secs(20)).await, "everything ends in time");
        assert_eq!(self.supervisor.failed(), Vec::<&str>::new());
        self.supervisor
    }

    pub(crate) fn upload(plugin: &str, component: Vec<u8>) -> PluginUpload {
        let actor = Actor { user: "admin".into(), ..Actor::default() };
        PluginUpload {
            plugin: plugin.to_owned(),
            component: Bytes::from(component),
            grant_all: true,
            keep_only: false,
            dry_run: false,
            actor,
        }
    }

    pub(crate) async fn load(&self, plugin: &str, component: Vec<u8>) -> Value {
        self.manager.upload(Self::upload(plugin, component)).await.expect("it is accepted")
    }

    pub(crate) async fn write(
        &self,
        gvr: (&str, &str),
        namespace: &str,
        name: &str,
        action: Action,
    ) {
        let resource = self.registry.catalog().by_gvr(&Gvr::new(gvr.0, "v1", gvr.1)).cloned();
        let target = Target {
            resource: resource.expect("it is served"),
            namespace: namespace.into(),
            name: Some(name.into()),
            subresource: None,
        };
        let actor = Actor { user: "admin".into(), ..Actor::default() };
        let request = WriteRequest { target, action, options: WriteOptions::default(), actor };
        let cause = Cause::Request(RequestCause::default());
        self.registry.submit(&request, cause).await.expect("the write is accepted");
    }

    pub(crate) async fn create_map(&self, name: &str) {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}});
        self.write(("", "configmaps"), "default", name, Action::Create(Body::from(body))).await;
    }

    pub(crate) async fn patch_plugin(&self, name: &str, patch: Value) {
        let action = Action::Patch(PatchFormat::Merge, Body::from(patch));
        self.write(("quadrille.dev", "plugins"), "", name, action).await;
    }

    pub(crate) fn object(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Value> {
        let key = Key::new(GroupResource::new(group, resource), namespace, name);
        let object = self.registry.store().snapshot().get(&key)?;
        Some(serde_json::from_slice(&object.bytes).expect("objects are JSON"))
    }

    pub(crate) fn map(&self, name: &str) -> Value {
        self.object("", "configmaps", "default", name).unwrap_or_default()
    }

    pub(crate) fn plugin(&self, name: &str) -> Option<Value> {
        self.object("quadrille.dev", "plugins", "", name)
    }

    pub(crate) fn status(&self, plugin: &str) -> Value {
        self.plugin(plugin).unwrap_or_default()["status"].clone()
    }

    pub(crate) async fn eventually(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        self.eventually_within(Duration::from_secs(30), what, holds).await;
    }

    pub(crate) async fn eventually_within(
        &self,
        time_max: Duration,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) {
        let deadline = self.registry.clock().monotonic() + time_max;
        while !holds(self) {
            let all: Vec<Value> =
                ["good", "bad", "p"].iter().map(|name| self.status(name)).collect();
            assert!(
                self.registry.clock().monotonic() < deadline,
                "never: {what}; statuses: {all:#?}"
            );
            self.registry.clock().sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A guest that sets `data.version` of its config map.
pub(crate) fn stamps(version: &str) -> Vec<u8> {
    let patch = format!(r#"{{"data":{{"version":"{version}"}}}}"#);
    Guest { version: version.to_owned(), texts: vec![("patch", patch)], ..Guest::stamps() }.build()
}

pub(crate) fn has_version(host: &TestHost, map: &str, version: &str) -> bool {
    host.map(map).pointer("/data/version") == Some(&json!(version))
}
