//! The handle of the store: opening it, and what everybody else calls.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quadrille_kit::{Clock, Random, Supervisor, SystemRandom};

use crate::backup::Backup;
use crate::bus::Bus;
use crate::change::{Change, ChangeFilter, ChangeStream, ChangesError};
use crate::committer::{Committer, Queue};
use crate::disk::{Directory, Disk};
use crate::engine::memory::MemoryEngine;
use crate::engine::{Engine, EngineError, Size, files};
use crate::group::Working;
use crate::key::{Key, Revision};
use crate::query::View;
use crate::recent::Limits;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::stream::Stream;
use crate::txn::{CommitError, Committed, Txn};
use crate::{care, history, maintenance, open};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory of the store's files; `None` keeps everything in memory.
    pub dir: Option<PathBuf>,
    /// Where the files lie instead, for simulations; `dir` is only named in errors then.
    pub disk: Option<Arc<dyn Disk>>,
    /// After this many bytes of changes they are moved from the write-ahead log to where they stay, and history over its
    /// budget is compacted; also once a second, where there are threads. Larger: a longer start after a crash, at most the
    /// whole log. Smaller: more is written. Default 8 MiB: the log stays short, and a checkpoint writes each inner page
    /// of the tree once for many changes.
    pub checkpoint_bytes: usize,
    /// History is kept up to this many bytes of changes; older changes are compacted.
    pub history_bytes_max: u64,
    /// History is kept up to this age, counted while the store is open: after a start, what was there is kept for as
    /// long again. Jumps of the wall clock do not matter.
    pub history_age_max: Duration,
    /// Recent changes kept in memory, by count. Smaller: late streams read the disk, and slow runs conflict
    /// for being too old. Larger: memory.
    pub recent_changes_max: usize,
    /// Recent changes kept in memory, by bytes of objects.
    pub recent_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: None,
            disk: None,
            checkpoint_bytes: 8 * 1024 * 1024,
            history_bytes_max: 256 * 1024 * 1024,
            history_age_max: Duration::from_hours(24),
            recent_changes_max: 32_768,
            recent_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read or written.
    #[error("cannot open store {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is damaged; nothing of it is served.
    #[error("store {path} is corrupt: {detail}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        detail: String,
    },
    /// Another process serves from it.
    #[error(
        "store {path} is in use by another process; stop that one, or choose another directory"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A repair or a restore was killed before the store had its name.
    #[error(
        "there is no store {path}, and {left} is there: a {what} was interrupted. {then};          or move {left} away, to begin with an empty store"
    )]
    Unfinished {
        /// The directory.
        path: PathBuf,
        /// What was interrupted.
        what: &'static str,
        /// What it left.
        left: PathBuf,
        /// What to do.
        then: &'static str,
    },
    /// A newer version of this program has written it.
    #[error(
        "store {path} has format {found}, this version reads up to {known}; use the newer version"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that can be read.
        known: u32,
    },
}

/// The store; cheap to clone. It closes when the last handle is dropped, after [`Store::close`], or some
/// time after the supervisor's shutdown when nobody commits any more.
#[derive(Clone, Debug)]
pub struct Store {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    drive: Drive,
}

/// Who runs the committer.
#[derive(Debug)]
enum Drive {
    /// A thread of its own.
    Thread(Arc<Queue>),
    /// The caller of `commit`.
    Caller(Box<Mutex<Committer>>),
}

impl Store {
    /// Opens the store and starts its committer under `supervisor`.
    ///
    /// # Errors
    /// When the file cannot be opened or is damaged.
    pub async fn open(
        config: Config,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let engine = match (config.disk.clone(), config.dir.clone()) {
            (None, None) => Ok(Box::<MemoryEngine>::default() as Box<dyn Engine>),
            (Some(disk), dir) if !disk.blocks() => open_engine(&disk, dir.unwrap_or_default()),
            (disk, dir) => {
                let opened = tokio::task::spawn_blocking(move || {
                    let dir = dir.unwrap_or_default();
                    let disk = disk.map_or_else(|| directory(&dir), Ok)?;
                    open_engine(&disk, dir)
                });
                opened.await.unwrap_or_else(|error| Err(panicked(&config, &error)))
            }
        }?;
        Self::with_engine(config, engine, clock, supervisor).await
    }

