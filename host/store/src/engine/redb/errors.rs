//! What redb says when something fails, sorted into what the store can do about it. A panic of redb's is damage.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::DatabaseError;

use crate::engine::EngineError;
use crate::key::Revision;
use crate::record;

#[expect(clippy::wildcard_enum_match_arm, reason = "all others go through one table")]
pub(super) fn open_error(error: DatabaseError) -> EngineError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => EngineError::InUse,
        error => io(error),
    }
}

/// Sorts redb's many errors into what the store can do about them.
#[expect(clippy::wildcard_enum_match_arm, reason = "redb adds errors; unknown ones may be damage")]
pub(super) fn io(error: impl Into<redb::Error>) -> EngineError {
    let error = error.into();
    let message = error.to_string();
    match error {
        redb::Error::DatabaseAlreadyOpen => EngineError::InUse,
        redb::Error::Io(error)
            if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            EngineError::Corrupt(message)
        }
        redb::Error::Io(_)
        | redb::Error::PreviousIo
        | redb::Error::DatabaseClosed
        | redb::Error::TransactionPoisoned => EngineError::Io(message),
        _ => EngineError::Corrupt(message),
    }
}

pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(EngineError::Corrupt("reading it made the engine panic".to_owned()))
    })
}

pub(super) fn lost(revision: Revision) -> EngineError {
    EngineError::Corrupt(format!("the record of revision {revision} is missing"))
}

pub(super) fn damaged(damaged: record::Damaged) -> EngineError {
    EngineError::Corrupt(damaged.to_string())
}

pub(super) fn no_bookkeeping() -> EngineError {
    EngineError::Corrupt("its bookkeeping is missing or damaged".to_owned())
}
