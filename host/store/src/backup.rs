//! Backups: all objects at one revision, as a stream that says of itself whether it is whole.
//!
//! # Form
//! A head (what it is, the revision, when it was taken, how many objects), the objects in the order of their keys, each as
//! the record of its last change with the record's own checksum, and a tail with the XXH3-128 of everything before it. It is
//! made from a snapshot: nothing waits for it, and it reads no disk. History and its causes are not in it.
//!
//! Numbers are little-endian. A change of the form raises [`BACKUP_FORMAT`].

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use quadrille_object::{GroupResource, Timestamp};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::cause::{Cause, SystemCause};
use crate::change::ChangeKind;
use crate::key::{Key, Revision};
use crate::query::{Query, Range, View};
use crate::record::{self, Envelope};
use crate::snapshot::Snapshot;

/// The version of the form.
pub(crate) const BACKUP_FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"QBACKUP\n";
const HEAD_BYTES: usize = 48;
const SUMMED_HEAD_BYTES: usize = 40;

/// In place of a length: the tail follows.
const TAIL: u32 = u32::MAX;

/// No record is longer: a transaction is bounded far below.
const RECORD_BYTES_MAX: u32 = 64 << 20;

/// About how much is given at once.
const PIECE_BYTES: usize = 256 * 1024;

/// How many objects are looked up at once.
const PAGE_OBJECTS: usize = 64;

/// What a backup says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupHead {
    /// The revision at which it was taken.
    pub revision: Revision,
    /// When.
    pub at: Timestamp,
    /// How many objects it holds.
    pub objects: u64,
}

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error("cannot read the backup")]
    Io(#[source] io::Error),
    /// It is no backup, not whole, or not as it was written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// A newer version of this program has made it.
    #[error(
        "the backup has format {found}, this version reads up to {known}; use the newer version"
    )]
    Newer {
        /// Its format.
        found: u32,
        /// The newest that can be read.
        known: u32,
    },
}

/// Namespace and name.
type Place = (Arc<str>, Arc<str>);

/// A backup that is being made, piece by piece.
pub struct Backup {
    head: BackupHead,
    snapshot: Snapshot,
    resources: std::vec::IntoIter<GroupResource>,
    /// The resource that is being written, and the last object that was.
    current: Option<(GroupResource, Option<Place>)>,
    sum: Box<Xxh3>,
    state: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Objects,
    Done,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("head", &self.head).finish_non_exhaustive()
    }
}

impl Backup {
    /// Of everything in a snapshot, at a time.
    pub fn of(snapshot: Snapshot, at: Timestamp) -> Self {
        let resources: Vec<GroupResource> = snapshot.resources().cloned().collect();
        let objects = resources.iter().map(|of| snapshot.count(of, None) as u64).sum();
        let head = BackupHead { revision: snapshot.revision(), at, objects };
        let (resources, sum) = (resources.into_iter(), Box::new(Xxh3::new()));
        Self { head, snapshot, resources, current: None, sum, state: Stage::Head }
    }

    /// What it says of itself.
    pub fn head(&self) -> BackupHead {
        self.head
    }

    fn write_objects(&mut self, out: &mut BytesMut) {
        while out.len() < PIECE_BYTES {
            let current = self.current.take();
            let next = current.or_else(|| self.resources.next().map(|resource| (resource, None)));
            let Some((resource, after)) = next else {
                self.state = Stage::Done;
                return;
            };
            let range = Range::all(resource.clone());
            let page = self.snapshot.list(&Query { range, after, limit: Some(PAGE_OBJECTS) });
            for object in &page {
                let txn = (object.revision, object.revision);
                let (kind, previous, at) = (ChangeKind::Created, Revision(0), self.head.at);
                let envelope = Envelope { kind, txn, at, previous, key: object.key.clone() };
                let record = record::encode(object.revision, &envelope, &cause(), &object.bytes);
                out.put_u32_le(u32::try_from(record.len()).unwrap_or(TAIL));
                out.put_u64_le(object.revision.0);
                out.put_slice(&record);
            }
            self.current = page.last().map(|last| {
                let place = (Arc::clone(&last.key.namespace), Arc::clone(&last.key.name));
                (resource, Some(place))
            });
        }
    }
}

/// Why an object is there after it was restored.
fn cause() -> Vec<u8> {
    let cause = Cause::System(SystemCause {
        part: "restore".to_owned(),
        act: "restored from a backup".to_owned(),
        because: Vec::new(),
    });
    serde_json::to_vec(&cause).unwrap_or_default()
}

