//! Relays: the changes of one resource in one form, encoded once for all watches of that form.
//!
//! A relay's task follows the store's changes, cuts them into [`Chunk`]s, and wakes its watches. A watch asks for what
//! comes after the revision it has seen and gets the chunks that it shares with the others; their bytes are made by
//! whoever needs them first. The last chunks are kept, within bounds. A watch that the relay does not reach back to
//! (because it started in the past, or is slow) reads the store itself until it has caught up: nobody waits for it, and
//! nothing is kept for it.
//!
//! To wake a watch and to write to its connection costs the same for one event as for ten. So the more watches a relay
//! has, the further its chunks are apart ([`pace`]); what follows a pause is never held back.
//!
//! A relay begins with its first watch and ends with its last one, or when what it shows is shown otherwise from now on:
//! a definition has changed, and its watches have to begin anew.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quadrille_kit::Clock;
use quadrille_store::{
    Change, ChangeBatch, ChangeFilter, ChangeStream, ChangesError, Revision, Store,
};
use tokio::sync::{oneshot, watch};

use super::CHUNK_BYTES;
use super::form::{Form, FormKey, Standing};
use crate::app::App;

/// How far apart chunks are for each watch of a relay. A wake-up, a TLS record and a write cost about 10 µs of a core;
/// at this distance they take a fifth of one.
const PACE_PER_WATCH: Duration = Duration::from_micros(50);
/// The longest distance, and so the longest that an event is held back: half of the 50 ms that a person or a control
/// loop could notice, less the time that the writes themselves take.
const PACE_MAX: Duration = Duration::from_millis(20);
/// A shorter wait is none: the timer counts milliseconds.
const PACE_MIN: Duration = Duration::from_millis(1);
/// How much of the objects a relay keeps for watches that are late.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How many chunks it keeps.
const KEPT_CHUNKS_MAX: usize = 512;
/// How long it keeps them when nothing follows.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// How far apart the chunks for so many watches are.
pub(super) fn pace(watches: usize) -> Duration {
    let watches = u32::try_from(watches).unwrap_or(u32::MAX);
    let pace = PACE_PER_WATCH.saturating_mul(watches).min(PACE_MAX);
    if pace < PACE_MIN { Duration::ZERO } else { pace }
}

/// Successive changes.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The changes come after this revision …
    from: Revision,
    /// … and they are all up to this one.
    through: Revision,
    entries: Vec<Entry>,
    bytes: usize,
    whole: OnceLock<Bytes>,
}

#[derive(Debug)]
struct Entry {
    change: Arc<Change>,
    frame: OnceLock<Bytes>,
}

impl Chunk {
    fn new(from: Revision) -> Self {
        Self { from, through: from, entries: Vec::new(), bytes: 0, whole: OnceLock::new() }
    }

    /// Cuts a batch, so that no chunk is larger than what is sent at once, or than one change.
    fn cut(from: Revision, batch: ChangeBatch) -> Vec<Self> {
        let mut chunks = vec![Self::new(from)];
        for change in batch.changes {
            if chunks.last().is_none_or(|chunk| chunk.bytes >= CHUNK_BYTES) {
                chunks.push(Self::new(chunks.last().map_or(from, |chunk| chunk.through)));
            }
            if let Some(chunk) = chunks.last_mut() {
                chunk.bytes += change.object.bytes.len();
                chunk.through = change.revision;
                chunk.entries.push(Entry { change, frame: OnceLock::new() });
            }
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.through = batch.through;
        }
        chunks
    }

    pub(super) fn from(&self) -> Revision {
        self.from
    }

    pub(super) fn through(&self) -> Revision {
        self.through
    }

    /// All of it in a relay's form.
    pub(super) fn whole(&self, form: &Form) -> &Bytes {
        self.whole.get_or_init(|| {
            let mut out = BytesMut::with_capacity(self.bytes + self.entries.len() * 64);
            for entry in &self.entries {
                form.change(&mut out, &entry.change, false);
            }
            out.freeze()
        })
    }

    /// Its changes after a revision, each with how it is written for all.
    pub(super) fn after<'a>(
        &'a self,
        seen: Revision,
        form: &'a Form,
    ) -> impl Iterator<Item = (&'a Arc<Change>, impl Fn() -> &'a Bytes)> {
        let start = self.entries.partition_point(|entry| entry.change.revision <= seen);
        self.entries.iter().skip(start).map(move |entry| {
            let frame = move || {
                entry.frame.get_or_init(|| {
                    let mut out = BytesMut::new();
                    form.change(&mut out, &entry.change, false);
                    out.freeze()
                })
            };
            (&entry.change, frame)
        })
    }
}

