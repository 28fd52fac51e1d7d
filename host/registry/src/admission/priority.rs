//! `Priority`: a Pod's priority comes from its class alone, and at most one class is the default.

use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_store::{Key, Query, Range};
use serde_json::Value;

use super::{Operation, Plugin, forbidden, is_new_pod, is_of};
use crate::field::{self, Object};
use crate::status::Status;
use crate::write::{Attempt, parse};

/// Sets priorities and guards the default class.
#[derive(Debug)]
pub(super) struct Priority;

/// What a class gives a Pod.
struct Class {
    name: Option<String>,
    priority: i64,
    preemption: String,
}

fn classes() -> GroupResource {
    GroupResource::new("scheduling.k8s.io", "priorityclasses")
}

impl Plugin for Priority {
    fn mutate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &mut Object,
        _before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        if !is_new_pod(attempt, operation) {
            return Ok(());
        }
        let class = class_of(attempt, object)?;
        let spec = field::map_mut(object, &["spec"]);
        let given = field::integer(spec, &["priority"]);
        if let Some(given) = given.filter(|given| *given != class.priority) {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
                 controller computed {} from the given PriorityClass name",
                class.priority
            );
            return Err(forbidden(attempt, object, &why));
        }
        let given = field::text(spec, &["preemptionPolicy"]).unwrap_or_default();
        if !given.is_empty() && given != class.preemption {
            let why = format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority \
                 admission controller computed {} from the given PriorityClass name",
                class.preemption
            );
            return Err(forbidden(attempt, object, &why));
        }
        spec.insert("priority".to_owned(), class.priority.into());
        spec.insert("preemptionPolicy".to_owned(), class.preemption.into());
        if let Some(name) = class.name {
            spec.insert("priorityClassName".to_owned(), name.into());
        }
        Ok(())
    }

    fn validate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &Object,
        _before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        let is_class = is_of(attempt, "scheduling.k8s.io", "priorityclasses");
        if !is_class || operation == Operation::Delete || !is_default(object) {
            return Ok(());
        }
        let name = crate::metadata::text(object, "name");
        for other in attempt.view.list(&Query::whole(Range::all(classes()))) {
            if &*other.key.name != name && is_default(&parse(&other)?) {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other.key.name
                );
                return Err(forbidden(attempt, object, &why));
            }
        }
        Ok(())
    }
}

fn is_default(class: &Object) -> bool {
    field::get(class, &["globalDefault"]).and_then(Value::as_bool) == Some(true)
}

fn class_of(attempt: &Attempt<'_>, object: &Object) -> Result<Class, Status> {
    let name = field::text(object, &["spec", "priorityClassName"]).unwrap_or_default();
    if name.is_empty() {
        return default_class(attempt);
    }
    if let Some(found) = attempt.view.get(&Key::new(classes(), "", name)) {
        return Ok(class(&parse(&found)?, None));
    }
    let priority = match name {
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        _ => {
            let why = format!("no PriorityClass with name {name} was found");
            return Err(forbidden(attempt, object, &why));
        }
    };
    Ok(Class { name: None, priority, preemption: "PreemptLowerPriority".to_owned() })
}

/// The lowest of the classes that are the default, which is one but for a race long ago.
fn default_class(attempt: &Attempt<'_>) -> Result<Class, Status> {
    let mut lowest: Option<Class> = None;
    for found in attempt.view.list(&Query::whole(Range::all(classes()))) {
        let object = parse(&found)?;
        if !is_default(&object) {
            continue;
        }
        let found = class(&object, Some(Arc::clone(&found.key.name).to_string()));
        if lowest.as_ref().is_none_or(|lowest| found.priority < lowest.priority) {
            lowest = Some(found);
        }
    }
    let none = Class { name: None, priority: 0, preemption: "PreemptLowerPriority".to_owned() };
    Ok(lowest.unwrap_or(none))
}

fn class(object: &Object, name: Option<String>) -> Class {
    let policy = field::text(object, &["preemptionPolicy"]).filter(|policy| !policy.is_empty());
    Class {
        name,
        priority: field::integer(object, &["value"]).unwrap_or(0),
        preemption: policy.unwrap_or("PreemptLowerPriority").to_owned(),
    }
}
