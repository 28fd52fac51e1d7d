//! Deployments, `ReplicaSets`, `StatefulSets`, `DaemonSets` and `ReplicationControllers`.

mod daemon;
mod stateful;
pub(crate) mod workload;

use serde_json::{Value, json};

pub(crate) use daemon::DaemonSets;
pub(crate) use stateful::StatefulSets;

use self::workload::{
    Words, defaults, not_negative, selector_immutable, template_defaults, validate_selector,
    validate_template,
};
use crate::field::{self, Errors, Object};
use crate::request::Propagation;
use crate::rules::{Rules, pod_template};

const TEMPLATE: &[&str] = &["spec", "template"];

/// The words about a `ReplicaSet`, or a kind that makes them.
const fn words(of_selector: &'static str) -> Words {
    Words { of_selector, of_deadline: "ReplicaSet", needs_selector: true }
}

/// The rules of Deployments.
#[derive(Debug)]
pub(crate) struct Deployments;

impl Rules for Deployments {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        defaults(
            spec,
            &[("replicas", 1), ("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)],
        );
        let strategy = field::map_mut(spec, &["strategy"]);
        if field::text(strategy, &["type"]).is_none_or(str::is_empty) {
            strategy.insert("type".to_owned(), "RollingUpdate".into());
        }
        if field::text(strategy, &["type"]) == Some("RollingUpdate") {
            let rolling = field::map_mut(strategy, &["rollingUpdate"]);
            field::default(rolling, "maxUnavailable", "25%");
            field::default(rolling, "maxSurge", "25%");
        }
        template_defaults(spec);
        field::map_mut(object, &["status"]);
    }

    fn before_create(
        &self,
        _attempt: &crate::write::Attempt<'_>,
        object: &mut Object,
    ) -> Result<(), crate::status::Status> {
        object.insert("status".to_owned(), json!({}));
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        not_negative(object, &["replicas"], errors);
        validate_selector(object, words("deployment"), errors);
        validate_template(object, words("deployment"), errors);
        validate_strategy(object, errors);
        not_negative(object, &["minReadySeconds", "revisionHistoryLimit"], errors);
        let number = |key| field::integer(object, &["spec", key]).unwrap_or(0);
        errors.not_negative(object, &["spec", "progressDeadlineSeconds"]);
        if number("progressDeadlineSeconds") <= number("minReadySeconds")
            && number("progressDeadlineSeconds") >= 0
        {
            let shown = number("progressDeadlineSeconds").into();
            let why = "must be greater than minReadySeconds";
            errors.invalid("spec.progressDeadlineSeconds", &shown, why);
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        selector_immutable(object, before, errors);
    }

    fn validate_below(
        &self,
        subresource: &str,
        object: &Object,
        before: &Object,
        errors: &mut Errors,
    ) {
        if subresource != "status" {
            return self.validate_update(object, before, errors);
        }
        let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        let counts = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
        ];
        workload::validate_status(object, &counts, &parts, errors);
        workload::validate_collisions(object, before, errors);
    }

    fn warn(&self, object: &Object, before: Option<&Object>, warnings: &mut Vec<String>) {
        workload::warn(object, before, TEMPLATE, true, warnings);
    }

    fn annotations_count(&self) -> bool {
        true
    }

    fn status_keeps_labels(&self) -> bool {
        true
    }
}

fn validate_strategy(object: &Object, errors: &mut Errors) {
    let path = ["spec", "strategy", "rollingUpdate"];
    match field::text(object, &["spec", "strategy", "type"]).unwrap_or_default() {
        "Recreate" => {
            if field::get(object, &path).is_some() {
                let why = "may not be specified when strategy `type` is 'Recreate'";
                errors.forbidden("spec.strategy.rollingUpdate", why);
            }
        }
        "RollingUpdate" => {
            let rolling = field::get(object, &path).and_then(Value::as_object);
            let Some(rolling) = rolling else {
                errors.required(
                    "spec.strategy.rollingUpdate",
                    "this should be defaulted and never be nil",
                );
                return;
            };
            for key in ["maxUnavailable", "maxSurge"] {
                let at = format!("spec.strategy.rollingUpdate.{key}");
                let value = rolling.get(key).unwrap_or(&Value::Null);
                pod_template::validate_int_or_percent(value, &at, key == "maxUnavailable", errors);
            }
            let zero = |key: &str| match rolling.get(key) {
                Some(Value::Number(n)) => n.as_i64() == Some(0),
                Some(Value::String(text)) => text == "0%",
                _ => false,
            };
            if zero("maxUnavailable") && zero("maxSurge") {
                let shown = rolling.get("maxUnavailable").cloned().unwrap_or(Value::Null);
                let why = "may not be 0 when `maxSurge` is 0";
                errors.invalid("spec.strategy.rollingUpdate.maxUnavailable", &shown, why);
            }
        }
        other => {
            let known = ["Recreate", "RollingUpdate"];
            errors.unsupported("spec.strategy.type", &other.into(), &known);
        }
    }
}

/// The rules of `ReplicaSets`.
#[derive(Debug)]
pub(crate) struct ReplicaSets;

impl Rules for ReplicaSets {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        defaults(spec, &[("replicas", 1)]);
        template_defaults(spec);
        field::default(field::map_mut(object, &["status"]), "replicas", 0);
    }

