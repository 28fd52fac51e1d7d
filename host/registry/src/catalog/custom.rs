//! From a `CustomResourceDefinition` to the resources that it serves.
//!
//! The definition has been validated when it was written; what is missing here is left out, never an error.

use std::sync::Arc;

use quadrille_object::{GroupResource, Gvk, Gvr, Schema};
use serde_json::{Map, Value};

use crate::catalog::builtin::{SUB_VERBS, VERBS};
use crate::catalog::{Column, NameRule, Resource, ScalePaths, Subresource, Traits};
use crate::rules;

/// One resource per served version of a definition; none while its names are not accepted.
pub(crate) fn resources(definition: &Map<String, Value>) -> Vec<Resource> {
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let versions = spec.get("versions").and_then(Value::as_array).into_iter().flatten();
    let served = versions.filter(|v| v.get("served").and_then(Value::as_bool) == Some(true));
    served.filter_map(|version| resource(spec, version)).collect()
}

/// The group and the plural of a definition.
pub(crate) fn group_resource(definition: &Map<String, Value>) -> Option<GroupResource> {
    let spec = definition.get("spec")?;
    Some(GroupResource::new(text(spec, "group")?, text(spec.get("names")?, "plural")?))
}

fn resource(spec: &Value, version: &Value) -> Option<Resource> {
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
        warning: None,
        custom: true,
        schema: Arc::new(schema(version)),
        rules: rules::custom(),
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

/// A schema that was stored before a rule that it breaks was there serves nothing but metadata.
fn schema(version: &Value) -> Schema {
    let given = version.get("schema").and_then(|s| s.get("openAPIV3Schema"));
    let path = "spec.validation.openAPIV3Schema";
    let compiled = given.and_then(|schema| Schema::from_crd(schema, path).ok());
    compiled.unwrap_or_else(Schema::unknown)
}

fn storage_version(spec: &Value) -> Option<&str> {
    let mut versions = spec.get("versions")?.as_array()?.iter();
    let storage = versions.find(|v| v.get("storage").and_then(Value::as_bool) == Some(true))?;
    text(storage, "name")
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
