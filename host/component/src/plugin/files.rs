//! Uploaded components on disk: `DIR/<sha256>.wasm`, written whole and synced before anything names them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use quadrille_kit::Clock;
use quadrille_object::Timestamp;

use crate::digest::Digest;
use crate::load::{LoadError, write_whole};
use crate::unused::Unused;

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

    /// Keeps a component, as one that was written now.
    pub(super) fn write(
        &self,
        digest: &Digest,
        bytes: &[u8],
        clock: &dyn Clock,
    ) -> Result<(), LoadError> {
        let path = self.path(digest);
        if self.has(digest) && self.read(digest).is_ok_and(|kept| kept.is_some()) {
            return renew(&path, clock).map_err(|source| failed("renew", &path, source));
        }
        write_whole(&path, bytes).map_err(|source| failed("write", &path, source))
    }

    pub(super) fn remove(&self, digest: &Digest) {
        if let Err(error) = std::fs::remove_file(self.path(digest))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(digest = %digest, %error, "component not deleted");
        }
    }

    /// Deletes what is no component of those that are named, when its time is over.
    pub(super) fn delete_unused(
        &self,
        unused: &Unused,
        now: Timestamp,
        named: &BTreeSet<String>,
    ) -> io::Result<usize> {
        unused.delete(&self.dir, now, |name| {
            name.strip_suffix(".wasm").is_some_and(|hex| named.contains(hex))
        })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}.wasm", digest.hex()))
    }
}

/// Lets a file count as written now.
fn renew(path: &Path, clock: &dyn Clock) -> io::Result<()> {
    let since = Duration::from_micros(u64::try_from(clock.now().0).unwrap_or_default());
    File::options().write(true).open(path)?.set_modified(UNIX_EPOCH + since)
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> LoadError {
    LoadError::Io { act, path: path.to_owned(), source }
}
