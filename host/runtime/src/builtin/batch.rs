//! Many small writes as one transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_registry::{
    Action, Body, Catalog, Consultation, DeleteOptions, PatchFormat, Preconditions, Propagation,
    Status, Target, Turn, WriteOptions,
};
use quadrille_store::{Cause, CommitError, Key, Object, Revision, SystemCause, View};
use serde_json::Value;

use crate::overlay::write::host;
use crate::overlay::{Overlay, OverlayLimits, Unchecked};
use crate::reconciler::Grant;
use crate::runtime::Shared;

/// How many writes go into one transaction at most: large enough that the flush to disk does not count, small enough
/// that other commits wait for a few milliseconds only.
pub(super) const BATCH_MAX: usize = 512;

/// How many bytes go into one transaction, with the last states of what is deleted and the causes, which are stored with
/// every change: every follower holds a transaction whole. One write is always taken, however large it is.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Ending {
    /// It is done, but for what was refused.
    Committed(BTreeSet<Key>),
    /// Admission webhooks had to be asked: it is to be made again with their answers.
    Asked(Consultation),
    /// Somebody else was first.
    Conflict,
    /// The store takes no such transaction, however often it is tried.
    Invalid,
    /// The store, or a webhook, cannot be reached.
    Unavailable,
}

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
    /// How many writes there were, refused ones among them.
    tried: usize,
    /// How many writes it takes.
    room: usize,
    /// How long `because` is in the stored cause.
    because_bytes: usize,
    /// What could not be written, and would not be at once.
    refused: BTreeSet<Key>,
}

impl Batch {
    /// An empty batch for so many writes; `answers` are those that an earlier one had to be thrown away for.
    pub(super) fn new(shared: &Shared, room: usize, answers: Option<Consultation>) -> Self {
        let snapshot = shared.registry.store().snapshot();
        let grant = Grant { unlimited: true, ..Grant::default() };
        let limits = OverlayLimits {
            objects_read_max: usize::MAX,
            bytes_read_max: usize::MAX,
            ranges_read_max: usize::MAX,
            selector_bytes_max: usize::MAX,
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
            tried: 0,
            room,
            because_bytes: 0,
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

    /// How many writes there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether the next write has to wait for another transaction.
    pub(super) fn is_full(&self) -> bool {
        // After a question that nothing can be assumed about, nothing more is decided.
        let waits = self.overlay.limit_reached().is_some();
        waits || self.tried >= self.room || (self.tried > 0 && !self.has_bytes_for(0))
    }

    /// Whether a write that follows from these changes still goes in.
    pub(super) fn fits(&self, causes: &[Revision]) -> bool {
        !self.is_full()
            && (self.is_idle()
                || self.has_bytes_for(causes.iter().copied().map(stored_bytes).sum()))
    }

    /// Whether the bytes suffice for one more write, with so many bytes of causes more.
    fn has_bytes_for(&self, causes: usize) -> bool {
        let of_causes = (self.because_bytes + causes) * (self.count + 1);
        self.overlay.used().bytes_written + of_causes < BATCH_BYTES_MAX
    }

    /// Whether nothing was tried.
    pub(super) fn is_idle(&self) -> bool {
        self.tried == 0
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
        self.write(&object.key, object, None, Action::Delete(options));
    }

    /// Patches an object; answers whether that was taken.
    pub(super) fn patch(&mut self, object: &Object, patch: Value) -> bool {
        self.patch_for(&object.key, object, patch)
    }

    /// Patches an object for the sake of another one.
    pub(super) fn patch_for(&mut self, of: &Key, object: &Object, patch: Value) -> bool {
        self.write(of, object, None, Action::Patch(PatchFormat::Merge, Body::from(patch)))
    }

    /// Replaces an object through one of its subresources.
    pub(super) fn update(&mut self, object: &Object, subresource: &str, value: Value) {
        let action = Action::Update(Body::from(value));
        self.write(&object.key, object, Some(subresource.into()), action);
    }

    /// Looks at something again later: not all that was to be written for it could be.
    pub(super) fn put_off(&mut self, key: &Key) {
        self.refused.insert(key.clone());
    }

    /// Whether something is to be looked at again later.
    pub(super) fn has_put_off(&self, key: &Key) -> bool {
        self.refused.contains(key)
    }

    /// Writes; when that is refused, what it is for is put off.
    fn write(
        &mut self,
        of: &Key,
        object: &Object,
        subresource: Option<Arc<str>>,
        action: Action,
    ) -> bool {
        self.tried += 1;
        let Err(status) = self.try_write(object, subresource, action) else { return true };
        let now = self.view().get(&object.key);
        let is_there = now.is_some_and(|now| now.meta.uid == object.meta.uid);
        let is_served = self.catalog.by_group_resource(&object.key.resource).is_some();
        // What went needs no write, and what waits for a webhook is decided anew.
        let refused = is_there && is_served && self.overlay.limit_reached().is_none();
        if refused {
            tracing::warn!(object = %object.key, error = %status, "housekeeping write refused");
            self.put_off(of);
        }
        false
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
        let own = self.acting_on.is_empty().then_some(&object.revision);
        for cause in self.acting_on.iter().chain(own) {
            if self.because.insert(*cause) {
                self.because_bytes += stored_bytes(*cause);
            }
        }
        Ok(())
    }

    /// Commits what there is, with the turn if there is one.
    pub(super) async fn commit(
        mut self,
        shared: &Shared,
        part: &'static str,
        turn: Option<Turn<'_>>,
    ) -> Ending {
        if let Some((questions, Some(mut known))) = self.overlay.take_questions() {
            drop(turn);
            if let Err(error) = shared.registry.consult(questions, &mut known).await {
                tracing::warn!(part, %error, "housekeeping webhooks asked in vain");
                return Ending::Unavailable;
            }
            return Ending::Asked(known);
        }
        if self.overlay.written().is_empty() {
            return Ending::Committed(self.refused);
        }
        let act = format!("changed or deleted {} objects", self.count);
        let because = self.because.into_iter().collect();
        let cause = SystemCause { part: part.to_owned(), act, because };
        let mut txn = self.overlay.into_txn(None, Cause::System(cause));
        txn.reads = None;
        let committed = match turn {
            Some(turn) => turn.commit(txn).await,
            None => shared.registry.commit(txn).await,
        };
        match committed {
            Ok(committed) => {
                let mut state = shared.lock();
                state.last_commit = state.last_commit.max(committed.revision);
                Ending::Committed(self.refused)
            }
            Err(CommitError::Invalid(why)) => {
                tracing::error!(part, writes = self.count, why, "housekeeping built too much");
                Ending::Invalid
            }
            Err(error) => {
                tracing::debug!(part, %error, "housekeeping transaction tried again");
                let lost = matches!(error, CommitError::Conflict(_));
                if lost { Ending::Conflict } else { Ending::Unavailable }
            }
        }
    }
}

/// How many bytes a revision takes in a stored cause.
fn stored_bytes(cause: Revision) -> usize {
    let digits = cause.0.checked_ilog10().unwrap_or(0) + 1;
    usize::try_from(digits).unwrap_or(0) + ",".len()
}
