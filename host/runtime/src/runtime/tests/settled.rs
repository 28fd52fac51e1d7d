//! When a change has settled: after the last of what follows from it, never before, whatever else is going on.

use quadrille_store::{Cause, ChangeFilter};

use super::*;
use crate::{Settled, Standstill};

/// `c-N` makes `c-N+1`, up to `c-MAX`.
fn cascade(max: u64) -> Arc<dyn Reconciler> {
    native(move |request, overlay| {
        let (kind, number) = request.key.name.split_once('-').unwrap_or_default();
        let Ok(number) = number.parse::<u64>() else { return Ok(Outcome::Done) };
        if kind == "c" && number < max {
            put_runnable(overlay, &format!("c-{}", number + 1))?;
        }
        Ok(Outcome::Done)
    })
}

fn put_runnable(overlay: &mut Overlay, name: &str) -> Result<(), Failure> {
    let kind = quadrille_object::Gvk::new("", "v1", "ConfigMap");
    let resource = overlay.registry().resource_of(&kind).expect("built in");
    let target = target(&resource, "default", None);
    let object = json!({"metadata": {"name": name, "labels": {"run": "yes"}}});
    let made = overlay.write(target, Action::Create(Body::from(object)), WriteOptions::default());
    made.map(drop).map_err(transient)
}

async fn now(host: &Host, revision: Revision) -> Settled {
    host.runtime.settled(revision, Duration::ZERO).await.expect("the history has it")
}

#[tokio::test]
async fn three_hundred_cascaded_writes_settle_after_the_last_and_never_before() {
    for seed in 0..3 {
        let host = Host::on(false, quadrille_store::Config::default(), seed).await;
        host.runtime.add(spec("cascade"), cascade(300)).expect("new");
        host.map("c-0", runnable()).await;
        let revision = host.registry.store().revision();
        let mut looks = 0;
        loop {
            // A client that is no business of the cascade.
            if looks % 7 == 0 {
                host.map(&format!("noise-{looks}"), json!({})).await;
            }
            looks += 1;
            let answer = now(&host, revision).await;
            if answer.settled {
                assert!(host.get(&map_key("c-300")).is_some(), "too early: {answer:?}");
                assert_eq!(answer.changes, 301);
                assert_eq!(answer.last, host.get(&map_key("c-300")).expect("there").revision);
                break;
            }
            assert_eq!(answer.state, Standstill::Busy, "{answer:?}");
            tokio::task::yield_now().await;
        }
        assert!(looks > 300, "it was looked at while the cascade went on: {looks}");
    }
}

#[tokio::test]
async fn who_is_busy_with_something_else_holds_nothing_up() {
    let host = Host::new(false).await;
    let gate = Arc::new(AtomicUsize::new(0));
    let open = Arc::clone(&gate);
    // The run of `noise` wakes itself by writing what it reads, for as long as the gate is shut.
    let restless = native(move |request, overlay| {
        if open.load(Ordering::SeqCst) > 0 || &*request.key.name != "noise" {
            return Ok(Outcome::Done);
        }
        let n = format!("{}", request.run);
        put(overlay, "noise-out", &json!({"n": n}))?;
        Ok(Outcome::DoneUntil(Duration::ZERO))
    });
    host.runtime.add(spec("restless"), restless).expect("new");
    host.map("noise", runnable()).await;
    let noise = host.registry.store().revision();
    host.runtime.add(spec("cascade"), cascade(5)).expect("new");
    host.map("c-0", runnable()).await;
    let revision = host.registry.store().revision();
    let mut answer = now(&host, revision).await;
    for _ in 0..100_000 {
        if answer.settled {
            break;
        }
        tokio::task::yield_now().await;
        answer = now(&host, revision).await;
    }
    assert!(answer.settled, "{answer:?}");
    assert!(host.get(&map_key("c-5")).is_some());
    let runs = host.runtime.runs(Some(&map_key("noise")), None, 10_000).len();
    assert!(runs > 2, "the other was at work all the time: {runs}");
    gate.store(1, Ordering::SeqCst);
    host.settle().await;
    assert!(now(&host, noise).await.settled);
}

