//! Reviews: questions about access and identity, posted as objects that are answered and never stored.

use http::StatusCode;
use hyper::body::Incoming;
use quadrille_object::{FieldError, FieldErrorKind};
use quadrille_registry::access::{Attributes, Decision, Extra, ResourceAttributes, User};
use quadrille_registry::{Action, CAUSES_MAX, Reason, Received, Resource, Status, WriteRequest};
use serde_json::{Map, Value, json};

use super::body;
use super::options::{self, WriteKind};
use super::write;
use crate::answer::{Answer, add_warnings};
use crate::app::{App, ResourceRequest};
use crate::present;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

type Object = Map<String, Value>;

/// Whether a resource is one of the reviews.
pub(crate) fn is_one(resource: &Resource) -> bool {
    matches!(&*resource.gvr.group, AUTHENTICATION | AUTHORIZATION) && !resource.is_stored()
}

/// Answers a POST to one of the reviews.
pub(crate) async fn review(
    app: &App,
    request: &ResourceRequest<'_>,
    incoming: &mut Incoming,
) -> Result<Answer, Status> {
    let limit = app.config.limits.body_bytes_max;
    let bytes = body::read(app, request.parts, incoming, limit).await?;
    let options = options::write(&request.params, WriteKind::Create)?;
    let encoding = body::encoding(request.parts)?;
    let action = Action::Create(body::object(&bytes, encoding, &request.resource.kind.kind)?);
    let actor = request.actor();
    let asked = WriteRequest { target: write::target(request), action, options, actor };
    let Received { object, mut warnings } = app.registry.receive(&asked)?;
    let admitted = app.registry.admit(&asked, object).await?;
    warnings.extend(admitted.warnings);
    let object = admitted.object;
    let answered = match &*request.resource.kind.kind {
        "SelfSubjectReview" => Ok(own_identity(app, request.user, object)),
        "TokenReview" => token(app, object).await,
        "SelfSubjectRulesReview" => own_rules(app, request.user, &object),
        "SelfSubjectAccessReview" => own_access(app, request.user, object),
        "LocalSubjectAccessReview" => {
            check_subject(&object, Place::Namespace(&request.path.namespace))?;
            Ok(access(app, object))
        }
        _ => {
            check_subject(&object, Place::Cluster)?;
            Ok(access(app, object))
        }
    };
    let bytes = serde_json::to_vec(&answered?)
        .map_err(|error| Status::new(Reason::InternalError, error.to_string()))?;
    let mut answer = present::one(app, request, StatusCode::CREATED, bytes.into())?;
    add_warnings(&mut answer, &warnings);
    Ok(answer)
}

/// A user as `UserInfo`.
pub(crate) fn user_info(user: &User) -> Value {
    let mut info = json!({"username": &*user.name});
    if !user.uid.is_empty() {
        info["uid"] = json!(&*user.uid);
    }
    if !user.groups.is_empty() {
        info["groups"] = user.groups.iter().map(|group| Value::from(&**group)).collect();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(&*user.extra);
    }
    info
}

fn own_identity(app: &App, user: &User, mut object: Object) -> Object {
    let now = app.clock.now().to_rfc3339();
    if let Some(metadata) = metadata_of(&mut object) {
        metadata.insert("creationTimestamp".to_owned(), now.into());
    }
    object.insert("status".to_owned(), json!({"userInfo": user_info(user)}));
    object
}

fn metadata_of(object: &mut Object) -> Option<&mut Object> {
    object.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
}

