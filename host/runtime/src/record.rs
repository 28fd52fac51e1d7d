//! Run records: for every run what was read, what was written, what woke it and which code ran, and with that all that
//! is needed to make the run again.
//!
//! The newest are kept in memory; all of them go to the [`quadrille_store::Journal`], if there is one. What must
//! never be lost, the cause of each change, is stored with the change ([`quadrille_store::RunCause`]).

mod codec;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quadrille_object::Timestamp;
use quadrille_registry::RecordedAnswer;
use quadrille_store::{
    Change, ChangeKind, JournalEntry, JournalRecord, Key, Piece, Range, ReadSet, Revision,
    Selection, Tag, Tags, View, Write, content_hash,
};
use serde::{Deserialize, Serialize};

use crate::overlay::OverlayLimits;
use crate::reconciler::ControllerSpec;
pub use codec::RecordError;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Well; `requeue` is when it asked to be run again.
    Done {
        /// The wait that it asked for.
        requeue: Option<Duration>,
    },
    /// Badly.
    Failed {
        /// `transient`, `permanent`, `trap`, `deadline`, `limit` or `host`.
        kind: &'static str,
        /// What it said.
        message: String,
    },
    /// Thrown away: somebody else changed what it read.
    Conflict {
        /// On which key.
        key: Option<Key>,
    },
    /// Thrown away: its controller was replaced or removed meanwhile.
    Fenced,
}

/// The code of a run and how it was set up: the same for all runs of one generation of a controller.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunCode {
    /// The controller; its `digest` names the code.
    pub spec: Arc<ControllerSpec>,
    /// Which generation of the controller.
    pub generation: u64,
    /// What a run could do at most.
    pub limits: OverlayLimits,
    /// The code's own settings, as its [`crate::Reconciler::settings`] gives them.
    pub settings: Arc<str>,
    /// The same encoded, as the journal shares it.
    #[serde(skip, default = "no_piece")]
    piece: Piece,
}

fn no_piece() -> Piece {
    Piece::new(Bytes::new())
}

impl RunCode {
    /// Encodes itself once.
    pub fn new(
        spec: Arc<ControllerSpec>,
        generation: u64,
        limits: OverlayLimits,
        settings: Arc<str>,
    ) -> Self {
        let mut this = Self { spec, generation, limits, settings, piece: no_piece() };
        let encoded = serde_json::to_vec(&this).expect("strings and numbers become JSON");
        this.piece = Piece::new(encoded.into());
        this
    }

    /// Reads what [`Self::new`] encoded.
    pub(crate) fn read(encoded: &Bytes) -> Result<Self, serde_json::Error> {
        let this: Self = serde_json::from_slice(encoded)?;
        Ok(Self { piece: Piece::new(encoded.clone()), ..this })
    }

    /// Equal for runs of the same code with the same settings.
    pub fn hash(&self) -> u128 {
        self.piece.hash()
    }
}

/// One change that woke a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunWake {
    /// The change's revision.
    pub revision: Revision,
    /// What happened.
    pub kind: ChangeKind,
    /// To which object.
    pub key: Key,
}

impl RunWake {
    pub(crate) fn of(change: &Change) -> Self {
        Self { revision: change.revision, kind: change.kind, key: change.key().clone() }
    }
}

/// One change that a run made, or would have made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunWrite {
    /// Where.
    pub key: Key,
    /// What it is for the store.
    pub kind: ChangeKind,
    /// The hash of the encoded object without its revision; 0 for a deletion.
    pub hash: u128,
    /// The change's revision; `None` when nothing was committed.
    pub revision: Option<Revision>,
}

impl RunWrite {
    /// A write as the record keeps it; `before` is what the run read.
    pub fn of(write: &Write, before: &dyn View) -> Self {
        let key = write.key().clone();
        let (kind, hash) = match write {
            Write::Delete { .. } => (ChangeKind::Deleted, 0),
            Write::Put { object, .. } => {
                let existed = before.get(&key).is_some();
                let kind = if existed { ChangeKind::Updated } else { ChangeKind::Created };
                (kind, content_hash(object.unrevised()))
            }
        };
        Self { key, kind, hash, revision: None }
    }
}

