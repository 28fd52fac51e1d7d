//! A run's record as bytes: small, because there is one for every run.
//!
//! Numbers have a variable length, and a text that was written before is named by its place among the texts of this
//! record. What all runs of a controller's generation share is not in here but beside it (see [`super::RunCode`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use quadrille_object::{GroupResource, Timestamp};
use quadrille_registry::RecordedAnswer;
use quadrille_store::{ChangeKind, JournalRecord, Key, Range, ReadSet, Revision, Selection};

use super::{EmptyReads, RunCode, RunEnd, RunRecord, RunWake, RunWrite};
use crate::reconciler::Failure;
use crate::wakes::Occasion;

/// The version of the encoding.
const VERSION: u8 = 1;

/// The most keys, and the most ranges, of a read set that are recorded: the rest of a larger one is left out.
const READS_MAX: usize = 20_000;

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of run {run} cannot be read: {why}")]
pub struct RecordError {
    /// The run.
    pub run: u64,
    /// Why.
    pub why: &'static str,
}

/// Encodes all but the run's number, its time and its code, which the journal keeps beside it.
pub(super) fn encode(record: &RunRecord, out: &mut Vec<u8>) {
    let mut out = Writer { out, texts: BTreeMap::new() };
    out.out.put_u8(VERSION);
    out.key(&record.object);
    out.number(record.snapshot.0);
    out.number(record.wakes_dropped);
    out.list(&record.wakes, |out, wake| {
        // Most wakes are recent, so that the distance to the snapshot is short.
        out.back(record.snapshot, wake.revision);
        out.out.put_u8(kind_code(wake.kind));
        out.key(&wake.key);
    });
    out.list(&record.woken_by, |out, revision| {
        out.back(record.snapshot, *revision);
    });
    out.out.put_u8(record.occasion.and_then(Occasion::named).map_or(0, occasion_code));
    out.number(u64::from(record.attempt));
    out.number(u64::from(record.conflicts));
    out.out.put_u64_le(record.seed);
    out.list(&record.answers, |out, known| {
        out.out.put_u128_le(known.question);
        out.text(&known.answer);
    });
    out.reads(record);
    out.list(&record.writes, |out, write| {
        out.key(&write.key);
        out.out.put_u8(kind_code(write.kind));
        out.out.put_u128_le(write.hash);
        // A change's own revision is behind the snapshot; 0 says that there is none.
        out.number(write.revision.map_or(0, |r| r.0.saturating_sub(record.snapshot.0)));
    });
    out.end(&record.end);
    out.number(micros(record.reconcile_time));
    out.number(micros(record.duration));
}

/// Decodes a record with its code.
pub(super) fn decode(record: &JournalRecord) -> Result<RunRecord, RecordError> {
    let bad = |why| RecordError { run: record.number, why };
    let code = record.shared.first().ok_or_else(|| bad("its code is missing"))?;
    let code = RunCode::read(code).map_err(|_| bad("its code is not understood"))?;
    let mut reader = Reader { rest: record.body.clone(), texts: Vec::new() };
    if reader.byte() != Some(VERSION) {
        return Err(bad("it was written by another version of this program"));
    }
    let read = reader.record(record.number, record.at, Arc::new(code));
    read.filter(|_| reader.rest.is_empty()).ok_or_else(|| bad("it has another form"))
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    texts: BTreeMap<Box<str>, u64>,
}

