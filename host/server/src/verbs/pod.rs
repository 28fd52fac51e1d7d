//! What a Pod's node would answer: logs, commands, ports. There is none, so this says what kube-apiserver says of a
//! Pod that runs nowhere.

use quadrille_object::{FieldError, FieldErrorKind, GroupResource};
use quadrille_registry::{Reason, Status};
use serde_json::Value;

use super::get;
use crate::answer::{self, Answer};
use crate::app::{App, ResourceRequest};
use crate::params::parameter;

/// Answers a request to a subresource that a node would answer; `None` for any other request.
pub(crate) fn answer(app: &App, request: &ResourceRequest<'_>) -> Option<Result<Answer, Status>> {
    let gvr = &request.resource.gvr;
    let subresource = request.path.subresource.as_deref()?;
    if &*gvr.resource != "pods" || !gvr.group.is_empty() {
        return None;
    }
    match subresource {
        "log" => Some(log(app, request)),
        "exec" | "attach" => Some(enter(app, request)),
        "portforward" => Some(forward(app, request)),
        "proxy" => Some(proxy(app, request)),
        _ => None,
    }
}

/// The Pod of the path.
fn pod(app: &App, request: &ResourceRequest<'_>) -> Result<Value, Status> {
    let name = request.path.name.as_deref().unwrap_or_default();
    let bytes = get::object(app, request.resource, &request.path.namespace, name)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Status::new(Reason::InternalError, format!("stored Pod: {error}")))
}

fn name_of(pod: &Value) -> &str {
    pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

fn bad_request(text: String) -> Status {
    Status::new(Reason::BadRequest, text)
}

/// The node is not known here, whatever its name.
fn no_node(pod: &Value) -> Option<Status> {
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    (!node.is_empty()).then(|| Status::not_found(&GroupResource::new("", "nodes"), node))
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let containers = pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
    let names = containers.into_iter().flatten().filter_map(|c| c.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

/// The container that is asked for must be there, and be named where there are several.
fn check_container(pod: &Value, request: &ResourceRequest<'_>) -> Result<(), Status> {
    let wanted = parameter(request.parts.uri.query(), "container");
    let (main, before) = (names(pod, "containers"), names(pod, "initContainers"));
    let joined = names(pod, "ephemeralContainers");
    let name = name_of(pod);
    match wanted.as_deref().filter(|wanted| !wanted.is_empty()) {
        Some(wanted) => {
            let known = main.iter().chain(&before).chain(&joined).any(|name| name == wanted);
            if known {
                Ok(())
            } else {
                Err(bad_request(format!("container {wanted} is not valid for pod {name}")))
            }
        }
        None if main.len() == 1 => Ok(()),
        None if main.is_empty() => {
            Err(bad_request(format!("a container name must be specified for pod {name}")))
        }
        None => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                main.join(" ")
            );
            if !before.is_empty() {
                text.push_str(" or one of the init containers: [");
                text.push_str(&before.join(" "));
                text.push(']');
            }
            if !joined.is_empty() {
                text.push_str(" or one of the ephemeral containers: [");
                text.push_str(&joined.join(" "));
                text.push(']');
            }
            Err(bad_request(text))
        }
    }
}

fn log(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    check_log_options(request)?;
    let pod = pod(app, request)?;
    check_container(&pod, request)?;
    match no_node(&pod) {
        Some(status) => Err(status),
        None => Ok(answer::empty()),
    }
}

/// Checks the options of a log.
pub(crate) fn check_log_options(request: &ResourceRequest<'_>) -> Result<(), Status> {
    let query = request.parts.uri.query();
    let number = |key: &str| -> Result<Option<i64>, Status> {
        let Some(text) = parameter(query, key).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
        })
    };
    let mut errors = Vec::new();
    let mut least = |key: &str, min: i64, why: &str| -> Result<Option<i64>, Status> {
        let given = number(key)?;
        if let Some(given) = given.filter(|given| *given < min) {
            let message = format!("Invalid value: {given}: {why}");
            errors.push(FieldError::new(FieldErrorKind::Invalid, key, message));
        }
        Ok(given)
    };
    least("tailLines", 0, "must be greater than or equal to 0")?;
    least("limitBytes", 1, "must be greater than 0")?;
    let since = least("sinceSeconds", 1, "must be greater than 0")?;
    if since.is_some() && parameter(query, "sinceTime").is_some_and(|time| !time.is_empty()) {
        let why = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::new(FieldErrorKind::Forbidden, "", why));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let name = request.path.name.as_deref().unwrap_or_default();
    Err(Status::invalid("", "PodLogOptions", name, &errors))
}

fn enter(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    let pod = pod(app, request)?;
    check_container(&pod, request)?;
    Err(no_node(&pod).unwrap_or_else(|| no_host(&pod)))
}

fn forward(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    let pod = pod(app, request)?;
    Err(no_node(&pod).unwrap_or_else(|| no_host(&pod)))
}

fn no_host(pod: &Value) -> Status {
    bad_request(format!("pod {} does not have a host assigned", name_of(pod)))
}

fn proxy(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    let pod = pod(app, request)?;
    let address = pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or_default();
    if address.is_empty() {
        return Err(bad_request("address not allowed".to_owned()));
    }
    let text = format!("error trying to reach service: no route to {address}");
    Err(Status::new(Reason::ServiceUnavailable, text))
}
