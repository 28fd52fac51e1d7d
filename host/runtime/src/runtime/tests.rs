//! Runs from end to end: native reconcilers, the real registry, a store in memory, a clock that stands still.

use std::sync::atomic::{AtomicUsize, Ordering};

use quadrille_registry::{Action, Body, PatchFormat, WriteOptions};
use serde_json::{Value, json};

use super::*;
use crate::testing::{Host, map_key, native, runnable, spec, target, transient};
use crate::{Failure, Outcome, Overlay, Refusal, RunEnd};

mod canary;
mod holds;
mod large;
mod leaving;
mod life;
mod reach;
mod reads;
mod refused;
mod rerun;
mod settled;
mod webhooks;

fn put(overlay: &mut Overlay, name: &str, data: &Value) -> Result<(), Failure> {
    let kind = quadrille_object::Gvk::new("", "v1", "ConfigMap");
    let resource = overlay.registry().resource_of(&kind).expect("built in");
    let known = overlay.get(&map_key(name)).map_err(transient)?;
    let (target, action) = if known.is_none() {
        let object = json!({"metadata": {"name": name}, "data": data});
        (target(&resource, "default", None), Action::Create(Body::from(object)))
    } else {
        let patch = Body::from(json!({"data": data}));
        (target(&resource, "default", Some(name)), Action::Patch(PatchFormat::Merge, patch))
    };
    overlay.write(target, action, WriteOptions::default()).map_err(transient).map(|_| ())
}

fn count(overlay: &mut Overlay, name: &str) -> Result<u64, Failure> {
    let Some(object) = overlay.get(&map_key(name)).map_err(transient)? else { return Ok(0) };
    let value: Value = serde_json::from_slice(&object.bytes).expect("stored JSON");
    Ok(value["data"]["n"].as_str().and_then(|n| n.parse().ok()).unwrap_or(0))
}

#[tokio::test]
async fn a_runs_writes_are_one_transaction_and_do_not_wake_it() {
    let host = Host::new(false).await;
    let reconciler = native(|request, overlay| {
        for side in ["left", "right"] {
            put(overlay, &format!("{}-{side}", request.key.name), &json!({"n": "1"}))?;
        }
        put(overlay, &request.key.name, &json!({"done": "yes"}))?;
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("twins"), reconciler).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    let runs = host.runtime.runs(None, None, 10);
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!((runs[0].writes.len(), &runs[0].end), (3, &RunEnd::Done { requeue: None }));
    let revision = |at: usize| runs[0].writes[at].revision.expect("committed");
    let change = host.registry.store().change(revision(0)).await.expect("kept");
    let change = change.expect("committed");
    assert_eq!(change.txn, (revision(0), revision(2)));
    host.delete(&host.maps(), &map_key("a-left"), None).await;
    host.settle().await;
    assert!(
        host.get(&map_key("a-left")).is_some(),
        "who deletes what was written wakes the writer"
    );
}

#[tokio::test]
async fn what_was_looked_for_and_not_found_wakes_when_it_comes() {
    let host = Host::new(false).await;
    let reconciler = native(|request, overlay| {
        let found = overlay.get(&map_key("settings")).map_err(transient)?;
        let found = found.ok_or_else(|| Failure::Permanent("no settings".to_owned()))?;
        put(overlay, &format!("{}-out", request.key.name), &json!({"of": found.meta.uid}))?;
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("reader"), reconciler).expect("new");
    host.map("a", runnable()).await;
    let settled = host.settle().await;
    assert_eq!(
        (settled.stuck_count, settled.stuck[0].message.as_deref()),
        (1, Some("no settings"))
    );
    host.map("unrelated", json!({})).await;
    host.map("settings", json!({})).await;
    assert_eq!(host.settle().await.stuck_count, 0);
    assert!(host.get(&map_key("a-out")).is_some());
    assert_eq!(host.runtime.stats(None)[0].runs, 2, "nothing else woke it");
}

/// Many keys add to one counter through read and write: every lost update or lost wake-up shows in the sum.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_runs_lose_no_update_and_no_key_runs_twice_at_once() {
    let host = Host::new(false).await;
    let running = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&running);
    let reconciler = native(move |request, overlay| {
        let fresh = seen.lock().expect("no panic").insert(request.key.clone());
        assert!(fresh, "{} runs twice at once", request.key);
        let mark = format!("{}-counted", request.key.name);
        if overlay.get(&map_key(&mark)).map_err(transient)?.is_none() {
            let sum = count(overlay, "sum")? + 1;
            put(overlay, "sum", &json!({"n": sum.to_string()}))?;
            put(overlay, &mark, &json!({}))?;
        }
        seen.lock().expect("no panic").remove(&request.key);
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("adder"), reconciler).expect("new");
    for number in 0..40 {
        host.map(&format!("k{number}"), runnable()).await;
    }
    host.settle().await;
    assert_eq!(host.value(&map_key("sum"))["data"]["n"], "40");
    let stats = &host.runtime.stats(None)[0];
    assert_eq!((stats.commits, stats.failures), (40, 0));
}

#[tokio::test]
async fn a_failure_waits_for_its_backoff_and_a_change_of_what_was_read_cuts_it_short() {
    let host = Host::new(false).await;
    let reconciler = native(|_, overlay| match count(overlay, "fuse")? {
        0 => Err(Failure::Transient("no fuse".to_owned())),
        _ => Ok(Outcome::Done),
    });
    host.runtime.add(spec("fused"), reconciler).expect("new");
    host.map("a", runnable()).await;
    for failures in 1..=6 {
        host.settle().await;
        assert_eq!(host.runtime.stats(None)[0].failures, failures);
        host.clock.advance(Duration::from_millis(2 << failures));
        host.settle().await;
        assert_eq!(host.runtime.stats(None)[0].failures, failures, "too early");
        host.clock.advance(Duration::from_millis(5 << failures));
        while host.runtime.stats(None)[0].failures == failures {
            tokio::task::yield_now().await;
        }
    }
    host.map("fuse", json!({"data": {"n": "1"}})).await;
    let settled = host.settle().await;
    assert_eq!((settled.stuck_count, host.runtime.stats(None)[0].failing), (0, 0));
}

#[tokio::test]
async fn a_requeue_comes_at_its_time() {
    let host = Host::new(false).await;
    let reconciler = native(|_, _| Ok(Outcome::DoneUntil(Duration::from_secs(30))));
    host.runtime.add(spec("poller"), reconciler).expect("new");
    host.map("a", runnable()).await;
    assert_eq!(host.settle().await.timers, 1);
    host.clock.advance(Duration::from_secs(29));
    host.settle().await;
    assert_eq!(host.runtime.stats(None)[0].runs, 1);
    host.clock.advance(Duration::from_secs(1));
    while host.runtime.stats(None)[0].runs < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.runtime.runs(None, None, 1)[0].occasion, Some("requeue"));
}

