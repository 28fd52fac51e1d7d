//! A repair, with somebody else at the same store.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use super::known::Known;
use super::salvage::{Found, Repaired, decide, repair_on};
use super::*;
use crate::change::ChangeKind;
use crate::disk::DiskFile;
use crate::engine::conformance::{entry, story};
use crate::engine::redb::FILE;
use crate::engine::state::State;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

/// A disk on which somebody else tries to take the store each time that its engine's file is opened.
#[derive(Debug)]
struct Contested {
    disk: Arc<dyn Disk>,
    tried: Mutex<Vec<Result<(), EngineError>>>,
}

impl Disk for Contested {
    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        self.disk.length(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if name == FILE {
            let taken = files::hold(self.disk.as_ref()).map(drop);
            self.tried.lock().expect("whole").push(taken);
        }
        self.disk.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }
}

/// A store with some changes, whose first block is damaged.
fn damaged(at: &Path) -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(Directory::open_or_make(at).expect("made"));
    let engine = files::open_or_make(&disk, || 1).expect("opens");
    engine.persist(&story()).expect("persists");
    drop(engine);
    disk.open(FILE).and_then(|file| file.write_at(8, b"X")).expect("written");
    disk
}

#[test]
fn nobody_opens_a_store_while_it_is_repaired() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("store");
    let disk = damaged(&at);
    let contested = Arc::new(Contested { disk, tried: Mutex::default() });
    let on: Arc<dyn Disk> = Arc::clone(&contested) as _;
    repair_on(&on, &at, NOW).expect("repairs");
    let tried = contested.tried.lock().expect("whole");
    assert!(tried.len() >= 2, "it looks, and then it saves");
    assert!(tried.iter().all(|tried| *tried == Err(EngineError::InUse)), "{tried:?}");
}

#[test]
fn a_store_that_somebody_has_is_not_repaired() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("store");
    let disk = damaged(&at);
    let held = files::hold(disk.as_ref()).expect("it is free");
    let refused = repair(&at, NOW);
    assert!(matches!(refused, Err(CareError::Open(OpenError::InUse { .. }))), "{refused:?}");
    drop(held);
    // An earlier version has the engine's file alone.
    let file = disk.open(FILE).expect("there");
    file.write_at(8, &[1]).expect("written");
    assert!(file.try_lock().expect("locks"));
    let refused = repair(&at, NOW);
    assert!(matches!(refused, Err(CareError::Open(OpenError::InUse { .. }))), "{refused:?}");
}

/// What is found in pages that have these changes, and bookkeeping that counts those of them that are named.
fn found(entries: &[Entry], counted: &[usize], oldest: Revision) -> Found {
    let mut found = Found::default();
    let mut state = State { newest: Revision(9), oldest, ..State::default() };
    for (n, entry) in entries.iter().enumerate() {
        let (indexed, sum) = entry.indexed().encode(&entry.index_key);
        found.take((&entry.index_key, &indexed));
        found.take((&entry.revision.0.to_le_bytes(), &entry.record));
        if counted.contains(&n) {
            state.keys += 1;
            state.fingerprint ^= sum;
        }
    }
    found.take((b"state", &state.encode()));
    found
}

#[test]
fn what_nothing_vouches_for_is_told_as_unsure() {
    let kept = entry(1, "kept", ChangeKind::Created, 0, 1);
    let changes = [kept, entry(2, "deleted-since", ChangeKind::Created, 0, 2)];
    let unsure = |found: &Found| {
        let mut done = Repaired::default();
        let kept = decide(Known::of_pages(found).as_ref(), found, &mut done);
        (kept.len(), done.unsure, done.older + done.lost)
    };
    assert_eq!(unsure(&found(&changes, &[0, 1], Revision(5))), (2, 0, 0), "all are counted");
    assert_eq!(unsure(&found(&changes, &[0], Revision(5))), (2, 2, 0), "one of them was deleted");
    // Its deletion is found in a freed page: the history has passed it, or it has to be counted.
    let passed = [changes[0].clone(), entry(3, "deleted", ChangeKind::Deleted, 2, 2)];
    assert_eq!(unsure(&found(&passed, &[0], Revision(5))), (1, 0, 0));
    assert_eq!(unsure(&found(&passed, &[0], Revision(2))), (1, 1, 0));
    // Bookkeeping that a later record outdates vouches for nothing.
    let later = [changes[0].clone(), entry(10, "kept", ChangeKind::Updated, 1, 3)];
    assert_eq!(unsure(&found(&later, &[1], Revision(5))), (1, 1, 0));
}
