//! Jobs and `CronJobs`.

mod policy;
mod schedule;

use quadrille_object::{LabelSelector, validate_name};
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::request::Propagation;
use crate::rules::apps::workload;
use crate::rules::pod_template::At;
use crate::rules::{Rules, pod_template};
use crate::status::Status;
use crate::write::Attempt;

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";

const TEMPLATE_LABELS: &[&str] = &["spec", "template", "metadata", "labels"];

/// What of a suspended Job's template may change before its start, besides the affinity to nodes: where its Pods run.
const PLACEMENT: [&str; 3] = ["nodeSelector", "schedulingGates", "tolerations"];

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
        validate_generated(object, errors);
        validate_job_spec(object, errors);
        let root = At::new(object, "");
        let spec = root.child_or_empty("spec");
        let completions = spec.integer("completions").unwrap_or(0);
        if spec.text("completionMode") == "Indexed" && completions > 0 {
            let name = metadata::text(object, "name");
            let host = format!("{name}-{}", completions - 1);
            if !validate_name::dns_label(&host).is_empty() {
                let why = format!("will not able to create pod with invalid DNS label: {host}");
                errors.invalid("metadata.name", &name.into(), &why);
            }
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        // kube-apiserver looks at the spec of a changed Job twice.
        self.validate(object, errors);
        validate_job_spec(object, errors);
        validate_fixed(object, before, errors);
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
        for key in ["active", "succeeded", "failed", "ready", "terminating"] {
            errors.not_negative(object, &["status", key]);
        }
    }

    fn warn(&self, object: &Object, before: Option<&Object>, warnings: &mut Vec<String>) {
        let spec = |key: &str| field::integer(object, &["spec", key]).unwrap_or(0);
        let is_indexed = field::text(object, &["spec", "completionMode"]) == Some("Indexed");
        if is_indexed && spec("completions") > 100_000 && spec("parallelism") > 10_000 {
            warnings.push(
                "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than \
                 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
                    .to_owned(),
            );
        }
        workload::warn(object, before, &["spec", "template"], true, warnings);
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

/// A selector that is not the client's own selects by the Job's uid.
fn validate_generated(object: &Object, errors: &mut Errors) {
    let root = At::new(object, "");
    let spec = root.child_or_empty("spec");
    let Some(selector) = spec.get("selector").filter(|_| !spec.is("manualSelector")) else {
        return;
    };
    let uid = metadata::text(object, "uid");
    let name = metadata::text(object, "name");
    let metadata = spec.child_or_empty("template").child_or_empty("metadata");
    let labels = metadata.child_or_empty("labels");
    let expected =
        [("controller-uid", uid), ("job-name", name), (UID_LABEL, uid), (NAME_LABEL, name)];
    for (key, value) in expected {
        let path = format!("{}[{key}]", labels.path);
        let why = format!("must be '{value}'");
        match labels.get(key).and_then(Value::as_str) {
            None => errors.required(path, &why),
            Some(actual) if actual != value => {
                errors.invalid(path, &Value::Object(labels.map.clone()), &why);
            }
            Some(_) => {}
        }
    }
    let expected: Object =
        expected.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let meta = pod_template::meta_of(Some(&Value::Object(expected)));
    if LabelSelector::from_value(selector).is_ok_and(|selector| !selector.matches(&meta)) {
        errors.invalid("spec.selector", selector, "`selector` not auto-generated");
    }
}

fn validate_job_spec(object: &Object, errors: &mut Errors) {
    validate_spec(object, &["spec"], errors);
    let labels = field::get(object, TEMPLATE_LABELS);
    let Some(selector) = field::get(object, &["spec", "selector"]) else {
        errors.required("spec.selector", "");
        return workload::no_match(labels, errors);
    };
    pod_template::validate_label_selector(selector, "spec.selector", errors);
    let meta = pod_template::meta_of(labels);
    if LabelSelector::from_value(selector).is_ok_and(|selector| !selector.matches(&meta)) {
        workload::no_match(labels, errors);
    }
}

/// What of a Job stays as it is.
fn validate_fixed(object: &Object, before: &Object, errors: &mut Errors) {
    let of = |o, key: &str| field::get(o, &["spec", key]);
    let (completions, parallelism) = (of(object, "completions"), of(object, "parallelism"));
    let is_indexed = field::text(object, &["spec", "completionMode"]) == Some("Indexed");
    if !is_indexed {
        errors.immutable("spec.completions", completions, of(before, "completions"));
    } else if let Some(completions) = completions
        && Some(completions) != of(before, "completions")
        && Some(completions) != parallelism
    {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.invalid("spec.completions", completions, why);
    }
    errors.immutable("spec.selector", of(object, "selector"), of(before, "selector"));
    let is_suspended = field::get(before, &["spec", "suspend"]) == Some(&true.into());
    let movable = is_suspended && field::get(before, &["status", "startTime"]).is_none();
    let pods = |o: &Object| pods_fixed(field::get(o, &["spec", "template", "spec"]), movable);
    errors.immutable("spec.template.spec", pods(object).as_ref(), pods(before).as_ref());
    if !movable {
        let meta = |o| field::get(o, &["spec", "template", "metadata"]);
        errors.immutable("spec.template.metadata", meta(object), meta(before));
    }
    for key in
        ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        errors.immutable(&format!("spec.{key}"), of(object, key), of(before, key));
    }
}

