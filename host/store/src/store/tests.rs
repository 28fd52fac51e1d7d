//! Tests of the whole store, on the memory engine and on files.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use quadrille_kit::ManualClock;
use quadrille_object::{GroupResource, Meta, Template};
use serde_json::json;

use super::*;
use crate::cause::{Cause, SystemCause};
use crate::change::{ChangeBatch, ChangeKind};
use crate::engine::failing::Failing;
use crate::query::{Query, Range, ReadSet, Selection};
use crate::txn::{Conflict, Expect, Fence, Write};

mod groups;

fn key(resource: &str, namespace: &str, name: &str) -> Key {
    Key::new(GroupResource::new("", resource), namespace, name)
}

fn object(key: &Key, owner: Option<&str>, data: &str) -> (Meta, Template) {
    let owners: Vec<_> = owner.iter().map(|uid| json!({"uid": uid, "name": "o"})).collect();
    let value = json!({"data": data, "metadata": {"name": &*key.name, "namespace": &*key.namespace,
        "labels": {"data": data}, "ownerReferences": owners}});
    let map = value.as_object().expect("a map");
    (Meta::from_object(map), Template::encode(map))
}

fn put(key: &Key, data: &str, expect: Expect) -> Write {
    let (meta, object) = object(key, None, data);
    Write::Put { key: key.clone(), meta, object, expect }
}

fn txn(writes: Vec<Write>) -> Txn {
    let cause = Cause::System(SystemCause { part: "test".to_owned(), ..SystemCause::default() });
    Txn { writes, requires: Vec::new(), reads: None, fence: None, cause }
}

async fn open_at(dir: Option<&Path>, change: impl FnOnce(&mut Config)) -> Store {
    let mut config = Config { dir: dir.map(Path::to_owned), ..Config::default() };
    change(&mut config);
    let clock = Arc::new(ManualClock::default());
    Store::open(config, clock, &Supervisor::default()).await.expect("opens")
}

fn data(object: &crate::Object) -> String {
    let value: serde_json::Value = serde_json::from_slice(&object.bytes).expect("JSON");
    assert_eq!(value["metadata"]["resourceVersion"], object.revision.to_string());
    value["data"].as_str().expect("text").to_owned()
}

#[tokio::test]
async fn its_futures_can_be_spawned() {
    fn check(_: impl Send) {}
    let store = open_at(None, |_| {}).await;
    let mut stream = store.changes(ChangeFilter::default(), Revision(0));
    check(stream.next());
    check(store.commit(txn(Vec::new())));
    check(store.change(Revision(0)));
    check(store.last_change(&key("a", "", "b"), Revision(0)));
    check(store.close());
    check(Store::open(Config::default(), Arc::new(ManualClock::default()), &Supervisor::default()));
}

/// Every claim below holds with and without files.
async fn on_both(claim: impl AsyncFn(Option<&Path>)) {
    claim(None).await;
    let dir = tempfile::tempdir().expect("a directory");
    claim(Some(dir.path())).await;
}