impl Writer<'_> {
    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.put_u8(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
            number >>= 7;
        }
        self.out.put_u8(u8::try_from(number).unwrap_or(0));
    }

    /// How far `revision` is behind `snapshot`; it may be newer.
    fn back(&mut self, snapshot: Revision, revision: Revision) {
        let back = snapshot.0.cast_signed().wrapping_sub(revision.0.cast_signed());
        self.number(((back << 1) ^ (back >> 63)).cast_unsigned());
    }

    fn text(&mut self, text: &str) {
        if let Some(known) = self.texts.get(text).copied() {
            self.number(known);
            return;
        }
        self.number(0);
        self.number(text.len() as u64);
        self.out.put_slice(text.as_bytes());
        self.texts.insert(text.into(), self.texts.len() as u64 + 1);
    }

    fn key(&mut self, key: &Key) {
        self.resource(&key.resource);
        self.text(&key.namespace);
        self.text(&key.name);
    }

    fn resource(&mut self, resource: &GroupResource) {
        self.text(&resource.group);
        self.text(&resource.resource);
    }

    fn list<T>(&mut self, list: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(list.len() as u64);
        for one in list {
            each(self, one);
        }
    }

    fn reads(&mut self, record: &RunRecord) {
        let (reads, empty) = (&record.reads, &record.empty);
        self.number(reads.at.0);
        let keys = reads.keys.get(..READS_MAX).unwrap_or(&reads.keys);
        self.list(keys, |out, key| {
            out.key(key);
            out.out.put_u8(u8::from(empty.keys.binary_search(key).is_ok()));
        });
        for ranges in [&reads.ranges, &reads.weak] {
            self.list(ranges.get(..READS_MAX).unwrap_or(ranges), |out, range| {
                out.range(range);
                out.out.put_u8(u8::from(empty.ranges.contains(range)));
            });
        }
    }

    fn range(&mut self, range: &Range) {
        self.resource(&range.resource);
        self.out.put_u8(u8::from(range.namespace.is_some()));
        self.text(range.namespace.as_deref().unwrap_or_default());
        match &range.selection {
            Selection::All => self.out.put_u8(0),
            Selection::Labels(selector) => {
                self.out.put_u8(1);
                self.text(&serde_json::to_string(selector).unwrap_or_default());
            }
            Selection::Owner(uid) => {
                self.out.put_u8(2);
                self.text(uid);
            }
            Selection::Names(names) => {
                self.out.put_u8(3);
                self.list(names, |out, name| out.text(name));
            }
        }
    }

    fn end(&mut self, end: &RunEnd) {
        match end {
            RunEnd::Done { requeue: None } => self.out.put_u8(0),
            RunEnd::Done { requeue: Some(wait) } => {
                self.out.put_u8(1);
                self.number(micros(*wait));
            }
            RunEnd::Failed { kind, message } => {
                self.out.put_u8(2);
                self.text(kind);
                self.text(message);
            }
            RunEnd::Conflict { key: None } => self.out.put_u8(3),
            RunEnd::Conflict { key: Some(key) } => {
                self.out.put_u8(4);
                self.key(key);
            }
            RunEnd::Fenced => self.out.put_u8(5),
        }
    }
}

/// Reads what [`Writer`] wrote; `None` where it is something else. A list is never believed to be longer than the bytes
/// that are left.
struct Reader {
    rest: Bytes,
    texts: Vec<Arc<str>>,
}

