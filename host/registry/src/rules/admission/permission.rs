//! Who may write policies that look at other objects: messages of a policy tell what its parameters say, so its
//! writer must be allowed to read them.

use quadrille_object::{FieldError, FieldErrorKind, GroupResource, GroupVersion, Gvk};
use quadrille_store::Key;
use serde_json::Value;

use crate::access::{Attributes, MASTERS, ResourceAttributes};
use crate::field::{self, Object};
use crate::metadata;
use crate::status::Status;
use crate::write::{Attempt, parse};

/// Whether the writer may read all objects of the kind of parameters that a policy names.
///
/// # Errors
/// 422 that says what is missing.
pub(super) fn check_kind(
    attempt: &Attempt<'_>,
    policy: &Object,
    before: Option<&Object>,
) -> Result<(), Status> {
    let path = ["spec", "paramKind"];
    let Some(kind) = field::get(policy, &path) else { return Ok(()) };
    if is_free(attempt) || before.is_some_and(|before| field::get(before, &path) == Some(kind)) {
        return Ok(());
    }
    let (group, version, resource) = resource_of(attempt, kind);
    let of = ResourceAttributes {
        group: &group,
        version: &version,
        resource: &resource,
        subresource: "",
        namespace: "*",
        name: "*",
    };
    let text = |key: &str| kind.get(key).and_then(Value::as_str).unwrap_or_default();
    check(
        attempt,
        policy,
        ("get", of),
        ("spec.paramKind", || {
            format!(
                "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, \
             apiVersion={})",
                attempt.request.actor.user,
                text("kind"),
                text("apiVersion")
            )
        }),
    )
}

/// Whether the writer may read the parameters that a binding hands to its policy.
///
/// # Errors
/// 422 that says what is missing.
pub(super) fn check_reference(
    attempt: &Attempt<'_>,
    policies: &str,
    binding: &Object,
    before: Option<&Object>,
) -> Result<(), Status> {
    let path = ["spec", "paramRef"];
    let Some(reference) = field::get(binding, &path) else { return Ok(()) };
    let same = |before: &Object| {
        let policy = ["spec", "policyName"];
        field::get(before, &path) == Some(reference)
            && field::get(before, &policy) == field::get(binding, &policy)
    };
    if is_free(attempt) || before.is_some_and(same) {
        return Ok(());
    }
    let name = field::text(binding, &["spec", "policyName"]).unwrap_or_default();
    let key = Key::new(GroupResource::new(crate::admission::hooks::GROUP, policies), "", name);
    let policy = attempt.view.get(&key).and_then(|policy| parse(&policy).ok());
    let kind = policy.as_ref().and_then(|policy| field::get(policy, &["spec", "paramKind"]));
    let (group, version, resource) = resource_of(attempt, kind.unwrap_or(&Value::Null));
    let text = |key: &str| reference.get(key).and_then(Value::as_str).unwrap_or_default();
    let verb = if text("name").is_empty() { "list" } else { "get" };
    let of = ResourceAttributes {
        group: &group,
        version: &version,
        resource: &resource,
        subresource: "",
        namespace: text("namespace"),
        name: text("name"),
    };
    check(
        attempt,
        binding,
        (verb, of),
        ("spec.paramRef", || {
            format!(
                "user {} does not have \"{verb}\" permission on the object referenced by paramRef",
                attempt.request.actor.user
            )
        }),
    )
}

/// Whether nobody asks: the host itself, and who may do everything.
fn is_free(attempt: &Attempt<'_>) -> bool {
    let actor = &attempt.request.actor;
    actor.is_host() || actor.asker().is_in(MASTERS)
}

/// Group, version and resource of a kind; all of them where it is not known.
fn resource_of(attempt: &Attempt<'_>, kind: &Value) -> (String, String, String) {
    let text = |key: &str| kind.get(key).and_then(Value::as_str).unwrap_or_default();
    let any = || "*".to_owned();
    if text("apiVersion").is_empty() {
        return (any(), any(), any());
    }
    let Some(of) = GroupVersion::parse(text("apiVersion")) else { return (any(), any(), any()) };
    let (group, version) = (of.group.as_ref().to_owned(), of.version.as_ref().to_owned());
    let known = attempt.catalog.by_kind(&Gvk::new(of.group, of.version, text("kind")));
    (group, version, known.map_or_else(any, |resource| resource.gvr.resource.as_ref().to_owned()))
}

fn check(
    attempt: &Attempt<'_>,
    object: &Object,
    (verb, of): (&str, ResourceAttributes<'_>),
    (path, why): (&str, impl FnOnce() -> String),
) -> Result<(), Status> {
    if attempt.access.allows(attempt.request.actor.asker(), &Attributes::of(verb, of)) {
        return Ok(());
    }
    let message = format!("Forbidden: {}", why());
    let error = FieldError::new(FieldErrorKind::Forbidden, path, message);
    Err(attempt.invalid(metadata::text(object, "name"), &[error]))
}