/// What a relay has for a watch.
#[derive(Debug)]
pub(super) enum Reach {
    /// The next chunks; none when there is nothing new. The first may begin before what was asked for.
    Chunks(Vec<Arc<Chunk>>),
    /// The relay does not reach back so far.
    Behind,
    /// There will be nothing more.
    Closed(End),
}

/// Why a relay has nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The store is closed.
    Closed,
    /// Its objects are shown otherwise now.
    Changed,
    /// Its kind is gone, and what was known of it is void.
    Gone,
}

impl End {
    /// What ends with such a standing; `None` where nothing does.
    pub(super) fn of(standing: Standing) -> Option<Self> {
        match standing {
            Standing::Same => None,
            Standing::Changed => Some(Self::Changed),
            Standing::Gone | Standing::Replaced => Some(Self::Gone),
        }
    }
}

/// The last chunks, without gaps.
#[derive(Debug)]
struct Kept {
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
    /// Every change after this revision is in the chunks, or still to come.
    floor: Revision,
    end: Option<End>,
}

impl Kept {
    fn new(floor: Revision) -> Self {
        Self { chunks: VecDeque::new(), bytes: 0, floor, end: None }
    }

    fn push(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes;
        self.chunks.push_back(Arc::new(chunk));
        // The newest stays, however large.
        while self.chunks.len() > 1
            && (self.bytes > KEPT_BYTES_MAX || self.chunks.len() > KEPT_CHUNKS_MAX)
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.bytes -= chunk.bytes;
            self.floor = chunk.through;
        }
    }

    fn after(&self, seen: Revision) -> Reach {
        if seen < self.floor {
            // The store alone has what is missing, and it is not to be shown in this form any more.
            return self.end.filter(|end| *end != End::Closed).map_or(Reach::Behind, Reach::Closed);
        }
        let start = self.chunks.partition_point(|chunk| chunk.through <= seen);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for chunk in self.chunks.range(start..) {
            if bytes > 0 && bytes + chunk.bytes > CHUNK_BYTES {
                break;
            }
            bytes += chunk.bytes;
            found.push(Arc::clone(chunk));
        }
        match self.end {
            Some(end) if found.is_empty() => Reach::Closed(end),
            _ => Reach::Chunks(found),
        }
    }
}

/// The changes of one resource in one form.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) form: Form,
    kept: RwLock<Kept>,
    wake: watch::Sender<()>,
    /// Ends the relay's task when the last watch lets go.
    _needed: oneshot::Sender<Infallible>,
}

impl Relay {
    /// Wakes when there is more, or nothing will follow.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    /// What comes after a revision.
    pub(super) fn after(&self, seen: Revision) -> Reach {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).after(seen)
    }

    fn change(&self, act: impl FnOnce(&mut Kept)) {
        act(&mut self.kept.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn wake(&self) {
        self.wake.send_replace(());
    }

    /// Nothing more comes, and the watches learn why.
    fn end(&self, end: End) {
        self.change(|kept| kept.end = Some(end));
        self.wake();
    }
}

/// Every relay that has a watch.
#[derive(Debug, Default)]
pub(crate) struct Relays(Mutex<HashMap<FormKey, Weak<Relay>>>);

impl Relays {
    /// The relay of a form; begun if there is none.
    pub(super) fn join(&self, app: &App, form: Form) -> Arc<Relay> {
        let key = form.key();
        let mut relays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(relay) = relays.get(&key).and_then(Weak::upgrade) {
            return relay;
        }
        relays.retain(|_, relay| relay.strong_count() > 0);
        let relay = begin(app, form);
        relays.insert(key, Arc::downgrade(&relay));
        relay
    }
}

fn begin(app: &App, form: Form) -> Arc<Relay> {
    let store = app.registry.store().clone();
    let filter = ChangeFilter { resource: Some(form.resource().group_resource()) };
    let floor = store.revision();
    let (needed, unneeded) = oneshot::channel();
    let kept = RwLock::new(Kept::new(floor));
    let relay = Arc::new(Relay { form, kept, wake: watch::Sender::new(()), _needed: needed });
    let changes = store.changes(filter.clone(), floor);
    let relay_of_task = Arc::downgrade(&relay);
    let clock = Arc::clone(&app.clock);
    let registry = relay.form.registry();
    let catalog = relay.form.resource().is_defined().then(|| registry.catalog_changes());
    let follower =
        Follower { relay: relay_of_task, store, filter, changes, catalog, clock, at: floor };
    #[expect(
        clippy::disallowed_methods,
        reason = "bounded by the watches, ends with the last one"
    )]
    tokio::spawn(follower.run(unneeded));
    relay
}

