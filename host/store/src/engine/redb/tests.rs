//! The redb engine on a failing disk, on damaged files and in a second process.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::failing::Disk;
use super::tables::META;
use super::*;
use crate::change::ChangeKind;
use crate::engine::conformance::{EVERYTHING, entry, revisions, story};
use crate::record::{self, FORMAT};

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

#[test]
fn a_failed_read_does_not_end_the_reading_of_history() {
    let disk = Disk { uncached: true, ..Disk::default() };
    *disk.bytes() = sample().0;
    let engine = disk.engine();
    disk.reads_fail.store(1, Ordering::SeqCst);
    let refused = engine.record(Revision(100));
    assert!(matches!(refused, Err(EngineError::Io(_))), "{refused:?}");
    assert!(engine.record(Revision(100)).expect("the disk works again").is_some());
    assert_eq!(revisions(&engine, 0).len(), 200);
}

/// A file of which so many reads of pages come back damaged.
#[derive(Debug)]
struct Flaky {
    file: std::fs::File,
    flips: Arc<AtomicU64>,
}

impl crate::disk::DiskFile for Flaky {
    fn length(&self) -> std::io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> std::io::Result<()> {
        crate::disk::DiskFile::read_at(&self.file, at, out)?;
        let less = |left: u64| left.checked_sub(1);
        if self.flips.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            out[50] ^= 1;
        }
        Ok(())
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        crate::disk::DiskFile::write_at(&self.file, at, bytes)
    }

    fn set_length(&self, length: u64) -> std::io::Result<()> {
        self.file.set_length(length)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.file.sync()
    }

    fn try_lock(&self) -> std::io::Result<bool> {
        Ok(true)
    }
}

#[test]
fn a_damaged_page_of_history_ends_neither_other_reads_nor_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = crate::disk::Directory::open(dir.path()).expect("opens");
    RedbEngine::make(&disk, 7).expect("makes");
    let (path, flips) = (dir.path().join(FILE), Arc::<AtomicU64>::default());
    let (held, flipping) = (Arc::<pages::Held>::default(), Arc::clone(&flips));
    let holding = Arc::clone(&held);
    // redb keeps no page in memory: each is read again.
    let opener = move || {
        let file = std::fs::File::options().read(true).write(true).open(&path);
        let file = Flaky { file: file.expect("there"), flips: Arc::clone(&flipping) };
        let pages = pages::Pages::open(Arc::new(file), &holding)?;
        let mut builder = Database::builder();
        let opened = builder.set_cache_size(0).create_with_backend(pages).map_err(open_error)?;
        holding.end_repairs();
        Ok(opened)
    };
    let engine = RedbEngine::with_opener(Box::new(opener), Box::new(|| 0));
    let mut engine = engine.expect("opens");
    engine.held = held;
    let made = |n| entry(n, &format!("object-{n}"), ChangeKind::Created, 0, 1);
    engine.persist(&(1..=200).map(made).collect::<Vec<_>>()).expect("persists");
    let budget = Budget { bytes_max: 0, aged: Revision(0), steps_max: 1 };
    for n in 201..204 {
        flips.store(1, Ordering::SeqCst);
        let refused = engine.record(Revision(100));
        assert!(matches!(refused, Err(EngineError::Corrupt(_))), "{refused:?}");
        engine.persist(&[made(n)]).expect("persists");
        flips.store(1, Ordering::SeqCst);
        assert!(matches!(engine.compact(budget), Err(EngineError::Corrupt(_))));
        assert!(engine.record(Revision(n)).expect("reads").is_some());
    }
    // Writing does not go on over what it has to read itself.
    flips.store(1, Ordering::SeqCst);
    assert!(matches!(engine.persist(&[made(204)]), Err(EngineError::Corrupt(_))));
    assert!(engine.persist(&[made(204)]).is_err());
}

#[test]
fn a_step_of_compaction_counts_before_anybody_misses_what_it_removes() {
    let disk = Disk::default();
    let engine = Arc::new(disk.engine());
    engine.persist(&story()).expect("persists");
    let (at_sync, seen) = (Arc::downgrade(&engine), Arc::<Mutex<Vec<Revision>>>::default());
    let noted = Arc::clone(&seen);
    let note = move || {
        let oldest = at_sync.upgrade().map(|engine| engine.oldest());
        noted.lock().expect("not poisoned").extend(oldest);
    };
    disk.at_sync.lock().expect("not poisoned").0 = Some(Box::new(note));
    let budget = Budget { bytes_max: 0, aged: Revision(0), steps_max: 3 };
    assert_eq!(engine.compact(budget).expect("compacts").oldest, Revision(3));
    disk.at_sync.lock().expect("not poisoned").0 = None;
    let seen = seen.lock().expect("not poisoned");
    assert!(!seen.is_empty() && seen.iter().all(|oldest| *oldest == Revision(3)), "{seen:?}");
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