#[tokio::test]
async fn a_replaced_version_commits_nothing_and_its_keys_are_run_by_the_next() {
    let host = Host::new(false).await;
    let (gate, held) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let old = Slow { gate: Arc::clone(&gate), held: Arc::clone(&held) };
    host.runtime.add(spec("swapped"), Arc::new(old)).expect("new");
    host.map("a", runnable()).await;
    while held.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let new = native(|request, overlay| {
        put(overlay, &format!("{}-by", request.key.name), &json!({"n": "2"}))?;
        Ok(Outcome::Done)
    });
    let mut next = spec("swapped");
    next.digest = "sha256:2".into();
    assert_eq!(host.runtime.replace(next, new), Ok(2));
    gate.notify_one();
    host.runtime.drained(&ControllerName::new("demo", "swapped")).await.expect("known");
    host.settle().await;
    assert_eq!(host.value(&map_key("a-by"))["data"]["n"], "2");
    let stats = &host.runtime.stats(None)[0];
    assert_eq!((stats.fenced, stats.commits), (1, 1));
}

/// Writes version 1 once it is let go.
#[derive(Debug)]
struct Slow {
    gate: Arc<Notify>,
    held: Arc<AtomicUsize>,
}

impl Reconciler for Slow {
    fn reconcile(
        &self,
        request: crate::ReconcileRequest,
        mut overlay: Overlay,
    ) -> quadrille_kit::clock::BoxFuture<'_, crate::Reconciled> {
        Box::pin(async move {
            self.held.fetch_add(1, Ordering::SeqCst);
            self.gate.notified().await;
            let wrote = put(&mut overlay, &format!("{}-by", request.key.name), &json!({"n": "1"}));
            crate::Reconciled { overlay, result: wrote.map(|()| Outcome::Done), memory_bytes: 0 }
        })
    }
}

