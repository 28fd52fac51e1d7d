//! The job controller: pods that run until enough of them have succeeded.
//!
//! Every pod is counted exactly once: pods are held by a finalizer, and the commit that counts a finished one also
//! takes its finalizer away. It owns the counts, the limits (retries, time, indexes), the policies and the conditions.

mod count;
mod finish;
mod index;
mod orphan;
mod pods;
mod policy;

use std::collections::BTreeSet;

use policy::Policy;
use quadrille_sdk::Propagation;
use quadrille_sdk::k8s::{Job, JobCondition, JobStatus, UncountedPods};
use quadrille_sdk::prelude::*;

/// Holds a pod until it is counted.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// Who looks after a job that names nobody.
const MANAGER: &str = "kubernetes.io/job-controller";

/// Runs jobs.
#[derive(Debug)]
pub struct Jobs;

impl Controller for Jobs {
    type Primary = Job;
    const NAME: &'static str = "job-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] =
        &[verbs::<Job>(&["delete"]), verbs::<Pod>(&["get", "list", "create", "patch", "delete"])];
    const RECONCILES_TERMINATING: bool = true;

    fn reconcile(job: &Job, ctx: &Context) -> Result<Next> {
        if job.spec.managed_by.as_deref().is_some_and(|manager| manager != MANAGER) {
            return Next::done();
        }
        if let Some(condition) = finish::finished(job) {
            return after_the_end(job, condition, ctx);
        }
        let pods = ctx.claim::<Pod>(&job.spec.selector)?;
        let policy = Policy::of(job)?;
        let status = job.status.clone();
        let mut work = Work { job, ctx, status, pods, policy, refused: None };
        let next = work.run()?;
        ctx.set_status(&work.status)?;
        // What it ended itself does not wake it, so that the time until it goes is counted from here.
        let ended = Job { status: work.status, ..job.clone() };
        match finish::finished(&ended) {
            Some(condition) => time_left(&ended, condition, ctx).map_or(Ok(next), Next::after),
            None => Ok(next),
        }
    }
}

quadrille_sdk::plugin!(Jobs, orphan::Orphans);

/// Releases what is left, and deletes the job when its time after the end is over.
fn after_the_end(job: &Job, condition: &JobCondition, ctx: &Context) -> Result<Next> {
    for pod in ctx.owned::<Pod>()? {
        pods::release(ctx, &pod)?;
    }
    match time_left(job, condition, ctx) {
        None => Next::done(),
        Some(Duration::ZERO) => {
            // What the job owns goes first, as the kind has it.
            ctx.delete_with(job, Propagation::Foreground)?;
            Next::done()
        }
        Some(left) => Next::after(left),
    }
}

/// How long a job that has ended is still kept; `None` for as long as nobody deletes it.
fn time_left(job: &Job, condition: &JobCondition, ctx: &Context) -> Option<Duration> {
    let seconds = job.spec.ttl_seconds_after_finished.filter(|_| !ctx.is_terminating())?;
    let ended = condition.last_transition_time.unwrap_or_else(|| ctx.now());
    let due = ended + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(due.since(ctx.now()))
}

/// One run on one job.
struct Work<'a> {
    job: &'a Job,
    ctx: &'a Context,
    status: JobStatus,
    pods: Vec<Pod>,
    policy: Policy,
    /// Why a failed pod means that the job has failed.
    refused: Option<String>,
}

impl Work<'_> {
    fn run(&mut self) -> Result<Next> {
        self.status.uncounted_terminated_pods = Some(UncountedPods::default());
        if self.status.start_time.is_none() && !self.is_suspended() {
            self.status.start_time = Some(self.ctx.now());
        }
        self.count_finished()?;
        let mut next = Next::Done;
        if let Some((reason, message)) = self.failure() {
            self.stop("Failed", reason, &message)?;
        } else if let Some(rule) = self.policy.succeeded(self.job, &self.completed()) {
            let message = format!("Matched rules at index {rule}");
            self.stop("Complete", "SuccessPolicy", &message)?;
        } else if self.is_complete() {
            self.stop(
                "Complete",
                "CompletionsReached",
                "Reached expected number of succeeded pods",
            )?;
        } else if self.ctx.is_terminating() {
            // Nothing new for a job that goes away.
        } else if self.is_suspended() {
            self.suspend()?;
        } else {
            self.resume()?;
            next = self.balance()?;
        }
        self.tally();
        Ok(next)
    }

    fn is_suspended(&self) -> bool {
        self.job.spec.suspend == Some(true)
    }

    fn is_indexed(&self) -> bool {
        self.job.spec.completion_mode.as_deref() == Some("Indexed")
    }

    fn succeeded(&self) -> i64 {
        self.status.succeeded.unwrap_or(0)
    }

    fn failed(&self) -> i64 {
        self.status.failed.unwrap_or(0)
    }

    /// The indexes that have succeeded.
    fn completed(&self) -> BTreeSet<i64> {
        index::parse(self.status.completed_indexes.as_deref().unwrap_or(""))
    }

    /// The indexes that have failed for good.
    fn given_up(&self) -> BTreeSet<i64> {
        index::parse(self.status.failed_indexes.as_deref().unwrap_or(""))
    }

    /// The counts of the pods that are there now.
    fn tally(&mut self) {
        let count = |pick: fn(&&Pod) -> bool| {
            i64::try_from(self.pods.iter().filter(pick).count()).unwrap_or(i64::MAX)
        };
        let active = count(|pod| pod.is_active());
        let ready = count(|pod| pod.is_active() && pod.is_ready());
        let terminating = count(|pod| pod.metadata.is_terminating());
        self.status.active = Some(active).filter(|active| *active > 0);
        self.status.ready = Some(ready);
        self.status.terminating = Some(terminating);
    }
}

#[cfg(test)]
mod tests;
