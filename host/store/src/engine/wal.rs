//! A write-ahead log in front of another engine: `persist` is one write and one flush of a preallocated file,
//! and the engine below takes the changes in large batches off the answer's path.
//!
//! # Protocol
//! - A batch is appended to the current segment as one frame ([`frame`]), flushed, and remembered in memory
//!   until a checkpoint has moved it below. Reads look there first, then below.
//! - A full segment is followed by the other file, once everything in that one is below: at most two segments
//!   of changes are ahead of the checkpoint. When checkpoints fail, `persist` fails at that bound.
//! - After a failed write or flush the segment is never used again as it is. The next batch goes to the other
//!   file, behind an empty frame that voids what the failed segment may hold from its revision on.
//!
//! # Recovery
//! All whole frames of both files are put in order. A frame from a higher segment voids those of lower ones
//! from its first revision on. From the newest revision below on they must follow each other without a gap;
//! they are moved below, and the log begins anew. Only whole frames are moved at once, so a start that is interrupted
//! leaves the next one a border between two frames. A frame that is not whole and that nothing follows is a torn
//! tail: its batch was never acknowledged. A gap before a later whole frame means that acknowledged changes
//! are damaged, and the store does not open.
//!
//! # Caveats
//! If the very last frame is damaged after it was acknowledged and before it was checkpointed, it cannot be
//! told from a torn one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

use self::frame::Frame;
use self::medium::{Medium, OnDisk, SEGMENT_BYTES, SEGMENTS, Segment};
use super::redb::RedbEngine;
use super::{Budget, Compacted, Engine, EngineError, Entry, Loaded, ReadLimit, Size};
use crate::disk::{Disk, DiskFile};
use crate::key::Revision;
use crate::record::IndexEntry;

mod frame;
pub(crate) mod medium;

/// Bytes moved below by one engine transaction: large enough that inner pages are written once for many
/// changes, small enough that a compaction step never waits long for it.
const CHECKPOINT_BYTES: usize = 8 * 1024 * 1024;

type Batch = Arc<Vec<Entry>>;

/// redb behind a write-ahead log.
#[derive(Debug)]
pub(crate) struct WalEngine {
    below: RedbEngine,
    id: u64,
    medium: Box<dyn Medium>,
    writer: Mutex<Writer>,
    /// Flushed here and not yet known to be below, in order.
    ahead: RwLock<VecDeque<Batch>>,
    checkpointing: Mutex<()>,
    /// The lock on the store; let go last.
    #[expect(dead_code, reason = "what counts is that it is held")]
    lock: Option<Arc<dyn DiskFile>>,
}

#[derive(Debug)]
struct Writer {
    number: u64,
    /// `None` before the first batch and after an error.
    segment: Option<Box<dyn Segment>>,
    at: u64,
    /// The newest revision written to each file.
    last: [Revision; 2],
    /// Whether the segment before may hold a batch that was refused.
    refused: bool,
    /// Whether the engine below may: one that was too large for the log.
    refused_below: bool,
    frame: Vec<u8>,
}

impl WalEngine {
    /// Replays what the log holds and begins it anew.
    pub(crate) fn open(below: RedbEngine, medium: Box<dyn Medium>) -> Result<Self, EngineError> {
        let id = below.state().id;
        let mut frames = Vec::new();
        for file in 0..SEGMENTS {
            let bytes = medium.read(file).map_err(EngineError::of_disk)?;
            frames.extend(frame::find_all(id, &bytes)?);
        }
        let number = frames.iter().map(|frame| frame.number).max().unwrap_or(0);
        let frames = follow(frames, below.state().newest)?;
        let replayed = frames.last().map(Frame::last);
        let writer = Writer {
            number,
            segment: None,
            at: 0,
            last: [Revision(0); 2],
            refused: false,
            refused_below: false,
            frame: Vec::new(),
        };
        let ahead = frames.into_iter().map(|frame| Arc::new(frame.entries)).collect();
        let (writer, ahead) = (Mutex::new(writer), RwLock::new(ahead));
        let checkpointing = Mutex::default();
        let engine = Self { below, id, medium, writer, ahead, checkpointing, lock: None };
        // Like any checkpoint it moves whole frames: a part of one would be taken for a refused batch by the next start.
        engine.checkpoint()?;
        if let Some(revision) = replayed {
            tracing::info!(revision = revision.0, "log replayed");
        }
        lock(&engine.writer).next_segment(engine.medium.as_ref())?;
        Ok(engine)
    }

    /// Keeps the lock on its files for as long as it is open.
    pub(crate) fn holding(self, lock: Option<Arc<dyn DiskFile>>) -> Self {
        Self { lock, ..self }
    }

    /// The engine that changes are moved to.
    pub(crate) fn below(&self) -> &RedbEngine {
        &self.below
    }

