//! What the runtime itself costs: per committed run, per change beside many sleepers, per sleeping key, and for a
//! fan-out of parents to children. Native reconcilers and a store in memory, so that nothing else is measured.
//!
//! Each figure stands beside its reference: the same transactions made and committed by hand, without runtime.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quadrille_bench::say;
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, SeededRandom, Supervisor, SystemClock};
use quadrille_object::{GroupResource, LabelSelector};
use quadrille_registry::{
    Action, Actor, Body, PatchFormat, Registry, Resource, Target, WriteOptions, WriteRequest,
};
use quadrille_runtime::{
    ControllerName, ControllerSpec, Failure, Grant, Outcome, Overlay, ReconcileRequest, Reconciled,
    Reconciler, Runtime,
};
use quadrille_store::{Cause, Key, Query, Range, RequestCause, Selection, Store, View};
use serde_json::{Value, json};

/// How many objects the runs of the first figures are for.
const OBJECTS: usize = 10_000;
/// How many changes the cost of one is taken over.
const CHANGES: usize = 2_000;
const PARENTS: usize = 300;
const CHILDREN: usize = 3;

type Work = fn(&Arc<Resource>, &ReconcileRequest, &mut Overlay) -> Result<()>;

#[derive(Debug)]
struct Native {
    resource: Arc<Resource>,
    work: Work,
    runs: Arc<AtomicU64>,
}

impl Reconciler for Native {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let result = (self.work)(&self.resource, &request, &mut overlay);
            self.runs.fetch_add(1, Ordering::Relaxed);
            let result = result.map_err(|error| Failure::Permanent(error.to_string()));
            Reconciled { overlay, result: result.map(|()| Outcome::Done), memory_bytes: 0 }
        })
    }
}

/// Reads its object and nothing else.
#[expect(clippy::unnecessary_wraps, reason = "it stands in a table beside work that can fail")]
fn look(_: &Arc<Resource>, _: &ReconcileRequest, _: &mut Overlay) -> Result<()> {
    Ok(())
}

/// Writes a datum of its object, and one only.
fn mark(resource: &Arc<Resource>, request: &ReconcileRequest, overlay: &mut Overlay) -> Result<()> {
    let object = request.object.as_ref().context("the object exists")?;
    if object.bytes.windows(8).any(|bytes| bytes == b"\"marked\"") {
        return Ok(());
    }
    let patch = Action::Patch(PatchFormat::Merge, Body::from(json!({"data": {"marked": "yes"}})));
    overlay.write(target(resource, Some(&request.key.name)), patch, WriteOptions::default())?;
    Ok(())
}

/// Lists what it owns and makes what is missing.
fn parent(
    resource: &Arc<Resource>,
    request: &ReconcileRequest,
    overlay: &mut Overlay,
) -> Result<()> {
    let object = request.object.as_ref().context("the object exists")?;
    let range = Range {
        resource: request.key.resource.clone(),
        namespace: Some(Arc::clone(&request.key.namespace)),
        selection: Selection::Owner(Arc::clone(&object.meta.uid)),
    };
    for number in overlay.list(&Query::whole(range))?.len()..CHILDREN {
        let child = json!({"metadata": {
            "name": format!("{}-{number}", request.key.name),
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": request.key.name,
                "uid": object.meta.uid, "controller": true}],
        }});
        let action = Action::Create(Body::from(child));
        overlay.write(target(resource, None), action, WriteOptions::default())?;
    }
    Ok(())
}

fn target(resource: &Arc<Resource>, name: Option<&str>) -> Target {
    let (resource, namespace) = (Arc::clone(resource), "default".into());
    Target { resource, namespace, name: name.map(Into::into), subresource: None }
}

fn key(name: &str) -> Key {
    Key::new(GroupResource::new("", "configmaps"), "default", name)
}

fn all() -> Grant {
    Grant { unlimited: true, ..Grant::default() }
}

struct Bench {
    registry: Registry,
    supervisor: Supervisor,
    resource: Arc<Resource>,
}

/// Time that passed and time that the process worked.
#[derive(Clone, Copy)]
struct Times {
    wall: Duration,
    cpu: Duration,
}

