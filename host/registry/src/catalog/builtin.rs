//! The built-in resources, read from `data/resources.json`, and our own kinds from `data/plugins.json`
//! and `data/revisions.json`.

use std::sync::Arc;

use quadrille_object::{GroupResource, GroupVersion, Gvk, Gvr, Schema};
use serde::Deserialize;

use crate::catalog::{
    Catalog, Column, NameRule, Resource, ScalePaths, Subresource, Traits, custom,
};
use crate::rules;
use crate::status::{Reason, Status};

/// The verbs of an ordinary stored resource.
pub(crate) const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// The verbs of an ordinary subresource.
pub(crate) const SUB_VERBS: [&str; 3] = ["get", "patch", "update"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, as the data file has them")]
struct Entry {
    group: Arc<str>,
    version: Arc<str>,
    name: Arc<str>,
    kind: Arc<str>,
    singular: Option<Arc<str>>,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    short_names: Vec<Arc<str>>,
    #[serde(default)]
    categories: Vec<Arc<str>>,
    verbs: Option<Vec<String>>,
    #[serde(default)]
    subresources: Vec<SubEntry>,
    #[serde(default)]
    columns: Vec<(String, String, String, i64)>,
    #[serde(default)]
    generation: bool,
    #[serde(default)]
    create_on_update: bool,
    #[serde(default = "yes")]
    unconditional_update: bool,
    name_rule: Option<String>,
    stored_as: Option<Arc<str>>,
    /// The kind is only the body of another resource's subresource.
    #[serde(default)]
    body_only: bool,
    storage_version: Option<Arc<str>>,
    warning: Option<Arc<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubEntry {
    name: Arc<str>,
    verbs: Option<Vec<String>>,
    kind: Option<(Arc<str>, Arc<str>, Arc<str>)>,
}

fn yes() -> bool {
    true
}

/// The definition of our own kind, `plugins.quadrille.dev`, in the form of a `CustomResourceDefinition`.
const PLUGIN_DEFINITION: &str = include_str!("../../data/plugins.json");
/// That of `revisions.quadrille.dev`.
const REVISION_DEFINITION: &str = include_str!("../../data/revisions.json");

/// The definition of one of our own kinds, by its plural.
pub(crate) fn definition(plural: &str) -> Option<&'static str> {
    match plural {
        "plugins" => Some(PLUGIN_DEFINITION),
        "revisions" => Some(REVISION_DEFINITION),
        _ => None,
    }
}

/// Every resource that is there before the first definition.
///
/// # Errors
/// When the data beside the code does not parse.
pub(crate) fn catalog() -> Result<Catalog, Status> {
    let bad = |what: String| Status::new(Reason::InternalError, what);
    let entries: Vec<Entry> = serde_json::from_str(include_str!("../../data/resources.json"))
        .map_err(|error| bad(format!("cannot read the built-in resources: {error}")))?;
    let mut catalog = Catalog::default();
    for entry in entries {
        let kind = Gvk::new(&*entry.group, &*entry.version, &*entry.kind);
        let schema = Schema::builtin(&kind).ok_or_else(|| bad(format!("no shape for {kind}")))?;
        let body_only = entry.body_only;
        let resource = entry.into_resource(kind, Arc::new(schema));
        if body_only {
            catalog.insert_body(resource);
        } else {
            catalog.insert(resource);
        }
    }
    let plugin = serde_json::from_str(PLUGIN_DEFINITION)
        .map_err(|error| bad(format!("cannot read the definition of plugins: {error}")))?;
    let revision = serde_json::from_str(REVISION_DEFINITION)
        .map_err(|error| bad(format!("cannot read the definition of revisions: {error}")))?;
    for mut resource in custom::resources(&revision) {
        resource.verbs = vec!["get", "list", "watch"];
        catalog.insert(resource);
    }
    for mut resource in custom::resources(&plugin) {
        resource.subresources.push(Subresource {
            name: "component".into(),
            kind: resource.kind.clone(),
            verbs: vec!["get", "update"],
        });
        catalog.insert(resource);
    }
    Ok(catalog)
}

impl Entry {
    fn into_resource(self, kind: Gvk, schema: Arc<Schema>) -> Resource {
        let rules = rules::of(&self.group, &self.name);
        let traits = self.traits();
        let stored_as = match &self.stored_as {
            Some(core) => GroupResource::new("", &**core),
            None => GroupResource::new(&*self.group, &*self.name),
        };
        let storage_version = self.storage_version.unwrap_or_else(|| Arc::clone(&self.version));
        let storage = GroupVersion::new(&*stored_as.group, &*storage_version);
        let subresources: Vec<Subresource> =
            self.subresources.into_iter().map(|sub| sub.into_subresource(&kind)).collect();
        let has_scale = subresources.iter().any(|sub| *sub.name == *"scale");
        Resource {
            gvr: Gvr::new(&*self.group, &*self.version, &*self.name),
            list_kind: format!("{}List", self.kind).into(),
            singular: self.singular.unwrap_or_else(|| self.kind.to_lowercase().into()),
            short_names: self.short_names,
            categories: self.categories,
            namespaced: self.namespaced,
            verbs: verbs(self.verbs.as_deref(), &VERBS),
            columns: self.columns.into_iter().map(column).collect(),
            storage_version,
            warning: self.warning,
            storage_api_version: storage.to_string().into(),
            custom: false,
            definition: None,
            schema,
            rules,
            scale: has_scale.then(builtin_scale),
            traits,
            subresources,
            stored_as,
            api_version: kind.group_version().to_string().into(),
            kind,
        }
    }

    fn traits(&self) -> Traits {
        Traits {
            generation: self.generation,
            create_on_update: self.create_on_update,
            unconditional_update: self.unconditional_update,
            name_rule: match self.name_rule.as_deref() {
                Some("label") => NameRule::Label,
                Some("pathSegment") => NameRule::PathSegment,
                _ => NameRule::Subdomain,
            },
        }
    }
}

impl SubEntry {
    fn into_subresource(self, owner: &Gvk) -> Subresource {
        let kind = self.kind.map_or_else(|| owner.clone(), |(g, v, k)| Gvk::new(g, v, k));
        Subresource { name: self.name, kind, verbs: verbs(self.verbs.as_deref(), &SUB_VERBS) }
    }
}

fn column((name, r#type, format, priority): (String, String, String, i64)) -> Column {
    Column { name, r#type, format, description: String::new(), priority, json_path: None }
}

fn builtin_scale() -> ScalePaths {
    let path = |head: &str| vec![head.to_owned(), "replicas".to_owned()];
    ScalePaths {
        spec_replicas: path("spec"),
        status_replicas: path("status"),
        label_selector: None,
    }
}

fn verbs(given: Option<&[String]>, usual: &[&'static str]) -> Vec<&'static str> {
    let Some(given) = given else { return usual.to_vec() };
    VERBS.iter().copied().filter(|verb| given.iter().any(|g| g == verb)).collect()
}
