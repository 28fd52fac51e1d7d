//! `serviceaccounts/token`: a token for an account, for as long and as bound as the request says.

use http::StatusCode;
use hyper::body::Incoming;
use quadrille_object::{FieldError, FieldErrorKind, GroupResource, GroupVersion, Gvk};
use quadrille_registry::{Action, Reason, Received, Status, Target, WriteRequest};
use quadrille_store::{Key, Object as Stored, Snapshot, View as _};
use serde_json::{Map, Value, json};

use super::options::{self, WriteKind};
use super::{body, write};
use crate::accounts::{Bound, Issue};
use crate::answer::{Answer, add_warnings};
use crate::app::{App, ResourceRequest};
use crate::present;

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
/// The shortest and the longest life of a token, in seconds; Kubernetes' own.
const LIFE_SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;

/// Whether a request is one for a token.
pub(crate) fn is_asked(request: &ResourceRequest<'_>) -> bool {
    request.path.group.is_empty()
        && request.path.resource == "serviceaccounts"
        && request.path.subresource.as_deref() == Some("token")
}

/// Answers a POST.
pub(crate) async fn create(
    app: &App,
    request: &ResourceRequest<'_>,
    incoming: &mut Incoming,
) -> Result<Answer, Status> {
    let limit = app.config.limits.body_bytes_max;
    let bytes = body::read(app, request.parts, incoming, limit).await?;
    let options = options::write(&request.params, WriteKind::Create)?;
    let action = Action::Create(body::object(&bytes, body::encoding(request.parts)?, KIND)?);
    let kind = Gvk::new(GROUP, "v1", KIND);
    let resource = app.registry.resource_of(&kind).ok_or_else(crate::place::no_such_resource)?;
    let target = Target {
        resource,
        namespace: request.path.namespace.as_ref().into(),
        name: None,
        subresource: Some("token".into()),
    };
    let mut asked = WriteRequest { target, action, options, actor: request.actor() };
    let Received { object, mut warnings } = app.registry.receive(&asked)?;
    asked.target = write::target(request);
    let admitted = app.registry.admit(&asked, object).await?;
    warnings.extend(admitted.warnings);
    let mut object = admitted.object;
    issue(app, request, &mut object)?;
    let bytes = serde_json::to_vec(&object)
        .map_err(|error| Status::new(Reason::InternalError, error.to_string()))?;
    let mut answer = present::one(app, request, StatusCode::CREATED, bytes.into())?;
    add_warnings(&mut answer, &warnings);
    Ok(answer)
}

fn issue(
    app: &App,
    request: &ResourceRequest<'_>,
    object: &mut Map<String, Value>,
) -> Result<(), Status> {
    let name = request.path.name.as_deref().unwrap_or_default();
    let namespace = &*request.path.namespace;
    check_name(object, name)?;
    let snapshot = app.registry.store().snapshot();
    let account = find(&snapshot, "serviceaccounts", namespace, name)?;
    let Some(accounts) = &app.authenticator.accounts else {
        let text = "this host issues no tokens";
        return Err(Status::new(Reason::ServiceUnavailable, text));
    };
    let spec = object.get("spec").cloned().unwrap_or_default();
    let mut audiences: Vec<String> = texts(&spec["audiences"]);
    if audiences.is_empty() {
        audiences = accounts.audiences().to_vec();
    }
    let lives_seconds = spec["expirationSeconds"].as_i64().unwrap_or_default();
    check_life(lives_seconds)?;
    let (bound, node) = bound(&snapshot, namespace, name, &spec["boundObjectRef"])?;
    let now = app.clock.now();
    let issue = Issue {
        namespace,
        name,
        uid: &account.meta.uid,
        audiences: &audiences,
        bound: bound.as_ref(),
        node: node.as_ref(),
        now,
        lives_seconds,
        id: app.random.uuid(),
    };
    let token = accounts
        .issue(&issue)
        .ok_or_else(|| Status::new(Reason::InternalError, "the token cannot be signed"))?;
    let expires =
        quadrille_object::Timestamp::from_seconds(now.seconds().saturating_add(lives_seconds));
    complete(object, &account, now, &audiences);
    let status = json!({"token": token, "expirationTimestamp": expires.to_rfc3339()});
    object.insert("status".to_owned(), status);
    Ok(())
}