#[tokio::test]
async fn a_transaction_appears_whole_and_streams_see_it() {
    on_both(async |dir| {
        let store = open_at(dir, |_| {}).await;
        let (a, b) = (key("a", "ns", "x"), key("b", "", "y"));
        let mut all = store.changes(ChangeFilter::default(), Revision(0));
        let mut only =
            store.changes(ChangeFilter { resource: Some(b.resource.clone()) }, Revision(0));
        let writes = vec![put(&a, "1", Expect::Absent), put(&b, "1", Expect::Absent)];
        let committed = store.commit(txn(writes)).await.expect("commits");
        assert_eq!(committed.revision, Revision(2));
        let batch = all.next().await.expect("changes");
        assert_eq!((batch.changes.len(), batch.through), (2, Revision(2)));
        assert_eq!(batch.changes[1].txn, (Revision(1), Revision(2)));
        let batch = only.next().await.expect("changes");
        assert_eq!((batch.changes.len(), batch.through), (1, Revision(2)));
        let gone = Write::Delete { key: a.clone(), expect: Expect::Revision(Revision(1)) };
        let gone = store.commit(txn(vec![gone])).await.expect("deletes");
        assert_eq!(data(&gone.objects[0]), "1");
        assert_eq!(gone.objects[0].revision, Revision(3));
        let batch = all.next().await.expect("changes");
        let change = &batch.changes[0];
        assert_eq!(change.kind, ChangeKind::Deleted);
        assert_eq!(change.before.as_ref().map(|o| o.revision), Some(Revision(1)));
        assert_eq!(store.snapshot().get(&a), None);
        assert_eq!(store.snapshot().resources().count(), 1);
        let idle = only.try_next().expect("open").expect("moved on");
        assert_eq!((idle.changes.len(), idle.through), (0, Revision(3)));
        store.close().await;
        let closed = store.commit(txn(Vec::new())).await.err();
        assert!(matches!(closed, Some(CommitError::Closed)));
        assert_eq!(all.next().await.err(), Some(ChangesError::Closed));
    })
    .await;
}

#[tokio::test]
async fn what_does_not_hold_is_refused_and_leaves_nothing() {
    on_both(async |dir| {
        let store = open_at(dir, |_| {}).await;
        let (a, b) = (key("a", "ns", "x"), key("a", "ns", "y"));
        store.commit(txn(vec![put(&a, "1", Expect::Absent)])).await.expect("commits");
        let refused = [
            vec![put(&b, "1", Expect::Absent), put(&a, "2", Expect::Absent)],
            vec![put(&b, "1", Expect::Present)],
            vec![put(&a, "1", Expect::Revision(Revision(7)))],
            vec![Write::Delete { key: b.clone(), expect: Expect::Any }],
        ];
        for writes in refused {
            let error = store.commit(txn(writes)).await.expect_err("refused");
            assert!(matches!(error, CommitError::Conflict(Conflict::Key { .. })), "{error}");
        }
        let twice = txn(vec![put(&b, "1", Expect::Any), put(&b, "2", Expect::Any)]);
        assert!(matches!(store.commit(twice).await, Err(CommitError::Invalid(_))));
        let zero = txn(vec![put(&key("a", "n\0s", "x"), "1", Expect::Any)]);
        assert!(matches!(store.commit(zero).await, Err(CommitError::Invalid(_))));
        let fence = Fence::default();
        let stale = Txn { fence: Some(fence.ticket()), ..txn(vec![put(&b, "1", Expect::Any)]) };
        fence.advance();
        assert!(matches!(store.commit(stale).await, Err(CommitError::Fenced)));
        assert_eq!((store.revision(), store.snapshot().get(&b)), (Revision(1), None));
        assert!(store.takes_writes(), "readiness is about the disk");
    })
    .await;
}

async fn check_reads(ranges: Vec<Range>, keys: Vec<Key>, then: Write, conflicts: bool) {
    let store = open_at(None, |_| {}).await;
    let (owned, other) = (key("a", "ns", "owned"), key("a", "ns", "other"));
    let (meta, template) = object(&owned, Some("u"), "1");
    let with_owner = Write::Put { key: owned, meta, object: template, expect: Expect::Any };
    store.commit(txn(vec![with_owner, put(&other, "1", Expect::Any)])).await.expect("commits");
    let reads = ReadSet { at: store.revision(), keys, ranges, weak: Vec::new() };
    store.commit(txn(vec![then])).await.expect("commits");
    let outcome = store.commit(Txn { reads: Some(reads.clone()), ..txn(Vec::new()) }).await;
    let read = matches!(outcome, Err(CommitError::Conflict(Conflict::Read { .. })));
    assert_eq!(read, conflicts, "{reads:?}: {outcome:?}");
}

