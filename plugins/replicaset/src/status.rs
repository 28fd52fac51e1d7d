//! What a replica set's status says.

use std::time::Duration;

use quadrille_sdk::Time;
use quadrille_sdk::k8s::{Pod, ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};

use crate::Stopped;

/// The counts of one look at the pods.
pub(crate) struct Tally {
    replicas: usize,
    fully_labeled: usize,
    ready: usize,
    available: usize,
    terminating: usize,
    /// How long until the next ready pod counts as available.
    pub(crate) next_available: Option<Duration>,
}

impl Tally {
    pub(crate) fn of(set: &ReplicaSet, active: &[Pod], terminating: usize, now: Time) -> Self {
        let seconds = set.spec.min_ready_seconds.unwrap_or(0);
        let min_ready = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let wanted = &set.spec.template.metadata.labels;
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
pub(crate) fn status(
    set: &ReplicaSet,
    tally: &Tally,
    failure: Option<&Stopped>,
    now: Time,
) -> ReplicaSetStatus {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let mut conditions = set.status.conditions.clone();
    let before = failure_condition(set).cloned();
    conditions.retain(|c| c.r#type != "ReplicaFailure");
    if let Some(failure) = failure {
        let known = before.filter(|c| c.reason == failure.reason && c.status == "True");
        conditions.push(known.unwrap_or_else(|| ReplicaSetCondition {
            r#type: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(now),
            reason: failure.reason.to_owned(),
            message: failure.error.chain(),
        }));
    }
    ReplicaSetStatus {
        replicas: count(tally.replicas),
        fully_labeled_replicas: count(tally.fully_labeled),
        ready_replicas: count(tally.ready),
        available_replicas: count(tally.available),
        terminating_replicas: Some(count(tally.terminating)),
        observed_generation: set.metadata.generation,
        conditions,
    }
}

/// As long again as it has been failing, between a second and a minute.
pub(crate) fn retry_wait(set: &ReplicaSet, now: Time) -> Duration {
    let since = failure_condition(set).and_then(|c| c.last_transition_time);
    let failing = since.map_or(Duration::ZERO, |since| now.since(since));
    failing.clamp(Duration::from_secs(1), Duration::from_mins(1))
}

fn failure_condition(set: &ReplicaSet) -> Option<&ReplicaSetCondition> {
    set.status.conditions.iter().find(|c| c.r#type == "ReplicaFailure")
}
