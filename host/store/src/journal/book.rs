//! The books of a journal: its segments, and where each entry lies.
//!
//! Entries of one object, and of one plugin, form chains from the newest back, so that a question costs what it answers.
//! An entry costs some 60 bytes here. Positions count all entries ever indexed; those below `base` are gone.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::frame::{self, Body, Follows, HEADER_BYTES, Place};
use super::segment::{self, Medium, Segment, Spot};
use super::{JournalConfig, JournalEntry, JournalError, JournalQuery, Tag, Tags};
use crate::age::Ages;
use crate::key::Revision;

#[derive(Debug)]
pub(super) struct Book {
    pub(super) config: JournalConfig,
    segments: VecDeque<Segment>,
    entries: VecDeque<Indexed>,
    /// The position of the first of `entries`.
    base: u64,
    numbers: BTreeMap<u64, u64>,
    objects: BTreeMap<Tag, u64>,
    plugins: BTreeMap<Tag, u64>,
    /// How old they are, by position.
    ages: Ages,
    pub(super) damaged: u64,
}

/// One entry: where it lies, and how far back the one before it of the same object and plugin is (0: none).
#[derive(Clone, Copy, Debug)]
struct Indexed {
    number: u64,
    segment: u32,
    spot: Spot,
    object_before: u32,
    plugin_before: u32,
}

/// Where to read an entry from.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) number: u64,
    pub(super) segment: u64,
    pub(super) medium: Medium,
    pub(super) spot: Spot,
}

/// What was appended to a segment and is not indexed yet.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    shared: Vec<(u128, Spot)>,
    records: Vec<(u64, Tags, Spot)>,
}

impl Book {
    pub(super) fn open(config: JournalConfig, now: Duration) -> Result<Self, JournalError> {
        let found = config.dir.as_deref().map_or_else(|| Ok(Vec::new()), segment::list)?;
        let mut book = Self {
            segments: VecDeque::new(),
            entries: VecDeque::new(),
            base: 1,
            numbers: BTreeMap::new(),
            objects: BTreeMap::new(),
            plugins: BTreeMap::new(),
            ages: Ages::new(config.age_max, now, Revision::default()),
            damaged: 0,
            config,
        };
        let newest = found.last().map(|(number, _)| *number);
        for (number, path) in found {
            book.recover(number, Medium::open(path)?, Some(number) == newest)?;
        }
        // How long it was closed is not known, and the wall clock may be wrong: what is here counts from now on.
        book.ages = Ages::new(book.config.age_max, now, Revision(book.last_position()));
        book.drop_old(now);
        Ok(book)
    }

    /// Reads a segment through. What does not check out is left out. Only what a crash left at the very end, where nothing
    /// good follows, is cut off.
    fn recover(
        &mut self,
        number: u64,
        medium: Medium,
        is_newest: bool,
    ) -> Result<(), JournalError> {
        let bytes = medium.read_all()?;
        let shared = BTreeMap::new();
        self.segments.push_back(Segment { number, medium, length: 0, records: 0, shared });
        let (mut at, mut cuts) = (0, is_newest);
        while at < bytes.len() {
            let Ok(offset) = u32::try_from(at) else { break };
            let body = frame::check(Place { segment: number, offset }, &bytes.slice(at..));
            let whole = HEADER_BYTES + body.as_ref().map_or(0, bytes::Bytes::len);
            if let Some(body) = body.and_then(frame::read) {
                if let Body::Begin { format, segment } = body {
                    self.check_begin(number, (format, segment))?;
                }
                self.recovered(body, (offset, spot_length(whole)));
                at += whole;
            } else {
                self.damaged += 1;
                let follows = frame::after_damage(number, &bytes, at);
                cuts &= follows != Follows::Unknown;
                let Follows::Good(next) = follows else { break };
                at = next;
            }
            self.set_length(u32::try_from(at).unwrap_or(u32::MAX));
        }
        self.end_at(number, bytes.len(), cuts)
    }

    /// What is behind the last good frame of a segment: cut off where it `cuts`, left alone elsewhere.
    fn end_at(&mut self, number: u64, bytes: usize, cuts: bool) -> Result<(), JournalError> {
        let Some(last) = self.segments.back_mut() else { return Ok(()) };
        let lost = bytes.saturating_sub(usize::try_from(last.length).unwrap_or(usize::MAX));
        if lost == 0 {
            return Ok(());
        }
        tracing::warn!(
            segment = number,
            offset = last.length,
            lost,
            cuts,
            "the end of a segment of the journal is not whole"
        );
        if cuts {
            return last.medium.cut(last.length);
        }
        last.length = u32::try_from(bytes).unwrap_or(u32::MAX);
        Ok(())
    }

