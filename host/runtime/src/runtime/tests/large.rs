//! Runs with much to write, because of much: whatever passes the limits of a run can be committed.

use super::*;

/// How many changes come while the controller is suspended: more than are listed.
const CHANGES: u64 = 1_100;

#[tokio::test]
async fn a_run_of_many_wakes_and_many_writes_commits() {
    let host = Host::new(false).await;
    let spread = native(|_, overlay| {
        if count(overlay, "source")? < CHANGES {
            return Ok(Outcome::Done);
        }
        for number in 0..1_000 {
            put(overlay, &format!("part{number}"), &json!({"a": "x".repeat(4_000)}))?;
        }
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("spread"), spread).expect("new");
    host.map("source", json!({})).await;
    host.map("a", runnable()).await;
    host.settle().await;
    let name = ControllerName::new("demo", "spread");
    host.runtime.suspend(&name).expect("known");
    for n in 1..=CHANGES {
        let patch = json!({"data": {"n": n.to_string()}});
        host.patch(&host.maps(), &map_key("source"), patch).await;
    }
    while host.runtime.position() < host.registry.store().revision() {
        tokio::task::yield_now().await;
    }
    host.runtime.resume(&name).expect("known");
    host.settle().await;
    let last = &host.runtime.runs(None, None, 1)[0];
    assert_eq!(last.end, RunEnd::Done { requeue: None });
    let part = host.get(&map_key("part999")).expect("committed");
    let change = host.registry.store().change(part.revision).await.expect("kept");
    let Some(quadrille_store::Cause::Run(cause)) =
        change.map(|change| change.cause.as_ref().clone())
    else {
        panic!("a run wrote it");
    };
    let listed = cause.woken_by.len() as u64;
    assert!(listed > 100 && listed + cause.unlisted == CHANGES, "{listed} + {}", cause.unlisted);
    let newest = host.get(&map_key("source")).expect("exists").revision;
    assert_eq!(cause.woken_by.last(), Some(&newest));
}

#[tokio::test]
async fn a_run_commits_as_many_bytes_as_it_may_write() {
    let host = Host::new(false).await;
    let pour = native(|_, overlay| {
        for number in 0..16 {
            put(overlay, &format!("part{number}"), &json!({"a": "x".repeat(1_000_000)}))?;
        }
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("pour"), pour).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    let last = &host.runtime.runs(None, None, 1)[0];
    assert_eq!(last.end, RunEnd::Done { requeue: None });
    assert!(host.get(&map_key("part15")).is_some());
}
