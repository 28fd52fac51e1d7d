//! The end of a run: the counts, the conditions, and when to look again.

use quadrille_sdk::k8s::{Deployment, DeploymentStatus, ReplicaSet};
use quadrille_sdk::prelude::*;

use crate::bounds::Bounds;
use crate::new_set::{REVISION, revision};
use crate::{Work, conditions, size};

impl Work<'_> {
    /// Writes the status.
    pub(crate) fn finish(mut self) -> Result<Next> {
        let mut status = self.counted();
        if self.rolling {
            self.judge(&mut status);
        }
        self.write(&status)?;
        self.status = status;
        if self.rolling && self.new.is_none() && self.creation_was_refused() {
            return Next::after(Duration::from_secs(5));
        }
        match self.deadline_wait() {
            Some(wait) => Next::after(wait),
            None => Next::done(),
        }
    }

    /// The revision is an annotation, and goes with the status: so it is no new generation.
    fn write(&self, status: &DeploymentStatus) -> Result<()> {
        let current = revision(&self.deployment.metadata);
        let Some(newest) = self.revision.filter(|newest| *newest != current) else {
            return self.ctx.set_status(status);
        };
        let mut metadata = self.deployment.metadata.clone();
        metadata.annotations.insert(REVISION.to_owned(), newest.to_string());
        let deployment = Deployment { metadata, status: status.clone(), ..self.deployment.clone() };
        self.ctx.update_status(&deployment).map(drop)
    }

    /// The status by the sets' own counts.
    pub(crate) fn counted(&self) -> DeploymentStatus {
        let sum = |count: fn(&ReplicaSet) -> i64| self.sets().map(count).sum::<i64>();
        let available = sum(|set| set.status.available_replicas);
        let terminating: i64 = self.sets().filter_map(|set| set.status.terminating_replicas).sum();
        let mut status = DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: sum(|set| set.status.replicas),
            updated_replicas: self.new.as_ref().map_or(0, |set| set.status.replicas),
            ready_replicas: sum(|set| set.status.ready_replicas),
            available_replicas: available,
            unavailable_replicas: (sum(size) - available).max(0),
            terminating_replicas: Some(terminating),
            collision_count: self.status.collision_count,
            conditions: self.status.conditions.clone(),
        };
        let enough = available >= self.wanted() - Bounds::of(self.deployment).unavailable;
        let (truth, message) = if enough {
            (("True", "MinimumReplicasAvailable"), "Deployment has minimum availability.")
        } else {
            let message = "Deployment does not have minimum availability.";
            (("False", "MinimumReplicasUnavailable"), message)
        };
        let condition = conditions::condition(self.ctx.now(), "Available", truth, message);
        conditions::set(&mut status, condition);
        status
    }

    /// Whether everything is new, and available.
    pub(crate) fn is_complete(&self, status: &DeploymentStatus) -> bool {
        let wanted = self.wanted();
        [status.updated_replicas, status.replicas, status.available_replicas] == [wanted; 3]
            && status.observed_generation >= self.deployment.metadata.generation
    }

    /// Says whether the roll-out is done, goes on or stands still.
    fn judge(&self, status: &mut DeploymentStatus) {
        self.judge_failures(status);
        if !self.has_deadline() {
            return conditions::remove(status, "Progressing");
        }
        let was_done = conditions::progressing(status)
            .is_some_and(|condition| condition.reason == "NewReplicaSetAvailable");
        if status.replicas == status.updated_replicas && was_done {
            return;
        }
        let now = self.ctx.now();
        let subject = match &self.new {
            Some(set) => format!("ReplicaSet \"{}\"", set.name()),
            None => format!("Deployment \"{}\"", self.deployment.name()),
        };
        let condition = |truth: (&str, &str), what: &str| {
            conditions::condition(now, "Progressing", truth, format!("{subject} {what}"))
        };
        if self.is_complete(status) {
            let truth = ("True", "NewReplicaSetAvailable");
            conditions::set(status, condition(truth, "has successfully progressed."));
        } else if self.has_moved(status) {
            let mut moved = condition(("True", "ReplicaSetUpdated"), "is progressing.");
            if let Some(current) = conditions::progressing(status).filter(|c| c.status == "True") {
                moved.last_transition_time = current.last_transition_time;
            }
            // The update time moves with each step: the deadline counts from it.
            conditions::remove(status, "Progressing");
            status.conditions.push(moved);
        } else if self.is_late(status) {
            let truth = ("False", "ProgressDeadlineExceeded");
            conditions::set(status, condition(truth, "has timed out progressing."));
        }
    }

    fn judge_failures(&self, status: &mut DeploymentStatus) {
        let newest_first = self.new.iter().chain(&self.old);
        let failure = newest_first
            .flat_map(|set| &set.status.conditions)
            .find(|condition| condition.r#type == "ReplicaFailure");
        match failure {
            Some(failure) => {
                let truth = (failure.status.as_str(), failure.reason.as_str());
                let now = self.ctx.now();
                let message = &failure.message;
                let condition = conditions::condition(now, "ReplicaFailure", truth, message);
                conditions::set(status, condition);
            }
            None => conditions::remove(status, "ReplicaFailure"),
        }
    }

    /// Whether there is more of the new, or less of the old, than when the status was last written.
    fn has_moved(&self, status: &DeploymentStatus) -> bool {
        let before = &self.deployment.status;
        status.updated_replicas > before.updated_replicas
            || status.replicas - status.updated_replicas < before.replicas - before.updated_replicas
            || status.ready_replicas > before.ready_replicas
            || status.available_replicas > before.available_replicas
    }

    fn is_late(&self, status: &DeploymentStatus) -> bool {
        let Some(condition) = conditions::progressing(status) else { return false };
        let Some(since) = condition.last_update_time else { return false };
        match condition.reason.as_str() {
            "NewReplicaSetAvailable" => false,
            "ProgressDeadlineExceeded" => true,
            _ => since + self.deadline() < self.ctx.now(),
        }
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.deadline_seconds()).unwrap_or(0))
    }

    fn creation_was_refused(&self) -> bool {
        conditions::progressing(&self.status).is_some_and(|c| c.reason == "FailedCreate")
    }

    /// How long until the roll-out counts as late.
    fn deadline_wait(&self) -> Option<Duration> {
        if !self.rolling || !self.has_deadline() || self.is_complete(&self.status) {
            return None;
        }
        let condition = conditions::progressing(&self.status)?;
        if matches!(
            condition.reason.as_str(),
            "NewReplicaSetAvailable" | "ProgressDeadlineExceeded"
        ) {
            return None;
        }
        let due = condition.last_update_time? + self.deadline();
        Some(due.since(self.ctx.now()) + Duration::from_secs(1))
    }
}