impl Bench {
    async fn build() -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let supervisor = Supervisor::default();
        let config = quadrille_store::Config::default();
        let store = Store::open(config, Arc::clone(&clock), &supervisor).await?;
        let config = quadrille_registry::Config::default();
        let random = Arc::new(SeededRandom::new(1));
        let registry = Registry::build(config, store, clock, random)?;
        registry.bootstrap().await?;
        let gvr = quadrille_object::Gvr::new("", "v1", "configmaps");
        let resource =
            registry.catalog().by_gvr(&gvr).cloned().context("config maps are served")?;
        Ok(Self { registry, supervisor, resource })
    }

    async fn submit(&self, target: Target, action: Action) -> Result<()> {
        let (options, actor) = (WriteOptions::default(), Actor::default());
        let request = WriteRequest { target, action, options, actor };
        self.registry.submit(&request, Cause::Request(RequestCause::default())).await?;
        Ok(())
    }

    /// Objects `PREFIX0…` with the label `of=PREFIX`, and about as large as such objects are.
    async fn create(&self, prefix: &str, objects: std::ops::Range<usize>) -> Result<()> {
        for at in objects {
            let body = json!({
                "metadata": {"name": format!("{prefix}{at}"), "labels": {"of": prefix}},
                "data": {"text": "x".repeat(600)},
            });
            self.submit(target(&self.resource, None), Action::Create(Body::from(body))).await?;
        }
        Ok(())
    }

    fn native(&self, work: Work) -> (Arc<Native>, Arc<AtomicU64>) {
        let runs = Arc::new(AtomicU64::new(0));
        let (resource, counted) = (Arc::clone(&self.resource), Arc::clone(&runs));
        (Arc::new(Native { resource, work, runs: counted }), runs)
    }

    fn runtime(&self) -> Runtime {
        let config = quadrille_runtime::Config { builtin: false, ..Default::default() };
        let runtime = Runtime::build(config, self.registry.clone(), self.supervisor.clone());
        runtime.start();
        runtime
    }

    fn spec(&self, name: &str, of: &str) -> Result<ControllerSpec> {
        let selector = LabelSelector::parse(&format!("of={of}"));
        Ok(ControllerSpec {
            name: name.into(),
            plugin: "bench".into(),
            digest: "sha256:0".into(),
            primary: self.resource.group_resource(),
            version: "v1".into(),
            selector: selector.map_err(|error| anyhow::anyhow!("{error}"))?,
            concurrency: 64,
            resync: None,
            finalizer: None,
            field_manager: name.into(),
            grant: all(),
        })
    }

    fn times(&self) -> Result<Times> {
        Ok(Times { wall: self.registry.clock().monotonic(), cpu: cpu_time()? })
    }

    async fn settle(&self, runtime: &Runtime) -> Result<()> {
        let revision = self.registry.store().revision();
        let settled = runtime.at_rest(revision, Duration::from_mins(2)).await;
        ensure!(settled.settled && settled.stuck_count == 0, "not settled: {settled:?}");
        Ok(())
    }

    /// Every object of a prefix once, by hand: snapshot, overlay, work, commit; as many at once as the runtime has.
    async fn by_hand(self: &Arc<Self>, prefix: &'static str, work: Work) -> Result<Times> {
        let began = self.times()?;
        let next = Arc::new(AtomicU64::new(0));
        let mut lines = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let (this, next) = (Arc::clone(self), Arc::clone(&next));
            lines.spawn(async move {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= OBJECTS as u64 {
                        return Ok::<(), anyhow::Error>(());
                    }
                    this.one_by_hand(key(&format!("{prefix}{at}")), at, work).await?;
                }
            });
        }
        while let Some(ended) = lines.join_next().await {
            ended??;
        }
        self.since(began)
    }

    async fn one_by_hand(&self, key: Key, run: u64, work: Work) -> Result<()> {
        let snapshot = self.registry.store().snapshot();
        let object = snapshot.get(&key);
        let mut overlay = Overlay::new(snapshot, self.registry.clone(), all());
        let (controller, now) = ("hand".into(), self.registry.clock().now());
        let (woken_by, attempt, seed) = (Vec::new(), 0, 0);
        let request = ReconcileRequest {
            run,
            controller,
            key,
            object,
            woken_by,
            attempt,
            now,
            seed,
            trial: false,
        };
        work(&self.resource, &request, &mut overlay)?;
        if !overlay.written().is_empty() {
            let txn = overlay.into_txn(None, Cause::Request(RequestCause::default()));
            self.registry.commit(txn).await?;
        }
        Ok(())
    }

    /// Every object of a prefix once, by the runtime.
    async fn by_runtime(&self, runtime: &Runtime, prefix: &str, work: Work) -> Result<Times> {
        let (reconciler, runs) = self.native(work);
        let began = self.times()?;
        runtime.add(self.spec(prefix, prefix)?, reconciler)?;
        self.settle(runtime).await?;
        let times = self.since(began)?;
        let runs = runs.load(Ordering::Relaxed);
        ensure!(runs == OBJECTS as u64, "{runs} runs for {OBJECTS} objects");
        Ok(times)
    }

    fn since(&self, began: Times) -> Result<Times> {
        let now = self.times()?;
        Ok(Times {
            wall: now.wall.saturating_sub(began.wall),
            cpu: now.cpu.saturating_sub(began.cpu),
        })
    }
}

