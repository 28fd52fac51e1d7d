//! What every engine must do: one suite, run over all of them.

use std::path::Path;
use std::sync::Arc;

use super::memory::MemoryEngine;
use super::redb::RedbEngine;
use super::*;
use crate::change::ChangeKind;
use crate::disk::{Directory, Disk};
use crate::key::Key;
use crate::record::{self, Envelope};
use quadrille_object::{GroupResource, Timestamp};

/// One change for an engine; `at` is its time, each record a few hundred bytes.
pub(crate) fn entry(revision: u64, name: &str, kind: ChangeKind, previous: u64, at: i64) -> Entry {
    let envelope = Envelope {
        kind,
        txn: (Revision(revision), Revision(revision)),
        at: Timestamp(at),
        previous: Revision(previous),
        key: Key::new(GroupResource::new("g", "things"), "ns", name),
    };
    padded(revision, &envelope, 300)
}

/// An update of `large` with a value of that many bytes.
pub(crate) fn large_entry(revision: u64, bytes: usize) -> Entry {
    let envelope = Envelope {
        kind: ChangeKind::Updated,
        txn: (Revision(revision), Revision(revision)),
        at: Timestamp(0),
        previous: Revision(revision - 1),
        key: Key::new(GroupResource::new("g", "things"), "ns", "large"),
    };
    padded(revision, &envelope, bytes)
}

