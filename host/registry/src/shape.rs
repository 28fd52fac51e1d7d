//! What the object model's schemas, patches and field managers are asked for: the one place that calls them.

use std::borrow::Cow;

use quadrille_object::apply::{self, ApplyError};
use quadrille_object::managed::{self, FieldManager, Scope};
use quadrille_object::patch::{self, JsonPatch, PatchError};
use quadrille_object::schema::Nulls;
use quadrille_object::strategic::{self, StrategicError};
use quadrille_object::{GroupResource, Schema};
use serde_json::Value;

use crate::catalog::Resource;
use crate::convert;
use crate::field::{Errors, Object};
use crate::metadata;
use crate::request::PatchFormat;
use crate::status::{Reason, Status, StatusCause};
use crate::write::Attempt;

/// Checks JSON types, as decoding into a built-in type does.
pub(crate) fn check_types(resource: &Resource, object: &Object) -> Result<(), String> {
    if !resource.custom {
        return resource.schema.check_types(object);
    }
    object.get("metadata").map_or(Ok(()), Schema::check_metadata)
}

/// Drops unknown fields and answers their paths.
pub(crate) fn prune(resource: &Resource, object: &mut Object) -> Vec<String> {
    resource.schema.prune(object)
}

/// How many maps an object of a built-in kind may hold outside its metadata: each may be given some hundreds of bytes by
/// defaults. More than an object that can be stored has room for, where a map takes twelve bytes.
const MAPS_MAX: usize = 131_072;
/// The same for kinds that hold Pods' specifications: their defaults are some kilobytes for each map.
const MAPS_OF_PODS_MAX: usize = 32_768;

/// Refuses what defaults would make far larger than it came.
pub(crate) fn check_count(resource: &Resource, object: &Object) -> Result<(), String> {
    let of_body = object.iter().filter(|(key, _)| *key != "metadata").map(|(_, value)| value);
    let maps_max = if holds_pods(resource) { MAPS_OF_PODS_MAX } else { MAPS_MAX };
    if resource.custom || count_maps(of_body, maps_max).is_some() {
        return Ok(());
    }
    Err(format!("the object holds more than {maps_max} maps outside its metadata"))
}

fn holds_pods(resource: &Resource) -> bool {
    const OF_CORE: [&str; 3] = ["pods", "podtemplates", "replicationcontrollers"];
    match &*resource.gvr.group {
        "" => OF_CORE.contains(&&*resource.gvr.resource),
        group => matches!(group, "apps" | "batch"),
    }
}

/// What some values' maps leave of a number; `None` where they are more.
fn count_maps<'a>(mut values: impl Iterator<Item = &'a Value>, left: usize) -> Option<usize> {
    values.try_fold(left, |left, value| match value {
        Value::Object(map) => count_maps(map.values(), left.checked_sub(1)?),
        Value::Array(items) => count_maps(items.iter(), left),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(left),
    })
}

/// Fills in defaults.
pub(crate) fn defaults(resource: &Resource, object: &mut Object, nulls: Nulls) {
    metadata::settle_nulls(object);
    if resource.custom {
        resource.schema.fill_defaults(object, nulls);
    } else if !has_empty_form(resource) {
        drop_empty(object);
        resource.schema.canonicalize(object);
        resource.rules.default(object);
    } else {
        resource.schema.drop_empty(object);
        resource.schema.canonicalize(object);
        resource.rules.default(object);
        resource.schema.fill_empty(object);
    }
}

/// Writes what is always there in an object of a built-in kind; for what was written after its defaults.
pub(crate) fn fill_empty(resource: &Resource, object: &mut Object) {
    if has_empty_form(resource) {
        resource.schema.fill_empty(object);
    }
}

/// Whether what is empty has the form of Kubernetes' own types. Definitions hold schemas, whose nulls and empty lists mean
/// something; reviews are questions, of which only what was asked is noted.
fn has_empty_form(resource: &Resource) -> bool {
    const OTHERS: [&str; 3] =
        ["apiextensions.k8s.io", "authentication.k8s.io", "authorization.k8s.io"];
    !resource.custom && !OTHERS.contains(&&*resource.gvr.group)
}