/// A template's spec less where its Pods run, which may change before a suspended Job starts.
fn pods_fixed(spec: Option<&Value>, movable: bool) -> Option<Value> {
    let mut spec = spec.cloned();
    let map = spec.as_mut().and_then(Value::as_object_mut).filter(|_| movable);
    if let Some(map) = map {
        map.retain(|key, _| !PLACEMENT.contains(&key.as_str()));
        if let Some(affinity) = map.get_mut("affinity").and_then(Value::as_object_mut) {
            affinity.remove("nodeAffinity");
            if affinity.is_empty() {
                map.remove("affinity");
            }
        }
    }
    spec
}

const SOFT_MAX: i64 = 100_000;

fn validate_spec(object: &Object, path: &[&str], errors: &mut Errors) {
    let empty = Object::new();
    let spec = field::get(object, path).and_then(Value::as_object).unwrap_or(&empty);
    let spec = At::new(spec, path.join("."));
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        errors.natural(&spec, key);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errors.required(spec.path("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    validate_manager(&spec, errors);
    errors.known(&spec, "completionMode", &["NonIndexed", "Indexed"]);
    let is_indexed = spec.text("completionMode") == "Indexed";
    if is_indexed {
        validate_indexed(&spec, errors);
    } else {
        for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(value) = spec.get(key) {
                errors.invalid(spec.path(key), value, "requires indexed completion mode");
            }
        }
    }
    policy::validate_failure(&spec, errors);
    policy::validate_success(&spec, is_indexed, errors);
    let known: &[&str] =
        if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    errors.known(&spec, "podReplacementPolicy", known);
    pod_template::validate_template(object, &[path, &["template"]].concat(), errors);
    validate_restart(&spec, errors);
}

fn validate_restart(spec: &At<'_>, errors: &mut Errors) {
    let pod = spec.child_or_empty("template").child_or_empty("spec");
    let path = pod.path("restartPolicy");
    let policy = pod.text("restartPolicy");
    match policy {
        "" | "Always" => errors.required(path.clone(), "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" | "Never" => {}
        other => errors.unsupported(path.clone(), &other.into(), &["OnFailure", "Never"]),
    }
    if spec.has("podFailurePolicy") && policy != "Never" {
        let why = "only \"Never\" is supported when podFailurePolicy is specified";
        errors.invalid(path, &policy.into(), why);
    }
}

fn validate_manager(spec: &At<'_>, errors: &mut Errors) {
    const LENGTH_MAX: usize = 63;
    let Some(name) = spec.get("managedBy").and_then(Value::as_str) else { return };
    let path = spec.path("managedBy");
    match name.split_once('/') {
        _ if name.is_empty() => errors.required(path.clone(), ""),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            errors.invalid_each(&path, domain, validate_name::dns_subdomain(domain));
        }
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.invalid(path.clone(), &name.into(), why);
        }
    }
    if name.len() > LENGTH_MAX {
        errors.too_long(path, LENGTH_MAX);
    }
}

