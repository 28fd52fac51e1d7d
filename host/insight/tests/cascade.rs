//! `why`, effects, waiting and settled on a real registry and runtime: a cascade over six controllers, a hundred merged
//! wakes, two objects that wait for each other.

use std::sync::Arc;
use std::time::Duration;

use quadrille_insight::waiting::{AllWaiting, waiting};
use quadrille_insight::{effects, text, why};
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, SeededRandom, Supervisor, SystemClock};
use quadrille_object::selector::LabelSelector;
use quadrille_object::{GroupResource, Gvk};
use quadrille_registry::{
    Action, Actor, Body, PatchFormat, Registry, Target, WriteOptions, WriteRequest,
};
use quadrille_runtime::{
    Config, ControllerName, ControllerSpec, Failure, Grant, Outcome, Overlay, ReconcileRequest,
    Reconciled, Reconciler, RunQuery, Runtime,
};
use quadrille_store::{Cause, Key, Query, Range, RequestCause, Revision, Selection, Store};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(30);

type Work = fn(&ReconcileRequest, &mut Overlay) -> Result<(), String>;

#[derive(Debug)]
struct Native(Work);

impl Reconciler for Native {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let result = (self.0)(&request, &mut overlay);
            let result = result.map(|()| Outcome::Done).map_err(Failure::Permanent);
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

fn maps() -> GroupResource {
    GroupResource::new("", "configmaps")
}

fn key(name: &str) -> Key {
    Key::new(maps(), "default", name)
}

struct Host {
    registry: Registry,
    runtime: Runtime,
}

impl Host {
    async fn start() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let supervisor = Supervisor::default();
        let config = quadrille_store::Config::default();
        let store = Store::open(config, Arc::clone(&clock), &supervisor).await.expect("opens");
        let random = Arc::new(SeededRandom::new(7));
        let config = quadrille_registry::Config::default();
        let registry = Registry::build(config, store, clock, random).expect("built-in data");
        registry.bootstrap().await.expect("an empty store takes it");
        let config = Config { builtin: false, ..Config::default() };
        let runtime = Runtime::build(config, registry.clone(), supervisor);
        runtime.start();
        Self { registry, runtime }
    }

    /// A controller of the objects with a label.
    fn add(&self, name: &str, primary: GroupResource, selector: &str, work: Work) {
        let spec = ControllerSpec {
            name: name.into(),
            plugin: "demo".into(),
            digest: format!("sha256:{name}").into(),
            primary,
            version: "v1".into(),
            selector: LabelSelector::parse(selector).expect("a selector"),
            concurrency: 4,
            resync: None,
            finalizer: None,
            field_manager: name.into(),
            grant: Grant { unlimited: true, ..Grant::default() },
        };
        self.runtime.add(spec, Arc::new(Native(work))).expect("a new name");
    }

    async fn write(&self, user: &str, target: Target, action: Action) -> Revision {
        let actor = Actor { user: user.into(), ..Actor::default() };
        let request = WriteRequest { target, action, options: WriteOptions::default(), actor };
        let cause = RequestCause {
            user: user.to_owned(),
            client: "kubectl/v1.36".to_owned(),
            verb: "create".to_owned(),
            ..RequestCause::default()
        };
        let written = self.registry.submit(&request, Cause::Request(cause)).await;
        written.expect("written").revision
    }

    async fn map(&self, user: &str, name: &str, labels: Value) -> Revision {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        let target = self.target(&Gvk::new("", "v1", "ConfigMap"), None);
        self.write(user, target, Action::Create(Body::from(object))).await
    }

    fn target(&self, kind: &Gvk, name: Option<&str>) -> Target {
        let resource = self.registry.resource_of(kind).expect("built in");
        let (namespace, name) = ("default".into(), name.map(Into::into));
        Target { resource, namespace, name, subresource: None }
    }

