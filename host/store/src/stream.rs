//! The inside of a change stream: a position, and where to read on from there.
//!
//! From the ring while memory reaches back to the position, from the log when it does not. A stream holds
//! neither lock nor engine read while it waits.

use std::sync::Arc;

use crate::bell::Listener;
use crate::bus::TICK;
use crate::change::{ChangeBatch, ChangeFilter, ChangesError};
use crate::history;
use crate::key::Revision;
use crate::shared::Shared;

/// Changes in one batch, unless a single transaction has more.
const BATCH_CHANGES_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct Stream {
    shared: Arc<Shared>,
    filter: ChangeFilter,
    position: Revision,
    wake: Listener,
    /// The last position that the reader was told.
    told: Revision,
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, filter: ChangeFilter, after: Revision) -> Self {
        let wake = shared.bus.subscribe(filter.resource.as_ref());
        Self { shared, filter, position: after, wake, told: after }
    }

    pub(crate) async fn next(&mut self) -> Result<ChangeBatch, ChangesError> {
        loop {
            // Marked as seen before looking, so that what comes after the look wakes the wait below.
            self.wake.look();
            let batch = match self.read_ring()? {
                Some(batch) => batch,
                None => Some(self.read_log_elsewhere().await?),
            };
            if let Some(batch) = batch {
                let moved = batch.through.0.saturating_sub(self.told.0) >= TICK;
                if !batch.changes.is_empty() || moved {
                    return Ok(self.tell(batch));
                }
                self.position = batch.through;
                if self.shared.bus.recent().newest() > self.position {
                    continue;
                }
            }
            self.wake.rung().await;
        }
    }

    pub(crate) fn try_next(&mut self) -> Result<Option<ChangeBatch>, ChangesError> {
        let batch = match self.read_ring()? {
            Some(batch) => batch,
            None => Some(self.read_log()?),
        };
        Ok(batch.map(|batch| self.tell(batch)))
    }

    pub(crate) async fn catch_up(&mut self) -> Result<Option<ChangeBatch>, ChangesError> {
        let batch = match self.read_ring()? {
            Some(batch) => batch,
            None => Some(self.read_log_elsewhere().await?),
        };
        Ok(batch.map(|batch| self.tell(batch)))
    }

    pub(crate) fn position(&self) -> Revision {
        self.position
    }

    fn tell(&mut self, batch: ChangeBatch) -> ChangeBatch {
        self.position = batch.through;
        self.told = batch.through;
        batch
    }

    /// `None` when the ring does not reach back; `Some(None)` when there is nothing new.
    #[expect(clippy::option_option, reason = "out of reach and nothing new are different answers")]
    fn read_ring(&self) -> Result<Option<Option<ChangeBatch>>, ChangesError> {
        if self.shared.is_closed() {
            return Err(ChangesError::Closed);
        }
        let recent = self.shared.bus.recent();
        if recent.newest() <= self.position {
            return Ok(Some(None));
        }
        let found = recent.after(self.filter.resource.as_ref(), self.position, BATCH_CHANGES_MAX);
        Ok(found.map(|(changes, through)| Some(ChangeBatch { changes, through })))
    }

    fn read_log(&self) -> Result<ChangeBatch, ChangesError> {
        let found = history::after(&self.shared, self.filter.resource.as_ref(), self.position);
        found.map(|(changes, through)| ChangeBatch { changes, through })
    }

    /// The same beside the runtime's workers, where the engine may wait for a disk.
    async fn read_log_elsewhere(&self) -> Result<ChangeBatch, ChangesError> {
        if !self.shared.blocks() {
            return self.read_log();
        }
        let (shared, filter) = (Arc::clone(&self.shared), self.filter.clone());
        let position = self.position;
        let read = tokio::task::spawn_blocking(move || {
            history::after(&shared, filter.resource.as_ref(), position)
        });
        let (changes, through) = read.await.map_err(|_| ChangesError::Closed)??;
        Ok(ChangeBatch { changes, through })
    }
}