#[tokio::test]
async fn what_failed_is_stuck_with_the_controllers_own_message() {
    let host = Host::new(false).await;
    let failing = native(|request, _| match &*request.key.name {
        "again" => Err(Failure::Transient("the bank is closed".to_owned())),
        "never" => Err(Failure::Permanent("no such bank".to_owned())),
        _ => Ok(Outcome::Done),
    });
    host.runtime.add(spec("failing"), failing).expect("new");
    let mut revisions = Vec::new();
    for name in ["again", "never", "fine"] {
        host.map(name, runnable()).await;
        revisions.push(host.registry.store().revision());
    }
    host.settle().await;
    let told = async |at: usize| {
        let answer = now(&host, revisions[at]).await;
        let stuck = answer.stuck.into_iter();
        let stuck = stuck.map(|of| (of.object, of.failures, of.message.unwrap_or_default()));
        (answer.state, stuck.collect::<Vec<_>>())
    };
    let again = ("configmaps/default/again".to_owned(), 1, "the bank is closed".to_owned());
    assert_eq!(told(0).await, (Standstill::Stuck, vec![again]));
    let never = ("configmaps/default/never".to_owned(), 0, "no such bank".to_owned());
    assert_eq!(told(1).await, (Standstill::Stuck, vec![never]));
    assert_eq!(told(2).await, (Standstill::Settled, Vec::new()));
    // Nothing changes by itself where nobody tries again, so nobody waits for it.
    let at_once = host.runtime.settled(revisions[1], Duration::from_hours(1)).await;
    assert_eq!(at_once.expect("known").state, Standstill::Stuck);
}

#[tokio::test]
async fn a_timer_holds_nothing_up_until_it_is_due_and_what_it_writes_follows() {
    let host = Host::new(false).await;
    let later = native(|request, overlay| {
        if request.woken_by.is_empty() {
            put(overlay, "later", &json!({"n": "1"}))?;
            return Ok(Outcome::Done);
        }
        Ok(Outcome::DoneUntil(Duration::from_mins(1)))
    });
    host.runtime.add(spec("later"), later).expect("new");
    host.map("a", runnable()).await;
    let revision = host.registry.store().revision();
    host.settle().await;
    let waiting = now(&host, revision).await;
    assert!(waiting.settled && waiting.timers == 1 && waiting.changes == 1, "{waiting:?}");
    host.clock.advance(Duration::from_mins(2));
    while host.get(&map_key("later")).is_none() {
        tokio::task::yield_now().await;
    }
    host.settle().await;
    let done = now(&host, revision).await;
    assert!(done.settled && done.timers == 0 && done.changes == 2, "{done:?}");
}

#[tokio::test]
async fn what_the_collector_deletes_follows_from_the_deletion_of_the_owner() {
    let host = Host::new(true).await;
    host.map("owner", json!({})).await;
    let owner = host.get(&map_key("owner")).expect("there");
    for number in 0..40 {
        let reference = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": &*owner.meta.uid},
        ]}});
        host.map(&format!("owned-{number}"), reference).await;
    }
    host.settle().await;
    host.delete(&host.maps(), &map_key("owner"), None).await;
    let revision = host.registry.store().revision();
    loop {
        let answer = now(&host, revision).await;
        if answer.settled {
            assert!((0..40).all(|n| host.get(&map_key(&format!("owned-{n}"))).is_none()));
            assert_eq!(answer.changes, 41);
            break;
        }
        tokio::task::yield_now().await;
    }
    let mut changes = host.registry.store().changes(ChangeFilter::default(), revision);
    let batch = changes.next().await.expect("deletions");
    let Cause::System(system) = &*batch.changes[0].cause else { panic!("{batch:?}") };
    assert_eq!(system.because, [revision]);
}

#[tokio::test]
async fn a_change_that_is_not_there_has_not_settled() {
    let host = Host::new(false).await;
    let newest = host.registry.store().revision();
    let early = host.runtime.settled(newest.next(), Duration::ZERO).await.expect("no error");
    assert_eq!((early.settled, early.state), (false, Standstill::Busy));
}
