//! Fights between native controllers on a real runtime: found, told, slowed down, frozen and released.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quadrille_insight::{Fight, FightKind, Fights, Response};
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, ManualClock, SeededRandom, Supervisor};
use quadrille_object::selector::LabelSelector;
use quadrille_object::{GroupResource, Gvk};
use quadrille_registry::{
    Action, Actor, Body, PatchFormat, Registry, Target, WriteOptions, WriteRequest,
};
use quadrille_runtime::{
    Config, ControllerSpec, Failure, Grant, Outcome, Overlay, ReconcileRequest, Reconciled,
    Reconciler, Runtime,
};
use quadrille_store::{Cause, Key, Query, Range, RequestCause, Selection, Store, View};
use serde_json::{Value, json};

type Work = fn(&ReconcileRequest, &mut Overlay) -> Result<Outcome, Failure>;

struct Native(Work);

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
            let result = (self.0)(&request, &mut overlay);
            tokio::task::yield_now().await;
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

struct Host {
    clock: Arc<ManualClock>,
    registry: Registry,
    runtime: Runtime,
    fights: Fights,
}

fn key(name: &str) -> Key {
    Key::new(GroupResource::new("", "configmaps"), "default", name)
}

fn target(registry: &Registry, name: Option<&str>) -> Target {
    let resource = registry.resource_of(&Gvk::new("", "v1", "ConfigMap")).expect("built in");
    Target { resource, namespace: "default".into(), name: name.map(Into::into), subresource: None }
}

fn number(object: Option<&quadrille_store::Object>, name: &str) -> u64 {
    let value: Value =
        object.map(|o| serde_json::from_slice(&o.bytes).expect("JSON")).unwrap_or_default();
    value["data"][name].as_str().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Sets a datum of an object in a run; nothing where it is so already.
fn set(overlay: &mut Overlay, name: &str, datum: &str, n: u64) -> Result<Outcome, Failure> {
    let known = overlay.get(&key(name)).map_err(|s| Failure::Transient(s.message))?;
    if known.is_some() && number(known.as_deref(), datum) == n {
        return Ok(Outcome::Done);
    }
    let target = target(overlay.registry(), Some(name));
    let patch = Body::from(json!({"data": {datum: n.to_string()}}));
    let action = Action::Patch(PatchFormat::Merge, patch);
    let written = overlay.write(target, action, WriteOptions::default());
    written.map(|_| Outcome::Done).map_err(|status| Failure::Transient(status.message))
}

impl Host {
    async fn new(response: Response) -> Self {
        let clock = Arc::new(ManualClock::default());
        let supervisor = Supervisor::default();
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let config = quadrille_store::Config::default();
        let store = Store::open(config, Arc::clone(&shared), &supervisor).await.expect("memory");
        let (config, random) =
            (quadrille_registry::Config::default(), Arc::new(SeededRandom::new(7)));
        let registry = Registry::build(config, store, shared, random).expect("built-in data");
        registry.bootstrap().await.expect("an empty store takes it");
        let config = Config { builtin: false, slots: 4, ..Config::default() };
        let runtime = Runtime::build(config, registry.clone(), supervisor.clone());
        let fights = Fights::build(runtime.clone(), response);
        supervisor.spawn("fights", fights.clone().run(supervisor.shutdown()));
        runtime.start();
        Self { clock, registry, runtime, fights }
    }

    async fn submit(&self, name: Option<&str>, action: Action) {
        let target = target(&self.registry, name);
        let options = WriteOptions::default();
        let request = WriteRequest { target, action, options, actor: Actor::default() };
        let cause = Cause::Request(RequestCause::default());
        self.registry.submit(&request, cause).await.expect("written");
    }

    async fn create(&self, name: &str) {
        let object = json!({"metadata": {"name": name, "labels": {"run": "yes"}}, "data": {}});
        self.submit(None, Action::Create(Body::from(object))).await;
    }

    async fn patch(&self, name: &str, patch: Value) {
        self.submit(Some(name), Action::Patch(PatchFormat::Merge, Body::from(patch))).await;
    }

    fn add(&self, name: &str, work: Work) {
        let spec = ControllerSpec {
            name: name.into(),
            plugin: format!("{name}-plugin").into(),
            digest: "sha256:1".into(),
            primary: key("").resource,
            version: "v1".into(),
            selector: LabelSelector::parse("run=yes").expect("a selector"),
            concurrency: 4,
            resync: None,
            finalizer: None,
            field_manager: name.into(),
            grant: Grant { unlimited: true, ..Grant::default() },
        };
        self.runtime.add(spec, Arc::new(Native(work))).expect("new");
    }

    fn n(&self, name: &str, datum: &str) -> u64 {
        number(self.registry.store().snapshot().get(&key(name)).as_deref(), datum)
    }

    fn events(&self) -> Vec<Value> {
        let all = Query::whole(Range::all(GroupResource::new("", "events")));
        let found = self.registry.store().snapshot().list(&all);
        found.iter().map(|o| serde_json::from_slice(&o.bytes).expect("JSON")).collect()
    }

    fn runs(&self) -> u64 {
        self.runtime.stats(None).iter().map(|stats| stats.runs).sum()
    }

    /// Lets tasks work, as long as any of a thousand turns brings something new.
    async fn work(&self) {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }

    async fn find(&self) -> Fight {
        let mut found = None;
        for _ in 0..1_000 {
            found = self.fights.list().pop();
            if found.is_some() {
                break;
            }
            self.work().await;
        }
        found.expect("a fight is found")
    }
}

fn up(_: &ReconcileRequest, overlay: &mut Overlay) -> Result<Outcome, Failure> {
    set(overlay, "o", "n", 5)
}

fn down(_: &ReconcileRequest, overlay: &mut Overlay) -> Result<Outcome, Failure> {
    set(overlay, "o", "n", 3)
}

#[tokio::test]
async fn two_controllers_that_undo_each_other_are_told_once_with_both_names() {
    let host = Host::new(Response::Warn).await;
    host.create("o").await;
    host.add("up", up);
    host.add("down", down);
    let fight = host.find().await;
    assert_eq!((fight.kind, fight.field.as_str()), (FightKind::Oscillation, "data.n"));
    let names: Vec<String> =
        fight.writers.iter().map(quadrille_insight::fights::Writer::name).collect();
    assert_eq!(names, ["down-plugin/down", "up-plugin/up"]);
    let before = host.fights.list()[0].rounds;
    while host.fights.list()[0].rounds < before + 50 {
        tokio::task::yield_now().await;
    }
    let events = host.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["reason"], "Fight");
    let message = events[0]["message"].as_str().expect("text");
    assert!(message.contains("down-plugin/down and up-plugin/up"), "{message}");
    let count = events[0]["count"].as_u64().expect("counted");
    assert!((2..20).contains(&count), "it counts, and not each round: {count}");
    assert_eq!(host.fights.list().len(), 1);
    assert!(host.fights.metrics().contains("quadrille_fights_total{kind=\"oscillation\"} 1\n"));
}