fn validate_indexed(spec: &At<'_>, errors: &mut Errors) {
    let number = |key: &str| spec.integer(key);
    let mut over = |key: &str, most: i64, what: &str| {
        if let Some(given) = number(key).filter(|given| *given > most) {
            let why = format!("must be less than or equal to {what}");
            errors.invalid(spec.path(key), &given.into(), &why);
        }
    };
    let of_mode = format!("{SOFT_MAX} when completion mode is Indexed");
    over("parallelism", SOFT_MAX, &of_mode);
    if let Some(completions) = number("completions") {
        over("maxFailedIndexes", completions, "completions");
    }
    over("maxFailedIndexes", SOFT_MAX, &SOFT_MAX.to_string());
    if number("completions").is_none() {
        errors.required(spec.path("completions"), "when completion mode is Indexed");
    }
    let is_large = number("completions").is_some_and(|completions| completions > SOFT_MAX);
    if is_large && spec.has("backoffLimitPerIndex") {
        if !spec.has("maxFailedIndexes") {
            let why = format!("must be specified when completions is above {SOFT_MAX}");
            errors.required(spec.path("maxFailedIndexes"), &why);
        }
        for key in ["parallelism", "maxFailedIndexes"] {
            if let Some(given) = number(key).filter(|given| *given > 10_000) {
                let why = format!(
                    "must be less than or equal to 10000 when completions are above {SOFT_MAX} and used with \
                     backoff limit per index"
                );
                errors.invalid(spec.path(key), &given.into(), &why);
            }
        }
    }
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
        validate_cron(object, None, errors);
        let name = metadata::text(object, "name");
        if name.len() > NAME_LENGTH_MAX {
            let why = format!("must be no more than {NAME_LENGTH_MAX} characters");
            errors.invalid("metadata.name", &name.into(), &why);
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        validate_cron(object, Some(before), errors);
    }

    fn validate_below(
        &self,
        subresource: &str,
        object: &Object,
        before: &Object,
        errors: &mut Errors,
    ) {
        if subresource != "status" {
            self.validate_update(object, before, errors);
        }
    }

    fn warn(&self, object: &Object, before: Option<&Object>, warnings: &mut Vec<String>) {
        let template = ["spec", "jobTemplate", "spec", "template"];
        workload::warn(object, before, &template, true, warnings);
    }
}

/// The names of a `CronJob`'s Jobs have eleven characters more.
const NAME_LENGTH_MAX: usize = 52;

fn validate_cron(object: &Object, before: Option<&Object>, errors: &mut Errors) {
    let root = At::new(object, "");
    let spec = root.child_or_empty("spec");
    let old = before.and_then(|before| field::get(before, &["spec"])).and_then(Value::as_object);
    if errors.need(&spec, "schedule") {
        let had_zone = old.is_some_and(|old| {
            field::text(old, &["schedule"]).is_some_and(|schedule| schedule.contains("TZ"))
        });
        validate_schedule(&spec, had_zone, errors);
    }
    errors.natural(&spec, "startingDeadlineSeconds");
    if old.is_none_or(|old| field::get(old, &["timeZone"]) != spec.get("timeZone")) {
        validate_zone(&spec, errors);
    }
    errors.need_known(&spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"]);
    validate_spec(object, &["spec", "jobTemplate", "spec"], errors);
    let job = spec.child_or_empty("jobTemplate").child_or_empty("spec");
    if let Some(selector) = job.get("selector") {
        errors.invalid(job.path("selector"), selector, "`selector` will be auto-generated");
    }
    if job.is("manualSelector") {
        errors.unsupported(job.path("manualSelector"), &true.into(), &["nil", "false"]);
    }
    for key in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.natural(&spec, key);
    }
}

fn validate_schedule(spec: &At<'_>, had_zone: bool, errors: &mut Errors) {
    let given = spec.text("schedule");
    if let Err(why) = schedule::check(given) {
        errors.invalid(spec.path("schedule"), &given.into(), &why);
    }
    if !given.contains("TZ") {
        return;
    }
    let why = match (had_zone, spec.has("timeZone")) {
        (true, false) => return,
        (true, true) => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        (false, _) => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
    };
    errors.invalid(spec.path("schedule"), &given.into(), why);
}

fn validate_zone(spec: &At<'_>, errors: &mut Errors) {
    let Some(zone) = spec.get("timeZone").and_then(Value::as_str) else { return };
    let path = spec.path("timeZone");
    if zone.is_empty() {
        errors.invalid(path, &zone.into(), "timeZone must be nil or non-empty string");
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        let why =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path, &zone.into(), why);
    } else if let Err(why) = schedule::check_zone(zone) {
        errors.invalid(path, &zone.into(), &why);
    }
}
