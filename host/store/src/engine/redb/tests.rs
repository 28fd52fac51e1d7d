//! The redb engine on a failing disk, on damaged files and in a second process.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::tables::META;
use super::*;
use crate::change::ChangeKind;
use crate::engine::conformance::{EVERYTHING, entry, revisions, story};
use crate::record::{self, FORMAT};

/// A disk in memory that can be told to fail, shared by every opening of the "file". What was written and
/// not synced is kept, as a page cache would: the hard case, in which a refused batch reaches the file.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
    sync_fails_after: Arc<AtomicU64>,
}

impl Disk {
    fn check_space(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().expect("not poisoned")
    }

    fn engine(&self) -> RedbEngine {
        if self.bytes().is_empty() {
            let made = Database::builder().create_with_backend(self.clone()).expect("is made");
            begin(&made, 7).expect("begins");
        }
        self.open().expect("opens")
    }

    fn open(&self) -> Result<RedbEngine, EngineError> {
        let disk = self.clone();
        let opener =
            move || Database::builder().create_with_backend(disk.clone()).map_err(open_error);
        RedbEngine::with_opener(Box::new(opener), Box::new(|| 0))
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = self.bytes();
        let found = bytes.get(at..at + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_space()?;
        self.bytes().resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_space()?;
        match self.sync_fails_after.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 => Err(io::Error::other("the disk fails")),
            left => {
                self.sync_fails_after.store(left - 1, Ordering::SeqCst);
                Ok(())
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_space()?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let mut bytes = self.bytes();
        let place = bytes.get_mut(at..at + data.len()).ok_or(ErrorKind::UnexpectedEof)?;
        place.copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn a_full_disk_refuses_and_service_resumes() {
    let disk = Disk::default();
    let engine = disk.engine();
    engine.persist(&story()[..3]).expect("persists");
    disk.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(engine.persist(&story()[3..]), Err(EngineError::Io(_))));
    }
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(revisions(&engine, 0), [1, 2, 3]);
    engine.persist(&story()[3..]).expect("persists again");
    drop(engine);
    assert_eq!(revisions(&disk.engine(), 0), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_batch_refused_by_a_failed_sync_never_appears() {
    for syncs in 1..8 {
        let disk = Disk::default();
        let engine = disk.engine();
        engine.persist(&story()[..3]).expect("persists");
        let before = engine.load().expect("loads");
        disk.sync_fails_after.store(syncs, Ordering::SeqCst);
        let outcome = engine.persist(&story()[3..]);
        disk.sync_fails_after.store(0, Ordering::SeqCst);
        if outcome.is_ok() {
            continue;
        }
        let after = engine.load().expect("opens again");
        assert_eq!((after.newest, &after.live), (before.newest, &before.live), "sync {syncs}");
        assert_eq!(revisions(&engine, 0), [1, 2, 3]);
        let other = entry(4, "b", ChangeKind::Updated, 2, 9);
        engine.persist(std::slice::from_ref(&other)).expect("persists");
        drop(engine);
        let engine = disk.engine();
        assert_eq!(engine.record(Revision(4)).expect("reads"), Some(other.record));
        assert_eq!(engine.load().expect("whole").newest, Revision(4));
    }
}

#[test]
fn a_newer_format_is_refused() {
    let disk = Disk::default();
    drop(disk.engine());
    let database = Database::builder().create_with_backend(disk.clone()).expect("opens");
    let txn = database.begin_write().expect("begins");
    let newer = (FORMAT + 1).to_le_bytes();
    txn.open_table(META).expect("there").insert("format", &newer[..]).expect("writes");
    txn.commit().expect("commits");
    drop(database);
    assert_eq!(disk.open().err(), Some(EngineError::Newer { found: FORMAT + 1, known: FORMAT }));
}

/// A file with a few hundred changes, and what it holds.
fn sample() -> (Vec<u8>, Vec<(Revision, Bytes)>) {
    let disk = Disk::default();
    let engine = disk.engine();
    let names: Vec<_> = (0..200).map(|n| format!("object-{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let made = entry(n as u64 + 1, name, ChangeKind::Created, 0, 1);
        engine.persist(&[made]).expect("persists");
    }
    let records = engine.read(Revision(0), EVERYTHING).expect("reads");
    drop(engine);
    let bytes = disk.bytes().clone();
    (bytes, records)
}

#[test]
fn damage_is_told_and_never_served() {
    let (bytes, records) = sample();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    });
    let used = bytes.iter().rposition(|b| *b != 0).expect("not empty");
    let place = (prop_oneof![1 => 0..4096_usize, 4 => 0..used], 0..8_u32, 1..64_usize);
    let outcome = runner.run(&place, |(at, bit, length)| {
        let disk = Disk::default();
        let mut damaged = bytes.clone();
        damaged[at..(at + length).min(used)].iter_mut().for_each(|byte| *byte ^= 1 << bit);
        *disk.bytes() = damaged;
        let Ok(engine) = disk.open() else { return Ok(()) };
        let loaded = engine.load();
        // Closing a file whose free lists are damaged can end the process; see the module.
        engine.damaged.store(true, Ordering::SeqCst);
        let Ok(loaded) = loaded else { return Ok(()) };
        let newest = usize::try_from(loaded.newest.0).expect("small");
        // The header may choose the commit before the last, which the log above repeats or refuses.
        prop_assert!(newest == records.len() || newest + 1 == records.len(), "{}", newest);
        prop_assert_eq!(loaded.live.len(), newest);
        for (revision, bytes) in loaded.live {
            if record::decode(revision, &bytes).is_ok() {
                let wanted = &records[usize::try_from(revision.0).expect("small") - 1];
                prop_assert_eq!(&(revision, bytes), wanted);
            }
        }
        Ok(())
    });
    outcome.expect("no damage is served");
}
