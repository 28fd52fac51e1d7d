//! Groups under `k8s.io` and `kubernetes.io` are Kubernetes' own: a definition in them says who approved it.

use serde_json::{Value, json};

use crate::field::{self, Errors, Object};

const ANNOTATION: &str = "api-approved.kubernetes.io";
const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
const CONDITION: &str = "KubernetesAPIApprovalPolicyConformant";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

fn is_protected(object: &Object) -> bool {
    let group = field::text(object, &["spec", "group"]).unwrap_or_default();
    ["k8s.io", "kubernetes.io"].iter().any(|own| {
        group.strip_suffix(own).is_some_and(|head| head.is_empty() || head.ends_with('.'))
    })
}

fn annotation(object: &Object) -> &str {
    field::text(object, &["metadata", "annotations", ANNOTATION]).unwrap_or_default()
}

fn approval(object: &Object) -> Approval {
    let text = annotation(object);
    let host = text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next());
    match host {
        _ if text.is_empty() => Approval::Missing,
        _ if text.starts_with("unapproved") => Approval::Bypassed,
        Some(Some(host)) if !host.is_empty() && !text.starts_with("://") => Approval::Approved,
        _ => Approval::Invalid,
    }
}

/// An approval that was missing may go on missing.
pub(super) fn validate(object: &Object, before: Option<&Object>, errors: &mut Errors) {
    if !is_protected(object) || before.is_some_and(|before| approval(before) == approval(object)) {
        return;
    }
    let at = format!("metadata.annotations[{ANNOTATION}]");
    match approval(object) {
        Approval::Approved | Approval::Bypassed => {}
        Approval::Missing => errors.required(at, &why(object)),
        Approval::Invalid => errors.invalid(at, &annotation(object).into(), &why(object)),
    }
}

fn why(object: &Object) -> String {
    let must = format!("protected groups must have approval annotation \"{ANNOTATION}\"");
    let text = annotation(object);
    match approval(object) {
        Approval::Missing => format!("{must}, {SEE}"),
        Approval::Bypassed => format!("not approved: \"{text}\""),
        Approval::Approved => format!("approved in {text}"),
        Approval::Invalid => {
            format!("{must} with either a URL or a reason starting with \"unapproved\", {SEE}")
        }
    }
}

/// Sets the condition that tells about it.
pub(super) fn note(object: &mut Object, now: &str) {
    if !is_protected(object) {
        return;
    }
    let (status, reason) = match approval(object) {
        Approval::Missing => ("False", "MissingAnnotation"),
        Approval::Bypassed => ("False", "UnapprovedAnnotation"),
        Approval::Approved => ("True", "ApprovedAnnotation"),
        Approval::Invalid => ("False", "InvalidAnnotation"),
    };
    let message = why(object);
    let mut conditions = field::list(object, &["status", "conditions"]).to_vec();
    let is_own = |c: &Value| c.get("type").and_then(Value::as_str) == Some(CONDITION);
    let known = conditions.iter().find(|c| is_own(c));
    let says = |c: &Value, key: &str, text: &str| c.get(key).and_then(Value::as_str) == Some(text);
    if known.is_some_and(|c| says(c, "status", status) && says(c, "message", &message)) {
        return;
    }
    conditions.retain(|c| !is_own(c));
    conditions.push(json!({
        "type": CONDITION, "status": status, "reason": reason, "message": message, "lastTransitionTime": now,
    }));
    field::map_mut(object, &["status"]).insert("conditions".to_owned(), conditions.into());
}
