//! A repair, with somebody else at the same store.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use super::salvage::repair_on;
use super::*;
use crate::change::ChangeKind;
use crate::disk::DiskFile;
use crate::engine::conformance::{entry, story};
use crate::engine::redb::FILE;

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
