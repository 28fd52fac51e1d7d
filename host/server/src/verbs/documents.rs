//! What is served about the API itself: discovery and `OpenAPI`.

use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HOST, HeaderValue, IF_NONE_MATCH, LOCATION, VARY,
};
use http::request::Parts;
use http::{Method, StatusCode};
use quadrille_object::GroupVersion;
use quadrille_registry::{Reason, Status};
use serde_json::Value;

use crate::answer::{Answer, Body, JSON, answer};
use crate::app::App;
use crate::discovery::{self, Aggregated, Root};
use crate::negotiate::{Encoding, Media, negotiate_document};
use crate::openapi::{Document, Version2};
use crate::place::method_not_allowed;
use crate::present;

/// Answers a path without its trailing slash; `None` when it is no document's.
pub(crate) fn document(app: &App, parts: &Parts, path: &str) -> Result<Option<Answer>, Status> {
    let catalog = app.registry.catalog();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let found = match segments.as_slice() {
        ["api"] => Some(groups(app, parts, Root::Core)?),
        ["apis"] => Some(groups(app, parts, Root::Groups)?),
        ["apis", group] => {
            discovery::group(&catalog, group).map(|value| plain(parts, &value)).transpose()?
        }
        ["api", version] => list(parts, discovery::resource_list(&catalog, "", version))?,
        ["apis", group, version] => {
            list(parts, discovery::resource_list(&catalog, group, version))?
        }
        ["openapi", "v2"] => {
            return openapi_v2(app, parts).map(Some);
        }
        ["openapi", "v3"] => {
            let mut index = hashed(parts, &app.documents.index(&catalog));
            index.headers_mut().insert(CONTENT_TYPE, crate::answer::TEXT);
            Some(index)
        }
        ["openapi", "v3", "api", version] => group_document(app, parts, "", version),
        ["openapi", "v3", "apis", group, version] => group_document(app, parts, group, version),
        _ => None,
    };
    Ok(found)
}

/// A document in the encoding that was asked for.
fn plain(parts: &Parts, value: &Value) -> Result<Answer, Status> {
    let (encoding, _) = negotiate_document(accept(parts), |_| None::<()>)?;
    Ok(present::written(encoding, StatusCode::OK, value.to_string().into()))
}

fn accept(parts: &Parts) -> Option<&[u8]> {
    parts.headers.get(ACCEPT).map(HeaderValue::as_bytes)
}

/// A list of resources can only be read.
fn list(parts: &Parts, value: Option<Value>) -> Result<Option<Answer>, Status> {
    match value {
        Some(_) if parts.method != Method::GET && parts.method != Method::HEAD => {
            Err(method_not_allowed())
        }
        value => value.map(|value| plain(parts, &value)).transpose(),
    }
}

/// The aggregated form that an entry of `Accept` asks for.
fn aggregated_form(media: &Media<'_>) -> Option<Aggregated> {
    let form = media.form;
    if form.kind != Some("APIGroupDiscoveryList") || form.group != Some("apidiscovery.k8s.io") {
        return None;
    }
    match form.version {
        Some("v2") => Some(Aggregated::V2),
        Some("v2beta1") => Some(Aggregated::V2Beta1),
        _ => None,
    }
}

fn groups(app: &App, parts: &Parts, root: Root) -> Result<Answer, Status> {
    let catalog = app.registry.catalog();
    let (encoding, form) = negotiate_document(accept(parts), aggregated_form)?;
    let mut answer = match (form, root) {
        (Some(form), _) => {
            let document = app.documents.aggregated(&catalog, root, form);
            let mut answer = hashed(parts, &document);
            if answer.status() == StatusCode::OK && encoding != Encoding::Json {
                let tag = answer.headers_mut().remove(ETAG);
                answer = present::written(encoding, StatusCode::OK, document.bytes.clone());
                tag.and_then(|tag| answer.headers_mut().insert(ETAG, tag));
            }
            let content_type = HeaderValue::from_str(&form.content_type(encoding.media_type()));
            if let Ok(content_type) = content_type {
                answer.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            answer
        }
        (None, Root::Core) => {
            let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
            let authority = parts.uri.authority().map(http::uri::Authority::as_str);
            let value = discovery::api_versions(host.or(authority).unwrap_or_default());
            present::written(encoding, StatusCode::OK, value.to_string().into())
        }
        (None, Root::Groups) => {
            let value = discovery::group_list(&catalog);
            present::written(encoding, StatusCode::OK, value.to_string().into())
        }
    };
    answer.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(answer)
}

/// Documents are named by their hash: a client may keep for ever what it was given under one.
fn group_document(app: &App, parts: &Parts, group: &str, version: &str) -> Option<Answer> {
    let catalog = app.registry.catalog();
    let group_version = GroupVersion::new(group, version);
    let hash = app.documents.group_hash(&catalog, &group_version)?;
    let asked = parts
        .uri
        .query()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("hash=")));
    if let Some(asked) = asked.filter(|asked| !asked.is_empty() && **asked != *hash) {
        tracing::debug!(asked, "the document has another hash by now");
        let to = format!("{}?hash={hash}", parts.uri.path());
        let mut moved =
            answer(StatusCode::MOVED_PERMANENTLY, JSON, Body::Whole(bytes::Bytes::new()));
        moved.headers_mut().insert(LOCATION, HeaderValue::from_str(&to).ok()?);
        return Some(moved);
    }
    if is_held(parts, &hash) {
        return Some(not_modified(&hash));
    }
    let snapshot = app.registry.store().snapshot();
    let document = app.documents.group(&catalog, &snapshot, &group_version)?;
    let mut found = hashed(parts, &document);
    if asked.is_some() {
        let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
        found.headers_mut().insert(CACHE_CONTROL, forever);
    }
    found.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Some(found)
}

const PROTOBUF_ASKED: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

fn openapi_v2(app: &App, parts: &Parts) -> Result<Answer, Status> {
    let accept = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("*/*");
    let form = accept.split(',').find_map(|entry| {
        match entry.split(';').next().unwrap_or_default().trim() {
            "application/json" | "application/*" | "*/*" => Some(Version2::Json),
            other => PROTOBUF_ASKED.contains(&other).then_some(Version2::Protobuf),
        }
    });
    let Some(form) = form else {
        let message = "/openapi/v2 is served as application/json and \
                       application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        return Err(Status::new(Reason::NotAcceptable, message));
    };
    let snapshot = app.registry.store().snapshot();
    let document = app.documents.version2(&app.registry.catalog(), &snapshot, form);
    let mut found = hashed(parts, &document);
    if form == Version2::Protobuf {
        let [_, plain] = PROTOBUF_ASKED;
        found.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(plain));
    }
    found.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(found)
}

/// A document with its entity tag; 304 when the client has it.
fn hashed(parts: &Parts, document: &Document) -> Answer {
    if is_held(parts, &document.hash) {
        return not_modified(&document.hash);
    }
    tagged(answer(StatusCode::OK, JSON, Body::Whole(document.bytes.clone())), &document.hash)
}

/// Whether the client has what the hash stands for: it may name several, also weakly.
fn is_held(parts: &Parts, hash: &str) -> bool {
    let held = parts.headers.get_all(IF_NONE_MATCH).iter().filter_map(|held| held.to_str().ok());
    held.flat_map(|held| held.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == hash
    })
}

fn not_modified(hash: &str) -> Answer {
    tagged(answer(StatusCode::NOT_MODIFIED, JSON, Body::Whole(bytes::Bytes::new())), hash)
}

fn tagged(mut found: Answer, hash: &str) -> Answer {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        found.headers_mut().insert(ETAG, tag);
    }
    found
}