fn padded(revision: u64, envelope: &Envelope, bytes: usize) -> Entry {
    let pad = "0".repeat(bytes);
    let value = format!(r#"{{"metadata":{{"resourceVersion":"{revision}"}},"pad":"{pad}"}}"#);
    let record = record::encode(Revision(revision), envelope, b"{}", value.as_bytes());
    let (index_key, live) =
        (record::index_key(&envelope.key), envelope.kind != ChangeKind::Deleted);
    Entry { revision: Revision(revision), index_key, live, record }
}

/// A history in which `a` is updated, `b` deleted and made again, `c` deleted.
pub(crate) fn story() -> Vec<Entry> {
    use ChangeKind::{Created, Deleted, Updated};
    vec![
        entry(1, "a", Created, 0, 1),
        entry(2, "b", Created, 0, 2),
        entry(3, "a", Updated, 1, 3),
        entry(4, "b", Deleted, 2, 4),
        entry(5, "c", Created, 0, 5),
        entry(6, "c", Deleted, 5, 6),
        entry(7, "b", Created, 4, 7),
    ]
}

pub(crate) const EVERYTHING: ReadLimit =
    ReadLimit { through: Revision(u64::MAX - 1), records_max: usize::MAX, bytes_max: usize::MAX };

pub(crate) fn revisions(engine: &dyn Engine, after: u64) -> Vec<u64> {
    let (mut after, mut found) = (Revision(after), Vec::new());
    loop {
        let records = engine.read(after, EVERYTHING).expect("reads");
        let Some((last, _)) = records.last() else { return found };
        after = *last;
        found.extend(records.iter().map(|(revision, _)| revision.0));
    }
}

fn live(loaded: &Loaded) -> Vec<u64> {
    loaded.live.iter().map(|(revision, _)| revision.0).collect()
}

fn disk(dir: &Path) -> Arc<dyn Disk> {
    Arc::new(Directory::open(dir).expect("a directory"))
}

/// The engine without a log, made where there is none.
pub(crate) fn redb(dir: &Path) -> RedbEngine {
    let disk = disk(dir);
    if disk.length(redb::FILE).expect("readable").is_none() {
        RedbEngine::make(disk.as_ref(), 7).expect("makes");
    }
    RedbEngine::open(&disk).expect("opens")
}

/// Runs a claim over every engine; `reopen` gives the engine as it is after a restart.
fn on_all(claim: impl Fn(&mut dyn FnMut(Option<Box<dyn Engine>>) -> Box<dyn Engine>)) {
    claim(&mut |before| before.unwrap_or_else(|| Box::new(MemoryEngine::default())));
    let dir = tempfile::tempdir().expect("a directory");
    claim(&mut |before| {
        drop(before);
        Box::new(redb(dir.path()))
    });
    let dir = tempfile::tempdir().expect("a directory");
    claim(&mut |before| {
        drop(before);
        Box::new(files::open_or_make(&disk(dir.path()), || 7).expect("opens"))
    });
}

#[test]
fn what_was_persisted_is_read_and_loaded() {
    on_all(|reopen| {
        let mut engine = reopen(None);
        for batch in story().chunks(2) {
            engine.persist(batch).expect("persists");
        }
        for _ in 0..2 {
            assert_eq!(revisions(engine.as_ref(), 0), [1, 2, 3, 4, 5, 6, 7]);
            assert_eq!(revisions(engine.as_ref(), 5), [6, 7]);
            let loaded = engine.load().expect("loads");
            assert_eq!((live(&loaded), loaded.newest), (vec![3, 7], Revision(7)));
            assert_eq!(loaded.graves.len(), 1);
            for wanted in story() {
                let record = engine.record(wanted.revision).expect("reads");
                assert_eq!(record, Some(wanted.record));
            }
            let deleted = IndexEntry { revision: Revision(6), live: false };
            assert_eq!(engine.index(&story()[5].index_key).expect("reads"), Some(deleted));
            assert_eq!(engine.index(b"no").expect("reads"), None);
            assert_eq!(engine.record(Revision(8)).expect("reads"), None);
            engine = reopen(Some(engine));
        }
    });
}

#[test]
fn reads_stop_at_their_limits() {
    on_all(|reopen| {
        let engine = reopen(None);
        engine.persist(&story()).expect("persists");
        let read = |after, limit| engine.read(Revision(after), limit).expect("reads").len();
        assert_eq!(read(0, ReadLimit { records_max: 3, ..EVERYTHING }), 3);
        assert_eq!(read(0, ReadLimit { through: Revision(2), ..EVERYTHING }), 2);
        assert_eq!(read(2, ReadLimit { through: Revision(2), ..EVERYTHING }), 0);
        assert_eq!(read(0, ReadLimit { bytes_max: 1, ..EVERYTHING }), 1);
        assert_eq!(read(0, ReadLimit { bytes_max: 1000, ..EVERYTHING }), 2);
    });
}

#[test]
fn compaction_keeps_what_lives_and_forgets_the_rest() {
    on_all(|reopen| {
        let mut engine = reopen(None);
        engine.persist(&story()).expect("persists");
        engine.checkpoint().expect("checkpoints");
        let old = Budget { bytes_max: u64::MAX, aged: Revision(3), steps_max: 100 };
        let done = engine.compact(old).expect("compacts");
        assert_eq!((done.oldest, done.more), (Revision(3), false));
        // The state before each change that is still in the history stays.
        assert_eq!(revisions(engine.as_ref(), 0), [2, 3, 4, 5, 6, 7]);
        let step = Budget { bytes_max: 0, aged: Revision(0), steps_max: 1 };
        let done = engine.compact(step).expect("compacts");
        assert_eq!((done.oldest, done.more), (Revision(4), true));
        let done = engine.compact(Budget { steps_max: 100, ..step }).expect("compacts");
        assert_eq!((done.oldest, done.more), (Revision(7), false));
        assert_eq!(done.buried, [(story()[5].index_key.clone(), Revision(6))]);
        let size = engine.size();
        let kept: usize = [2, 6].iter().map(|n: &usize| story()[*n].record.len()).sum();
        assert_eq!((size.history_bytes, size.record_bytes), (0, kept as u64));
        engine.shrink().expect("shrinks");
        for _ in 0..2 {
            let loaded = engine.load().expect("loads");
            assert_eq!((live(&loaded), loaded.oldest), (vec![3, 7], Revision(7)));
            assert_eq!(loaded.graves, []);
            assert_eq!(engine.index(&story()[5].index_key).expect("reads"), None);
            engine = reopen(Some(engine));
        }
    });
}