#[tokio::test]
async fn a_read_set_conflicts_exactly_with_what_was_read() {
    let range = |namespace: Option<&str>, selection: Selection| Range {
        resource: GroupResource::new("", "a"),
        namespace: namespace.map(Into::into),
        selection,
    };
    let owned = || range(None, Selection::Owner("u".into()));
    let names = || range(Some("ns"), Selection::Names(vec!["owned".into(), "new".into()]));
    let [x, other, new] = ["owned", "other", "new"].map(|name| key("a", "ns", name));
    let delete = |key: &Key| Write::Delete { key: key.clone(), expect: Expect::Any };
    let write = |key: &Key| put(key, "2", Expect::Any);
    check_reads(vec![owned()], vec![], delete(&x), true).await;
    check_reads(vec![owned()], vec![], write(&x), true).await;
    check_reads(vec![owned()], vec![], write(&other), false).await;
    check_reads(vec![names()], vec![], write(&new), true).await;
    check_reads(vec![names()], vec![], delete(&x), true).await;
    check_reads(vec![names()], vec![], write(&other), false).await;
    check_reads(vec![range(Some("ns"), Selection::All)], vec![], write(&new), true).await;
    check_reads(vec![range(Some("no"), Selection::All)], vec![], write(&new), false).await;
    check_reads(vec![], vec![new.clone()], write(&new), true).await;
    check_reads(vec![], vec![x.clone()], delete(&x), true).await;
    check_reads(vec![], vec![x], write(&other), false).await;
}

#[tokio::test]
async fn history_is_readable_after_a_restart_and_revisions_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open_at(Some(dir.path()), |_| {}).await;
    let at = key("a", "ns", "x");
    store.commit(txn(vec![put(&at, "1", Expect::Any)])).await.expect("commits");
    store.commit(txn(vec![put(&at, "2", Expect::Any)])).await.expect("commits");
    let gone = Write::Delete { key: at.clone(), expect: Expect::Any };
    store.commit(txn(vec![gone])).await.expect("commits");
    let second = open_dir(dir.path()).await;
    assert!(matches!(second.err(), Some(OpenError::InUse { .. })));
    store.close().await;
    let store = open_at(Some(dir.path()), |_| {}).await;
    let committed = store.commit(txn(vec![put(&at, "4", Expect::Absent)])).await.expect("commits");
    assert_eq!(committed.revision, Revision(4));
    let mut stream = store.changes(ChangeFilter::default(), Revision(1));
    let mut changes = Vec::new();
    while stream.position() < Revision(4) {
        let ChangeBatch { changes: more, .. } = stream.next().await.expect("changes");
        changes.extend(more);
    }
    assert_eq!(changes.iter().map(|c| c.revision.0).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(changes[0].before.as_deref().map(data).as_deref(), Some("1"));
    for revision in 1..=4 {
        let change = store.change(Revision(revision)).await.expect("read").expect("there");
        assert_eq!(change.revision, Revision(revision));
        let last = store.last_change(&at, Revision(revision)).await.expect("read");
        assert_eq!(last.map(|c| (c.revision, c.kind)), Some((change.revision, change.kind)));
    }
    assert!(store.change(Revision(5)).await.expect("read").is_none());
    assert!(store.last_change(&key("a", "", "no"), Revision(4)).await.expect("read").is_none());
}

async fn open_dir(dir: &Path) -> Result<Store, OpenError> {
    let config = Config { dir: Some(dir.to_owned()), ..Config::default() };
    Store::open(config, Arc::new(ManualClock::default()), &Supervisor::default()).await
}

