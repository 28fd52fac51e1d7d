//! Pods: scheduled nowhere here, so that they wait for somebody to set their status.

mod account;

use quadrille_object::GroupResource;
use quadrille_store::Key;
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::{Rules, pod_template};
use crate::status::Status;
use crate::write::Attempt;

/// The rules of Pods.
#[derive(Debug)]
pub(crate) struct Pods;

/// What of a Pod's spec may change besides the containers' images.
const MUTABLE: [&str; 4] =
    ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"];

impl Rules for Pods {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        pod_template::spec_defaults(spec);
        field::default(spec, "enableServiceLinks", true);
        requests_from_limits(spec);
        field::map_mut(object, &["status"]);
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        let quality = quality(object);
        object.insert("status".to_owned(), json!({"phase": "Pending", "qosClass": quality}));
        if gates(object).next().is_some() {
            let status = field::map_mut(object, &["status"]);
            status.insert("conditions".to_owned(), json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": null,
                "lastTransitionTime": attempt.now.to_rfc3339(),
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]));
        }
        let spec = field::map_mut(object, &["spec"]);
        if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0)
        {
            spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
        }
        admit_priority(attempt, object)?;
        let spec = field::map_mut(object, &["spec"]);
        field::default(spec, "serviceAccountName", "default");
        let account = spec.get("serviceAccountName").cloned().unwrap_or(Value::Null);
        spec.insert("serviceAccount".to_owned(), account);
        admit_tolerations(spec);
        account::admit(attempt, object)
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        if attempt.subresource() == Some("status") {
            field::copy(object, before, "spec");
            if let Some(class) = field::get(before, &["status", "qosClass"]).cloned() {
                field::map_mut(object, &["status"]).insert("qosClass".to_owned(), class);
            }
        } else {
            // What admission set is not lost when a client does not send it.
            let (old, spec) = (before.get("spec").cloned(), field::map_mut(object, &["spec"]));
            for key in ["serviceAccountName", "serviceAccount", "priority", "preemptionPolicy"] {
                let value = old.as_ref().and_then(|o| o.get(key)).cloned();
                if let Some(value) = value {
                    field::default(spec, key, value);
                }
            }
        }
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        let empty = Object::new();
        let spec = field::get(object, &["spec"]).and_then(Value::as_object).unwrap_or(&empty);
        pod_template::validate_spec(spec, "spec", errors);
        let gates = !field::list(spec, &["schedulingGates"]).is_empty();
        if gates && field::text(spec, &["nodeName"]).is_some_and(|n| !n.is_empty()) {
            errors.forbidden(
                "spec.nodeName",
                "cannot be set until all schedulingGates have been cleared",
            );
        }
        // kube-apiserver lists what is wrong with a Pod by field.
        errors.0.sort_by(|a, b| a.field.cmp(&b.field));
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        let known: Vec<&str> = gates(before).collect();
        for (index, gate) in gates(object).enumerate().filter(|(_, gate)| !known.contains(gate)) {
            errors.forbidden(
                format!("spec.schedulingGates[{index}].name"),
                &format!("only deletion is allowed, but found new scheduling gate '{gate}'"),
            );
        }
        if fixed(object) != fixed(before) {
            errors.forbidden(
                "spec",
                "pod updates may not change fields other than `spec.containers[*].image`,\
                 `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
                 additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set \
                 to 1 if it was previously negative)\n",
            );
        }
    }

    fn grace_seconds(&self, object: &Object, asked: Option<i64>) -> Option<i64> {
        let scheduled = field::text(object, &["spec", "nodeName"]).is_some_and(|n| !n.is_empty());
        let phase = field::text(object, &["status", "phase"]).unwrap_or_default();
        if !scheduled || phase == "Failed" || phase == "Succeeded" {
            return Some(0);
        }
        let own = field::integer(object, &["spec", "terminationGracePeriodSeconds"]);
        Some(asked.or(own).unwrap_or(30).max(0))
    }

    fn answers_mark(&self) -> bool {
        true
    }
}

fn gates(object: &Object) -> impl Iterator<Item = &str> {
    let gates = field::list(object, &["spec", "schedulingGates"]).iter();
    gates.filter_map(|gate| gate.get("name").and_then(Value::as_str))
}

/// A Pod's spec less what may change.
fn fixed(object: &Object) -> Value {
    let mut spec = object.get("spec").cloned().unwrap_or(Value::Null);
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|key, _| !MUTABLE.contains(&key.as_str()));
        for list in ["containers", "initContainers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
                container.remove("image");
            }
        }
    }
    spec
}

fn requests_from_limits(spec: &mut Object) {
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let resources = field::map_mut(container, &["resources"]);
            let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
                continue;
            };
            let requests = field::map_mut(resources, &["requests"]);
            for (name, amount) in limits {
                field::default(requests, &name, amount);
            }
        }
    }
}

/// Guaranteed when every container limits cpu and memory to what it requests; `BestEffort` when none
/// requests anything.
fn quality(object: &Object) -> &'static str {
    let containers = ["containers", "initContainers"];
    let containers = containers.iter().flat_map(|list| field::list(object, &["spec", list]));
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let of = |kind: &str, name: &str| {
            container
                .get("resources")
                .and_then(|r| r.get(kind))
                .and_then(|amounts| amounts.get(name))
        };
        for name in ["cpu", "memory"] {
            let (limit, request) = (of("limits", name), of("requests", name));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The priority comes from the class alone.
fn admit_priority(attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
    let name = metadata::text(object, "name").to_owned();
    let forbid = |why: String| Err(Status::forbidden(&attempt.resource.qualified(), &name, &why));
    let class = field::text(object, &["spec", "priorityClassName"]).unwrap_or_default().to_owned();
    let (mut priority, mut preemption) = (0, "PreemptLowerPriority".to_owned());
    match class.as_str() {
        "" => {}
        "system-cluster-critical" => priority = 2_000_000_000,
        "system-node-critical" => priority = 2_000_001_000,
        class => {
            let classes = GroupResource::new("scheduling.k8s.io", "priorityclasses");
            let Some(found) = attempt.view.get(&Key::new(classes, "", class)) else {
                return forbid(format!("no PriorityClass with name {class} was found"));
            };
            let found = crate::write::parse(&found)?;
            priority = field::integer(&found, &["value"]).unwrap_or(0);
            let policy = field::text(&found, &["preemptionPolicy"]).map(str::to_owned);
            preemption = policy.unwrap_or(preemption);
        }
    }
    let spec = field::map_mut(object, &["spec"]);
    if let Some(given) = field::integer(spec, &["priority"]).filter(|given| *given != priority) {
        return forbid(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
             controller computed {priority} from the given PriorityClass name"
        ));
    }
    field::default(spec, "priority", priority);
    field::default(spec, "preemptionPolicy", preemption);
    Ok(())
}

/// A Pod stays five minutes on a node that is gone, unless it says otherwise.
fn admit_tolerations(spec: &mut Object) {
    const SECONDS: i64 = 300;
    let mut tolerations = field::list(spec, &["tolerations"]).to_vec();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |toleration: &Value| {
            let text = |key: &str| toleration.get(key).and_then(Value::as_str).unwrap_or_default();
            (text("key") == key || text("key").is_empty())
                && (text("effect") == "NoExecute" || text("effect").is_empty())
        };
        if !tolerations.iter().any(covers) {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    spec.insert("tolerations".to_owned(), tolerations.into());
}
