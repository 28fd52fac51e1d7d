//! Compiled components on disk: named by digest and engine, authenticated, in a directory that only the host enters.
//!
//! Layout: `DIR/key` (32 random bytes), and per component `DIR/DIGEST-ENGINE.cwasm` (the code) with
//! `DIR/DIGEST-ENGINE.tag` (the keyed BLAKE3 of engine, digest and code). A file whose tag does not fit is
//! deleted and made again; it is never deserialised.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use quadrille_kit::Random;
use quadrille_object::Timestamp;

use super::error::LoadError;
use crate::digest::{Digest, hex};
use crate::unused::Unused;

/// The name of the file with the key.
const KEY: &str = "key";

/// A file of compiled code whose tag fitted.
#[derive(Debug)]
pub(super) struct Authenticated {
    path: PathBuf,
}

impl Authenticated {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The directory of compiled components.
#[derive(Debug)]
pub(crate) struct CodeCache {
    dir: PathBuf,
    key: [u8; 32],
}

impl CodeCache {
    /// Opens or makes the directory and its key.
    pub(crate) fn open(dir: &Path, random: &dyn Random) -> Result<Self, LoadError> {
        let io = |act, path: &Path| {
            let path = path.to_owned();
            move |source| LoadError::Io { act, path, source }
        };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(io("make", dir))?;
        let owner_only = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(dir, owner_only).map_err(io("protect", dir))?;
        let path = dir.join(KEY);
        let key = match read_key(&path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_key(dir, random).map_err(io("write", &path))?
            }
            Err(source) => return Err(io("read", &path)(source)),
        };
        Ok(Self { dir: dir.to_owned(), key })
    }

    /// The code of a component, if it is here and its tag fits. What does not fit is deleted.
    pub(super) fn get(&self, digest: &Digest, engine: &str) -> Option<Authenticated> {
        let (path, tag_path) = self.paths(digest, engine);
        let tag = std::fs::read(&tag_path).ok()?;
        match self.tag_of_file(&path, digest, engine) {
            Ok(found) if found.as_bytes().as_slice() == tag.as_slice() => {
                Some(Authenticated { path })
            }
            outcome => {
                let problem =
                    outcome.err().map_or_else(|| "tag does not fit".to_owned(), |e| e.to_string());
                tracing::warn!(digest = %digest, problem, "compiled code refused, compiling again");
                self.remove(digest, engine);
                None
            }
        }
    }

    /// Keeps code that our own compiler made.
    pub(super) fn put(
        &self,
        digest: &Digest,
        engine: &str,
        code: &[u8],
    ) -> Result<Authenticated, LoadError> {
        let (path, tag_path) = self.paths(digest, engine);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| LoadError::Io { act: "write", path, source }
        };
        let tag = self.tag(digest, engine, code);
        write_whole(&path, code).map_err(io(&path))?;
        write_whole(&tag_path, tag.as_bytes()).map_err(io(&tag_path))?;
        Ok(Authenticated { path })
    }

    /// Forgets a component's code.
    pub(crate) fn remove(&self, digest: &Digest, engine: &str) {
        let (path, tag_path) = self.paths(digest, engine);
        for path in [path, tag_path] {
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "compiled code not deleted");
            }
        }
    }

    /// Deletes what is neither the key nor an engine's code for a component that is named, when its time is over.
    pub(super) fn delete_unused(
        &self,
        unused: &Unused,
        now: Timestamp,
        (engine, named): (&str, &BTreeSet<String>),
    ) -> io::Result<usize> {
        let is_of_engine = |stem: &str| {
            stem.split_once('-').is_some_and(|(hex, of)| of == engine && named.contains(hex))
        };
        unused.delete(&self.dir, now, |name| {
            let stem = name.strip_suffix(".cwasm").or_else(|| name.strip_suffix(".tag"));
            name == KEY || stem.is_some_and(is_of_engine)
        })
    }

    fn paths(&self, digest: &Digest, engine: &str) -> (PathBuf, PathBuf) {
        let stem = format!("{}-{engine}", digest.hex());
        (self.dir.join(format!("{stem}.cwasm")), self.dir.join(format!("{stem}.tag")))
    }

    fn hasher(&self, digest: &Digest, engine: &str) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in [engine.as_bytes(), digest.hex().as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher
    }

    fn tag(&self, digest: &Digest, engine: &str, code: &[u8]) -> blake3::Hash {
        self.hasher(digest, engine).update(code).finalize()
    }

    fn tag_of_file(&self, path: &Path, digest: &Digest, engine: &str) -> io::Result<blake3::Hash> {
        let mut hasher = self.hasher(digest, engine);
        hasher.update_reader(File::open(path)?)?;
        Ok(hasher.finalize())
    }
}

fn read_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    File::open(path)?.read_exact(&mut key)?;
    Ok(key)
}

fn make_key(dir: &Path, random: &dyn Random) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    for chunk in key.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random.next_u64().to_le_bytes());
    }
    write_whole(&dir.join(KEY), &key)?;
    Ok(key)
}

/// How many files were begun: two that are written at the same time, of one name and one content, are two files.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// Writes a file so that it is there whole, or not at all: new file, fsync, rename, fsync of the directory.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let tag = hex(&blake3::hash(bytes).as_bytes()[..8]);
    let count = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = parent.join(format!(".{name}.{tag}.{}.{count}", std::process::id()));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_write_the_same_file_at_the_same_time_and_it_is_never_half_there() {
        let dir = tempfile::tempdir().expect("temporary directories work");
        let path = dir.path().join("code");
        let bytes = vec![7; 1 << 20];
        write_whole(&path, &bytes).expect("it is written");
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for _ in 0..10 {
                        write_whole(&path, &bytes).expect("it is written by each of them");
                        assert_eq!(std::fs::read(&path).expect("it is there").len(), bytes.len());
                    }
                });
            }
        });
    }
}