#[tokio::test]
async fn a_stream_below_compaction_is_expired_and_live_objects_stay() {
    on_both(async |dir| {
        let small = |config: &mut Config| {
            config.history_bytes_max = 4_000;
            config.recent_changes_max = 4;
        };
        let store = open_at(dir, small).await;
        let (still, busy) = (key("a", "ns", "still"), key("a", "ns", "busy"));
        store.commit(txn(vec![put(&still, "1", Expect::Any)])).await.expect("commits");
        for _ in 0..100 {
            store.commit(txn(vec![put(&busy, "2", Expect::Any)])).await.expect("commits");
        }
        store.shrink().await.expect("compacts");
        let oldest = store.oldest();
        assert!(oldest > Revision(50), "{oldest}");
        assert!(store.size().history_bytes <= 4_000);
        let expired = ChangesError::Expired { oldest };
        let mut late = store.changes(ChangeFilter::default(), Revision(oldest.0 - 1));
        assert_eq!(late.next().await.err(), Some(expired.clone()));
        assert_eq!(store.change(Revision(7)).await.err(), Some(expired));
        let kept = store.change(Revision(1)).await.expect("read").expect("still the value");
        assert_eq!(data(&kept.object), "1");
        let mut stream = store.changes(ChangeFilter::default(), oldest);
        let mut seen = oldest.0;
        while let Some(batch) = stream.try_next().expect("open") {
            for change in batch.changes {
                seen += 1;
                assert_eq!(change.revision.0, seen);
                assert!(change.before.is_some());
            }
        }
        assert_eq!(seen, store.revision().0);
        store.close().await;
        if dir.is_some() {
            let store = open_at(dir, small).await;
            assert_eq!(store.oldest(), oldest);
            assert_eq!(store.snapshot().get(&still).as_deref().map(data).as_deref(), Some("1"));
        }
    })
    .await;
}

#[derive(Clone, Debug)]
enum Step {
    Commit { writes: Vec<(u8, Option<u8>, bool)>, read_lag: Option<u64> },
    Read { stream: usize },
    Resume { stream: usize, back: u64 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0..6_u8, proptest::option::of(0..4_u8), any::<bool>());
    let writes = proptest::collection::vec(write, 0..4);
    prop_oneof![
        8 => (writes, proptest::option::of(0..4_u64))
            .prop_map(|(writes, read_lag)| Step::Commit { writes, read_lag }),
        3 => (0..3_usize).prop_map(|stream| Step::Read { stream }),
        2 => (0..3_usize, 0..12_u64).prop_map(|(stream, back)| Step::Resume { stream, back }),
        1 => Just(Step::Restart),
    ]
}

/// What the store should be: every change, and the state after the last one.
#[derive(Default)]
struct Model {
    changes: Vec<(Key, ChangeKind, Option<String>)>,
    live: BTreeMap<Key, (u64, String)>,
}

impl Model {
    fn touched_since(&self, key: &Key, at: u64) -> bool {
        let since = usize::try_from(at).expect("small");
        self.changes.iter().skip(since).any(|(changed, ..)| changed == key)
    }

    fn apply(&mut self, write: &Write, data: Option<&str>) {
        let revision = self.changes.len() as u64 + 1;
        let key = write.key().clone();
        let kind = match (data, self.live.contains_key(&key)) {
            (None, _) => ChangeKind::Deleted,
            (Some(_), false) => ChangeKind::Created,
            (Some(_), true) => ChangeKind::Updated,
        };
        self.changes.push((key.clone(), kind, data.map(ToOwned::to_owned)));
        match data {
            Some(data) => self.live.insert(key, (revision, data.to_owned())),
            None => self.live.remove(&key),
        };
    }
}

fn model_key(n: u8) -> Key {
    key(["a", "b"][usize::from(n % 2)], ["", "n1", "n2"][usize::from(n / 2)], "x")
}