async fn token(app: &App, mut object: Object) -> Result<Object, Status> {
    let spec = object.get("spec");
    let token = spec.and_then(|spec| spec["token"].as_str()).unwrap_or_default();
    if token.is_empty() {
        let text = "token is required for TokenReview in authentication";
        return Err(Status::new(Reason::BadRequest, text));
    }
    let audiences = spec.map(|spec| texts(&spec["audiences"])).unwrap_or_default();
    let own = app.authenticator.audiences();
    let audiences = if audiences.is_empty() { own } else { audiences.as_slice() };
    let status = match app.authenticator.review(token, audiences).await.user {
        None => json!({"user": {}, "error": "invalid bearer token"}),
        Some((user, audiences)) => {
            json!({"authenticated": true, "user": user_info(&user), "audiences": audiences})
        }
    };
    metadata_of(&mut object);
    object.insert("status".to_owned(), status);
    Ok(object)
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn own_rules(app: &App, user: &User, object: &Object) -> Result<Object, Status> {
    let namespace = object.get("spec").and_then(|spec| spec["namespace"].as_str());
    let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) else {
        return Err(Status::new(Reason::BadRequest, "no namespace on request"));
    };
    let rights = app.registry.access().rules_of(user.asker(), namespace);
    let of_resources = rights.rules.iter().filter(|rule| !rule.resources.is_empty());
    let of_paths = rights.rules.iter().filter(|rule| !rule.non_resource_urls.is_empty());
    let resource_rules: Vec<Value> = of_resources
        .map(|rule| {
            let mut shown = json!({
                "verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources,
            });
            if !rule.resource_names.is_empty() {
                shown["resourceNames"] = json!(rule.resource_names);
            }
            shown
        })
        .collect();
    let path_rules: Vec<Value> = of_paths
        .map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}))
        .collect();
    let mut status = json!({
        "resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": false,
    });
    if !rights.problems.is_empty() {
        let problems = rights.problems.join(", ");
        status["evaluationError"] = if rights.problems.len() == 1 {
            json!(problems)
        } else {
            json!(format!("[{problems}]"))
        };
    }
    let mut answer = Object::new();
    for key in ["apiVersion", "kind"] {
        answer.insert(key.to_owned(), object.get(key).cloned().unwrap_or_default());
    }
    answer.insert("metadata".to_owned(), json!({}));
    answer.insert("spec".to_owned(), json!({}));
    answer.insert("status".to_owned(), status);
    Ok(answer)
}

fn own_access(app: &App, user: &User, object: Object) -> Result<Object, Status> {
    let mut errors = Vec::new();
    let spec = object.get("spec").unwrap_or(&Value::Null);
    check_attributes(spec, &mut errors);
    check_metadata(&object, "must be empty", &[], &mut errors);
    refuse(&errors)?;
    let decision = decide(app, user, spec);
    Ok(with_decision(object, &decision))
}

fn access(app: &App, object: Object) -> Object {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let text = |field: &str| spec[field].as_str().unwrap_or_default().into();
    let groups = texts(&spec["groups"]).iter().map(|group| group.as_str().into()).collect();
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra: Extra = extra.map(|(key, values)| (key.clone(), texts(values))).collect();
    let user = User { name: text("user"), uid: text("uid"), groups, extra: extra.into() };
    let decision = decide(app, &user, spec);
    with_decision(object, &decision)
}

fn decide(app: &App, user: &User, spec: &Value) -> Decision {
    let resource = &spec["resourceAttributes"];
    let text = |field: &str| resource[field].as_str().unwrap_or_default();
    let path = &spec["nonResourceAttributes"];
    let asked = if resource.is_object() {
        let of = ResourceAttributes {
            group: text("group"),
            version: text("version"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
        };
        Attributes::of(text("verb"), of)
    } else {
        let text = |field: &str| path[field].as_str().unwrap_or_default();
        Attributes { verb: text("verb"), path: text("path"), resource: None }
    };
    app.authorizer.decide(user, &asked)
}

fn with_decision(mut object: Object, decision: &Decision) -> Object {
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = json!(decision.reason);
    }
    metadata_of(&mut object);
    object.insert("status".to_owned(), status);
    object
}

/// Where a review of somebody's access is posted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    Cluster,
    Namespace(&'a str),
}