    fn ahead(&self) -> RwLockReadGuard<'_, VecDeque<Batch>> {
        self.ahead.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a frame: another segment, when this one is full or failed. First a refused batch is taken out below:
    /// the next start would find it there, and take the frame that got its revisions for one that was moved.
    fn make_room(
        &self,
        writer: &mut Writer,
        first: Revision,
        bytes: u64,
    ) -> Result<(), EngineError> {
        if writer.refused_below {
            self.below.settle()?;
            writer.refused_below = false;
        }
        if writer.segment.is_some() && writer.at + bytes <= SEGMENT_BYTES {
            return Ok(());
        }
        writer.segment = None;
        let file = file_of(writer.number + 1);
        if writer.last.get(file).is_some_and(|last| *last > self.below.state().newest) {
            self.checkpoint()?;
        }
        writer.next_segment(self.medium.as_ref())?;
        if writer.refused {
            writer.append(self.id, first, &[])?;
            writer.refused = false;
        }
        Ok(())
    }
}

impl Writer {
    fn next_segment(&mut self, medium: &dyn Medium) -> Result<(), EngineError> {
        let number = self.number + 1;
        self.segment = Some(medium.open(number % SEGMENTS).map_err(EngineError::of_disk)?);
        self.number = number;
        self.at = 0;
        Ok(())
    }

    fn append(&mut self, id: u64, first: Revision, batch: &[Entry]) -> Result<(), EngineError> {
        frame::encode(&mut self.frame, id, self.number, first, batch);
        let Some(segment) = &self.segment else {
            return Err(EngineError::Io("the log is closed".to_owned()));
        };
        segment.write_at(&self.frame, self.at).and_then(|()| segment.sync()).map_err(|error| {
            self.refused = true;
            self.segment = None;
            EngineError::of_disk(error)
        })?;
        self.at += self.frame.len() as u64;
        if let (Some(entry), Some(last)) = (batch.last(), self.last.get_mut(file_of(self.number))) {
            *last = entry.revision;
        }
        Ok(())
    }
}

impl Engine for WalEngine {
    fn load(&self) -> Result<Loaded, EngineError> {
        self.checkpoint()?;
        self.below.load()
    }

    fn persist(&self, batch: &[Entry]) -> Result<(), EngineError> {
        let Some(first) = batch.first().map(|entry| entry.revision) else { return Ok(()) };
        let bytes = frame::size(batch) as u64;
        if bytes > SEGMENT_BYTES - frame::BLOCK_BYTES as u64 {
            // Too large for the log; the engine below takes it at once, behind what is ahead of it.
            self.checkpoint()?;
            let persisted = self.below.persist(batch);
            return persisted.inspect_err(|_| lock(&self.writer).refused_below = true);
        }
        let mut writer = lock(&self.writer);
        self.make_room(&mut writer, first, bytes)?;
        writer.append(self.id, first, batch)?;
        drop(writer);
        let mut ahead = self.ahead.write().unwrap_or_else(PoisonError::into_inner);
        ahead.push_back(Arc::new(batch.to_vec()));
        Ok(())
    }

    /// Puts the segment in order that a failed flush left behind; that writes and flushes the empty frame.
    fn probe(&self) -> Result<(), EngineError> {
        let mut writer = lock(&self.writer);
        let written = writer.last.iter().copied().max().unwrap_or_default();
        // Taken under the lock: no acknowledged revision is behind it, so the empty frame voids none.
        let first = written.max(self.below.state().newest).next();
        self.make_room(&mut writer, first, frame::BLOCK_BYTES as u64)
    }

