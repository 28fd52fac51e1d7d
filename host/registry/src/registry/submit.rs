//! From a decision to a commit: prepared on the newest snapshot, committed, and prepared again when somebody else was
//! first. It decides nothing by itself, and knows no HTTP.

use std::sync::Arc;

use quadrille_kit::clock::BoxFuture;
use quadrille_store::{Cause, CommitError, Committed, Object, Txn, View};
use tokio::sync::oneshot;

use super::{Prepared, Registry, Written};
use crate::request::WriteRequest;
use crate::status::Status;

/// How often a write is prepared anew because somebody else was first. Each time somebody else has made progress,
/// so this many in a row means a single object that is written without pause.
const ATTEMPTS_MAX: usize = 64;

/// Whether the end of a dying definition is looked for after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Following {
    Yes,
    No,
}

impl Registry {
    /// Prepares and commits; prepares again on a newer snapshot when somebody else was first: the request's own
    /// resourceVersion, where it has one, is checked again then.
    ///
    /// # Errors
    /// Every refusal of the Kubernetes API.
    pub async fn submit(&self, request: &WriteRequest, cause: Cause) -> Result<Written, Status> {
        self.submit_through(request, cause, Following::Yes).await
    }

    pub(crate) async fn submit_without_following(
        &self,
        request: &WriteRequest,
        cause: Cause,
    ) -> Result<Written, Status> {
        self.submit_through(request, cause, Following::No).await
    }

    async fn submit_through(
        &self,
        request: &WriteRequest,
        cause: Cause,
        following: Following,
    ) -> Result<Written, Status> {
        let mut answers = self.has_webhooks().then(|| self.consultation());
        for _ in 0..ATTEMPTS_MAX {
            let (snapshot, mut prepared) = self.prepare_asking(request, &mut answers).await?;
            if request.options.dry_run || prepared.writes.is_empty() {
                return Ok(self.written(request, prepared, None, snapshot.revision()));
            }
            let txn = Txn {
                // After a conflict the next attempt prepares its own.
                writes: std::mem::take(&mut prepared.writes),
                requires: std::mem::take(&mut prepared.requires),
                reads: None,
                fence: None,
                cause: cause.clone(),
            };
            let committed = match following {
                Following::Yes => self.commit(txn).await,
                Following::No => self.commit_in_line(txn).await,
            };
            match committed {
                Ok(committed) => {
                    let object = committed.objects.first().cloned();
                    let shown = self.shown_after(request, &prepared, object).await?;
                    let shown = shown.as_ref();
                    return Ok(self.written(request, prepared, shown, committed.revision));
                }
                Err(CommitError::Conflict(_)) => {}
                Err(error) => return Err(Status::from(&error)),
            }
        }
        let name = request.target.name.as_deref().unwrap_or_default();
        let why = "too many others write it at the same time; please try again";
        Err(Status::conflict(&request.target.resource.qualified(), name, why))
    }

    /// The committed object as its writer gets to see it.
    async fn shown_after(
        &self,
        request: &WriteRequest,
        prepared: &Prepared,
        committed: Option<Arc<Object>>,
    ) -> Result<Option<Arc<Object>>, Status> {
        let resource = &request.target.resource;
        if prepared.removed || resource.converter().is_none() {
            return Ok(committed);
        }
        let objects = self.convert(committed.into_iter().collect(), resource).await?;
        Ok(objects.into_iter().next())
    }

    /// Commits prepared writes as one transaction and does what follows at once: when this returns, a definition is
    /// served, and a new namespace has its `ServiceAccount` and `ConfigMap`. Runs commit through it.
    ///
    /// # Errors
    /// See [`quadrille_store::CommitError`].
    ///
    /// # Cancel safety
    /// Dropping it may leave the transaction committed or not; what follows from it happens in either case, given a
    /// supervisor.
    pub async fn commit(&self, txn: Txn) -> Result<Committed, CommitError> {
        if !self.is_followed(&txn) {
            return self.commit_in_line(txn).await;
        }
        let Some(supervisor) = self.inner.supervisor.get() else {
            return self.clone().commit_and_follow(txn).await;
        };
        let (answer, answered) = oneshot::channel();
        let work = self.clone().commit_and_follow(txn);
        supervisor.spawn_brief("commit with consequences", async move {
            // Who asked for it may be gone.
            drop(answer.send(work.await));
        });
        answered.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Boxed, since what follows commits as well.
    fn commit_and_follow(self, txn: Txn) -> BoxFuture<'static, Result<Committed, CommitError>> {
        Box::pin(async move {
            let committed = self.commit_in_line(txn).await?;
            self.follow(&committed).await;
            Ok(committed)
        })
    }

    pub(crate) fn is_followed(&self, txn: &Txn) -> bool {
        txn.writes.iter().any(|write| self.has_followers(write))
    }
}
