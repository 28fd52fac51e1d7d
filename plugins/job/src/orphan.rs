//! Pods whose job is gone: nobody will count them, so nothing may hold them.

use quadrille_sdk::k8s::Job;
use quadrille_sdk::prelude::*;

use crate::{count, pods};

/// Takes the finalizer from terminating pods of jobs that are gone or go.
#[derive(Debug)]
pub(crate) struct Orphans;

impl Controller for Orphans {
    type Primary = Pod;
    const NAME: &'static str = "job-orphan";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] =
        &[verbs::<Job>(&["get"]), verbs::<Pod>(&["get", "patch"])];
    const LABEL_SELECTOR: &'static str = "batch.kubernetes.io/controller-uid";
    const RECONCILES_TERMINATING: bool = true;

    fn reconcile(pod: &Pod, ctx: &Context) -> Result<Next> {
        if !count::is_tracked(pod) {
            return Next::done();
        }
        let owner = pod.metadata.controller().filter(|owner| owner.kind == Job::KIND);
        let job = match owner {
            Some(owner) => ctx.get::<Job>(&owner.name)?.filter(|job| job.uid() == owner.uid),
            None => None,
        };
        if job.is_none_or(|job| job.meta().is_terminating()) {
            pods::release(ctx, pod)?;
        }
        Next::done()
    }
}