#[tokio::test]
async fn a_declared_finalizer_holds_the_object_until_a_run_ends_well() {
    let host = Host::new(false).await;
    let reconciler = native(|request, overlay| {
        let going = request.object.as_ref().is_some_and(|o| o.meta.deleted_at.is_some());
        if going && count(overlay, "cleaned")? == 0 {
            put(overlay, "cleaned", &json!({"n": "1"}))?;
        }
        Ok(Outcome::Done)
    });
    let mut spec = spec("tidy");
    spec.finalizer = Some("demo.dev/tidy".into());
    host.runtime.add(spec, reconciler).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    assert_eq!(host.value(&map_key("a"))["metadata"]["finalizers"], json!(["demo.dev/tidy"]));
    host.delete(&host.maps(), &map_key("a"), None).await;
    host.settle().await;
    assert!(host.get(&map_key("a")).is_none() && host.get(&map_key("cleaned")).is_some());
}

#[tokio::test]
async fn a_panicking_reconciler_fails_its_run_and_nothing_else() {
    let host = Host::new(false).await;
    let reconciler = native(|request, overlay| {
        assert!(*request.key.name != *"bad", "boom");
        put(overlay, &format!("{}-ok", request.key.name), &json!({}))?;
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("fragile"), reconciler).expect("new");
    host.map("bad", runnable()).await;
    host.map("good", runnable()).await;
    host.settle().await;
    let stats = &host.runtime.stats(None)[0];
    assert_eq!((stats.failures, stats.failing, stats.running), (1, 1, 0));
    assert!(host.get(&map_key("good-ok")).is_some());
}

#[tokio::test]
async fn what_was_not_granted_is_refused_by_name_and_a_limit_is_final() {
    let host = Host::new(false).await;
    let snapshot = host.registry.store().snapshot();
    let mut overlay =
        Overlay::new(snapshot.clone(), host.registry.clone(), crate::Grant::default());
    let denied = overlay.get(&map_key("x")).expect_err("nothing is granted");
    assert_eq!(Refusal::of(&denied), Some(Refusal::Denied));
    assert!(
        denied.message.contains("lack the verb \"get\" on resource \"configmaps\""),
        "{denied}"
    );
    let all = crate::Grant { unlimited: true, ..crate::Grant::default() };
    let limits = OverlayLimits { objects_read_max: 1, ..OverlayLimits::default() };
    let mut overlay = Overlay::new(snapshot, host.registry.clone(), all).limited(limits);
    assert!(overlay.get(&map_key("x")).is_ok());
    for _ in 0..2 {
        let stopped = overlay.get(&map_key("x")).expect_err("the limit is 1");
        assert_eq!(Refusal::of(&stopped), Some(Refusal::LimitReached));
    }
}

/// Six keys write the same object, and each write invalidates the runs of the other five.
#[tokio::test]
async fn a_run_that_other_runs_invalidate_gets_its_commit() {
    let host = Host::new(false).await;
    let hot = native(|request, overlay| {
        let n = count(overlay, "hot")?;
        if n < 300 {
            let next = json!({"n": (n + 1).to_string()});
            put(overlay, "hot", &next)?;
            put(overlay, &format!("{}-last", request.key.name), &next)?;
        }
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("hot"), hot).expect("new");
    for name in ["a", "b", "c", "d", "e", "f"] {
        host.map(name, runnable()).await;
    }
    host.settle().await;
    let written: u64 =
        host.value(&map_key("hot"))["data"]["n"].as_str().and_then(|n| n.parse().ok()).unwrap_or(0);
    assert!(written >= 6, "every key wrote at least once: {written}");
    let worst = host.runtime.runs(None, None, 10_000).iter().map(|run| run.conflicts).max();
    let bound = host.runtime.shared.config.invalidations_max + 6;
    assert!(worst.is_some_and(|worst| worst > 0 && worst <= bound), "{worst:?}");
}

#[tokio::test]
async fn a_slow_controller_leaves_room_for_others() {
    let host = Host::new(false).await;
    let (gate, held) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let mut slow = spec("slow");
    (slow.plugin, slow.concurrency) = ("sloth".into(), 100);
    host.runtime.add(slow, Arc::new(Slow { gate, held: Arc::clone(&held) })).expect("new");
    for number in 0..20 {
        host.map(&format!("k{number}"), runnable()).await;
    }
    let quick = native(|request, overlay| {
        put(overlay, &format!("{}-quick", request.key.name), &json!({})).map(|()| Outcome::Done)
    });
    host.runtime.add(spec("quick"), quick).expect("new");
    let mut looks = 0;
    while (0..20).any(|number| host.get(&map_key(&format!("k{number}-quick"))).is_none()) {
        tokio::task::yield_now().await;
        looks += 1;
        assert!(looks < 100_000, "the slow one takes every place");
    }
    assert_eq!(held.load(Ordering::SeqCst), host.runtime.shared.config.slots - 1);
}
