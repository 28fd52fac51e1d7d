//! GET of one object: the stored bytes as they are.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use quadrille_registry::status::StatusDetails;
use quadrille_registry::{Reason, Resource, Status, StatusCause};
use quadrille_store::{Key, Object, Revision, View as _};

use crate::answer::{Answer, failure_without_reason};
use crate::app::{App, ResourceRequest};
use crate::present;

/// The bytes of one object.
pub(crate) fn object(
    app: &App,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Result<Bytes, Status> {
    let key = Key::new(resource.group_resource(), namespace, name);
    match app.registry.store().snapshot().get(&key) {
        Some(object) => Ok(app.registry.present(&object, resource)),
        None => Err(Status::not_found(&resource.qualified(), name)),
    }
}

/// One object as it is served, which a webhook may have to make of what is stored.
async fn converted(
    app: &App,
    request: &ResourceRequest<'_>,
    name: &str,
) -> Result<Arc<Object>, Status> {
    let resource = request.resource;
    let key = Key::new(resource.group_resource(), &*request.path.namespace, name);
    let found = app.registry.store().snapshot().get(&key);
    let not_found = || Status::not_found(&resource.qualified(), name);
    let found = found.ok_or_else(not_found)?;
    app.registry.convert(vec![found], resource).await?.pop().ok_or_else(not_found)
}

/// GET of an object or of one of its subresources.
pub(crate) async fn get(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    if let Some(text) = request.params.resource_version.as_deref() {
        match parse_version(text) {
            Ok(revision) => check_not_future(app, revision)?,
            Err(message) => {
                let code = StatusCode::INTERNAL_SERVER_ERROR;
                return Ok(failure_without_reason(code, &message));
            }
        }
    }
    let name = request.path.name.as_deref().unwrap_or_default();
    let bytes = if request.path.subresource.as_deref() == Some("scale") {
        let found = converted(app, request, name).await?;
        app.registry.present_scale(&found, request.resource)?
    } else if app.registry.converts(request.resource) {
        converted(app, request, name).await?.bytes.clone()
    } else {
        object(app, request.resource, &request.path.namespace, name)?
    };
    present::one(app, request, StatusCode::OK, bytes)
}

/// A resourceVersion as a revision; the error is kube-apiserver's text.
pub(crate) fn parse_version(text: &str) -> Result<Revision, String> {
    text.parse().map(Revision).map_err(|_| {
        format!(
            "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": \
             invalid syntax"
        )
    })
}

/// 504 for a revision that has not happened.
pub(crate) fn check_not_future(app: &App, revision: Revision) -> Result<(), Status> {
    let current = app.registry.store().revision();
    if revision <= current {
        return Ok(());
    }
    let cause = StatusCause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    };
    let details = StatusDetails {
        causes: vec![cause],
        retry_after_seconds: Some(1),
        ..StatusDetails::default()
    };
    let message = format!("Timeout: Too large resource version: {revision}, current: {current}");
    Err(Status { details: Some(Box::new(details)), ..Status::new(Reason::Timeout, message) })
}