impl Iterator for Backup {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::with_capacity(PIECE_BYTES + 16 * 1024);
        match self.state {
            Stage::Done => return None,
            Stage::Head => {
                out.put_slice(&MAGIC);
                out.put_u32_le(BACKUP_FORMAT);
                out.put_u32_le(0);
                out.put_u64_le(self.head.revision.0);
                out.put_i64_le(self.head.at.0);
                out.put_u64_le(self.head.objects);
                let sum = xxh3_64(&out);
                out.put_u64_le(sum);
                self.state = Stage::Objects;
            }
            Stage::Objects => {}
        }
        self.write_objects(&mut out);
        self.sum.update(&out);
        if self.state == Stage::Done {
            let mut tail = BytesMut::with_capacity(20);
            tail.put_u32_le(TAIL);
            self.sum.update(&tail);
            out.put_slice(&tail);
            out.put_u128_le(self.sum.digest128());
        }
        Some(out.freeze())
    }
}

/// One object of a backup.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    pub(crate) revision: Revision,
    pub(crate) index_key: Bytes,
    pub(crate) record: Bytes,
}

/// Reads a whole backup and gives each object away; what was given counts only when this returns `Ok`.
pub(crate) fn read<E: From<BackupError>>(
    source: &mut impl Read,
    mut each: impl FnMut(BackupHead, Saved) -> Result<(), E>,
) -> Result<BackupHead, E> {
    let mut reader = Reader { source, sum: Box::new(Xxh3::new()) };
    let head = reader.head()?;
    let (mut count, mut last) = (0, None::<Key>);
    while let Some((revision, record)) = reader.record()? {
        let told = |what: &str| BackupError::Damaged(format!("{what} at object {count}"));
        let parts = record::decode(revision, &record).map_err(|_| told("a wrong record"))?;
        let key = parts.key();
        if last.as_ref().is_some_and(|last| *last >= key) || revision > head.revision {
            return Err(told("a record out of order").into());
        }
        let index_key = parts.index_key().into();
        each(head, Saved { revision, index_key, record: record.into() })?;
        (count, last) = (count + 1, Some(key));
    }
    if count != head.objects {
        let what = format!("{count} objects in place of {}", head.objects);
        return Err(BackupError::Damaged(what).into());
    }
    Ok(head)
}

/// Reads a backup to its end and tells whether it is whole.
///
/// # Errors
/// With what is wrong with it.
pub fn verify(source: &mut impl Read) -> Result<BackupHead, BackupError> {
    read(source, |_, _| Ok::<(), BackupError>(()))
}

struct Reader<'a, R> {
    source: &'a mut R,
    sum: Box<Xxh3>,
}

impl<R: Read> Reader<'_, R> {
    fn take(&mut self, out: &mut [u8]) -> Result<(), BackupError> {
        self.source.read_exact(out).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                BackupError::Damaged("it is cut short".to_owned())
            } else {
                BackupError::Io(error)
            }
        })?;
        self.sum.update(out);
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut out = [0; N];
        self.take(&mut out)?;
        Ok(out)
    }

    fn head(&mut self) -> Result<BackupHead, BackupError> {
        let head: [u8; HEAD_BYTES] = self.array()?;
        let damaged = |what: &str| BackupError::Damaged(what.to_owned());
        let rest = head.strip_prefix(&MAGIC).ok_or_else(|| damaged("it is no backup"))?;
        let (summed, sum) = head.split_at(SUMMED_HEAD_BYTES);
        if xxh3_64(summed).to_le_bytes() != *sum {
            return Err(damaged("its head is not as it was written"));
        }
        let (format, rest) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("short"))?;
        let found = u32::from_le_bytes(*format);
        if found > BACKUP_FORMAT {
            return Err(BackupError::Newer { found, known: BACKUP_FORMAT });
        }
        let words = rest.get(4..).unwrap_or_default().as_chunks::<8>().0;
        let &[revision, at, objects, _] = words else { return Err(damaged("short")) };
        Ok(BackupHead {
            revision: Revision(u64::from_le_bytes(revision)),
            at: Timestamp(i64::from_le_bytes(at)),
            objects: u64::from_le_bytes(objects),
        })
    }

    /// The next record; `None` behind the last one, when all of it was as it was written.
    fn record(&mut self) -> Result<Option<(Revision, Vec<u8>)>, BackupError> {
        let length = u32::from_le_bytes(self.array()?);
        if length == TAIL {
            let wanted = self.sum.digest128();
            let found = u128::from_le_bytes(self.array()?);
            let more = self.source.read(&mut [0]).map_err(BackupError::Io)?;
            if found != wanted || more > 0 {
                return Err(BackupError::Damaged("its checksum is another one".to_owned()));
            }
            return Ok(None);
        }
        if length > RECORD_BYTES_MAX {
            return Err(BackupError::Damaged("a record without an end".to_owned()));
        }
        let revision = Revision(u64::from_le_bytes(self.array()?));
        // Room is made as bytes come, so that a wrong length costs none.
        let mut record = Vec::new();
        let read = self.source.take(u64::from(length)).read_to_end(&mut record);
        if read.map_err(BackupError::Io)? as u64 != u64::from(length) {
            return Err(BackupError::Damaged("it is cut short".to_owned()));
        }
        self.sum.update(&record);
        Ok(Some((revision, record)))
    }
}
