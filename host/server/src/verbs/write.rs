//! POST, PUT and PATCH: decode, and hand over to the registry.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use quadrille_object::decode::{self, DecodeError};
use quadrille_object::patch::{self, PatchError};
use quadrille_registry::{Action, PatchFormat, Reason, Resource, Status, Target, WriteRequest};

use super::body;
use super::options::{self, WriteKind};
use crate::answer::{Answer, add_revision, add_warnings};
use crate::app::{App, ResourceRequest};
use crate::audit;
use crate::extension::Insight;
use crate::negotiate::Media;
use crate::present;

/// Answers a create, update or patch.
pub(crate) async fn write(
    app: &App,
    request: &ResourceRequest<'_>,
    incoming: &mut Incoming,
) -> Result<Answer, Status> {
    let kind = match request.verb {
        "create" => WriteKind::Create,
        "update" => WriteKind::Update,
        _ => patch_kind(request)?,
    };
    let limit = app.config.limits.body_bytes_max;
    let bytes = body::read(app, request.parts, incoming, limit).await?;
    let options = options::write(&request.params, kind)?;
    let action = action(request, kind, &bytes)?;
    let write = WriteRequest { target: target(request), action, options, actor: request.actor() };
    let written = app.registry.submit(&write, request.cause()).await?;
    if let Some(noted) = audit::of(request.parts) {
        noted.annotate(&written.audit);
    }
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut answer = present::one(app, request, code, written.object)?;
    add_warnings(&mut answer, &written.warnings);
    add_revision(&mut answer, written.revision);
    if written.created && present::shows_warnings(request.parts) && is_unread(app, request.resource)
    {
        let (kind, resource) = (&request.resource.kind.kind, request.resource.group_resource());
        let warning = format!("no controller reads {kind} ({resource}): nothing follows from it");
        add_warnings(&mut answer, &[warning]);
    }
    Ok(answer)
}

/// Whether objects of a custom resource are written for nobody: no controller reads them, and no client watches them.
fn is_unread(app: &App, resource: &Resource) -> bool {
    let unread = |insight: &dyn Insight| !insight.is_read(&resource.group_resource());
    resource.custom
        && app.insight.as_deref().is_some_and(unread)
        && !app.metrics.is_watched(resource)
}

/// Where a write goes.
pub(crate) fn target(request: &ResourceRequest<'_>) -> Target {
    Target {
        resource: std::sync::Arc::clone(request.resource),
        namespace: request.path.namespace.as_ref().into(),
        name: request.path.name.as_deref().map(Into::into),
        subresource: request.path.subresource.as_deref().map(Into::into),
    }
}

fn action(request: &ResourceRequest<'_>, kind: WriteKind, bytes: &[u8]) -> Result<Action, Status> {
    let of_kind = || match &request.path.subresource {
        Some(name) => request.resource.subresource(name).map(|sub| &sub.kind.kind),
        None => Some(&request.resource.kind.kind),
    };
    let object = || {
        let encoding = body::encoding(request.parts)?;
        body::object(bytes, encoding, of_kind().map_or("", AsRef::as_ref))
    };
    match kind {
        WriteKind::Create => Ok(Action::Create(object()?)),
        WriteKind::Update => Ok(Action::Update(object()?)),
        WriteKind::Apply => body::decoded(decode::yaml(bytes)).map(Action::Apply),
        WriteKind::Patch => {
            let format = patch_format(request).ok_or_else(patch_type_unsupported)?;
            let patch = match format {
                PatchFormat::Json => {
                    decode::json(bytes).map_err(|error| PatchError::Decode(error.0))
                }
                PatchFormat::Merge | PatchFormat::Strategic => patch::decode_merge(bytes),
            };
            body::decoded(patch.map_err(|error| DecodeError(error.to_string())))
                .map(|patch| Action::Patch(format, patch))
        }
    }
}

fn patch_kind(request: &ResourceRequest<'_>) -> Result<WriteKind, Status> {
    if content_type(request) == "application/apply-patch+yaml" {
        return Ok(WriteKind::Apply);
    }
    patch_format(request).map(|_| WriteKind::Patch).ok_or_else(patch_type_unsupported)
}

fn patch_format(request: &ResourceRequest<'_>) -> Option<PatchFormat> {
    match content_type(request) {
        "application/json-patch+json" => Some(PatchFormat::Json),
        "application/merge-patch+json" => Some(PatchFormat::Merge),
        "application/strategic-merge-patch+json" => Some(PatchFormat::Strategic),
        _ => None,
    }
}

fn content_type<'a>(request: &'a ResourceRequest<'_>) -> &'a str {
    let value = request.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Media::parse(value.unwrap_or_default()).essence
}

fn patch_type_unsupported() -> Status {
    let message = "415: Unsupported Media Type";
    Status { details: Some(Box::default()), ..Status::new(Reason::UnsupportedMediaType, message) }
}
