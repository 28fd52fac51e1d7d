//! The disruption controller: says in the status of a budget how many of its pods may be evicted.
//!
//! It counts what is there against what the pods' owners want. Evictions themselves are the host's: they look at this
//! status and note what they granted in it.

pub mod kinds;

use std::collections::{BTreeMap, BTreeSet};

use common::scale::{self, Reference};
use common::tell;
use quadrille_sdk::prelude::*;
use quadrille_sdk::{Condition, OwnerReference, Query, Time};

use kinds::{PodDisruptionBudget, PodDisruptionBudgetStatus};

/// How long an evicted pod may take to go before it counts again.
const EVICTION_TIMEOUT: Duration = Duration::from_mins(2);

/// Keeps the status of budgets.
#[derive(Debug)]
pub struct Disruptions;

impl Controller for Disruptions {
    type Primary = PodDisruptionBudget;
    const NAME: &'static str = "disruption-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] = &[
        verbs::<Pod>(&["list"]),
        scale::CAPABILITIES[0],
        scale::CAPABILITIES[1],
        scale::CAPABILITIES[2],
        scale::CAPABILITIES[3],
    ];

    fn reconcile(budget: &PodDisruptionBudget, ctx: &Context) -> Result<Next> {
        let pods = match &budget.spec.selector {
            Some(selector) => ctx.list::<Pod>(Query::labels(selector.to_text()))?,
            None => Vec::new(),
        };
        let mut status = PodDisruptionBudgetStatus {
            observed_generation: Some(budget.metadata.generation),
            conditions: budget.status.conditions.clone(),
            ..PodDisruptionBudgetStatus::default()
        };
        let wait = expire(budget, &pods, &mut status, ctx);
        match expected(budget, &pods, ctx) {
            Ok(expected) => {
                (status.expected_pods, status.desired_healthy) = expected;
                status.current_healthy = healthy(&pods, &status, ctx.now());
                let spare = status.current_healthy - status.desired_healthy;
                let allowed = if status.expected_pods > 0 { spare.max(0) } else { 0 };
                status.disruptions_allowed = allowed;
                let truth = match allowed {
                    0 => ("False", "InsufficientPods"),
                    _ => ("True", "SufficientPods"),
                };
                set_condition(&mut status, truth, "", ctx.now());
            }
            // Nothing may be evicted while it is not known how many there are to be.
            Err(problem) => fail(budget, &mut status, &problem, ctx),
        }
        ctx.set_status(&status)?;
        wait.map_or(Ok(Next::Done), Next::after)
    }
}

quadrille_sdk::plugin!(Disruptions);

fn fail(
    budget: &PodDisruptionBudget,
    status: &mut PodDisruptionBudgetStatus,
    problem: &str,
    ctx: &Context,
) {
    let before = &budget.status;
    status.expected_pods = before.expected_pods;
    status.desired_healthy = before.desired_healthy;
    status.current_healthy = before.current_healthy;
    let known = before.conditions.iter().any(|c| c.reason == "SyncFailed" && c.message == problem);
    if !known {
        let said = format!("Failed to calculate the number of expected pods: {problem}");
        tell::warning(ctx, "CalculateExpectedPodCountFailed", &said);
    }
    set_condition(status, ("False", "SyncFailed"), problem, ctx.now());
}

fn set_condition(
    status: &mut PodDisruptionBudgetStatus,
    (truth, reason): (&str, &str),
    message: &str,
    now: Time,
) {
    let before = status.conditions.iter().find(|c| c.r#type == "DisruptionAllowed");
    let since = before.filter(|c| c.status == truth).and_then(|c| c.last_transition_time);
    let condition = Condition {
        r#type: "DisruptionAllowed".to_owned(),
        status: truth.to_owned(),
        last_transition_time: Some(since.unwrap_or(now)),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: status.observed_generation,
    };
    status.conditions.retain(|c| c.r#type != "DisruptionAllowed");
    status.conditions.push(condition);
}

/// Keeps the evictions whose pods may still go; answers how long until the next of them counts no more.
fn expire(
    budget: &PodDisruptionBudget,
    pods: &[Pod],
    status: &mut PodDisruptionBudgetStatus,
    ctx: &Context,
) -> Option<Duration> {
    for (name, since) in &budget.status.disrupted_pods {
        let Some(pod) = pods.iter().find(|pod| pod.name() == name) else { continue };
        let left = (*since + EVICTION_TIMEOUT).since(ctx.now());
        if left.is_zero() {
            let said = format!(
                "Pod was expected by PDB {}/{} to be deleted but it wasn't",
                budget.namespace(),
                budget.name()
            );
            tell::warning(ctx, "NotDeleted", &said);
        } else if !pod.metadata.is_terminating() {
            status.disrupted_pods.insert(name.clone(), *since);
        }
    }
    let left = status.disrupted_pods.values().map(|since| *since + EVICTION_TIMEOUT);
    left.map(|due| due.since(ctx.now())).min()
}

fn healthy(pods: &[Pod], status: &PodDisruptionBudgetStatus, now: Time) -> i64 {
    let evicted = |pod: &Pod| {
        let since = status.disrupted_pods.get(pod.name());
        since.is_some_and(|since| *since + EVICTION_TIMEOUT > now)
    };
    let healthy = |pod: &&Pod| pod.is_ready() && !pod.metadata.is_terminating() && !evicted(pod);
    count(pods.iter().filter(healthy).count())
}

/// How many pods there are to be, and how many must be healthy.
fn expected(
    budget: &PodDisruptionBudget,
    pods: &[Pod],
    ctx: &Context,
) -> Result<(i64, i64), String> {
    if let Some(most) = &budget.spec.max_unavailable {
        let expected = wanted_by_owners(pods, ctx)?;
        return Ok((expected, (expected - most.of(expected, true)).max(0)));
    }
    match &budget.spec.min_available {
        Some(quadrille_sdk::k8s::IntOrString::Int(least)) => Ok((count(pods.len()), *least)),
        Some(least) => {
            let expected = wanted_by_owners(pods, ctx)?;
            Ok((expected, least.of(expected, true)))
        }
        None => Ok((count(pods.len()), 0)),
    }
}

/// How many pods the owners of these want together; pods without an owner do not count.
fn wanted_by_owners(pods: &[Pod], ctx: &Context) -> Result<i64, String> {
    let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (pod, owner) in pods.iter().filter_map(|pod| Some((pod, pod.metadata.controller()?))) {
        if seen.insert(&owner.uid) {
            let found = owner_scale(owner, ctx);
            let none = || format!("found no controllers for pod {:?}", pod.name());
            let (uid, replicas) = found.ok_or_else(none)?;
            wanted.insert(uid, replicas);
        }
    }
    Ok(wanted.values().sum())
}

/// The scale of an owner; that of the deployment where a replica set belongs to one.
fn owner_scale(owner: &OwnerReference, ctx: &Context) -> Option<(String, i64)> {
    let scale = Reference::to(owner).read(ctx).ok()??;
    if scale.uid != owner.uid {
        return None;
    }
    match scale.controller.filter(|_| owner.kind == "ReplicaSet") {
        Some(deployment) => owner_scale(&deployment, ctx),
        None => Some((scale.uid, scale.replicas)),
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
