//! Admission: what may change or refuse a write beyond the rules of its kind.
//!
//! The write path calls [`mutate`] when an object is decoded and defaulted (before names, uids and other marks are
//! given and before it is validated), and [`validate`] when it is valid and about to be committed. Both go through
//! [`CHAIN`], in kube-apiserver's order. A plug-in is one file in `admission/` that answers at once when the write is
//! none of its business: a write that concerns no plug-in pays for a few calls and comparisons.
//!
//! A plug-in decides on the attempt's view alone and has no effects: what must stay true until the commit goes into
//! [`Attempt::requires`], what must be written with it into [`Attempt::also`], what the client should read into
//! [`Attempt::warnings`], what the audit log should say into [`Attempt::audit`].

mod certificates;
mod checking;
mod constructed;
pub(crate) mod expression;
pub(crate) mod hooks;
mod limit_range;
mod matching;
mod mutating;
mod params;
mod pod_security;
mod policy;
mod priority;
mod quota;
mod reinvocation;
pub(crate) mod review;
mod runtime_class;
pub(crate) mod service;
mod service_account;
mod subject;
mod tolerations;
mod types;
mod validating;
mod webhook;

use std::fmt::Debug;
use std::sync::Arc;

use quadrille_object::Gvk;
use quadrille_object::schema::Nulls;
use serde_json::{Map, Value, json};

pub(crate) use hooks::Hooks;
pub(crate) use reinvocation::Reinvocation;

pub use self::quota::KeepQuotasError;
use crate::admission::expression::Evaluation;
use crate::admission::policy::{Condition, FailurePolicy};
use crate::admission::subject::Subject;
use crate::catalog::Resource;
use crate::convert;
use crate::field::{self, Object};
use crate::metadata;
use crate::shape;
use crate::status::Status;
use crate::write::{Attempt, parse, scale};

/// What a write does to the object, as admission names it: a patch or apply is one of the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A new object, or a POST to a subresource.
    Create,
    /// A change of an object or subresource.
    Update,
    /// A deletion; the object is the one to be deleted, as it is before and after.
    Delete,
}

/// One link of the chain.
///
/// `object` has the stored form; `before` is the stored object, `None` for a create. For a subresource `object` is
/// the whole object that results (so for `scale`); [`Attempt::subresource`] tells.
pub(crate) trait Plugin: Debug + Sync {
    /// Changes or refuses the object.
    fn mutate(
        &self,
        _attempt: &mut Attempt<'_>,
        _object: &mut Object,
        _before: Option<&Object>,
        _operation: Operation,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the object.
    fn validate(
        &self,
        _attempt: &mut Attempt<'_>,
        _object: &Object,
        _before: Option<&Object>,
        _operation: Operation,
    ) -> Result<(), Status> {
        Ok(())
    }
}

/// The plug-ins in kube-apiserver's order: `LimitRanger`, `ServiceAccount`, `PodSecurity`, `Priority`,
/// `DefaultTolerationSeconds`, `RuntimeClass`, those of certificates, `MutatingAdmissionPolicy`, `MutatingAdmissionWebhook`,
/// `ValidatingAdmissionPolicy`, `ValidatingAdmissionWebhook`, `ResourceQuota`. `NamespaceLifecycle`, the first of
/// all, is part of the write path.
static CHAIN: [&dyn Plugin; 12] = [
    &limit_range::LimitRanges,
    &service_account::ServiceAccount,
    &pod_security::PodSecurity,
    &priority::Priority,
    &tolerations::DefaultTolerations,
    &runtime_class::RuntimeClass,
    &certificates::Certificates,
    &mutating::MutatingPolicy,
    &webhook::MutatingWebhook,
    &validating::ValidatingPolicy,
    &webhook::ValidatingWebhook,
    &quota::Quotas,
];

/// Those that see what is posted and never stored: reviews, and the bodies of subresources.
static HOOKS: [&dyn Plugin; 4] = [
    &mutating::MutatingPolicy,
    &webhook::MutatingWebhook,
    &validating::ValidatingPolicy,
    &webhook::ValidatingWebhook,
];

/// Lets policies and webhooks change or refuse a body that is not stored itself.
///
/// # Errors
/// The first refusal.
pub(crate) fn admit_body(attempt: &mut Attempt<'_>, body: &mut Object) -> Result<(), Status> {
    if attempt.hooks.are_none() {
        return Ok(());
    }
    mutate_by(&HOOKS, attempt, body, (None, Operation::Create))?;
    let mut all = HOOKS.iter();
    all.try_for_each(|plugin| plugin.validate(attempt, body, None, Operation::Create))
}

/// Lets every plug-in change or refuse a decoded object.
///
/// # Errors
/// The first refusal.
pub(crate) fn mutate(
    attempt: &mut Attempt<'_>,
    object: &mut Object,
    before: Option<&Object>,
    operation: Operation,
) -> Result<(), Status> {
    mutate_by(&CHAIN, attempt, object, (before, operation))
}

fn mutate_by(
    plugins: &[&dyn Plugin],
    attempt: &mut Attempt<'_>,
    object: &mut Object,
    (before, operation): (Option<&Object>, Operation),
) -> Result<(), Status> {
    let mut round = |attempt: &mut Attempt<'_>| {
        plugins.iter().try_for_each(|plugin| plugin.mutate(attempt, object, before, operation))
    };
    round(attempt)?;
    if attempt.reinvocation.wanted {
        attempt.reinvocation.again = true;
        round(attempt)?;
    }
    Ok(())
}

