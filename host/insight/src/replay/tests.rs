//! Replays of native reconcilers on a real registry and runtime, with a store in memory.

use std::time::Duration;

use quadrille_kit::{Clock, ManualClock, SeededRandom, Supervisor};
use quadrille_object::{GroupResource, Gvk, LabelSelector};
use quadrille_registry::{
    Action, Actor, Body, PatchFormat, Resource, Target, WriteOptions, WriteRequest,
};
use quadrille_runtime::{
    Config, Failure, Grant, Outcome, Overlay, ReconcileRequest, Reconciled, RunQuery, Runtime,
};
use quadrille_store::{Cause, Journal, JournalConfig, Key, RequestCause, Store};
use serde_json::{Value, json};

use super::*;

/// Versions of one controller: it counts its runs in its own object and keeps a copy; from version 7 on the copy says
/// something else, and only for objects whose name ends with 3.
#[derive(Debug)]
struct Copies {
    version: usize,
}

impl Reconciler for Copies {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        let result = self.act(&request, &mut overlay);
        let result = result.map(|()| Outcome::Done);
        Box::pin(async move { Reconciled { overlay, result, memory_bytes: 0 } })
    }
}

impl Copies {
    fn act(&self, request: &ReconcileRequest, overlay: &mut Overlay) -> Result<(), Failure> {
        let failed = |status: quadrille_registry::Status| Failure::Transient(status.message);
        let name = &request.key.name;
        let copy = Key { name: format!("{name}-copy").into(), ..request.key.clone() };
        let maps = maps(overlay.registry());
        let object: Value =
            serde_json::from_slice(&request.object.as_ref().expect("there").bytes).expect("JSON");
        let changed = self.version >= 7 && name.ends_with('3');
        let data = json!({
            "n": object["data"]["n"], "chance": request.seed.to_string(),
            "at": request.now.to_rfc3339_micros(), "said": if changed { "hello" } else { "hi" },
        });
        let known = overlay.get(&copy).map_err(failed)?.is_some();
        let action = if known {
            Action::Patch(PatchFormat::Merge, Body::from(json!({"data": data})))
        } else {
            Action::Create(Body::from(json!({"metadata": {"name": copy.name}, "data": data})))
        };
        let target = target(&maps, known.then_some(&*copy.name));
        overlay.write(target, action, WriteOptions::default()).map_err(failed)?;
        Ok(())
    }
}

/// A version as the source of all code.
#[derive(Debug)]
struct Version(usize);

impl CodeSource for Version {
    fn code<'a>(&'a self, code: &'a RunCode) -> BoxFuture<'a, Result<Code, CodeMissing>> {
        let reconciler = Arc::new(Copies { version: self.0 });
        let code = Code { spec: Arc::clone(&code.spec), reconciler };
        Box::pin(async move { Ok(code) })
    }
}

fn maps(registry: &Registry) -> Arc<Resource> {
    registry.resource_of(&Gvk::new("", "v1", "ConfigMap")).expect("built in")
}

fn target(resource: &Arc<Resource>, name: Option<&str>) -> Target {
    Target {
        resource: Arc::clone(resource),
        namespace: "default".into(),
        name: name.map(Into::into),
        subresource: None,
    }
}

async fn submit(registry: &Registry, name: Option<&str>, action: Action) {
    let (target, options) = (target(&maps(registry), name), WriteOptions::default());
    let request = WriteRequest { target, action, options, actor: Actor::default() };
    registry.submit(&request, Cause::Request(RequestCause::default())).await.expect("written");
}

/// A host whose objects were changed again and again, and all runs that this led to.
async fn history(objects: usize, rounds: usize) -> (Registry, Vec<Arc<RunRecord>>) {
    let clock = Arc::new(ManualClock::default());
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let supervisor = Supervisor::default();
    // Little is kept in memory, so that the walk reads the log.
    let config =
        quadrille_store::Config { recent_changes_max: 100, ..quadrille_store::Config::default() };
    let store = Store::open(config, Arc::clone(&shared), &supervisor).await.expect("opens");
    let journal = JournalConfig { age_max: Duration::MAX, ..JournalConfig::default() };
    let journal = Journal::open(journal, Arc::clone(&shared), &supervisor).await.expect("opens");
    let random = Arc::new(SeededRandom::new(3));
    let config = quadrille_registry::Config::default();
    let registry = Registry::build(config, store, shared, random).expect("built-in data");
    registry.bootstrap().await.expect("an empty store takes it");
    let config =
        Config { builtin: false, journal: Some(journal), records_max: 10, ..Config::default() };
    let runtime = Runtime::build(config, registry.clone(), supervisor);
    runtime.start();
    let spec = ControllerSpec {
        name: "copies".into(),
        plugin: "demo".into(),
        digest: "sha256:1".into(),
        primary: GroupResource::new("", "configmaps"),
        version: "v1".into(),
        selector: LabelSelector::parse("run=yes").expect("a selector"),
        concurrency: 4,
        resync: None,
        finalizer: None,
        field_manager: "copies".into(),
        grant: Grant { unlimited: true, ..Grant::default() },
    };
    runtime.add(spec, Arc::new(Copies { version: 0 })).expect("new");
    let mut wanted = 0;
    for round in 0..rounds {
        for at in 0..objects {
            let n = json!({"n": round.to_string()});
            if round == 0 {
                let metadata = json!({"name": format!("m{at}"), "labels": {"run": "yes"}});
                let object = json!({"metadata": metadata, "data": n});
                submit(&registry, None, Action::Create(Body::from(object))).await;
            } else {
                let patch = Body::from(json!({"data": n}));
                let name = format!("m{at}");
                submit(&registry, Some(&name), Action::Patch(PatchFormat::Merge, patch)).await;
            }
        }
        clock.advance(Duration::from_millis(777));
        wanted += objects as u64;
        while runtime.stats(None).iter().map(|stats| stats.commits).sum::<u64>() < wanted {
            tokio::task::yield_now().await;
        }
    }
    let query = RunQuery { wrote: true, ..RunQuery::default() };
    let runs = runtime.find_runs(&query, usize::MAX).await.expect("readable");
    assert_eq!(runs.len(), objects * rounds);
    (registry, runs)
}

