//! What committer, maintenance, streams and handles share: the published state and the engine.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use quadrille_kit::Clock;
use tokio::sync::watch;

use crate::age::Ages;
use crate::bus::{Bus, Published};
use crate::change::{Change, ChangesError};
use crate::engine::{Engine, EngineError, Entry};
use crate::key::{Key, Revision};
use crate::query::View;
use crate::record;
use crate::snapshot::{Object, Snapshot};
use crate::store::Config;

/// The shared parts.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) bus: Bus,
    oldest: AtomicU64,
    /// What a fork began with: its log has no records of it.
    base: Option<Snapshot>,
    /// `None` once the store is closed: the files are free then.
    engine: RwLock<Option<Box<dyn Engine>>>,
    blocks: bool,
    /// Whether the engine refused the last group, and no probe has succeeded since.
    refusing: AtomicBool,
    closed: watch::Sender<bool>,
    buried: Mutex<Vec<(Key, Revision)>>,
    ages: Mutex<Ages>,
    maintenance: Mutex<Maintenance>,
    due: Condvar,
}

#[derive(Debug, Default)]
struct Maintenance {
    bytes: usize,
    ending: bool,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        snapshot: Snapshot,
        bus: Bus,
        oldest: Revision,
        engine: Box<dyn Engine>,
    ) -> Self {
        let blocks = engine.blocks();
        let ages = Ages::new(config.history_age_max, clock.monotonic(), snapshot.revision());
        Self {
            config,
            clock,
            snapshot: ArcSwap::from_pointee(snapshot),
            bus,
            oldest: AtomicU64::new(oldest.0),
            base: None,
            engine: RwLock::new(Some(engine)),
            blocks,
            refusing: AtomicBool::new(false),
            closed: watch::Sender::new(false),
            buried: Mutex::default(),
            ages: Mutex::new(ages),
            maintenance: Mutex::default(),
            due: Condvar::new(),
        }
    }

    /// The same for a fork.
    pub(crate) fn of_fork(self, base: Snapshot) -> Self {
        Self { base: Some(base), ..self }
    }

    /// The state at a revision that a fork began with.
    pub(crate) fn begun_with(&self, key: &Key, revision: Revision) -> Option<Arc<Object>> {
        let found = self.base.as_ref()?.find(key)?;
        (found.revision == revision).then(|| Arc::clone(found))
    }

    pub(crate) fn oldest(&self) -> Revision {
        Revision(self.oldest.load(Ordering::Acquire))
    }

    /// Whether the engine may wait for a disk.
    pub(crate) fn blocks(&self) -> bool {
        self.blocks
    }

    /// Uses the engine; `None` when the store is closed.
    pub(crate) fn with_engine<T>(&self, work: impl FnOnce(&dyn Engine) -> T) -> Option<T> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        engine.as_deref().map(work)
    }

    /// The same for reading history.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&dyn Engine) -> Result<T, EngineError>,
    ) -> Result<T, ChangesError> {
        let done = self.with_engine(|engine| {
            let done = work(engine);
            self.oldest.fetch_max(engine.oldest().0, Ordering::AcqRel);
            done
        });
        let done = done.ok_or(ChangesError::Closed)?;
        done.map_err(|error| {
            tracing::error!(error = %error, "history cannot be read");
            ChangesError::Unavailable(error.to_string())
        })
    }

    /// Stores a group; the message says why not.
    pub(crate) fn persist(&self, entries: &[Entry]) -> Result<(), String> {
        let done = self.with_engine(|engine| engine.persist(entries));
        let done = done.ok_or_else(|| "the store is closed".to_owned())?;
        self.refusing.store(done.is_err(), Ordering::Release);
        done.map_err(|error| error.to_string())?;
        let bytes = entries.iter().map(|entry| entry.record.len()).sum::<usize>();
        let mut maintenance = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        maintenance.bytes += bytes;
        if maintenance.bytes >= self.config.checkpoint_bytes {
            self.due.notify_one();
        }
        Ok(())
    }

    /// Whether a commit would be stored, as far as the last one or the last probe tells.
    pub(crate) fn takes_writes(&self) -> bool {
        !self.refusing.load(Ordering::Acquire) && !self.is_closed()
    }

    /// After a refused group, asks the engine whether it would take the next one: nobody may come to try.
    pub(crate) fn probe(&self) {
        if !self.refusing.load(Ordering::Acquire) {
            return;
        }
        match self.with_engine(|engine| engine.probe()) {
            Some(Ok(())) => {
                self.refusing.store(false, Ordering::Release);
                tracing::info!("storage takes commits again");
            }
            Some(Err(error)) => tracing::debug!(error = %error, "storage still refuses commits"),
            None => {}
        }
    }

    /// Makes a durable group visible: first the snapshot, so that whoever hears of a change can also see it.
    pub(crate) fn publish(&self, snapshot: Snapshot, changes: &[Arc<Change>]) -> Published {
        self.snapshot.store(Arc::new(snapshot));
        self.bus.publish(changes)
    }

    /// Up to where the history is too old.
    pub(crate) fn aged(&self) -> Revision {
        let (now, newest) = (self.clock.monotonic(), self.bus.recent().newest());
        self.ages.lock().unwrap_or_else(PoisonError::into_inner).look(now, newest)
    }

    /// Notes what compaction did.
    pub(crate) fn compacted(&self, oldest: Revision, buried: Vec<(bytes::Bytes, Revision)>) {
        self.oldest.fetch_max(oldest.0, Ordering::AcqRel);
        let keys = buried
            .into_iter()
            .filter_map(|(key, revision)| Some((record::key_from_index(&key)?, revision)));
        self.buried.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }

    pub(crate) fn take_buried(&self) -> Vec<(Key, Revision)> {
        std::mem::take(&mut *self.buried.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether maintenance has enough to do; for a store without threads. In memory it always has: there it costs nothing.
    pub(crate) fn maintenance_due(&self) -> bool {
        let enough = self.config.checkpoint_bytes;
        let on_disk = self.config.disk.is_some();
        let mut maintenance = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        if on_disk && maintenance.bytes < enough {
            return false;
        }
        maintenance.bytes = 0;
        true
    }

    /// Waits until maintenance has enough to do or `wait` has passed; false when it shall end.
    pub(crate) fn await_maintenance(&self, wait: Duration) -> bool {
        let maintenance = self.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.config.checkpoint_bytes;
        let idle = |m: &mut Maintenance| m.bytes < enough && !m.ending;
        let waited = self.due.wait_timeout_while(maintenance, wait, idle);
        let (mut maintenance, _) = waited.unwrap_or_else(PoisonError::into_inner);
        maintenance.bytes = 0;
        !maintenance.ending
    }

    pub(crate) fn end_maintenance(&self) {
        self.maintenance.lock().unwrap_or_else(PoisonError::into_inner).ending = true;
        self.due.notify_one();
    }

    /// Closes the engine; its files are free when this returns.
    pub(crate) fn close(&self) {
        let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = engine.as_ref().map(|engine| engine.checkpoint()) {
            tracing::warn!(error = %error, "the last checkpoint failed; the next start repeats it");
        }
        drop(engine);
        self.bus.close();
        self.closed.send_replace(true);
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    pub(crate) async fn await_closed(&self) {
        let mut closed = self.closed.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _closed: bool = closed.wait_for(|closed| *closed).await.is_ok();
    }
}
