//! From a `CustomResourceDefinition` to the resources that it serves.
//!
//! The definition has been validated when it was written; what is missing here is left out, never an error.

use std::sync::{Arc, OnceLock};

use quadrille_object::{GroupResource, Gvk, Gvr, Schema};
use serde_json::{Map, Value};

use crate::catalog::builtin::SUB_VERBS;
use crate::catalog::{Column, Definition, NameRule, Resource, ScalePaths, Subresource, Traits};
use crate::conversion::Converter;
use crate::definition::expressions::{self, Rules};
use crate::definition::{is_terminating, version_rank};
use crate::rules;

/// The verbs of a custom resource, in the order in which kube-apiserver shows them.
const VERBS: [&str; 8] =
    ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// One resource per served version of a definition; none while its names are not accepted.
pub(crate) fn resources(definition: &Map<String, Value>) -> Vec<Resource> {
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let mut schemas = Schemas::default();
    let served = versions(spec).filter(|v| flag(v, "served"));
    let converter = Converter::compile(definition, &incarnation(definition));
    let make = |version| resource(definition, spec, version, (&mut schemas, converter.as_ref()));
    served.filter_map(make).collect()
}

/// The uid and the generation of a definition.
pub(crate) fn incarnation(definition: &Map<String, Value>) -> (Arc<str>, i64) {
    let metadata = definition.get("metadata").unwrap_or(&Value::Null);
    let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or_default();
    (text(metadata, "uid").unwrap_or_default().into(), generation)
}

/// Whether objects may be stored in another version than the one in which they are stored from now on.
pub(crate) fn is_mixed(definition: &Map<String, Value>) -> bool {
    let storage = definition.get("spec").and_then(storage_version);
    let stored = definition.get("status").and_then(|status| status.get("storedVersions"));
    let mut stored = stored.and_then(Value::as_array).into_iter().flatten();
    stored.any(|version| version.as_str() != storage)
}

/// The group and the plural of a definition.
pub(crate) fn group_resource(definition: &Map<String, Value>) -> Option<GroupResource> {
    let spec = definition.get("spec")?;
    Some(GroupResource::new(text(spec, "group")?, text(spec.get("names")?, "plural")?))
}

fn versions(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.get("versions").and_then(Value::as_array).into_iter().flatten()
}

fn resource<'a>(
    definition: &Map<String, Value>,
    spec: &Value,
    version: &'a Value,
    (schemas, converter): (&mut Schemas<'a>, Option<&Arc<Converter>>),
) -> Option<Resource> {
    let (group, names) = (text(spec, "group")?, spec.get("names")?);
    let (plural, kind) = (text(names, "plural")?, text(names, "kind")?);
    let name = text(version, "name")?;
    let storage_version = storage_version(spec)?;
    let kind = Gvk::new(group, name, kind);
    let list_kind =
        text(names, "listKind").map_or_else(|| format!("{}List", kind.kind), str::to_owned);
    let singular = text(names, "singular").map_or_else(|| kind.kind.to_lowercase(), str::to_owned);
    let scale = version.get("subresources").and_then(|s| s.get("scale")).and_then(scale_paths);
    Some(Resource {
        gvr: Gvr::new(group, name, plural),
        api_version: format!("{group}/{name}").into(),
        list_kind: list_kind.into(),
        singular: singular.into(),
        short_names: texts(names, "shortNames"),
        categories: texts(names, "categories"),
        namespaced: text(spec, "scope") == Some("Namespaced"),
        verbs: VERBS.to_vec(),
        subresources: subresources(&kind, version, scale.is_some()),
        columns: columns(version),
        storage_api_version: format!("{group}/{storage_version}").into(),
        storage_version: storage_version.into(),
        stored_as: GroupResource::new(group, plural),
        warning: deprecation(spec, version, &kind),
        custom: true,
        schema: schemas.of(version),
        definition: Some(Arc::new(Definition {
            incarnation: incarnation(definition),
            terminating: is_terminating(definition),
            mixed: is_mixed(definition),
            converter: converter.cloned(),
            selectable_fields: selectable_fields(version),
            has_rules: schema_of(version).is_some_and(expressions::has_rules),
            rules: OnceLock::new(),
        })),
        rules: rules::custom(group, plural),
        scale,
        traits: Traits {
            generation: true,
            create_on_update: false,
            unconditional_update: false,
            name_rule: NameRule::Subdomain,
        },
        kind,
    })
}

