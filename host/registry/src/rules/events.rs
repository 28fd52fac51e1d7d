//! Events, under both of their names. They are checked in the stored (core) form.

use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::Rules;

/// Fields of an Event that are always written.
fn complete(object: &mut Object) {
    for key in ["eventTime", "firstTimestamp", "lastTimestamp"] {
        object.entry(key).or_insert(Value::Null);
    }
    for key in ["reportingComponent", "reportingInstance"] {
        field::default(object, key, "");
    }
    field::map_mut(object, &["involvedObject"]);
    field::map_mut(object, &["source"]);
}

/// The rules of core Events.
#[derive(Debug)]
pub(crate) struct Events;

impl Rules for Events {
    fn complete(&self, object: &mut Object) {
        complete(object);
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        let namespace = metadata::text(object, "namespace");
        let involved = field::text(object, &["involvedObject", "namespace"]).unwrap_or_default();
        // Events about cluster-scoped objects live in `default`.
        if involved.is_empty() && namespace != "default" {
            errors.invalid(
                "involvedObject.namespace",
                &"".into(),
                "does not match event.namespace",
            );
        } else if !involved.is_empty() && involved != namespace {
            let why = "does not match event.namespace";
            errors.invalid("involvedObject.namespace", &involved.into(), why);
        }
    }
}

/// The rules of events.k8s.io Events.
#[derive(Debug)]
pub(crate) struct NewEvents;

impl Rules for NewEvents {
    fn complete(&self, object: &mut Object) {
        complete(object);
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        Events.validate(object, errors);
        let text = |key: &str| field::text(object, &[key]).unwrap_or_default();
        if field::get(object, &["eventTime"]).is_none() {
            errors.required("eventTime", "");
        }
        for (key, shown) in [
            ("reportingComponent", "reportingController"),
            ("reportingInstance", "reportingInstance"),
        ] {
            if text(key).is_empty() {
                errors.required(shown, "");
            }
        }
        for key in ["action", "reason"] {
            if text(key).is_empty() {
                errors.required(key, "");
            }
        }
        let kind = text("type");
        if kind != "Normal" && kind != "Warning" {
            errors.invalid("type", &"".into(), &format!("has invalid value: {kind}"));
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        for key in ["eventTime", "reason", "action", "type", "message", "involvedObject"] {
            errors.immutable(key, field::get(object, &[key]), field::get(before, &[key]));
        }
        Events.validate(object, errors);
    }
}
