//! `OpenAPI`: what kubectl checks and explains objects by.
//!
//! `/openapi/v3` is an index with one hashed URL per group and version; each document is built when it is asked
//! for, from the built-in shapes or from the definitions of custom resources, and kept for as long as the
//! catalog stays what it was. `/openapi/v2` is the same in one JSON document, for older clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use quadrille_object::{GroupResource, GroupVersion};
use quadrille_registry::{Catalog, Resource};
use quadrille_store::{Key, View};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::discovery::{self, Aggregated, Root};

mod operations;

/// Built-in shapes, from Kubernetes 1.36's `OpenAPI` document.
static SHAPES: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let text = quadrille_object::schema::builtin_shapes();
    let parsed: Value = serde_json::from_str(text).unwrap_or_default();
    parsed.get("definitions").and_then(Value::as_object).cloned().unwrap_or_default()
});

const REFERENCE_V2: &str = "#/definitions/";
const REFERENCE_V3: &str = "#/components/schemas/";

/// A document and its entity tag.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The JSON text.
    pub(crate) bytes: Bytes,
    /// A hash of it, in upper-case hexadecimal.
    pub(crate) hash: Arc<str>,
}

/// Builds documents when they are asked for and keeps them while the catalog stays the same.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    generation: u64,
    documents: BTreeMap<String, Document>,
}

impl Documents {
    /// `/openapi/v3`: every group and version with the URL of its document.
    pub(crate) fn index(&self, catalog: &Catalog, view: &dyn View) -> Document {
        self.cached(catalog, "index", || {
            let mut paths = Map::new();
            for group_version in group_versions(catalog) {
                let path = path_of(&group_version);
                let hash = source_hash(catalog, view, &group_version);
                let url = format!("/openapi/v3/{path}?hash={hash}");
                paths.insert(path, json!({"serverRelativeURL": url}));
            }
            Some(json!({"paths": paths}))
        })
        .unwrap_or_else(empty)
    }

    /// `/openapi/v3/apis/GROUP/VERSION`, or `/openapi/v3/api/v1`; `None` when it is not served.
    pub(crate) fn group(
        &self,
        catalog: &Catalog,
        view: &dyn View,
        group_version: &GroupVersion,
    ) -> Option<Document> {
        let key = format!("v3 {}", path_of(group_version));
        self.cached(catalog, &key, || group_document(catalog, view, group_version))
    }

    /// `/api` or `/apis` in the aggregated form.
    pub(crate) fn aggregated(&self, catalog: &Catalog, root: Root, form: Aggregated) -> Document {
        let key = format!("discovery {root:?} {form:?}");
        let build = || Some(discovery::aggregated(catalog, root, form));
        self.cached(catalog, &key, build).unwrap_or_else(empty)
    }

    /// `/openapi/v2` as JSON.
    pub(crate) fn v2(&self, catalog: &Catalog, view: &dyn View) -> Document {
        self.cached(catalog, "v2", || Some(v2_document(catalog, view))).unwrap_or_else(empty)
    }

    fn cached(
        &self,
        catalog: &Catalog,
        key: &str,
        build: impl FnOnce() -> Option<Value>,
    ) -> Option<Document> {
        {
            let mut cache = self.lock();
            if cache.generation != catalog.generation {
                *cache = Cache { generation: catalog.generation, ..Cache::default() };
            }
            if let Some(document) = cache.documents.get(key) {
                return Some(document.clone());
            }
        }
        let bytes = Bytes::from(build()?.to_string());
        let document = Document { hash: hash_of(&bytes).into(), bytes };
        let mut cache = self.lock();
        if cache.generation == catalog.generation {
            cache.documents.insert(key.to_owned(), document.clone());
        }
        Some(document)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn empty() -> Document {
    Document { bytes: Bytes::from_static(b"{}"), hash: hash_of(b"{}").into() }
}

fn hash_of(bytes: &[u8]) -> String {
    in_hexadecimal(&Sha256::digest(bytes))
}

fn in_hexadecimal(hash: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    hash.iter().take(16).flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn group_versions(catalog: &Catalog) -> BTreeSet<GroupVersion> {
    catalog.resources.values().map(|resource| resource.kind.group_version()).collect()
}

/// `api/v1` or `apis/apps/v1`.
fn path_of(group_version: &GroupVersion) -> String {
    if group_version.group.is_empty() {
        format!("api/{}", group_version.version)
    } else {
        format!("apis/{group_version}")
    }
}

fn resources_of<'a>(
    catalog: &'a Catalog,
    group_version: &GroupVersion,
) -> impl Iterator<Item = &'a Arc<Resource>> {
    let GroupVersion { group, version } = group_version.clone();
    catalog.resources.values().filter(move |r| r.gvr.group == group && r.gvr.version == version)
}

/// Stands for a document without building it: a hash of what it is built from. Clients keep documents by it
/// across restarts and hosts, so that nothing that merely counts may be part of it.
fn source_hash(catalog: &Catalog, view: &dyn View, of: &GroupVersion) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    for resource in resources_of(catalog, of) {
        hash.update(format!("{:?} {:?}", resource.gvr, resource.verbs));
        for sub in &resource.subresources {
            hash.update(format!("{} {:?}", sub.name, sub.verbs));
        }
        if resource.custom {
            hash.update(custom_schema(resource, view).to_string());
        }
    }
    in_hexadecimal(&hash.finalize())
}

