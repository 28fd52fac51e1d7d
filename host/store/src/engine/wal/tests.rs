//! Torn tails, failing flushes and damage in the write-ahead log.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::*;
use crate::change::ChangeKind;
use crate::engine::conformance::{entry, large_entry, redb, revisions, story};
use crate::engine::redb::failing;

/// Files in memory that can be copied, torn and told to fail.
#[derive(Clone, Debug, Default)]
struct Files(Arc<Mutex<Inside>>);

#[derive(Clone, Debug, Default)]
struct Inside {
    files: BTreeMap<u64, Vec<u8>>,
    sync_fails: bool,
    /// Bytes of the next write that get through.
    write_cut: Option<usize>,
}

impl Files {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("not poisoned")
    }

    fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }
}

#[derive(Debug)]
struct OpenFile(Files, u64);

impl Medium for Files {
    fn read(&self, file: u64) -> io::Result<Vec<u8>> {
        Ok(self.lock().files.get(&file).cloned().unwrap_or_default())
    }

    fn open(&self, file: u64) -> io::Result<Box<dyn Segment>> {
        let size = usize::try_from(SEGMENT_BYTES).expect("fits");
        self.lock().files.entry(file).or_insert_with(|| vec![0; size]);
        Ok(Box::new(OpenFile(self.clone(), file)))
    }
}

impl Segment for OpenFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut inside = self.0.lock();
        let cut = inside.write_cut.take();
        let bytes = &bytes[..cut.unwrap_or(bytes.len()).min(bytes.len())];
        let at = usize::try_from(at).expect("fits");
        let file = inside.files.get_mut(&self.1).expect("opened");
        file[at..at + bytes.len()].copy_from_slice(bytes);
        cut.map_or(Ok(()), |_| Err(io::ErrorKind::StorageFull.into()))
    }

    fn sync(&self) -> io::Result<()> {
        if self.0.lock().sync_fails {
            return Err(io::Error::other("the disk fails"));
        }
        Ok(())
    }
}

fn open(dir: &Path, files: &Files) -> Result<WalEngine, EngineError> {
    WalEngine::open(redb(dir), Box::new(files.clone()))
}

/// An engine that was killed: its files as they are, nothing checkpointed.
fn crashed(dir: &Path, files: &Files) -> WalEngine {
    open(dir, &files.copy()).expect("opens")
}

#[test]
fn a_tail_torn_at_any_byte_loses_only_what_was_not_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = Files::default();
    let engine = open(dir.path(), &files).expect("opens");
    engine.persist(&story()[..2]).expect("persists");
    let before = files.lock().files.clone();
    // More than a block, so that tears inside and between blocks are both met.
    let long: Vec<_> = (3..20).map(|n| entry(n, "x", ChangeKind::Updated, n - 1, 1)).collect();
    engine.persist(&long).expect("persists");
    let after = files.lock().files.clone();
    let (at, bytes) = after.iter().find(|(at, bytes)| before[at] != **bytes).expect("changed");
    let differs = |n: &usize| bytes[*n] != before[at][*n];
    let first = (0..bytes.len()).find(differs).expect("changed");
    let last = (0..bytes.len()).rfind(differs).expect("changed");
    let end = (last + 1).next_multiple_of(frame::BLOCK_BYTES);
    for cut in first..=last + 1 {
        let mut torn = before[at][..end].to_vec();
        torn[first..cut].copy_from_slice(&bytes[first..cut]);
        let frames = frame::find_all(7, &torn).expect("no error");
        let whole = follow(frames, Revision(0)).expect("no gap");
        let end = whole.last().map(Frame::last);
        assert_eq!(end, Some(Revision(if cut > last { 19 } else { 2 })), "cut at {cut}");
    }
}

#[test]
fn a_killed_engine_replays_its_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = Files::default();
    let engine = open(dir.path(), &files).expect("opens");
    for batch in story().chunks(2) {
        engine.persist(batch).expect("persists");
    }
    drop(engine);
    for _ in 0..2 {
        let engine = crashed(dir.path(), &files);
        assert_eq!(revisions(&engine, 0), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(engine.load().expect("whole").newest, Revision(7));
    }
}

