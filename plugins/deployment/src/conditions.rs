//! A deployment's conditions: when they are set, and when their times move.

use quadrille_sdk::Time;
use quadrille_sdk::k8s::{DeploymentCondition, DeploymentStatus};

use crate::Work;

pub(crate) fn progressing(status: &DeploymentStatus) -> Option<&DeploymentCondition> {
    get(status, "Progressing")
}

pub(crate) fn get<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().find(|condition| condition.r#type == kind)
}

/// A condition of this moment.
pub(crate) fn condition(
    now: Time,
    kind: &str,
    (status, reason): (&str, &str),
    message: impl Into<String>,
) -> DeploymentCondition {
    DeploymentCondition {
        r#type: kind.to_owned(),
        status: status.to_owned(),
        last_update_time: Some(now),
        last_transition_time: Some(now),
        reason: reason.to_owned(),
        message: message.into(),
    }
}

/// Sets a condition; one with the same status and reason stays as it is, one with the same status keeps its
/// transition time.
pub(crate) fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(current) = get(status, &condition.r#type) {
        if current.status == condition.status && current.reason == condition.reason {
            return;
        }
        if current.status == condition.status {
            condition.last_transition_time = current.last_transition_time;
        }
    }
    remove(status, &condition.r#type);
    status.conditions.push(condition);
}

pub(crate) fn remove(status: &mut DeploymentStatus, kind: &str) {
    status.conditions.retain(|condition| condition.r#type != kind);
}

impl Work<'_> {
    /// Whether standing still is a failure some time.
    pub(crate) fn has_deadline(&self) -> bool {
        self.deadline_seconds() != i64::from(i32::MAX)
    }

    pub(crate) fn deadline_seconds(&self) -> i64 {
        self.deployment.spec.progress_deadline_seconds.unwrap_or(600)
    }

    /// Says how the roll-out goes on.
    pub(crate) fn progress(&mut self, status: &str, reason: &str, message: impl Into<String>) {
        let condition = condition(self.ctx.now(), "Progressing", (status, reason), message);
        set(&mut self.status, condition);
    }

    /// Notes a pause or its end, so that the deadline does not count the time between.
    pub(crate) fn note_pause(&mut self) {
        if !self.has_deadline() {
            return;
        }
        let reason = progressing(&self.status).map(|condition| condition.reason.clone());
        if reason.as_deref() == Some("ProgressDeadlineExceeded") {
            return;
        }
        let was_paused = reason.as_deref() == Some("DeploymentPaused");
        if self.is_paused() && !was_paused {
            self.progress("Unknown", "DeploymentPaused", "Deployment is paused");
        } else if !self.is_paused() && was_paused {
            self.progress("Unknown", "DeploymentResumed", "Deployment is resumed");
        }
    }
}