fn group_document(catalog: &Catalog, view: &dyn View, of: &GroupVersion) -> Option<Value> {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for resource in resources_of(catalog, of) {
        let name = add_schemas(&mut schemas, resource, view);
        operations::add_paths(&mut paths, resource, &format!("{REFERENCE_V3}{name}"));
    }
    if paths.is_empty() {
        return None;
    }
    // kubectl looks for the kind's options of deletion under this name.
    add_builtin(&mut schemas, "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
    let mut document = json!({
        "openapi": "3.0.0",
        "info": {"title": "Quadrille", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": schemas},
    });
    rewrite_references(&mut document);
    Some(document)
}

fn v2_document(catalog: &Catalog, view: &dyn View) -> Value {
    let mut definitions = Map::new();
    let mut paths = Map::new();
    for resource in catalog.resources.values() {
        let name = add_schemas(&mut definitions, resource, view);
        operations::add_paths_v2(&mut paths, resource, &format!("{REFERENCE_V2}{name}"));
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Quadrille", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "definitions": definitions,
    })
}

/// Adds the schema of a resource and all that it refers to; answers its name.
fn add_schemas(schemas: &mut Map<String, Value>, resource: &Resource, view: &dyn View) -> String {
    let name = if resource.custom { None } else { builtin_name(resource) };
    if let Some(name) = name {
        add_builtin(schemas, &name);
        if let Some(schema) = schemas.get_mut(&name).and_then(Value::as_object_mut) {
            mark_kind(schema, resource);
        }
        return name;
    }
    let mut reversed: Vec<&str> = resource.gvr.group.split('.').collect();
    reversed.reverse();
    let kind = &resource.kind;
    let name = format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind);
    let mut schema = custom_schema(resource, view);
    if let Some(object) = schema.as_object_mut() {
        mark_kind(object, resource);
        add_envelope(object);
        add_builtin(schemas, OBJECT_META);
    }
    schemas.insert(name.clone(), schema);
    name
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn mark_kind(schema: &mut Map<String, Value>, resource: &Resource) {
    let kind = &resource.kind;
    let mark = json!([{"group": *kind.group, "version": *kind.version, "kind": *kind.kind}]);
    schema.insert("x-kubernetes-group-version-kind".to_owned(), mark);
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
    properties
        .insert("metadata".to_owned(), json!({"$ref": format!("{REFERENCE_V2}{OBJECT_META}")}));
    schema.entry("type").or_insert_with(|| json!("object"));
}

/// The schema of a custom resource, as its definition has it.
fn custom_schema(resource: &Resource, view: &dyn View) -> Value {
    let definitions = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
    let key = Key::new(definitions, "", resource.qualified().to_string());
    let stored = view.get(&key);
    let own = quadrille_registry::PLUGIN_DEFINITION.as_bytes();
    let definition = stored.as_ref().map_or(own, |object| &object.bytes);
    let object = serde_json::from_slice::<Value>(definition).ok();
    let versions = object.as_ref().and_then(|o| o.pointer("/spec/versions")?.as_array());
    let version = versions
        .into_iter()
        .flatten()
        .find(|version| version.get("name").and_then(Value::as_str) == Some(&resource.gvr.version));
    let schema = version.and_then(|version| version.pointer("/schema/openAPIV3Schema"));
    schema.cloned().unwrap_or_else(|| json!({"type": "object"}))
}

/// The name of a built-in kind's definition: its package in Kubernetes, version and kind.
fn builtin_name(resource: &Resource) -> Option<String> {
    let kind = &resource.kind;
    let package = match &*kind.group {
        "" => "io.k8s.api.core".to_owned(),
        "apiextensions.k8s.io" => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions".to_owned()
        }
        "apiregistration.k8s.io" => "io.k8s.kube-aggregator.pkg.apis.apiregistration".to_owned(),
        group => format!("io.k8s.api.{}", group.split('.').next().unwrap_or_default()),
    };
    let name = format!("{package}.{}.{}", kind.version, kind.kind);
    SHAPES.contains_key(&name).then_some(name)
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