    async fn settled(&self, revision: Revision) {
        let answer = self.runtime.settled(revision, DEADLINE).await.expect("in the history");
        assert!(answer.settled, "{answer:?}");
    }

    /// What waits, by the last runs.
    async fn waiting(&self, object: Option<Key>) -> AllWaiting {
        let all = object.is_some();
        let query = RunQuery { object, ..RunQuery::default() };
        let mut runs = self.runtime.find_runs(&query, 100).await.expect("found");
        let mut seen = std::collections::BTreeSet::new();
        runs.retain(|run| seen.insert(run.object.clone()));
        let awake = self.runtime.awake();
        let snapshot = self.registry.store().snapshot();
        waiting(&snapshot, &runs, |key| awake.contains(key), all)
    }
}

fn put(overlay: &mut Overlay, name: &str, labels: &Value, data: &Value) -> Result<(), String> {
    let kind = Gvk::new("", "v1", "ConfigMap");
    let resource = overlay.registry().resource_of(&kind).ok_or("no such kind")?;
    let known = overlay.get(&key(name)).map_err(|status| status.message)?.is_some();
    let object = Body::from(json!({"metadata": {"name": name, "labels": labels}, "data": data}));
    let (name, action) = if known {
        (Some(name.into()), Action::Patch(PatchFormat::Merge, object))
    } else {
        (None, Action::Create(object))
    };
    let target = Target { resource, namespace: "default".into(), name, subresource: None };
    let written = overlay.write(target, action, WriteOptions::default());
    written.map(drop).map_err(|status| status.message)
}

/// `step-N` of controller `N mod 6` makes `step-N+1`, up to ten.
fn next_step(request: &ReconcileRequest, overlay: &mut Overlay) -> Result<(), String> {
    let number = request.key.name.strip_prefix("step-").and_then(|of| of.parse::<u32>().ok());
    match number {
        Some(number) if number < 10 => {
            let label = json!({"c": ((number + 1) % 6).to_string()});
            put(overlay, &format!("step-{}", number + 1), &label, &json!({}))
        }
        _ => Ok(()),
    }
}

#[tokio::test]
async fn a_cascade_over_six_controllers_is_told_step_by_step_up_to_the_person() {
    let host = Host::start().await;
    for number in 0..6 {
        host.add(&format!("c{number}"), maps(), &format!("c={number}"), next_step);
    }
    let revision = host.map("ann", "step-0", json!({"c": "0"})).await;
    host.settled(revision).await;
    let answer = why(host.registry.store(), &key("step-10")).await.expect("known");
    let told = answer.steps.iter().map(|step| match &step.cause {
        Cause::Run(run) => (step.object.clone(), run.controller.clone(), run.digest.clone()),
        Cause::Request(of) => (step.object.clone(), of.user.clone(), of.verb.clone()),
        Cause::System(system) => (step.object.clone(), system.part.clone(), String::new()),
    });
    let step = |number: u32| format!("configmaps/default/step-{number}");
    let mut wanted = Vec::new();
    for number in (1..=10).rev() {
        let controller = format!("c{}", (number - 1) % 6);
        wanted.push((step(number), controller.clone(), format!("sha256:{controller}")));
    }
    wanted.push((step(0), "ann".to_owned(), "create".to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), wanted);
    assert!(text::tree(&answer).contains("ann: create with kubectl/v1.36"));
    let down = effects(host.registry.store(), revision).await.expect("in the history");
    let down = down.expect("there").changes;
    let objects: Vec<&str> = down.iter().map(|change| change.object.as_str()).collect();
    assert_eq!(objects, (0..=10).map(step).collect::<Vec<_>>());
}

/// Counts the parts.
fn sum(_: &ReconcileRequest, overlay: &mut Overlay) -> Result<(), String> {
    let selection = Selection::Labels(LabelSelector::parse("part=yes").map_err(|error| error.0)?);
    let range = Range { resource: maps(), namespace: Some("default".into()), selection };
    let parts = overlay.list(&Query::whole(range)).map_err(|status| status.message)?;
    put(overlay, "total", &json!({}), &json!({"n": parts.len().to_string()}))
}

