//! Where segments lie: two files of fixed size, filled with zeroes before they are used.
//!
//! Flushing a write into a file that grows waits for the file system's journal; into one whose blocks are
//! there already, only for the data. The trait exists so that tests can make a disk fail or tear writes.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// How large a segment is. Two of them bound what is replayed after a crash, and how far the log can run
/// ahead of a checkpoint that fails.
pub(crate) const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// How many segments there are; they are used in turn.
pub(crate) const SEGMENTS: u64 = 2;

/// The files of a log.
pub(crate) trait Medium: Debug + Send + Sync {
    /// The bytes of one file; empty when it does not exist.
    fn read(&self, file: u64) -> io::Result<Vec<u8>>;

    /// Opens one file for writing, whole size allocated.
    fn open(&self, file: u64) -> io::Result<Box<dyn Segment>>;
}

/// One open file of a log.
pub(crate) trait Segment: Debug + Send {
    /// Writes all of `bytes` at a place.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Returns when everything written is on the disk.
    fn sync(&self) -> io::Result<()>;
}

/// Files in a directory.
#[derive(Debug)]
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    fn path(&self, file: u64) -> PathBuf {
        self.0.join(format!("store-{file}.wal"))
    }
}

impl Medium for Directory {
    fn read(&self, file: u64) -> io::Result<Vec<u8>> {
        match std::fs::read(self.path(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    fn open(&self, file: u64) -> io::Result<Box<dyn Segment>> {
        let path = self.path(file);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut length = open.metadata()?.len();
        if length < SEGMENT_BYTES {
            let zeroes = vec![0; 1024 * 1024];
            while length < SEGMENT_BYTES {
                open.write_all_at(&zeroes, length)?;
                length += zeroes.len() as u64;
            }
            open.sync_all()?;
            // The name of a new file is on the disk only when its directory is.
            File::open(&self.0)?.sync_all()?;
        }
        Ok(Box::new(open))
    }
}

impl Segment for File {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
