//! As many pods of one template as are wanted: what replica sets and replication controllers are.
//!
//! It adopts the pods without a controller that the selector matches, releases those that match no longer, makes what
//! is missing and deletes what is too much, in the order that Kubernetes documents.

use quadrille_sdk::LabelSelector;
use quadrille_sdk::Time;
use quadrille_sdk::k8s::{Pod, PodTemplate, ReplicaSetCondition, ReplicaSetStatus};
use quadrille_sdk::prelude::*;

use crate::burst::{self, BURST, Stopped};
use crate::{rank, tell};

/// What is wanted, and what was said of it last.
#[derive(Debug)]
pub struct Replicas<'a> {
    /// The primary object.
    pub metadata: &'a Metadata,
    /// How many pods.
    pub count: Option<i64>,
    /// How long a pod is ready before it counts as available.
    pub min_ready_seconds: Option<i64>,
    /// Which pods are its own.
    pub selector: &'a LabelSelector,
    /// What they look like.
    pub template: &'a PodTemplate,
    /// The status as it is.
    pub status: &'a ReplicaSetStatus,
}

/// One run; answers the status to write and when to look again.
///
/// # Errors
/// Every refusal of reads, adoptions and releases; refused pods are part of the status.
pub fn reconcile(replicas: &Replicas<'_>, ctx: &Context) -> Result<(ReplicaSetStatus, Next)> {
    let pods = ctx.claim::<Pod>(replicas.selector)?;
    let terminating = pods.iter().filter(|p| p.metadata.is_terminating()).count();
    let mut active: Vec<Pod> = pods.into_iter().filter(Pod::is_active).collect();
    let mut failure = None;
    let mut more_to_do = false;
    if !ctx.is_terminating() {
        let wanted = usize::try_from(replicas.count.unwrap_or(1)).unwrap_or(0);
        more_to_do = active.len().abs_diff(wanted) > BURST;
        if active.len() < wanted {
            let missing = (wanted - active.len()).min(BURST);
            let name = &replicas.metadata.name;
            failure = burst::create(ctx, name, replicas.template, (&mut active, missing)).err();
        } else if active.len() > wanted {
            failure = delete(ctx, &mut active, wanted).err();
        }
    }
    let tally = Tally::of(replicas, &active, terminating, ctx.now());
    let status = status(replicas, &tally, failure.as_ref(), ctx.now());
    let next = match failure {
        Some(_) => Next::After(retry_wait(replicas.status, ctx.now())),
        None if more_to_do => Next::After(Duration::from_millis(1)),
        None => tally.next_available.map_or(Next::Done, Next::After),
    };
    Ok((status, next))
}

fn delete(ctx: &Context, active: &mut Vec<Pod>, wanted: usize) -> Result<(), Stopped> {
    let extra = active.len().saturating_sub(wanted).min(BURST);
    rank::first_to_go_first(active, ctx.now());
    let kept = active.split_off(extra);
    let gone = std::mem::replace(active, kept);
    burst::delete(ctx, &gone).map_err(|(stopped, left)| {
        active.extend(left);
        stopped
    })
}

/// The counts of one look at the pods.
struct Tally {
    replicas: usize,
    fully_labeled: usize,
    ready: usize,
    available: usize,
    terminating: usize,
    /// How long until the next ready pod counts as available.
    next_available: Option<Duration>,
}

impl Tally {
    fn of(replicas: &Replicas<'_>, active: &[Pod], terminating: usize, now: Time) -> Self {
        let seconds = replicas.min_ready_seconds.unwrap_or(0);
        let min_ready = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let wanted = &replicas.template.metadata.labels;
        let labeled =
            |pod: &&Pod| wanted.iter().all(|(k, v)| pod.metadata.labels.get(k) == Some(v));
        let waiting = active.iter().filter(|pod| !pod.is_available(min_ready, now));
        let due = waiting.filter_map(Pod::ready_since);
        Self {
            replicas: active.len(),
            fully_labeled: active.iter().filter(labeled).count(),
            ready: active.iter().filter(|pod| pod.is_ready()).count(),
            available: active.iter().filter(|pod| pod.is_available(min_ready, now)).count(),
            terminating,
            next_available: due.map(|since| (since + min_ready).since(now)).min(),
        }
    }
}

/// The status that the tally gives; the condition `ReplicaFailure` is there as long as it fails.
fn status(
    replicas: &Replicas<'_>,
    tally: &Tally,
    failure: Option<&Stopped>,
    now: Time,
) -> ReplicaSetStatus {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let mut conditions = replicas.status.conditions.clone();
    let before = failure_condition(replicas.status).cloned();
    conditions.retain(|c| c.r#type != "ReplicaFailure");
    if let Some(failure) = failure {
        let known = before.filter(|c| c.reason == failure.reason && c.status == "True");
        conditions.push(known.unwrap_or_else(|| ReplicaSetCondition {
            r#type: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(now),
            reason: failure.reason.to_owned(),
            message: tell::refusal(&failure.error),
        }));
    }
    ReplicaSetStatus {
        replicas: count(tally.replicas),
        fully_labeled_replicas: count(tally.fully_labeled),
        ready_replicas: count(tally.ready),
        available_replicas: count(tally.available),
        terminating_replicas: Some(count(tally.terminating)),
        observed_generation: replicas.metadata.generation,
        conditions,
    }
}

/// As long again as it has been failing, between a second and a minute.
fn retry_wait(status: &ReplicaSetStatus, now: Time) -> Duration {
    let since = failure_condition(status).and_then(|c| c.last_transition_time);
    let failing = since.map_or(Duration::ZERO, |since| now.since(since));
    failing.clamp(Duration::from_secs(1), Duration::from_mins(1))
}

fn failure_condition(status: &ReplicaSetStatus) -> Option<&ReplicaSetCondition> {
    status.conditions.iter().find(|c| c.r#type == "ReplicaFailure")
}
