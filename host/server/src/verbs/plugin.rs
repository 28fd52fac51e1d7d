//! The code and the logs of plugins: subresources of `plugins.quadrille.dev` whose bodies are not JSON.

use std::sync::Arc;

use futures_util::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::Incoming;
use quadrille_object::GroupResource;
use quadrille_registry::access::{self, Attributes, ResourceAttributes};
use quadrille_registry::{Reason, Resource, Status, User};
use quadrille_store::{Key, View as _};

use super::body;
use crate::answer::{Answer, Body, TEXT, answer as answer_with, json_value};
use crate::app::{App, actor};
use crate::extension::{LogOptions, PluginUploads, Upload};
use crate::negotiate::Media;
use crate::params::parameter;
use crate::path::ResourcePath;
use crate::place::method_not_allowed;

const GROUP: &str = "quadrille.dev";
const RESOURCE: &str = "plugins";
const WASM: HeaderValue = HeaderValue::from_static("application/wasm");

/// Whether a path is one of these subresources, at the place where plugins are served.
pub(crate) fn is_asked(path: &ResourcePath<'_>, resource: &Resource) -> bool {
    let gvr = &resource.gvr;
    (&*gvr.group, &*gvr.resource) == (GROUP, RESOURCE)
        && path.is_place_of(resource.namespaced)
        && matches!(path.subresource.as_deref(), Some("component" | "log"))
}

/// Answers a request to one of them.
pub(crate) async fn answer(
    app: &App,
    parts: &Parts,
    incoming: &mut Incoming,
    path: &ResourcePath<'_>,
    user: &User,
    peer: &Arc<str>,
) -> Result<Answer, Status> {
    let name = path.name.as_deref().unwrap_or_default();
    let Some(uploads) = app.uploads.as_deref() else {
        let message = "this host runs no plugins";
        return Err(Status::new(Reason::ServiceUnavailable, message));
    };
    let query = parts.uri.query();
    match (path.subresource.as_deref(), &parts.method) {
        (Some("component"), &Method::PUT | &Method::POST) => {
            upload(app, uploads, parts, incoming, name, user, peer).await
        }
        (Some("component"), &Method::GET) => {
            let digest = parameter(query, "digest");
            let bytes = uploads.download(name, digest.as_deref()).await?;
            Ok(answer_with(StatusCode::OK, WASM, Body::Whole(bytes)))
        }
        (Some("log"), &Method::GET) => log(app, uploads, query, name).await,
        _ => Err(method_not_allowed()),
    }
}

#[expect(clippy::too_many_arguments, reason = "one caller, and every part of a request is needed")]
async fn upload(
    app: &App,
    uploads: &dyn PluginUploads,
    parts: &Parts,
    incoming: &mut Incoming,
    name: &str,
    user: &User,
    peer: &Arc<str>,
) -> Result<Answer, Status> {
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.map(|text| Media::parse(text).essence);
    if !matches!(essence, Some("application/wasm" | "application/octet-stream")) {
        let message = "a component is uploaded as application/wasm";
        return Err(Status::new(Reason::UnsupportedMediaType, message));
    }
    let limit = app.config.limits.component_bytes_max;
    let component = body::read(app, parts, incoming, limit).await?;
    if component.is_empty() {
        let resource = GroupResource::new(GROUP, RESOURCE);
        let message = format!("the component of {resource} \"{name}\" is empty");
        return Err(Status::new(Reason::BadRequest, message));
    }
    may_create(app, name, user)?;
    let query = parts.uri.query();
    let is = |key: &str, wanted: &str| parameter(query, key).is_some_and(|value| value == wanted);
    let upload = Upload {
        plugin: name.to_owned(),
        component,
        grant_all: is("grant", "all"),
        keep_only: is("activate", "false"),
        dry_run: is("dryRun", "All"),
        actor: actor(parts, user, peer),
    };
    Ok(json_value(StatusCode::OK, &uploads.upload(upload).await?))
}

/// Code for a plugin that is not there creates it, which needs the right to.
fn may_create(app: &App, name: &str, user: &User) -> Result<(), Status> {
    let key = Key::new(GroupResource::new(GROUP, RESOURCE), "", name);
    if app.registry.store().snapshot().get(&key).is_some() {
        return Ok(());
    }
    let of = ResourceAttributes {
        group: GROUP,
        version: "v1",
        resource: RESOURCE,
        name,
        ..ResourceAttributes::default()
    };
    let asked = Attributes::of("create", of);
    let decision = app.authorizer.decide(user, &asked);
    if decision.allowed {
        return Ok(());
    }
    Err(access::forbidden(&user.name, &asked, &decision.reason))
}

async fn log(
    app: &App,
    uploads: &dyn PluginUploads,
    query: Option<&str>,
    name: &str,
) -> Result<Answer, Status> {
    let tail = parameter(query, "tail").or_else(|| parameter(query, "tailLines"));
    let tail = tail
        .map(|text| text.parse::<usize>())
        .transpose()
        .map_err(|_| Status::new(Reason::BadRequest, "tail is not a number of lines".to_owned()))?;
    let follow = parameter(query, "follow").is_some_and(|value| value != "false" && value != "0");
    let lines = uploads.log(name, LogOptions { tail, follow }).await?;
    let shutdown = app.shutdown.clone();
    let lines = lines.take_until(Box::pin(async move { shutdown.started().await }));
    Ok(answer_with(StatusCode::OK, TEXT, Body::pieces(lines)))
}