/// Fills in what the answer says beyond the request.
fn complete(
    object: &mut Map<String, Value>,
    account: &Stored,
    now: quadrille_object::Timestamp,
    audiences: &[String],
) {
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    metadata["name"] = json!(&*account.key.name);
    metadata["namespace"] = json!(&*account.key.namespace);
    metadata["uid"] = json!(&*account.meta.uid);
    metadata["creationTimestamp"] = json!(now.to_rfc3339());
    let spec = object.entry("spec").or_insert_with(|| json!({}));
    spec["audiences"] = json!(audiences);
    if spec["boundObjectRef"].is_null() {
        spec["boundObjectRef"] = Value::Null;
    }
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn invalid(field: &str, value: &Value, why: &str) -> FieldError {
    FieldError::new(FieldErrorKind::Invalid, field, format!("Invalid value: {value}: {why}"))
}

fn check_name(object: &Map<String, Value>, name: &str) -> Result<(), Status> {
    let given = object.get("metadata").and_then(|metadata| metadata["name"].as_str());
    match given.filter(|given| !given.is_empty() && *given != name) {
        None => Ok(()),
        Some(given) => {
            let why = "must match the service account name if specified";
            let error = invalid("metadata.name", &json!(given), why);
            Err(Status::invalid(GROUP, KIND, name, &[error]))
        }
    }
}

fn check_life(seconds: i64) -> Result<(), Status> {
    let why = if seconds < *LIFE_SECONDS.start() {
        "may not specify a duration less than 10 minutes"
    } else if seconds > *LIFE_SECONDS.end() {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let error = invalid("spec.expirationSeconds", &json!(seconds), why);
    Err(Status::invalid(GROUP, KIND, "", &[error]))
}

fn find(
    snapshot: &Snapshot,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<std::sync::Arc<Stored>, Status> {
    let resource = GroupResource::new("", resource);
    let key = Key::new(resource.clone(), namespace, name);
    snapshot.get(&key).ok_or_else(|| Status::not_found(&resource, name))
}

/// What the token is bound to, and the node where that is a pod.
fn bound(
    snapshot: &Snapshot,
    namespace: &str,
    account: &str,
    reference: &Value,
) -> Result<(Option<Bound>, Option<Bound>), Status> {
    if !reference.is_object() {
        return Ok((None, None));
    }
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let bad = |text: String| Status::new(Reason::BadRequest, text);
    let (version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
    let of = GroupVersion::parse(version).unwrap_or_else(|| GroupVersion::new("", ""));
    let (kind, resource, place) = match (&*of.group, kind) {
        ("", "Pod") => ("pod", "pods", namespace),
        ("", "Secret") => ("secret", "secrets", namespace),
        ("", "Node") => ("node", "nodes", ""),
        _ => {
            let shown = format!("{}/{}, Kind={kind}", of.group, of.version);
            return Err(bad(format!("cannot bind token to object of type {shown}")));
        }
    };
    let object = find(snapshot, resource, place, name)?;
    let mut node = None;
    if kind == "pod" {
        let pod: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
        if pod["spec"]["serviceAccountName"] != account {
            return Err(bad(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different \
                 serviceaccount name."
            )));
        }
        node = pod["spec"]["nodeName"].as_str().filter(|name| !name.is_empty()).map(|name| {
            let found = find(snapshot, "nodes", "", name).ok();
            let uid = found.map(|node| node.meta.uid.as_ref().to_owned()).unwrap_or_default();
            Bound { kind: "node", name: name.to_owned(), uid }
        });
    }
    let uid = text("uid");
    if !uid.is_empty() && *object.meta.uid != *uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object \
             might have been deleted and then recreated"
        );
        let resource = GroupResource::new(&*of.group, text("kind"));
        return Err(Status::conflict(&resource, name, &why));
    }
    let uid = object.meta.uid.as_ref().to_owned();
    Ok((Some(Bound { kind, name: name.to_owned(), uid }), node))
}
