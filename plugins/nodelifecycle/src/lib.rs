//! The node life-cycle controller, as far as it needs no clock: what a node says of itself keeps pods away from it.
//!
//! A new node has the taint `not-ready` from the host. Each run brings the taints that stand for conditions in line
//! with them, and leaves all others alone. Nodes that have gone silent are not looked for: nobody here says how often
//! they are to speak.

use quadrille_sdk::Time;
use quadrille_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted of it.
    pub spec: NodeSpec,
    /// What is observed.
    #[serde(skip_serializing)]
    pub status: NodeStatus,
}
quadrille_sdk::kind!(Node, "", "v1", "nodes", cluster);

/// What is wanted of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Whether no more pods are to come.
    pub unschedulable: bool,
    /// What keeps pods away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}

/// What keeps pods away from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// When it was put on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<Time>,
}

/// What is observed of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Observations.
    pub conditions: Vec<Condition>,
}

/// One observation of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Such as `Ready`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

/// Which condition with which status has which taint.
const TAINTS: &[(&str, &str, &str)] = &[
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// The taint of a node that is to get no more pods.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Keeps the taints of nodes.
#[derive(Debug)]
pub struct Nodes;

impl Controller for Nodes {
    type Primary = Node;
    const NAME: &'static str = "node-lifecycle-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] = &[verbs::<Node>(&["patch"])];

    fn reconcile(node: &Node, ctx: &Context) -> Result<Next> {
        let taints = tainted(node, ctx.now());
        if taints != node.spec.taints {
            ctx.patch(node, &json!({"spec": {"taints": taints}}))?;
        }
        Next::done()
    }
}

quadrille_sdk::plugin!(Nodes);

fn tainted(node: &Node, now: Time) -> Vec<Taint> {
    let holds = |kind: &str, status: &str| {
        node.status.conditions.iter().any(|c| c.r#type == kind && c.status == status)
    };
    let standing = TAINTS.iter().filter(|(kind, status, _)| holds(kind, status));
    let wanted: Vec<&str> = standing
        .map(|(_, _, key)| *key)
        .chain(node.spec.unschedulable.then_some(UNSCHEDULABLE))
        .collect();
    let ours = |taint: &Taint| {
        taint.effect == "NoSchedule"
            && (taint.key == UNSCHEDULABLE || TAINTS.iter().any(|(_, _, key)| *key == taint.key))
    };
    let mut taints = node.spec.taints.clone();
    taints.retain(|taint| !ours(taint) || wanted.contains(&taint.key.as_str()));
    for key in wanted {
        if !taints.iter().any(|taint| ours(taint) && taint.key == key) {
            let effect = "NoSchedule".to_owned();
            let taint = Taint { key: key.to_owned(), effect, ..Taint::default() };
            taints.push(Taint { time_added: Some(now), ..taint });
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_testing::World;

    fn keys(world: &World) -> Vec<String> {
        world.expect::<Node>("a").spec.taints.iter().map(|taint| taint.key.clone()).collect()
    }

    #[test]
    fn taints_follow_conditions_and_others_stay() {
        let mut world = World::new(plugin());
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"},
            "spec": {"taints": [{"key": "own", "effect": "NoSchedule"}]},
        });
        world.apply_json(&node).expect("a good node");
        world.settle();
        assert_eq!(keys(&world), ["own"]);
        let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
        world.set_status::<Node>("a", &ready("False"));
        world.settle();
        assert_eq!(keys(&world), ["own", "node.kubernetes.io/not-ready"]);
        world.set_status::<Node>("a", &ready("True"));
        world.edit::<Node>("a", |node| node.spec.unschedulable = true);
        world.settle();
        assert_eq!(keys(&world), ["own", UNSCHEDULABLE]);
        world.torture(20);
    }
}
