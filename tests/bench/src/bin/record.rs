//! What the record of runs costs, and what it gives: committed runs per second and bytes on disk with the journal and
//! without it, in turns in one process on the same disk; and all those runs replayed.
//!
//! The store is on disk, the guest is a real component in a fresh instance per run, and each object is run once by each
//! of several controllers. The replays are made with the component that ran, in one walk back through the history.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quadrille_bench::{percentile, say};
use quadrille_component::{CompileMode, ComponentEngine, LoadConfig, LoadedComponent, Loader};
use quadrille_guests::Guest;
use quadrille_insight::{Code, CodeMissing, CodeSource, Replays, Verdict};
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, Random, SeededRandom, Supervisor, SystemClock};
use quadrille_object::{GroupResource, Gvr};
use quadrille_registry::{Action, Actor, Body, Registry, Target, WriteOptions, WriteRequest};
use quadrille_runtime::{ControllerSpec, Grant, OverlayLimits, RunCode, RunQuery, Runtime};
use quadrille_store::{Cause, Journal, JournalConfig, RequestCause, Store};
use serde_json::json;

/// Objects, and so runs of each controller.
const OBJECTS: usize = 2_000;

/// Controllers of one turn.
const CONTROLLERS: usize = 5;

/// Turns with the journal, and as many without.
const TURNS: usize = 5;

struct Bench {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    component: LoadedComponent,
    _supervisor: Supervisor,
}

/// A host on disk for one turn.
struct Host {
    registry: Registry,
    runtime: Runtime,
    journal: Option<Journal>,
    supervisor: Supervisor,
}

impl Bench {
    async fn build(dir: &Path) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let random: Arc<dyn Random> = Arc::new(SeededRandom::new(1));
        let supervisor = Supervisor::default();
        let engine = ComponentEngine::build()?;
        engine.run(&supervisor)?;
        let config = LoadConfig::new(dir.join("code"), CompileMode::InProcess);
        let loader = Loader::build(config, engine, Arc::clone(&clock), &*random)?;
        let component = loader.load(&Guest::reads_and_writes().build(), Arc::default()).await?;
        Ok(Self { clock, random, component, _supervisor: supervisor })
    }

    async fn host(&self, dir: &Path, recorded: bool) -> Result<Host> {
        let supervisor = Supervisor::default();
        let config = quadrille_store::Config {
            dir: Some(dir.join("store")),
            ..quadrille_store::Config::default()
        };
        let store = Store::open(config, Arc::clone(&self.clock), &supervisor).await?;
        let journal = if recorded {
            let config = JournalConfig { dir: Some(dir.join("runs")), ..JournalConfig::default() };
            Some(Journal::open(config, Arc::clone(&self.clock), &supervisor).await?)
        } else {
            None
        };
        let config = quadrille_registry::Config::default();
        let parts = (Arc::clone(&self.clock), Arc::clone(&self.random));
        let registry = Registry::build(config, store, parts.0, parts.1)?;
        registry.bootstrap().await?;
        let config = quadrille_runtime::Config {
            builtin: false,
            journal: journal.clone(),
            ..quadrille_runtime::Config::default()
        };
        let runtime = Runtime::build(config, registry.clone(), supervisor.clone());
        runtime.start();
        let host = Host { registry, runtime, journal, supervisor };
        host.create_objects().await?;
        Ok(host)
    }

    /// Committed runs per second: every object once for each controller, one controller after the other.
    async fn turn(&self, host: &Host) -> Result<f64> {
        let began = self.clock.monotonic();
        for number in 0..CONTROLLERS {
            let spec = spec(&format!("c{number}"), &self.component);
            let code = RunCode::new(Arc::new(spec), 1, OverlayLimits::default(), "".into());
            let (spec, code) = self.component.code_for(&code)?;
            host.runtime.add(ControllerSpec::clone(&spec), code)?;
            let wanted = OBJECTS as u64;
            loop {
                let stats = host.runtime.stats(Some("bench"));
                let stats = stats.iter().find(|stats| stats.controller == spec.name);
                if stats.is_some_and(|stats| stats.commits >= wanted) {
                    break;
                }
                let waited = self.clock.monotonic().saturating_sub(began);
                anyhow::ensure!(waited < Duration::from_mins(2), "it does not end: {stats:?}");
                self.clock.sleep(Duration::from_millis(1)).await;
            }
            // Its objects are not run again for what the next one writes.
            let name = quadrille_runtime::ControllerName::of(&spec);
            host.runtime.remove(&name)?;
        }
        let took = self.clock.monotonic().saturating_sub(began).as_secs_f64();
        Ok((OBJECTS * CONTROLLERS) as f64 / took)
    }

    /// Replays all recorded runs with the component that ran.
    async fn replay(&self, host: &Host) -> Result<()> {
        let query = RunQuery { wrote: true, ..RunQuery::default() };
        let began = self.clock.monotonic();
        let runs = host.runtime.find_runs(&query, usize::MAX).await?;
        let found = self.clock.monotonic().saturating_sub(began);
        let source: Arc<dyn CodeSource> = Arc::new(Same { component: self.component.clone() });
        let mut replays = Replays::new(host.registry.clone(), source, runs);
        let (mut times, mut last) = (Vec::new(), self.clock.monotonic());
        while let Some(replayed) = replays.next().await {
            let now = self.clock.monotonic();
            times.push(now.saturating_sub(last));
            last = now;
            anyhow::ensure!(replayed.verdict == Verdict::Identical, "{replayed:#?}");
        }
        times.sort_unstable();
        let summary = replays.summary();
        say(&format!(
            "runs found in the journal in {:.0} ms, replayed: {}, with the same writes: {}; p50 {:.0} µs, p99 {:.0} µs each",
            found.as_secs_f64() * 1e3,
            summary.runs,
            summary.identical,
            percentile(&times, 0.5).as_secs_f64() * 1e6,
            percentile(&times, 0.99).as_secs_f64() * 1e6,
        ));
        Ok(())
    }
}

