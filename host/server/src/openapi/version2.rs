//! `/openapi/v2`: every path and every schema in one document.
//!
//! It is large, so it is written schema by schema and never held as a tree. Version 2 knows fewer keywords: what it cannot
//! say is left out of the schemas of custom resources, in the way that clients of the time were written for.

use bytes::Bytes;
use quadrille_registry::Catalog;
use quadrille_store::View;
use serde_json::{Map, Value};

use super::schemas::{self, REFERENCE_V2};
use super::{gnostic, operations};

const SWAGGER: &str = "2.0";
const TITLE: &str = "Quadrille";

/// The document as JSON.
pub(super) fn json(catalog: &Catalog, view: &dyn View) -> Bytes {
    let mut out = format!(
        "{{\"swagger\":\"{SWAGGER}\",\"info\":{{\"title\":\"{TITLE}\",\"version\":\"{}\"}},\"paths\":{{",
        env!("CARGO_PKG_VERSION")
    );
    each_path(catalog, &mut |path, item| member(&mut out, path, item));
    out.push_str("},\"definitions\":{");
    each_schema(catalog, view, &mut |name, schema| member(&mut out, name, schema));
    out.push_str("}}");
    Bytes::from(out)
}

fn member(out: &mut String, name: &str, value: &Value) {
    if !out.ends_with('{') {
        out.push(',');
    }
    out.push_str(&Value::from(name).to_string());
    out.push(':');
    out.push_str(&value.to_string());
}

/// The document as gnostic's `openapi.v2.Document`.
pub(super) fn protobuf(catalog: &Catalog, view: &dyn View) -> Bytes {
    let mut document = gnostic::Document::new(SWAGGER, TITLE, env!("CARGO_PKG_VERSION"));
    each_path(catalog, &mut |path, item| document.path(path, item));
    each_schema(catalog, view, &mut |name, schema| document.schema(name, schema));
    document.finish()
}

fn each_path(catalog: &Catalog, take: &mut dyn FnMut(&str, &Value)) {
    for resource in catalog.resources.values() {
        let names = schemas::names_of(resource).at(REFERENCE_V2);
        let mut paths = Map::new();
        operations::add_paths_v2(&mut paths, resource, &names);
        paths.iter().for_each(|(path, item)| take(path, item));
    }
}

/// Built-in schemas are all there, whether or not their kinds are served: they refer to each other.
fn each_schema(catalog: &Catalog, view: &dyn View, take: &mut dyn FnMut(&str, &Value)) {
    let mut kinds: Map<String, Value> = Map::new();
    for resource in catalog.resources.values().filter(|resource| !resource.custom) {
        let names = schemas::names_of(resource);
        for (name, kind) in [(names.object, &resource.kind.kind), (names.list, &resource.list_kind)]
        {
            if let Some(mut schema) = schemas::builtin().get(&name).cloned() {
                if let Some(schema) = schema.as_object_mut() {
                    schemas::mark_kind(schema, resource, kind);
                }
                kinds.insert(name, schema);
            }
        }
    }
    for (name, schema) in schemas::builtin() {
        take(name, kinds.get(name).unwrap_or(schema));
    }
    for resource in catalog.resources.values().filter(|resource| resource.custom) {
        let names = schemas::names_of(resource);
        let mut schema = schemas::custom(resource, view);
        lower(&mut schema);
        take(&names.object, &schema);
        take(&names.list, &schemas::list(resource, &names.object));
    }
}

/// Takes out what version 2 cannot say.
fn lower(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    for keyword in ["allOf", "anyOf", "oneOf", "not"] {
        map.remove(keyword);
    }
    let flag = |map: &Map<String, Value>, key: &str| map.get(key) == Some(&Value::Bool(true));
    if flag(map, "nullable") {
        // Clients would refuse null where a type is named.
        for keyword in ["type", "nullable", "items", "properties", "additionalProperties"] {
            map.remove(keyword);
        }
    }
    if flag(map, "x-kubernetes-preserve-unknown-fields") {
        // Clients would refuse unknown fields where known ones are named.
        let envelope = map.get("x-kubernetes-group-version-kind").is_some();
        map.remove("items");
        if !envelope {
            map.remove("properties");
        }
    }
    let properties = map.get("properties").and_then(Value::as_object);
    let nullable: Vec<String> = properties
        .into_iter()
        .flatten()
        .filter(|(_, of)| of.get("nullable") == Some(&Value::Bool(true)))
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !nullable.iter().any(|n| name == n));
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(of) = map.get_mut(keyword) {
            lower(of);
        }
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(lower);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_version_2_cannot_say_is_left_out() {
        let mut schema = json!({"type": "object", "required": ["a", "n"], "properties": {
            "a": {"type": "string", "anyOf": [{"minLength": 1}]},
            "n": {"type": "string", "nullable": true},
            "o": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"x": {"type": "string"}}},
        }});
        lower(&mut schema);
        assert_eq!(
            schema,
            json!({"type": "object", "required": ["a"], "properties": {
                "a": {"type": "string"}, "n": {},
                "o": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }})
        );
    }
}
