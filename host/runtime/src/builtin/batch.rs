//! Many small writes as one transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_registry::{
    Action, Body, Catalog, Consultation, DeleteOptions, PatchFormat, Preconditions, Propagation,
    Reason, Status, Target, WriteOptions,
};
use quadrille_store::{Cause, Key, Object, Revision, SystemCause};
use serde_json::Value;

use crate::overlay::write::host;
use crate::overlay::{Overlay, OverlayLimits, Unchecked};
use crate::reconciler::Grant;
use crate::runtime::Shared;

/// How many writes go into one transaction: large enough that the flush to disk does not count, small enough that
/// other commits wait for a few milliseconds only.
pub(super) const BATCH_MAX: usize = 512;

/// How many bytes go into one transaction, with the last states of what is deleted: every follower holds a transaction
/// whole. One write is always taken, however large it is.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Writes on one view, to be committed together.
#[derive(Debug)]
pub(super) struct Batch {
    overlay: Overlay,
    catalog: Arc<Catalog>,
    /// What the writes follow from.
    because: BTreeSet<Revision>,
    /// What the next writes follow from.
    acting_on: Vec<Revision>,
    count: usize,
    /// What could not be written, and would not be at once.
    refused: BTreeSet<Key>,
}

impl Batch {
    /// An empty batch; `answers` are those that an earlier one had to be thrown away for.
    pub(super) fn new(shared: &Shared, answers: Option<Consultation>) -> Self {
        let snapshot = shared.registry.store().snapshot();
        let grant = Grant { unlimited: true, ..Grant::default() };
        let limits = OverlayLimits {
            objects_read_max: usize::MAX,
            bytes_read_max: usize::MAX,
            ranges_read_max: usize::MAX,
            writes_max: usize::MAX,
            bytes_written_max: usize::MAX,
            events_max: 0,
        };
        let registry = &shared.registry;
        let begin = || registry.has_webhooks().then(|| registry.consultation());
        let overlay = Overlay::new(snapshot, registry.clone(), grant).limited(limits);
        let overlay = overlay.answered(answers.or_else(begin));
        let catalog = shared.registry.catalog();
        Self {
            overlay,
            catalog,
            because: BTreeSet::new(),
            acting_on: Vec::new(),
            count: 0,
            refused: BTreeSet::new(),
        }
    }

    /// The view with the writes so far.
    pub(super) fn view(&self) -> Unchecked<'_> {
        Unchecked(&self.overlay)
    }

    pub(super) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Whether the next write has to wait for another transaction.
    pub(super) fn is_full(&self) -> bool {
        self.count >= BATCH_MAX || self.overlay.used().bytes_written >= BATCH_BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What follows is written because of these changes; what was there at the start is not told as one.
    pub(super) fn act_on(&mut self, causes: &[Revision]) {
        self.acting_on = causes.iter().copied().filter(|cause| *cause > Revision(0)).collect();
    }

    /// Deletes this incarnation of an object.
    pub(super) fn delete(&mut self, object: &Object, propagation: Option<Propagation>) {
        let preconditions = Preconditions {
            uid: Some(object.meta.uid.as_ref().to_owned()),
            resource_version: None,
        };
        let options = DeleteOptions { preconditions, propagation, grace_period_seconds: None };
        self.write(object, None, Action::Delete(options));
    }

    /// Patches an object.
    pub(super) fn patch(&mut self, object: &Object, patch: Value) {
        self.write(object, None, Action::Patch(PatchFormat::Merge, Body::from(patch)));
    }

    /// Replaces an object through one of its subresources.
    pub(super) fn update(&mut self, object: &Object, subresource: &str, value: Value) {
        self.write(object, Some(subresource.into()), Action::Update(Body::from(value)));
    }

    fn write(&mut self, object: &Object, subresource: Option<Arc<str>>, action: Action) {
        if let Err(status) = self.try_write(object, subresource, action)
            && !matches!(status.reason, Reason::NotFound | Reason::Conflict)
        {
            tracing::warn!(object = %object.key, error = %status, "housekeeping write refused");
            self.refused.insert(object.key.clone());
        }
    }

    fn try_write(
        &mut self,
        object: &Object,
        subresource: Option<Arc<str>>,
        action: Action,
    ) -> Result<(), Status> {
        let of: &GroupResource = &object.key.resource;
        let resource = self.catalog.by_group_resource(of).cloned();
        let target = Target {
            resource: resource.ok_or_else(|| Status::not_found(of, ""))?,
            namespace: Arc::clone(&object.key.namespace),
            name: Some(Arc::clone(&object.key.name)),
            subresource,
        };
        self.overlay.write_as(host(), target, action, WriteOptions::default(), true)?;
        self.count += 1;
        // Without a change that led here, it is the object's own last one.
        if self.acting_on.is_empty() {
            self.because.insert(object.revision);
        }
        self.because.extend(&self.acting_on);
        Ok(())
    }

    /// What could not be written, to be tried again later.
    pub(super) fn take_refused(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.refused)
    }

    /// Commits what there is.
    ///
    /// # Errors
    /// When somebody else was first or the store refuses: all is to be looked at again. So it is when admission webhooks
    /// had to be asked, with their answers.
    pub(super) async fn commit(
        mut self,
        shared: &Shared,
        part: &'static str,
    ) -> Result<(), Option<Consultation>> {
        if let Some((questions, Some(mut known))) = self.overlay.take_questions() {
            if let Err(error) = shared.registry.consult(questions, &mut known).await {
                tracing::warn!(part, %error, "housekeeping webhooks asked in vain");
                shared.clock.sleep(crate::trigger::RETRY).await;
                return Err(None);
            }
            return Err(Some(known));
        }
        if self.overlay.written().is_empty() {
            return Ok(());
        }
        let act = format!("changed or deleted {} objects", self.count);
        let because = self.because.into_iter().collect();
        let cause = SystemCause { part: part.to_owned(), act, because };
        let mut txn = self.overlay.into_txn(None, Cause::System(cause));
        txn.reads = None;
        match shared.registry.commit(txn).await {
            Ok(committed) => {
                let mut state = shared.lock();
                state.last_commit = state.last_commit.max(committed.revision);
                Ok(())
            }
            Err(error) => {
                tracing::debug!(part, error = %error, "housekeeping transaction tried again");
                if !matches!(error, quadrille_store::CommitError::Conflict(_)) {
                    shared.clock.sleep(crate::trigger::RETRY).await;
                }
                Err(None)
            }
        }
    }
}
