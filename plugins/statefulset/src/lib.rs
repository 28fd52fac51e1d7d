//! The stateful set controller: pods with a number each, made in their order, and storage that stays.
//!
//! Each run takes the steps that need not wait for a pod: it makes the missing pods (one at a time when they are
//! ordered), takes away those that are too many, highest number first, and replaces those of an old revision. It owns
//! the revisions, the identities, the claims and the counts.

mod claims;
mod identity;
pub mod kinds;
mod status;
mod step;
mod update;

use std::collections::BTreeSet;

use common::hash;
use common::history::{self, ControllerRevision, History, Wanted};
use quadrille_sdk::k8s::PodTemplate;
use quadrille_sdk::prelude::*;

use kinds::{Claim, StatefulSet, StatefulSetStatus};

/// The label on revisions that carries their hash.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// Keeps stateful sets.
#[derive(Debug)]
pub struct StatefulSets;

impl Controller for StatefulSets {
    type Primary = StatefulSet;
    const NAME: &'static str = "statefulset-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] = &[
        verbs::<Pod>(&["get", "list", "create", "patch", "delete"]),
        verbs::<Claim>(&["get", "create", "patch"]),
        history::CAPABILITY,
    ];
    const RECONCILES_TERMINATING: bool = true;

    fn reconcile(set: &StatefulSet, ctx: &Context) -> Result<Next> {
        let pods = ctx.claim::<Pod>(&set.spec.selector)?;
        let pods = pods.into_iter().filter(|pod| identity::number(set, pod).is_some()).collect();
        let mut history = History::claim(ctx, &set.metadata, &set.spec.selector)?;
        let mut collisions = set.status.collision_count.unwrap_or(0);
        if ctx.is_terminating() && history.named(&set.status.update_revision).is_none() {
            return Next::done();
        }
        let newest = history.ensure(&wanted(set), &mut collisions)?;
        let current = history.named(&set.status.current_revision).unwrap_or(&newest).clone();
        let mut work = Work::new(set, ctx, (current, newest), pods)?;
        let outcome = if ctx.is_terminating() { Ok(()) } else { work.run() };
        let status = work.status(collisions);
        // The counts are true whether or not the last step was refused.
        ctx.set_status(&status)?;
        history.truncate(&work.live(&status), set.spec.revision_history_limit)?;
        match outcome {
            Ok(()) => Ok(work.next()),
            Err(Refused) => Next::after(RETRY),
        }
    }
}

quadrille_sdk::plugin!(StatefulSets);

fn wanted(set: &StatefulSet) -> Wanted<'_, impl Fn(&str, i64) -> Result<String>> {
    let hash = |patch: &str, collisions: i64| {
        Ok(hash::letters(hash::fnv1(format!("{patch}{collisions}").as_bytes())))
    };
    Wanted { template: &set.spec.template, label: HASH_LABEL, hash }
}

/// A step that the API refused; what was done before stands.
#[derive(Debug)]
struct Refused;

/// How long until a refused step is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// One run on one set.
struct Work<'a> {
    set: &'a StatefulSet,
    ctx: &'a Context,
    current: Revision,
    newest: Revision,
    /// The pods as they are, made and deleted ones included.
    pods: Vec<Pod>,
    /// Whether a step was taken after which the next can follow at once.
    moved: bool,
    /// How long until a ready pod counts as available.
    due: Option<Duration>,
}

/// A revision, and the template in it.
struct Revision {
    name: String,
    template: PodTemplate,
}

impl Revision {
    fn of(revision: &ControllerRevision) -> Result<Self> {
        let template = history::template_of(revision)?;
        Ok(Self { name: revision.name().to_owned(), template })
    }
}

impl<'a> Work<'a> {
    fn new(
        set: &'a StatefulSet,
        ctx: &'a Context,
        (current, newest): (ControllerRevision, ControllerRevision),
        pods: Vec<Pod>,
    ) -> Result<Self> {
        let (current, newest) = (Revision::of(&current)?, Revision::of(&newest)?);
        Ok(Self { set, ctx, current, newest, pods, moved: false, due: None })
    }

    /// The revisions that are in use.
    fn live(&self, status: &StatefulSetStatus) -> BTreeSet<String> {
        let used = self.pods.iter().map(|pod| identity::revision(pod).to_owned());
        used.chain([status.current_revision.clone(), status.update_revision.clone()]).collect()
    }

    fn next(&self) -> Next {
        let soon = self.moved.then(|| Duration::from_millis(1));
        soon.or(self.due).map_or(Next::Done, Next::After)
    }

    fn min_ready(&self) -> Duration {
        let seconds = self.set.spec.min_ready_seconds.unwrap_or(0);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// Whether a pod runs, is ready, and has been for long enough.
    fn is_available(&self, pod: &Pod) -> bool {
        is_running(pod) && pod.is_available(self.min_ready(), self.ctx.now())
    }

    /// Whether a pod is to be waited for: one that goes away too.
    fn is_unavailable(&self, pod: &Pod) -> bool {
        pod.metadata.is_terminating() || !self.is_available(pod)
    }
}

/// Whether a pod runs and is ready.
fn is_running(pod: &Pod) -> bool {
    pod.phase() == "Running" && pod.is_ready()
}

#[cfg(test)]
mod tests;