fn check_subject(object: &Object, place: Place<'_>) -> Result<(), Status> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut errors = Vec::new();
    check_kinds(spec, &mut errors);
    if spec["user"].as_str().is_none_or(str::is_empty) && texts(&spec["groups"]).is_empty() {
        let why = "at least one of user or group must be specified";
        errors.push(invalid("spec.user", &json!(""), why));
    }
    check_selectors(spec, &mut errors);
    match place {
        Place::Cluster => check_metadata(object, "must be empty", &[], &mut errors),
        Place::Namespace(namespace) => {
            let why = "must be empty except for namespace";
            check_metadata(object, why, &["namespace"], &mut errors);
            let of = spec["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
            if spec["resourceAttributes"].is_object() && of != namespace {
                let why = "must match metadata.namespace";
                errors.push(invalid("spec.resourceAttributes.namespace", &json!(of), why));
            }
            let path = &spec["nonResourceAttributes"];
            if path.is_object() {
                let why = "disallowed on this kind of request";
                errors.push(invalid("spec.nonResourceAttributes", &shown(path), why));
            }
        }
    }
    refuse(&errors)
}

fn check_attributes(spec: &Value, errors: &mut Vec<FieldError>) {
    check_kinds(spec, errors);
    check_selectors(spec, errors);
}

fn check_kinds(spec: &Value, errors: &mut Vec<FieldError>) {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() && path.is_object() {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.push(invalid("spec.nonResourceAttributes", &shown(path), why));
    }
    if !resource.is_object() && !path.is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(invalid("spec.resourceAttributes", &Value::Null, why));
    }
}

/// `nonResourceAttributes` as kube-apiserver shows them: by the names of its own type's fields.
fn shown(path: &Value) -> Value {
    let text = |field: &str| path[field].as_str().unwrap_or_default();
    json!({"Path": text("path"), "Verb": text("verb")})
}

/// The selectors of what is asked for, each either raw or taken apart.
fn check_selectors(spec: &Value, errors: &mut Vec<FieldError>) {
    for field in ["fieldSelector", "labelSelector"] {
        let selector = &spec["resourceAttributes"][field];
        if !selector.is_object() {
            continue;
        }
        let at = format!("spec.resourceAttributes.{field}");
        let raw = selector["rawSelector"].as_str().unwrap_or_default();
        let requirements = selector["requirements"].as_array().map_or(&[][..], Vec::as_slice);
        if !raw.is_empty() && !requirements.is_empty() {
            let why = "may not specified at the same time as requirements";
            errors.push(invalid(&format!("{at}.rawSelector"), &json!(raw), why));
        }
        if raw.is_empty() && requirements.is_empty() {
            let why = format!("when {at} is specified, requirements or rawSelector is required");
            errors.push(required(&format!("{at}.requirements"), &why));
        }
        for (index, requirement) in requirements.iter().enumerate() {
            if errors.len() >= CAUSES_MAX {
                return;
            }
            check_requirement(requirement, &format!("{at}.requirements[{index}]"), errors);
        }
    }
}

fn check_requirement(requirement: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let values = requirement["values"].as_array().map_or(0, Vec::len);
    match requirement["operator"].as_str().unwrap_or_default() {
        "In" | "NotIn" if values == 0 => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(required(&format!("{at}.values"), why));
        }
        "Exists" | "DoesNotExist" if values > 0 => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            let message = format!("Forbidden: {why}");
            let kind = FieldErrorKind::Forbidden;
            errors.push(FieldError::new(kind, format!("{at}.values"), message));
        }
        // Operators of newer clients are let through: they narrow what is asked for.
        _ => {}
    }
    if requirement["key"].as_str().is_none_or(str::is_empty) {
        errors.push(required(&format!("{at}.key"), "must be specified"));
    }
}

fn check_metadata(object: &Object, why: &str, but: &[&str], errors: &mut Vec<FieldError>) {
    let Some(metadata) = object.get("metadata").and_then(Value::as_object) else { return };
    let mut metadata = metadata.clone();
    metadata.remove("managedFields");
    let given = metadata.clone();
    metadata.retain(|key, value| !but.contains(&key.as_str()) && !value.is_null());
    if !metadata.is_empty() {
        errors.push(invalid("metadata", &Value::Object(given), why));
    }
}

fn invalid(field: &str, value: &Value, why: &str) -> FieldError {
    FieldError::new(FieldErrorKind::Invalid, field, format!("Invalid value: {value}: {why}"))
}

fn required(field: &str, why: &str) -> FieldError {
    FieldError::new(FieldErrorKind::Required, field, format!("Required value: {why}"))
}

/// 422, without the kind, as kube-apiserver has it for reviews.
fn refuse(errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(AUTHORIZATION, "", "", errors))
}