    fn before_create(
        &self,
        _attempt: &crate::write::Attempt<'_>,
        object: &mut Object,
    ) -> Result<(), crate::status::Status> {
        object.insert("status".to_owned(), json!({"replicas": 0}));
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        not_negative(object, &["replicas", "minReadySeconds"], errors);
        validate_selector(object, words("replicaset"), errors);
        validate_template(object, words("replicaset"), errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        selector_immutable(object, before, errors);
    }

    fn validate_below(
        &self,
        subresource: &str,
        object: &Object,
        before: &Object,
        errors: &mut Errors,
    ) {
        if subresource != "status" {
            return self.validate_update(object, before, errors);
        }
        let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        let counts = [
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
        ];
        workload::validate_status(object, &counts, &parts, errors);
    }

    fn warn(&self, object: &Object, before: Option<&Object>, warnings: &mut Vec<String>) {
        workload::warn(object, before, TEMPLATE, true, warnings);
    }
}

/// The rules of `ReplicationControllers`.
#[derive(Debug)]
pub(crate) struct ReplicationControllers;

impl Rules for ReplicationControllers {
    fn default(&self, object: &mut Object) {
        let labels = field::get(object, &["spec", "template", "metadata", "labels"]).cloned();
        let spec = field::map_mut(object, &["spec"]);
        defaults(spec, &[("replicas", 1)]);
        if let Some(labels) = labels {
            field::default(spec, "selector", labels.clone());
            let own = field::map_mut(object, &["metadata"]);
            field::default(own, "labels", labels);
        }
        if field::get(object, TEMPLATE).is_some() {
            template_defaults(field::map_mut(object, &["spec"]));
        }
        field::default(field::map_mut(object, &["status"]), "replicas", 0);
    }

    fn before_create(
        &self,
        _attempt: &crate::write::Attempt<'_>,
        object: &mut Object,
    ) -> Result<(), crate::status::Status> {
        object.insert("status".to_owned(), json!({"replicas": 0}));
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        not_negative(object, &["minReadySeconds"], errors);
        let selector = field::get(object, &["spec", "selector"]).and_then(Value::as_object);
        let selector = selector.filter(|selector| !selector.is_empty());
        if selector.is_none() {
            errors.required("spec.selector", "");
        }
        not_negative(object, &["replicas"], errors);
        if field::get(object, TEMPLATE).is_none() {
            errors.required("spec.template", "");
            return;
        }
        let labels = field::get(object, &["spec", "template", "metadata", "labels"]);
        let matches = |(key, value): (&String, &Value)| {
            labels.and_then(|labels| labels.get(key)) == Some(value)
        };
        if selector.is_some_and(|selector| !selector.iter().all(matches)) {
            workload::no_match(labels, errors);
        }
        let words = Words { of_deadline: "ReplicationController", ..words("") };
        validate_template(object, words, errors);
    }

    fn validate_below(
        &self,
        subresource: &str,
        object: &Object,
        before: &Object,
        errors: &mut Errors,
    ) {
        if subresource != "status" {
            return self.validate_update(object, before, errors);
        }
        let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        let counts = [
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
        ];
        workload::validate_status(object, &counts, &parts, errors);
    }

    fn warn(&self, object: &Object, before: Option<&Object>, warnings: &mut Vec<String>) {
        workload::warn(object, before, TEMPLATE, true, warnings);
    }

    fn propagation(&self, _warnings: &mut Vec<String>) -> Option<Propagation> {
        Some(Propagation::Orphan)
    }
}
