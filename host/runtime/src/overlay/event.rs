//! Events: what a run says about an object, in `Event` objects that count their repetitions.
//!
//! The name of an event follows from what it says, so that the same thing said again finds the object. Events
//! never hold a run up: they are not part of the read set, they overwrite whatever stands there, and an event
//! that the registry refuses (its namespace is going) is dropped.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use quadrille_object::{Gvr, Meta};
use quadrille_registry::{Action, Body, PatchFormat, Resource, Status, Target, WriteOptions};
use quadrille_store::{Key, Object};
use serde_json::{Value, json};

use super::Overlay;
use super::write::host;

/// Kubernetes' bound for the message of an event.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Kubernetes' bound for its reason.
const REASON_BYTES_MAX: usize = 128;

/// Where events about cluster-scoped objects live.
const CLUSTER_EVENTS: &str = "default";

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// `Normal` or `Warning`.
    pub kind: &'a str,
    /// One word in CamelCase, for machines.
    pub reason: &'a str,
    /// For people.
    pub message: &'a str,
}

impl Overlay {
    /// Says something about an object. Draws on the budget of events; needs `create` on events, but for the run's
    /// own primary object. An object that does not exist has nothing said about it.
    ///
    /// # Errors
    /// [`super::Refusal::Denied`] without the grant, [`super::Refusal::LimitReached`] at the limit.
    pub fn record_event(&mut self, about: &Key, note: &Note<'_>) -> Result<(), Status> {
        self.befall()?;
        self.count_event()?;
        let gvr = Gvr::new("", "v1", "events");
        let namespace: Arc<str> = match &*about.namespace {
            "" => CLUSTER_EVENTS.into(),
            _ => Arc::clone(&about.namespace),
        };
        if self.owner.primary.as_ref() != Some(about) {
            self.allow("create", &gvr.group_resource(), None, &namespace)?;
        }
        let catalog = self.registry.catalog();
        let resource = catalog.by_gvr(&gvr).map(Arc::clone);
        let of_object = catalog.by_group_resource(&about.resource).map(Arc::clone);
        let (Some(resource), Some(of_object), Some(object)) =
            (resource, of_object, self.look(about))
        else {
            return Ok(());
        };
        let note = Note {
            kind: if note.kind == "Warning" { "Warning" } else { "Normal" },
            reason: cut(note.reason, REASON_BYTES_MAX),
            message: cut(note.message, MESSAGE_BYTES_MAX),
        };
        let written = self.write_event(&resource, &of_object, &object, &namespace, &note);
        if let Err(status) = written {
            tracing::debug!(object = %about, error = %status, "event dropped");
            return self.check_limit();
        }
        Ok(())
    }

    fn write_event(
        &mut self,
        resource: &Arc<Resource>,
        of_object: &Resource,
        object: &Object,
        namespace: &Arc<str>,
        note: &Note<'_>,
    ) -> Result<(), Status> {
        let component = self.owner.controller.as_ref().to_owned();
        let name = name_of(&object.key.name, &object.meta, note, &component);
        let key = Key::new(resource.group_resource(), Arc::clone(namespace), name.as_str());
        let now = self.owner.now.to_rfc3339();
        let target = |name: Option<Arc<str>>| Target {
            resource: Arc::clone(resource),
            namespace: Arc::clone(namespace),
            name,
            subresource: None,
        };
        let (target, action) = if let Some(known) = self.look(&key) {
            let count = count_of(&known) + 1;
            let patch = json!({"count": count, "lastTimestamp": now});
            (target(Some(name.as_str().into())), Action::Patch(PatchFormat::Merge, patch.into()))
        } else {
            let about = json!({
                "apiVersion": of_object.kind.group_version().to_string(), "kind": of_object.kind.kind,
                "namespace": object.key.namespace, "name": object.key.name,
                "uid": object.meta.uid, "resourceVersion": object.revision.to_string(),
            });
            let event = json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": about, "reason": note.reason, "message": note.message,
                "type": note.kind, "source": {"component": component}, "count": 1,
                "firstTimestamp": now, "lastTimestamp": now,
                "reportingComponent": component, "reportingInstance": "",
            });
            (target(None), Action::Create(Body::from(event)))
        };
        self.write_as(host(), target, action, WriteOptions::default(), false).map(|_| ())
    }
}

fn name_of(object: &str, meta: &Meta, note: &Note<'_>, component: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (&*meta.uid, note.kind, note.reason, note.message, component).hash(&mut hasher);
    // A name has at most 253 bytes; the hash and its dot take 17.
    format!("{}.{:016x}", cut(object, 236).trim_end_matches(['.', '-']), hasher.finish())
}

fn count_of(event: &Object) -> i64 {
    let value: Value = serde_json::from_slice(&event.bytes).unwrap_or_default();
    value.get("count").and_then(Value::as_i64).unwrap_or(1)
}

/// The longest prefix of whole characters within `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}