/// Processor time of this process, user and system; in ticks of 10 ms.
fn cpu_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit(')').next().context("a stat line")?;
    let mut fields = after.split_whitespace().skip(11);
    let mut next = || fields.next().context("a field")?.parse::<u64>().context("a number");
    Ok(Duration::from_millis((next()? + next()?) * 10))
}

fn resident_bytes() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).context("resident pages")?.parse()?;
    Ok(pages * 4096)
}

fn print(what: &str, figures: &[(f64, &str)]) {
    let figures: Vec<String> =
        figures.iter().map(|(figure, unit)| format!("{figure:>10.1} {unit}")).collect();
    say(&format!("{what:<52}{}", figures.join("  ")));
}

fn print_runs(what: &str, times: Times) {
    let each = |time: Duration| time.as_secs_f64() * 1e6 / OBJECTS as f64;
    print(what, &[(each(times.cpu), "µs CPU"), (each(times.wall), "µs wall")]);
}

async fn overhead() -> Result<()> {
    let bench = Arc::new(Bench::build().await?);
    for prefix in ["a", "b"] {
        bench.create(prefix, 0..OBJECTS).await?;
    }
    let runtime = bench.runtime();
    print_runs("per run that only looks, by hand", bench.by_hand("a", look).await?);
    print_runs(
        "per run that only looks, by the runtime",
        bench.by_runtime(&runtime, "a", look).await?,
    );
    runtime.remove(&ControllerName::new("bench", "a"))?;
    print_runs("per committed run, by hand", bench.by_hand("a", mark).await?);
    print_runs("per committed run, by the runtime", bench.by_runtime(&runtime, "b", mark).await?);
    Ok(())
}

/// Changes one object that one of the sleepers reads, again and again.
async fn changes(sleepers: usize) -> Result<()> {
    let bench = Bench::build().await?;
    bench.create("a", 0..sleepers).await?;
    let runtime = bench.runtime();
    let (reconciler, runs) = bench.native(look);
    let before = resident_bytes()?;
    runtime.add(bench.spec("a", "a")?, reconciler)?;
    bench.settle(&runtime).await?;
    let asleep = resident_bytes()?.saturating_sub(before);
    let first = runs.load(Ordering::Relaxed);
    let began = bench.times()?;
    for at in 0..CHANGES {
        let patch = json!({"data": {"text": at.to_string()}});
        let action = Action::Patch(PatchFormat::Merge, Body::from(patch));
        bench.submit(target(&bench.resource, Some("a7")), action).await?;
        bench.settle(&runtime).await?;
    }
    let times = bench.since(began)?;
    let woken = runs.load(Ordering::Relaxed) - first;
    ensure!(woken == CHANGES as u64, "{woken} runs for {CHANGES} changes");
    let each = |time: Duration| time.as_secs_f64() * 1e6 / CHANGES as f64;
    print(
        &format!("one change and its run beside {sleepers} sleepers"),
        &[
            (each(times.cpu), "µs CPU"),
            (each(times.wall), "µs wall"),
            (asleep as f64 / sleepers as f64, "bytes per sleeper"),
        ],
    );
    Ok(())
}

/// What a sleeper reads beside its own object; each has something of its own.
#[derive(Clone, Copy, Debug)]
enum Interest {
    Owner,
    Label,
    Name,
    Namespace,
}

/// Reads one thing beside its object: what is slept on.
fn read_by(interest: Interest, request: &ReconcileRequest, overlay: &mut Overlay) -> Result<()> {
    let object = request.object.as_ref().context("the object exists")?;
    // Of another kind, of which there is one object: so that the run's own list costs nothing beside the waking.
    let (name, resource) = (&request.key.name, GroupResource::new("", "secrets"));
    let list = |namespace: &str, selection| {
        let (resource, namespace) = (resource.clone(), Some(namespace.into()));
        Query::whole(Range { resource, namespace, selection })
    };
    let query = match interest {
        Interest::Name => {
            overlay.get(&Key::new(resource, "default", format!("x-{name}")))?;
            return Ok(());
        }
        Interest::Owner => list("default", Selection::Owner(Arc::clone(&object.meta.uid))),
        Interest::Label => {
            let selector = LabelSelector::parse(&format!("pair={name}"));
            list("default", Selection::Labels(selector.map_err(|e| anyhow::anyhow!("{e}"))?))
        }
        Interest::Namespace => list(&format!("n-{name}"), Selection::All),
    };
    overlay.list(&query)?;
    Ok(())
}

fn by_owner(_: &Arc<Resource>, run: &ReconcileRequest, overlay: &mut Overlay) -> Result<()> {
    read_by(Interest::Owner, run, overlay)
}