#[test]
fn a_damaged_frame_before_another_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = Files::default();
    let engine = open(dir.path(), &files).expect("opens");
    for batch in story().chunks(2) {
        engine.persist(batch).expect("persists");
    }
    drop(engine);
    for byte in (0..2 * frame::BLOCK_BYTES).step_by(97) {
        let damaged = files.copy();
        let used = damaged.lock().files.iter().find(|(_, f)| f[0] != 0).map(|(at, _)| *at);
        let at = used.expect("written");
        damaged.lock().files.get_mut(&at).expect("there")[byte] ^= 0x10;
        match open(dir.path(), &damaged) {
            // Damage in the padding of a frame changes nothing.
            Ok(engine) => {
                assert_eq!(revisions(&engine, 0), [1, 2, 3, 4, 5, 6, 7], "byte {byte}");
                break;
            }
            Err(error) => assert!(matches!(error, EngineError::Corrupt(_)), "{error}"),
        }
    }
}

#[test]
fn a_batch_refused_by_a_failed_flush_never_appears() {
    for torn in [None, Some(0), Some(100), Some(4096), Some(1 << 20)] {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::default();
        let engine = open(dir.path(), &files).expect("opens");
        engine.persist(&story()[..3]).expect("persists");
        match torn {
            None => files.lock().sync_fails = true,
            Some(_) => files.lock().write_cut = torn,
        }
        for _ in 0..3 {
            let refused = engine.persist(&story()[3..]);
            assert!(matches!(refused, Err(EngineError::Io(_))));
            if torn.is_some() {
                break;
            }
        }
        files.lock().sync_fails = false;
        assert_eq!(revisions(&engine, 0), [1, 2, 3]);
        let other = entry(4, "b", ChangeKind::Updated, 2, 9);
        engine.persist(std::slice::from_ref(&other)).expect("works again");
        drop(engine);
        let engine = crashed(dir.path(), &files);
        assert_eq!(revisions(&engine, 0), [1, 2, 3, 4], "torn {torn:?}");
        assert_eq!(engine.record(Revision(4)).expect("reads"), Some(other.record));
    }
}

#[test]
fn a_probe_tells_when_the_log_works_again_and_voids_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = Files::default();
    let engine = open(dir.path(), &files).expect("opens");
    engine.persist(&story()[..3]).expect("persists");
    engine.probe().expect("all is well");
    files.lock().sync_fails = true;
    assert!(engine.persist(&story()[3..4]).is_err());
    assert!(engine.probe().is_err(), "the disk still fails");
    files.lock().sync_fails = false;
    engine.probe().expect("works again");
    let other = entry(4, "b", ChangeKind::Updated, 2, 9);
    engine.persist(std::slice::from_ref(&other)).expect("works");
    engine.probe().expect("all is well");
    drop(engine);
    let engine = crashed(dir.path(), &files);
    assert_eq!(revisions(&engine, 0), [1, 2, 3, 4]);
    assert_eq!(engine.record(Revision(4)).expect("reads"), Some(other.record));
}

#[test]
fn segments_are_used_in_turn_and_checkpointed_before_they_are_overwritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = Files::default();
    let engine = open(dir.path(), &files).expect("opens");
    let newest = 160;
    for n in 1..=newest {
        engine.persist(&[large_entry(n, 512 * 1024)]).expect("persists");
    }
    let ahead = newest - engine.below.state().newest.0;
    assert!(ahead > 0, "checkpoints happen only when they must");
    drop(engine);
    let engine = crashed(dir.path(), &files);
    assert_eq!(engine.load().expect("whole").newest, Revision(newest));
    assert_eq!(revisions(&engine, newest - 5).len(), 5);
}

