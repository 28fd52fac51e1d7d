//! Taking turns at the commit.
//!
//! Everybody who writes decides on a snapshot and commits when nobody else was first; under load a slow writer may
//! lose that race each time. [`Registry::turn`] lets it win: while it holds the turn no other commit begins, so what
//! it reads then stays true until its own commit. Turns are handed out in the order of asking, commits among them, so
//! that neither side waits forever. Who holds one must be brief: all writers of the host wait.

use quadrille_store::{CommitError, Committed, Txn};
use tokio::sync::RwLockWriteGuard;

use crate::registry::Registry;

/// The sole right to commit, until it is used or dropped.
#[derive(Debug)]
#[must_use = "all other commits wait until it is dropped"]
pub struct Turn<'a> {
    registry: &'a Registry,
    held: RwLockWriteGuard<'a, ()>,
}

impl Registry {
    /// Waits until no other commit is under way and lets none begin.
    ///
    /// A holder must neither call [`Registry::commit`] nor [`Registry::submit`], which wait for the turn to end.
    ///
    /// # Cancel safety
    /// Dropping it gives up the place in line and nothing else.
    pub async fn turn(&self) -> Turn<'_> {
        Turn { registry: self, held: self.commits().write().await }
    }

    /// Commits while nobody holds the turn; nothing follows from it.
    pub(crate) async fn commit_in_line(&self, txn: Txn) -> Result<Committed, CommitError> {
        let _pass = self.commits().read().await;
        self.store().commit(txn).await
    }
}

impl Turn<'_> {
    /// As [`Registry::commit`]; the turn ends with it.
    ///
    /// # Errors
    /// See [`quadrille_store::CommitError`]; a conflict only when the transaction was decided before the turn began.
    pub async fn commit(self, txn: Txn) -> Result<Committed, CommitError> {
        let Self { registry, held } = self;
        let is_followed = registry.is_followed(&txn);
        let committed = registry.store().commit(txn).await;
        // What follows commits on its own.
        drop(held);
        let committed = committed?;
        if is_followed {
            registry.follow(&committed).await;
        }
        Ok(committed)
    }
}
