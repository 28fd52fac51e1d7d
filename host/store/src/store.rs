//! The handle of the store. First form: everything in memory behind one lock; the committer, the history on
//! disk and the engines replace its inside, not its face.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::{Clock, Supervisor};
use tokio::sync::watch;

use crate::change::{Change, ChangeBatch, ChangeFilter, ChangeKind, ChangeStream, ChangesError};
use crate::key::Revision;
use crate::query::View;
use crate::snapshot::{Object, Snapshot};
use crate::txn::{CommitError, Committed, Conflict, Expect, Txn, Write};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory of the store's files; `None` keeps everything in memory.
    pub dir: Option<PathBuf>,
    /// History is kept up to this many bytes of changes; older changes are compacted.
    pub history_bytes_max: u64,
    /// History is kept up to this age.
    pub history_age_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: None,
            history_bytes_max: 256 * 1024 * 1024,
            history_age_max: Duration::from_secs(24 * 3600),
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
}

/// The store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    newest: watch::Sender<Revision>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct State {
    snapshot: Snapshot,
    changes: Vec<Arc<Change>>,
}

impl Store {
    /// Opens the store and starts its committer under `supervisor`.
    ///
    /// # Errors
    /// When the file cannot be opened or is damaged.
    pub async fn open(
        _config: Config,
        clock: Arc<dyn Clock>,
        _supervisor: &Supervisor,
    ) -> Result<Self, OpenError> {
        let newest = watch::Sender::new(Revision(0));
        Ok(Self { shared: Arc::new(Shared { state: Mutex::default(), newest, clock }) })
    }

    /// Everything at the newest revision; costs one pointer copy.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().snapshot.clone()
    }

    /// The newest visible revision.
    pub fn revision(&self) -> Revision {
        self.lock().snapshot.revision
    }

    /// Commits a transaction: returns once it is durable and visible.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing of the transaction happened then.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the transaction back.
    pub async fn commit(&self, txn: Txn) -> Result<Committed, CommitError> {
        let mut state = self.lock();
        check(&state, &txn)?;
        let committed = apply(&mut state, txn, self.shared.clock.now());
        drop(state);
        self.shared.newest.send_replace(committed.revision);
        Ok(committed)
    }

    /// The changes after a revision, in order and without gaps.
    pub fn changes(&self, filter: ChangeFilter, after: Revision) -> ChangeStream {
        let newest = self.shared.newest.subscribe();
        ChangeStream { inner: StreamInner { store: self.clone(), filter, position: after, newest } }
    }

    /// One change of the history by its revision.
    ///
    /// # Errors
    /// `Expired` when it has been compacted.
    pub async fn change(&self, revision: Revision) -> Result<Option<Arc<Change>>, ChangesError> {
        Ok(self.lock().changes.iter().find(|c| c.revision == revision).cloned())
    }

    /// The last change of the object at a key before or at `at`, while history reaches it.
    ///
    /// # Errors
    /// `Expired` when `at` has been compacted.
    pub async fn last_change(
        &self,
        key: &crate::key::Key,
        at: Revision,
    ) -> Result<Option<Arc<Change>>, ChangesError> {
        let state = self.lock();
        let of_key = state.changes.iter().rev().find(|c| c.key() == key && c.revision <= at);
        Ok(of_key.cloned())
    }

    /// The revision after which streams may still start.
    pub fn oldest(&self) -> Revision {
        Revision(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(state: &State, txn: &Txn) -> Result<(), CommitError> {
    if txn.fence.as_ref().is_some_and(|ticket| !ticket.is_valid()) {
        return Err(CommitError::Fenced);
    }
    let writes = txn.writes.iter().map(|write| match write {
        Write::Put { key, expect, .. } => (key, *expect, false),
        Write::Delete { key, expect } => (key, *expect, true),
    });
    let requires = txn.requires.iter().map(|(key, expect)| (key, *expect, false));
    for (key, expect, must_exist) in writes.chain(requires) {
        let found = state.snapshot.get(key).map(|object| object.revision);
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::Revision(revision) => found == Some(revision),
        };
        if !holds || (must_exist && found.is_none()) {
            return Err(CommitError::Conflict(Conflict::Key { key: key.clone(), found }));
        }
    }
    let Some(reads) = &txn.reads else { return Ok(()) };
    let newer = state.changes.iter().rev().take_while(|c| c.revision > reads.at);
    for change in newer {
        let after = change.after().map(AsRef::as_ref);
        if reads.touches(change.key(), change.before.as_deref(), after) {
            let (key, revision) = (change.key().clone(), change.revision);
            return Err(CommitError::Conflict(Conflict::Read { key, revision }));
        }
    }
    Ok(())
}

fn apply(state: &mut State, txn: Txn, at: quadrille_object::Timestamp) -> Committed {
    let first = state.snapshot.revision.next();
    let last = Revision(state.snapshot.revision.0 + txn.writes.len() as u64);
    let cause = Arc::new(txn.cause);
    let mut objects = Vec::new();
    for (write, revision) in txn.writes.into_iter().zip(first.0..) {
        let revision = Revision(revision);
        let before = state.snapshot.get(write.key());
        let (object, kind) = match write {
            Write::Put { key, meta, object, .. } => {
                let bytes = object.with_revision(revision.0);
                let kind = before.as_ref().map_or(ChangeKind::Created, |_| ChangeKind::Updated);
                (Object { key, revision, meta, bytes }, kind)
            }
            Write::Delete { key, .. } => {
                let last = before.as_ref().expect("checked: a deleted object exists");
                let value: serde_json::Map<_, _> =
                    serde_json::from_slice(&last.bytes).expect("stored objects are JSON");
                let bytes = quadrille_object::Template::encode(&value).with_revision(revision.0);
                (Object { key, revision, meta: last.meta.clone(), bytes }, ChangeKind::Deleted)
            }
        };
        let object = Arc::new(object);
        let at_key = (Arc::clone(&object.key.namespace), Arc::clone(&object.key.name));
        let objects_of = state.snapshot.resources.entry(object.key.resource.clone()).or_default();
        if kind == ChangeKind::Deleted {
            objects_of.remove(&at_key);
        } else {
            objects_of.insert(at_key, Arc::clone(&object));
        }
        let cause = Arc::clone(&cause);
        let txn = (first, last);
        let change = Change { revision, txn, kind, before, object: Arc::clone(&object), cause, at };
        state.changes.push(Arc::new(change));
        objects.push(object);
    }
    state.snapshot.revision = last;
    Committed { revision: last, objects }
}

#[derive(Debug)]
pub(crate) struct StreamInner {
    store: Store,
    filter: ChangeFilter,
    position: Revision,
    newest: watch::Receiver<Revision>,
}

impl StreamInner {
    pub(crate) async fn next(&mut self) -> Result<ChangeBatch, ChangesError> {
        loop {
            if let Some(batch) = self.try_next()? {
                return Ok(batch);
            }
            self.newest.changed().await.map_err(|_| ChangesError::Closed)?;
        }
    }

    pub(crate) fn try_next(&mut self) -> Result<Option<ChangeBatch>, ChangesError> {
        let state = self.store.lock();
        let through = state.snapshot.revision;
        if through <= self.position {
            return Ok(None);
        }
        let passes = |c: &&Arc<Change>| {
            c.revision > self.position
                && self.filter.resource.as_ref().is_none_or(|r| *r == c.key().resource)
        };
        let changes = state.changes.iter().filter(passes).cloned().collect();
        drop(state);
        self.position = through;
        Ok(Some(ChangeBatch { changes, through }))
    }

    pub(crate) fn position(&self) -> Revision {
        self.position
    }
}
