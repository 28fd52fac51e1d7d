//! The journal: one durable record per run, beside the history of changes.
//!
//! It is an append-only log in segments of bounded size. What an entry says is its writer's business; the journal
//! knows its number, its time and two tags (which object, which plugin) by which it is found again without a scan, and
//! the pieces that many entries share, which are stored once per segment under their hash.
//!
//! # Flow
//! [`Journal::append`] puts an entry into a bounded queue and never waits. A thread of its own encodes what is queued,
//! writes it in one go and syncs it, at most [`GATHER`] after the first of it came. Runs are not held up by the disk:
//! when the queue is full, entries are dropped and counted.
//!
//! # Guarantees
//! - What was flushed is there after a crash; what was written half is cut off at the next opening. Damage before
//!   a good frame, or in a segment that is not the last, is stepped over and cuts off nothing.
//! - Each frame carries a checksum over its bytes, its segment and its place. A damaged one is never served.
//! - Within its budget of bytes and age everything is kept; beyond it the oldest segment goes as a whole.
//!
//! Without a directory it is the same in memory, and works in the caller's `append`.

mod book;
mod frame;
mod queue;
mod segment;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quadrille_kit::{Clock, Supervisor};
use quadrille_object::Timestamp;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use book::Book;
use queue::{Inner, Queue};

/// Entries are gathered for this long before they are written and synced together: the most that a crash takes.
pub const GATHER: Duration = Duration::from_millis(50);

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The directory of the segments; `None` keeps them in memory.
    pub dir: Option<PathBuf>,
    /// Entries are kept up to this many bytes. Default 64 MiB: some 200,000 runs.
    pub bytes_max: u64,
    /// Entries are kept up to this age, counted while the journal is open: after a start, what was there is kept for as
    /// long again. Jumps of the wall clock do not matter. Default 24 hours.
    pub age_max: Duration,
    /// The size of a segment, which is what is dropped at once. Default 8 MiB.
    pub segment_bytes: u32,
    /// How many bytes of entries may wait for the disk. Default 16 MiB; what comes then is dropped and counted.
    pub queue_bytes_max: usize,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            dir: None,
            bytes_max: 64 << 20,
            age_max: Duration::from_hours(24),
            segment_bytes: 8 << 20,
            queue_bytes_max: 16 << 20,
        }
    }
}

/// Why a journal cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refuses.
    #[error("cannot {act} {path}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The entry was damaged since it was written.
    #[error("entry {number} of the journal is damaged")]
    Damaged {
        /// Its number.
        number: u64,
    },
    /// A newer version of this program has written it.
    #[error("journal {path} has format {found}, this version reads {known}; use the newer version")]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format that can be read.
        known: u32,
    },
    /// The reading task did not end well.
    #[error("reading the journal failed: {0}")]
    Failed(String),
}

/// A piece that many entries share: stored once per segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    hash: u128,
    bytes: Bytes,
}

impl Piece {
    /// A piece under its hash.
    pub fn new(bytes: Bytes) -> Self {
        Self { hash: content_hash(&bytes), bytes }
    }

    /// The hash of the bytes.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The hash by which contents are compared: XXH3-128.
pub fn content_hash(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

/// Something that is put into a journal.
pub trait JournalEntry: fmt::Debug + Send + Sync {
    /// Its number, by which it is found.
    fn number(&self) -> u64;

    /// When it came about.
    fn at(&self) -> Timestamp;

    /// What it is about; see [`Tag`].
    fn tags(&self) -> Tags;

    /// About how many bytes it holds in memory.
    fn weight(&self) -> usize;

    /// The pieces that it shares with others; at most 255.
    fn shared(&self) -> Vec<Piece>;

    /// Writes the rest of it.
    fn encode(&self, out: &mut Vec<u8>);
}

/// A text by which entries are found, as a hash: two texts may share one, so that whoever reads compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub(crate) u64);

impl Tag {
    /// The tag of a text.
    pub fn of(text: &str) -> Self {
        Self(xxh3_64(text.as_bytes()))
    }
}

/// The tags of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags {
    /// The object that it is about.
    pub object: Tag,
    /// The plugin.
    pub plugin: Tag,
}

/// Which entries are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalQuery {
    /// All of them.
    #[default]
    All,
    /// Those about an object.
    Object(Tag),
    /// Those of a plugin.
    Plugin(Tag),
}

/// An entry as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// Its number.
    pub number: u64,
    /// When it came about.
    pub at: Timestamp,
    /// The pieces that it shares with others, in the entry's order.
    pub shared: Vec<Bytes>,
    /// The rest.
    pub body: Bytes,
}

/// Some entries, newest first.
#[derive(Clone, Debug, Default)]
pub struct JournalPage {
    /// The entries.
    pub records: Vec<JournalRecord>,
    /// Where to go on; `None` at the end.
    pub next: Option<JournalPlace>,
}

/// A place between two pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPlace(pub(crate) u64);

/// A journal in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalSize {
    /// Entries that can be read.
    pub records: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Entries that were dropped because the disk was too slow or refused.
    pub dropped: u64,
    /// Frames that were found damaged.
    pub damaged: u64,
}

/// The journal; cheap to clone. It closes when the last handle is dropped, or some time after the shutdown when nobody
/// appends any more.
#[derive(Clone, Debug)]
pub struct Journal {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.queue.close();
    }
}

impl Journal {
    /// Opens the segments, checks every frame, cuts off what was written half, and starts the writer.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub async fn open(
        config: JournalConfig,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Self, JournalError> {
        let (on_disk, dir) = (config.dir.is_some(), config.dir.clone().unwrap_or_default());
        let queue = Queue::new(config.queue_bytes_max);
        let now = clock.monotonic();
        let book = blocking(move || Book::open(config, now)).await?;
        let inner = Arc::new(Inner::new(book, queue, clock, on_disk));
        if on_disk {
            queue::start(&inner, supervisor).map_err(|source| JournalError::Io {
                act: "start a thread for",
                path: dir,
                source,
            })?;
        }
        Ok(Self { handle: Arc::new(Handle { inner }) })
    }

    /// Hands an entry over; it is written in the background. Never waits.
    pub fn append(&self, entry: Arc<dyn JournalEntry>) {
        self.inner().append(entry);
    }

    /// Waits until everything that was appended so far is on disk, or was dropped.
    pub async fn flush(&self) {
        self.inner().flush().await;
    }

    /// An entry by its number; `None` when there is none, or none any more.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read(&self, number: u64) -> Result<Option<JournalRecord>, JournalError> {
        let inner = Arc::clone(self.inner());
        self.reading(move || inner.read(number)).await
    }

    /// The newest entries, newest first; from a place on, or from the end. Damaged ones are left out and counted.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn newest(
        &self,
        query: JournalQuery,
        from: Option<JournalPlace>,
        limit: usize,
    ) -> Result<JournalPage, JournalError> {
        let inner = Arc::clone(self.inner());
        self.reading(move || inner.newest(query, from, limit)).await
    }

    /// The highest number of an entry; 0 without entries.
    pub fn last_number(&self) -> u64 {
        self.inner().last_number()
    }

    /// How large it is.
    pub fn size(&self) -> JournalSize {
        self.inner().size()
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.handle.inner
    }

    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        if self.inner().is_on_disk() { blocking(work).await } else { work() }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(JournalError::Failed(error.to_string())))
}

#[cfg(test)]
mod tests;
