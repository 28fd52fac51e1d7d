//! Deployments, `ReplicaSets`, `StatefulSets`, `DaemonSets` and `ReplicationControllers`.

use serde_json::{Value, json};

use quadrille_object::{LabelSelector, validate_name};

use crate::field::{self, Errors, Object};
use crate::request::Propagation;
use crate::rules::{Rules, pod_template};

/// Fills in fields that count things.
fn defaults(spec: &mut Object, values: &[(&str, i64)]) {
    for (key, value) in values {
        field::default(spec, key, *value);
    }
}

fn template_defaults(spec: &mut Object) {
    let template = field::map_mut(spec, &["template"]);
    pod_template::template_defaults(template);
}

fn not_negative(object: &Object, fields: &[&str], errors: &mut Errors) {
    for key in fields {
        errors.not_negative(object, &["spec", key]);
    }
}

/// The selector, and that it selects the template's labels; then the template itself.
fn validate_template(object: &Object, kind: &str, errors: &mut Errors) {
    let labels = field::get(object, &["spec", "template", "metadata", "labels"]);
    let mut matches = false;
    match field::get(object, &["spec", "selector"]) {
        None => errors.required("spec.selector", ""),
        Some(selector) => {
            let before = errors.0.len();
            pod_template::validate_selector(selector, "spec.selector", errors);
            if is_empty(selector) {
                let why = format!("empty selector is invalid for {kind}");
                errors.invalid("spec.selector", selector, &why);
            }
            let parsed = LabelSelector::from_value(selector).ok();
            matches = parsed.is_none()
                || errors.0.len() > before
                || parsed.is_some_and(|s| s.matches(&pod_template::meta_of(labels)));
        }
    }
    if !matches {
        let shown = labels.cloned().unwrap_or(Value::Null);
        let why = "`selector` does not match template `labels`";
        errors.invalid("spec.template.metadata.labels", &shown, why);
    }
    pod_template::validate_template(object, &["spec", "template"], errors);
    errors.one_of(object, &["spec", "template", "spec", "restartPolicy"], &["Always"]);
    if field::get(object, &["spec", "template", "spec", "activeDeadlineSeconds"]).is_some() {
        errors.forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        );
    }
}

fn is_empty(selector: &Value) -> bool {
    let none = |key: &str| match selector.get(key) {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => true,
    };
    none("matchLabels") && none("matchExpressions")
}

fn selector_immutable(object: &Object, before: &Object, errors: &mut Errors) {
    let of = |o| field::get(o, &["spec", "selector"]);
    errors.immutable("spec.selector", of(object), of(before));
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
        validate_template(object, "deployment", errors);
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

    fn annotations_count(&self) -> bool {
        true
    }

    fn status_keeps_metadata(&self) -> bool {
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
        validate_template(object, "replicaset", errors);
        for key in [
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
        ] {
            errors.not_negative(object, &["status", key]);
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        selector_immutable(object, before, errors);
    }
}

/// The rules of `StatefulSets`.
#[derive(Debug)]
pub(crate) struct StatefulSets;

/// What of a `StatefulSet`'s spec may change.
const STATEFUL_SET_MUTABLE: [&str; 8] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
    "podManagementPolicy",
];

impl Rules for StatefulSets {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        defaults(spec, &[("replicas", 1), ("revisionHistoryLimit", 10)]);
        field::default(spec, "podManagementPolicy", "OrderedReady");
        let strategy = field::map_mut(spec, &["updateStrategy"]);
        field::default(strategy, "type", "RollingUpdate");
        if field::text(strategy, &["type"]) == Some("RollingUpdate") {
            field::default(field::map_mut(strategy, &["rollingUpdate"]), "partition", 0);
        }
        let retention = field::map_mut(spec, &["persistentVolumeClaimRetentionPolicy"]);
        field::default(retention, "whenDeleted", "Retain");
        field::default(retention, "whenScaled", "Retain");
        let claims = spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            claim.insert("apiVersion".to_owned(), "v1".into());
            claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
            field::default(field::map_mut(claim, &["spec"]), "volumeMode", "Filesystem");
            field::default(field::map_mut(claim, &["status"]), "phase", "Pending");
        }
        template_defaults(spec);
        let status = field::map_mut(object, &["status"]);
        defaults(status, &[("replicas", 0), ("availableReplicas", 0)]);
    }

    fn before_create(
        &self,
        _attempt: &crate::write::Attempt<'_>,
        object: &mut Object,
    ) -> Result<(), crate::status::Status> {
        object.insert("status".to_owned(), json!({"replicas": 0, "availableReplicas": 0}));
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        let known = ["OrderedReady", "Parallel"];
        errors.one_of(object, &["spec", "podManagementPolicy"], &known);
        not_negative(object, &["replicas", "minReadySeconds"], errors);
        validate_template(object, "statefulset", errors);
        let name = field::text(object, &["spec", "serviceName"]).filter(|n| !n.is_empty());
        if let Some(name) = name {
            errors.invalid_each("spec.serviceName", name, validate_name::dns_label(name));
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        let fixed = |o: &Object| -> Object {
            let spec = field::get(o, &["spec"]).and_then(Value::as_object).cloned();
            let mut spec = spec.unwrap_or_default();
            spec.retain(|key, _| !STATEFUL_SET_MUTABLE.contains(&key.as_str()));
            spec
        };
        if fixed(object) != fixed(before) {
            errors.forbidden(
                "spec",
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                 'minReadySeconds' are forbidden",
            );
        }
    }
}

/// The rules of `DaemonSets`.
#[derive(Debug)]
pub(crate) struct DaemonSets;

const DAEMON_SET_STATUS: [(&str, i64); 4] = [
    ("currentNumberScheduled", 0),
    ("desiredNumberScheduled", 0),
    ("numberMisscheduled", 0),
    ("numberReady", 0),
];

impl Rules for DaemonSets {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        defaults(spec, &[("revisionHistoryLimit", 10)]);
        let strategy = field::map_mut(spec, &["updateStrategy"]);
        field::default(strategy, "type", "RollingUpdate");
        if field::text(strategy, &["type"]) == Some("RollingUpdate") {
            let rolling = field::map_mut(strategy, &["rollingUpdate"]);
            defaults(rolling, &[("maxUnavailable", 1), ("maxSurge", 0)]);
        }
        template_defaults(spec);
        defaults(field::map_mut(object, &["status"]), &DAEMON_SET_STATUS);
    }

    fn before_create(
        &self,
        _attempt: &crate::write::Attempt<'_>,
        object: &mut Object,
    ) -> Result<(), crate::status::Status> {
        object.remove("status");
        defaults(field::map_mut(object, &["status"]), &DAEMON_SET_STATUS);
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        validate_template(object, "daemonset", errors);
        not_negative(object, &["minReadySeconds", "revisionHistoryLimit"], errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        selector_immutable(object, before, errors);
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
        template_defaults(field::map_mut(object, &["spec"]));
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
        if field::get(object, &["spec", "selector"]).is_none() {
            errors.required("spec.selector", "");
        }
        pod_template::validate_template(object, &["spec", "template"], errors);
    }

    fn propagation(&self, _warnings: &mut Vec<String>) -> Option<Propagation> {
        Some(Propagation::Orphan)
    }
}
