//! Where a store's files lie: a directory of the file system, or what a simulation puts in its place.
//!
//! All that a store keeps goes through these two traits, the write-ahead log as well as the engine behind it. A
//! simulation hands another disk to [`Config::disk`](crate::Config::disk): one that loses power, tears, runs full, fails
//! or lies (`tests/disk` has one).
//!
//! # What a store relies on
//! - A write is seen at once by every reader of the machine. It is durable when [`DiskFile::sync`] has returned; until
//!   then each 512 bytes of it, at a multiple of 512, may or may not be.
//! - The length of a file is durable with it. A name (made, moved) is durable when [`Disk::sync_names`] has returned.
//! - A failed `sync` says nothing about what it was to make durable. No later one is trusted with it.
//!
//! # Caveats
//! A disk that does not wait ([`Disk::blocks`] is false) makes the store work in its callers' tasks: no thread is started,
//! so that a simulation has all of it in one hand.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) mod shadow;

/// Files by name, without folders.
pub trait Disk: fmt::Debug + Send + Sync {
    /// How long a file is; `None` when there is none.
    fn length(&self, name: &str) -> io::Result<Option<u64>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file; one of the name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, whose file before is gone then.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Returns when every name is durable.
    fn sync_names(&self) -> io::Result<()>;

    /// Whether its calls may wait.
    fn blocks(&self) -> bool {
        true
    }
}

/// One open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// How long it is.
    fn length(&self) -> io::Result<u64>;

    /// Fills `out` from a place; fails where the file ends before.
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at a place; the file grows where it must.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it, or lets it grow by zeroes.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Returns when content and length are durable.
    fn sync(&self) -> io::Result<()>;

    /// Takes it for this process, until it is closed; false when another one has it.
    fn try_lock(&self) -> io::Result<bool>;
}

/// A directory of the file system.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes the directory, durably, where there is none.
    pub(crate) fn open_or_make(path: &Path) -> io::Result<Self> {
        let is_there = path.is_dir();
        make_private(path)?;
        if !is_there && let Some(parent) = path.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self(path.to_owned()))
    }

    /// Opens one that exists, and closes it to everybody but its owner.
    pub(crate) fn open_private(path: &Path) -> io::Result<Self> {
        let opened = Self::open(path)?;
        close(path)?;
        Ok(opened)
    }

    /// Opens one that exists.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self(path.to_owned()))
    }
}

/// Makes a directory of the host's own where there is none, and closes one to everybody but its owner. One that cannot be
/// closed, because it is somebody else's, is used as it is, and told.
///
/// # Errors
/// When it cannot be made.
pub fn make_private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    close(path)
}

fn close(path: &Path) -> io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0
        && let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(mode & !0o077))
    {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), %error,
            "this directory is open to others and cannot be closed to them");
    }
    Ok(())
}

impl Disk for Directory {
    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        match std::fs::metadata(self.0.join(name)) {
            // Opening a pipe or a device could wait for ever.
            Ok(meta) if !meta.is_file() => {
                let what = format!("{name} is no regular file");
                Err(io::Error::new(io::ErrorKind::InvalidInput, what))
            }
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(name, &error)),
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.length(name)?;
        let file = OpenOptions::new().read(true).write(true).open(self.0.join(name));
        Ok(Arc::new(file.map_err(|error| named(name, &error))?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.length(name)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(self.0.join(name));
        Ok(Arc::new(file.map_err(|error| named(name, &error))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, at)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        // Data and length, not the times.
        self.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match Self::try_lock(self) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
