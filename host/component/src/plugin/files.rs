//! Uploaded components on disk: `DIR/<sha256>.wasm`, written whole and synced before anything names them.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::load::{LoadError, write_whole};

/// The directory of uploaded components.
#[derive(Clone, Debug)]
pub(super) struct ComponentFiles {
    dir: PathBuf,
}

impl ComponentFiles {
    pub(super) fn open(dir: &Path) -> Result<Self, LoadError> {
        quadrille_store::make_private(dir).map_err(|source| failed("make", dir, source))?;
        Ok(Self { dir: dir.to_owned() })
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// The bytes of a component; `None` when it was never uploaded, or its file is not what its name says.
    pub(super) fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, LoadError> {
        let path = self.path(digest);
        match std::fs::read(&path) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes)),
            Ok(_) => {
                let source =
                    io::Error::other("its content is not what its name says; upload it again");
                Err(failed("use", &path, source))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("read", &path, source)),
        }
    }

    /// Its size in bytes; 0 when it is not there.
    pub(super) fn size(&self, digest: &Digest) -> usize {
        let size = std::fs::metadata(self.path(digest)).map_or(0, |meta| meta.len());
        usize::try_from(size).unwrap_or(usize::MAX)
    }

    pub(super) fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), LoadError> {
        if self.has(digest) && self.read(digest).is_ok_and(|kept| kept.is_some()) {
            return Ok(());
        }
        let path = self.path(digest);
        write_whole(&path, bytes).map_err(|source| failed("write", &path, source))
    }

    pub(super) fn remove(&self, digest: &Digest) {
        if let Err(error) = std::fs::remove_file(self.path(digest))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(digest = %digest, %error, "component not deleted");
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.wasm", digest.hex()))
    }
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> LoadError {
    LoadError::Io { act, path: path.to_owned(), source }
}
