//! Between the version that a request speaks and the version that is stored.
//!
//! Custom resources differ in `apiVersion` alone, unless a webhook converts them (`conversion.rs`); Events have two names for the same fields; `autoscaling/v1` says less
//! than v2.

mod autoscaler;

use crate::catalog::Resource;
use crate::field::Object;

/// (events.k8s.io, core) names of an Event's fields.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// Gives an object of the resource's version the stored form.
pub(crate) fn to_storage(resource: &Resource, object: &mut Object) {
    if resource.is_storage_version() || resource.converter().is_some() {
        return;
    }
    object.insert("apiVersion".to_owned(), (*resource.storage_api_version).into());
    if *resource.gvr.group == *"events.k8s.io" {
        rename(object, EVENT_FIELDS.iter().copied());
    } else if is_autoscaler(resource) {
        autoscaler::to_v2(object);
        crate::rules::autoscaler_defaults(object);
    }
}

/// Gives a stored object the form of the resource's version.
pub(crate) fn from_storage(resource: &Resource, object: &mut Object) {
    if resource.is_storage_form() || resource.converter().is_some() {
        return;
    }
    object.insert("apiVersion".to_owned(), (*resource.api_version).into());
    if is_autoscaler(resource) {
        autoscaler::to_v1(object);
        resource.schema.fill_empty(object);
    } else if *resource.gvr.group == *"events.k8s.io" {
        rename(object, EVENT_FIELDS.iter().map(|(new, core)| (*core, *new)));
        for key in [
            "deprecatedFirstTimestamp",
            "deprecatedLastTimestamp",
            "reportingController",
            "reportingInstance",
        ] {
            let empty = |v: &serde_json::Value| v.is_null() || v.as_str() == Some("");
            if object.get(key).is_some_and(empty) {
                object.remove(key);
            }
        }
    }
}

fn is_autoscaler(resource: &Resource) -> bool {
    !resource.custom && *resource.gvr.group == *"autoscaling"
}

fn rename<'a>(object: &mut Object, names: impl Iterator<Item = (&'a str, &'a str)>) {
    for (from, to) in names {
        if let Some(value) = object.remove(from) {
            object.insert(to.to_owned(), value);
        }
    }
}
