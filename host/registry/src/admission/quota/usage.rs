//! What an object counts for, and which objects a quota covers.

use std::collections::BTreeMap;

use quadrille_object::GroupResource;
use quadrille_object::quantity::Quantity;
use serde_json::Value;

use crate::field::{self, Object};
use crate::metadata;
use crate::rules::pod_template::{Amounts, At, amounts, is_extended, of_pod};

const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

/// What Pods count for besides their number.
const COMPUTE: [&str; 10] = [
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "pods",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// What each container must ask for where it is limited.
const MUST_ASK: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// The objects that count for a resource of a quota; `None` for one that nothing counts for.
pub(super) fn source_of(name: &str) -> Option<GroupResource> {
    let core = |resource: &str| Some(GroupResource::new("", resource));
    if let Some(counted) = name.strip_prefix("count/") {
        let (resource, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some(GroupResource::new(group, resource));
    }
    if COMPUTE.contains(&name) || name.starts_with("hugepages-") {
        return core("pods");
    }
    if name.contains(CLASS_SUFFIX) {
        return core("persistentvolumeclaims");
    }
    match name {
        "services" | "services.nodeports" | "services.loadbalancers" => core("services"),
        "persistentvolumeclaims" | "requests.storage" => core("persistentvolumeclaims"),
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => core(name),
        _ => {
            let asked = name.strip_prefix("requests.")?;
            let of_pods = asked.starts_with("hugepages-") || is_extended(asked);
            of_pods.then(|| GroupResource::new("", "pods"))
        }
    }
}

/// What an object counts for.
pub(super) fn of(resource: &GroupResource, object: &Object) -> Amounts {
    let one = Quantity::from(1);
    let (name, group) = (&*resource.resource, &*resource.group);
    let count =
        if group.is_empty() { format!("count/{name}") } else { format!("count/{name}.{group}") };
    let mut usage = Amounts::from([(count, one)]);
    if !group.is_empty() {
        return usage;
    }
    match name {
        "pods" => of_pods(object, &mut usage),
        "services" => of_service(object, &mut usage),
        "persistentvolumeclaims" => of_claim(object, &mut usage),
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => {
            usage.insert(name.to_owned(), one);
        }
        _ => {}
    }
    usage
}

/// A Pod that is over asks for nothing any more.
fn of_pods(pod: &Object, usage: &mut Amounts) {
    let phase = field::text(pod, &["status", "phase"]).unwrap_or_default();
    if matches!(phase, "Failed" | "Succeeded") {
        return;
    }
    let Some(spec) = field::get(pod, &["spec"]).and_then(Value::as_object) else { return };
    compute(&of_pod(spec, "requests"), &of_pod(spec, "limits"), usage);
}

fn compute(requests: &Amounts, limits: &Amounts, usage: &mut Amounts) {
    usage.insert("pods".to_owned(), Quantity::from(1));
    for (name, amount) in requests {
        let is_basic = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if is_basic || name.starts_with("hugepages-") {
            usage.insert(name.clone(), *amount);
        } else if !is_extended(name) {
            continue;
        }
        usage.insert(format!("requests.{name}"), *amount);
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
}

fn of_service(service: &Object, usage: &mut Amounts) {
    let ports = field::list(service, &["spec", "ports"]);
    let all = i64::try_from(ports.len()).unwrap_or(i64::MAX);
    let allocated = ports.iter().filter(|p| p.get("nodePort").and_then(Value::as_i64) > Some(0));
    let allocated = i64::try_from(allocated.count()).unwrap_or(i64::MAX);
    let allocates = field::get(service, &["spec", "allocateLoadBalancerNodePorts"]);
    let (node_ports, balancers) = match field::text(service, &["spec", "type"]) {
        Some("NodePort") => (all, 0),
        Some("LoadBalancer") if allocates == Some(&Value::Bool(false)) => (allocated, 1),
        Some("LoadBalancer") => (all, 1),
        _ => (0, 0),
    };
    usage.insert("services".to_owned(), Quantity::from(1));
    usage.insert("services.nodeports".to_owned(), Quantity::from(node_ports));
    usage.insert("services.loadbalancers".to_owned(), Quantity::from(balancers));
}

fn of_claim(claim: &Object, usage: &mut Amounts) {
    let one = Quantity::from(1);
    let requests = amounts(field::get(claim, &["spec", "resources", "requests"]));
    let storage = requests.get("storage").copied();
    let old = ["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"];
    let class =
        field::text(claim, &old).or_else(|| field::text(claim, &["spec", "storageClassName"]));
    usage.insert("persistentvolumeclaims".to_owned(), one);
    if let Some(storage) = storage {
        usage.insert("requests.storage".to_owned(), storage);
    }
    let Some(class) = class.filter(|class| !class.is_empty()) else { return };
    usage.insert(format!("{class}{CLASS_SUFFIX}persistentvolumeclaims"), one);
    if let Some(storage) = storage {
        usage.insert(format!("{class}{CLASS_SUFFIX}requests.storage"), storage);
    }
}

/// What containers do not say although the quota limits it: `requests.cpu for: a,b; …`.
pub(super) fn missing(
    resource: &GroupResource,
    object: &Object,
    limited: &Amounts,
) -> Option<String> {
    if &*resource.resource != "pods" || !resource.group.is_empty() {
        return None;
    }
    let spec = At::new(object, "").child_or_empty("spec");
    let overall = spec.child_or_empty("resources");
    let own = (amounts(overall.get("requests")), amounts(overall.get("limits")));
    let mut given_overall = Amounts::new();
    if !own.0.is_empty() || !own.1.is_empty() {
        compute(&own.0, &own.1, &mut given_overall);
    }
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for list in ["containers", "initContainers"] {
        for container in spec.items(list) {
            let resources = container.child_or_empty("resources");
            let mut given = Amounts::new();
            let (requests, limits) =
                (amounts(resources.get("requests")), amounts(resources.get("limits")));
            compute(&requests, &limits, &mut given);
            for name in MUST_ASK.iter().filter(|name| limited.contains_key(**name)) {
                if !given.contains_key(*name) && !given_overall.contains_key(*name) {
                    missing.entry(name).or_default().push(container.text("name"));
                }
            }
        }
    }
    let lines: Vec<String> = missing
        .into_iter()
        .map(|(name, mut containers)| {
            containers.sort_unstable();
            containers.dedup();
            format!("{name} for: {}", containers.join(","))
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// Whether a quota's scopes take an object in.
pub(super) fn in_scope(quota: &Object, resource: &GroupResource, object: &Object) -> bool {
    let spec = At::new(quota, "").child_or_empty("spec");
    let plain = spec.texts("scopes").map(|scope| (scope, "Exists", Vec::new()));
    let selector = spec.child_or_empty("scopeSelector");
    let selected = selector.items("matchExpressions").map(|expression| {
        let values = expression.texts("values").collect();
        (expression.text("scopeName"), expression.text("operator"), values)
    });
    let selected: Vec<_> = selected.collect();
    let mut scopes = plain.chain(selected);
    if &*resource.resource == "persistentvolumeclaims" && resource.group.is_empty() {
        return scopes.all(|(scope, operator, values)| {
            let class = field::text(object, &["spec", "volumeAttributesClassName"]);
            scope == "VolumeAttributesClass" && selects(operator, &values, class)
        });
    }
    if &*resource.resource != "pods" || !resource.group.is_empty() {
        return scopes.next().is_none();
    }
    scopes.all(|(scope, operator, values)| pod_in_scope(object, scope, operator, &values))
}

fn pod_in_scope(pod: &Object, scope: &str, operator: &str, values: &[&str]) -> bool {
    let spec = At::new(pod, "").child_or_empty("spec");
    let ends = spec.integer("activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0);
    let best_effort = || field::text(pod, &["status", "qosClass"]) == Some("BestEffort");
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => {
            let class = Some(spec.text("priorityClassName")).filter(|class| !class.is_empty());
            selects(operator, values, class)
        }
        "CrossNamespacePodAffinity" => crosses(&spec),
        _ => false,
    }
}

fn selects(operator: &str, values: &[&str], value: Option<&str>) -> bool {
    match operator {
        "In" => value.is_some_and(|value| values.contains(&value)),
        "NotIn" => value.is_none_or(|value| !values.contains(&value)),
        "DoesNotExist" => value.is_none(),
        _ => value.is_some(),
    }
}

/// Whether a Pod's affinities look at other namespaces.
fn crosses(spec: &At<'_>) -> bool {
    let is_wide =
        |term: &At<'_>| !term.list("namespaces").is_empty() || term.has("namespaceSelector");
    let affinity = spec.child_or_empty("affinity");
    ["podAffinity", "podAntiAffinity"].iter().any(|key| {
        let pods = affinity.child_or_empty(key);
        let mut required = pods.items("requiredDuringSchedulingIgnoredDuringExecution");
        let mut preferred = pods.items("preferredDuringSchedulingIgnoredDuringExecution");
        required.any(|term| is_wide(&term))
            || preferred.any(|term| is_wide(&term.child_or_empty("podAffinityTerm")))
    })
}

/// Whether a change of an object may change what it counts for.
pub(super) fn may_differ(resource: &GroupResource, before: &Object, after: &Object) -> bool {
    of(resource, before) != of(resource, after)
        || metadata::text(before, "deletionTimestamp") != metadata::text(after, "deletionTimestamp")
}
