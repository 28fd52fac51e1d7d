//! One group of transactions, decided one after the other: each is checked against the state that those
//! before it left, and either joins the group whole or leaves no trace.
//!
//! This is the *decide* half of the committer: it reads published state, builds the next snapshot and the
//! records to persist, and touches neither disk nor anything others can see. Dropping a group forgets it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use quadrille_object::{Template, Timestamp};

use crate::cause::Cause;
use crate::change::{Change, ChangeKind};
use crate::engine::Entry;
use crate::key::{Key, Revision};
use crate::query::{ReadSet, View};
use crate::recent::{Limits, Recent, keys_read};
use crate::record::{self, Envelope};
use crate::snapshot::{Object, Snapshot};
use crate::splice;
use crate::txn::{CommitError, Committed, Conflict, Expect, Txn, Write};

/// The most changes of one transaction: a bound on how long one transaction holds up the others.
pub const TXN_WRITES_MAX: usize = 10_000;

/// The most bytes of one transaction, with the last states of what it deletes, its cause counted once per change: a bound
/// on what every follower has to hold at once. What a run may write, and why it did, has room in it. Beyond a segment of
/// the write-ahead log a group goes to the engine below at once, which is slower and nothing else.
pub const TXN_BYTES_MAX: usize = 32 * 1024 * 1024;

/// About what a record has besides its object: the key and the cause.
const RECORD_BYTES: usize = 512;

/// The longest part of a key; Kubernetes' names end at 253.
const KEY_PART_BYTES_MAX: usize = 1024;

/// What the committer works on between groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Working {
    pub(crate) snapshot: Snapshot,
    /// Deletions that the history still holds: they link a new incarnation to the one before.
    pub(crate) graves: OrdMap<Key, Revision>,
}

/// A group in the making.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    published: &'a Recent,
    oldest: Revision,
    at: Timestamp,
    /// The group's own changes, indexed as the published ones are.
    fresh: Recent,
    pub(crate) working: Working,
    pub(crate) changes: Vec<Arc<Change>>,
    pub(crate) entries: Vec<Entry>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(
        working: Working,
        published: &'a Recent,
        oldest: Revision,
        at: Timestamp,
    ) -> Self {
        let unbounded = Limits { changes_max: usize::MAX, bytes_max: usize::MAX };
        // The group's own ring never refuses for age: what is older was checked in the published one.
        let fresh = Recent::new(unbounded, Revision(0));
        Self { published, oldest, at, fresh, working, changes: Vec::new(), entries: Vec::new() }
    }

    /// About how many bytes the records of a transaction have.
    pub(crate) fn weight(&self, txn: &Txn) -> usize {
        let puts = txn.writes.iter().map(put_bytes).sum::<usize>();
        puts + self.last_state_bytes(txn) + RECORD_BYTES * txn.writes.len()
    }

    /// How many bytes the last states have that the records of deletions keep.
    fn last_state_bytes(&self, txn: &Txn) -> usize {
        let deleted = txn.writes.iter().filter_map(|write| match write {
            Write::Delete { key, .. } => self.working.snapshot.find(key),
            Write::Put { .. } => None,
        });
        deleted.map(|object| object.bytes.len()).sum()
    }

    /// Checks one transaction and takes it into the group.
    pub(crate) fn stage(&mut self, txn: Txn) -> Result<Committed, CommitError> {
        let bytes = validate(&txn)?;
        if txn.fence.as_ref().is_some_and(|ticket| !ticket.is_valid()) {
            return Err(CommitError::Fenced);
        }
        self.check_keys(&txn).map_err(CommitError::Conflict)?;
        if let Some(reads) = &txn.reads {
            self.check_reads(reads).map_err(CommitError::Conflict)?;
        }
        // Whatever could be stored can be deleted, by itself at least.
        let deleted = if txn.writes.len() > 1 { self.last_state_bytes(&txn) } else { 0 };
        let cause = encode_cause(&txn.cause)?;
        if bytes + deleted + cause.len() * txn.writes.len() > TXN_BYTES_MAX {
            return Err(CommitError::Invalid(format!("more than {TXN_BYTES_MAX} bytes")));
        }
        Ok(self.apply(txn, &cause))
    }

    fn check_keys(&self, txn: &Txn) -> Result<(), Conflict> {
        let writes = txn.writes.iter().map(|write| match write {
            Write::Put { key, expect, .. } => (key, *expect, false),
            Write::Delete { key, expect } => (key, *expect, true),
        });
        let requires = txn.requires.iter().map(|(key, expect)| (key, *expect, false));
        for (key, expect, must_exist) in writes.chain(requires) {
            let found = self.working.snapshot.find(key).map(|object| object.revision);
            let holds = match expect {
                Expect::Any => true,
                Expect::Absent => found.is_none(),
                Expect::Present => found.is_some(),
                Expect::Revision(revision) => found == Some(revision),
            };
            if !holds || (must_exist && found.is_none()) {
                return Err(Conflict::Key { key: key.clone(), found });
            }
        }
        Ok(())
    }

    fn check_reads(&self, reads: &ReadSet) -> Result<(), Conflict> {
        if reads.at < self.oldest {
            return Err(Conflict::TooOld);
        }
        for key in keys_read(reads) {
            let found = self.working.snapshot.find(&key).map(|object| object.revision);
            let last = found.or_else(|| self.working.graves.get(&key).copied());
            if let Some(revision) = last.filter(|last| *last > reads.at) {
                return Err(Conflict::Read { key, revision });
            }
        }
        let touched = self.published.touched(reads).or_else(|| self.fresh.touched(reads));
        touched.map_or(Ok(()), Err)
    }

    fn apply(&mut self, txn: Txn, cause_bytes: &[u8]) -> Committed {
        let newest = self.working.snapshot.revision();
        let first = newest.next();
        let last = Revision(newest.0 + txn.writes.len() as u64);
        let cause = Arc::new(txn.cause);
        let mut objects = Vec::with_capacity(txn.writes.len());
        for (write, revision) in txn.writes.into_iter().zip(first.0..) {
            let change = self.change(write, Revision(revision), (first, last), &cause);
            objects.push(Arc::clone(&change.object));
            self.stage_change(change, cause_bytes);
        }
        self.working.snapshot.set_revision(last);
        Committed { revision: last, objects }
    }

    fn change(
        &self,
        write: Write,
        revision: Revision,
        txn: (Revision, Revision),
        cause: &Arc<Cause>,
    ) -> Change {
        let before = self.working.snapshot.find(write.key()).cloned();
        let (object, kind) = match (write, &before) {
            (Write::Put { key, meta, object, .. }, before) => {
                let key = self.working.snapshot.interned(key);
                let bytes = object.with_revision(revision.0);
                let kind = before.as_ref().map_or(ChangeKind::Created, |_| ChangeKind::Updated);
                (Object { key, revision, meta, bytes }, kind)
            }
            (Write::Delete { key, .. }, before) => {
                let last = before.as_ref().expect("checked: a deleted object exists");
                (last_state(key, last, revision), ChangeKind::Deleted)
            }
        };
        let (object, cause) = (Arc::new(object), Arc::clone(cause));
        Change { revision, txn, kind, before, object, cause, at: self.at }
    }

    fn stage_change(&mut self, change: Change, cause: &[u8]) {
        let key = change.key();
        let before = change.before.as_ref().map(|object| object.revision);
        let previous = before.or_else(|| self.working.graves.get(key).copied()).unwrap_or_default();
        let (kind, txn, at) = (change.kind, change.txn, change.at);
        let envelope = Envelope { kind, txn, at, previous, key: key.clone() };
        let record = record::encode(change.revision, &envelope, cause, &change.object.bytes);
        let (index_key, live) = (record::index_key(key), kind != ChangeKind::Deleted);
        self.entries.push(Entry { revision: change.revision, index_key, live, record });
        if live {
            self.working.graves.remove(key);
            self.working.snapshot.insert(&change.object);
        } else {
            self.working.graves.insert(key.clone(), change.revision);
            self.working.snapshot.remove(key);
        }
        let change = Arc::new(change);
        self.fresh.push(&change);
        self.changes.push(change);
    }
}