    fn check_begin(&self, number: u64, (format, segment): (u32, u64)) -> Result<(), JournalError> {
        let Some(Segment { medium: Medium::File(_, path), .. }) = self.segments.back() else {
            return Ok(());
        };
        if format > frame::FORMAT || segment != number {
            let (path, known) = (path.clone(), frame::FORMAT);
            return Err(JournalError::Newer { path, found: format, known });
        }
        Ok(())
    }

    fn recovered(&mut self, body: Body, spot: Spot) {
        match body {
            Body::Begin { .. } => {}
            Body::Shared { hash, .. } => {
                if let Some(last) = self.segments.back_mut() {
                    last.shared.insert(hash, spot);
                }
            }
            Body::Record(record) => self.index(record.number, record.tags, spot),
        }
    }

    fn set_length(&mut self, length: u32) {
        if let Some(last) = self.segments.back_mut() {
            last.length = length;
        }
    }

    /// Adds an entry of the last segment to the index.
    fn index(&mut self, number: u64, tags: Tags, spot: Spot) {
        let position = self.base + self.entries.len() as u64;
        let Some(last) = self.segments.back_mut() else { return };
        last.records += 1;
        let back = |before: Option<u64>| {
            let before = before.filter(|before| *before >= self.base);
            before.and_then(|before| u32::try_from(position - before).ok()).unwrap_or(0)
        };
        let object_before = back(self.objects.insert(tags.object, position));
        let plugin_before = back(self.plugins.insert(tags.plugin, position));
        // Segments are numbered from 1 in steps of one, so that 32 bits last for 32 PiB.
        let segment = u32::try_from(last.number).unwrap_or(u32::MAX);
        let indexed = Indexed { number, segment, spot, object_before, plugin_before };
        self.entries.push_back(indexed);
        self.numbers.insert(number, position);
    }

    /// Appends entries in their order and syncs them; answers how many could not be kept.
    pub(super) fn append(
        &mut self,
        entries: &[std::sync::Arc<dyn JournalEntry>],
        now: Duration,
    ) -> Result<u64, JournalError> {
        let (mut batch, mut dropped) = (Batch::default(), 0);
        for entry in entries {
            let full = self.segments.back().is_none_or(|last| {
                let length = last.length as usize + batch.bytes.len();
                length >= self.config.segment_bytes as usize
            });
            if full {
                self.write(std::mem::take(&mut batch))?;
                self.begin_segment()?;
            }
            dropped += u64::from(!self.encode(&mut batch, entry.as_ref()));
        }
        self.write(batch)?;
        self.drop_old(now);
        Ok(dropped)
    }

    /// Adds an entry to a batch, its shared pieces first where the segment lacks them; false when it is too long.
    fn encode(&self, batch: &mut Batch, entry: &dyn JournalEntry) -> bool {
        let Some(last) = self.segments.back() else { return false };
        let place = |bytes: &Vec<u8>| Place {
            segment: last.number,
            offset: last.length.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        };
        let shared = entry.shared();
        for piece in &shared {
            let known = last.shared.contains_key(&piece.hash())
                || batch.shared.iter().any(|(hash, _)| *hash == piece.hash());
            if known {
                continue;
            }
            let at = place(&batch.bytes);
            let write = |out: &mut Vec<u8>| frame::shared(out, piece.hash(), piece.bytes());
            let Some(length) = frame::push(&mut batch.bytes, at, write) else { return false };
            batch.shared.push((piece.hash(), (at.offset, length)));
        }
        let hashes: Vec<u128> = shared.iter().map(super::Piece::hash).collect();
        let (number, when, tags) = (entry.number(), entry.at(), entry.tags());
        let at = place(&batch.bytes);
        let length = frame::push(&mut batch.bytes, at, |out| {
            frame::record(out, number, when, tags, &hashes);
            entry.encode(out);
        });
        let Some(length) = length else { return false };
        batch.records.push((number, tags, (at.offset, length)));
        true
    }

