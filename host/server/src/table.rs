//! Objects as rows: the `Table` form that kubectl prints, and `PartialObjectMetadata`.
//!
//! Pure functions of a resource's columns and an object. A custom resource's cells come from the `JSONPaths` of
//! its definition; a built-in kind's from the column's rule in [`builtin`].

use quadrille_object::Timestamp;
use quadrille_object::jsonpath::JsonPath;
use quadrille_registry::{Column, Resource};
use serde_json::{Map, Value, json};

mod builtin;
mod duration;
mod kinds;
mod pod;

use duration::human_duration;

/// How much of each object goes with its row (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// From the query parameter; `None` when it is none of the three.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "None" => Some(Self::None),
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// How a Table is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// The version of `meta.k8s.io`: `v1` or `v1beta1`.
    pub(crate) version: &'static str,
    /// What goes with each row.
    pub(crate) include: IncludeObject,
    /// Whether the columns are described; watch events after the first leave them out.
    pub(crate) headings: bool,
    /// The time that ages are counted to.
    pub(crate) now: Timestamp,
}

/// A Table of objects. `metadata` is the list's: resourceVersion, continue.
pub(crate) fn table(
    resource: &Resource,
    objects: &[Value],
    metadata: &Map<String, Value>,
    form: Form,
) -> Value {
    let columns = Columns::of(resource);
    let row = |object: &Value| {
        let included = included(object, form.version, form.include);
        without_null_object(json!({"cells": columns.cells(object, form.now), "object": included}))
    };
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{}", form.version),
        "metadata": metadata,
        "columnDefinitions": if form.headings { columns.definitions() } else { Value::Null },
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}

fn without_null_object(mut row: Value) -> Value {
    if row.get("object").is_some_and(Value::is_null)
        && let Some(map) = row.as_object_mut()
    {
        map.remove("object");
    }
    row
}

fn included(object: &Value, version: &str, include: IncludeObject) -> Value {
    match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => partial(object, version),
        IncludeObject::Object => object.clone(),
    }
}

/// An object's `PartialObjectMetadata`.
fn partial(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// The columns of one resource, their paths parsed once per answer.
struct Columns<'a> {
    resource: &'a Resource,
    columns: Vec<(Column, Option<JsonPath>)>,
}

impl<'a> Columns<'a> {
    fn of(resource: &'a Resource) -> Self {
        let mut columns: Vec<Column> = resource.columns.clone();
        if columns.first().is_none_or(|column| column.format != "name") && resource.custom {
            columns.insert(
                0,
                column("Name", "string", "name", "Name must be unique within a namespace."),
            );
        }
        if resource.custom && columns.len() == 1 {
            let mut age = column("Age", "date", "", "The time since the object was created.");
            age.json_path = Some(".metadata.creationTimestamp".to_owned());
            columns.push(age);
        }
        let parse = |column: Column| {
            let path = column.json_path.as_deref().and_then(|path| JsonPath::parse(path).ok());
            (column, path)
        };
        Self { resource, columns: columns.into_iter().map(parse).collect() }
    }

    fn definitions(&self) -> Value {
        let definition = |(column, _): &(Column, Option<JsonPath>)| {
            json!({
                "name": column.name, "type": column.r#type, "format": column.format,
                "description": column.description, "priority": column.priority,
            })
        };
        self.columns.iter().map(definition).collect()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cell = |(column, path): &(Column, Option<JsonPath>)| match path {
            Some(path) => custom_cell(column, path, object, now),
            None => builtin::cell(&self.resource.gvr.resource, &column.name, object, now),
        };
        self.columns.iter().map(cell).collect()
    }
}

fn column(name: &str, r#type: &str, format: &str, description: &str) -> Column {
    Column {
        name: name.to_owned(),
        r#type: r#type.to_owned(),
        format: format.to_owned(),
        description: description.to_owned(),
        priority: 0,
        json_path: None,
    }
}

/// The cell of a custom resource's column: the first value at the path, if it has the column's type.
fn custom_cell(column: &Column, path: &JsonPath, object: &Value, now: Timestamp) -> Value {
    let Some(value) = path.find(object).into_iter().next() else { return Value::Null };
    match column.r#type.as_str() {
        "integer" => value.as_i64().map_or(Value::Null, Value::from),
        "number" => value.as_f64().map_or(Value::Null, Value::from),
        "boolean" => value.as_bool().map_or(Value::Null, Value::from),
        "date" => match value.as_str().map(Timestamp::parse_rfc3339) {
            Some(Some(at)) => Value::from(age(at, now)),
            Some(None) => Value::from("<invalid>"),
            None => Value::Null,
        },
        _ => match value {
            Value::Null => Value::Null,
            Value::String(text) => Value::from(text.as_str()),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Value::from(value.to_string())
            }
        },
    }
}

/// How long ago something was, as kubectl shows it.
pub(crate) fn age(at: Timestamp, now: Timestamp) -> String {
    human_duration(now.seconds() - at.seconds())
}

#[cfg(test)]
mod tests;