    /// A store of its own in memory that begins with what a snapshot holds: its first change gets the snapshot's next
    /// revision, and nothing of it reaches the store that the snapshot is from. Costs one pointer copy, however much
    /// there is. Changes before the snapshot are `Expired`.
    pub fn fork(snapshot: &Snapshot, clock: Arc<dyn Clock>) -> Self {
        let config = Config {
            history_bytes_max: u64::MAX,
            history_age_max: Duration::MAX,
            ..Config::default()
        };
        let limits =
            Limits { changes_max: config.recent_changes_max, bytes_max: config.recent_bytes_max };
        let at = snapshot.revision();
        let (engine, bus) = (Box::new(MemoryEngine::after(at)), Bus::new(limits, at));
        let shared = Shared::new(config, clock, snapshot.clone(), bus, at, engine);
        let shared = Arc::new(shared.of_fork(snapshot.clone()));
        let working = Working { snapshot: snapshot.clone(), ..Working::default() };
        let committer = Committer::new(Arc::clone(&shared), working);
        let drive = Drive::Caller(Box::new(Mutex::new(committer)));
        Self { handle: Arc::new(Handle { shared, drive }) }
    }

    /// Opens the store on an engine.
    pub(crate) async fn with_engine(
        config: Config,
        engine: Box<dyn Engine>,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let path = config.dir.clone().unwrap_or_default();
        let (engine, recovered) = if engine.blocks() {
            let recovering = tokio::task::spawn_blocking(move || {
                let recovered = open::recover(engine.as_ref());
                (engine, recovered)
            });
            recovering.await.map_err(|error| panicked(&config, &error))?
        } else {
            let recovered = open::recover(engine.as_ref());
            (engine, recovered)
        };
        let recovered = recovered.map_err(|error| open_error(path.clone(), error))?;
        let limits =
            Limits { changes_max: config.recent_changes_max, bytes_max: config.recent_bytes_max };
        let snapshot = recovered.working.snapshot.clone();
        let bus = Bus::new(limits, snapshot.revision());
        let shared = Shared::new(config, clock, snapshot, bus, recovered.oldest, engine);
        let shared = Arc::new(shared);
        let committer = Committer::new(Arc::clone(&shared), recovered.working);
        let drive = if shared.blocks() {
            let started = start(&shared, committer, supervisor);
            Drive::Thread(started.map_err(|source| OpenError::Io { path, source })?)
        } else {
            Drive::Caller(Box::new(Mutex::new(committer)))
        };
        Ok(Self { handle: Arc::new(Handle { shared, drive }) })
    }

    /// Everything at the newest revision; costs one pointer copy.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::clone(&self.shared().snapshot.load())
    }

    /// The newest visible revision.
    pub fn revision(&self) -> Revision {
        self.shared().snapshot.load().revision()
    }

    /// Commits a transaction: returns once it is durable and visible.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing of the transaction happened then.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the transaction back.
    pub async fn commit(&self, txn: Txn) -> Result<Committed, CommitError> {
        match &self.handle.drive {
            Drive::Thread(queue) => queue.submit(txn).await,
            Drive::Caller(committer) => {
                let mut committer = committer.lock().unwrap_or_else(PoisonError::into_inner);
                if self.shared().is_closed() {
                    return Err(CommitError::Closed);
                }
                let answer = committer.commit(txn);
                drop(committer);
                if self.shared().maintenance_due()
                    && let Err(error) = maintenance::work(self.shared())
                {
                    tracing::warn!(error = %error, "storage maintenance failed");
                }
                answer
            }
        }
    }

    /// The changes after a revision, in order and without gaps.
    pub fn changes(&self, filter: ChangeFilter, after: Revision) -> ChangeStream {
        ChangeStream { inner: Stream::new(Arc::clone(self.shared()), filter, after) }
    }

    /// One change of the history by its revision. The last change of a live object is found even below
    /// [`Self::oldest`].
    ///
    /// # Errors
    /// `Expired` when it has been compacted.
    pub async fn change(&self, revision: Revision) -> Result<Option<Arc<Change>>, ChangesError> {
        self.reading(move |shared| history::at(shared, revision)).await
    }

    /// The last change of the object at a key before or at `at`, while history reaches it.
    ///
    /// # Errors
    /// `Expired` when `at` has been compacted.
    pub async fn last_change(
        &self,
        key: &Key,
        at: Revision,
    ) -> Result<Option<Arc<Change>>, ChangesError> {
        let key = key.clone();
        self.reading(move |shared| history::last_of(shared, &key, at)).await
    }

    /// The revision after which streams may still start.
    pub fn oldest(&self) -> Revision {
        self.shared().oldest()
    }

    /// Whether it takes commits: it is open, and the disk did not refuse the last one, or works again. Costs
    /// nothing; after a refusal the store itself looks again every second.
    pub fn takes_writes(&self) -> bool {
        self.shared().takes_writes()
    }

    /// Whether it can be read; until it is closed.
    pub fn is_open(&self) -> bool {
        !self.shared().is_closed()
    }

    /// How large it is; all zero when it is closed.
    pub fn size(&self) -> Size {
        self.shared().with_engine(|engine| engine.size()).unwrap_or_default()
    }

    /// Compacts what is over the budget now, and gives free space back to the file system. Commits may wait
    /// for it, so it is for quiet times; the store also does it by itself when it idles.
    ///
    /// # Errors
    /// When the disk fails; nothing is lost then.
    pub async fn shrink(&self) -> Result<(), ChangesError> {
        self.reading(|shared| {
            shared.read(|_| maintenance::work(shared))?;
            shared.read(|engine| engine.shrink())
        })
        .await
    }

    /// A backup of everything at the newest revision. Nobody waits for it, and it reads no disk.
    pub fn backup(&self) -> Backup {
        Backup::of(self.snapshot(), self.shared().clock.now())
    }

    /// Commits what is queued, closes the files and frees the directory. Commits and streams are `Closed` then;
    /// snapshots can still be read.
    pub async fn close(&self) {
        match &self.handle.drive {
            Drive::Thread(queue) => {
                queue.close();
                self.shared().await_closed().await;
            }
            Drive::Caller(_) => self.shared().close(),
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ChangesError> + Send + 'static,
    ) -> Result<T, ChangesError> {
        let shared = Arc::clone(self.shared());
        if !shared.blocks() {
            return work(&shared);
        }
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.unwrap_or(Err(ChangesError::Closed))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Drive::Thread(queue) = &self.drive {
            queue.close();
        }
    }
}

