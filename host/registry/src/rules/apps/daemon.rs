//! `DaemonSets`: a Pod on every node.

use serde_json::Value;

use super::workload::{self, Words};
use crate::field::{self, Errors, Object};
use crate::rules::Rules;
use crate::rules::pod_template::{self, At};
use crate::status::Status;
use crate::write::Attempt;

const WORDS: Words =
    Words { of_selector: "daemonset", of_deadline: "DaemonSet", needs_selector: false };
/// Counts the templates; a field in versions that are gone.
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// The rules of `DaemonSets`.
#[derive(Debug)]
pub(crate) struct DaemonSets;

const STATUS: [(&str, i64); 4] = [
    ("currentNumberScheduled", 0),
    ("desiredNumberScheduled", 0),
    ("numberMisscheduled", 0),
    ("numberReady", 0),
];

impl Rules for DaemonSets {
    fn default(&self, object: &mut Object) {
        let annotations = field::map_mut(object, &["metadata", "annotations"]);
        let counted = field::text(annotations, &[GENERATION]).and_then(|t| t.parse::<i64>().ok());
        if counted.is_none_or(|count| count < 1) {
            annotations.insert(GENERATION.to_owned(), "1".into());
        }
        let spec = field::map_mut(object, &["spec"]);
        workload::defaults(spec, &[("revisionHistoryLimit", 10)]);
        let strategy = field::map_mut(spec, &["updateStrategy"]);
        field::default(strategy, "type", "RollingUpdate");
        if field::text(strategy, &["type"]) == Some("RollingUpdate") {
            let rolling = field::map_mut(strategy, &["rollingUpdate"]);
            workload::defaults(rolling, &[("maxUnavailable", 1), ("maxSurge", 0)]);
        }
        workload::template_defaults(spec);
        workload::defaults(field::map_mut(object, &["status"]), &STATUS);
    }

    fn before_create(&self, _attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        object.remove("status");
        workload::defaults(field::map_mut(object, &["status"]), &STATUS);
        Ok(())
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        let path = &["metadata", "annotations", GENERATION];
        let count =
            field::text(before, path).and_then(|text| text.parse::<i64>().ok()).unwrap_or(1);
        let template = |o| field::get(o, &["spec", "template"]);
        let grows = attempt.subresource().is_none() && template(object) != template(before);
        let count = (count + i64::from(grows)).to_string();
        let annotations = field::map_mut(object, &["metadata", "annotations"]);
        annotations.insert(GENERATION.to_owned(), count.into());
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        workload::validate_selector(object, WORDS, errors);
        workload::validate_template(object, WORDS, errors);
        workload::not_negative(object, &["minReadySeconds"], errors);
        let root = At::new(object, "");
        validate_strategy(&root.child_or_empty("spec").child_or_empty("updateStrategy"), errors);
        workload::not_negative(object, &["revisionHistoryLimit"], errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        workload::selector_immutable(object, before, errors);
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
        for key in [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ] {
            errors.not_negative(object, &["status", key]);
        }
        workload::validate_collisions(object, before, errors);
    }

    fn warn(&self, object: &Object, before: Option<&Object>, warnings: &mut Vec<String>) {
        workload::warn(object, before, &["spec", "template"], false, warnings);
    }
}

fn validate_strategy(strategy: &At<'_>, errors: &mut Errors) {
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => match strategy.child("rollingUpdate") {
            None => errors.required(strategy.path("rollingUpdate"), ""),
            Some(rolling) => validate_rolling(&rolling, errors),
        },
        _ => {
            let shown = Value::Object(strategy.map.clone());
            errors.unsupported(strategy.path.clone(), &shown, &["RollingUpdate", "OnDelete"]);
        }
    }
}

fn validate_rolling(rolling: &At<'_>, errors: &mut Errors) {
    let value = |key: &str| rolling.get(key).cloned().unwrap_or(Value::Null);
    for key in ["maxUnavailable", "maxSurge"] {
        pod_template::validate_int_or_percent(&value(key), &rolling.path(key), true, errors);
    }
    let is_some = |key: &str| match value(key) {
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => {
            text.strip_suffix('%').and_then(|t| t.parse::<i64>().ok()).is_some_and(|n| n != 0)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    };
    match (is_some("maxUnavailable"), is_some("maxSurge")) {
        (true, true) => {
            let why = "may not be set when maxUnavailable is non-zero";
            errors.invalid(rolling.path("maxSurge"), &value("maxSurge"), why);
        }
        (false, false) => {
            errors.required(rolling.path("maxUnavailable"), "cannot be 0 when maxSurge is 0");
        }
        _ => {}
    }
}
