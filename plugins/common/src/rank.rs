//! Which pods go first when there are too many.
//!
//! The documented order: pods without a node before those with one, pending before unknown before running, not
//! ready before ready, the lower deletion cost first, those on the fuller node first, those that became ready later
//! first, more restarts first, newer first. Times are compared by their order of magnitude, so that pods of about
//! the same age are not told apart. Only this set's own pods are counted on a node.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use quadrille_sdk::Time;
use quadrille_sdk::k8s::Pod;
use quadrille_sdk::prelude::*;
use serde_json::Value;

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

struct Rank {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    on_node: usize,
    ready_since: Option<Time>,
    restarts: i64,
    created: Option<Time>,
    uid: String,
}

/// Sorts the pods: those that are to be deleted come first.
pub(crate) fn first_to_go_first(pods: &mut Vec<Pod>, now: Time) {
    let nodes: Vec<String> = pods.iter().map(node_name).collect();
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes.iter().filter(|node| !node.is_empty()) {
        *on_node.entry(node).or_default() += 1;
    }
    let crowd = |node: &str| on_node.get(node).copied().unwrap_or(0);
    let mut ranked: Vec<(Rank, Pod)> = pods
        .drain(..)
        .zip(&nodes)
        .map(|(pod, node)| (rank(&pod, !node.is_empty(), crowd(node)), pod))
        .collect();
    ranked.sort_by(|(a, _), (b, _)| order(a, b, now));
    pods.extend(ranked.into_iter().map(|(_, pod)| pod));
}

fn node_name(pod: &Pod) -> String {
    let spec = pod.spec.as_ref().and_then(|spec| spec.to_value().ok());
    spec.and_then(|spec| spec.get("nodeName").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_default()
}

fn rank(pod: &Pod, assigned: bool, on_node: usize) -> Rank {
    let cost = pod.metadata.annotations.get(COST);
    let restarts = pod.status.iter().flat_map(|s| &s.container_statuses).map(|c| c.restart_count);
    Rank {
        assigned,
        phase: match pod.phase() {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        },
        ready: pod.is_ready(),
        cost: cost.and_then(|text| text.parse().ok()).unwrap_or(0),
        on_node,
        ready_since: pod.ready_since(),
        restarts: restarts.max().unwrap_or(0),
        created: pod.metadata.creation_timestamp,
        uid: pod.uid().to_owned(),
    }
}

fn order(a: &Rank, b: &Rank, now: Time) -> Ordering {
    (a.assigned, a.phase, a.ready, a.cost)
        .cmp(&(b.assigned, b.phase, b.ready, b.cost))
        .then_with(|| b.on_node.cmp(&a.on_node))
        .then_with(|| younger_first(a.ready_since, b.ready_since, now))
        .then_with(|| b.restarts.cmp(&a.restarts))
        .then_with(|| younger_first(a.created, b.created, now))
        .then_with(|| a.uid.cmp(&b.uid))
}

fn younger_first(a: Option<Time>, b: Option<Time>, now: Time) -> Ordering {
    let magnitude = |time: Option<Time>| {
        let seconds = time.map_or(0, |time| now.since(time).as_secs());
        seconds.checked_ilog2()
    };
    magnitude(a).cmp(&magnitude(b))
}