impl Reader {
    fn record(&mut self, run: u64, now: Timestamp, code: Arc<RunCode>) -> Option<RunRecord> {
        let object = self.key()?;
        let snapshot = Revision(self.number()?);
        let wakes_dropped = self.number()?;
        let wakes = self.list(|reader| {
            let revision = reader.back(snapshot)?;
            Some(RunWake { revision, kind: kind_from(reader.byte()?)?, key: reader.key()? })
        })?;
        let woken_by = self.list(|reader| reader.back(snapshot))?;
        let occasion = match self.byte()? {
            0 => None,
            code => Some(occasion_from(code)?),
        };
        let (attempt, conflicts) = (self.short()?, self.short()?);
        let seed = self.rest.try_get_u64_le().ok()?;
        let answers = self.list(|reader| {
            let question = reader.rest.try_get_u128_le().ok()?;
            Some(RecordedAnswer { question, answer: reader.text()? })
        })?;
        let (reads, empty) = self.reads()?;
        let writes = self.list(|reader| {
            let (key, kind) = (reader.key()?, kind_from(reader.byte()?)?);
            let hash = reader.rest.try_get_u128_le().ok()?;
            let behind = reader.number()?;
            let revision = (behind > 0).then(|| Revision(snapshot.0.wrapping_add(behind)));
            Some(RunWrite { key, kind, hash, revision })
        })?;
        let end = self.end()?;
        let (reconcile_time, duration) = (self.duration()?, self.duration()?);
        Some(RunRecord {
            run,
            code,
            object,
            snapshot,
            wakes,
            woken_by,
            wakes_dropped,
            occasion,
            attempt,
            conflicts,
            now,
            seed,
            answers,
            reads,
            empty,
            writes,
            end,
            reconcile_time,
            duration,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        self.rest.try_get_u8().ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn back(&mut self, snapshot: Revision) -> Option<Revision> {
        let number = self.number()?;
        let back = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
        Some(Revision(snapshot.0.cast_signed().wrapping_sub(back).cast_unsigned()))
    }

    fn short(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn duration(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_micros)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        let known = usize::try_from(self.number()?).ok()?;
        if let Some(at) = known.checked_sub(1) {
            return self.texts.get(at).cloned();
        }
        let length = usize::try_from(self.number()?).ok()?;
        if length > self.rest.len() {
            return None;
        }
        let bytes = self.rest.split_to(length);
        let text: Arc<str> = std::str::from_utf8(&bytes).ok()?.into();
        self.texts.push(Arc::clone(&text));
        Some(text)
    }

    fn key(&mut self) -> Option<Key> {
        let resource = self.resource()?;
        Some(Key { resource, namespace: self.text()?, name: self.text()? })
    }

    fn resource(&mut self) -> Option<GroupResource> {
        Some(GroupResource { group: self.text()?, resource: self.text()? })
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        if count > self.rest.len() {
            return None;
        }
        (0..count).map(|_| each(self)).collect()
    }

    fn reads(&mut self) -> Option<(ReadSet, EmptyReads)> {
        let at = Revision(self.number()?);
        let mut empty = EmptyReads::default();
        let keys = self.list(|reader| {
            let key = reader.key()?;
            if reader.byte()? == 1 {
                empty.keys.push(key.clone());
            }
            Some(key)
        })?;
        let (ranges, weak) = (self.ranges(&mut empty)?, self.ranges(&mut empty)?);
        Some((ReadSet { at, keys, ranges, weak }, empty))
    }

    fn ranges(&mut self, empty: &mut EmptyReads) -> Option<Vec<Range>> {
        self.list(|reader| {
            let range = reader.range()?;
            if reader.byte()? == 1 {
                empty.ranges.push(range.clone());
            }
            Some(range)
        })
    }

    fn range(&mut self) -> Option<Range> {
        let resource = self.resource()?;
        let (some, namespace) = (self.byte()? == 1, self.text()?);
        let selection = match self.byte()? {
            0 => Selection::All,
            1 => Selection::Labels(serde_json::from_str(&self.text()?).ok()?),
            2 => Selection::Owner(self.text()?),
            3 => Selection::Names(self.list(Self::text)?),
            _ => return None,
        };
        Some(Range { resource, namespace: some.then_some(namespace), selection })
    }

    fn end(&mut self) -> Option<RunEnd> {
        Some(match self.byte()? {
            0 => RunEnd::Done { requeue: None },
            1 => RunEnd::Done { requeue: Some(self.duration()?) },
            2 => {
                let kind = Failure::kind_named(&self.text()?)?;
                RunEnd::Failed { kind, message: self.text()?.as_ref().to_owned() }
            }
            3 => RunEnd::Conflict { key: None },
            4 => RunEnd::Conflict { key: Some(self.key()?) },
            5 => RunEnd::Fenced,
            _ => return None,
        })
    }
}

fn kind_code(kind: ChangeKind) -> u8 {
    match kind {
        ChangeKind::Created => 1,
        ChangeKind::Updated => 2,
        ChangeKind::Deleted => 3,
    }
}

fn kind_from(code: u8) -> Option<ChangeKind> {
    match code {
        1 => Some(ChangeKind::Created),
        2 => Some(ChangeKind::Updated),
        3 => Some(ChangeKind::Deleted),
        _ => None,
    }
}

fn occasion_code(occasion: Occasion) -> u8 {
    match occasion {
        Occasion::Resync => 1,
        Occasion::Requeue => 2,
        Occasion::Backoff => 3,
    }
}

/// The occasion of a code that is not 0.
fn occasion_from(code: u8) -> Option<&'static str> {
    let occasion = match code {
        1 => Occasion::Resync,
        2 => Occasion::Requeue,
        3 => Occasion::Backoff,
        _ => return None,
    };
    Some(occasion.as_str())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