impl Host {
    async fn create_objects(&self) -> Result<()> {
        let resource = self.registry.catalog().by_gvr(&Gvr::new("", "v1", "configmaps")).cloned();
        let resource = resource.context("config maps are served")?;
        for at in 0..OBJECTS {
            let body =
                json!({"metadata": {"name": format!("m{at}")}, "data": {"text": "x".repeat(900)}});
            let target = Target {
                resource: Arc::clone(&resource),
                namespace: "default".into(),
                name: None,
                subresource: None,
            };
            let action = Action::Create(Body::from(body));
            let (options, actor) = (WriteOptions::default(), Actor::default());
            let request = WriteRequest { target, action, options, actor };
            self.registry.submit(&request, Cause::Request(RequestCause::default())).await?;
        }
        Ok(())
    }

    async fn end(self) {
        self.supervisor.stop(Duration::from_secs(10)).await;
    }
}

fn spec(name: &str, component: &LoadedComponent) -> ControllerSpec {
    ControllerSpec {
        name: "guest".into(),
        plugin: "bench".into(),
        digest: component.digest().to_string().into(),
        primary: GroupResource::new("", "configmaps"),
        version: "v1".into(),
        selector: quadrille_object::LabelSelector::default(),
        concurrency: 64,
        resync: None,
        finalizer: None,
        field_manager: name.into(),
        grant: Grant { unlimited: true, ..Grant::default() },
    }
}

/// The component of the bench for every run.
#[derive(Debug)]
struct Same {
    component: LoadedComponent,
}

impl CodeSource for Same {
    fn code<'a>(&'a self, code: &'a RunCode) -> BoxFuture<'a, Result<Code, CodeMissing>> {
        let made = self.component.code_for(code);
        Box::pin(async move {
            let (spec, reconciler) = made.map_err(|error| CodeMissing(error.to_string()))?;
            Ok(Code { spec, reconciler })
        })
    }
}

fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bench = Bench::build(dir.path()).await?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut last = None;
    for turn in 0..2 * TURNS {
        let recorded = turn % 2 == 1;
        let dir = dir.path().join(format!("turn-{turn}"));
        let host = bench.host(&dir, recorded).await?;
        let before = host.registry.store().size().record_bytes;
        let rate = bench.turn(&host).await?;
        if let Some(journal) = &host.journal {
            journal.flush().await;
            with.push(rate);
            let (size, records) = (bytes_below(&dir.join("runs")), journal.size());
            let history = host.registry.store().size().record_bytes.saturating_sub(before);
            let runs = (OBJECTS * CONTROLLERS) as f64;
            last = Some((size as f64 / runs, history as f64 / runs, records));
        } else {
            without.push(rate);
        }
        if turn + 1 == 2 * TURNS {
            bench.replay(&host).await?;
        }
        host.end().await;
    }
    let (with, without) = (median(&mut with), median(&mut without));
    say(&format!("committed runs per second on disk, without the record: {without:.0}"));
    say(&format!("                                   with the record:    {with:.0}"));
    say(&format!("the record costs {:.1} %", (without / with - 1.0) * 100.0));
    if let Some((journal, history, records)) = last {
        say(&format!(
            "bytes per run: journal {journal:.0}, beside {history:.0} of history; records {}, dropped {}",
            records.records, records.dropped
        ));
    }
    Ok(())
}
