//! Keys that are held back: they run later or when they are released, and nothing that woke them is lost.

use super::*;

fn marker() -> Arc<dyn Reconciler> {
    native(|request, overlay| {
        let n = count(overlay, &request.key.name)?;
        put(overlay, &format!("{}-copy", request.key.name), &json!({"n": n.to_string()}))?;
        Ok(Outcome::Done)
    })
}

async fn work() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// A write of the host itself, which is not one from outside.
async fn write(host: &Host, name: &str, n: u64) {
    let grant = crate::Grant { unlimited: true, ..crate::Grant::default() };
    let snapshot = host.registry.store().snapshot();
    let mut overlay = Overlay::new(snapshot, host.registry.clone(), grant);
    put(&mut overlay, name, &json!({"n": n.to_string()})).expect("written");
    let cause = quadrille_store::Cause::System(quadrille_store::SystemCause::default());
    host.registry.commit(overlay.into_txn(None, cause)).await.expect("committed");
}

#[tokio::test]
async fn a_held_key_runs_when_its_time_comes_and_others_run_at_once() {
    let host = Host::new(false).await;
    let name = ControllerName::new("demo", "marker");
    host.runtime.add(spec("marker"), marker()).expect("new");
    for name in ["a", "b"] {
        host.map(name, runnable()).await;
    }
    host.settle().await;
    host.runtime.hold(&name, &map_key("a"), Duration::from_secs(10));
    write(&host, "a", 7).await;
    write(&host, "b", 7).await;
    work().await;
    let n = |of: &str| host.value(&map_key(of))["data"]["n"].clone();
    assert_eq!((n("a-copy"), n("b-copy")), (json!("0"), json!("7")));
    host.clock.advance(Duration::from_secs(9));
    work().await;
    assert_eq!(n("a-copy"), "0");
    host.clock.advance(Duration::from_secs(1));
    work().await;
    assert_eq!(n("a-copy"), "7");
    let run = host.runtime.runs(Some(&map_key("a")), None, 1).remove(0);
    assert_eq!((run.woken_by.len(), run.occasion), (1, None), "it knows what woke it: {run:?}");
}

#[tokio::test]
async fn a_frozen_key_runs_when_it_is_released_or_somebody_outside_acts() {
    let host = Host::new(false).await;
    let name = ControllerName::new("demo", "marker");
    host.runtime.add(spec("marker"), marker()).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    let n = || host.value(&map_key("a-copy"))["data"]["n"].clone();
    for (value, released) in [(1_u64, true), (2, false)] {
        host.runtime.freeze(&name, &map_key("a"), "a test");
        write(&host, "a", value).await;
        host.clock.advance(Duration::from_hours(1_000));
        work().await;
        assert_eq!(n(), (value - 1).to_string());
        if released {
            host.runtime.release(&name, &map_key("a"));
        } else {
            host.patch(&host.maps(), &map_key("a"), json!({"data": {"by": "hand"}})).await;
        }
        work().await;
        assert_eq!(n(), value.to_string());
    }
}

#[tokio::test]
async fn a_held_key_that_a_change_woke_is_at_work_and_a_frozen_one_is_stuck() {
    use crate::Standstill;
    let host = Host::new(false).await;
    let name = ControllerName::new("demo", "marker");
    host.runtime.add(spec("marker"), marker()).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    let state = async |revision| {
        work().await;
        let answer = host.runtime.settled(revision, Duration::ZERO).await.expect("it is there");
        (answer.state, answer.busy.len(), answer.stuck.len(), answer.timers)
    };
    host.runtime.hold(&name, &map_key("a"), Duration::from_secs(10));
    write(&host, "a", 1).await;
    let slowed = host.registry.store().revision();
    assert_eq!(state(slowed).await, (Standstill::Busy, 1, 0, 0), "its run has not begun");
    host.clock.advance(Duration::from_secs(10));
    assert_eq!(state(slowed).await, (Standstill::Settled, 0, 0, 0));
    host.runtime.freeze(&name, &map_key("a"), "a test");
    write(&host, "a", 2).await;
    let frozen = host.registry.store().revision();
    assert_eq!(state(frozen).await, (Standstill::Stuck, 0, 1, 0));
    assert_eq!(state(slowed).await.0, Standstill::Settled, "nothing of it is left");
    host.runtime.release(&name, &map_key("a"));
    assert_eq!(state(frozen).await, (Standstill::Settled, 0, 0, 0));
}

#[tokio::test]
async fn a_kind_is_read_once_a_controller_reads_it_and_no_longer_when_that_goes() {
    let host = Host::new(false).await;
    let resource = |name: &str| GroupResource::new("", name);
    let read = |names: [&str; 3]| names.map(|name| host.runtime.is_read(&resource(name)));
    assert_eq!(read(["configmaps", "secrets", "pods"]), [false; 3]);
    let mut reader = spec("reader");
    let rule = |resource: &str, verb: &str| crate::GrantRule {
        group: "".into(),
        resource: resource.into(),
        verbs: vec![verb.into()],
        namespaces: Vec::new(),
    };
    let rules = vec![rule("secrets", "list"), rule("configmaps", "get"), rule("pods", "create")];
    reader.grant = crate::Grant { rules, unlimited: false };
    host.runtime.add(reader, native(|_, _| Ok(Outcome::Done))).expect("new");
    assert_eq!(read(["configmaps", "secrets", "pods"]), [true, true, false], "primary, grant");
    let pods = native(|_, overlay| {
        let all = Query::whole(Range::all(GroupResource::new("", "pods")));
        overlay.list(&all).map(|_| Outcome::Done).map_err(transient)
    });
    host.runtime.add(spec("lister"), pods).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    assert_eq!(read(["configmaps", "secrets", "pods"]), [true; 3], "a run has read");
    for name in ["reader", "lister"] {
        host.runtime.remove(&ControllerName::new("demo", name)).expect("known");
    }
    assert_eq!(read(["configmaps", "secrets", "pods"]), [false; 3]);
}
