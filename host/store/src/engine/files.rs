//! The files of a store on its disk: opened, or made where there are none.
//!
//! A store begins with its log, all of it allocated, and then its engine's file, which gets its name when it is whole. From
//! there on all of them have to be there: one that is missing, short or foreign is told, and never begun anew.

use std::sync::Arc;

use super::EngineError;
use super::redb::{FILE, RedbEngine};
use super::wal::WalEngine;
use super::wal::medium::OnDisk;
use crate::disk::Disk;

/// Opens what is there; makes a store, which `id` names, where nothing is.
pub(crate) fn open_or_make(
    disk: &Arc<dyn Disk>,
    id: impl FnOnce() -> u64,
) -> Result<WalEngine, EngineError> {
    if disk.length(FILE).map_err(EngineError::of_disk)?.is_none() {
        if OnDisk::is_used(disk.as_ref()).map_err(EngineError::of_disk)? {
            return Err(EngineError::Corrupt(format!(
                "{FILE} is missing, and its log is still there"
            )));
        }
        make(disk.as_ref(), id())?;
    }
    // When it was made and then not flushed, its name is seen and would be gone after a power cut, with all in it.
    disk.sync_names().map_err(EngineError::of_disk)?;
    open(disk)
}

/// Opens a store that exists.
pub(crate) fn open(disk: &Arc<dyn Disk>) -> Result<WalEngine, EngineError> {
    let below = RedbEngine::open(disk).map_err(|error| match error {
        EngineError::Corrupt(what) => EngineError::Corrupt(format!("{FILE}: {what}")),
        other @ (EngineError::Io(_) | EngineError::InUse | EngineError::Newer { .. }) => other,
    })?;
    WalEngine::open(below, Box::new(OnDisk(Arc::clone(disk))))
}

/// Makes an empty store.
pub(crate) fn make(disk: &dyn Disk, id: u64) -> Result<(), EngineError> {
    OnDisk::make(disk).map_err(EngineError::of_disk)?;
    RedbEngine::make(disk, id)
}
