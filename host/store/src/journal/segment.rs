//! One segment: a file, or the same in memory. It is only ever appended to, and deleted as a whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::JournalError;
use super::frame::{self, HEADER_BYTES, Place};
use crate::disk;

/// Where a piece lies: offset, and length of the body.
pub(super) type Spot = (u32, u32);

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) medium: Medium,
    pub(super) length: u32,
    pub(super) records: u64,
    /// The shared pieces that it has.
    pub(super) shared: BTreeMap<u128, Spot>,
}

/// Where the bytes are; cheap to clone, so that reading needs no lock on the books.
#[derive(Clone, Debug)]
pub(super) enum Medium {
    File(Arc<File>, PathBuf),
    Memory(Arc<RwLock<Vec<u8>>>),
}

impl Medium {
    pub(super) fn create(dir: Option<&Path>, number: u64) -> Result<Self, JournalError> {
        let Some(dir) = dir else { return Ok(Self::Memory(Arc::default())) };
        let path = dir.join(file_name(number));
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path);
        let file = file.and_then(|file| {
            // The name must be as durable as what is written under it.
            File::open(dir)?.sync_all()?;
            Ok(file)
        });
        let file = file.map_err(|source| failed("make", &path, source))?;
        Ok(Self::File(Arc::new(file), path))
    }

    pub(super) fn open(path: PathBuf) -> Result<Self, JournalError> {
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|source| failed("open", &path, source))?;
        Ok(Self::File(Arc::new(file), path))
    }

    pub(super) fn append(&self, offset: u32, bytes: &[u8]) -> Result<(), JournalError> {
        match self {
            Self::File(file, path) => file
                .write_all_at(bytes, u64::from(offset))
                .map_err(|source| failed("write", path, source)),
            Self::Memory(held) => {
                held.write().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    pub(super) fn sync(&self) -> Result<(), JournalError> {
        match self {
            Self::File(file, path) => {
                file.sync_data().map_err(|source| failed("sync", path, source))
            }
            Self::Memory(_) => Ok(()),
        }
    }

    /// Cuts off what is behind `length`.
    pub(super) fn cut(&self, length: u32) -> Result<(), JournalError> {
        match self {
            Self::File(file, path) => {
                file.set_len(u64::from(length)).map_err(|source| failed("cut", path, source))
            }
            Self::Memory(held) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                held.write().unwrap_or_else(PoisonError::into_inner).truncate(length);
                Ok(())
            }
        }
    }

    pub(super) fn delete(&self) {
        if let Self::File(_, path) = self
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "old segment of the journal not deleted");
        }
    }

    pub(super) fn read_all(&self) -> Result<Bytes, JournalError> {
        match self {
            Self::File(_, path) => {
                std::fs::read(path).map(Bytes::from).map_err(|s| failed("read", path, s))
            }
            Self::Memory(held) => {
                let held = held.read().unwrap_or_else(PoisonError::into_inner);
                Ok(Bytes::copy_from_slice(&held))
            }
        }
    }

    /// The body of a frame; `None` when it is damaged.
    pub(super) fn read(
        &self,
        segment: u64,
        (offset, length): Spot,
    ) -> Result<Option<Bytes>, JournalError> {
        let whole = HEADER_BYTES + usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = vec![0; whole];
        match self {
            Self::File(file, path) => match file.read_exact_at(&mut bytes, u64::from(offset)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(source) => return Err(failed("read", path, source)),
            },
            Self::Memory(held) => {
                let held = held.read().unwrap_or_else(PoisonError::into_inner);
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let Some(found) = held.get(start..start.saturating_add(whole)) else {
                    return Ok(None);
                };
                bytes.copy_from_slice(found);
            }
        }
        Ok(frame::check(Place { segment, offset }, &bytes.into()))
    }
}

fn file_name(number: u64) -> String {
    format!("{number:016x}.runs")
}

/// The segments of a directory, in order.
pub(super) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    disk::make_private(dir).map_err(|source| failed("make", dir, source))?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|source| failed("list", dir, source))? {
        let path = entry.map_err(|source| failed("list", dir, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_suffix(".runs").and_then(|n| u64::from_str_radix(n, 16).ok());
        if let Some(number) = number.filter(|number| name == file_name(*number)) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { act, path: path.to_owned(), source }
}