    fn read(
        &self,
        after: Revision,
        limit: ReadLimit,
    ) -> Result<Vec<(Revision, Bytes)>, EngineError> {
        // What leaves the queue is below by then, so looking here first misses nothing.
        let ahead: Vec<Batch> = self.ahead().iter().cloned().collect();
        let first = ahead.first().and_then(|batch| batch.first()).map(|entry| entry.revision);
        match first {
            Some(first) if after.next() >= first => {}
            Some(first) => {
                let through = limit.through.min(Revision(first.0 - 1));
                return self.below.read(after, ReadLimit { through, ..limit });
            }
            None => return self.below.read(after, limit),
        }
        let mut bytes = 0;
        let entries = ahead.iter().flat_map(|batch| batch.iter());
        let wanted = entries
            .skip_while(|entry| entry.revision <= after)
            .take_while(|entry| entry.revision <= limit.through)
            .take(limit.records_max)
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += entry.record.len();
                first || bytes <= limit.bytes_max
            });
        Ok(wanted.map(|entry| (entry.revision, entry.record.clone())).collect())
    }

    fn record(&self, revision: Revision) -> Result<Option<Bytes>, EngineError> {
        let ahead = self.ahead();
        let at = ahead.partition_point(|batch| batch.last().is_some_and(|e| e.revision < revision));
        let batch = ahead.get(at).cloned();
        drop(ahead);
        let found = batch.and_then(|batch| batch.iter().find(|e| e.revision == revision).cloned());
        found.map_or_else(|| self.below.record(revision), |entry| Ok(Some(entry.record)))
    }

    fn index(&self, index_key: &[u8]) -> Result<Option<IndexEntry>, EngineError> {
        let ahead: Vec<Batch> = self.ahead().iter().cloned().collect();
        let mut entries = ahead.iter().rev().flat_map(|batch| batch.iter().rev());
        match entries.find(|entry| entry.index_key == index_key) {
            Some(entry) => Ok(Some(IndexEntry { revision: entry.revision, live: entry.live })),
            None => self.below.index(index_key),
        }
    }

    fn compact(&self, budget: Budget) -> Result<Compacted, EngineError> {
        self.below.compact(budget)
    }

    /// Moves what was ahead when it began. What is written meanwhile is for the next one: under steady writes there is
    /// always some, and compaction waits for this one to end.
    fn checkpoint(&self) -> Result<(), EngineError> {
        let _alone = lock(&self.checkpointing);
        let end = self.ahead().back().and_then(|batch| batch.last()).map(|entry| entry.revision);
        loop {
            let (mut batches, mut entries, mut bytes) = (0, Vec::new(), 0);
            for batch in self.ahead().iter() {
                let later = batch.first().map(|entry| entry.revision) > end;
                if later || bytes > CHECKPOINT_BYTES {
                    break;
                }
                bytes += batch.iter().map(|entry| entry.record.len()).sum::<usize>();
                entries.extend(batch.iter().cloned());
                batches += 1;
            }
            if batches == 0 {
                return Ok(());
            }
            self.below.persist(&entries)?;
            self.ahead.write().unwrap_or_else(PoisonError::into_inner).drain(..batches);
        }
    }

    fn shrink(&self) -> Result<(), EngineError> {
        self.below.shrink()
    }

    fn oldest(&self) -> Revision {
        self.below.oldest()
    }

    fn blocks(&self) -> bool {
        self.medium.blocks()
    }

    fn size(&self) -> Size {
        let file_bytes = self.below.size().file_bytes + SEGMENTS * SEGMENT_BYTES;
        let queue = self.ahead();
        // A checkpoint writes below before it takes out of the queue: what is in both counts once. The guard keeps it from
        // taking out what was not below when that was asked.
        let below = self.below.state();
        let entries = queue.iter().flat_map(|batch| batch.iter());
        let ahead = entries.filter(|entry| entry.revision > below.newest);
        let ahead: u64 = ahead.map(|entry| entry.record.len() as u64).sum();
        drop(queue);
        Size {
            file_bytes,
            history_bytes: below.history_bytes + ahead,
            record_bytes: below.record_bytes + ahead,
        }
    }
}

/// What can be read of a log, in order, gaps or not: for what is left of a damaged store.
pub(crate) fn replayable(disk: &Arc<dyn Disk>, id: u64) -> Vec<Entry> {
    let log = OnDisk(Arc::clone(disk));
    let files = (0..SEGMENTS).filter_map(|file| log.read_any(file).ok());
    let frames = files.filter_map(|bytes| frame::find_all(id, &bytes).ok()).flatten().collect();
    valid(frames).into_iter().flat_map(|frame| frame.entries).collect()
}

/// The frames in order, without those that were refused.
fn valid(mut frames: Vec<Frame>) -> Vec<Frame> {
    frames.sort_by_key(|frame| (frame.number, frame.first));
    let mut valid: Vec<Frame> = Vec::new();
    for frame in frames {
        // A higher segment has the last word on its revisions.
        while valid.last().is_some_and(|v| v.number < frame.number && v.last() >= frame.first) {
            valid.pop();
        }
        valid.push(frame);
    }
    valid
}

/// The frames that follow `newest` without a gap, each whole. One that `newest` lies in was refused, and what is below
/// took its place; so nothing of it counts, not even what it has behind `newest`.
fn follow(frames: Vec<Frame>, newest: Revision) -> Result<Vec<Frame>, EngineError> {
    let (mut end, mut following) = (newest, Vec::new());
    for frame in valid(frames).into_iter().filter(|frame| !frame.entries.is_empty()) {
        if frame.first <= end {
            continue;
        }
        if frame.first != end.next() {
            return Err(EngineError::Corrupt(format!(
                "acknowledged changes after revision {end} are missing from its log"
            )));
        }
        end = frame.last();
        following.push(frame);
    }
    Ok(following)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file that a segment lies in, as an index.
fn file_of(number: u64) -> usize {
    usize::from(!number.is_multiple_of(SEGMENTS))
}

#[cfg(test)]
mod tests;
