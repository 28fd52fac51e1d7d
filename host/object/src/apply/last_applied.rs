//! Moving from client-side apply: what kubectl's annotation says it applied is kubectl's.

use serde_json::{Map, Value};

use super::{compare, owned};
use crate::managed::FieldSet;
use crate::schema::Schema;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The largest size of all annotations together.
const ANNOTATIONS_BYTES_MAX: usize = 262_144;

/// The fields that client-side apply accounts for.
pub(crate) fn accounted_for(schema: &Schema, live: &Map<String, Value>) -> FieldSet<'static> {
    let Some(Ok(Value::Object(last))) = annotation(live).map(serde_json::from_str::<Value>) else {
        return FieldSet::default();
    };
    let changes = compare::compare(schema, &last, live);
    let own = owned::owned(schema, &last).difference(&changes.set).difference(&changes.removed);
    own.into_owned()
}

/// Writes the configuration into the annotation, where the object has one.
pub(crate) fn refresh(object: &mut Map<String, Value>, config: &Map<String, Value>) {
    if annotation(object).is_none() {
        return;
    }
    let mut config = config.clone();
    let annotations = |object: &mut Map<String, Value>| -> Option<Map<String, Value>> {
        let metadata = object.get_mut("metadata")?.as_object_mut()?;
        metadata.get_mut("annotations")?.as_object_mut().map(std::mem::take)
    };
    if let Some(mut own) = annotations(&mut config) {
        own.remove(ANNOTATION);
        let metadata = config.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata.filter(|_| !own.is_empty()) {
            metadata.insert("annotations".to_owned(), Value::Object(own));
        }
    }
    let mut text = Value::Object(config).to_string();
    text.push('\n');
    let Some(mut all) = annotations(object) else { return };
    let others = all.iter().filter(|(key, _)| *key != ANNOTATION);
    let size: usize = others.map(|(key, v)| key.len() + v.as_str().map_or(0, str::len)).sum();
    if size + ANNOTATION.len() + text.len() > ANNOTATIONS_BYTES_MAX {
        all.insert(ANNOTATION.to_owned(), "".into());
    } else {
        all.insert(ANNOTATION.to_owned(), text.into());
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".to_owned(), Value::Object(all));
    }
}

fn annotation(object: &Map<String, Value>) -> Option<&str> {
    let annotations = object.get("metadata")?.get("annotations")?;
    annotations.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}