/// The rules of one version of a definition.
pub(crate) fn rules_of(definition: &Map<String, Value>, version: &str) -> Option<Rules> {
    let mut versions = versions(definition.get("spec")?);
    let version = versions.find(|of| text(of, "name") == Some(version))?;
    expressions::compile(schema_of(version)?)
}

fn schema_of(version: &Value) -> Option<&Value> {
    version.get("schema")?.get("openAPIV3Schema").filter(|schema| schema.is_object())
}

/// Schemas by what they were compiled from: versions often share one.
#[derive(Default)]
struct Schemas<'a>(Vec<(&'a Value, Arc<Schema>)>);

impl<'a> Schemas<'a> {
    fn of(&mut self, version: &'a Value) -> Arc<Schema> {
        let Some(given) = schema_of(version) else { return Arc::new(Schema::unknown()) };
        if let Some((_, known)) = self.0.iter().find(|(of, _)| *of == given) {
            return Arc::clone(known);
        }
        let compiled = Arc::new(Schema::from_checked(given));
        self.0.push((given, Arc::clone(&compiled)));
        compiled
    }
}

/// The warning of a deprecated version: the definition's own, or one that names the best version to go to.
fn deprecation(spec: &Value, version: &Value, kind: &Gvk) -> Option<Arc<str>> {
    if !flag(version, "deprecated") {
        return None;
    }
    if let Some(own) = version.get("deprecationWarning").and_then(Value::as_str) {
        return Some(own.into());
    }
    let (group, kind, name) = (&kind.group, &kind.kind, &kind.version);
    let newer = versions(spec)
        .filter(|v| flag(v, "served") && !flag(v, "deprecated"))
        .filter_map(|v| text(v, "name"))
        .filter(|other| version_rank(other) > version_rank(name))
        .max_by_key(|other| version_rank(other));
    let hint = newer.map(|newer| format!("; use {group}/{newer} {kind}")).unwrap_or_default();
    Some(format!("{group}/{name} {kind} is deprecated{hint}").into())
}

fn selectable_fields(version: &Value) -> Vec<String> {
    let fields = version.get("selectableFields").and_then(Value::as_array).into_iter().flatten();
    let paths = fields.filter_map(|field| text(field, "jsonPath")?.strip_prefix('.'));
    paths.map(str::to_owned).collect()
}

fn storage_version(spec: &Value) -> Option<&str> {
    text(versions(spec).find(|version| flag(version, "storage"))?, "name")
}

fn subresources(kind: &Gvk, version: &Value, has_scale: bool) -> Vec<Subresource> {
    let given = version.get("subresources");
    let sub =
        |name: &str, kind: Gvk| Subresource { name: name.into(), kind, verbs: SUB_VERBS.to_vec() };
    let mut found = Vec::new();
    if given.is_some_and(|s| s.get("status").is_some_and(|status| !status.is_null())) {
        found.push(sub("status", kind.clone()));
    }
    if has_scale {
        found.push(sub("scale", Gvk::new("autoscaling", "v1", "Scale")));
    }
    found
}

fn scale_paths(scale: &Value) -> Option<ScalePaths> {
    let path = |key: &str| -> Option<Vec<String>> {
        let text = text(scale, key)?.strip_prefix('.')?;
        Some(text.split('.').map(str::to_owned).collect())
    };
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath")?,
        status_replicas: path("statusReplicasPath")?,
        label_selector: path("labelSelectorPath"),
    })
}

fn columns(version: &Value) -> Vec<Column> {
    let name = Column {
        name: "Name".to_owned(),
        r#type: "string".to_owned(),
        format: "name".to_owned(),
        description: String::new(),
        priority: 0,
        json_path: Some(".metadata.name".to_owned()),
    };
    let given = version.get("additionalPrinterColumns").and_then(Value::as_array);
    let given: Vec<Column> = given.into_iter().flatten().map(column).collect();
    let mut all = vec![name];
    if given.is_empty() {
        all.push(Column {
            name: "Age".to_owned(),
            r#type: "date".to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
            json_path: Some(".metadata.creationTimestamp".to_owned()),
        });
    }
    all.extend(given);
    all
}

fn column(value: &Value) -> Column {
    let owned = |key: &str| text(value, key).unwrap_or_default().to_owned();
    Column {
        name: owned("name"),
        r#type: owned("type"),
        format: owned("format"),
        description: owned("description"),
        priority: value.get("priority").and_then(Value::as_i64).unwrap_or(0),
        json_path: Some(owned("jsonPath")),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn texts(value: &Value, key: &str) -> Vec<Arc<str>> {
    let list = value.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(Into::into).collect()
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool) == Some(true)
}