/// The last state of an object that goes, with the revision of its deletion.
fn last_state(key: Key, last: &Object, revision: Revision) -> Object {
    let bytes = splice::with_revision(&last.bytes, revision).unwrap_or_else(|| {
        // Objects come from templates and so have their revision; anything else is encoded anew.
        let parsed = serde_json::from_slice(&last.bytes).unwrap_or_default();
        Template::encode(&parsed).with_revision(revision.0)
    });
    Object { key, revision, meta: last.meta.clone(), bytes }
}

fn put_bytes(write: &Write) -> usize {
    match write {
        Write::Put { object, .. } => object.unrevised().len(),
        Write::Delete { .. } => 0,
    }
}

/// Checks the form and gives the bytes of the objects that are put.
fn validate(txn: &Txn) -> Result<usize, CommitError> {
    if txn.writes.len() > TXN_WRITES_MAX {
        return Err(CommitError::Invalid(format!("more than {TXN_WRITES_MAX} changes")));
    }
    let mut bytes = 0;
    for write in &txn.writes {
        let key = write.key();
        for part in [&key.resource.group, &key.resource.resource, &key.namespace, &key.name] {
            if part.len() > KEY_PART_BYTES_MAX || part.contains('\0') {
                return Err(CommitError::Invalid(format!(
                    "key {key} is too long or has a zero byte"
                )));
            }
        }
        bytes += put_bytes(write);
    }
    if txn.writes.len() > 1 {
        let keys: BTreeSet<&Key> = txn.writes.iter().map(Write::key).collect();
        if keys.len() != txn.writes.len() {
            return Err(CommitError::Invalid("a key is written twice".to_owned()));
        }
    }
    Ok(bytes)
}

fn encode_cause(cause: &Cause) -> Result<Bytes, CommitError> {
    let bytes = serde_json::to_vec(cause)
        .map_err(|error| CommitError::Invalid(format!("the cause cannot be encoded: {error}")))?;
    Ok(bytes.into())
}
