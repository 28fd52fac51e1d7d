//! The ends of a job, and its pauses: conditions, and what becomes of the pods.

use quadrille_sdk::k8s::{Job, JobCondition};
use quadrille_sdk::prelude::*;

use crate::{Work, pods};

/// The condition that says that a job is over.
pub(crate) fn finished(job: &Job) -> Option<&JobCondition> {
    let ends = ["Complete", "Failed"];
    job.status.conditions.iter().find(|c| ends.contains(&c.r#type.as_str()) && c.status == "True")
}

impl Work<'_> {
    /// Why the job has failed, if it has.
    pub(crate) fn failure(&self) -> Option<(&'static str, String)> {
        if let Some(why) = &self.refused {
            return Some(("PodFailurePolicy", why.clone()));
        }
        let given_up = i64::try_from(self.given_up().len()).unwrap_or(i64::MAX);
        if self.job.spec.max_failed_indexes.is_some_and(|most| given_up > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(("MaxFailedIndexesExceeded", message.to_owned()));
        }
        let done = self.succeeded() + given_up;
        if given_up > 0 && self.job.spec.completions.is_some_and(|wanted| done >= wanted) {
            return Some(("FailedIndexes", "Job has failed indexes".to_owned()));
        }
        let limit = self.job.spec.backoff_limit.unwrap_or(6);
        if self.failed() > limit || self.restarts_exceed(limit) {
            let message = "Job has reached the specified backoff limit".to_owned();
            return Some(("BackoffLimitExceeded", message));
        }
        self.deadline_wait().filter(Duration::is_zero).map(|_| {
            ("DeadlineExceeded", "Job was active longer than specified deadline".to_owned())
        })
    }

    /// Containers that are started again in their pod count as retries too.
    fn restarts_exceed(&self, limit: i64) -> bool {
        if !pods::restarts_in_place(self.job) {
            return false;
        }
        let running = self.pods.iter().filter(|pod| matches!(pod.phase(), "Running" | "Pending"));
        let statuses = running.filter_map(|pod| pod.status.as_ref());
        let restarts: i64 =
            statuses.flat_map(|s| &s.container_statuses).map(|c| c.restart_count).sum();
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    /// How long the job may still run; `None` without a deadline.
    pub(crate) fn deadline_wait(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.job.spec.active_deadline_seconds?).unwrap_or(0);
        let since = self.status.start_time.filter(|_| !self.is_suspended())?;
        Some((since + Duration::from_secs(seconds)).since(self.ctx.now()))
    }

    /// Whether enough pods have succeeded.
    pub(crate) fn is_complete(&self) -> bool {
        match self.job.spec.completions {
            Some(completions) => self.succeeded() >= completions,
            // A work queue: one says that it is empty, the others finish.
            None => self.succeeded() > 0 && !self.pods.iter().any(Pod::is_active),
        }
    }

    /// Ends the job: its running pods go, and those of a failed job count as failed.
    pub(crate) fn stop(&mut self, kind: &str, reason: &str, message: &str) -> Result<()> {
        let stopped = self.remove_active()?;
        if kind == "Failed" {
            self.status.failed = Some(self.failed() + stopped).filter(|failed| *failed > 0);
            self.set("FailureTarget", ("True", reason), message);
            self.set("Failed", ("True", reason), message);
            return self.ctx.warning(reason, message);
        }
        self.set("SuccessCriteriaMet", ("True", reason), message);
        self.set("Complete", ("True", reason), message);
        self.status.completion_time = Some(self.ctx.now());
        self.ctx.event("Completed", "Job completed")
    }

    pub(crate) fn suspend(&mut self) -> Result<()> {
        self.remove_active()?;
        self.status.start_time = None;
        if self.is("Suspended") {
            return Ok(());
        }
        self.set("Suspended", ("True", "JobSuspended"), "Job suspended");
        self.ctx.event("Suspended", "Job suspended")
    }

    pub(crate) fn resume(&mut self) -> Result<()> {
        if !self.is("Suspended") {
            return Ok(());
        }
        self.status.start_time = Some(self.ctx.now());
        self.set("Suspended", ("False", "JobResumed"), "Job resumed");
        self.ctx.event("Resumed", "Job resumed")
    }

    /// Deletes the pods that are not finished; answers how many.
    fn remove_active(&mut self) -> Result<i64> {
        let (active, rest) = std::mem::take(&mut self.pods).into_iter().partition(Pod::is_active);
        self.pods = rest;
        let active: Vec<Pod> = active;
        for pod in &active {
            pods::remove(self.ctx, pod)?;
        }
        Ok(i64::try_from(active.len()).unwrap_or(i64::MAX))
    }

    fn is(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|c| c.r#type == kind && c.status == "True")
    }

    fn set(&mut self, kind: &str, (status, reason): (&str, &str), message: &str) {
        let now = self.ctx.now();
        self.status.conditions.retain(|condition| condition.r#type != kind);
        self.status.conditions.push(JobCondition {
            r#type: kind.to_owned(),
            status: status.to_owned(),
            last_probe_time: Some(now),
            last_transition_time: Some(now),
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
    }
}
