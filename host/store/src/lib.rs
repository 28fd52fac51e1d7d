//! The durable, totally ordered store of objects.
//!
//! It owns revisions, transactions, snapshots, history and the bus. It knows keys, bytes and the metadata
//! envelope; it must never hear of kinds, schemas or HTTP. Only this crate names an engine.
//!
//! The way of a write: `store` (handle) → `committer` (queue, groups) → `group` (decides) → `engine` (one
//! durable write: `engine/wal` in front of `engine/redb`, or `engine/memory`) → `bus` (ring and wake-ups) →
//! `stream`. `open` goes the way back at start, `history` reads what memory no longer has, `maintenance`
//! checkpoints and compacts.
//!
//! `backup` saves all objects at one revision while it serves; `care` looks at, saves, puts back and repairs a store
//! that nobody serves from. All files lie on a [`Disk`], which a simulation may put in the place of the file system.
//!
//! Beside it lies the [`Journal`], the durable record of runs; the two know nothing of each other.
//!
//! The seam for another store (several hosts on etcd) is [`Store::commit`], [`Store::snapshot`] and
//! [`Store::changes`]; the seam for another file format is the engine below the committer.

pub mod backup;
pub mod care;
pub mod cause;
pub mod change;
pub mod disk;
pub mod journal;
pub mod key;
pub mod query;
pub mod rewind;
pub mod snapshot;
pub mod store;
pub mod txn;

mod age;
mod bell;
mod bus;
mod committer;
mod engine;
mod group;
mod history;
mod maintenance;
mod open;
mod recent;
mod record;
mod shared;
mod splice;
mod stream;

pub use backup::{Backup, BackupError, BackupHead};
pub use cause::{Cause, RequestCause, RunCause, SystemCause};
pub use change::{Change, ChangeBatch, ChangeFilter, ChangeKind, ChangeStream, ChangesError};
pub use disk::{Disk, DiskFile, make_private};
pub use engine::Size;
pub use group::{TXN_BYTES_MAX, TXN_WRITES_MAX};
pub use journal::{
    Journal, JournalConfig, JournalEntry, JournalError, JournalPage, JournalPlace, JournalQuery,
    JournalRecord, JournalSize, Piece, Tag, Tags, content_hash,
};
pub use key::{Key, KeyError, Revision};
pub use query::{Query, Range, ReadSet, Selection, View};
pub use recent::EFFORT_MAX;
pub use rewind::Rewind;
pub use snapshot::{Object, Snapshot};
pub use store::{Config, OpenError, Store};
pub use txn::{CommitError, Committed, Conflict, Expect, Fence, FenceTicket, Txn, Write};