/// Starts the threads; they end with the queue, the last one closes the engine.
fn start(
    shared: &Arc<Shared>,
    committer: Committer,
    supervisor: &Supervisor,
) -> std::io::Result<Arc<Queue>> {
    let queue = Arc::<Queue>::default();
    let (ended, committed) = std::sync::mpsc::sync_channel::<()>(1);
    let (at_committer, of_committer) = (Arc::clone(shared), Arc::clone(&queue));
    supervisor.spawn_thread("store-committer", move || {
        committer.run(&of_committer);
        at_committer.end_maintenance();
        // Maintenance may be in the middle of a step; the engine closes behind it.
        let _maintained: bool = committed.recv().is_err();
        at_committer.close();
    })?;
    let of_maintenance = Arc::clone(shared);
    supervisor.spawn_thread("store-maintenance", move || {
        maintenance::run(&of_maintenance);
        drop(ended);
    })?;
    let (shutdown, at_shutdown) = (supervisor.shutdown(), Arc::downgrade(&queue));
    supervisor.spawn_brief("store-shutdown", async move {
        shutdown.started().await;
        if let Some(queue) = at_shutdown.upgrade() {
            queue.end_when_idle();
        }
    });
    Ok(queue)
}

fn directory(dir: &Path) -> Result<Arc<dyn Disk>, OpenError> {
    let is_there = care::has_store(dir)?;
    let opened = if is_there { Directory::open_private(dir) } else { Directory::open_or_make(dir) };
    let opened = opened.map_err(|source| OpenError::Io { path: dir.to_owned(), source })?;
    Ok(Arc::new(opened))
}

fn open_engine(disk: &Arc<dyn Disk>, dir: PathBuf) -> Result<Box<dyn Engine>, OpenError> {
    let engine = files::open_or_make(disk, || SystemRandom::default().next_u64());
    Ok(Box::new(engine.map_err(|error| open_error(dir, error))?))
}

fn panicked(config: &Config, error: &tokio::task::JoinError) -> OpenError {
    OpenError::Corrupt {
        path: config.dir.clone().unwrap_or_default(),
        detail: format!("reading it failed: {error}"),
    }
}

pub(crate) fn open_error(path: PathBuf, error: EngineError) -> OpenError {
    match error {
        EngineError::Io(message) => OpenError::Io { path, source: std::io::Error::other(message) },
        EngineError::Corrupt(what) => {
            let detail = format!(
                "{what}. Nothing of it is served. Keep a copy of the directory and look with `quadrille store check`; \
                 then `quadrille store restore` the last backup, or save what can be read with `quadrille store repair`"
            );
            OpenError::Corrupt { path, detail }
        }
        EngineError::InUse => OpenError::InUse { path },
        EngineError::Newer { found, known } => OpenError::Newer { path, found, known },
    }
}

#[cfg(test)]
mod tests;
