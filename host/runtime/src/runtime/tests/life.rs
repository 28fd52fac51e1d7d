//! What happens to a controller besides its runs: hot writers, removal, suspension, resync, restart, a lost history.

use std::sync::atomic::AtomicU32;

use super::*;
use crate::testing::Patience;

/// Waits for another's write after it has read: a minute at most in its first runs, all of which are invalidated however slowly
/// the others write, and for a while in those that nobody else may commit beside.
#[derive(Debug, Default)]
struct Unlucky {
    runs: AtomicU32,
}

/// So many runs in a row are invalidated before one has the commit for itself.
const INVALIDATIONS: u32 = 3;

impl Reconciler for Unlucky {
    fn reconcile(
        &self,
        request: crate::ReconcileRequest,
        mut overlay: Overlay,
    ) -> quadrille_kit::clock::BoxFuture<'_, crate::Reconciled> {
        Box::pin(async move {
            let store = overlay.registry().store().clone();
            let hot = overlay.get(&map_key("hot")).expect("granted").expect("exists").revision;
            let is_doomed = self.runs.fetch_add(1, Ordering::SeqCst) < INVALIDATIONS;
            let (mut looks, patience) = (0, Patience::default());
            while is_doomed && patience.is_left() || looks < 2_000 {
                looks += 1;
                if store.snapshot().get(&map_key("hot")).is_none_or(|now| now.revision != hot) {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let out = format!("{}-out", request.key.name);
            let wrote = put(&mut overlay, &out, &json!({"of": hot.to_string()}));
            crate::Reconciled { overlay, result: wrote.map(|()| Outcome::Done), memory_bytes: 0 }
        })
    }
}

/// Writes the object `hot` through the registry until it is told to stop.
pub(super) async fn write_hot(registry: Registry, writer: usize, stop: Arc<AtomicUsize>) {
    let kind = quadrille_object::Gvk::new("", "v1", "ConfigMap");
    let maps = registry.resource_of(&kind).expect("built in");
    for n in 0.. {
        if stop.load(Ordering::SeqCst) > 0 {
            break;
        }
        let body = json!({"data": {format!("w{writer}"): n.to_string()}});
        let request = quadrille_registry::WriteRequest {
            target: target(&maps, "default", Some("hot")),
            action: Action::Patch(PatchFormat::Merge, Body::from(body)),
            options: WriteOptions::default(),
            actor: quadrille_registry::Actor::default(),
        };
        let cause = quadrille_store::Cause::Request(quadrille_store::RequestCause::default());
        registry.submit(&request, cause).await.expect("a client is not starved either");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_clients_invalidate_gets_its_commit() {
    let host = Host::new(false).await;
    host.map("hot", json!({})).await;
    let stop = Arc::new(AtomicUsize::new(0));
    for writer in 0..2 {
        let client = write_hot(host.registry.clone(), writer, Arc::clone(&stop));
        host.runtime.shared.supervisor.spawn_brief("client", client);
    }
    host.runtime.add(spec("unlucky"), Arc::new(Unlucky::default())).expect("new");
    host.map("a", runnable()).await;
    while host.get(&map_key("a-out")).is_none() {
        tokio::task::yield_now().await;
    }
    stop.store(1, Ordering::SeqCst);
    host.settle().await;
    let runs = host.runtime.runs(Some(&map_key("a")), None, 10_000);
    let first = runs.iter().rev().find(|run| run.has_committed()).expect("committed");
    assert_eq!(host.runtime.shared.config.invalidations_max, INVALIDATIONS);
    assert_eq!(first.conflicts, INVALIDATIONS, "{runs:?}");
}

/// Loses three runs that end at once, and sleeps away the turn that it gets for them; then it loses one at once and
/// sleeps again.
#[derive(Debug)]
struct Feint {
    clock: Arc<quadrille_kit::ManualClock>,
    runs: AtomicUsize,
}

impl Reconciler for Feint {
    fn reconcile(
        &self,
        request: crate::ReconcileRequest,
        mut overlay: Overlay,
    ) -> quadrille_kit::clock::BoxFuture<'_, crate::Reconciled> {
        Box::pin(async move {
            overlay.get(&map_key("hot")).expect("granted");
            let run = self.runs.fetch_add(1, Ordering::SeqCst);
            if run >= 3 && run % 2 == 1 {
                let turn = Duration::from_secs(1 << (run - 3).min(3));
                self.clock.sleep(turn + Duration::from_millis(1)).await;
            } else {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
            let wrote = put(&mut overlay, &format!("{}-out", request.key.name), &json!({}));
            crate::Reconciled { overlay, result: wrote.map(|()| Outcome::Done), memory_bytes: 0 }
        })
    }
}

#[tokio::test]
async fn quick_runs_lost_on_purpose_buy_no_long_turns() {
    const STEP: Duration = Duration::from_millis(100);
    let host = Host::new(false).await;
    host.map("hot", json!({})).await;
    let stop = Arc::new(AtomicUsize::new(0));
    let client = write_hot(host.registry.clone(), 0, Arc::clone(&stop));
    host.runtime.shared.supervisor.spawn_brief("client", client);
    let feint = Feint { clock: Arc::clone(&host.clock), runs: AtomicUsize::new(0) };
    host.runtime.add(spec("feint"), Arc::new(feint)).expect("new");
    host.map("a", runnable()).await;
    let mut held = Duration::ZERO;
    let begun = host.clock.monotonic();
    while host.clock.monotonic() < begun + Duration::from_secs(20) {
        let before = host.registry.store().revision();
        host.clock.advance(STEP);
        for _ in 0..30 {
            tokio::task::yield_now().await;
        }
        if host.registry.store().revision() == before {
            held += STEP;
        }
    }
    stop.store(1, Ordering::SeqCst);
    assert!(host.runtime.stats(None)[0].turns >= 2, "{:?}", host.runtime.stats(None));
    // One long turn, and short ones.
    assert!(held < Duration::from_secs(5), "all commits waited for {held:?} of 20 s");
}

#[tokio::test]
async fn a_removed_controller_commits_nothing_and_its_name_is_free() {
    let host = Host::new(false).await;
    let (gate, held) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let slow = Slow { gate: Arc::clone(&gate), held: Arc::clone(&held) };
    host.runtime.add(spec("gone"), Arc::new(slow)).expect("new");
    host.map("a", runnable()).await;
    while held.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let name = ControllerName::new("demo", "gone");
    host.runtime.remove(&name).expect("known");
    assert_eq!(host.runtime.remove(&name), Err(ControllerError::Unknown(name.clone())));
    let running = host.registry.store().revision();
    assert!(!host.runtime.at_rest(running, Duration::ZERO).await.settled, "its run is under way");
    gate.notify_one();
    host.settle().await;
    assert!(host.get(&map_key("a-by")).is_none() && host.runtime.stats(None).is_empty());
    host.map("b", runnable()).await;
    host.settle().await;
    let again = native(|request, overlay| {
        put(overlay, &format!("{}-by", request.key.name), &json!({"n": "2"}))?;
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("gone"), again).expect("the name is free");
    host.settle().await;
    for name in ["a-by", "b-by"] {
        assert_eq!(host.value(&map_key(name))["data"]["n"], "2");
    }
}

#[tokio::test]
async fn a_suspended_controller_keeps_what_woke_it() {
    let host = Host::new(false).await;
    let copy = native(|request, overlay| {
        let n = count(overlay, &request.key.name)?;
        put(overlay, &format!("{}-copy", request.key.name), &json!({"n": n.to_string()}))?;
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("copy"), copy).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    let name = ControllerName::new("demo", "copy");
    host.runtime.suspend(&name).expect("known");
    host.patch(&host.maps(), &map_key("a"), json!({"data": {"n": "5"}})).await;
    let revision = host.registry.store().revision();
    while host.runtime.position() < revision {
        tokio::task::yield_now().await;
    }
    let waiting = host.runtime.at_rest(revision, Duration::ZERO).await;
    assert!(!waiting.settled && waiting.busy[0].queued == 1, "{waiting:?}");
    assert_eq!(host.value(&map_key("a-copy"))["data"]["n"], "0");
    host.runtime.resume(&name).expect("known");
    host.settle().await;
    assert_eq!(host.value(&map_key("a-copy"))["data"]["n"], "5");
    let last = &host.runtime.runs(None, None, 1)[0];
    assert_eq!(last.woken_by, [revision]);
}

#[tokio::test]
async fn a_resync_period_runs_every_object_again_and_again() {
    let host = Host::new(false).await;
    let mut every_minute = spec("minute");
    every_minute.resync = Some(Duration::from_mins(1));
    host.runtime.add(every_minute, native(|_, _| Ok(Outcome::Done))).expect("new");
    for name in ["a", "b", "c"] {
        host.map(name, runnable()).await;
    }
    host.settle().await;
    for round in 1..=3 {
        assert_eq!(host.runtime.stats(None)[0].runs, 3 * round);
        host.clock.advance(Duration::from_secs(59));
        host.settle().await;
        assert_eq!(host.runtime.stats(None)[0].runs, 3 * round, "too early");
        host.clock.advance(Duration::from_secs(1));
        while host.runtime.stats(None)[0].runs < 3 * (round + 1) {
            tokio::task::yield_now().await;
        }
        assert_eq!(host.runtime.runs(None, None, 1)[0].occasion, Some("resync"));
    }
}

#[tokio::test]
async fn settled_means_that_failures_are_told_and_repetitions_are_counted() {
    let host = Host::new(false).await;
    let fails = native(|request, _| {
        assert!(*request.key.name != *"trap", "boom");
        Err(Failure::Permanent("no such size".to_owned()))
    });
    host.runtime.add(spec("picky"), fails).expect("new");
    let all = Query::whole(Range::all(GroupResource::new("", "events")));
    let events = || -> Vec<Value> {
        let found = host.registry.store().snapshot().list(&all);
        found.iter().map(|e| serde_json::from_slice(&e.bytes).expect("stored JSON")).collect()
    };
    host.map("a", runnable()).await;
    for count in 1..=3 {
        host.settle().await;
        let found = events();
        assert_eq!(found.len(), 1, "{found:?}");
        let told = (&found[0]["type"], &found[0]["reason"], &found[0]["message"]);
        assert_eq!(told, (&json!("Warning"), &json!("ReconcileStopped"), &json!("no such size")));
        let about = (&found[0]["count"], &found[0]["involvedObject"]["name"]);
        assert_eq!(about, (&json!(count), &json!("a")));
        host.patch(&host.maps(), &map_key("a"), json!({"data": {"n": count.to_string()}})).await;
    }
    host.map("trap", runnable()).await;
    host.settle().await;
    assert!(events().iter().any(|event| event["reason"] == "ReconcileTrapped"), "{:?}", events());
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_life_ended() {
    let host = Host::new(false).await;
    let double = || {
        native(|request, overlay| {
            let n = count(overlay, &request.key.name)? * 2;
            put(overlay, &format!("{}-twice", request.key.name), &json!({"n": n.to_string()}))?;
            Ok(Outcome::Done)
        })
    };
    let mut last_run = 0;
    for life in 1..=3 {
        let supervisor = Supervisor::default();
        let config = Config { builtin: false, slots: 4, ..Config::default() };
        let runtime = Runtime::build(config, host.registry.clone(), supervisor.clone());
        runtime.start();
        runtime.add(spec("double"), double()).expect("new");
        let revision = host.registry.store().revision();
        let settled = runtime.at_rest(revision, Duration::from_mins(1)).await;
        assert!(settled.settled, "{settled:?}");
        for name in ["a", "b"].iter().filter(|_| life > 1) {
            let n = host.value(&map_key(&format!("{name}-twice")))["data"]["n"].clone();
            assert_eq!(n, json!(((life - 1) * 20).to_string()), "what changed meanwhile was seen");
        }
        let runs = runtime.runs(None, None, 100);
        assert!(runs.iter().all(|run| run.run > last_run), "numbers are not given twice");
        last_run = runs.iter().map(|run| run.run).max().unwrap_or(last_run);
        assert!(supervisor.stop(Duration::from_secs(5)).await);
        for name in ["a", "b"] {
            if life == 1 {
                host.map(name, runnable()).await;
            }
            let n = json!({"data": {"n": (life * 10).to_string()}});
            host.patch(&host.maps(), &map_key(name), n).await;
        }
    }
}

#[tokio::test]
async fn a_trigger_that_lost_history_runs_everything_again() {
    let store = quadrille_store::Config {
        recent_changes_max: 8,
        history_bytes_max: 1,
        ..quadrille_store::Config::default()
    };
    let host = Host::on(false, store, 7).await;
    let copy = native(|request, overlay| {
        let n = count(overlay, "source")?;
        put(overlay, &format!("{}-copy", request.key.name), &json!({"n": n.to_string()}))?;
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("copy"), copy).expect("new");
    for name in ["a", "b", "c"] {
        host.map(name, runnable()).await;
        host.settle().await;
    }
    host.map("source", json!({"data": {"n": "1"}})).await;
    host.settle().await;
    let runs = host.runtime.stats(None)[0].runs;
    // The test's task does not pause here often enough for the trigger to follow.
    host.patch(&host.maps(), &map_key("source"), json!({"data": {"n": "2"}})).await;
    for n in 0..40 {
        host.map(&format!("noise{n}"), json!({})).await;
    }
    assert!(host.runtime.position() < host.registry.store().oldest(), "the trigger is not behind");
    host.settle().await;
    for name in ["a", "b", "c"] {
        assert_eq!(host.value(&map_key(&format!("{name}-copy")))["data"]["n"], "2");
    }
    let last = host.runtime.runs(None, None, 3);
    assert!(last.iter().all(|run| run.occasion == Some("resync")), "{last:?}");
    assert!(host.runtime.stats(None)[0].runs >= runs + 3);
}

/// Lets everybody do what they can.
async fn yield_often() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_controller_that_comes_back_waits_for_the_runs_of_the_one_that_went() {
    let host = Host::new(false).await;
    let (gate, held) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let slow = Slow { gate: Arc::clone(&gate), held: Arc::clone(&held) };
    host.runtime.add(spec("back"), Arc::new(slow)).expect("new");
    host.map("a", runnable()).await;
    while held.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let marker = |n: &'static str| {
        native(move |request, overlay| {
            put(
                overlay,
                &format!("{}-{}", request.key.name, request.controller),
                &json!({"n": n}),
            )?;
            Ok(Outcome::Done)
        })
    };
    let name = ControllerName::new("demo", "back");
    for n in ["2", "3"] {
        host.runtime.remove(&name).expect("known");
        host.runtime.add(spec("back"), marker(n)).expect("the name is free");
        host.runtime.add(spec(&format!("other{n}")), marker(n)).expect("new");
        yield_often().await;
        let runs = host.runtime.runs(Some(&map_key("a")), None, 10);
        let ran = |name: &str| runs.iter().any(|run| **run.controller() == *name);
        assert!(!ran("back") && ran(&format!("other{n}")), "{runs:?}");
    }
    gate.notify_one();
    host.settle().await;
    let runs = host.runtime.runs(Some(&map_key("a")), None, 10);
    assert!(runs.iter().any(|run| **run.controller() == *"back"), "{runs:?}");
}

#[tokio::test]
async fn a_controller_that_changes_its_resource_and_back_runs_no_key_twice() {
    let host = Host::new(false).await;
    let (gate, held) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let slow = Slow { gate: Arc::clone(&gate), held: Arc::clone(&held) };
    host.runtime.add(spec("turner"), Arc::new(slow)).expect("new");
    host.map("a", runnable()).await;
    while held.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let mut secrets = spec("turner");
    secrets.primary = GroupResource::new("", "secrets");
    host.runtime.replace(secrets, native(|_, _| Ok(Outcome::Done))).expect("known");
    let new = native(|request, overlay| {
        put(overlay, &format!("{}-by", request.key.name), &json!({"n": "3"}))?;
        Ok(Outcome::Done)
    });
    host.runtime.replace(spec("turner"), new).expect("known");
    yield_often().await;
    assert!(host.get(&map_key("a-by")).is_none(), "the key still runs");
    gate.notify_one();
    host.settle().await;
    let stats = &host.runtime.stats(None)[0];
    assert_eq!((stats.running, stats.queued, stats.commits), (0, 0, 1));
    assert_eq!(host.value(&map_key("a-by"))["data"]["n"], "3");
}
