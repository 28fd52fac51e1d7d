//! `ValidatingAdmissionPolicy`: expressions that refuse a write, warn about it, or tell the audit log.

use serde_json::{Value, json};

use crate::admission::expression::{Evaluation, Run};
use crate::admission::policy::{Binding, Bound, Consequence, FailurePolicy, Policy, Validation};
use crate::admission::subject::Subject;
use crate::admission::{Operation, Plugin, forbidden, params};
use crate::field::Object;
use crate::status::{Reason, Status, StatusCause};
use crate::write::Attempt;

/// The longest message that an expression may make.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;
/// The longest annotation; more is cut off.
const ANNOTATION_BYTES_MAX: usize = 10 * 1024;
const FAILURE_ANNOTATION: &str = "validation.policy.admission.k8s.io/validation_failure";

/// The plug-in.
#[derive(Debug)]
pub(crate) struct ValidatingPolicy;

impl Plugin for ValidatingPolicy {
    fn validate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &Object,
        before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        if attempt.hooks.validating.is_empty() || super::is_exempt(attempt) {
            return Ok(());
        }
        let mut verdict = Verdict::default();
        let subject = Subject::new(attempt, object, before, operation);
        for bound in &attempt.hooks.validating {
            judge(attempt, &subject, bound, &mut verdict);
        }
        attempt.warnings.extend(verdict.warnings);
        attempt.audit.extend(verdict.audit);
        if !verdict.failures.is_empty() {
            let value = Value::from(verdict.failures).to_string();
            attempt.audit.push((FAILURE_ANNOTATION.to_owned(), value));
        }
        match verdict.denied {
            None => Ok(()),
            Some((reason, message)) => Err(denied(attempt, object, reason, &message)),
        }
    }
}

/// What all policies together say.
#[derive(Debug, Default)]
struct Verdict {
    /// The first refusal.
    denied: Option<(Reason, String)>,
    warnings: Vec<String>,
    audit: Vec<(String, String)>,
    failures: Vec<Value>,
}

impl Verdict {
    fn deny(&mut self, policy: &Policy, binding: Option<&Binding>, reason: Reason, why: &str) {
        if self.denied.is_some() {
            return;
        }
        let name = &policy.name;
        let with = binding.map(|b| format!(" with binding '{}'", b.name)).unwrap_or_default();
        let text = format!("ValidatingAdmissionPolicy '{name}'{with} denied request: {why}");
        self.denied = Some((reason, text));
    }

    /// A policy or binding that cannot be followed.
    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        if policy.failure == FailurePolicy::Fail {
            let what = if binding.is_some() { "binding" } else { "policy" };
            let why = format!("failed to configure {what}: {why}");
            self.deny(policy, binding, Reason::Invalid, &why);
        }
    }
}

fn judge(attempt: &Attempt<'_>, subject: &Subject<'_>, bound: &Bound, verdict: &mut Verdict) {
    let (policy, catalog, view) = (&*bound.policy, attempt.catalog, attempt.view);
    let resource = match policy.matcher.matches(subject, catalog, view) {
        Ok(Some(resource)) => resource,
        Ok(None) => return,
        Err(unknown) => return verdict.misconfigured(policy, None, &unknown.0),
    };
    let shown = subject.seen_as(&resource);
    let namespace = super::namespace_object(attempt, subject);
    let mut annotations: Vec<(String, Vec<String>)> = Vec::new();
    for binding in &bound.bindings {
        match binding.matcher.matches(subject, catalog, view) {
            Ok(Some(_)) => {}
            Ok(None) => continue,
            Err(unknown) => {
                verdict.misconfigured(policy, Some(binding), &unknown.0);
                continue;
            }
        }
        let kind = policy.param_kind.as_ref();
        let place = super::params_namespace(subject);
        let found = params::collect(kind, binding.params.as_ref(), &place, attempt);
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                verdict.misconfigured(policy, Some(binding), &why);
                continue;
            }
        };
        for params in &found {
            let evaluation = Evaluation {
                object: &shown.object,
                old_object: &shown.old_object,
                request: &shown.request,
                params,
                namespace: &namespace,
                variables: &policy.variables,
                access: attempt.access,
                subject,
            };
            evaluate(policy, binding, &evaluation, verdict, &mut annotations);
        }
    }
    for (key, values) in annotations {
        let value = values.join(", ");
        verdict.audit.push((format!("{}/{key}", policy.name), value));
    }
}

