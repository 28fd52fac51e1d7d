//! Fields that are somebody else's: what another plugin manages, and what people want of the plugin's own objects.

use std::sync::Arc;

use quadrille_store::{Cause, Change, Object};
use serde_json::Value;

use super::{Principle, Subject};

/// The first write of the plugin to a field that is not its own.
pub(super) fn found(changes: &[Arc<Change>], subject: &Subject) -> Option<(Principle, String)> {
    changes.iter().find_map(|change| {
        let Cause::Run(run) = &*change.cause else { return None };
        if run.plugin != *subject.plugin || super::ends::is_event(change.key()) {
            return None;
        }
        let (before, after) = (change.before.as_deref()?, change.after()?);
        let (before, after) = (parse(before), parse(after));
        let what = if run.object == change.key().to_string()
            && let Some(field) = wanted_field(&before, &after)
        {
            format!(
                "a run of {} writes {field} of the object that it runs for: a controller that changes what is wanted \
                 of its own objects wakes itself",
                run.controller
            )
        } else {
            let (field, other) = foreign_field(&before, &after, subject)?;
            format!("a run of {} writes {field} of {}, which {other} manages", run.controller, change.key())
        };
        Some((Principle::OwnFields, what))
    })
}

fn parse(object: &Object) -> Value {
    serde_json::from_slice(&object.bytes).unwrap_or_default()
}

/// A field beside metadata and status that differs: what people want of the object.
fn wanted_field(before: &Value, after: &Value) -> Option<String> {
    let (before, after) = (before.as_object()?, after.as_object()?);
    let fields = before.keys().chain(after.keys());
    let mut wanted = fields.filter(|f| !matches!(f.as_str(), "metadata" | "status"));
    let field = wanted.find(|field| before.get(*field) != after.get(*field))?;
    let null = Value::Null;
    let values = (before.get(field).unwrap_or(&null), after.get(field).unwrap_or(&null));
    Some(deepest(field, values.0, values.1))
}

/// The path to the first difference.
fn deepest(path: &str, before: &Value, after: &Value) -> String {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        return path.to_owned();
    };
    let null = Value::Null;
    let differs = |field: &&String| old.get(*field) != new.get(*field);
    match old.keys().chain(new.keys()).find(differs) {
        None => path.to_owned(),
        Some(field) => deepest(
            &format!("{path}.{field}"),
            old.get(field).unwrap_or(&null),
            new.get(field).unwrap_or(&null),
        ),
    }
}

/// A field that another plugin's controller managed and that differs now, with the plugin.
fn foreign_field(before: &Value, after: &Value, subject: &Subject) -> Option<(String, Arc<str>)> {
    let entries = before.pointer("/metadata/managedFields")?.as_array()?;
    entries.iter().find_map(|entry| {
        let manager = entry.get("manager")?.as_str()?;
        let (_, plugin) = subject.others.iter().find(|(name, _)| **name == *manager)?;
        let field = changed(entry.get("fieldsV1")?, before, after, "")?;
        Some((field, Arc::clone(plugin)))
    })
}

/// The first of the fields that differs. Items of lists are compared with their whole list.
fn changed(fields: &Value, before: &Value, after: &Value, path: &str) -> Option<String> {
    fields.as_object()?.iter().find_map(|(name, below)| {
        let field = name.strip_prefix("f:")?;
        let null = Value::Null;
        let old = before.get(field).unwrap_or(&null);
        let new = after.get(field).unwrap_or(&null);
        let path = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
        let inner = below.as_object().is_some_and(|map| map.keys().any(|k| k.starts_with("f:")));
        if inner {
            return changed(below, old, new, &path);
        }
        (old != new).then_some(path)
    })
}
