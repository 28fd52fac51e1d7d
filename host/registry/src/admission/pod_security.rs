//! `PodSecurity`: a namespace's labels say how much its Pods may do.
//!
//! `enforce` refuses Pods, `warn` tells the client about Pods and about templates of Pods, `audit` tells the audit log.
//! The checks are in `checks`, the labels in `level`.

mod checks;
mod level;

use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_store::{Key, Query, Range};
use serde_json::Value;

use self::level::{Level, Policy, Standard};
use super::{Operation, Plugin, forbidden, is_of};
use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::pod_template::At;
use crate::status::Status;
use crate::write::{Attempt, parse};

/// Subresources of Pods that change nothing that is checked.
const IGNORED: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// The most Pods that are looked at when a namespace becomes stricter.
const PODS_MAX: usize = 3_000;

/// Where the workload kinds have their template.
const TEMPLATES: [(&str, &str, &[&str]); 8] = [
    ("apps", "deployments", &["spec", "template"]),
    ("apps", "replicasets", &["spec", "template"]),
    ("apps", "statefulsets", &["spec", "template"]),
    ("apps", "daemonsets", &["spec", "template"]),
    ("batch", "jobs", &["spec", "template"]),
    ("batch", "cronjobs", &["spec", "jobTemplate", "spec", "template"]),
    ("", "replicationcontrollers", &["spec", "template"]),
    ("", "podtemplates", &["template"]),
];

/// Enforces the Pod Security Standards.
#[derive(Debug)]
pub(super) struct PodSecurity;

impl Plugin for PodSecurity {
    fn validate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &Object,
        before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        if operation == Operation::Delete {
            return Ok(());
        }
        if is_of(attempt, "", "namespaces") {
            return validate_namespace(attempt, object, before);
        }
        if is_of(attempt, "", "pods") {
            let ignored = attempt.subresource().is_some_and(|sub| IGNORED.contains(&sub));
            let changes = before.is_none_or(|before| checks::is_significant(object, before));
            return if ignored || !changes { Ok(()) } else { validate_pod(attempt, object) };
        }
        let gvr = &attempt.resource.gvr;
        let path = TEMPLATES.iter().find(|(group, name, _)| {
            *gvr.resource == **name && *gvr.group == **group && attempt.subresource().is_none()
        });
        let Some((_, _, path)) = path else { return Ok(()) };
        let policy = policy_of(attempt);
        if policy.warn.level == Level::Privileged && policy.audit.level == Level::Privileged {
            return Ok(());
        }
        let Some(template) = field::get(object, path).and_then(Value::as_object) else {
            return Ok(());
        };
        tell(attempt, &policy, template);
        Ok(())
    }
}

fn policy_of(attempt: &Attempt<'_>) -> Policy {
    let namespaces = GroupResource::new("", "namespaces");
    let key = Key::new(namespaces, "", Arc::clone(attempt.namespace()));
    let Some(namespace) = attempt.view.get(&key) else { return Policy::default() };
    let labels = namespace.meta.labels.iter().map(|(key, value)| (&**key, &**value));
    Policy::of(labels, &mut Errors::default())
}

fn validate_pod(attempt: &mut Attempt<'_>, pod: &Object) -> Result<(), Status> {
    let policy = policy_of(attempt);
    if let Some(why) = violation(&policy.enforce, pod) {
        let why = format!("violates PodSecurity \"{}\": {why}", policy.enforce);
        return Err(forbidden(attempt, pod, &why));
    }
    tell(attempt, &policy, pod);
    Ok(())
}

/// Warnings for the client, annotations for the audit log.
fn tell(attempt: &mut Attempt<'_>, policy: &Policy, pod: &Object) {
    if let Some(why) = violation(&policy.audit, pod) {
        let text = format!("would violate PodSecurity \"{}\": {why}", policy.audit);
        attempt.audit.push(("pod-security.kubernetes.io/audit-violations".to_owned(), text));
    }
    if let Some(why) = violation(&policy.warn, pod) {
        attempt.warnings.push(format!("would violate PodSecurity \"{}\": {why}", policy.warn));
    }
}

/// What of a Pod or template the standard forbids, as one text.
fn violation(standard: &Standard, pod: &Object) -> Option<String> {
    let found = checks::evaluate(standard, &At::new(pod, ""));
    let texts: Vec<String> = found
        .into_iter()
        .map(
            |v| if v.detail.is_empty() { v.reason } else { format!("{} ({})", v.reason, v.detail) },
        )
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn labels_of(namespace: &Object) -> Vec<(&str, &str)> {
    let labels = field::get(namespace, &["metadata", "labels"]).and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())).collect()
}

fn validate_namespace(
    attempt: &mut Attempt<'_>,
    object: &Object,
    before: Option<&Object>,
) -> Result<(), Status> {
    if attempt.subresource().is_some() {
        return Ok(());
    }
    let mut errors = Errors::default();
    let policy = Policy::of(labels_of(object), &mut errors);
    let Some(before) = before else { return refuse(attempt, object, &errors) };
    let mut known = Errors::default();
    let old = Policy::of(labels_of(before), &mut known);
    if known.0.is_empty() {
        refuse(attempt, object, &errors)?;
    }
    let (now, was) = (&policy.enforce, &old.enforce);
    let relaxed = now.version == was.version && now.level <= was.level;
    if now == was || now.level == Level::Privileged || relaxed {
        return Ok(());
    }
    let name = metadata::text(object, "name").to_owned();
    let warnings = existing(attempt, &name, now)?;
    attempt.warnings.extend(warnings);
    Ok(())
}

fn refuse(attempt: &Attempt<'_>, object: &Object, errors: &Errors) -> Result<(), Status> {
    if errors.0.is_empty() {
        return Ok(());
    }
    Err(attempt.invalid(metadata::text(object, "name"), &errors.0))
}

/// What the Pods that are there violate of a new level.
fn existing(
    attempt: &Attempt<'_>,
    namespace: &str,
    standard: &Standard,
) -> Result<Vec<String>, Status> {
    let range =
        Range { namespace: Some(namespace.into()), ..Range::all(GroupResource::new("", "pods")) };
    let pods = attempt.view.list(&Query::whole(range));
    let mut found: BTreeMap<String, (Arc<str>, usize)> = BTreeMap::new();
    for pod in pods.iter().take(PODS_MAX) {
        let reasons: Vec<String> = checks::evaluate(standard, &At::new(&parse(pod)?, ""))
            .into_iter()
            .map(|violation| violation.reason)
            .collect();
        if !reasons.is_empty() {
            let entry = found.entry(reasons.join(", "));
            entry.or_insert_with(|| (Arc::clone(&pod.key.name), 0)).1 += 1;
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > PODS_MAX {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_MAX} of {} existing pods",
            pods.len()
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \
             \"{standard}\""
        ));
    }
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(why, (name, count))| match count {
            1 => format!("{name}: {why}"),
            2 => format!("{name} (and 1 other pod): {why}"),
            more => format!("{name} (and {} other pods): {why}", more - 1),
        })
        .collect();
    lines.sort();
    warnings.append(&mut lines);
    Ok(warnings)
}