fn by_label(_: &Arc<Resource>, run: &ReconcileRequest, overlay: &mut Overlay) -> Result<()> {
    read_by(Interest::Label, run, overlay)
}

fn by_name(_: &Arc<Resource>, run: &ReconcileRequest, overlay: &mut Overlay) -> Result<()> {
    read_by(Interest::Name, run, overlay)
}

fn by_namespace(_: &Arc<Resource>, run: &ReconcileRequest, overlay: &mut Overlay) -> Result<()> {
    read_by(Interest::Namespace, run, overlay)
}

/// Changes an object that one of the sleepers finds by its interest, again and again.
async fn interests(what: &str, work: Work, sleepers: usize) -> Result<()> {
    let bench = Bench::build().await?;
    bench.create("a", 0..sleepers).await?;
    let owner = bench.registry.store().snapshot().get(&key("a7")).context("it was created")?;
    let namespace = if what == "namespace" { "n-a7" } else { "default" };
    if what == "namespace" {
        let gvr = quadrille_object::Gvr::new("", "v1", "namespaces");
        let resource = bench.registry.catalog().by_gvr(&gvr).cloned().context("served")?;
        let body = json!({"metadata": {"name": namespace}});
        let target = Target { namespace: "".into(), ..target(&resource, None) };
        bench.submit(target, Action::Create(Body::from(body))).await?;
    }
    let gvr = quadrille_object::Gvr::new("", "v1", "secrets");
    let secrets = bench.registry.catalog().by_gvr(&gvr).cloned().context("served")?;
    let of_a7 =
        |name: Option<&str>| Target { namespace: namespace.into(), ..target(&secrets, name) };
    let body = json!({"metadata": {
        "name": "x-a7", "labels": {"pair": "a7"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a7",
            "uid": owner.meta.uid}],
    }});
    bench.submit(of_a7(None), Action::Create(Body::from(body))).await?;
    let runtime = bench.runtime();
    let (reconciler, runs) = bench.native(work);
    let before = resident_bytes()?;
    runtime.add(bench.spec("a", "a")?, reconciler)?;
    bench.settle(&runtime).await?;
    let asleep = resident_bytes()?.saturating_sub(before);
    let first = runs.load(Ordering::Relaxed);
    let began = bench.times()?;
    for at in 0..CHANGES {
        let patch = json!({"metadata": {"annotations": {"text": at.to_string()}}});
        let action = Action::Patch(PatchFormat::Merge, Body::from(patch));
        bench.submit(of_a7(Some("x-a7")), action).await?;
        bench.settle(&runtime).await?;
    }
    let times = bench.since(began)?;
    let woken = runs.load(Ordering::Relaxed) - first;
    ensure!(woken == CHANGES as u64, "{woken} runs for {CHANGES} changes");
    print(
        &format!("the same found by {what}, beside {sleepers} sleepers"),
        &[
            (times.cpu.as_secs_f64() * 1e6 / CHANGES as f64, "µs CPU"),
            (times.wall.as_secs_f64() * 1e6 / CHANGES as f64, "µs wall"),
            (asleep as f64 / sleepers as f64, "bytes per sleeper"),
        ],
    );
    Ok(())
}

async fn fan_out() -> Result<()> {
    let bench = Bench::build().await?;
    let runtime = bench.runtime();
    let (reconciler, _) = bench.native(parent);
    runtime.add(bench.spec("parents", "p")?, reconciler)?;
    let began = bench.times()?;
    bench.create("p", 0..PARENTS).await?;
    let created = bench.since(began)?;
    bench.settle(&runtime).await?;
    let times = bench.since(began)?;
    let range = Query::whole(Range::all(bench.resource.group_resource()));
    let children: Vec<Value> = bench
        .registry
        .store()
        .snapshot()
        .list(&range)
        .iter()
        .filter(|object| !object.meta.owners.is_empty())
        .map(|object| serde_json::from_slice(&object.bytes).unwrap_or_default())
        .collect();
    ensure!(children.len() == PARENTS * CHILDREN, "{} children", children.len());
    print(
        &format!("{PARENTS} parents with {CHILDREN} children each"),
        &[
            (created.wall.as_secs_f64() * 1e3, "ms to create the parents"),
            (times.wall.as_secs_f64() * 1e3, "ms until settled"),
        ],
    );
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    overhead().await?;
    for sleepers in [1_000, 10_000, 100_000] {
        changes(sleepers).await?;
    }
    let ways: [(&str, Work); 4] =
        [("owner", by_owner), ("label", by_label), ("name", by_name), ("namespace", by_namespace)];
    for (what, work) in ways {
        for sleepers in [1_000, 10_000, 100_000] {
            interests(what, work, sleepers).await?;
        }
    }
    fan_out().await
}
