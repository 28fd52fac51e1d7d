//! A disk in memory for tests of the engines: it runs full, fails and calls back when it is told to.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::Database;

use super::errors::open_error;
use super::tables::begin;
use super::{EngineError, RedbEngine};

/// Shared by every opening of the "file". What was written and not synced is kept, as a page cache would: the hard
/// case, in which a refused batch reaches the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) bytes: Arc<Mutex<Vec<u8>>>,
    pub(crate) full: Arc<AtomicBool>,
    /// That flush fails, and all after it; 0 for none.
    pub(crate) sync_fails_after: Arc<AtomicU64>,
    /// Whether the engine keeps no page in memory.
    pub(crate) uncached: bool,
    /// So many reads fail.
    pub(crate) reads_fail: Arc<AtomicU64>,
    pub(crate) at_sync: Arc<Mutex<Hook>>,
}

/// Called by each flush.
#[derive(Default)]
pub(crate) struct Hook(pub(crate) Option<Box<dyn FnMut() + Send>>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl Disk {
    fn check_space(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().expect("not poisoned")
    }

    /// Another disk with what is on this one, on which nothing fails.
    pub(crate) fn copy(&self) -> Self {
        Self { bytes: Arc::new(Mutex::new(self.bytes().clone())), ..Self::default() }
    }

    pub(crate) fn engine(&self) -> RedbEngine {
        if self.bytes().is_empty() {
            let made = Database::builder().create_with_backend(self.clone()).expect("is made");
            begin(&made, 7).expect("begins");
        }
        self.open().expect("opens")
    }

    pub(crate) fn open(&self) -> Result<RedbEngine, EngineError> {
        let disk = self.clone();
        let opener = move || {
            let mut builder = Database::builder();
            if disk.uncached {
                builder.set_cache_size(0);
            }
            builder.create_with_backend(disk.clone()).map_err(open_error)
        };
        RedbEngine::with_opener(Box::new(opener), Box::new(|| 0))
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let less = |left: u64| left.checked_sub(1);
        if self.reads_fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return Err(io::Error::other("the disk fails"));
        }
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
        if let Some(hook) = &mut self.at_sync.lock().expect("not poisoned").0 {
            hook();
        }
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
