//! The schemas in documents: those of built-in kinds from Kubernetes' shapes, those of custom resources from their
//! definitions.

use std::sync::{Arc, LazyLock};

use quadrille_registry::Resource;
use quadrille_store::View;
use serde_json::{Map, Value, json};

use super::operations::{self, Names};

/// Built-in shapes, from Kubernetes 1.36's `OpenAPI` document.
static SHAPES: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let text = quadrille_object::schema::builtin_shapes();
    let mut parsed: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(Value::Object(mut shapes)) = parsed.get_mut("definitions").map(Value::take) else {
        return Map::new();
    };
    for shape in shapes.values_mut().filter_map(Value::as_object_mut) {
        // The shapes only say that a type is a kind's; which kinds are served is known here.
        shape.remove(KINDS);
    }
    shapes
});

const KINDS: &str = "x-kubernetes-group-version-kind";

pub(super) const REFERENCE_V2: &str = "#/definitions/";
const REFERENCE_V3: &str = "#/components/schemas/";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// The document of one group and version.
pub(super) fn group_document(resources: &[Arc<Resource>], view: &dyn View) -> Value {
    let (mut schemas, mut paths) = (Map::new(), Map::new());
    for resource in resources {
        let names = names_of(resource);
        if resource.custom {
            let schema = custom(resource, view);
            schemas.insert(names.object.clone(), schema);
            schemas.insert(names.list.clone(), list(resource, &names.object));
            add_builtin(&mut schemas, &format!("{META}ObjectMeta"));
            add_builtin(&mut schemas, &format!("{META}ListMeta"));
        } else {
            for (name, kind) in
                [(&names.object, &resource.kind.kind), (&names.list, &resource.list_kind)]
            {
                add_builtin(&mut schemas, name);
                if let Some(schema) = schemas.get_mut(name).and_then(Value::as_object_mut) {
                    mark_kind(schema, resource, kind);
                }
            }
        }
        operations::add_paths(&mut paths, resource, &names.at(REFERENCE_V3));
    }
    // kubectl looks for the kind's options of deletion under this name.
    add_builtin(&mut schemas, &format!("{META}DeleteOptions"));
    add_builtin(&mut schemas, &format!("{META}Status"));
    let mut document = json!({
        "openapi": "3.0.0",
        "info": {"title": "Quadrille", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schemas},
    });
    rewrite_references(&mut document);
    document
}

/// What the schemas of a resource's objects and lists are called.
pub(super) fn names_of(resource: &Resource) -> Names {
    let kind = &resource.kind;
    let package = match &*kind.group {
        _ if resource.custom => {
            let mut reversed: Vec<&str> = kind.group.split('.').collect();
            reversed.reverse();
            reversed.join(".")
        }
        "" => "io.k8s.api.core".to_owned(),
        "apiextensions.k8s.io" => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions".to_owned()
        }
        "apiregistration.k8s.io" => "io.k8s.kube-aggregator.pkg.apis.apiregistration".to_owned(),
        group => format!("io.k8s.api.{}", group.split('.').next().unwrap_or_default()),
    };
    let name = |kind: &str| format!("{package}.{}.{kind}", resource.kind.version);
    let (object, list) = (name(&kind.kind), name(&resource.list_kind));
    let is_known = |name: &str| resource.custom || SHAPES.contains_key(name);
    Names { list: if is_known(&list) { list } else { object.clone() }, object }
}

/// The schema of a custom resource with what belongs to every object.
pub(super) fn custom(resource: &Resource, view: &dyn View) -> Value {
    let mut schema = defined(resource, view);
    if let Some(object) = schema.as_object_mut() {
        mark_kind(object, resource, &resource.kind.kind);
        add_envelope(object);
        let fields = resource.selectable_fields().unwrap_or_default();
        if !fields.is_empty() {
            let fields = fields.iter().map(|path| json!({"fieldPath": path})).collect();
            object.insert("x-kubernetes-selectable-fields".to_owned(), Value::Array(fields));
        }
    }
    schema
}

/// The schema of a list of custom resources.
pub(super) fn list(resource: &Resource, object: &str) -> Value {
    let mut schema = json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": format!("{REFERENCE_V2}{META}ListMeta")},
            "items": {"type": "array", "items": {"$ref": format!("{REFERENCE_V2}{object}")}},
        },
    });
    if let Some(schema) = schema.as_object_mut() {
        mark_kind(schema, resource, &resource.list_kind);
    }
    schema
}

/// Every built-in schema, with the marks of kinds that the shapes have.
pub(super) fn builtin() -> &'static Map<String, Value> {
    &SHAPES
}

pub(super) fn mark_kind(schema: &mut Map<String, Value>, resource: &Resource, kind: &str) {
    let of = &resource.kind;
    let mark = json!([{"group": *of.group, "version": *of.version, "kind": kind}]);
    schema.insert(KINDS.to_owned(), mark);
}

/// `apiVersion`, `kind` and `metadata` belong to every object, whatever its definition says.
fn add_envelope(schema: &mut Map<String, Value>) {
    let Value::Object(properties) =
        schema.entry("properties").or_insert_with(|| Value::Object(Map::new()))
    else {
        return;
    };
    properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
    properties.insert("kind".to_owned(), json!({"type": "string"}));
    let metadata = json!({"$ref": format!("{REFERENCE_V2}{META}ObjectMeta")});
    properties.insert("metadata".to_owned(), metadata);
    schema.entry("type").or_insert_with(|| json!("object"));
}

/// The schema as the definition has it.
fn defined(resource: &Resource, view: &dyn View) -> Value {
    let definition = resource.definition_json(view).unwrap_or_default();
    let mut object = serde_json::from_slice::<Value>(&definition).unwrap_or_default();
    let versions = object.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    let version = versions
        .into_iter()
        .flatten()
        .find(|version| version.get("name").and_then(Value::as_str) == Some(&resource.gvr.version));
    let schema = version.and_then(|version| version.pointer_mut("/schema/openAPIV3Schema"));
    schema.map_or_else(|| json!({"type": "object"}), Value::take)
}

fn add_builtin(schemas: &mut Map<String, Value>, name: &str) {
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        if schemas.contains_key(&name) {
            continue;
        }
        let Some(shape) = SHAPES.get(&name) else { continue };
        references(shape, &mut open);
        schemas.insert(name, shape.clone());
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let target = map.get("$ref").and_then(Value::as_str);
            found.extend(target.and_then(|t| t.strip_prefix(REFERENCE_V2)).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Turns references of version 2 into those of version 3, which may not stand beside other keys.
fn rewrite_references(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let target = map.get("$ref").and_then(Value::as_str);
            let target = target.and_then(|t| t.strip_prefix(REFERENCE_V2));
            if let Some(target) = target.map(|name| format!("{REFERENCE_V3}{name}")) {
                map.remove("$ref");
                if map.is_empty() {
                    map.insert("$ref".to_owned(), Value::String(target));
                } else {
                    map.insert("allOf".to_owned(), json!([{"$ref": target}]));
                }
            }
            map.values_mut().for_each(rewrite_references);
        }
        Value::Array(list) => list.iter_mut().for_each(rewrite_references),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
