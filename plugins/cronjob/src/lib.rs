//! The cron job controller: jobs on a schedule.
//!
//! Each run brings the list of active jobs up to date, deletes finished jobs beyond the limits, makes the job of the
//! latest time on the schedule that was missed, and comes again at the next. A job's name follows from its time, so
//! that no time gives two.

mod calendar;
pub mod kinds;
mod schedule;
mod zone;

use common::tell;
use quadrille_sdk::prelude::*;
use quadrille_sdk::{Reason, Time};

use kinds::{ActiveJob, CronJob, CronJobStatus, Job};
use schedule::Schedule;
use zone::Zone;

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Makes the jobs of cron jobs.
#[derive(Debug)]
pub struct CronJobs;

impl Controller for CronJobs {
    type Primary = CronJob;
    const NAME: &'static str = "cronjob-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] =
        &[verbs::<Job>(&["get", "list", "create", "delete"])];
    const RECONCILES_TERMINATING: bool = true;

    fn reconcile(cron: &CronJob, ctx: &Context) -> Result<Next> {
        let jobs = ctx.owned::<Job>()?;
        let jobs = jobs.into_iter().filter(|job| job.metadata.is_controlled_by(ctx.owner_uid()));
        let mut work = Work { cron, ctx, status: cron.status.clone(), jobs: jobs.collect() };
        work.look();
        let next = if ctx.is_terminating() { Ok(Next::Done) } else { work.run() };
        work.tidy()?;
        ctx.set_status(&work.status)?;
        next
    }
}

quadrille_sdk::plugin!(CronJobs);

/// One run on one cron job.
struct Work<'a> {
    cron: &'a CronJob,
    ctx: &'a Context,
    status: CronJobStatus,
    jobs: Vec<Job>,
}