/// Lets every plug-in refuse a valid object.
///
/// # Errors
/// The first refusal.
pub(crate) fn validate(
    attempt: &mut Attempt<'_>,
    object: &Object,
    before: Option<&Object>,
    operation: Operation,
) -> Result<(), Status> {
    CHAIN.iter().try_for_each(|plugin| plugin.validate(attempt, object, before, operation))
}

/// 403 as kube-apiserver's plug-ins say it: `pods "x" is forbidden: WHY`. An object whose name is not generated
/// yet is called by its prefix.
pub(crate) fn forbidden(attempt: &Attempt<'_>, object: &Object, why: &str) -> Status {
    let of = |key| Some(metadata::text(object, key)).filter(|text| !text.is_empty());
    let name = Some(attempt.name()).filter(|name| !name.is_empty());
    let name = name.or_else(|| of("name")).or_else(|| of("generateName")).unwrap_or("Unknown");
    Status::forbidden(&attempt.resource.qualified(), name, why)
}

/// Whether policies and webhooks do not see the write: those to themselves, without which no mistake in them could be
/// mended, and those of the host itself, which must be able to start.
fn is_exempt(attempt: &Attempt<'_>) -> bool {
    *attempt.resource.gvr.group == *hooks::GROUP || attempt.request.actor.is_registry()
}

/// Whether all conditions hold; with errors among them it depends on the failure policy.
///
/// # Errors
/// With the text of what failed, when a failure refuses.
fn conditions_hold(
    conditions: &[Condition],
    failure: FailurePolicy,
    evaluation: &Evaluation<'_>,
) -> Result<bool, String> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let mut budget = Evaluation::conditions_budget();
    let mut run = evaluation.begin(&mut budget);
    let mut failures: Vec<String> = Vec::new();
    for condition in conditions {
        match run.truth(&condition.expression) {
            Ok(true) => {}
            Ok(false) => {
                tracing::trace!(condition = %condition.name, "condition does not hold");
                return Ok(false);
            }
            Err(why) => failures.push(why),
        }
    }
    match (failures.as_slice(), failure) {
        ([], _) => Ok(true),
        (_, FailurePolicy::Ignore) => Ok(false),
        ([one], FailurePolicy::Fail) => Err(one.clone()),
        (many, FailurePolicy::Fail) => Err(format!("[{}]", many.join(", "))),
    }
}

