//! The deployment controller: replica sets, one per template, and the way from the old one to the new.
//!
//! Each run looks at the replica sets, takes one step (make the new set, scale up, scale down) and writes the status;
//! the sets' own status wakes it for the next. It owns the revisions, the bounds of a rolling update and the
//! conditions. It must not touch pods: it looks at them only to see that a `Recreate` may go on.

mod bounds;
mod cleanup;
mod conditions;
mod new_set;
mod rollout;
mod scale;
mod status;
mod template;

use quadrille_sdk::k8s::{Deployment, DeploymentStatus, ReplicaSet};
use quadrille_sdk::prelude::*;

/// Rolls deployments out.
#[derive(Debug)]
pub struct Deployments;

impl Controller for Deployments {
    type Primary = Deployment;
    const NAME: &'static str = "deployment-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] = &[
        verbs::<ReplicaSet>(&["get", "list", "create", "patch", "delete"]),
        verbs::<Pod>(&["list"]),
    ];
    const RECONCILES_TERMINATING: bool = true;

    fn reconcile(deployment: &Deployment, ctx: &Context) -> Result<Next> {
        if deployment.spec.selector.is_empty() {
            let said = "This deployment is selecting all pods. A non-empty selector is required.";
            common::tell::warning(ctx, "SelectingAll", said);
            return Next::done();
        }
        let mut sets = ctx.claim::<ReplicaSet>(&deployment.spec.selector)?;
        sets.sort_by(|a, b| template::age_order(a).cmp(&template::age_order(b)));
        let mut work = Work::new(deployment, ctx, sets)?;
        work.run()?;
        work.finish()
    }
}

quadrille_sdk::plugin!(Deployments);

/// One run on one deployment.
struct Work<'a> {
    deployment: &'a Deployment,
    ctx: &'a Context,
    /// The set of the wanted template, where there is one.
    new: Option<ReplicaSet>,
    /// The others, oldest first.
    old: Vec<ReplicaSet>,
    /// The status that is written at the end.
    status: DeploymentStatus,
    /// The revision that is written with it, where one was looked at.
    revision: Option<i64>,
    /// Whether the roll-out goes on in this run, so that its progress is judged.
    rolling: bool,
}

impl<'a> Work<'a> {
    fn new(deployment: &'a Deployment, ctx: &'a Context, sets: Vec<ReplicaSet>) -> Result<Self> {
        let wanted = template::Template::of(&deployment.spec.template)?;
        let mut new = None;
        let mut old = Vec::new();
        for set in sets {
            // Of several with the wanted template the oldest counts.
            if new.is_none() && wanted.is_of(&set)? {
                new = Some(set);
            } else {
                old.push(set);
            }
        }
        let status = deployment.status.clone();
        Ok(Self { deployment, ctx, new, old, status, revision: None, rolling: false })
    }

    fn run(&mut self) -> Result<()> {
        if self.ctx.is_terminating() {
            return Ok(());
        }
        self.note_pause();
        if self.is_paused() || self.was_scaled() {
            self.adopt_revision()?;
            self.scale()?;
            if self.is_paused() {
                self.cleanup()?;
            }
            return Ok(());
        }
        self.rolling = true;
        let strategy = self.deployment.spec.strategy.as_ref();
        if strategy.is_some_and(|strategy| strategy.r#type == "Recreate") {
            self.recreate()?;
        } else {
            self.roll()?;
        }
        if self.rolling && self.is_complete(&self.counted()) {
            self.cleanup()?;
        }
        Ok(())
    }

    fn is_paused(&self) -> bool {
        self.deployment.spec.paused == Some(true)
    }

    /// How many pods are wanted.
    fn wanted(&self) -> i64 {
        self.deployment.spec.replicas.unwrap_or(1)
    }

    /// All its sets, the old ones first.
    fn sets(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(self.new.as_ref())
    }

    /// How many pods its sets want together.
    fn total(&self) -> i64 {
        self.sets().map(size).sum()
    }
}

/// How many pods a set wants.
fn size(set: &ReplicaSet) -> i64 {
    set.spec.replicas.unwrap_or(1)
}

#[cfg(test)]
mod tests;
