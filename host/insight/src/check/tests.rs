//! Six bad controllers, one per principle, each caught for its own fault and no other; and good ones that pass.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{ManualClock, Random, SeededRandom, Supervisor, SystemClock};
use quadrille_object::selector::LabelSelector;
use quadrille_object::{GroupResource, Gvr};
use quadrille_registry::{Registry, Resource, Status};
use quadrille_runtime::{Failure, Grant, Outcome, Overlay, ReconcileRequest, Reconciled};
use quadrille_store::{RequestCause, Store};

use super::*;

type Work = dyn Fn(&ReconcileRequest, &mut Overlay) -> Result<Outcome, Failure> + Send + Sync;

struct Native(Box<Work>);

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
        let result = (self.0)(&request, &mut overlay);
        Box::pin(std::future::ready(Reconciled { overlay, result, memory_bytes: 0 }))
    }
}

fn maps() -> GroupResource {
    GroupResource::new("", "configmaps")
}

/// A controller of `ConfigMap`s with the label `run=yes`, made of a function that is made anew with each process.
fn subject<W>(make: impl Fn() -> W + Send + Sync + 'static) -> Subject
where
    W: Fn(&ReconcileRequest, &mut Overlay) -> Result<Outcome, Failure> + Send + Sync + 'static,
{
    let spec = ControllerSpec {
        name: "demo".into(),
        plugin: "demo".into(),
        digest: "sha256:1".into(),
        primary: maps(),
        version: "v1".into(),
        selector: LabelSelector::parse("run=yes").expect("a selector"),
        concurrency: 1,
        resync: None,
        finalizer: None,
        field_manager: "demo".into(),
        grant: Grant { unlimited: true, ..Grant::default() },
    };
    let begin = move || -> Code {
        vec![(spec.clone(), Arc::new(Native(Box::new(make()))) as Arc<dyn Reconciler>)]
    };
    let others = vec![("stranger".into(), "others".into())];
    Subject { plugin: "demo".into(), begin: Arc::new(begin), others }
}

fn resource(overlay: &Overlay) -> Arc<Resource> {
    let catalog = overlay.registry().catalog();
    Arc::clone(catalog.by_gvr(&Gvr::new("", "v1", "configmaps")).expect("config maps are served"))
}

fn transient(status: Status) -> Failure {
    Failure::Transient(status.message)
}

fn child_of(key: &Key) -> Key {
    Key::new(maps(), Arc::clone(&key.namespace), format!("{}-child", key.name))
}

/// Applies the child with some data.
#[expect(clippy::needless_pass_by_value, reason = "tests make values to give them away")]
fn apply(request: &ReconcileRequest, overlay: &mut Overlay, data: Value) -> Result<(), Status> {
    let owner = request.object.as_ref().expect("a run has an object");
    let child = child_of(&request.key);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": &*child.name, "namespace": &*child.namespace, "ownerReferences": [{
            "apiVersion": "v1", "kind": "ConfigMap", "name": &*request.key.name, "uid": &*owner.meta.uid,
        }]},
    });
    let target = target(overlay, &child);
    let options = WriteOptions { force: true, ..WriteOptions::default() };
    overlay.write(target, Action::Apply(object.into()), options).map(drop)
}

fn target(overlay: &Overlay, key: &Key) -> Target {
    Target {
        resource: resource(overlay),
        namespace: Arc::clone(&key.namespace),
        name: Some(Arc::clone(&key.name)),
        subresource: None,
    }
}

