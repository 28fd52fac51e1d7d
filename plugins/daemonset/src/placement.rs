//! Which nodes a pod of the set fits, and which node a pod is for.

use quadrille_sdk::Labels;
use quadrille_sdk::k8s::Raw;
use quadrille_sdk::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kinds::{Node, Taint};

/// What of a pod's spec says where it may be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Placement {
    node_name: String,
    node_selector: Labels,
    affinity: Option<Affinity>,
    tolerations: Vec<Toleration>,
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Affinity {
    node_affinity: Option<NodeAffinity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeSelector {
    node_selector_terms: Vec<Term>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Term {
    match_expressions: Vec<Requirement>,
    match_fields: Vec<Requirement>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Toleration {
    key: String,
    operator: String,
    value: String,
    effect: String,
}

/// Whether a node is to have a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is.
    Yes,
    /// It is not to get one; one that it has may stay.
    MayStay,
    /// It is not to have one.
    No,
}

/// What the pods of a daemon set put up with, whatever their template says.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Also that, when they use the node's network.
const NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

impl Placement {
    /// Of a template's or pod's spec.
    pub(crate) fn of(spec: Option<&Raw>) -> Result<Self> {
        spec.map_or_else(|| Ok(Self::default()), Raw::read)
    }

    /// Whether a node is to have a pod of this template.
    pub(crate) fn fit(&self, node: &Node) -> Fit {
        let named = self.node_name.is_empty() || self.node_name == node.name();
        let labels = &node.metadata.labels;
        let selected = self.node_selector.iter().all(|(k, v)| labels.get(k) == Some(v));
        if !named || !selected || !self.required().is_none_or(|selector| selector.fits(node)) {
            return Fit::No;
        }
        let hostile = |effect: &str| {
            node.spec.taints.iter().any(|taint| taint.effect == effect && !self.tolerates(taint))
        };
        if hostile("NoExecute") {
            Fit::No
        } else if hostile("NoSchedule") {
            Fit::MayStay
        } else {
            Fit::Yes
        }
    }

    fn required(&self) -> Option<&NodeSelector> {
        let affinity = self.affinity.as_ref()?.node_affinity.as_ref()?;
        affinity.required_during_scheduling_ignored_during_execution.as_ref()
    }

    fn tolerates(&self, taint: &Taint) -> bool {
        let always = self.always_tolerated();
        let always =
            always.iter().any(|(key, effect)| *key == taint.key && *effect == taint.effect);
        always || self.tolerations.iter().any(|toleration| toleration.covers(taint))
    }

    fn always_tolerated(&self) -> Vec<(&'static str, &'static str)> {
        TOLERATED.iter().copied().chain(self.host_network.then_some(NETWORK)).collect()
    }

    /// The node that a pod is on or for.
    pub(crate) fn target(&self) -> Option<&str> {
        if !self.node_name.is_empty() {
            return Some(&self.node_name);
        }
        let terms = self.required().into_iter().flat_map(|required| &required.node_selector_terms);
        let mut fields = terms.flat_map(|term| &term.match_fields);
        let named = fields.find(|f| f.key == "metadata.name" && f.operator == "In");
        named.and_then(|field| field.values.first()).map(String::as_str)
    }

    /// A pod's spec for one node: what a scheduler then binds, and what the pod puts up with there.
    pub(crate) fn spec_for(&self, spec: &Raw, node: &str) -> Result<Raw> {
        let mut spec = spec.to_value()?;
        let term = json!({"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": [node]},
        ]});
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": [term]});
        let mut tolerations: Vec<Value> =
            spec.get("tolerations").and_then(Value::as_array).cloned().unwrap_or_default();
        for (key, effect) in self.always_tolerated() {
            let wanted = json!({"key": key, "operator": "Exists", "effect": effect});
            if !tolerations.contains(&wanted) {
                tolerations.push(wanted);
            }
        }
        spec["tolerations"] = tolerations.into();
        Ok(spec.into())
    }
}

impl NodeSelector {
    fn fits(&self, node: &Node) -> bool {
        self.node_selector_terms.iter().any(|term| term.fits(node))
    }
}

impl Term {
    fn fits(&self, node: &Node) -> bool {
        if self.match_expressions.is_empty() && self.match_fields.is_empty() {
            return false;
        }
        let field = |key: &str| (key == "metadata.name").then(|| node.name());
        let label = |key: &str| node.metadata.labels.get(key).map(String::as_str);
        self.match_expressions.iter().all(|wanted| wanted.holds(label(&wanted.key)))
            && self.match_fields.iter().all(|wanted| wanted.holds(field(&wanted.key)))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let listed = value.is_some_and(|value| self.values.iter().any(|listed| listed == value));
        let compared = || -> Option<std::cmp::Ordering> {
            let value: i64 = value?.parse().ok()?;
            Some(value.cmp(&self.values.first()?.parse().ok()?))
        };
        match self.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => compared().is_some_and(std::cmp::Ordering::is_gt),
            "Lt" => compared().is_some_and(std::cmp::Ordering::is_lt),
            _ => false,
        }
    }
}

impl Toleration {
    fn covers(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let key = self.key.is_empty() && self.operator == "Exists" || self.key == taint.key;
        effect && key && (self.operator == "Exists" || self.value == taint.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: &Value, node: &Value, expected: Fit) {
        let placement = Placement::of(Some(&Raw::from(spec.clone()))).expect("a spec");
        let node: Node = serde_json::from_value(node.clone()).expect("a node");
        assert_eq!(placement.fit(&node), expected);
    }

    #[test]
    fn labels_names_and_taints_decide() {
        let node = json!({"metadata": {"name": "a", "labels": {"disk": "fast", "cores": "8"}}});
        check(&json!({}), &node, Fit::Yes);
        check(&json!({"nodeSelector": {"disk": "slow"}}), &node, Fit::No);
        check(&json!({"nodeName": "b"}), &node, Fit::No);
        let affinity = |key: &str, operator: &str, value: &str| {
            json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": key, "operator": operator, "values": [value]}]},
                ]},
            }}})
        };
        check(&affinity("cores", "Gt", "4"), &node, Fit::Yes);
        check(&affinity("disk", "NotIn", "fast"), &node, Fit::No);
        let tainted = |effect: &str| {
            json!({"metadata": {"name": "a"}, "spec": {"taints": [
                {"key": "own", "value": "me", "effect": effect},
            ]}})
        };
        check(&json!({}), &tainted("NoSchedule"), Fit::MayStay);
        check(&json!({}), &tainted("NoExecute"), Fit::No);
        let tolerant = json!({"tolerations": [{"key": "own", "operator": "Exists"}]});
        check(&tolerant, &tainted("NoExecute"), Fit::Yes);
    }

    #[test]
    fn a_pod_made_for_a_node_says_so() {
        let spec = Placement::default().spec_for(&Raw::from(json!({})), "a").expect("JSON");
        assert_eq!(Placement::of(Some(&spec)).expect("a spec").target(), Some("a"));
    }
}
