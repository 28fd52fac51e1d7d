//! DELETE of an object and of a collection.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use hyper::body::Incoming;
use quadrille_object::{FieldError, FieldErrorKind};
use quadrille_registry::{
    Action, DeleteOptions, Preconditions, Propagation, Reason, Status, Target, WriteOptions,
    WriteRequest, Written,
};
use quadrille_store::Object;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, list, options, write};
use crate::answer::{Answer, add_revision, add_warnings};
use crate::app::{App, ResourceRequest};
use crate::present;

/// How many objects of a collection are deleted at the same time.
const COLLECTION_CONCURRENCY: usize = 16;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawOptions {
    preconditions: Option<RawPreconditions>,
    propagation_policy: Option<String>,
    grace_period_seconds: Option<i64>,
    orphan_dependents: Option<bool>,
    dry_run: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPreconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// Answers a deletion.
pub(crate) async fn delete(
    app: &App,
    request: &ResourceRequest<'_>,
    incoming: &mut Incoming,
) -> Result<Answer, Status> {
    let (delete, write_options) = read_options(app, request, incoming).await?;
    let write = WriteRequest {
        target: write::target(request),
        action: Action::Delete(delete),
        options: write_options,
        actor: request.actor(),
    };
    let written = app.registry.submit(&write, request.cause()).await?;
    let mut answer = if written.removed && !returns_object(request) {
        let status = success(request, &written).to_string();
        present::encoded(request, StatusCode::OK, status.into())
    } else {
        present::one(app, request, StatusCode::OK, written.object)?
    };
    add_warnings(&mut answer, &written.warnings);
    add_revision(&mut answer, written.revision);
    Ok(answer)
}

/// Kinds whose deletion answers with the object, as kube-apiserver has it.
fn returns_object(request: &ResourceRequest<'_>) -> bool {
    let names: &[&str] = match request.path.group {
        "" => &[
            "namespaces",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "podtemplates",
            "resourcequotas",
            "serviceaccounts",
        ],
        "storage.k8s.io" => &[
            "csidrivers",
            "csinodes",
            "csistoragecapacities",
            "storageclasses",
            "volumeattachments",
            "volumeattributesclasses",
        ],
        "resource.k8s.io" => {
            &["deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"]
        }
        _ => &[],
    };
    !request.resource.custom && names.contains(&request.path.resource.as_ref())
}

fn success(request: &ResourceRequest<'_>, written: &Written) -> Value {
    let object: Value = serde_json::from_slice(&written.object).unwrap_or_default();
    let mut details = json!({
        "name": request.path.name, "kind": request.path.resource,
        "uid": object.pointer("/metadata/uid"),
    });
    if !request.path.group.is_empty() {
        details["group"] = request.path.group.into();
    }
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    })
}

/// Answers the deletion of a collection: the list of what was deleted.
pub(crate) async fn delete_collection(
    app: &App,
    request: &ResourceRequest<'_>,
    incoming: &mut Incoming,
) -> Result<Answer, Status> {
    let (delete, write_options) = read_options(app, request, incoming).await?;
    let selected = list::select(app, request).await?;
    let write = |object: &Arc<Object>| WriteRequest {
        target: target_of(request, object),
        action: Action::Delete(delete.clone()),
        options: write_options.clone(),
        actor: request.actor(),
    };
    let writes: Vec<WriteRequest> = selected.objects.iter().map(write).collect();
    let deletions = stream::iter(writes).map(|write| {
        let (registry, cause) = (app.registry.clone(), request.cause());
        async move { registry.submit(&write, cause).await }
    });
    let results: Vec<_> = deletions.buffered(COLLECTION_CONCURRENCY).collect().await;
    let mut newest = None;
    for result in results {
        // Somebody else may have deleted it in the meantime, which is what was wanted.
        match result {
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            Err(_) => {}
            Ok(written) => newest = newest.max(Some(written.revision)),
        }
    }
    let newest = newest.unwrap_or(selected.revision);
    let mut answer = list::answer(app, request, selected)?;
    add_revision(&mut answer, newest);
    Ok(answer)
}

fn target_of(request: &ResourceRequest<'_>, object: &Object) -> Target {
    Target {
        resource: Arc::clone(request.resource),
        namespace: Arc::clone(&object.key.namespace),
        name: Some(Arc::clone(&object.key.name)),
        subresource: None,
    }
}

async fn read_options(
    app: &App,
    request: &ResourceRequest<'_>,
    incoming: &mut Incoming,
) -> Result<(DeleteOptions, WriteOptions), Status> {
    let limit = app.config.limits.body_bytes_max;
    let bytes = body::read(app, request.parts, incoming, limit).await?;
    let raw = if bytes.is_empty() {
        RawOptions::default()
    } else {
        let encoding = body::encoding(request.parts)?;
        let body = body::object(&bytes, encoding, "DeleteOptions")?;
        serde_json::from_value(body.value).map_err(|error| {
            let message = format!("cannot read DeleteOptions: {error}");
            Status::new(Reason::BadRequest, message)
        })?
    };
    merge(request, raw)
}

/// The options that are given in the query alone.
pub(crate) fn options_of_query(
    request: &ResourceRequest<'_>,
) -> Result<(DeleteOptions, WriteOptions), Status> {
    merge(request, RawOptions::default())
}

fn merge(
    request: &ResourceRequest<'_>,
    raw: RawOptions,
) -> Result<(DeleteOptions, WriteOptions), Status> {
    let params = &request.params;
    let mut errors: Vec<FieldError> = Vec::new();
    let policy = raw.propagation_policy.as_deref().or(params.propagation_policy.as_deref());
    let orphan = raw.orphan_dependents.or(params.orphan_dependents);
    if let (Some(policy), Some(_)) = (policy, orphan) {
        let text = format!(
            "Invalid value: \"{policy}\": orphanDependents and deletionPropagation cannot be both set"
        );
        errors.push(FieldError::new(FieldErrorKind::Invalid, "propagationPolicy", text));
    }
    let propagation = match (policy, orphan) {
        (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
        (None | Some(""), None) | (Some(""), Some(_)) => None,
        (Some(other), _) => {
            errors.push(options::unknown_propagation(other));
            None
        }
    };
    let body_runs = raw.dry_run.unwrap_or_default();
    let runs =
        || body_runs.iter().map(String::as_str).chain(params.dry_run.iter().map(AsRef::as_ref));
    options::check_dry_run(runs(), &mut errors);
    options::refuse_delete(&errors)?;
    let preconditions = raw.preconditions.unwrap_or_default();
    let delete = DeleteOptions {
        preconditions: Preconditions {
            uid: preconditions.uid,
            resource_version: preconditions.resource_version,
        },
        propagation,
        grace_period_seconds: raw.grace_period_seconds.or(params.grace_period_seconds),
    };
    let dry_run = runs().next().is_some();
    Ok((delete, WriteOptions { dry_run, ..WriteOptions::default() }))
}