fn patch(overlay: &mut Overlay, key: &Key, patch: Value) -> Result<(), Status> {
    let action = Action::Patch(PatchFormat::Merge, patch.into());
    overlay.write(target(overlay, key), action, WriteOptions::default()).map(drop)
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// What a host without controllers has: two objects for the subject, and one that another plugin manages.
fn checked(subject: &Subject) -> ScoreCard {
    checked_by(subject, &(Arc::new(SystemClock::default()) as Arc<dyn Clock>))
}

/// The same, by a clock.
fn checked_by(subject: &Subject, wall: &Arc<dyn Clock>) -> ScoreCard {
    let tasks = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let live = tasks.expect("a scheduler").block_on(live(wall));
    // Enough for a machine that is busy with other things.
    let effort = Effort { wall_max: Duration::from_mins(10), ..Effort::default() };
    check(&live, wall, subject, effort).expect("a thread is there")
}

async fn live(wall: &Arc<dyn Clock>) -> Runtime {
    let supervisor = Supervisor::default();
    let store = Store::open(quadrille_store::Config::default(), Arc::clone(wall), &supervisor);
    let store = store.await.expect("a store in memory opens");
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(1));
    let config = quadrille_registry::Config::default();
    let registry = Registry::build(config, store, Arc::clone(wall), random).expect("good data");
    registry.bootstrap().await.expect("the first objects");
    for (name, manager, label) in
        [("a", "people", "yes"), ("b", "people", "yes"), ("shared", "stranger", "no")]
    {
        let catalog = registry.catalog();
        let resource = catalog.by_gvr(&Gvr::new("", "v1", "configmaps")).expect("served");
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"from": manager},
            "metadata": {"name": name, "namespace": "default", "labels": {"run": label}},
        });
        let target = Target {
            resource: Arc::clone(resource),
            namespace: "default".into(),
            name: Some(name.into()),
            subresource: None,
        };
        let options =
            WriteOptions { field_manager: Some(manager.into()), ..WriteOptions::default() };
        let actor = Actor { user: "tester".into(), ..Actor::default() };
        let action = Action::Apply(body.into());
        let request = WriteRequest { target, action, options, actor };
        let cause = Cause::Request(RequestCause::default());
        registry.submit(&request, cause).await.expect("applied");
    }
    Runtime::build(quadrille_runtime::Config::default(), registry, supervisor)
}

#[track_caller]
fn caught(subject: &Subject, principle: Principle, words: &str) {
    let card = checked(subject);
    assert_eq!(card.broken(), [principle], "{}", card.text());
    assert!(card.text().contains(words), "{words:?} is not in\n{}", card.text());
    assert!(card.scores.iter().all(|s| s.verdict != Verdict::Unknown), "{}", card.text());
}

#[test]
fn a_good_controller_passes() {
    let card = checked(&subject(|| {
        |request: &ReconcileRequest, overlay: &mut Overlay| {
            overlay.get(&child_of(&request.key)).map_err(transient)?;
            apply(request, overlay, json!({"a": "1"})).map_err(transient)?;
            Ok(Outcome::Done)
        }
    }));
    assert_eq!(card.broken(), [], "{}", card.text());
    assert_eq!(card.objects, ["configmaps/default/a", "configmaps/default/b"]);
    assert!(card.trials > 12, "{}", card.text());
}

#[test]
fn one_that_stamps_the_time_is_caught_for_writing_twice() {
    let stamps = subject(|| {
        |request: &ReconcileRequest, overlay: &mut Overlay| {
            apply(request, overlay, json!({"at": request.now.to_rfc3339()})).map_err(transient)?;
            Ok(Outcome::Done)
        }
    });
    caught(&stamps, Principle::RunTwice, "writes configmaps/default/a-child");
}

#[test]
fn one_that_throws_dice_is_caught_for_writing_otherwise() {
    let gambles = subject(|| {
        |request: &ReconcileRequest, overlay: &mut Overlay| {
            let child = overlay.get(&child_of(&request.key)).map_err(transient)?;
            if child.is_none() {
                let lucky = (request.seed % 1_000).to_string();
                apply(request, overlay, json!({"lucky": lucky})).map_err(transient)?;
            }
            Ok(Outcome::Done)
        }
    });
    caught(&gambles, Principle::SameWrites, "with two seeds differ in configmaps/default/a-child");
}

#[test]
fn one_that_swallows_errors_is_caught_for_it() {
    let swallows = subject(|| {
        |request: &ReconcileRequest, overlay: &mut Overlay| {
            drop(apply(request, overlay, json!({"a": "1"})));
            Ok(Outcome::Done)
        }
    });
    caught(&swallows, Principle::TransientErrors, "after call 0 of a run of demo");
}

#[test]
fn one_that_remembers_is_caught_for_what_a_crash_forgets() {
    let remembers = subject(|| {
        let planned = std::sync::Mutex::new(BTreeSet::new());
        move |request: &ReconcileRequest, overlay: &mut Overlay| {
            let own = overlay.get(&request.key).map_err(transient)?.expect("it runs for it");
            let own: Value = serde_json::from_slice(&own.bytes).expect("JSON");
            if text(&own, "/metadata/annotations/phase").is_empty() {
                planned.lock().expect("one thread").insert(request.key.clone());
                let phase = json!({"metadata": {"annotations": {"phase": "planned"}}});
                patch(overlay, &request.key, phase).map_err(transient)?;
                return Ok(Outcome::DoneUntil(Duration::from_secs(1)));
            }
            if planned.lock().expect("one thread").contains(&request.key) {
                apply(request, overlay, json!({"a": "1"})).map_err(transient)?;
            }
            Ok(Outcome::Done)
        }
    });
    caught(&remembers, Principle::Crash, "after a crash at call 0 of a run of demo");
}