fn evaluate(
    policy: &Policy,
    binding: &Binding,
    evaluation: &Evaluation<'_>,
    verdict: &mut Verdict,
    annotations: &mut Vec<(String, Vec<String>)>,
) {
    match super::conditions_hold(&policy.conditions, policy.failure, evaluation) {
        Ok(true) => {}
        Ok(false) => return,
        Err(why) => {
            act(policy, binding, (0, Reason::Invalid, &why), verdict);
            return;
        }
    }
    let mut budget = Evaluation::budget();
    let mut run = evaluation.begin(&mut budget);
    let judged: Vec<_> =
        policy.validations.iter().map(|validation| run.truth(&validation.expression)).collect();
    for (index, (validation, judged)) in policy.validations.iter().zip(judged).enumerate() {
        match judged {
            Ok(false) => {
                let message = message(validation, &mut run);
                act(policy, binding, (index, validation.reason, &message), verdict);
            }
            Err(why) if policy.failure == FailurePolicy::Fail => {
                act(policy, binding, (index, Reason::Invalid, &why), verdict);
            }
            Ok(true) | Err(_) => {}
        }
    }
    annotate(policy, binding, evaluation, verdict, annotations);
}

/// What a failed validation says.
fn message<'a>(validation: &'a Validation, run: &mut Run<'a, '_>) -> String {
    let dynamic = validation.dynamic_message.as_ref();
    let dynamic = dynamic.and_then(|expression| run.text(expression).ok().flatten());
    let usable =
        |text: &&str| !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n');
    if let Some(text) = dynamic.as_deref().map(str::trim).filter(usable) {
        return text.to_owned();
    }
    if !validation.message.is_empty() {
        return validation.message.to_string();
    }
    format!("failed expression: {}", validation.expression.text().trim())
}

/// Carries out the consequences of one failed validation.
fn act(policy: &Policy, binding: &Binding, failure: (usize, Reason, &str), verdict: &mut Verdict) {
    let (index, reason, message) = failure;
    for consequence in &binding.consequences {
        match consequence {
            Consequence::Deny => verdict.deny(policy, Some(binding), reason, message),
            Consequence::Warn => verdict.warnings.push(format!(
                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                policy.name, binding.name
            )),
            Consequence::Audit => verdict.failures.push(json!({
                "expressionIndex": index, "message": message, "validationActions":
                binding.consequences.iter().map(|c| format!("{c:?}")).collect::<Vec<_>>(),
                "binding": binding.name, "policy": policy.name,
            })),
        }
    }
}

fn annotate(
    policy: &Policy,
    binding: &Binding,
    evaluation: &Evaluation<'_>,
    verdict: &mut Verdict,
    annotations: &mut Vec<(String, Vec<String>)>,
) {
    if policy.annotations.is_empty() {
        return;
    }
    let mut budget = Evaluation::budget();
    let mut run = evaluation.begin(&mut budget);
    for annotation in &policy.annotations {
        let value = match run.text(&annotation.value) {
            Ok(value) => value.unwrap_or_default(),
            Err(why) => {
                if policy.failure == FailurePolicy::Fail {
                    verdict.deny(policy, Some(binding), Reason::Invalid, &why);
                }
                continue;
            }
        };
        let value = cut(value.trim(), ANNOTATION_BYTES_MAX);
        if value.is_empty() {
            continue;
        }
        match annotations.iter_mut().find(|(key, _)| **key == *annotation.key) {
            Some((_, values)) if values.iter().all(|other| other != value) => {
                values.push(value.to_owned());
            }
            Some(_) => {}
            None => annotations.push((annotation.key.to_string(), vec![value.to_owned()])),
        }
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A refusal: worded as forbidden, with the reason that the policy gives.
pub(super) fn denied(attempt: &Attempt<'_>, object: &Object, reason: Reason, why: &str) -> Status {
    let mut status = forbidden(attempt, object, why);
    status.reason = reason;
    status.code = reason.code();
    if let Some(details) = &mut status.details {
        details.causes.push(StatusCause { message: why.to_owned(), ..StatusCause::default() });
    }
    status
}
