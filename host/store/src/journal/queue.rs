//! From `append` to the disk: a bounded queue and the thread that empties it.
//!
//! Nobody who appends waits. The thread sleeps while there is nothing, gathers for a moment when something comes, and
//! writes it in one go. When the disk refuses, what was to be written is dropped and counted, and the next batch tries
//! anew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::{Clock, Supervisor};
use tokio::sync::watch;

use super::book::{Book, Located};
use super::frame::{self, Body};
use super::{
    GATHER, JournalEntry, JournalError, JournalPage, JournalPlace, JournalQuery, JournalRecord,
    JournalSize,
};

/// After the shutdown starts, the writer ends once nobody has appended for this long.
const IDLE_BEFORE_END: Duration = Duration::from_millis(300);

/// How often age is looked at when nobody appends.
const PERIOD: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Inner {
    book: Mutex<Book>,
    pub(super) queue: Queue,
    clock: Arc<dyn Clock>,
    on_disk: bool,
    dropped: AtomicU64,
    /// How many of the entries taken into the queue have been dealt with.
    done: watch::Sender<u64>,
}

/// Where entries wait.
#[derive(Debug)]
pub(super) struct Queue {
    bytes_max: usize,
    state: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<Arc<dyn JournalEntry>>,
    bytes: usize,
    /// Entries taken in so far.
    taken: u64,
    ending: Ending,
    /// Whether somebody waits for a flush, so that nothing is gathered.
    hurry: bool,
    /// Whether the writer sleeps: waking one that does not is a system call for nothing.
    sleeping: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    No,
    WhenIdle,
    Now,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default(), ready: Condvar::new() }
    }

    /// Takes an entry in; false when there is no room or the writer has ended.
    fn push(&self, entry: Arc<dyn JournalEntry>) -> bool {
        let mut state = self.lock();
        if state.ending == Ending::Now || state.bytes >= self.bytes_max {
            return false;
        }
        state.bytes += entry.weight();
        state.entries.push(entry);
        state.taken += 1;
        let wake = std::mem::take(&mut state.sleeping);
        drop(state);
        if wake {
            self.ready.notify_one();
        }
        true
    }

    /// Waits for entries and gathers for a moment; `None` when there are none and will be none, no entries when it is
    /// time to look at their age.
    fn take(&self) -> Option<Vec<Arc<dyn JournalEntry>>> {
        let mut state = self.lock();
        if state.entries.is_empty() {
            if state.ending == Ending::Now {
                return None;
            }
            state.sleeping = true;
            let wait = if state.ending == Ending::No { PERIOD } else { IDLE_BEFORE_END };
            let idle = |state: &mut Waiting| state.sleeping && state.ending != Ending::Now;
            let waited = self.ready.wait_timeout_while(state, wait, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.sleeping = false;
            if state.entries.is_empty() && state.ending == Ending::WhenIdle && !state.hurry {
                state.ending = Ending::Now;
            }
        }
        let half = self.bytes_max / 2;
        let gathers = |s: &mut Waiting| !s.hurry && s.ending != Ending::Now && s.bytes < half;
        if !state.entries.is_empty() {
            let waited = self.ready.wait_timeout_while(state, GATHER, gathers);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.bytes = 0;
        state.hurry = false;
        Some(std::mem::take(&mut state.entries))
    }

    /// Lets the writer end once it is idle.
    fn end_when_idle(&self) {
        let mut state = self.lock();
        if state.ending == Ending::No {
            state.ending = Ending::WhenIdle;
        }
        state.sleeping = false;
        drop(state);
        self.ready.notify_one();
    }

    /// Takes no more; what is queued is still written.
    pub(super) fn close(&self) {
        self.lock().ending = Ending::Now;
        self.ready.notify_one();
    }

    /// Writes what there is at once; answers how many entries were taken in so far.
    fn hurry(&self) -> u64 {
        let mut state = self.lock();
        state.hurry = true;
        state.sleeping = false;
        let taken = state.taken;
        drop(state);
        self.ready.notify_one();
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the writer.
pub(super) fn start(inner: &Arc<Inner>, supervisor: &Supervisor) -> std::io::Result<()> {
    let of_writer = Arc::clone(inner);
    supervisor.spawn_thread("journal", move || of_writer.write_all())?;
    let (shutdown, at_shutdown) = (supervisor.shutdown(), Arc::downgrade(inner));
    supervisor.spawn_brief("journal-shutdown", async move {
        shutdown.started().await;
        if let Some(inner) = at_shutdown.upgrade() {
            inner.queue.end_when_idle();
        }
    });
    Ok(())
}

impl Inner {
    pub(super) fn new(book: Book, queue: Queue, clock: Arc<dyn Clock>, on_disk: bool) -> Self {
        let (book, done) = (Mutex::new(book), watch::Sender::new(0));
        Self { book, queue, clock, on_disk, dropped: AtomicU64::new(0), done }
    }

    pub(super) fn is_on_disk(&self) -> bool {
        self.on_disk
    }

    pub(super) fn append(&self, entry: Arc<dyn JournalEntry>) {
        if !self.on_disk {
            self.write(&[entry]);
        } else if !self.queue.push(entry) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn write_all(&self) {
        while let Some(entries) = self.queue.take() {
            if entries.is_empty() {
                self.lock().drop_old(self.clock.monotonic());
            } else {
                self.write(&entries);
                self.done.send_modify(|done| *done += entries.len() as u64);
            }
        }
        // Nobody waits for a writer that is gone.
        self.done.send_replace(u64::MAX);
    }

    fn write(&self, entries: &[Arc<dyn JournalEntry>]) {
        let before = self.lock().records();
        let written = self.lock().append(entries, self.clock.monotonic());
        let lost = match written {
            Ok(lost) => lost,
            Err(error) => {
                let kept = self.lock().records().saturating_sub(before);
                let error = quadrille_kit::supervisor::chain(&error);
                tracing::warn!(error, "the journal of runs is not written; its runs are dropped");
                (entries.len() as u64).saturating_sub(kept)
            }
        };
        self.dropped.fetch_add(lost, Ordering::Relaxed);
    }

    pub(super) async fn flush(&self) {
        if !self.on_disk {
            return;
        }
        let wanted = self.queue.hurry();
        let mut done = self.done.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _done: bool = done.wait_for(|done| *done >= wanted).await.is_ok();
    }

    pub(super) fn last_number(&self) -> u64 {
        self.lock().last_number()
    }

    pub(super) fn size(&self) -> JournalSize {
        let book = self.lock();
        let (records, bytes, damaged) = (book.records(), book.bytes(), book.damaged);
        JournalSize { records, bytes, dropped: self.dropped.load(Ordering::Relaxed), damaged }
    }

    pub(super) fn read(&self, number: u64) -> Result<Option<JournalRecord>, JournalError> {
        let Some(located) = self.lock().find(number) else { return Ok(None) };
        match self.load(&located)? {
            Some(record) => Ok(Some(record)),
            None => Err(JournalError::Damaged { number }),
        }
    }

    pub(super) fn newest(
        &self,
        query: JournalQuery,
        from: Option<JournalPlace>,
        limit: usize,
    ) -> Result<JournalPage, JournalError> {
        let (found, next) = self.lock().newest(query, from.map(|place| place.0), limit);
        let mut records = Vec::with_capacity(found.len());
        for located in &found {
            records.extend(self.load(located)?);
        }
        Ok(JournalPage { records, next: next.map(JournalPlace) })
    }

    /// Reads an entry; `None` when it is damaged, or was dropped with its segment meanwhile.
    fn load(&self, located: &Located) -> Result<Option<JournalRecord>, JournalError> {
        let Located { number, segment, medium, spot, .. } = located;
        let body = medium.read(*segment, *spot)?.and_then(frame::read);
        let Some(Body::Record(record)) = body.filter(|body| is_entry(body, *number)) else {
            self.note_damage(*number);
            return Ok(None);
        };
        let mut shared = Vec::with_capacity(record.shared.len());
        for hash in record.shared {
            let Some(spot) = self.lock().shared(*segment, hash) else { return Ok(None) };
            let Some(Body::Shared { bytes, .. }) =
                medium.read(*segment, spot)?.and_then(frame::read)
            else {
                self.note_damage(*number);
                return Ok(None);
            };
            shared.push(bytes);
        }
        Ok(Some(JournalRecord { number: *number, at: record.at, shared, body: record.body }))
    }

    fn note_damage(&self, number: u64) {
        self.lock().damaged += 1;
        tracing::error!(run = number, "an entry of the journal is damaged and not served");
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_entry(body: &Body, number: u64) -> bool {
    matches!(body, Body::Record(record) if record.number == number)
}
