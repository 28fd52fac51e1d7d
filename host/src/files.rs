//! The files of a data directory that people and clients use: CA, keys, tokens, kubeconfig.
//!
//! Whatever is secret is readable by its owner only. The CA, the admin's token and the key of service accounts' tokens are made once and kept;
//! the server's certificate and the kubeconfig are written at each start.

use std::fs::{File, Permissions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use quadrille_kit::{Clock, Random};
use quadrille_server::AccountTokens;
use quadrille_server::identity::{self, PemPair};

/// The name of an empty file that stays, and that whoever uses the directory holds the lock on while they live.
const LOCK: &str = "lock";
/// The folder of the store.
const STORE: &str = "store";

/// A data directory, which nobody else has as long as this is there.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    /// `None` where no file can be locked: the store has a lock of its own.
    #[expect(dead_code, reason = "what counts is that it is held")]
    lock: Option<Arc<File>>,
}

impl Files {
    /// Opens a data directory; makes it (mode 0700) where it does not exist, and closes it to others where nobody else uses
    /// it. It is this process's from then on, before a key or a certificate is made in it.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(dir)
            .with_context(|| format!("cannot make data directory {}", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("cannot open {}", dir.display()))?;
        let lock = lock(&dir)?.map(Arc::new);
        write_pid(&dir);
        close(&dir);
        Ok(Self { dir, lock })
    }

    /// A file or folder in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The CA of this host: kept, or made now.
    pub(crate) fn authority(&self, clock: &dyn Clock) -> anyhow::Result<PemPair> {
        let (certificate, key) = (self.path("ca.crt"), self.path("ca.key"));
        if certificate.exists() && key.exists() {
            return Ok(PemPair { certificate: read(&certificate)?, key: read_secret(&key)? });
        }
        let made = identity::make_authority(clock.now()).context("cannot make a CA")?;
        write_secret(&key, &made.key)?;
        write(&certificate, &made.certificate)?;
        Ok(made)
    }

    /// The admin's token: kept, or made now.
    pub(crate) fn admin_token(&self, random: &dyn Random) -> anyhow::Result<String> {
        let path = self.path("admin-token");
        if path.exists() {
            let token = read_secret(&path)?.trim().to_owned();
            if token.len() < 16 {
                bail!("{} holds no usable token: delete it to get a new one", path.display());
            }
            return Ok(token);
        }
        let token = identity::make_token(random);
        write_secret(&path, &token)?;
        Ok(token)
    }

    /// The key that tokens of service accounts are signed with: kept, or made now.
    pub(crate) fn account_key(&self) -> anyhow::Result<String> {
        let path = self.path("sa.key");
        if path.exists() {
            return read_secret(&path);
        }
        let key = AccountTokens::make_key().context("cannot make the service account key")?;
        write_secret(&path, &key)?;
        Ok(key)
    }

    /// Writes the kubeconfig for a server.
    pub(crate) fn write_kubeconfig(&self, url: &str, ca: &str, token: &str) -> anyhow::Result<()> {
        write_secret(&self.path("kubeconfig"), &identity::kubeconfig(url, ca, token))
    }
}

/// What a host keeps in its data directory, by how the names begin; and what file systems and tests of them add.
const OURS: [&str; 12] = [
    "admin-token",
    "audit",
    "ca.",
    "code",
    "components",
    "kubeconfig",
    LOCK,
    "lost+found",
    "pid",
    "runs",
    "sa.key",
    STORE,
];

/// Closes a data directory to others. One that holds other things than ours may have been meant for them, too (a volume's
/// root, `/var/lib`), and stays as it is: what is secret in it is in files and folders that are closed by themselves.
fn close(dir: &Path) {
    let mode = dir.metadata().map_or(0, |meta| meta.permissions().mode());
    let others = mode & 0o077;
    if others == 0 {
        return;
    }
    let is_ours = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        OURS.iter().any(|ours| name.to_string_lossy().starts_with(ours))
    };
    let mut entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let is_shared = mode & 0o1000 != 0 || !entries.all(|entry| is_ours(&entry));
    let closed = if is_shared {
        Err(std::io::Error::other("it holds other things, too"))
    } else {
        std::fs::set_permissions(dir, Permissions::from_mode(mode & 0o7700))
    };
    if let Err(error) = closed {
        let (path, mode) = (dir.display(), format!("{:o}", mode & 0o777));
        tracing::warn!(%path, mode, %error, "others can see into this data directory; `chmod 700` it");
    }
}

/// Keeps hosts out of a data directory whose store is written to from outside, as long as the answer is there. `dir` is that
/// or its `store`; a store that lies elsewhere has its own lock alone.
///
/// # Errors
/// When somebody uses it.
pub(crate) fn keep_hosts_out(dir: &Path) -> anyhow::Result<Option<File>> {
    data_directory(dir).map_or(Ok(None), |dir| take(&dir))
}

/// The data directory that a store is in. No host need have locked it yet, so what counts is how the store is called.
fn data_directory(dir: &Path) -> Option<PathBuf> {
    if dir.join(STORE).is_dir() || dir.join(LOCK).is_file() {
        return Some(dir.to_owned());
    }
    // The store may be a link to where there is more room.
    let paths = [std::path::absolute(dir), dir.canonicalize()].into_iter().flatten();
    paths.filter(|store| store.is_dir()).find_map(|store| {
        let parent = store.parent()?;
        (store.ends_with(STORE) || parent.join(LOCK).is_file()).then(|| parent.to_owned())
    })
}

/// Takes a data directory for something other than a host, and says who has it.
///
/// # Errors
/// When somebody uses it.
pub(crate) fn take(dir: &Path) -> anyhow::Result<Option<File>> {
    let held = lock(dir)?;
    if held.is_some() {
        write_pid(dir);
    }
    Ok(held)
}