/// The namespace in which a policy's parameters are looked for when its binding names none.
fn params_namespace(subject: &Subject<'_>) -> Arc<str> {
    Arc::clone(&subject.namespace)
}

/// The Namespace of a write as expressions see it; null for objects outside of namespaces and for Namespaces.
fn namespace_object(attempt: &Attempt<'_>, subject: &Subject<'_>) -> Value {
    if subject.namespace.is_empty() || subject.is_namespace() {
        return Value::Null;
    }
    let found = attempt.view.get(&matching::namespace_key(&subject.namespace));
    let Some(object) = found.and_then(|object| parse(&object).ok()) else { return Value::Null };
    const SHOWN: [&str; 11] = [
        "name",
        "generateName",
        "namespace",
        "labels",
        "annotations",
        "uid",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "resourceVersion",
    ];
    let mut metadata = Map::new();
    for key in SHOWN.iter().chain(&["finalizers"]) {
        if let Some(value) = field::get(&object, &["metadata", key]) {
            metadata.insert((*key).to_owned(), value.clone());
        }
    }
    let part = |path: &[&str]| field::get(&object, path).cloned();
    let mut shown = json!({"metadata": metadata, "spec": {}, "status": {}});
    if let Some(finalizers) = part(&["spec", "finalizers"]) {
        shown["spec"]["finalizers"] = finalizers;
    }
    if let Some(phase) = part(&["status", "phase"]) {
        shown["status"]["phase"] = phase;
    }
    shown
}

/// Takes over what a policy or webhook made of the object as it was shown: typed, pruned, defaulted, in the stored
/// form.
///
/// # Errors
/// When it is no object of its kind any more.
fn accept(
    attempt: &Attempt<'_>,
    resource: &Resource,
    changed: Value,
    object: &mut Object,
) -> Result<(), String> {
    let Value::Object(mut changed) = changed else {
        return Err("the object was turned into something else".to_owned());
    };
    if attempt.subresource() == Some("scale") {
        let replicas = field::integer(&changed, &["spec", "replicas"]).unwrap_or(0);
        if let Some(paths) = &attempt.resource.scale {
            scale::set(object, paths, replicas);
        }
        return Ok(());
    }
    let resource = body_resource(attempt, resource);
    let text = |key: &str| changed.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("kind") != &*resource.kind.kind || text("apiVersion") != &*resource.api_version {
        return Err(format!(
            "the object was turned into a {}",
            Gvk::new("", text("apiVersion"), text("kind"))
        ));
    }
    shape::check_types(resource, &changed)?;
    shape::prune(resource, &mut changed);
    shape::check_count(resource, &changed)?;
    shape::defaults(resource, &mut changed, Nulls::Drop);
    if resource.converter().is_some() && resource.gvr != attempt.resource.gvr {
        let own = &attempt.resource.api_version;
        changed = attempt.convert(resource, &changed, own).map_err(|status| status.message)?;
    }
    convert::to_storage(resource, &mut changed);
    *object = changed;
    Ok(())
}

/// The resource as which the body of a write has its shape: that of the subresource's own kind, where it has one.
pub(crate) fn body_resource<'a>(attempt: &Attempt<'a>, resource: &'a Resource) -> &'a Resource {
    let sub = attempt.subresource().and_then(|name| resource.subresource(name));
    let own = sub.filter(|sub| sub.kind != resource.kind);
    own.and_then(|sub| attempt.catalog.by_kind(&sub.kind)).map_or(resource, AsRef::as_ref)
}

/// Whether the write is to a built-in resource, or to one of its subresources.
pub(crate) fn is_of(attempt: &Attempt<'_>, group: &str, resource: &str) -> bool {
    let gvr = &attempt.resource.gvr;
    *gvr.resource == *resource && *gvr.group == *group
}

/// Whether the write makes a Pod.
fn is_new_pod(attempt: &Attempt<'_>, operation: Operation) -> bool {
    operation == Operation::Create && attempt.subresource().is_none() && is_of(attempt, "", "pods")
}