#[expect(clippy::too_many_lines, reason = "one step of the model after the other")]
async fn run_model(dir: Option<&Path>, steps: Vec<Step>) {
    let small = |config: &mut Config| config.recent_changes_max = 5;
    let mut store = open_at(dir, small).await;
    let mut model = Model::default();
    let filters = [None, Some("a"), Some("b")].map(|r| r.map(|r| GroupResource::new("", r)));
    let open_stream = |store: &Store, n: usize, after| {
        store.changes(ChangeFilter { resource: filters[n].clone() }, Revision(after))
    };
    let mut streams: Vec<_> = (0..3).map(|n| open_stream(&store, n, 0)).collect();
    for step in steps {
        match step {
            Step::Commit { writes, read_lag } => {
                let chosen: BTreeMap<u8, _> = writes.into_iter().map(|w| (w.0, w)).collect();
                let mut holds = true;
                let mut planned = Vec::new();
                for (n, data, absent) in chosen.into_values() {
                    let at = model_key(n);
                    let expect = if absent { Expect::Absent } else { Expect::Any };
                    let exists = model.live.contains_key(&at);
                    holds &= !(absent && exists) && (data.is_some() || exists);
                    let data = data.map(|d| d.to_string());
                    let write = match &data {
                        Some(data) => put(&at, data, expect),
                        None => Write::Delete { key: at, expect },
                    };
                    planned.push((write, data));
                }
                let reads = read_lag.map(|lag| {
                    let at = (model.changes.len() as u64).saturating_sub(lag);
                    holds &= !model.touched_since(&model_key(3), at);
                    ReadSet { at: Revision(at), keys: vec![model_key(3)], ..ReadSet::default() }
                });
                let writes = planned.iter().map(|(write, _)| write.clone()).collect();
                let outcome = store.commit(Txn { reads, ..txn(writes) }).await;
                assert_eq!(outcome.is_ok(), holds, "{outcome:?}");
                if holds {
                    for (write, data) in &planned {
                        model.apply(write, data.as_deref());
                    }
                }
            }
            Step::Read { stream } => {
                let from = streams[stream].position().0;
                let batch = streams[stream].try_next().expect("open");
                let through = batch.as_ref().map_or(from, |batch| batch.through.0);
                let seen = batch.into_iter().flat_map(|batch| batch.changes);
                let seen: Vec<_> = seen
                    .map(|c| (c.revision.0, c.key().clone(), c.kind, c.after().map(|o| data(o))))
                    .collect();
                let wanted: Vec<_> = (from..through)
                    .map(|at| (at + 1, model.changes[usize::try_from(at).expect("small")].clone()))
                    .filter(|(_, (k, ..))| {
                        filters[stream].as_ref().is_none_or(|r| *r == k.resource)
                    })
                    .map(|(at, (key, kind, data))| (at, key, kind, data))
                    .collect();
                assert_eq!(seen, wanted);
                assert!(through > from || through == model.changes.len() as u64);
            }
            Step::Resume { stream, back } => {
                let after = (model.changes.len() as u64).saturating_sub(back);
                streams[stream] = open_stream(&store, stream, after);
            }
            Step::Restart if dir.is_some() => {
                let at: Vec<_> = streams.iter().map(|stream| stream.position().0).collect();
                store.close().await;
                store = open_at(dir, small).await;
                streams = (0..3).map(|n| open_stream(&store, n, at[n])).collect();
            }
            Step::Restart => {}
        }
        let snapshot = store.snapshot();
        assert_eq!(snapshot.revision().0, model.changes.len() as u64);
        for n in 0..6 {
            let at = model_key(n);
            let found = snapshot.get(&at).map(|o| (o.revision.0, data(&o)));
            assert_eq!(found.as_ref(), model.live.get(&at));
            let history = model.changes.iter().rposition(|(key, ..)| *key == at);
            let last = store.last_change(&at, snapshot.revision()).await.expect("read");
            assert_eq!(last.map(|c| c.revision.0), history.map(|n| n as u64 + 1));
        }
        let listed = snapshot.list(&Query::whole(Range::all(GroupResource::new("", "a"))));
        let live = model.live.keys().filter(|key| &*key.resource.resource == "a");
        assert!(listed.iter().map(|o| &o.key).eq(live));
    }
    store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_the_model(steps in proptest::collection::vec(step(), 1..60), files in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        runtime.expect("a runtime").block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            run_model(files.then_some(dir.path()), steps).await;
        });
    }
}

/// Waits between two looks; never what was waited for.
fn pause() -> bool {
    std::thread::park_timeout(Duration::from_millis(10));
    false
}