    /// Writes a batch to the last segment and indexes it. When the disk refuses, the segment is as before.
    fn write(&mut self, batch: Batch) -> Result<(), JournalError> {
        if batch.bytes.is_empty() {
            return Ok(());
        }
        let Some(last) = self.segments.back_mut() else { return Ok(()) };
        let written = last.medium.append(last.length, &batch.bytes);
        if let Err(error) = written.and_then(|()| last.medium.sync()) {
            // Leftovers are overwritten by the next batch, or cut off at the next opening.
            drop(last.medium.cut(last.length));
            return Err(error);
        }
        let grown = u32::try_from(batch.bytes.len()).unwrap_or(u32::MAX);
        last.length = last.length.saturating_add(grown);
        last.shared.extend(batch.shared);
        for (number, tags, spot) in batch.records {
            self.index(number, tags, spot);
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), JournalError> {
        let number = self.segments.back().map_or(1, |last| last.number + 1);
        let medium = Medium::create(self.config.dir.as_deref(), number)?;
        let mut bytes = Vec::new();
        let place = Place { segment: number, offset: 0 };
        frame::push(&mut bytes, place, |out| frame::begin(out, number));
        medium.append(0, &bytes)?;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let shared = BTreeMap::new();
        self.segments.push_back(Segment { number, medium, length, records: 0, shared });
        Ok(())
    }

    /// Drops the oldest segments until the rest is within the budget; never the last one.
    pub(super) fn drop_old(&mut self, now: Duration) {
        let aged = self.ages.look(now, Revision(self.last_position())).0;
        let mut dropped = false;
        while self.segments.len() > 1 {
            let is_due = self.bytes() > self.config.bytes_max
                || (aged > 0
                    && self
                        .segments
                        .front()
                        .is_some_and(|first| self.base + first.records <= aged + 1));
            if !is_due {
                break;
            }
            let Some(first) = self.segments.pop_front() else { break };
            first.medium.delete();
            dropped = true;
            for _ in 0..first.records {
                let Some(entry) = self.entries.pop_front() else { break };
                if self.numbers.get(&entry.number) == Some(&self.base) {
                    self.numbers.remove(&entry.number);
                }
                self.base += 1;
            }
        }
        if dropped {
            let base = self.base;
            self.objects.retain(|_, last| *last >= base);
            self.plugins.retain(|_, last| *last >= base);
        }
    }

    /// The position of the newest entry.
    fn last_position(&self) -> u64 {
        self.base + self.entries.len() as u64 - 1
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.length)).sum()
    }

    pub(super) fn records(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn last_number(&self) -> u64 {
        self.numbers.last_key_value().map_or(0, |(number, _)| *number)
    }

    pub(super) fn find(&self, number: u64) -> Option<Located> {
        self.located(*self.numbers.get(&number)?)
    }

    /// Entries of a query from a position back, and where to go on.
    pub(super) fn newest(
        &self,
        query: JournalQuery,
        from: Option<u64>,
        limit: usize,
    ) -> (Vec<Located>, Option<u64>) {
        let last = match query {
            JournalQuery::All => (self.base + self.entries.len() as u64).checked_sub(1),
            JournalQuery::Object(tag) => self.objects.get(&tag).copied(),
            JournalQuery::Plugin(tag) => self.plugins.get(&tag).copied(),
        };
        let mut next = from.or(last);
        let mut found = Vec::new();
        while let Some(position) = next.filter(|position| *position >= self.base) {
            if found.len() == limit {
                return (found, Some(position));
            }
            let Some(entry) = self.entry(position) else { break };
            found.extend(self.located(position));
            let back = match query {
                JournalQuery::All => 1,
                JournalQuery::Object(_) => entry.object_before,
                JournalQuery::Plugin(_) => entry.plugin_before,
            };
            next = if back == 0 { None } else { position.checked_sub(u64::from(back)) };
        }
        (found, None)
    }

    /// The place of a shared piece in a segment.
    pub(super) fn shared(&self, segment: u64, hash: u128) -> Option<Spot> {
        self.segment(segment)?.shared.get(&hash).copied()
    }

    fn entry(&self, position: u64) -> Option<&Indexed> {
        self.entries.get(usize::try_from(position.checked_sub(self.base)?).ok()?)
    }

    fn located(&self, position: u64) -> Option<Located> {
        let Indexed { number, segment, spot, .. } = *self.entry(position)?;
        let segment = u64::from(segment);
        let medium = self.segment(segment)?.medium.clone();
        Some(Located { number, segment, medium, spot })
    }

    fn segment(&self, number: u64) -> Option<&Segment> {
        let at = self.segments.binary_search_by_key(&number, |segment| segment.number).ok()?;
        self.segments.get(at)
    }
}

fn spot_length(whole: usize) -> u32 {
    u32::try_from(whole.saturating_sub(HEADER_BYTES)).unwrap_or(u32::MAX)
}
