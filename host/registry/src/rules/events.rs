//! Events, under both of their names. They are checked in the stored (core) form.

use quadrille_object::validate_name;
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::Rules;

const TEXT_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 1024;

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
        validate_common(object, "reportingComponent", errors);
    }
}

/// What both names of the kind have in common; `controller` is what this one calls the reporter.
fn validate_common(object: &Object, controller: &str, errors: &mut Errors) {
    let namespace = metadata::text(object, "namespace");
    let involved = field::text(object, &["involvedObject", "namespace"]).unwrap_or_default();
    // Events about cluster-scoped objects live in `default`.
    let home = if involved.is_empty() { "default" } else { involved };
    if home != namespace {
        let why = "does not match event.namespace";
        errors.invalid("involvedObject.namespace", &involved.into(), why);
    }
    if field::get(object, &["eventTime"]).is_none() {
        return;
    }
    let text = |key: &str| field::text(object, &[key]).unwrap_or_default();
    let reporter = text("reportingComponent");
    if reporter.is_empty() {
        errors.required(controller, "");
    }
    errors.invalid_each(controller, reporter, validate_name::qualified_name(reporter));
    for key in ["reportingInstance", "action", "reason"] {
        if text(key).is_empty() {
            errors.required(key, "");
        } else if text(key).len() > TEXT_BYTES_MAX {
            let why = format!("can have at most {TEXT_BYTES_MAX} characters");
            errors.invalid(key, &"".into(), &why);
        }
    }
    if text("message").len() > MESSAGE_BYTES_MAX {
        let why = format!("can have at most {MESSAGE_BYTES_MAX} characters");
        errors.invalid("message", &"".into(), &why);
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
        validate_common(object, "reportingController", errors);
        let text = |key: &str| field::text(object, &[key]).unwrap_or_default();
        if field::get(object, &["eventTime"]).is_none() {
            errors.required("eventTime", "");
        }
        let kind = text("type");
        if kind != "Normal" && kind != "Warning" {
            errors.invalid("type", &"".into(), &format!("has invalid value: {kind}"));
        }
        let source = field::get(object, &["source"]).and_then(Value::as_object);
        let old = [
            ("firstTimestamp", field::get(object, &["firstTimestamp"]).is_some()),
            ("lastTimestamp", field::get(object, &["lastTimestamp"]).is_some()),
            ("count", field::integer(object, &["count"]).unwrap_or(0) != 0),
            ("source", source.is_some_and(|source| !source.is_empty())),
        ];
        for (key, _) in old.into_iter().filter(|(_, given)| *given) {
            errors.invalid(key, &"".into(), "needs to be unset");
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        for key in [
            "involvedObject",
            "reason",
            "message",
            "reportingComponent",
            "reportingInstance",
            "action",
            "related",
            "type",
            "eventTime",
        ] {
            errors.immutable(key, field::get(object, &[key]), field::get(before, &[key]));
        }
        validate_common(object, "reportingController", errors);
    }
}
