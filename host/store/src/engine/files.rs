//! The files of a store on its disk: opened, or made where there are none.
//!
//! A store begins with its log, all of it allocated, and then its engine's file, which gets its name when it is whole. From
//! there on all of them have to be there: one that is missing, short or foreign is told, and never begun anew.

use std::sync::Arc;

use super::EngineError;
use super::redb::{FILE, RedbEngine};
use super::wal::WalEngine;
use super::wal::medium::OnDisk;
use crate::disk::{Disk, DiskFile};

/// The name of an empty file that stays. Whoever has the store holds the lock on it, from before the first look at the
/// other files until the engine is closed: the engine's own lock lies on a file that is yet to be made, and is let go while
/// it is opened again after an error.
const LOCK: &str = "store.lock";

/// Opens what is there; makes a store, which `id` names, where nothing is.
pub(crate) fn open_or_make(
    disk: &Arc<dyn Disk>,
    id: impl FnOnce() -> u64,
) -> Result<WalEngine, EngineError> {
    let lock = lock(disk.as_ref());
    if disk.length(FILE).map_err(EngineError::of_disk)?.is_none() {
        // Two that found nothing would make a store each, and the second would replace the first one's.
        lock.as_ref().map_err(Clone::clone)?;
        if OnDisk::is_used(disk.as_ref()).map_err(EngineError::of_disk)? {
            return Err(EngineError::Corrupt(format!(
                "{FILE} is missing, and its log is still there"
            )));
        }
        make(disk.as_ref(), id())?;
    }
    let lock = or_without(lock)?;
    // When it was made and then not flushed, its name is seen and would be gone after a power cut, with all in it.
    disk.sync_names().map_err(EngineError::of_disk)?;
    open_locked(disk, lock)
}

/// Opens a store that exists.
pub(crate) fn open(disk: &Arc<dyn Disk>) -> Result<WalEngine, EngineError> {
    open_locked(disk, hold(disk.as_ref())?)
}

/// Takes a store for its holder; `None` where its file can be neither opened nor made.
pub(crate) fn hold(disk: &dyn Disk) -> Result<Option<Arc<dyn DiskFile>>, EngineError> {
    or_without(lock(disk))
}

/// Opens a store that exists and that its caller has taken.
pub(crate) fn open_locked(
    disk: &Arc<dyn Disk>,
    lock: Option<Arc<dyn DiskFile>>,
) -> Result<WalEngine, EngineError> {
    let below = RedbEngine::open(disk).map_err(|error| match error {
        EngineError::Corrupt(what) => EngineError::Corrupt(format!("{FILE}: {what}")),
        other @ (EngineError::Io(_) | EngineError::InUse | EngineError::Newer { .. }) => other,
    })?;
    let engine = WalEngine::open(below, Box::new(OnDisk(Arc::clone(disk))))?;
    Ok(engine.holding(lock))
}

/// Makes an empty store.
pub(crate) fn make(disk: &dyn Disk, id: u64) -> Result<(), EngineError> {
    OnDisk::make(disk).map_err(EngineError::of_disk)?;
    RedbEngine::make(disk, id)
}

/// The lock on a store; its file is made where an earlier version left none.
fn lock(disk: &dyn Disk) -> Result<Arc<dyn DiskFile>, EngineError> {
    let file = match disk.length(LOCK).map_err(EngineError::of_disk)? {
        Some(_) => disk.open(LOCK),
        None => disk.create(LOCK),
    };
    let file = file.map_err(EngineError::of_disk)?;
    let is_ours = file.try_lock().map_err(EngineError::of_disk)?;
    if is_ours { Ok(file) } else { Err(EngineError::InUse) }
}

/// A store that is there opens where no file can be made: it still has its engine's own lock.
fn or_without(
    lock: Result<Arc<dyn DiskFile>, EngineError>,
) -> Result<Option<Arc<dyn DiskFile>>, EngineError> {
    match lock {
        Ok(lock) => Ok(Some(lock)),
        Err(EngineError::InUse) => Err(EngineError::InUse),
        Err(error) => {
            tracing::warn!(%error, "{LOCK} cannot be locked; the lock on {FILE} has to do");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::disk::Directory;
    use crate::engine::Engine;
    use crate::engine::conformance::{revisions, story};

    type Opened = Result<WalEngine, EngineError>;

    /// A disk on which somebody else opens the store just before its user looks whether there is one.
    #[derive(Debug)]
    struct Overtaken {
        disk: Arc<dyn Disk>,
        other: Mutex<Option<Opened>>,
    }

    impl Disk for Overtaken {
        fn length(&self, name: &str) -> io::Result<Option<u64>> {
            let found = self.disk.length(name);
            if name == FILE {
                let mut other = self.other.lock().expect("whole");
                other.get_or_insert_with(|| open_or_make(&self.disk, || 1));
            }
            found
        }

        fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
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

    fn directory(path: &Path) -> Arc<dyn Disk> {
        Arc::new(Directory::open(path).expect("a directory"))
    }

    #[test]
    fn of_two_that_find_no_store_one_has_it_and_keeps_what_it_acknowledged() {
        let dir = tempfile::tempdir().expect("a directory");
        let overtaken =
            Arc::new(Overtaken { disk: directory(dir.path()), other: Mutex::default() });
        let disk: Arc<dyn Disk> = Arc::clone(&overtaken) as _;
        let mine = open_or_make(&disk, || 2);
        let other = overtaken.other.lock().expect("whole").take().expect("it tried");
        let (served, refused): (Vec<_>, Vec<_>) =
            [mine, other].into_iter().partition(Result::is_ok);
        let written = served.into_iter().flatten().inspect(|engine| {
            engine.persist(&story()).expect("persists");
        });
        assert_eq!(written.count(), 1, "one serves");
        assert!(matches!(refused[..], [Err(EngineError::InUse)]), "{refused:?}");
        let again = open_or_make(&directory(dir.path()), || 3).expect("opens");
        assert_eq!(revisions(&again, 0).len(), story().len());
    }

    #[test]
    fn a_store_of_an_earlier_version_opens_and_is_locked_from_then_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = directory(dir.path());
        make(disk.as_ref(), 1).expect("made");
        assert_eq!(disk.length(LOCK).expect("readable"), None);
        let engine = open_or_make(&disk, || 2).expect("opens");
        assert!(matches!(lock(disk.as_ref()), Err(EngineError::InUse)));
        drop(engine);
        lock(disk.as_ref()).expect("it is free again");
    }
}
