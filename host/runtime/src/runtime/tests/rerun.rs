//! Runs made again: the same code on the same snapshot gives the same bytes, whatever a write draws on.

use quadrille_registry::{DeleteOptions, Resource};
use quadrille_store::{RunCause, Snapshot};

use super::*;
use crate::testing::merge;
use crate::{Note, Rerun, RunQuery, RunRecord, RunWrite};

/// A reconciler that uses everything that could differ between two runs: uids, generated names, addresses and ports
/// that are chosen, times of creation, deletion and field managers, events, its own chance.
fn restless() -> Arc<dyn Reconciler> {
    native(|request, overlay| {
        let name = request.key.name.as_ref();
        let kind = |kind: &str| {
            let kind = quadrille_object::Gvk::new("", "v1", kind);
            overlay.registry().resource_of(&kind).expect("built in")
        };
        let (maps, services) = (kind("ConfigMap"), kind("Service"));
        let create = |overlay: &mut Overlay, resource: &Arc<Resource>, object: Value| {
            let action = Action::Create(Body::from(object));
            let target = target(resource, "default", None);
            overlay.write(target, action, WriteOptions::default()).map_err(transient).map(|_| ())
        };
        let made = json!({"metadata": {"generateName": format!("{name}-")}, "data": {"seed": request.seed.to_string()}});
        create(overlay, &maps, made)?;
        let ports = json!([{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]);
        let spec = json!({"type": "NodePort", "ports": ports});
        create(
            overlay,
            &services,
            json!({"metadata": {"name": format!("{name}-s")}, "spec": spec}),
        )?;
        let held = json!({"metadata": {"name": format!("{name}-held"), "finalizers": ["example.com/hold"]}});
        create(overlay, &maps, held)?;
        let gone = target(&maps, "default", Some(&format!("{name}-held")));
        let action = Action::Delete(DeleteOptions::default());
        overlay.write(gone, action, WriteOptions::default()).map_err(transient)?;
        put(overlay, name, &json!({"at": request.now.to_rfc3339()}))?;
        let note = Note { kind: "Normal", reason: "Made", message: "all of it" };
        overlay.record_event(&request.key, &note).map_err(transient)?;
        Ok(Outcome::Done)
    })
}

async fn again(host: &Host, record: &RunRecord, code: &Arc<dyn Reconciler>) -> Vec<RunWrite> {
    let snapshot = host.registry.store().snapshot_at(record.snapshot).await.expect("in history");
    let reran = Rerun::of(record, Arc::clone(code)).run(&host.registry, &snapshot).await;
    assert_eq!((reran.assumed, reran.wanted), (0, true));
    reran.writes.iter().map(|write| RunWrite::of(write, &snapshot)).collect()
}

fn uncommitted(writes: &[RunWrite]) -> Vec<RunWrite> {
    writes.iter().map(|write| RunWrite { revision: None, ..write.clone() }).collect()
}

#[tokio::test]
async fn a_run_made_again_writes_the_same_bytes() {
    let host = Host::new(true).await;
    let code = restless();
    let with_finalizer =
        ControllerSpec { finalizer: Some("example.com/restless".into()), ..spec("restless") };
    host.runtime.add(with_finalizer, Arc::clone(&code)).expect("new");
    for name in ["a", "b", "c"] {
        host.map(name, runnable()).await;
        host.clock.advance(Duration::from_millis(1_700));
        host.settle().await;
    }
    let runs = host.runtime.find_runs(&RunQuery { wrote: true, ..RunQuery::default() }, 100).await;
    let runs = runs.expect("in memory");
    assert_eq!(runs.len(), 3);
    for record in &runs {
        assert!(record.writes.len() >= 6, "{:?}", record.writes);
        host.clock.advance(Duration::from_secs(100));
        assert_eq!(again(&host, record, &code).await, uncommitted(&record.writes));
        // The hashes in the record are those of what is stored.
        for write in &record.writes {
            let change = host.registry.store().change(write.revision.expect("committed")).await;
            let change = change.expect("kept").expect("known");
            assert_eq!(change.kind, write.kind);
            let value: serde_json::Map<String, Value> =
                serde_json::from_slice(&change.object.bytes).expect("JSON");
            let template = quadrille_object::Template::encode(&value);
            assert_eq!(quadrille_store::content_hash(template.unrevised()), write.hash);
        }
    }
    let uids: BTreeSet<u128> =
        runs.iter().flat_map(|run| run.writes.iter().map(|write| write.hash)).collect();
    assert!(uids.len() >= 18, "different runs write different things");
}

#[tokio::test]
async fn other_code_and_another_time_show_in_the_writes() {
    let host = Host::new(false).await;
    let code = restless();
    host.runtime.add(spec("restless"), Arc::clone(&code)).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    let record = host.runtime.runs(None, None, 1).remove(0);
    let other = native(|request, overlay| {
        put(overlay, &request.key.name, &json!({"n": "other"}))?;
        Ok(Outcome::Done)
    });
    assert_eq!(again(&host, &record, &other).await.len(), 1);
    let later = RunRecord {
        now: quadrille_object::Timestamp(record.now.0 + 5_000_000),
        ..RunRecord::clone(&record)
    };
    let writes = again(&host, &later, &code).await;
    assert_eq!(writes.len(), record.writes.len());
    assert_ne!(writes, uncommitted(&record.writes));
    // Nothing of it reached the store.
    assert_eq!(host.runtime.runs(None, None, 10).len(), 1);
}

#[tokio::test]
async fn a_failed_run_fails_again_and_one_without_its_object_has_nothing_to_do() {
    let host = Host::new(false).await;
    let code = native(|_, overlay| {
        overlay.get(&map_key("settings")).map_err(transient)?;
        Err(Failure::Permanent("no settings".to_owned()))
    });
    host.runtime.add(spec("failing"), Arc::clone(&code)).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    let record = host.runtime.runs(None, None, 1).remove(0);
    assert_eq!(record.empty.keys, [map_key("settings")]);
    let rerun = Rerun::of(&record, code);
    let snapshot = host.registry.store().snapshot_at(record.snapshot).await.expect("in history");
    let reran = rerun.run(&host.registry, &snapshot).await;
    assert_eq!(reran.result, Err(Failure::Permanent("no settings".to_owned())));
    assert_eq!(reran.reads, record.reads);
    let empty = rerun.run(&host.registry, &Snapshot::default()).await;
    assert!(!empty.wanted && empty.writes.is_empty());
}

#[tokio::test]
async fn every_run_reaches_the_journal_and_is_found_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = || async {
        let config = quadrille_store::JournalConfig {
            dir: Some(dir.path().to_owned()),
            age_max: Duration::MAX,
            ..quadrille_store::JournalConfig::default()
        };
        let clock = Arc::new(quadrille_kit::ManualClock::default());
        Journal::open(config, clock, &Supervisor::default()).await.expect("the journal opens")
    };
    let host = Host::recording(journal().await).await;
    // One at a time: two that draw the same port would conflict, and the second try is a run of its own.
    let alone = ControllerSpec { concurrency: 1, ..spec("restless") };
    host.runtime.add(alone, restless()).expect("new");
    for at in 0..20 {
        host.map(&format!("m{at}"), runnable()).await;
    }
    host.settle().await;
    let query = RunQuery { plugin: Some("demo".into()), ..RunQuery::default() };
    let before = host.runtime.find_runs(&query, 100).await.expect("readable");
    assert_eq!(before.len(), 20);
    drop(host);
    let after = Host::recording(journal().await).await;
    assert!(after.runtime.runs(None, None, 1).is_empty(), "nothing in memory");
    let found = after.runtime.find_runs(&query, 100).await.expect("readable");
    let told = |runs: &[Arc<RunRecord>]| {
        runs.iter()
            .map(|run| format!("{} {:?} {:?}", run.run, run.reads, run.writes))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&found), told(&before));
    let one = RunQuery { object: Some(map_key("m7")), ..RunQuery::default() };
    assert_eq!(after.runtime.find_runs(&one, 100).await.expect("readable").len(), 1);
    let first = after.runtime.find_run(found[3].run).await.expect("readable").expect("kept");
    assert_eq!(first.object, found[3].object);
    after.runtime.add(spec("restless"), restless()).expect("new");
    after.map("later", runnable()).await;
    after.settle().await;
    let newest = after.runtime.runs(None, None, 1).remove(0);
    assert!(newest.run > found[0].run, "numbers go on where they ended");
}

#[tokio::test]
async fn the_cause_of_a_change_and_the_record_of_its_run_name_each_other() {
    let host = Host::new(false).await;
    host.runtime.add(spec("restless"), restless()).expect("new");
    let mut object = runnable();
    merge(&mut object, json!({"data": {"n": "1"}}));
    host.map("a", object).await;
    host.settle().await;
    let record = host.runtime.runs(None, None, 1).remove(0);
    let revision = record.writes[0].revision.expect("committed");
    let change = host.registry.store().change(revision).await.expect("kept").expect("known");
    let quadrille_store::Cause::Run(RunCause { run, woken_by, snapshot, .. }) = &*change.cause
    else {
        panic!("a run made it");
    };
    assert_eq!((*run, *snapshot), (record.run, record.snapshot));
    assert_eq!(*woken_by, record.woken_by);
}
