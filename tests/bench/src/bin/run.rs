//! What a run costs: a fresh instance, one read, one write; without the disk and with it, beside an empty loop.
//!
//! Four figures, each measured in the same process: the empty loop (an overlay made and dropped), the same with a
//! native reconciler that reads and writes, the same in a fresh Wasm instance, and the whole way of committed runs
//! through the runtime on an in-memory store.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quadrille_bench::say;
use quadrille_component::{
    CompileMode, ComponentEngine, ComponentReconciler, LoadConfig, LoadedComponent, Loader,
    PluginContext, PluginLog,
};
use quadrille_guests::Guest;
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, Random, SeededRandom, Supervisor, SystemClock};
use quadrille_object::{GroupResource, Gvr};
use quadrille_registry::{
    Action, Actor, Body, PatchFormat, Registry, Target, WriteOptions, WriteRequest,
};
use quadrille_runtime::{
    ControllerSpec, Grant, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler, Runtime,
};
use quadrille_store::{Cause, Key, RequestCause, Store, View};
use serde_json::json;

const ROUNDS: usize = 5_000;
const OBJECTS: usize = 2_000;

/// Reads and writes as the guest does, without a guest.
#[derive(Debug)]
struct Native {
    registry: Registry,
}

impl Reconciler for Native {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let result = self.act(&request, &mut overlay);
            let result =
                result.map_err(|error| quadrille_runtime::Failure::Transient(error.to_string()));
            Reconciled { overlay, result: result.map(|()| Outcome::Done), memory_bytes: 0 }
        })
    }
}

impl Native {
    fn act(&self, request: &ReconcileRequest, overlay: &mut Overlay) -> Result<()> {
        let object = overlay.get(&request.key)?.context("the object exists")?;
        let resource = self.registry.catalog().by_gvr(&Gvr::new("", "v1", "configmaps")).cloned();
        let resource = resource.context("config maps are served")?;
        // As a guest gets it: the text of the object.
        std::hint::black_box(String::from_utf8(self.registry.present(&object, &resource).into())?);
        let patch = format!(r#"{{"data":{{"n":"{:016x}"}}}}"#, request.seed);
        let body: serde_json::Value = serde_json::from_str(&patch)?;
        let target = target(&resource, &request.key.name);
        overlay.write(
            target,
            Action::Patch(PatchFormat::Merge, Body::from(body)),
            WriteOptions::default(),
        )?;
        Ok(())
    }
}

fn target(resource: &Arc<quadrille_registry::Resource>, name: &str) -> Target {
    Target {
        resource: Arc::clone(resource),
        namespace: "default".into(),
        name: Some(name.into()),
        subresource: None,
    }
}

struct Bench {
    registry: Registry,
    supervisor: Supervisor,
    component: LoadedComponent,
}

impl Bench {
    async fn build() -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let random: Arc<dyn Random> = Arc::new(SeededRandom::new(1));
        let supervisor = Supervisor::default();
        let config = quadrille_store::Config::default();
        let store = Store::open(config, Arc::clone(&clock), &supervisor).await?;
        let config = quadrille_registry::Config::default();
        let registry = Registry::build(config, store, Arc::clone(&clock), Arc::clone(&random))?;
        registry.bootstrap().await?;
        let engine = ComponentEngine::build()?;
        engine.run(&supervisor)?;
        let dir = tempfile::tempdir()?;
        let config = LoadConfig::new(dir.path().join("code"), CompileMode::InProcess);
        let loader = Loader::build(config, engine, clock, &*random)?;
        let log = Arc::new(PluginLog::default());
        let component = loader.load(&Guest::reads_and_writes().build(), log).await?;
        Ok(Self { registry, supervisor, component })
    }

    fn reconciler(&self) -> ComponentReconciler {
        let context = PluginContext {
            plugin: "bench".into(),
            config: Arc::default(),
            limits: Arc::default(),
            log: Arc::default(),
            denials: Arc::default(),
        };
        let controller = self.component.description().controllers[0].clone();
        ComponentReconciler::new(self.component.clone(), context, controller)
    }

