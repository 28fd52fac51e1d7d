//! Jobs and `CronJobs`.

use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::request::Propagation;
use crate::rules::{Rules, pod_template};
use crate::status::Status;
use crate::write::Attempt;

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";

const TEMPLATE_LABELS: &[&str] = &["spec", "template", "metadata", "labels"];

/// What of a suspended Job's template may change before its start: where its Pods run.
const PLACEMENT: [&str; 4] = ["affinity", "nodeSelector", "schedulingGates", "tolerations"];

/// The rules of Jobs.
#[derive(Debug)]
pub(crate) struct Jobs;

fn job_defaults(spec: &mut Object) {
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        field::default(spec, "completions", 1);
    }
    for (key, value) in [("parallelism", 1), ("backoffLimit", 6)] {
        field::default(spec, key, value);
    }
    if spec.get("backoffLimitPerIndex").is_some_and(|v| !v.is_null())
        && spec.get("backoffLimit").and_then(Value::as_i64) == Some(6)
    {
        spec.insert("backoffLimit".to_owned(), i32::MAX.into());
    }
    field::default(spec, "completionMode", "NonIndexed");
    field::default(spec, "suspend", false);
    field::default(spec, "manualSelector", false);
    let replacement =
        if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    field::default(spec, "podReplacementPolicy", replacement);
    let rules = spec.get_mut("podFailurePolicy").and_then(|p| p.get_mut("rules"));
    for rule in rules.and_then(Value::as_array_mut).into_iter().flatten() {
        let patterns = rule.get_mut("onPodConditions").and_then(Value::as_array_mut);
        for pattern in patterns.into_iter().flatten().filter_map(Value::as_object_mut) {
            field::default(pattern, "status", "True");
        }
    }
}

/// A Job's template has no default for what happens to a container that ended.
fn template(spec: &mut Object) {
    let template = field::map_mut(spec, &["template"]);
    let had = field::get(template, &["spec", "restartPolicy"]).is_some();
    pod_template::template_defaults(template);
    if !had {
        field::map_mut(template, &["spec"]).insert("restartPolicy".to_owned(), "Always".into());
    }
}

/// The labels and the selector by which a Job finds its Pods.
fn generate(object: &mut Object) {
    let (uid, name) =
        (metadata::text(object, "uid").to_owned(), metadata::text(object, "name").to_owned());
    let spec = field::map_mut(object, &["spec"]);
    if spec.get("manualSelector").and_then(Value::as_bool) == Some(true) {
        return;
    }
    let labels = field::map_mut(spec, &["template", "metadata", "labels"]);
    for (key, value) in
        [(UID_LABEL, &uid), (NAME_LABEL, &name), ("controller-uid", &uid), ("job-name", &name)]
    {
        labels.insert(key.to_owned(), value.as_str().into());
    }
    let selected = field::map_mut(spec, &["selector", "matchLabels"]);
    selected.insert(UID_LABEL.to_owned(), uid.into());
}

impl Rules for Jobs {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        job_defaults(spec);
        template(spec);
        let labels = field::get(object, TEMPLATE_LABELS).cloned();
        if let Some(labels) = labels {
            field::default(field::map_mut(object, &["metadata"]), "labels", labels);
        }
        field::map_mut(object, &["status"]);
    }

    fn before_create(&self, _attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        object.insert("status".to_owned(), json!({}));
        let labelled = field::get(object, &["metadata", "labels"]);
        let shared = labelled == field::get(object, TEMPLATE_LABELS);
        generate(object);
        if shared && let Some(labels) = field::get(object, TEMPLATE_LABELS).cloned() {
            metadata::of_mut(object).insert("labels".to_owned(), labels);
        }
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        validate_spec(object, &["spec"], errors);
        if field::get(object, &["spec", "selector"]).is_none() {
            errors.required("spec.selector", "");
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        let is_suspended = |o: &Object| field::get(o, &["spec", "suspend"]) == Some(&true.into());
        for key in [
            "completions",
            "selector",
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
        ] {
            let of = |o| field::get(o, &["spec", key]);
            errors.immutable(&format!("spec.{key}"), of(object), of(before));
        }
        let not_started = field::get(before, &["status", "startTime"]).is_none();
        let movable = is_suspended(before) && not_started;
        let pods = |o: &Object| {
            let mut spec = field::get(o, &["spec", "template", "spec"]).cloned();
            let spec_map = spec.as_mut().and_then(Value::as_object_mut).filter(|_| movable);
            if let Some(map) = spec_map {
                map.retain(|key, _| !PLACEMENT.contains(&key.as_str()));
            }
            spec
        };
        errors.immutable("spec.template.spec", pods(object).as_ref(), pods(before).as_ref());
        if !movable {
            let meta = |o| field::get(o, &["spec", "template", "metadata"]);
            errors.immutable("spec.template.metadata", meta(object), meta(before));
        }
    }

    fn propagation(&self, warnings: &mut Vec<String>) -> Option<Propagation> {
        warnings.push(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
             remove them or set propagationPolicy=Orphan to suppress this warning"
                .to_owned(),
        );
        Some(Propagation::Orphan)
    }
}

fn validate_spec(object: &Object, path: &[&str], errors: &mut Errors) {
    let of = |key: &'static str| [path, &[key]].concat();
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        errors.not_negative(object, &of(key));
    }
    errors.one_of(object, &of("completionMode"), &["NonIndexed", "Indexed"]);
    let rules = field::list(object, &[path, &["podFailurePolicy", "rules"]].concat());
    for (index, rule) in rules.iter().enumerate() {
        let known = ["Count", "FailIndex", "FailJob", "Ignore"];
        let action = rule.get("action").unwrap_or(&Value::Null);
        if !action.as_str().is_some_and(|text| known.contains(&text)) {
            let at = format!("{}.podFailurePolicy.rules[{index}].action", path.join("."));
            errors.unsupported(at, action, &known);
        }
    }
    let indexed = field::text(object, &of("completionMode")) == Some("Indexed");
    if let Some(policy) = field::get(object, &of("successPolicy"))
        && !indexed
    {
        errors.invalid(of("successPolicy").join("."), policy, "requires indexed completion mode");
    }
    if indexed && field::get(object, &of("completions")).is_none() {
        let why = "when completion mode is Indexed";
        errors.required(of("completions").join("."), why);
    }
    pod_template::validate_template(object, &of("template"), errors);
    let known = ["OnFailure", "Never"];
    errors.one_of(object, &[path, &["template", "spec", "restartPolicy"]].concat(), &known);
}

/// The rules of `CronJobs`.
#[derive(Debug)]
pub(crate) struct CronJobs;

impl Rules for CronJobs {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        field::default(spec, "concurrencyPolicy", "Allow");
        field::default(spec, "suspend", false);
        field::default(spec, "successfulJobsHistoryLimit", 3);
        field::default(spec, "failedJobsHistoryLimit", 1);
        field::map_mut(spec, &["jobTemplate", "metadata"]);
        template(field::map_mut(spec, &["jobTemplate", "spec"]));
        field::map_mut(object, &["status"]);
    }

    fn before_create(&self, _attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        object.insert("status".to_owned(), json!({}));
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        if field::text(object, &["spec", "schedule"]).is_none_or(str::is_empty) {
            errors.required("spec.schedule", "");
        }
        let known = ["Allow", "Forbid", "Replace"];
        errors.one_of(object, &["spec", "concurrencyPolicy"], &known);
        for key in
            ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"]
        {
            errors.not_negative(object, &["spec", key]);
        }
        validate_spec(object, &["spec", "jobTemplate", "spec"], errors);
    }
}