#[tokio::test]
async fn a_hundred_merged_wakes_are_all_listed() {
    let host = Host::start().await;
    host.add("sum", maps(), "sum=yes", sum);
    let revision = host.map("ann", "sum", json!({"sum": "yes"})).await;
    host.settled(revision).await;
    let name = ControllerName::new("demo", "sum");
    host.runtime.suspend(&name).expect("known");
    let mut parts = Vec::new();
    for number in 0..100 {
        let (user, name) = (format!("user-{number}"), format!("part-{number}"));
        parts.push(host.map(&user, &name, json!({"part": "yes"})).await);
    }
    let last = *parts.last().expect("a hundred");
    while host.runtime.position() < last {
        tokio::task::yield_now().await;
    }
    host.runtime.resume(&name).expect("known");
    for part in &parts {
        host.settled(*part).await;
    }
    let answer = why(host.registry.store(), &key("total")).await.expect("known");
    assert_eq!(answer.steps[0].because, parts);
    let requests = answer.steps.iter().filter(|step| matches!(step.cause, Cause::Request(_)));
    assert_eq!(requests.count(), 100);
    assert!(text::tree(&answer).contains("woken by 100 changes"));
}

/// Reads the Deployment that its own names.
fn needs(request: &ReconcileRequest, overlay: &mut Overlay) -> Result<(), String> {
    let object = request.object.as_ref().ok_or("no object")?;
    let value: Value = serde_json::from_slice(&object.bytes).map_err(|error| error.to_string())?;
    let other = value["metadata"]["annotations"]["needs"].as_str().unwrap_or_default();
    let key = Key::new(request.key.resource.clone(), "default", other);
    overlay.get(&key).map(drop).map_err(|status| status.message)
}

#[tokio::test]
async fn what_is_missing_is_named_and_so_are_those_who_wait_for_each_other() {
    let host = Host::start().await;
    let deployments = GroupResource::new("apps", "deployments");
    let kind = Gvk::new("apps", "v1", "Deployment");
    host.add("needs", deployments.clone(), "run=yes", needs);
    let make = async |name: &str, needs: &str| {
        let object = json!({
            "metadata": {"name": name, "labels": {"run": "yes"}, "annotations": {"needs": needs}},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            }},
        });
        let made = Action::Create(Body::from(object));
        host.write("ann", host.target(&kind, None), made).await;
        let mut target = host.target(&kind, Some(name));
        target.subresource = Some("status".into());
        let status = json!({"status": {"conditions": [
            {"type": "Available", "status": "False", "reason": "Waits", "message": "for its friend"},
        ]}});
        let status = Action::Patch(PatchFormat::Merge, Body::from(status));
        let revision = host.write("ann", target, status).await;
        host.settled(revision).await;
    };
    make("a", "b").await;
    let of = |name: &str| Key::new(deployments.clone(), "default", name);
    let alone = host.waiting(Some(of("a"))).await;
    let missing = &alone.waiting[0].waits_for;
    assert_eq!((missing[0].what, missing[0].of.as_str()), ("absent", "deployments.apps/default/b"));
    assert!(alone.deadlocks.is_empty());

    make("b", "a").await;
    host.runtime.at_rest(host.registry.store().revision(), DEADLINE).await;
    let both = host.waiting(None).await;
    assert_eq!(both.waiting.len(), 2, "{both:?}");
    let missing = &both.waiting[0].waits_for[0];
    assert_eq!((missing.what, missing.of.as_str()), ("unready", "deployments.apps/default/b"));
    assert_eq!(missing.message.as_deref(), Some("Available is False: Waits for its friend"));
    let circle = [of("a").to_string(), of("b").to_string()];
    assert_eq!(both.deadlocks, [circle]);
}
