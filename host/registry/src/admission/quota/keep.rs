//! Keeping `status.used` of quotas true: what goes is given back, what is new is counted.
//!
//! A count is made of one snapshot and committed only if the quota is still as it was there: a writer that is charged
//! meanwhile wins, and the count is made again. So a count never hides a charge.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::Shutdown;
use quadrille_object::{Meta, Template};
use quadrille_store::{
    Cause, Change, ChangeBatch, ChangeFilter, ChangeStream, ChangesError, CommitError, Expect,
    Query, Range, Revision, SystemCause, Txn, View as _, Write,
};

use super::{quotas, recount, usage};
use crate::access::STORE_PAUSE;
use crate::registry::Registry;
use crate::write::parse;

/// How long changes are gathered before a namespace is counted.
const PAUSE: Duration = Duration::from_millis(50);
/// How often a count is made anew because somebody was charged meanwhile, before others have their turn.
const ATTEMPTS_MAX: usize = 8;

/// Why the keeping ended.
#[derive(Debug, thiserror::Error)]
#[error("cannot follow the changes of what quotas count")]
pub struct KeepQuotasError(#[source] ChangesError);

/// The namespaces that have quotas, and those to count.
#[derive(Debug, Default)]
struct Namespaces {
    limited: BTreeSet<Arc<str>>,
    dirty: BTreeSet<Arc<str>>,
}

impl Registry {
    /// Keeps what quotas say is used in step with the store until the shutdown.
    ///
    /// # Errors
    /// When the store is closed before the shutdown.
    pub async fn keep_quotas(self, shutdown: Shutdown) -> Result<(), KeepQuotasError> {
        loop {
            let snapshot = self.store().snapshot();
            let found = snapshot.list(&Query::whole(Range::all(quotas())));
            let limited: BTreeSet<Arc<str>> =
                found.iter().map(|quota| Arc::clone(&quota.key.namespace)).collect();
            let mut namespaces = Namespaces { dirty: limited.clone(), limited };
            let after = snapshot.revision();
            drop(snapshot);
            let ended = tokio::select! {
                () = shutdown.started() => return Ok(()),
                ended = self.follow_first(after, &mut namespaces) => ended,
            };
            match ended {
                // Too far behind: everything is counted again.
                ChangesError::Expired { .. } => {}
                // So it is when the disk could not be read, which counting does not need.
                ChangesError::Unavailable(_) => tokio::select! {
                    () = shutdown.started() => return Ok(()),
                    () = self.clock().sleep(STORE_PAUSE) => {}
                },
                ChangesError::Closed if shutdown.is_started() => return Ok(()),
                ChangesError::Closed => return Err(KeepQuotasError(ended)),
            }
        }
    }

    /// While there is no quota, only quotas are looked at: most hosts have none, and all other changes are many. What
    /// came between the first one and the look at everything is counted with the first one itself.
    async fn follow_first(&self, after: Revision, namespaces: &mut Namespaces) -> ChangesError {
        let mut position = after;
        if namespaces.limited.is_empty() {
            let filter = ChangeFilter { resource: Some(quotas()) };
            let mut changes = self.store().changes(filter, after);
            while namespaces.limited.is_empty() {
                match changes.next().await {
                    Ok(batch) => namespaces.look_at(&batch),
                    Err(error) => return error,
                }
            }
            position = changes.position();
        }
        self.follow_quotas(position, namespaces).await
    }

    async fn follow_quotas(&self, after: Revision, namespaces: &mut Namespaces) -> ChangesError {
        let mut changes = self.store().changes(ChangeFilter::default(), after);
        loop {
            if namespaces.dirty.is_empty() {
                match changes.next().await {
                    Ok(batch) => namespaces.look_at(&batch),
                    Err(error) => return error,
                }
                continue;
            }
            self.clock().sleep(PAUSE).await;
            if let Err(error) = namespaces.take_rest(&mut changes) {
                return error;
            }
            let mut again = BTreeSet::new();
            while let Some(namespace) = namespaces.dirty.pop_first() {
                if !self.count(&namespace).await {
                    again.insert(namespace);
                }
            }
            namespaces.dirty = again;
        }
    }

    /// Counts a namespace; answers whether it is done.
    async fn count(&self, namespace: &Arc<str>) -> bool {
        for _ in 0..ATTEMPTS_MAX {
            let snapshot = self.store().snapshot();
            let stale = match recount(&snapshot, namespace) {
                Ok(stale) => stale,
                Err(status) => {
                    tracing::warn!(namespace = &**namespace, error = %status, "quota not counted");
                    return true;
                }
            };
            drop(snapshot);
            if stale.is_empty() {
                return true;
            }
            let writes = stale.into_iter().map(|(stored, quota)| Write::Put {
                key: stored.key.clone(),
                meta: Meta::from_object(&quota),
                object: Template::encode(&quota),
                expect: Expect::Revision(stored.revision),
            });
            let cause = Cause::System(SystemCause {
                part: "quotas".to_owned(),
                act: format!("count what {namespace} uses"),
                because: Vec::new(),
            });
            let (requires, reads, fence) = (Vec::new(), None, None);
            let txn = Txn { writes: writes.collect(), requires, reads, fence, cause };
            match self.commit(txn).await {
                Ok(_) => return true,
                Err(CommitError::Conflict(_)) => {}
                Err(error) => {
                    tracing::warn!(namespace = &**namespace, error = %error, "quota not counted");
                    return false;
                }
            }
        }
        false
    }
}

impl Namespaces {
    fn take_rest(&mut self, changes: &mut ChangeStream) -> Result<(), ChangesError> {
        while let Some(batch) = changes.try_next()? {
            self.look_at(&batch);
        }
        Ok(())
    }

    fn look_at(&mut self, batch: &ChangeBatch) {
        for change in &batch.changes {
            let key = change.key();
            if key.resource == quotas() {
                if change.after().is_some() {
                    self.limited.insert(Arc::clone(&key.namespace));
                }
                self.dirty.insert(Arc::clone(&key.namespace));
            } else if self.limited.contains(&key.namespace) && counts(change) {
                self.dirty.insert(Arc::clone(&key.namespace));
            }
        }
    }
}

/// Whether a change may change what is used.
fn counts(change: &Change) -> bool {
    let (Some(before), Some(after)) = (&change.before, change.after()) else { return true };
    let (Ok(before), Ok(after)) = (parse(before), parse(after)) else { return true };
    usage::may_differ(&change.key().resource, &before, &after)
}