/// Reads that found nothing: what a run may wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmptyReads {
    /// Keys without an object; sorted, no duplicates.
    pub keys: Vec<Key>,
    /// Ranges without one; no duplicates.
    pub ranges: Vec<Range>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// Its number.
    pub run: u64,
    /// Which code ran, and how it was set up.
    pub code: Arc<RunCode>,
    /// The object it ran for.
    pub object: Key,
    /// The revision it read.
    pub snapshot: Revision,
    /// The changes that it was shown, ascending: the newest of those that woke it.
    pub wakes: Vec<RunWake>,
    /// All changes that woke it, or would have if it had not been there first, ascending.
    pub woken_by: Vec<Revision>,
    /// How many more there were.
    pub wakes_dropped: u64,
    /// Why it ran when no change woke it.
    pub occasion: Option<&'static str>,
    /// Failures in a row before this one.
    pub attempt: u32,
    /// How often the key's run was thrown away before this one.
    pub conflicts: u32,
    /// The time of the run: when it started.
    pub now: Timestamp,
    /// The seed of its chance.
    pub seed: u64,
    /// What admission webhooks answered.
    pub answers: Vec<RecordedAnswer>,
    /// What it read.
    pub reads: ReadSet,
    /// Which of that was not there.
    pub empty: EmptyReads,
    /// What it changed.
    pub writes: Vec<RunWrite>,
    /// How it ended.
    pub end: RunEnd,
    /// In the reconciler.
    pub reconcile_time: Duration,
    /// From the start to the end of the commit.
    pub duration: Duration,
}

impl RunRecord {
    /// The plugin.
    pub fn plugin(&self) -> &Arc<str> {
        &self.code.spec.plugin
    }

    /// The controller.
    pub fn controller(&self) -> &Arc<str> {
        &self.code.spec.name
    }

    /// The digest of the code.
    pub fn digest(&self) -> &Arc<str> {
        &self.code.spec.digest
    }

    /// Whether anything that it wrote was committed.
    pub fn has_committed(&self) -> bool {
        self.writes.iter().any(|write| write.revision.is_some())
    }

    /// Whether it ended badly.
    pub fn has_failed(&self) -> bool {
        matches!(self.end, RunEnd::Failed { .. })
    }

    /// Reads a record of the journal.
    ///
    /// # Errors
    /// When it is not one of a run, or of a newer version.
    pub fn read(record: &JournalRecord) -> Result<Self, RecordError> {
        codec::decode(record)
    }

    /// The tag under which the runs of an object are found.
    pub fn object_tag(object: &Key) -> Tag {
        Tag::of(&object.to_string())
    }

    /// The tag under which the runs of a plugin are found.
    pub fn plugin_tag(plugin: &str) -> Tag {
        Tag::of(plugin)
    }
}

impl JournalEntry for RunRecord {
    fn number(&self) -> u64 {
        self.run
    }

    fn at(&self) -> Timestamp {
        self.now
    }

    fn tags(&self) -> Tags {
        Tags { object: Self::object_tag(&self.object), plugin: Self::plugin_tag(self.plugin()) }
    }

    fn weight(&self) -> usize {
        let answers: usize = self.answers.iter().map(|answer| answer.answer.len()).sum();
        512 + 128 * (self.listed() + self.wakes.len()) + self.selector_bytes() + answers
    }

    fn shared(&self) -> Vec<Piece> {
        vec![self.code.piece.clone()]
    }

    fn encode(&self, out: &mut Vec<u8>) {
        codec::encode(self, out);
    }
}

/// The newest records.
#[derive(Debug)]
pub(crate) struct Records {
    ring: VecDeque<Arc<RunRecord>>,
    max: usize,
    /// What the records hold, in all: reads, writes and wakes.
    weight: usize,
}

/// What the records in memory may hold at most: some hundred mebibytes, where usual ones hold one.
const WEIGHT_MAX: usize = 400_000;

/// So many bytes of selectors weigh as much as one read.
const SELECTOR_BYTES: usize = 256;

impl RunRecord {
    fn weight(&self) -> usize {
        1 + self.listed() + self.wakes.len() + self.selector_bytes() / SELECTOR_BYTES
    }

    /// Reads, each again where it found nothing, and writes.
    fn listed(&self) -> usize {
        let reads = self.reads.keys.len() + self.reads.ranges.len() + self.reads.weak.len();
        reads + self.empty.keys.len() + self.empty.ranges.len() + self.writes.len()
    }

    fn selector_bytes(&self) -> usize {
        let ranges = self.reads.ranges.iter().chain(&self.reads.weak).chain(&self.empty.ranges);
        let size = |range: &Range| match &range.selection {
            Selection::Labels(selector) => selector.size(),
            Selection::All | Selection::Owner(_) | Selection::Names(_) => 0,
        };
        ranges.map(size).sum()
    }
}

impl Records {
    pub(crate) fn new(max: usize) -> Self {
        Self { ring: VecDeque::new(), max, weight: 0 }
    }

    pub(crate) fn add(&mut self, record: &Arc<RunRecord>) {
        if self.max == 0 {
            return;
        }
        self.weight += record.weight();
        self.ring.push_back(Arc::clone(record));
        while self.ring.len() > self.max || (self.weight > WEIGHT_MAX && self.ring.len() > 1) {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.weight -= oldest.weight();
        }
    }

    /// The newest records that pass, newest first.
    pub(crate) fn newest(
        &self,
        limit: usize,
        mut passes: impl FnMut(&RunRecord) -> bool,
    ) -> Vec<Arc<RunRecord>> {
        self.ring.iter().rev().filter(|record| passes(record)).take(limit).cloned().collect()
    }
}
