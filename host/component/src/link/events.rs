//! Events that a run records: repeated ones are counted, not added.
//!
//! An event's name is made from what it says and about what, so that a repetition finds it. Whether it exists is
//! looked up beside the run's read set: an event must not wake the controller that wrote it.

use std::sync::Arc;

use quadrille_object::{Gvr, Timestamp};
use quadrille_registry::{Action, Body, PatchFormat, Reason, Resource, Status};
use quadrille_store::{Object, View};
use serde_json::{Value, json};

use super::bindings::quadrille::controller::types::{ObjectRef, ResourceRef};
use super::objects::{key, target};
use super::reason::bad_request;
use super::state::RunState;
use crate::digest::hex;

const MESSAGE_BYTES_MAX: usize = 1_024;
const REASON_BYTES_MAX: usize = 128;

/// What is said about which object.
pub(super) struct Event<'a> {
    pub(super) object: &'a ObjectRef,
    pub(super) kind: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

/// `events` of the core group.
pub(super) fn resource_ref() -> ResourceRef {
    ResourceRef { group: String::new(), version: "v1".to_owned(), resource: "events".to_owned() }
}

/// Adds the event to the run's writes, or counts it once more.
pub(super) fn record(run: &mut RunState, event: &Event<'_>, now: Timestamp) -> Result<(), Status> {
    if !matches!(event.kind, "Normal" | "Warning") {
        return Err(bad_request(format!("kind: {:?} is neither Normal nor Warning", event.kind)));
    }
    if event.reason.is_empty() || event.reason.len() > REASON_BYTES_MAX {
        return Err(bad_request(format!("reason: wanted 1 to {REASON_BYTES_MAX} bytes")));
    }
    let about = run.resource(&event.object.resource)?;
    let gvr = Gvr::new("", "v1", "events");
    let events = run
        .catalog
        .by_gvr(&gvr)
        .cloned()
        .ok_or_else(|| Status::new(Reason::NotFound, "the host serves no events"))?;
    let namespace =
        if event.object.namespace.is_empty() { "default" } else { &event.object.namespace };
    let name = name(run, event);
    let at = key(&events, namespace, &name);
    let to = target(&events, namespace, &name);
    let before = run.registry.store().snapshot().get(&at);
    let action = match before.and_then(|before| count(&before)) {
        Some(count) => {
            let patch = json!({"count": count + 1, "lastTimestamp": now.to_rfc3339()});
            Action::Patch(PatchFormat::Merge, Body::from(patch))
        }
        None => Action::Create(Body::from(body(run, event, &about, (namespace, &name), now))),
    };
    match run.overlay.write(to, action, run.options()) {
        // The same event twice in one run.
        Err(status) if status.reason == Reason::AlreadyExists => Ok(()),
        outcome => outcome.map(drop),
    }
}

fn count(event: &Object) -> Option<i64> {
    let event: Value = serde_json::from_slice(&event.bytes).ok()?;
    Some(event.get("count").and_then(Value::as_i64).unwrap_or(1))
}

fn name(run: &RunState, event: &Event<'_>) -> String {
    let mut hasher = blake3::Hasher::new();
    let resource = &event.object.resource;
    let object = [&resource.group, &resource.resource, &event.object.namespace, &event.object.name];
    let said = [event.kind, event.reason, event.message, &run.manager];
    for part in object.into_iter().map(String::as_str).chain(said) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hex(&hasher.finalize().as_bytes()[..8]);
    let stem: String = event.object.name.chars().take(200).collect();
    format!("{stem}.{digest}")
}

fn body(
    run: &RunState,
    event: &Event<'_>,
    about: &Arc<Resource>,
    (namespace, name): (&str, &str),
    now: Timestamp,
) -> Value {
    let uid = run.object_uid.as_deref().filter(|_| *run.key.name == *event.object.name);
    let gvk = &about.kind;
    let message: String = event.message.chars().take(MESSAGE_BYTES_MAX).collect();
    let mut involved = json!({
        "apiVersion": gvk.group_version().to_string(), "kind": gvk.kind, "name": event.object.name,
    });
    if !event.object.namespace.is_empty() {
        involved["namespace"] = json!(event.object.namespace);
    }
    if let Some(uid) = uid {
        involved["uid"] = json!(uid);
    }
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "type": event.kind, "reason": event.reason, "message": message,
        "count": 1, "firstTimestamp": now.to_rfc3339(), "lastTimestamp": now.to_rfc3339(),
        "source": {"component": run.manager}, "reportingComponent": run.manager,
        "reportingInstance": run.plugin,
    })
}
