//! Schemas: what a type looks like in a `CustomResourceDefinition`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::condition::{Condition, Conditions};
use crate::selector::LabelSelector;
use crate::time::Time;

/// A type with an `OpenAPI` v3 schema; `#[schema]` and `#[resource]` implement it.
pub trait Schema {
    /// The schema, as `spec.versions[].schema.openAPIV3Schema` takes it.
    fn schema() -> Value;
}

macro_rules! plain {
    ($($type:ty => $schema:tt),+ $(,)?) => {
        $(impl Schema for $type {
            fn schema() -> Value {
                json!($schema)
            }
        })+
    };
}

plain! {
    bool => {"type": "boolean"},
    String => {"type": "string"},
    i32 => {"type": "integer", "format": "int32"},
    i64 => {"type": "integer", "format": "int64"},
    u8 => {"type": "integer", "minimum": 0, "maximum": 255},
    u16 => {"type": "integer", "minimum": 0, "maximum": 65_535},
    u32 => {"type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32},
    u64 => {"type": "integer", "minimum": 0},
    f32 => {"type": "number"},
    f64 => {"type": "number"},
    Time => {"type": "string", "format": "date-time"},
    Value => {"x-kubernetes-preserve-unknown-fields": true},
    Map<String, Value> => {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    Condition => {
        "type": "object",
        "required": ["type", "status", "lastTransitionTime", "reason", "message"],
        "properties": {
            "type": {"type": "string"},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "lastTransitionTime": {"type": "string", "format": "date-time"},
            "reason": {"type": "string"},
            "message": {"type": "string"},
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
        },
    },
    LabelSelector => {
        "type": "object",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
            "matchExpressions": {"type": "array", "items": {
                "type": "object",
                "required": ["key", "operator"],
                "properties": {
                    "key": {"type": "string"},
                    "operator": {"type": "string"},
                    "values": {"type": "array", "items": {"type": "string"}},
                },
            }},
        },
    },
}

impl<T: Schema> Schema for Option<T> {
    fn schema() -> Value {
        T::schema()
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema() -> Value {
        json!({"type": "array", "items": T::schema()})
    }
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}

impl Schema for Conditions {
    fn schema() -> Value {
        json!({
            "type": "array",
            "items": Condition::schema(),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        })
    }
}

/// A column of `kubectl get`.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// Where the value is, such as `.status.ready`.
    pub path: &'static str,
}

/// What a definition says beside its schema; `#[resource]` fills it in.
#[derive(Clone, Copy, Debug)]
pub struct DefinitionNames {
    /// The API group.
    pub group: &'static str,
    /// The API version.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The name in the plural.
    pub plural: &'static str,
    /// Short names.
    pub short_names: &'static [&'static str],
    /// Categories, such as `all`.
    pub categories: &'static [&'static str],
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Columns of `kubectl get`.
    pub columns: &'static [Column],
    /// For people.
    pub description: &'static str,
}

/// Makes a `CustomResourceDefinition`; without a status schema it has no status subresource.
pub fn definition(names: &DefinitionNames, spec: &Value, status: Option<Value>) -> Value {
    let singular = names.kind.to_lowercase();
    let mut schema = json!({
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": spec},
    });
    if !names.description.is_empty() {
        schema["description"] = names.description.into();
    }
    let mut version = json!({"name": names.version, "served": true, "storage": true});
    if let Some(mut status) = status {
        status["properties"]["observedGeneration"] = json!({
            "type": "integer", "format": "int64",
            "description": "The generation of the spec that the status speaks for.",
        });
        schema["properties"]["status"] = status;
        version["subresources"] = json!({"status": {}});
    }
    let columns: Vec<Value> = names.columns.iter().map(|column| printed(column, &schema)).collect();
    if !columns.is_empty() {
        let age = json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"});
        let columns: Vec<Value> = columns.into_iter().chain([age]).collect();
        version["additionalPrinterColumns"] = columns.into();
    }
    version["schema"] = json!({"openAPIV3Schema": schema});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", names.plural, names.group)},
        "spec": {
            "group": names.group,
            "names": {
                "kind": names.kind,
                "listKind": format!("{}List", names.kind),
                "plural": names.plural,
                "singular": singular,
                "shortNames": names.short_names,
                "categories": names.categories,
            },
            "scope": if names.namespaced { "Namespaced" } else { "Cluster" },
            "versions": [version],
        },
    })
}

/// A printer column, with the type that the schema has at its path.
fn printed(column: &Column, schema: &Value) -> Value {
    let mut steps = column.path.split('.').filter(|step| !step.is_empty());
    let found = steps.try_fold(schema, |at, step| at.get("properties")?.get(step));
    let r#type = match found.and_then(|field| field["type"].as_str()) {
        Some(r#type @ ("integer" | "number" | "boolean")) => r#type,
        _ if found.is_some_and(|field| field["format"] == "date-time") => "date",
        _ => "string",
    };
    json!({"name": column.name, "type": r#type, "jsonPath": column.path})
}