#[test]
fn one_that_waits_for_changes_is_caught_for_those_it_misses() {
    let waits = subject(|| {
        |request: &ReconcileRequest, overlay: &mut Overlay| {
            if request.woken_by.iter().any(|woken| *woken.change.key() == request.key) {
                apply(request, overlay, json!({"a": "1"})).map_err(transient)?;
            }
            Ok(Outcome::Done)
        }
    });
    caught(&waits, Principle::MissedChanges, "after changes that woke nobody");
}

#[test]
fn one_that_writes_what_people_want_is_caught_for_it() {
    let overwrites = subject(|| {
        |request: &ReconcileRequest, overlay: &mut Overlay| {
            patch(overlay, &request.key, json!({"data": {"done": "yes"}})).map_err(transient)?;
            Ok(Outcome::Done)
        }
    });
    caught(&overwrites, Principle::OwnFields, "writes data.done of the object");
}

#[test]
fn one_that_writes_what_another_plugin_manages_is_caught_for_it() {
    let takes = subject(|| {
        |_request: &ReconcileRequest, overlay: &mut Overlay| {
            let shared = Key::new(maps(), "default", "shared");
            patch(overlay, &shared, json!({"data": {"from": "me"}})).map_err(transient)?;
            Ok(Outcome::Done)
        }
    });
    caught(
        &takes,
        Principle::OwnFields,
        "writes data.from of configmaps/default/shared, which others manages",
    );
}

#[test]
fn without_an_object_nothing_is_known() {
    let mut nobody = subject(|| |_: &ReconcileRequest, _: &mut Overlay| Ok(Outcome::Done));
    nobody.begin = Arc::new(Vec::new);
    let card = checked(&nobody);
    assert!(card.scores.iter().all(|s| s.verdict == Verdict::Unknown), "{}", card.text());
}

/// A controller whose code takes so much time of the clock that is asked for the wall's, from a run on.
fn slow(wall: &Arc<ManualClock>, from: usize) -> Subject {
    let (wall, runs) = (Arc::clone(wall), Arc::new(AtomicUsize::new(0)));
    subject(move || {
        let (wall, runs) = (Arc::clone(&wall), Arc::clone(&runs));
        move |request: &ReconcileRequest, overlay: &mut Overlay| {
            if runs.fetch_add(1, Ordering::SeqCst) >= from {
                wall.advance(Duration::from_mins(10));
            }
            apply(request, overlay, json!({"a": "1"})).map_err(transient)?;
            Ok(Outcome::Done)
        }
    })
}

#[test]
fn what_time_did_not_suffice_for_is_not_known_whenever_it_ran_out() {
    for from in [0, 1, 2, 5, 20] {
        let wall = Arc::new(ManualClock::default());
        let card = checked_by(&slow(&wall, from), &(Arc::clone(&wall) as Arc<dyn Clock>));
        assert_eq!(card.broken(), [], "from run {from}: {}", card.text());
        assert!(!card.is_whole(), "from run {from}: {}", card.text());
        assert!(card.text().contains("within 600s"), "from run {from}: {}", card.text());
        let unknown = card.scores.iter().filter(|s| s.verdict == Verdict::Unknown).count();
        // Where the first way took all the time, the second object was never begun.
        assert!(unknown == 6 || (unknown >= 3 && from > 1), "from run {from}: {}", card.text());
    }
}

#[test]
fn ways_that_begin_about_the_same_time_end_together_far_from_any_minute() {
    let minute = 60_000_000;
    for begin in [0, 1, 29_999_999, 30_000_000, 59_900_000, 60_100_000] {
        let end = begin + i64::try_from(whole(Timestamp(begin)).as_micros()).expect("small");
        assert_eq!(end % minute, minute / 2, "from {begin}");
        assert!((minute..2 * minute).contains(&(end - begin)), "from {begin} to {end}");
    }
    assert_eq!(
        whole(Timestamp(59_900_000)),
        whole(Timestamp(60_100_000)) + Duration::from_millis(200)
    );
}