/// Maps of texts or quantities, which are not written when they are empty.
const MAPS: [&str; 11] = [
    "annotations",
    "binaryData",
    "data",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "overhead",
    "parameters",
    "requests",
    "stringData",
];

/// Drops what a built-in type does not write: nulls, empty lists and empty maps.
fn drop_empty(object: &mut Object) {
    object.retain(|key, value| match value {
        Value::Null => false,
        Value::Array(items) => {
            items.iter_mut().filter_map(Value::as_object_mut).for_each(drop_empty);
            // An empty list of field managers is a wish: forget them.
            !items.is_empty() || key == "managedFields"
        }
        Value::Object(map) => {
            if MAPS.contains(&key.as_str()) {
                map.values_mut().filter(|v| v.is_null()).for_each(|v| *v = Value::from(""));
            } else if !RAW.contains(&key.as_str()) {
                drop_empty(map);
            }
            !(map.is_empty() && MAPS.contains(&key.as_str()))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    });
}

/// Free-form fields, whose nulls mean something to somebody.
const RAW: [&str; 4] = ["openAPIV3Schema", "fieldsV1", "raw", "object"];

/// Applies a patch to an object in the version of the request; answers what strict decoding objects to in the patch
/// itself.
pub(crate) fn patch(
    resource: &Resource,
    format: PatchFormat,
    object: &mut Value,
    body: &Value,
) -> Result<Vec<String>, Status> {
    match format {
        PatchFormat::Merge => patch::merge(object, body),
        PatchFormat::Json => return patch_json(object, body),
        PatchFormat::Strategic => strategic(resource, object, body)?,
    }
    Ok(Vec::new())
}

fn patch_json(object: &mut Value, body: &Value) -> Result<Vec<String>, Status> {
    let patch = JsonPatch::from_value(body.clone()).map_err(|error| patch_status(&error))?;
    patch.apply(object).map_err(|error| patch_status(&error))?;
    Ok(patch.warnings)
}

/// Applies a patch to a Scale, which is a kind of its own.
pub(crate) fn patch_scale(
    format: PatchFormat,
    scale: &mut Value,
    body: &Value,
) -> Result<(), Status> {
    if format != PatchFormat::Json {
        patch::merge(scale, body);
        return Ok(());
    }
    let patch = JsonPatch::from_value(body.clone());
    patch.and_then(|patch| patch.apply(scale)).map_err(|error| patch_status(&error))
}

fn strategic(resource: &Resource, object: &mut Value, body: &Value) -> Result<(), Status> {
    let Value::Object(patch) = body else {
        let found = quadrille_object::decode::go_kind(body);
        let text = format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        );
        return Err(Status::new(Reason::BadRequest, text));
    };
    let Value::Object(before) = object.take() else { return Ok(()) };
    match strategic::patch(&resource.schema, before, patch) {
        Ok(patched) => {
            *object = Value::Object(patched);
            Ok(())
        }
        Err(StrategicError::Malformed(text)) => Err(Status::new(Reason::BadRequest, text)),
        Err(StrategicError::Unprocessable(text)) => {
            let mut errors = Errors::default();
            errors.invalid("patch", &body.to_string().into(), &text);
            Err(Status::invalid("", "", "", &errors.0))
        }
        Err(StrategicError::Senseless(text)) => Err(Status::new(Reason::Unknown, text)),
    }
}

fn patch_status(error: &PatchError) -> Status {
    let reason = match error {
        PatchError::Decode(_) => Reason::BadRequest,
        PatchError::TooManyOperations { .. } | PatchError::TooMuchWork => {
            Reason::RequestEntityTooLarge
        }
        PatchError::DoesNotApply { reason } => {
            tracing::debug!(reason, "patch does not apply");
            return Status::new(Reason::Invalid, error.to_string()).with_empty_details();
        }
    };
    Status::new(reason, error.to_string())
}