#[tokio::test]
async fn a_fight_that_is_slowed_down_waits_longer_and_longer() {
    let host = Host::new(Response::Slow).await;
    host.create("o").await;
    host.add("up", up);
    host.add("down", down);
    host.find().await;
    host.work().await;
    let standing = host.runs();
    host.work().await;
    assert_eq!(host.runs(), standing, "both wait");
    let mut waits = Vec::new();
    let mut runs = standing;
    for second in 0..120 {
        host.clock.advance(Duration::from_secs(1));
        host.work().await;
        if host.runs() > runs {
            runs = host.runs();
            waits.push(second);
        }
    }
    assert!((3..=20).contains(&waits.len()), "fewer and fewer rounds: {waits:?}");
    let gaps: Vec<i32> = waits.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.last() > gaps.first(), "{gaps:?}");
}

#[tokio::test]
async fn a_frozen_fight_stands_until_it_is_released_or_somebody_steps_in() {
    let host = Host::new(Response::Freeze).await;
    host.create("o").await;
    host.add("up", up);
    host.add("down", down);
    let frozen_at = |host: &Host| (host.runs(), host.n("o", "n"));
    host.find().await;
    host.work().await;
    let standing = frozen_at(&host);
    host.clock.advance(Duration::from_hours(5));
    host.work().await;
    assert_eq!(frozen_at(&host), standing);
    assert_eq!(host.fights.list()[0].response, Response::Freeze);
    let settled = host.runtime.at_rest(host.registry.store().revision(), Duration::ZERO).await;
    assert!(settled.stuck.iter().any(|s| s.message.as_ref().is_some_and(|m| m.contains("frozen"))));
    assert_eq!(host.fights.release(&key("o")), 1);
    host.find().await;
    assert!(host.runs() > standing.0, "they ran again, and it was found again");
    host.work().await;
    let standing = frozen_at(&host);
    host.patch("o", json!({"metadata": {"labels": {"run": "no"}}})).await;
    host.patch("o", json!({"metadata": {"labels": {"run": "yes"}}})).await;
    host.work().await;
    assert!(host.runs() > standing.0, "a change from outside lets them run");
}

