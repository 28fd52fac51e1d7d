//! Uploaded components on disk: `DIR/<sha256>.wasm`, written whole and synced before anything names them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    needed: Arc<Mutex<Needed>>,
}

/// How many are about to name a component in an object.
type Needed = BTreeMap<Digest, usize>;

/// A component's file that stays while this is held.
#[derive(Debug)]
#[must_use = "the file stays until this is dropped"]
pub(super) struct NeededFile {
    digest: Digest,
    needed: Arc<Mutex<Needed>>,
}

impl ComponentFiles {
    pub(super) fn open(dir: &Path) -> Result<Self, LoadError> {
        quadrille_store::make_private(dir).map_err(|source| failed("make", dir, source))?;
        Ok(Self { dir: dir.to_owned(), needed: Arc::default() })
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

    /// Lets a component stay until what is answered is dropped, once it is here, though no object names it yet.
    pub(super) fn need(&self, digest: &Digest) -> NeededFile {
        *lock(&self.needed).entry(digest.clone()).or_default() += 1;
        NeededFile { digest: digest.clone(), needed: Arc::clone(&self.needed) }
    }

    /// The digests, in hexadecimal, of what stays for that.
    pub(super) fn needed(&self) -> BTreeSet<String> {
        lock(&self.needed).keys().map(|digest| digest.hex().to_owned()).collect()
    }

    /// Deletes a component and, by `delete_more`, what was made of it; unless somebody is about to name it, or `is_named`
    /// says that somebody does.
    pub(super) fn remove_unless(
        &self,
        digest: &Digest,
        is_named: impl FnOnce() -> bool,
        delete_more: impl FnOnce(),
    ) {
        // Whoever comes to need it waits, and finds that it is gone.
        let needed = lock(&self.needed);
        if needed.contains_key(digest) || is_named() {
            return;
        }
        if let Err(error) = std::fs::remove_file(self.path(digest))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(digest = %digest, %error, "component not deleted");
        }
        delete_more();
        drop(needed);
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

impl Drop for NeededFile {
    fn drop(&mut self) {
        let mut needed = lock(&self.needed);
        if let Some(count) = needed.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                needed.remove(&self.digest);
            }
        }
    }
}

fn lock(needed: &Mutex<Needed>) -> MutexGuard<'_, Needed> {
    needed.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> LoadError {
    LoadError::Io { act, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use quadrille_kit::SystemClock;

    use super::*;

    #[test]
    fn a_file_that_is_about_to_be_named_stays_and_goes_when_nobody_names_it() {
        let dir = tempfile::tempdir().expect("temporary directories work");
        let files = ComponentFiles::open(dir.path()).expect("it is writable");
        let clock = SystemClock::default();
        let digest = Digest::of(b"code");
        files.write(&digest, b"code", &clock).expect("it is written");
        let is_kept = |is_named: bool| {
            let more = Cell::new(true);
            files.remove_unless(&digest, || is_named, || more.set(false));
            assert_eq!(files.has(&digest), more.get());
            more.get()
        };
        let needed = [files.need(&digest), files.need(&digest)];
        for needed in needed {
            assert!(is_kept(false), "an upload found it");
            drop(needed);
        }
        assert!(is_kept(true));
        assert!(!is_kept(false));
    }
}