/// What a relay's task has at hand. It does not keep the relay.
struct Follower {
    relay: Weak<Relay>,
    store: Store,
    filter: ChangeFilter,
    changes: ChangeStream,
    /// Wakes when definitions have changed; `None` where none has made the resource.
    catalog: Option<watch::Receiver<()>>,
    clock: Arc<dyn Clock>,
    /// Everything up to here is in chunks.
    at: Revision,
}

impl Follower {
    async fn run(mut self, mut unneeded: oneshot::Receiver<Infallible>) {
        let mut last: Option<Duration> = None;
        if !self.look_at_definition().await {
            return;
        }
        loop {
            let batch = tokio::select! {
                biased;
                _ = &mut unneeded => return,
                batch = self.changes.next() => batch,
                () = changed(&mut self.catalog) => {
                    if self.look_at_definition().await {
                        continue;
                    }
                    return;
                }
                () = self.clock.sleep(KEPT_FOR), if last.is_some() => {
                    last = None;
                    self.forget();
                    continue;
                }
            };
            let Some(relay) = self.relay.upgrade() else { return };
            let watches = relay.wake.receiver_count();
            drop(relay);
            let since = last.map(|last| self.clock.monotonic().saturating_sub(last));
            let wait = pace(watches).saturating_sub(since.unwrap_or(PACE_MAX));
            if wait >= PACE_MIN {
                self.clock.sleep(wait).await;
            }
            last = Some(self.clock.monotonic());
            if !self.relay(batch).await {
                return;
            }
        }
    }

    /// Ends the relay when its form is no longer that of the resource; false then. Of a kind that is gone, the deletion
    /// of its last objects is told first.
    async fn look_at_definition(&mut self) -> bool {
        let Some(relay) = self.relay.upgrade() else { return false };
        let standing = relay.form.standing();
        let Some(end) = End::of(standing) else { return true };
        if standing == Standing::Gone
            && let Ok(Some(batch)) = self.changes.try_next()
        {
            return self.relay(Ok(batch)).await;
        }
        relay.end(end);
        false
    }

    /// Hands a batch on, with what has come since; false when nothing will follow.
    async fn relay(&mut self, batch: Result<ChangeBatch, ChangesError>) -> bool {
        let Some(relay) = self.relay.upgrade() else { return false };
        match batch {
            Ok(batch) => {
                let batch = self.gathered(batch);
                // What was stored in another form was stored after the catalog had changed: this is asked after reading.
                let standing = relay.form.standing();
                if matches!(standing, Standing::Same | Standing::Gone) {
                    self.hand_on(&relay, batch).await;
                }
                if let Some(end) = End::of(standing) {
                    relay.end(end);
                    return false;
                }
            }
            Err(ChangesError::Closed) => relay.change(|kept| kept.end = Some(End::Closed)),
            // The watches read on their own, and learn for themselves what is lost.
            Err(ChangesError::Expired { .. } | ChangesError::Unavailable(_)) => {
                self.at = self.store.revision();
                self.changes = self.store.changes(self.filter.clone(), self.at);
                relay.change(|kept| *kept = Kept::new(self.at));
            }
        }
        relay.wake();
        relay.kept.read().is_ok_and(|kept| kept.end.is_none())
    }

    /// A batch with what has come since.
    fn gathered(&mut self, mut batch: ChangeBatch) -> ChangeBatch {
        // An error is met again by the next wait.
        while batch.changes.len() < KEPT_CHUNKS_MAX
            && let Ok(Some(more)) = self.changes.try_next()
        {
            batch.changes.extend(more.changes);
            batch.through = more.through;
        }
        batch
    }

    async fn hand_on(&mut self, relay: &Relay, batch: ChangeBatch) {
        let from = std::mem::replace(&mut self.at, batch.through);
        let batch = if relay.form.converts() { relay.form.convert(batch).await } else { Ok(batch) };
        match batch {
            Ok(batch) => {
                let chunks = Chunk::cut(from, batch);
                relay.change(|kept| chunks.into_iter().for_each(|chunk| kept.push(chunk)));
            }
            // The watches read on their own, and learn for themselves what is wrong.
            Err(_) => relay.change(|kept| *kept = Kept::new(self.at)),
        }
    }

    /// Nothing has followed for a while: whoever has not taken the last chunks reads the store.
    fn forget(&self) {
        if let Some(relay) = self.relay.upgrade() {
            relay.change(|kept| {
                while !kept.chunks.is_empty() {
                    kept.drop_oldest();
                }
            });
            // A watch that waits has seen everything; one that does not will find itself behind.
        }
    }
}

/// Waits for a change of the definitions; for ever where none matters.
async fn changed(catalog: &mut Option<watch::Receiver<()>>) {
    let has_changed = match catalog {
        Some(catalog) => catalog.changed().await.is_ok(),
        None => false,
    };
    if !has_changed {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