#[test]
fn a_replay_that_is_interrupted_is_finished_by_the_next_start() {
    let (disk, files) = (failing::Disk::default(), Files::default());
    let engine = WalEngine::open(disk.engine(), Box::new(files.clone())).expect("opens");
    // More than is moved below at once, in frames whose borders lie nowhere in particular.
    let entries: Vec<_> = (1..=5000).map(|n| large_entry(n, 2600)).collect();
    entries.chunks(3).for_each(|batch| engine.persist(batch).expect("persists"));
    let (killed, log) = (disk.copy(), files.copy());
    for interrupted_at in (1..).step_by(3) {
        let (disk, log) = (killed.copy(), log.copy());
        let below = disk.engine();
        disk.sync_fails_after.store(interrupted_at, Ordering::SeqCst);
        let first = WalEngine::open(below, Box::new(log.clone()));
        disk.sync_fails_after.store(0, Ordering::SeqCst);
        let whole = first.is_ok();
        drop(first);
        let second = WalEngine::open(disk.engine(), Box::new(log));
        let engine = second.unwrap_or_else(|e| panic!("interrupted at {interrupted_at}: {e}"));
        assert_eq!(engine.below.state().newest, Revision(5000), "at {interrupted_at}");
        if whole {
            assert!(interrupted_at > 4, "it takes more than one step");
            break;
        }
    }
}

#[test]
fn a_batch_refused_below_the_log_never_takes_the_place_of_a_later_one() {
    for syncs in 1.. {
        let (disk, files) = (failing::Disk::default(), Files::default());
        let engine = WalEngine::open(disk.engine(), Box::new(files.clone())).expect("opens");
        engine.persist(&[1, 2, 3].map(|n| large_entry(n, 100))).expect("persists");
        engine.checkpoint().expect("checkpoints");
        disk.sync_fails_after.store(syncs, Ordering::SeqCst);
        // Too large for the log.
        let large = engine.persist(&[large_entry(4, 9 << 20), large_entry(5, 9 << 20)]);
        disk.sync_fails_after.store(0, Ordering::SeqCst);
        if large.is_ok() {
            assert!(syncs > 1, "some flush failed");
            break;
        }
        let other = large_entry(4, 100);
        engine.persist(std::slice::from_ref(&other)).expect("works again");
        // Killed here: what is on the disk is all that is left.
        let killed = WalEngine::open(disk.copy().engine(), Box::new(files.copy()));
        let killed = killed.expect("opens");
        assert_eq!(killed.below.state().newest, Revision(4), "flush {syncs}");
        assert_eq!(killed.record(Revision(4)).expect("reads"), Some(other.record));
    }
}

#[test]
fn a_checkpoint_ends_however_much_is_written_meanwhile() {
    let (disk, files) = (failing::Disk::default(), Files::default());
    let engine = WalEngine::open(disk.engine(), Box::new(files)).expect("opens");
    let engine = Arc::new(engine);
    engine.persist(&story()[..3]).expect("persists");
    let (writing, mut next) = (Arc::downgrade(&engine), 4);
    let write = move || {
        let Some(engine) = writing.upgrade().filter(|_| next < 500) else { return };
        engine.persist(&[entry(next, "a", ChangeKind::Updated, 0, 9)]).expect("persists");
        next += 1;
    };
    disk.at_sync.lock().expect("not poisoned").0 = Some(Box::new(write));
    engine.checkpoint().expect("checkpoints");
    let below = engine.below.state().newest;
    assert_eq!(below, Revision(3), "what came meanwhile is for the next one");
    engine.checkpoint().expect("checkpoints");
    assert!(engine.below.state().newest > below, "which moves it");
    disk.at_sync.lock().expect("not poisoned").0 = None;
    engine.checkpoint().expect("checkpoints");
    assert!(engine.ahead().is_empty());
}

#[test]
fn what_a_checkpoint_moves_counts_once_while_it_is_ahead_and_below() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = open(dir.path(), &Files::default()).expect("opens");
    engine.persist(&story()[..3]).expect("persists");
    engine.persist(&story()[3..]).expect("persists");
    let records = |engine: &WalEngine| (engine.size().history_bytes, engine.size().record_bytes);
    let before = records(&engine);
    // Where a checkpoint is between its two steps.
    engine.below.persist(&story()[..3]).expect("persists");
    assert_eq!(records(&engine), before);
    engine.ahead.write().expect("not poisoned").drain(..1);
    assert_eq!(records(&engine), before);
    engine.checkpoint().expect("checkpoints");
    assert_eq!(records(&engine), before);
}
