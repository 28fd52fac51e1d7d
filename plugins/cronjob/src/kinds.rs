//! Cron jobs, as far as the controller looks at them.

use quadrille_sdk::Time;
use quadrille_sdk::k8s::Raw;
use quadrille_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// A job made again and again, on a schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CronJob {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: CronJobSpec,
    /// What is observed.
    pub status: CronJobStatus,
}
quadrille_sdk::kind!(CronJob, "batch", "v1", "cronjobs");

/// What is wanted of a cron job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobSpec {
    /// When, in the notation of cron.
    pub schedule: String,
    /// Whose clock the schedule means; UTC where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// How late a job may still be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting_deadline_seconds: Option<i64>,
    /// `Allow`, `Forbid` or `Replace`.
    pub concurrency_policy: String,
    /// Whether it stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// What the jobs look like.
    pub job_template: JobTemplate,
    /// How many jobs that succeeded are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successful_jobs_history_limit: Option<i64>,
    /// How many jobs that failed are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_jobs_history_limit: Option<i64>,
}

/// What jobs are made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobTemplate {
    /// The metadata that jobs get.
    pub metadata: Metadata,
    /// The spec that jobs get, unparsed.
    pub spec: Raw,
}

/// What is observed of a cron job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CronJobStatus {
    /// The jobs that have not ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<ActiveJob>,
    /// The time on the schedule that a job was last made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// When a job last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,
}

/// A reference to a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ActiveJob {
    /// `batch/v1`.
    pub api_version: String,
    /// `Job`.
    pub kind: String,
    /// The job's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its revision when it was made, where that was said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

/// A job, with its spec unparsed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Job {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted, unparsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Raw>,
    /// What is observed.
    #[serde(skip_serializing)]
    pub status: JobStatus,
}
quadrille_sdk::kind!(Job, "batch", "v1", "jobs");

/// What is observed of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobStatus {
    /// When it began.
    pub start_time: Option<Time>,
    /// When it was complete.
    pub completion_time: Option<Time>,
    /// Observations.
    pub conditions: Vec<JobCondition>,
}

/// One observation of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobCondition {
    /// `Complete` or `Failed`, among others.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

impl Job {
    /// How the job has ended: `Complete` or `Failed`.
    pub(crate) fn end(&self) -> Option<&str> {
        let ends = |c: &&JobCondition| {
            matches!(c.r#type.as_str(), "Complete" | "Failed") && c.status == "True"
        };
        self.status.conditions.iter().find(ends).map(|condition| condition.r#type.as_str())
    }
}