impl Work<'_> {
    /// Brings what the status says of jobs up to date.
    fn look(&mut self) {
        let mut active = std::mem::take(&mut self.status.active);
        active.retain(|known| {
            let job = self.jobs.iter().find(|job| job.uid() == known.uid);
            let end = job.and_then(Job::end);
            if let Some(end) = end {
                let said = format!("Saw completed job: {}, condition: {end}", known.name);
                tell::event(self.ctx, "SawCompletedJob", &said);
            } else if job.is_none() {
                let said = format!("Active job went missing: {}", known.name);
                tell::event(self.ctx, "MissingJob", &said);
            }
            job.is_some() && end.is_none()
        });
        self.status.active = active;
        let done = self.jobs.iter().filter(|job| job.end() == Some("Complete"));
        let latest = done.filter_map(|job| job.status.completion_time).max();
        self.status.last_successful_time = self.status.last_successful_time.max(latest);
    }

    /// Makes the job that is due, and says when to come again.
    fn run(&mut self) -> Result<Next> {
        let spec = &self.cron.spec;
        let name = spec.time_zone.as_deref().unwrap_or_default();
        let Some(zone) = Zone::named(name) else {
            let said = format!("invalid timeZone: {name:?}: unknown time zone {name}");
            tell::warning(self.ctx, "UnknownTimeZone", &said);
            return Next::done();
        };
        if spec.suspend == Some(true) {
            return Next::done();
        }
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                let said = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                tell::warning(self.ctx, "UnparseableSchedule", &said);
                return Next::done();
            }
        };
        let now = self.ctx.now();
        let made = match self.due(&schedule, &zone) {
            Some(due) => self.start(due, &zone),
            None => Ok(()),
        };
        if let Err(error) = made {
            let said = format!("Error creating job: {}", tell::refusal(&error));
            tell::warning(self.ctx, "FailedCreate", &said);
            return Next::after(Duration::from_secs(10));
        }
        // A period counts from the last time, a clock's times stand by themselves.
        let from = match schedule {
            Schedule::Every(_) => {
                schedule.latest(self.last(), now, &zone).unwrap_or_else(|| self.last())
            }
            Schedule::Clock(_) => now,
        };
        let wait = schedule.next(from, &zone).map(|next| next.since(now));
        Ok(wait.map_or(Next::Done, |wait| Next::After(wait.max(Duration::from_secs(1)))))
    }

    /// The latest time on the schedule since the last one that was met, unless it is too long ago.
    fn due(&self, schedule: &Schedule, zone: &Zone) -> Option<Time> {
        let now = self.ctx.now();
        let due = schedule.latest(self.last(), now, zone)?;
        let deadline = self.cron.spec.starting_deadline_seconds;
        deadline.is_none_or(|seconds| due.seconds() + seconds >= now.seconds()).then_some(due)
    }

    /// The time that was last met, or the first from which one can be missed.
    fn last(&self) -> Time {
        let created = self.cron.metadata.creation_timestamp;
        self.status.last_schedule_time.or(created).unwrap_or_else(|| self.ctx.now())
    }

    fn start(&mut self, due: Time, zone: &Zone) -> Result<()> {
        let name = format!("{}-{}", self.cron.name(), due.seconds().div_euclid(60));
        if self.status.active.iter().any(|job| job.name == name)
            || self.status.last_schedule_time == Some(due)
        {
            return Ok(());
        }
        match self.cron.spec.concurrency_policy.as_str() {
            "Forbid" if !self.status.active.is_empty() => {
                // Said when the time comes, not on every look at it.
                if self.ctx.now().since(due) <= Duration::from_secs(1) {
                    let said = "Not starting job because prior execution is running and \
                                concurrency policy is Forbid";
                    tell::event(self.ctx, "JobAlreadyActive", said);
                }
                return Ok(());
            }
            "Replace" => self.stop_active()?,
            _ => {}
        }
        let job = match self.ctx.create(self.job(&name, due, zone)) {
            Ok(job) => job,
            // Made before, by us or somebody else.
            Err(error) if error.reason() == Some(Reason::AlreadyExists) => {
                self.status.last_schedule_time = Some(due);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        tell::event(self.ctx, "SuccessfulCreate", &format!("Created job {name}"));
        self.status.active.push(ActiveJob {
            api_version: Job::api_version(),
            kind: Job::KIND.to_owned(),
            name,
            namespace: job.namespace().to_owned(),
            uid: job.uid().to_owned(),
            resource_version: String::new(),
        });
        self.status.last_schedule_time = Some(due);
        self.jobs.push(job);
        Ok(())
    }

    fn stop_active(&mut self) -> Result<()> {
        for active in std::mem::take(&mut self.status.active) {
            if let Some(job) = self.jobs.iter().find(|job| job.uid() == active.uid) {
                self.remove(job)?;
            }
        }
        Ok(())
    }

    fn job(&self, name: &str, due: Time, zone: &Zone) -> Job {
        let template = &self.cron.spec.job_template;
        let mut annotations = template.metadata.annotations.clone();
        annotations.insert(SCHEDULED.to_owned(), stamp(due, zone));
        let metadata = Metadata {
            name: name.to_owned(),
            labels: template.metadata.labels.clone(),
            annotations,
            ..Metadata::default()
        };
        Job { metadata, spec: Some(template.spec.clone()), ..Job::default() }
    }

    /// Deletes the oldest finished jobs beyond the limits.
    fn tidy(&self) -> Result<()> {
        let spec = &self.cron.spec;
        let limits = [
            ("Complete", spec.successful_jobs_history_limit.unwrap_or(3)),
            ("Failed", spec.failed_jobs_history_limit.unwrap_or(1)),
        ];
        for (end, limit) in limits {
            let ended = self.jobs.iter().filter(|job| job.end() == Some(end));
            let mut ended: Vec<&Job> = ended.filter(|job| !job.metadata.is_terminating()).collect();
            ended.sort_by_key(|job| (job.status.start_time, job.name().to_owned()));
            let extra = ended.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
            for job in ended.into_iter().take(extra) {
                self.remove(job)?;
            }
        }
        Ok(())
    }

    fn remove(&self, job: &Job) -> Result<()> {
        self.ctx.delete(job)?;
        tell::event(self.ctx, "SuccessfulDelete", &format!("Deleted job {}", job.name()));
        Ok(())
    }
}

/// A moment as the clocks of a zone show it.
fn stamp(moment: Time, zone: &Zone) -> String {
    let offset = zone.offset(moment.seconds());
    let shown = Time::from_seconds(moment.seconds() + offset).to_string();
    let shown = shown.trim_end_matches('Z');
    if offset == 0 {
        return format!("{shown}Z");
    }
    let minutes = offset.abs() / 60;
    let sign = if offset < 0 { '-' } else { '+' };
    format!("{shown}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests;
