//! Pods: scheduled nowhere here, so that they wait for somebody to set their status.

mod binding;
mod eviction;
mod quality;
mod resize;
mod status;
mod update;

use serde_json::{Value, json};

pub(crate) use binding::Bindings;

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::registry::Prepared;
use crate::request::Body;
use crate::rules::pod_template::{self, At, maps_mut};
use crate::rules::{Rules, net};
use crate::status::Status;
use crate::write::{Attempt, method_not_allowed};

/// The rules of Pods.
#[derive(Debug)]
pub(crate) struct Pods;

impl Rules for Pods {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        pod_template::spec_defaults(spec);
        pod_template::pod_defaults(spec);
        net::agree(field::map_mut(object, &["status"]), "podIP", "podIPs", Some("ip"));
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        let labels = field::get(object, &["metadata", "labels"]).cloned();
        let spec = field::map_mut(object, &["spec"]);
        if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0)
        {
            spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
        }
        select_like(spec, labels.as_ref());
        let quality = quality::of(&At::new(spec, "spec"));
        object.insert("status".to_owned(), json!({"phase": "Pending", "qosClass": quality}));
        if gates(object).next().is_some() {
            let status = field::map_mut(object, &["status"]);
            status.insert("conditions".to_owned(), json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "lastProbeTime": null,
                "lastTransitionTime": attempt.now.to_rfc3339(),
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]));
        }
        Ok(())
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        match attempt.subresource() {
            Some("status") => {
                field::copy(object, before, "spec");
                let owners = field::get(before, &["metadata", "ownerReferences"]).cloned();
                if let Some(owners) = owners {
                    metadata::of_mut(object).insert("ownerReferences".to_owned(), owners);
                }
                let status = field::map_mut(object, &["status"]);
                if let Some(class) = field::get(before, &["status", "qosClass"]).cloned() {
                    field::default(status, "qosClass", class);
                }
            }
            Some("resize") => resize::keep(object, before),
            Some("ephemeralcontainers") => resize::keep_all_but_joined(object, before),
            _ => {
                // What admission set is not lost when a client does not send it.
                let (old, spec) = (before.get("spec").cloned(), field::map_mut(object, &["spec"]));
                for key in ["serviceAccountName", "serviceAccount", "priority", "preemptionPolicy"]
                {
                    let value = old.as_ref().and_then(|o| o.get(key)).cloned();
                    if let Some(value) = value {
                        field::default(spec, key, value);
                    }
                }
            }
        }
        Ok(())
    }

    fn create_below(
        &self,
        attempt: &mut Attempt<'_>,
        subresource: &str,
        body: &Body,
    ) -> Result<Prepared, Status> {
        match subresource {
            "binding" => binding::bind(attempt, body),
            "eviction" => eviction::evict(attempt, body),
            _ => Err(method_not_allowed()),
        }
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        pod_template::validate_pod(object, true, errors);
        sort(errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        update::validate(object, before, errors);
        sort(errors);
    }

    fn validate_below(
        &self,
        subresource: &str,
        object: &Object,
        before: &Object,
        errors: &mut Errors,
    ) {
        match subresource {
            "status" => status::validate(object, before, errors),
            "resize" => resize::validate(object, before, errors),
            "ephemeralcontainers" => resize::validate_joined(object, before, errors),
            _ => update::validate(object, before, errors),
        }
        sort(errors);
    }

    fn warn(&self, object: &Object, _before: Option<&Object>, warnings: &mut Vec<String>) {
        pod_template::warn_pod(object, warnings);
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

/// kube-apiserver lists what is wrong with a Pod by field.
fn sort(errors: &mut Errors) {
    errors.0.sort_by_cached_key(|error| error.field.clone());
}

fn gates(object: &Object) -> impl Iterator<Item = &str> {
    let gates = field::list(object, &["spec", "schedulingGates"]).iter();
    gates.filter_map(|gate| gate.get("name").and_then(Value::as_str))
}

/// Writes `matchLabelKeys` and `mismatchLabelKeys` out as selectors: this Pod's values of those labels.
fn select_like(spec: &mut Object, labels: Option<&Value>) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    if let Some(affinity) = spec.get_mut("affinity") {
        for key in ["podAffinity", "podAntiAffinity"] {
            let Some(pods) = affinity.get_mut(key).and_then(Value::as_object_mut) else { continue };
            maps_mut(pods, REQUIRED).for_each(|term| select_labels(term, labels));
            for weighted in maps_mut(pods, PREFERRED) {
                let term = weighted.get_mut("podAffinityTerm").and_then(Value::as_object_mut);
                if let Some(term) = term {
                    select_labels(term, labels);
                }
            }
        }
    }
    maps_mut(spec, "topologySpreadConstraints").for_each(|c| select_labels(c, labels));
}

fn select_labels(term: &mut Object, labels: Option<&Value>) {
    if field::get(term, &["labelSelector"]).is_none() {
        return;
    }
    let mut added = Vec::new();
    for (list, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in field::list(term, &[list]).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.and_then(|labels| labels.get(key)) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if added.is_empty() {
        return;
    }
    let selector = field::map_mut(term, &["labelSelector"]);
    let mut expressions = field::list(selector, &["matchExpressions"]).to_vec();
    expressions.append(&mut added);
    selector.insert("matchExpressions".to_owned(), expressions.into());
}