/// Locks a data directory; nothing where files cannot be locked.
fn lock(dir: &Path) -> anyhow::Result<Option<File>> {
    let path = dir.join(LOCK);
    let mut options = File::options();
    let opened = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    match opened.map_err(TryLockError::Error).and_then(|file| file.try_lock().map(|()| file)) {
        Ok(file) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            let used = anyhow!(
                "data directory {} is in use by another process; stop that one, or choose another directory",
                dir.display()
            );
            let pid = std::fs::read_to_string(dir.join("pid")).ok();
            let pid = pid.and_then(|pid| pid.trim().parse::<u32>().ok());
            Err(match pid {
                Some(pid) => used.context(format!("process {pid} uses this directory")),
                None => used,
            })
        }
        Err(TryLockError::Error(error)) => {
            let path = path.display();
            tracing::warn!(%path, %error, "cannot be locked; the store's own lock has to do");
            Ok(None)
        }
    }
}

/// Writes down which process uses a data directory. Nothing but a better message depends on it, so a full disk is no reason
/// not to go on.
fn write_pid(dir: &Path) {
    if let Err(error) = write(&dir.join("pid"), &format!("{}\n", std::process::id())) {
        tracing::warn!(error = format!("{error:#}"), "nobody can see which process this is");
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a secret; refuses one that others can read, since it must count as known to them.
fn read_secret(path: &Path) -> anyhow::Result<String> {
    let meta = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    let mode = meta.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "{0} is readable by others (mode {1:o}): `chmod 600 {0}` if nobody has seen it, else delete it",
            path.display(),
            mode & 0o777
        );
    }
    read(path)
}

fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    write_mode(path, text, 0o600)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    write_mode(path, text, 0o644)
}

/// Writes beside and renames, so that a reader sees the old file or the new one and never half of it.
fn write_mode(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let beside = path.with_extension("part");
    let failed = || format!("cannot write {}", path.display());
    if beside.exists() {
        std::fs::remove_file(&beside).with_context(failed)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(&beside).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.sync_all().with_context(failed)?;
    std::fs::rename(&beside, path).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_kit::{SeededRandom, SystemClock};

    #[test]
    fn authority_and_token_are_made_once_and_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::open(dir.path()).expect("opened");
        let (clock, random) = (SystemClock::default(), SeededRandom::new(1));
        let authority = files.authority(&clock).expect("made");
        assert_eq!(files.authority(&clock).expect("kept").certificate, authority.certificate);
        let token = files.admin_token(&random).expect("made");
        assert_eq!(files.admin_token(&random).expect("kept"), token);
        let mode = files.path("admin-token").metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_directory_is_one_hosts_before_anything_is_made_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::open(dir.path()).expect("opened");
        let refused = format!("{:#}", Files::open(dir.path()).expect_err("in use"));
        let named = refused.contains(&format!("process {}", std::process::id()));
        assert!(named && refused.contains("is in use by another process"), "{refused}");
        drop(files);
        Files::open(dir.path()).expect("it is free again");
    }

    #[test]
    fn a_directory_is_closed_to_others_unless_it_is_theirs_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let mode = || dir.path().metadata().expect("there").permissions().mode() & 0o7777;
        let open = |mode| {
            let mode = Permissions::from_mode(mode);
            std::fs::set_permissions(dir.path(), mode).expect("it is ours");
            Files::open(dir.path()).expect("opened");
        };
        open(0o2775);
        assert_eq!(mode(), 0o2700);
        open(0o1777);
        assert_eq!(mode(), 0o1777, "one for temporary files of all");
        std::fs::write(dir.path().join("thesis.tex"), "").expect("written");
        open(0o755);
        assert_eq!(mode(), 0o755, "somebody else works here");
    }

    #[test]
    fn hosts_are_kept_out_of_a_directory_that_none_has_locked_yet_and_told_by_whom() {
        let parent = tempfile::tempdir().expect("a directory");
        let (dir, room) = (parent.path().join("data"), parent.path().join("room"));
        for made in [dir.join("store"), room.clone()] {
            std::fs::create_dir_all(made).expect("made");
        }
        std::fs::write(dir.join("pid"), "1\n").expect("written");
        let refused = || format!("{:#}", Files::open(&dir).expect_err("in use"));
        for given in [dir.clone(), dir.join("store"), dir.join("store/../store/.")] {
            let held = keep_hosts_out(&given).expect("nobody has it").expect("it is held");
            assert!(refused().contains(&format!("process {} uses", std::process::id())));
            drop(held);
            std::fs::remove_file(dir.join(LOCK)).expect("there");
            std::fs::write(dir.join("pid"), "1\n").expect("written");
        }
        std::fs::remove_dir(dir.join("store")).expect("empty");
        std::os::unix::fs::symlink(&room, dir.join("store")).expect("linked");
        let held = keep_hosts_out(&dir.join("store")).expect("nobody has it").expect("it is held");
        assert!(refused().contains("in use"));
        drop(held);
        assert!(
            keep_hosts_out(&room).expect("nobody has it").is_none(),
            "it is in no data directory"
        );
        assert!(keep_hosts_out(&dir.join("none")).expect("nobody has it").is_none());
        assert_eq!(parent.path().read_dir().expect("readable").count(), 2, "nothing is left there");
        Files::open(&dir).expect("free again");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::open(dir.path()).expect("opened");
        files.admin_token(&SeededRandom::new(1)).expect("made");
        let open = Permissions::from_mode(0o644);
        std::fs::set_permissions(files.path("admin-token"), open).expect("changed");
        let error = files.admin_token(&SeededRandom::new(1)).expect_err("refused");
        assert!(error.to_string().contains("readable by others"), "{error}");
    }
}
