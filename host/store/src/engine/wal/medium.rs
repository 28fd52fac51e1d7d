//! Where segments lie: two files of fixed size, filled with zeroes before they are used.
//!
//! Flushing a write into a file that grows waits for the file system's journal; into one whose blocks are
//! there already, only for the data. The trait exists so that tests can make a log fail or tear writes by itself.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};

/// How large a segment is. Two of them bound what is replayed after a crash, and how far the log can run
/// ahead of a checkpoint that fails.
pub(crate) const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// How many segments there are; they are used in turn.
pub(crate) const SEGMENTS: u64 = 2;

/// What a segment is filled with, piece by piece.
static ZEROES: [u8; 1024 * 1024] = [0; 1024 * 1024];

/// The files of a log.
pub(crate) trait Medium: Debug + Send + Sync {
    /// The bytes of one file.
    fn read(&self, file: u64) -> io::Result<Vec<u8>>;

    /// Opens one file for writing.
    fn open(&self, file: u64) -> io::Result<Box<dyn Segment>>;

    /// Whether its calls may wait.
    fn blocks(&self) -> bool {
        true
    }
}

/// One open file of a log.
pub(crate) trait Segment: Debug + Send {
    /// Writes all of `bytes` at a place.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Returns when everything written is on the disk.
    fn sync(&self) -> io::Result<()>;
}

/// The name of a segment's file.
pub(crate) fn name(file: u64) -> String {
    format!("store-{file}.wal")
}

/// The files on a disk.
#[derive(Debug)]
pub(crate) struct OnDisk(pub(crate) Arc<dyn Disk>);

impl OnDisk {
    /// Makes all segments, whole, so that one that is missing or short later was lost.
    pub(crate) fn make(disk: &dyn Disk) -> io::Result<()> {
        for file in 0..SEGMENTS {
            let made = disk.create(&name(file))?;
            for at in (0..SEGMENT_BYTES).step_by(ZEROES.len()) {
                DiskFile::write_at(made.as_ref(), at, &ZEROES)?;
            }
            DiskFile::sync(made.as_ref())?;
        }
        disk.sync_names()
    }

    /// Whether anything was ever written to a segment.
    pub(crate) fn is_used(disk: &dyn Disk) -> io::Result<bool> {
        for file in 0..SEGMENTS {
            let bytes = read_any(disk, file)?;
            if bytes.chunks(ZEROES.len()).any(|chunk| !ZEROES.starts_with(chunk)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl OnDisk {
    /// What there is of a segment, whole or not.
    pub(crate) fn read_any(&self, file: u64) -> io::Result<Vec<u8>> {
        read_any(self.0.as_ref(), file)
    }
}

fn read_any(disk: &dyn Disk, file: u64) -> io::Result<Vec<u8>> {
    let length = disk.length(&name(file))?.unwrap_or(0).min(SEGMENT_BYTES);
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    if length > 0 {
        disk.open(&name(file))?.read_at(0, &mut bytes)?;
    }
    Ok(bytes)
}

impl Medium for OnDisk {
    fn read(&self, file: u64) -> io::Result<Vec<u8>> {
        let name = name(file);
        let length = self.0.length(&name)?;
        if length != Some(SEGMENT_BYTES) {
            let found =
                length.map_or_else(|| "is missing".to_owned(), |l| format!("has {l} bytes"));
            let wrong = format!("{name} {found}, and has to have {SEGMENT_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
        }
        let mut bytes = vec![0; usize::try_from(SEGMENT_BYTES).map_err(io::Error::other)?];
        self.0.open(&name)?.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    fn open(&self, file: u64) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(self.0.open(&name(file))?))
    }

    fn blocks(&self) -> bool {
        self.0.blocks()
    }
}

impl Segment for Arc<dyn DiskFile> {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        DiskFile::write_at(self.as_ref(), at, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        DiskFile::sync(self.as_ref())
    }
}
