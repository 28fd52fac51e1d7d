//! What a controller leaves on objects when it goes for good, or no longer has it: its finalizer, for which nobody else
//! would ever be run. The host put it there, and takes it away.
//!
//! Batches of objects lose it in one transaction each. Nothing of it is kept: who wants to go on after the host ended in
//! the middle asks again for [`Runtime::release_finalizer`].

use std::sync::Arc;

use quadrille_registry::Resource;
use quadrille_store::{
    Cause, CommitError, Key, Object, Query, Range, Snapshot, SystemCause, Txn, View,
};

use crate::controller::{ControllerName, carries};
use crate::overlay::Overlay;
use crate::reconciler::{ControllerSpec, Failure, Grant};
use crate::runtime::{ControllerError, Runtime, Shared};

/// What the host's own writes of finalizers are attributed to.
const PART: &str = "finalizers";
/// Objects of one transaction.
const BATCH_MAX: usize = 100;
/// How often a batch is tried again because somebody else was first.
const TRIES_MAX: usize = 16;

impl Runtime {
    /// Takes a controller out for good: as [`Self::remove`], and its finalizer goes from all objects that it reached,
    /// those that wait for it among them. Nothing is run for them any more.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`].
    pub fn dismiss(&self, name: &ControllerName) -> Result<(), ControllerError> {
        let spec = self.shared.with(name, |controller| Arc::clone(&controller.version.spec))?;
        self.remove(name)?;
        self.shared.release(spec);
        Ok(())
    }

    /// Takes the finalizer of a spec that runs no more from all objects that it reached and no other controller holds by it;
    /// nothing where it has none. Answers the objects that keep it, because their write was refused.
    pub async fn release_finalizer(&self, spec: ControllerSpec) -> Vec<Key> {
        release(&self.shared, &spec).await
    }
}

impl Shared {
    /// Takes the finalizer of a spec that runs no more from all objects that no controller holds by it.
    pub(crate) fn release(self: &Arc<Self>, spec: Arc<ControllerSpec>) {
        if spec.finalizer.is_some() {
            let shared = Arc::clone(self);
            let release = async move { drop(release(&shared, &spec).await) };
            self.supervisor.spawn_brief("finalizers", release);
        }
    }

    fn is_held(&self, object: &Object, spec: &ControllerSpec) -> bool {
        let state = self.lock();
        state.controllers.values().map(|controller| &controller.version.spec).any(|of| {
            of.primary == spec.primary
                && of.finalizer == spec.finalizer
                && of.reaches(&object.key.namespace)
        })
    }
}

/// Answers what is not released.
async fn release(shared: &Shared, spec: &ControllerSpec) -> Vec<Key> {
    let all = Query::whole(Range::all(spec.primary.clone()));
    let listed = shared.registry.store().snapshot().list(&all);
    let left = listed.iter().filter(|object| {
        carries(spec, object)
            && spec.reaches(&object.key.namespace)
            && spec.may_hold(&object.key.namespace)
            && !shared.is_held(object, spec)
    });
    let left: Vec<Key> = left.map(|object| object.key.clone()).collect();
    let mut kept = Vec::new();
    for batch in left.chunks(BATCH_MAX) {
        if release_batch(shared, spec, batch).await.is_ok() {
            continue;
        }
        // One of them is refused; the others go.
        for key in batch {
            if let Err(error) = release_batch(shared, spec, std::slice::from_ref(key)).await {
                tracing::warn!(object = %key, error, "a finalizer that nobody needs stays");
                kept.push(key.clone());
            }
        }
    }
    kept
}

async fn release_batch(shared: &Shared, spec: &ControllerSpec, keys: &[Key]) -> Result<(), String> {
    for _ in 0..TRIES_MAX {
        let snapshot = shared.registry.store().snapshot();
        let overlay = unmarked(shared, spec, &snapshot, keys).await;
        let overlay = overlay.map_err(|failure| failure.message().to_owned())?;
        let txn = attributed(overlay, "released what a controller left", Vec::new());
        if txn.writes.is_empty() {
            return Ok(());
        }
        match shared.registry.commit(txn).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Conflict(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("somebody else was first each time".to_owned())
}

/// A transaction of the host's own.
pub(crate) fn attributed(
    overlay: Overlay,
    act: &str,
    because: Vec<quadrille_store::Revision>,
) -> Txn {
    let cause = SystemCause { part: PART.to_owned(), act: act.to_owned(), because };
    overlay.into_txn(None, Cause::System(cause))
}

/// The objects without the finalizer of a spec, where it was granted to keep it, seen by all webhooks.
pub(crate) async fn unmarked(
    shared: &Shared,
    spec: &ControllerSpec,
    snapshot: &Snapshot,
    keys: &[Key],
) -> Result<Overlay, Failure> {
    let registry = &shared.registry;
    let host = |status: quadrille_registry::Status| Failure::Host(status.message);
    let resource: Option<Arc<Resource>> =
        registry.catalog().by_group_resource(&spec.primary).cloned();
    let resource =
        resource.ok_or_else(|| Failure::Host(format!("{} is not served", spec.primary)))?;
    let finalizer = spec.finalizer.as_deref().unwrap_or_default();
    let mut answers = registry.has_webhooks().then(|| registry.consultation());
    for _ in 0..TRIES_MAX {
        let overlay = Overlay::new(snapshot.clone(), registry.clone(), Grant::default());
        let mut overlay = overlay.answered(answers.take());
        for key in keys.iter().filter(|key| spec.may_hold(&key.namespace)) {
            overlay.set_finalizer(&resource, key, finalizer, false).map_err(host)?;
        }
        let Some((questions, known)) = overlay.take_questions() else { return Ok(overlay) };
        let mut known = known.unwrap_or_else(|| registry.consultation());
        registry.consult(questions, &mut known).await.map_err(host)?;
        answers = Some(known);
    }
    Err(Failure::Limit(format!("webhooks had to be asked {TRIES_MAX} times")))
}