/// Makes five hundred children, and counts those that are ready.
fn parent(request: &ReconcileRequest, overlay: &mut Overlay) -> Result<Outcome, Failure> {
    if &*request.key.name != "parent" {
        return Ok(Outcome::Done);
    }
    let failed = |status: quadrille_registry::Status| Failure::Transient(status.message);
    let labels = LabelSelector::parse("child=yes").expect("a selector");
    let (resource, namespace) = (request.key.resource.clone(), Some("default".into()));
    let range = Range { resource, namespace, selection: Selection::Labels(labels) };
    let children = overlay.list(&Query::whole(range)).map_err(failed)?;
    for at in children.len()..500 {
        let name = format!("child{at}");
        let object = json!({"metadata": {"name": name, "labels": {"child": "yes"}}});
        let target = target(overlay.registry(), None);
        let action = Action::Create(Body::from(object));
        overlay.write(target, action, WriteOptions::default()).map_err(failed)?;
    }
    let ready = children.iter().filter(|child| number(Some(child), "ready") > 0).count();
    set(overlay, "parent", "ready", ready as u64)
}

/// Makes each child ready.
fn nurse(request: &ReconcileRequest, overlay: &mut Overlay) -> Result<Outcome, Failure> {
    set(overlay, &request.key.name, "ready", 1)
}

#[tokio::test]
async fn a_fan_out_is_no_fight() {
    let host = Host::new(Response::Freeze).await;
    host.create("parent").await;
    host.add("parent", parent);
    let spec = LabelSelector::parse("child=yes").expect("a selector");
    host.add("nurse", |_, _| Ok(Outcome::Done));
    let nurse_spec = ControllerSpec {
        name: "ward".into(),
        plugin: "ward".into(),
        digest: String::new().into(),
        primary: key("").resource,
        version: "v1".into(),
        selector: spec,
        concurrency: 4,
        resync: None,
        finalizer: None,
        field_manager: "ward".into(),
        grant: Grant { unlimited: true, ..Grant::default() },
    };
    host.runtime.add(nurse_spec, Arc::new(Native(nurse))).expect("new");
    while host.n("parent", "ready") < 500 {
        tokio::task::yield_now().await;
    }
    assert!(host.fights.list().is_empty(), "{:?}", host.fights.list());
}

/// Follows what a kubelet says of a pod that crashes again and again.
fn follow(request: &ReconcileRequest, overlay: &mut Overlay) -> Result<Outcome, Failure> {
    let pod = overlay.get(&key("pod")).map_err(|status| Failure::Transient(status.message))?;
    set(overlay, &request.key.name, "restarts", number(pod.as_deref(), "restarts"))
}

#[tokio::test]
async fn a_crash_looper_that_a_kubelet_counts_is_no_fight() {
    let host = Host::new(Response::Freeze).await;
    host.create("o").await;
    host.submit(None, Action::Create(Body::from(json!({"metadata": {"name": "pod"}})))).await;
    host.add("follow", follow);
    host.add("watch", |_, overlay| {
        let n = overlay.get(&key("o")).map_err(|status| Failure::Transient(status.message))?;
        set(overlay, "o", "seen", number(n.as_deref(), "restarts"))
    });
    for restarts in 1..=40 {
        host.patch("pod", json!({"data": {"restarts": restarts.to_string()}})).await;
        while host.n("o", "seen") < restarts {
            tokio::task::yield_now().await;
        }
    }
    assert!(host.fights.list().is_empty(), "{:?}", host.fights.list());
}

#[tokio::test]
async fn a_plugin_may_ask_for_more_than_the_host() {
    let host = Host::new(Response::Warn).await;
    let resource =
        host.registry.resource_of(&Gvk::new("quadrille.dev", "v1", "Plugin")).expect("built in");
    let plugin = json!({
        "apiVersion": "quadrille.dev/v1", "kind": "Plugin",
        "metadata": {"name": "up-plugin"}, "spec": {"fights": "Freeze"},
    });
    let target = Target { resource, namespace: "".into(), name: None, subresource: None };
    let request = WriteRequest {
        target,
        action: Action::Create(Body::from(plugin)),
        options: WriteOptions::default(),
        actor: Actor::default(),
    };
    let cause = Cause::Request(RequestCause::default());
    host.registry.submit(&request, cause).await.expect("valid");
    host.create("o").await;
    host.add("up", up);
    host.add("down", down);
    host.find().await;
    host.work().await;
    assert_eq!(host.fights.list()[0].response, Response::Freeze);
}