#[tokio::test]
async fn a_failing_disk_refuses_writes_and_leaves_the_state_as_it_was() {
    let engine = Failing::default();
    let fails = Arc::clone(&engine.refuses);
    let (clock, supervisor) = (Arc::new(ManualClock::default()), Supervisor::default());
    let opened = Store::with_engine(Config::default(), Box::new(engine), clock, &supervisor).await;
    let store = opened.expect("opens");
    let [a, b] = ["a", "b"].map(|name| key("a", "ns", name));
    store.commit(txn(vec![put(&a, "1", Expect::Absent)])).await.expect("commits");
    let mut stream = store.changes(ChangeFilter::default(), Revision(1));
    fails.store(true, std::sync::atomic::Ordering::SeqCst);
    let gone = Write::Delete { key: a.clone(), expect: Expect::Any };
    for write in [put(&b, "1", Expect::Absent), put(&a, "2", Expect::Any), gone] {
        let refused = store.commit(txn(vec![write])).await;
        assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    }
    assert_eq!((store.revision(), store.snapshot().get(&b)), (Revision(1), None));
    assert!(!store.takes_writes(), "the disk refused the last commit");
    assert_eq!(store.snapshot().get(&a).as_deref().map(data).as_deref(), Some("1"));
    assert!(stream.try_next().expect("open").is_none());
    fails.store(false, std::sync::atomic::Ordering::SeqCst);
    let found = tokio::task::spawn_blocking({
        let store = store.clone();
        // The store finds out by itself: nobody commits meanwhile.
        move || (0..1000).any(|_| store.takes_writes() || pause())
    });
    assert!(found.await.expect("no panic"), "the store sees that the disk works again");
    let committed = store.commit(txn(vec![put(&b, "1", Expect::Absent)])).await.expect("resumes");
    assert_eq!(committed.revision, Revision(2));
    let batch = stream.next().await.expect("changes");
    assert_eq!((batch.changes.len(), batch.through), (1, Revision(2)));
    supervisor.shutdown().start();
    assert!(supervisor.stop(Duration::from_secs(10)).await, "the store ends with the supervisor");
    assert!(matches!(store.commit(txn(Vec::new())).await, Err(CommitError::Closed)));
}

#[tokio::test]
async fn a_fork_goes_on_from_its_snapshot_and_leaves_the_store_as_it_is() {
    on_both(async |dir| {
        let store = open_at(dir, |_| {}).await;
        let (a, b) = (key("a", "ns", "x"), key("b", "", "y"));
        let writes = vec![put(&a, "1", Expect::Absent), put(&b, "1", Expect::Absent)];
        store.commit(txn(writes)).await.expect("commits");
        // The file may grow by itself, when what was written ahead is moved into it.
        let records = || (store.size().history_bytes, store.size().record_bytes);
        let before = records();
        let fork = Store::fork(&store.snapshot(), Arc::new(ManualClock::default()));
        let mut changes = fork.changes(ChangeFilter::default(), fork.revision());
        let known = Expect::Revision(Revision(1));
        let writes = vec![put(&a, "2", known), Write::Delete { key: b.clone(), expect: known }];
        let refused = fork.commit(txn(writes.clone())).await;
        assert!(matches!(refused, Err(CommitError::Conflict(Conflict::Key { .. }))));
        let writes =
            vec![put(&a, "2", known), Write::Delete { key: b.clone(), expect: Expect::Any }];
        let committed = fork.commit(txn(writes)).await.expect("commits");
        assert_eq!(committed.revision, Revision(4));
        let batch = changes.next().await.expect("changes");
        let kinds: Vec<ChangeKind> = batch.changes.iter().map(|change| change.kind).collect();
        assert_eq!(kinds, [ChangeKind::Updated, ChangeKind::Deleted]);
        assert_eq!(fork.snapshot().get(&a).map(|object| data(&object)), Some("2".to_owned()));
        let below = fork.changes(ChangeFilter::default(), Revision(0)).try_next();
        assert!(matches!(below, Err(ChangesError::Expired { oldest: Revision(2) })));

        assert_eq!((store.revision(), records()), (Revision(2), before));
        assert_eq!(store.snapshot().get(&a).map(|object| data(&object)), Some("1".to_owned()));
        assert!(store.snapshot().get(&b).is_some());
    })
    .await;
}
