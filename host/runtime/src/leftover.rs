//! What a controller leaves on objects when it goes for good, or no longer has it: its finalizer, for which nobody else
//! would ever be run. The host put it there, and takes it away.
//!
//! Batches of objects lose it in one transaction each. Nothing of it is kept: who wants to go on after the host ended in
//! the middle asks again for [`Runtime::release_finalizer`].

use std::sync::Arc;
use std::time::Duration;

use quadrille_registry::Resource;
use quadrille_store::{
    Cause, CommitError, Key, Object, Query, Range, Snapshot, SystemCause, Txn, View,
};

use crate::canary::Candidate;
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
/// How long one attempt goes on that nobody waits for.
const ATTEMPT_MAX: Duration = Duration::from_mins(1);

impl Runtime {
    /// Takes a controller out for good: as [`Self::remove`], and its finalizer goes from all objects that it reached,
    /// those that wait for it among them. Nothing is run for them any more.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`].
    pub fn dismiss(&self, name: &ControllerName) -> Result<(), ControllerError> {
        let specs = self.shared.with(name, |controller| {
            let candidate = controller.candidate.as_ref().map(Candidate::spec);
            candidate.into_iter().chain([&controller.version.spec]).cloned().collect::<Vec<_>>()
        })?;
        self.remove(name)?;
        for spec in specs {
            self.shared.release(spec);
        }
        Ok(())
    }

    /// Takes the finalizer of a spec that runs no more from all objects on which it was granted to keep it, and which no other
    /// controller holds by it; nothing where it has none. Answers the objects that keep it: their write was refused, or
    /// `time_max` was not enough for all.
    ///
    /// # Errors
    /// When the store takes no writes; then nothing is known.
    pub async fn release_finalizer(
        &self,
        spec: &ControllerSpec,
        time_max: Duration,
    ) -> Result<Vec<Key>, CommitError> {
        release(&self.shared, spec, time_max).await
    }
}

impl Shared {
    /// Takes the finalizer of a spec that runs no more from all objects that no controller holds by it.
    pub(crate) fn release(self: &Arc<Self>, spec: Arc<ControllerSpec>) {
        if spec.finalizer.is_some() {
            let shared = Arc::clone(self);
            let release = async move {
                if let Err(error) = release(&shared, &spec, ATTEMPT_MAX).await {
                    tracing::warn!(plugin = %spec.plugin, %error, "its finalizer stays on objects");
                }
            };
            self.supervisor.spawn_brief("finalizers", release);
        }
    }

    fn is_held(&self, object: &Object, spec: &ControllerSpec) -> bool {
        let state = self.lock();
        let specs = state.controllers.values().flat_map(|controller| {
            let candidate = controller.candidate.as_ref().map(Candidate::spec);
            candidate.into_iter().chain([&controller.version.spec])
        });
        let namespace = &object.key.namespace;
        specs.into_iter().any(|of| {
            of.primary == spec.primary
                && of.finalizer == spec.finalizer
                && of.reaches(namespace)
                && of.may_hold(namespace)
        })
    }
}

/// Answers what is not released.
async fn release(
    shared: &Shared,
    spec: &ControllerSpec,
    time_max: Duration,
) -> Result<Vec<Key>, CommitError> {
    if spec.finalizer.is_none() {
        return Ok(Vec::new());
    }
    settle_commits(shared).await?;
    let all = Query::whole(Range::all(spec.primary.clone()));
    let listed = shared.registry.store().snapshot().list(&all);
    let is_left = |object: &Object| {
        carries(spec, object)
            && spec.reaches(&object.key.namespace)
            && spec.may_hold(&object.key.namespace)
            && !shared.is_held(object, spec)
    };
    let left = listed.iter().filter(|object| is_left(object));
    let mut left: Vec<Key> = left.map(|object| object.key.clone()).collect();
    if let Some(beginning) = shared.registry.random().next_u64().checked_rem(left.len() as u64) {
        // What stands in the way of some is not always in the way of the same.
        left.rotate_left(usize::try_from(beginning).unwrap_or_default());
    }
    let until = shared.clock.monotonic().saturating_add(time_max);
    let mut time_out = shared.clock.sleep(time_max);
    let (mut kept, mut left) = (Vec::new(), left.as_slice());
    while let Some((batch, others)) = left.split_at_checked(left.len().min(BATCH_MAX))
        && !batch.is_empty()
    {
        let shutdown = shared.supervisor.shutdown();
        let stuck = tokio::select! {
            biased;
            () = shutdown.started() => break,
            () = &mut time_out => break,
            stuck = release_some(shared, spec, batch, until) => stuck,
        };
        kept.extend(stuck);
        left = others;
    }
    kept.extend_from_slice(left);
    Ok(kept)
}

/// Waits until whatever passed the fence of a controller that ended can be seen.
async fn settle_commits(shared: &Shared) -> Result<(), CommitError> {
    let snapshot = shared.registry.store().snapshot();
    let overlay = Overlay::new(snapshot, shared.registry.clone(), Grant::default());
    let txn = attributed(overlay, "looked behind the last commit", Vec::new());
    shared.registry.commit(txn).await.map(drop)
}

/// Releases a batch, or what of it is not refused; answers the others.
async fn release_some(
    shared: &Shared,
    spec: &ControllerSpec,
    batch: &[Key],
    until: Duration,
) -> Vec<Key> {
    let mut kept = Vec::new();
    let mut open = vec![batch];
    while let Some(keys) = open.pop() {
        if shared.clock.monotonic() >= until {
            kept.extend_from_slice(keys);
            continue;
        }
        let Err(error) = release_batch(shared, spec, keys).await else { continue };
        match keys {
            [] => {}
            [key] => {
                tracing::warn!(object = %key, error, "a finalizer that nobody needs stays");
                kept.push(key.clone());
            }
            keys => {
                // One of them is refused; the others go.
                let (some, others) = keys.split_at(keys.len() / 2);
                open.extend([others, some]);
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
