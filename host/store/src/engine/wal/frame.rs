//! The frames of the write-ahead log: one frame is one batch, written and flushed at once.
//!
//! A frame starts on a block of its own, so a later write never touches a block that holds acknowledged
//! changes. It names its segment's number and its revisions, and its checksum is seeded with the store's id:
//! what an earlier use of the file, another store or an object's own bytes left there is never taken for one.

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use crate::change::ChangeKind;
use crate::engine::{EngineError, Entry};
use crate::key::Revision;
use crate::record;

/// What is written at once without tearing something else: a page of the page cache.
pub(crate) const BLOCK_BYTES: usize = 4096;

const MAGIC: [u8; 4] = *b"QWF1";
const HEAD_BYTES: usize = 48;
const SUMMED_HEAD_BYTES: usize = 32;

/// One batch as found in a segment. Without entries it only says that what lower segments have from `first`
/// on was refused.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) number: u64,
    pub(crate) first: Revision,
    pub(crate) entries: Vec<Entry>,
}

impl Frame {
    /// The last revision in it; the one before `first` when it is empty.
    pub(crate) fn last(&self) -> Revision {
        Revision(self.first.0 + self.entries.len() as u64 - 1)
    }
}

/// Writes the frame of a batch into `out`, whole blocks.
pub(crate) fn encode(out: &mut Vec<u8>, id: u64, number: u64, first: Revision, batch: &[Entry]) {
    out.clear();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; HEAD_BYTES - MAGIC.len()]);
    for entry in batch {
        let length = u32::try_from(entry.record.len()).expect("records are bounded far below");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&entry.record);
    }
    let length = u32::try_from(out.len() - HEAD_BYTES).expect("a frame fits a segment");
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out[8..16].copy_from_slice(&number.to_le_bytes());
    out[16..24].copy_from_slice(&first.0.to_le_bytes());
    out[24..32].copy_from_slice(&(batch.len() as u64).to_le_bytes());
    let sum = checksum(id, &out[..SUMMED_HEAD_BYTES], &out[HEAD_BYTES..]);
    out[SUMMED_HEAD_BYTES..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
}

/// How many bytes the frame of a batch takes.
pub(crate) fn size(batch: &[Entry]) -> usize {
    let records = batch.iter().map(|entry| entry.record.len() + 4).sum::<usize>();
    (records + HEAD_BYTES).next_multiple_of(BLOCK_BYTES)
}

/// All whole frames of a segment's bytes, in their order there.
pub(crate) fn find_all(id: u64, bytes: &[u8]) -> Result<Vec<Frame>, EngineError> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match whole(id, rest) {
            Some((number, first, payload)) => {
                at += (HEAD_BYTES + payload.len()).next_multiple_of(BLOCK_BYTES);
                found.push(Frame { number, first, entries: entries(first, payload)? });
            }
            None => at += BLOCK_BYTES,
        }
    }
    Ok(found)
}

/// The frame at the start of `bytes`, when there is a whole one.
fn whole(id: u64, bytes: &[u8]) -> Option<(u64, Revision, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let word = |at: usize| head.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let length = head.get(4..8)?.try_into().ok().map(u32::from_le_bytes)?;
    if head.get(..4)? != MAGIC {
        return None;
    }
    let payload = rest.get(..usize::try_from(length).ok()?)?;
    let (summed, sum) = head.split_at(SUMMED_HEAD_BYTES);
    let holds = checksum(id, summed, payload).to_le_bytes() == *sum;
    holds.then_some((word(8)?, Revision(word(16)?), payload))
}

fn entries(first: Revision, mut payload: &[u8]) -> Result<Vec<Entry>, EngineError> {
    let mut entries = Vec::new();
    for revision in (first.0..).map(Revision) {
        let Some((length, rest)) = payload.split_first_chunk::<4>() else { break };
        let short = || EngineError::Corrupt(format!("the log's record {revision} is cut short"));
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| short())?;
        let (bytes, rest) = rest.split_at_checked(length).ok_or_else(short)?;
        payload = rest;
        let parts = record::decode(revision, bytes)
            .map_err(|damaged| EngineError::Corrupt(damaged.to_string()))?;
        let index_key = parts.index_key().into();
        let live = parts.kind != ChangeKind::Deleted;
        entries.push(Entry { revision, index_key, live, record: Bytes::copy_from_slice(bytes) });
    }
    Ok(entries)
}

fn checksum(id: u64, head: &[u8], payload: &[u8]) -> u128 {
    // The head's sum seeds the payload's, so both count.
    xxh3_128_with_seed(payload, xxh3_64_with_seed(head, id))
}