/// The object that results from applying a configuration, in the version of the request.
///
/// # Errors
/// Conflicts with other managers, and configurations that do not fit the schema.
pub(crate) fn apply(
    attempt: &Attempt<'_>,
    before: Option<&Object>,
    wanted: &Object,
) -> Result<Object, Status> {
    let live = before.map(|before| as_requested(attempt.resource, before));
    let versions = served_versions(attempt);
    let by = manager(attempt, attempt.resource, &versions);
    let force = attempt.request.options.force;
    apply::apply(&attempt.resource.schema, live.as_deref(), wanted, &by, force)
        .map_err(apply_status)
}

/// A stored object in the version of the request.
fn as_requested<'a>(resource: &Resource, stored: &'a Object) -> Cow<'a, Object> {
    if resource.is_storage_form() {
        return Cow::Borrowed(stored);
    }
    let mut object = stored.clone();
    convert::from_storage(resource, &mut object);
    Cow::Owned(object)
}

fn apply_status(error: ApplyError) -> Status {
    let text = error.to_string();
    match error {
        ApplyError::Conflicts { told, .. } => {
            let mut status = Status::new(Reason::Conflict, text).with_empty_details();
            let causes = told.into_iter().map(|conflict| StatusCause {
                reason: "FieldManagerConflict".to_owned(),
                message: conflict.message(),
                field: conflict.field,
            });
            if let Some(details) = &mut status.details {
                details.causes = causes.collect();
            }
            status
        }
        ApplyError::Misfit { .. } => Status::new(Reason::Unknown, text),
        ApplyError::ManagedFieldsGiven => Status::new(Reason::BadRequest, text),
    }
}

/// Notes who set which fields of a decoded object in the stored form.
pub(crate) fn manage(attempt: &Attempt<'_>, object: &mut Object, before: Option<&Object>) {
    let resource = attempt.working_resource();
    if attempt.lost_in_storage.get() && before.is_some_and(|b| is_managed_as_stored(resource, b)) {
        // Its fields cannot be told in the version that other managers speak: kube-apiserver forgets them all.
        metadata::of_mut(object).remove("managedFields");
        return;
    }
    let versions = served_versions(attempt);
    let by = manager(attempt, attempt.resource, &versions);
    managed::update(&resource.schema, before, object, &by);
}

fn is_managed_as_stored(resource: &Resource, before: &Object) -> bool {
    let entries = crate::field::list(before, &["metadata", "managedFields"]);
    let version = &resource.storage_api_version;
    entries.iter().any(|e| e.get("apiVersion").and_then(Value::as_str) == Some(version))
}

/// Every apiVersion in which the object is served.
fn served_versions<'a>(attempt: &'a Attempt<'_>) -> Vec<&'a str> {
    let resource = attempt.resource;
    let mut versions: Vec<&str> =
        attempt.catalog.versions(&resource.gvr).map(|r| &*r.api_version).collect();
    // Events are served by two groups; what one of them wrote the other knows.
    for version in [&*resource.api_version, &*resource.storage_api_version] {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    if resource.stored_as == GroupResource::new("", "events") {
        versions.push("events.k8s.io/v1");
    }
    versions
}

fn manager<'a>(
    attempt: &'a Attempt<'_>,
    resource: &'a Resource,
    versions: &'a [&'a str],
) -> FieldManager<'a> {
    let subresource = attempt.subresource().unwrap_or_default();
    let has_status = resource.subresource("status").is_some();
    let scope = match subresource {
        "" if has_status => Scope::Except(&["status"]),
        "status" if resource.custom => Scope::Only(&["status"]),
        "status" if resource.rules.status_keeps_labels() => {
            Scope::Except(&["spec", "metadata.labels"])
        }
        "status" => Scope::Except(&["spec"]),
        "finalize" => Scope::Except(&["status"]),
        _ => Scope::All,
    };
    FieldManager {
        name: attempt.manager(),
        api_version: &resource.api_version,
        api_versions: versions,
        subresource,
        scope,
        time: attempt.now,
    }
}