#[tokio::test]
async fn two_thousand_runs_are_replayed_with_the_same_writes() {
    let (registry, runs) = history(100, 20).await;
    let source: Arc<dyn CodeSource> = Arc::new(Version(0));
    let mut last = u64::MAX;
    let summary = replay(&registry, &source, &runs, |replayed| {
        assert_eq!(replayed.verdict, Verdict::Identical, "{replayed:#?}");
        assert!(replayed.run < last, "newest first");
        last = replayed.run;
    });
    let summary = summary.await;
    let wanted =
        ReplaySummary { runs: 2_000, identical: 2_000, writes: 2_000, ..ReplaySummary::default() };
    assert_eq!(summary, wanted);
}

#[tokio::test]
async fn other_code_is_shown_as_a_diff_of_the_objects_that_it_writes_otherwise() {
    let (registry, runs) = history(10, 2).await;
    let source: Arc<dyn CodeSource> = Arc::new(Version(9));
    let mut different = Vec::new();
    let summary = replay(&registry, &source, &runs, |replayed| {
        if replayed.verdict == Verdict::Different {
            different.push(replayed);
        }
    });
    let summary = summary.await;
    assert_eq!((summary.different, summary.identical, summary.impossible), (2, 18, 0));
    let Difference { object, recorded, replayed, diff, .. } = &different[0].differences[0];
    assert_eq!(object, "configmaps/default/m3-copy");
    assert_eq!((*recorded, *replayed), (Some("updated"), Some("updated")));
    assert!(diff.contains("-  said: hi\n+  said: hello\n"), "{diff}");
    assert_eq!(different[1].differences[0].recorded, Some("created"));
}

#[tokio::test]
async fn a_bisection_finds_the_version_that_changed_behaviour() {
    let (registry, runs) = history(10, 2).await;
    let versions = |count: usize| -> Vec<Arc<dyn CodeSource>> {
        (0..count).map(|version| Arc::new(Version(version)) as Arc<dyn CodeSource>).collect()
    };
    let mut asked = Vec::new();
    let first = bisect(&registry, &versions(10), &runs, |at, _| asked.push(at)).await;
    assert_eq!(first, Some(7));
    assert!(asked.len() <= 5, "{asked:?}");
    for count in 1..=10 {
        let first = bisect(&registry, &versions(count), &runs, |_, _| ()).await;
        assert_eq!(first, (count > 7).then_some(7), "of {count}");
    }
    assert_eq!(bisect(&registry, &[], &runs, |_, _| ()).await, None);
}

#[tokio::test]
async fn what_cannot_be_replayed_says_why() {
    #[derive(Debug)]
    struct Nowhere;
    impl CodeSource for Nowhere {
        fn code<'a>(&'a self, _: &'a RunCode) -> BoxFuture<'a, Result<Code, CodeMissing>> {
            Box::pin(async { Err(CodeMissing("it is gone".to_owned())) })
        }
    }
    let (registry, runs) = history(2, 1).await;
    let source: Arc<dyn CodeSource> = Arc::new(Nowhere);
    let summary = replay(&registry, &source, &runs, |replayed| {
        assert_eq!(
            (replayed.verdict, replayed.why.as_deref()),
            (Verdict::Impossible, Some("it is gone"))
        );
    });
    assert_eq!(summary.await.impossible, 2);
    // Beyond the history.
    let of_store = registry.store().revision();
    let unborn = RunRecord { snapshot: quadrille_store::Revision(0), ..RunRecord::clone(&runs[0]) };
    let source: Arc<dyn CodeSource> = Arc::new(Version(0));
    let unborn = [Arc::new(unborn)];
    let summary = replay(&registry, &source, &unborn, |replayed| {
        // At revision 0 there was no object, so nothing is written.
        assert_eq!(replayed.verdict, Verdict::Different, "{replayed:#?}");
    });
    assert_eq!(summary.await.runs, 1);
    assert_eq!(registry.store().revision(), of_store, "a replay writes nothing");
}
