//! The directories beside a store, by their names: one that is being made, one that waits for the store's name, a damaged one.
//!
//! # Protocol
//! A restore makes `store.restoring` and gives it the name. A repair makes `store.repairing`, calls it `store.repaired` when
//! it is whole, moves the damaged store to `store.damaged-N`, and gives the new one its name. Whoever is killed on the way
//! leaves one of these; a start that finds one and no store refuses ([`has_store`]), instead of beginning an empty one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{CareError, failed};
use crate::engine::redb::FILE;
use crate::store::OpenError;

/// A store of a backup, in the making.
pub(super) const RESTORING: &str = "restoring";

/// A store of what could be read, in the making.
pub(super) const REPAIRING: &str = "repairing";

/// The same, whole.
const REPAIRED: &str = "repaired";

/// A directory beside a store.
pub(super) fn beside(dir: &Path, what: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    dir.with_file_name(name)
}

/// A path that ends with a name, so that something can lie beside it; links are followed where it is there.
pub(super) fn real(dir: &Path) -> io::Result<PathBuf> {
    dir.canonicalize().or_else(|_| std::path::absolute(dir))
}

/// Takes away what an attempt left.
pub(super) fn discard(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "what is left of an attempt stays");
    }
}

/// Gives a directory its name, durably.
pub(super) fn settle(from: &Path, to: &Path) -> Result<(), CareError> {
    fs::rename(from, to).map_err(|source| failed("move to", to, source))?;
    flush(to).map_err(|source| failed("flush", to, source))
}

fn flush(dir: &Path) -> io::Result<()> {
    dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Puts a new store, which is whole, at the place of one that is moved away; says where that is. When it cannot be done, the
/// one that was there is there again.
pub(super) fn replace(new: &Path, dir: &Path) -> Result<PathBuf, CareError> {
    let (ready, away) = (beside(dir, REPAIRED), free_name(dir));
    discard(&ready);
    settle(new, &ready)?;
    if let Err(source) = fs::rename(dir, &away) {
        discard(&ready);
        return Err(failed("move away", dir, source));
    }
    let settled = settle(&ready, dir);
    if settled.is_err() && ready.exists() {
        match fs::rename(&away, dir) {
            Ok(()) => discard(&ready),
            Err(error) => {
                let (path, away) = (dir.display(), away.display());
                tracing::error!(%path, %away, %error, "the damaged store cannot be moved back");
            }
        }
    }
    settled.map(|()| away)
}

fn free_name(dir: &Path) -> PathBuf {
    let names = (1..).map(|n: u32| beside(dir, &format!("damaged-{n}")));
    names.into_iter().find(|name| !name.exists()).unwrap_or_else(|| beside(dir, "damaged"))
}

/// Whether a directory has a store, whole or not. Where it has, it is only opened: to make it
/// just after a repair has moved it away would begin an empty one.
///
/// # Errors
/// When a new one would take the place of what an interrupted repair or restore was about to put there.
pub(crate) fn has_store(dir: &Path) -> Result<bool, OpenError> {
    let io = |source| OpenError::Io { path: dir.to_owned(), source };
    let real = real(dir).map_err(io)?;
    if real.join(FILE).exists() {
        return Ok(true);
    }
    let told = |what: &'static str, left: PathBuf, then: &'static str| {
        let path = dir.to_owned();
        if left.is_dir() { Err(OpenError::Unfinished { path, what, left, then }) } else { Ok(()) }
    };
    told("repair", beside(&real, REPAIRED), "it is whole: move it to where the store has to be")?;
    told("restore", beside(&real, RESTORING), "restore the backup once more")?;
    Ok(false)
}
