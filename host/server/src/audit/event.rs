//! One event as it is written: an `audit.k8s.io/v1` Event on a line of its own.

use std::sync::Arc;

use bytes::Bytes;
use quadrille_object::{Timestamp, decode, protobuf};
use quadrille_registry::access::{ResourceAttributes, User};
use quadrille_registry::{Reason, Status};
use serde_json::{Map, Value, json};

use super::policy::{Level, Stage};
use crate::verbs::review::user_info;

/// What is known of a request, in the forms that cost nothing; made into text by the thread that writes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) level: Level,
    pub(super) stage: Stage,
    pub(super) uri: String,
    pub(super) verb: String,
    pub(super) user: User,
    pub(super) impersonated: Option<User>,
    /// The constrained right that allowed to act as somebody else.
    pub(super) constraint: String,
    pub(super) address: Arc<str>,
    pub(super) client: String,
    pub(super) object: Option<ObjectRef>,
    pub(super) code: u16,
    pub(super) status: Option<Box<Status>>,
    pub(super) request: Option<Bytes>,
    pub(super) response: Option<Bytes>,
    pub(super) omits_managed_fields: bool,
    pub(super) received: Timestamp,
    pub(super) at: Timestamp,
    pub(super) annotations: Map<String, Value>,
}

/// What a request is about.
#[derive(Clone, Debug, Default)]
pub(super) struct ObjectRef([(&'static str, String); 6]);

impl ObjectRef {
    pub(super) fn of(of: &ResourceAttributes<'_>) -> Self {
        Self([
            ("resource", of.resource.to_owned()),
            ("namespace", of.namespace.to_owned()),
            ("name", of.name.to_owned()),
            ("apiGroup", of.group.to_owned()),
            ("apiVersion", of.version.to_owned()),
            ("subresource", of.subresource.to_owned()),
        ])
    }

    fn value(&self) -> Value {
        let known = self.0.iter().filter(|(_, text)| !text.is_empty());
        known.map(|(key, text)| ((*key).to_owned(), Value::from(text.as_str()))).collect()
    }
}

impl Draft {
    pub(super) fn annotate(&mut self, key: &str, value: &str) {
        self.annotations.insert(key.to_owned(), value.into());
    }

    /// It ends without an answer: nobody is told what has been done of it.
    pub(super) fn fail(&mut self, code: u16, why: &str) {
        let message = format!("{why}; what it asked for may have been done");
        self.code = code;
        self.status = Some(Box::new(Status::new(Reason::Unknown, message).with_code(code)));
    }

    /// The event's line, without the line's end.
    pub(super) fn line(&self) -> String {
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": self.level.name(),
            "auditID": self.id, "stage": self.stage.name(), "requestURI": self.uri,
            "verb": self.verb, "user": user_info(&self.user),
            "sourceIPs": [&*self.address], "userAgent": self.client,
            "requestReceivedTimestamp": self.received.to_rfc3339_micros(),
            "stageTimestamp": self.at.to_rfc3339_micros(),
        });
        if let Some(user) = &self.impersonated {
            event["impersonatedUser"] = user_info(user);
        }
        if !self.constraint.is_empty() {
            event["authenticationMetadata"] = json!({"impersonationConstraint": self.constraint});
        }
        if let Some(object) = &self.object {
            event["objectRef"] = object.value();
        }
        if self.stage != Stage::RequestReceived {
            event["responseStatus"] = self.status_value();
        }
        if let Some(request) = self.request.as_deref().and_then(|body| self.object_of(body)) {
            event["requestObject"] = request;
        }
        let is_last = self.stage == Stage::ResponseComplete;
        let response = self.response.as_deref().filter(|_| is_last);
        if let Some(response) = response.and_then(|body| self.object_of(body)) {
            event["responseObject"] = response;
        }
        if !self.annotations.is_empty() {
            event["annotations"] = Value::Object(self.annotations.clone());
        }
        event.to_string()
    }

    fn status_value(&self) -> Value {
        let Some(status) = &self.status else {
            return json!({"metadata": {}, "code": self.code});
        };
        let mut value = status.to_value();
        if let Some(map) = value.as_object_mut() {
            map.retain(|key, _| !matches!(key.as_str(), "kind" | "apiVersion"));
        }
        value
    }

    /// A body as JSON, whatever it was written in; `None` where it cannot be read.
    fn object_of(&self, body: &[u8]) -> Option<Value> {
        let read = serde_json::from_slice(body).ok();
        let read = read.or_else(|| protobuf::object(body, "").ok());
        let mut value = read.or_else(|| decode::yaml(body).ok().map(|decoded| decoded.value))?;
        if self.omits_managed_fields {
            drop_managed_fields(&mut value);
            let items = value.get_mut("items").and_then(Value::as_array_mut);
            items.into_iter().flatten().for_each(drop_managed_fields);
        }
        (!value.is_null()).then_some(value)
    }
}

fn drop_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}