    async fn create_objects(&self) -> Result<()> {
        let resource = self.registry.catalog().by_gvr(&Gvr::new("", "v1", "configmaps")).cloned();
        let resource = resource.context("config maps are served")?;
        for at in 0..OBJECTS {
            let name = format!("m{at}");
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"},
                "data": {"text": "x".repeat(900)}});
            let request = WriteRequest {
                target: target(&resource, &name),
                action: Action::Create(Body::from(body)),
                options: WriteOptions::default(),
                actor: Actor::default(),
            };
            self.registry.submit(&request, Cause::Request(RequestCause::default())).await?;
        }
        Ok(())
    }

    fn request(&self, at: usize) -> Result<(ReconcileRequest, Overlay)> {
        let key =
            Key::new(GroupResource::new("", "configmaps"), "default", format!("m{}", at % OBJECTS));
        let snapshot = self.registry.store().snapshot();
        let object = snapshot.get(&key).context("the object exists")?;
        let request = ReconcileRequest {
            run: at as u64,
            controller: "guest".into(),
            key,
            object: Some(object),
            woken_by: Vec::new(),
            attempt: 0,
            now: self.registry.clock().now(),
            seed: at as u64,
            trial: false,
        };
        let grant = Grant { unlimited: true, ..Grant::default() };
        Ok((request, Overlay::new(snapshot, self.registry.clone(), grant)))
    }

    /// The median and the 99th percentile of one call, in microseconds.
    async fn calls(&self, code: &dyn Reconciler) -> Result<(f64, f64)> {
        let clock = self.registry.clock();
        let mut times = Vec::with_capacity(ROUNDS);
        for at in 0..ROUNDS {
            let (request, overlay) = self.request(at)?;
            let began = clock.monotonic();
            let ended = code.reconcile(request, overlay).await;
            times.push(clock.monotonic().saturating_sub(began));
            anyhow::ensure!(ended.result.is_ok(), "a run failed: {:?}", ended.result);
        }
        times.sort_unstable();
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
        Ok((micros(at(50)), micros(at(99))))
    }

    /// Committed runs per second through the runtime: every object once, with its commit.
    async fn committed(&self, code: Arc<dyn Reconciler>, name: &str) -> Result<f64> {
        let config = quadrille_runtime::Config { builtin: false, ..Default::default() };
        let runtime = Runtime::build(config, self.registry.clone(), self.supervisor.clone());
        runtime.start();
        let spec = ControllerSpec {
            name: name.into(),
            plugin: "bench".into(),
            digest: self.component.digest().to_string().into(),
            primary: GroupResource::new("", "configmaps"),
            version: "v1".into(),
            selector: quadrille_object::LabelSelector::default(),
            concurrency: 64,
            resync: None,
            finalizer: None,
            field_manager: name.into(),
            grant: Grant { unlimited: true, ..Grant::default() },
        };
        let clock = self.registry.clock();
        let began = clock.monotonic();
        runtime.add(spec, code)?;
        loop {
            let stats = runtime.stats(Some("bench"));
            let commits: u64 = stats.iter().map(|controller| controller.commits).sum();
            if commits >= OBJECTS as u64 {
                return Ok(commits as f64 / (clock.monotonic().saturating_sub(began)).as_secs_f64());
            }
            anyhow::ensure!(
                clock.monotonic().saturating_sub(began) < Duration::from_mins(1),
                "it does not end: {stats:#?}"
            );
            clock.sleep(Duration::from_millis(1)).await;
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Does nothing.
#[derive(Debug)]
struct Empty;

impl Reconciler for Empty {
    fn reconcile(&self, _request: ReconcileRequest, overlay: Overlay) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move { Reconciled { overlay, result: Ok(Outcome::Done), memory_bytes: 0 } })
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let bench = Bench::build().await?;
    bench.create_objects().await?;
    let native = Native { registry: bench.registry.clone() };
    let wasm = bench.reconciler();
    bench.calls(&wasm).await?;
    say(&format!("{:<44} {:>9} {:>9}", "one run, microseconds", "p50", "p99"));
    for (name, code) in [
        ("empty loop", &Empty as &dyn Reconciler),
        ("one read, one write, native", &native),
        ("one read, one write, fresh Wasm instance", &wasm),
    ] {
        let (p50, p99) = bench.calls(code).await?;
        say(&format!("{name:<44} {p50:>9.1} {p99:>9.1}"));
    }
    let native = bench.committed(Arc::new(native), "native").await?;
    say(&format!("{:<44} {native:>9.0}", "committed runs per second, native"));
    let wasm = bench.committed(Arc::new(bench.reconciler()), "wasm").await?;
    say(&format!("{:<44} {wasm:>9.0}", "committed runs per second, Wasm"));
    Ok(())
}
