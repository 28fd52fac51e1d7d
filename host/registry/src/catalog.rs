//! The catalog: every resource that is served, as data.
//!
//! A catalog is immutable; a change of definitions makes a new one, and a request keeps the one it began with.

use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_object::{GroupResource, Gvk, Gvr};

/// A column of the Table form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub r#type: String,
    /// `name`, or an OpenAPI format; may be empty.
    pub format: String,
    /// For people.
    pub description: String,
    /// 0 is always shown; more only with `-o wide`.
    pub priority: i64,
    /// The JSONPath of a custom resource's column; `None` where a built-in rule makes the cell.
    pub json_path: Option<String>,
}

/// A subresource that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Such as `status` or `scale`.
    pub name: Arc<str>,
    /// The kind of its body; the resource's own for `status`.
    pub kind: Gvk,
    /// The verbs that it answers.
    pub verbs: Vec<&'static str>,
}

/// One resource in one version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its endpoint.
    pub gvr: Gvr,
    /// The kind of its objects.
    pub kind: Gvk,
    /// The kind of its lists, such as `PodList`.
    pub list_kind: Arc<str>,
    /// The name in the singular, in lower case.
    pub singular: Arc<str>,
    /// Short names, such as `po`.
    pub short_names: Vec<Arc<str>>,
    /// Categories, such as `all`.
    pub categories: Vec<Arc<str>>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// The verbs that it answers.
    pub verbs: Vec<&'static str>,
    /// Its subresources.
    pub subresources: Vec<Subresource>,
    /// The columns of its Table form.
    pub columns: Vec<Column>,
    /// The version in which its objects are stored.
    pub storage_version: Arc<str>,
    /// Whether a CustomResourceDefinition made it.
    pub custom: bool,
}

impl Resource {
    /// Where its objects are stored.
    pub fn group_resource(&self) -> GroupResource {
        self.gvr.group_resource()
    }

    /// One of its subresources.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| *sub.name == *name)
    }
}

/// Every resource that is served at one moment.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Grows with each change of the catalog; discovery's and OpenAPI's caches are keyed by it.
    pub generation: u64,
    /// By endpoint, in order.
    pub resources: BTreeMap<Gvr, Arc<Resource>>,
}

impl Catalog {
    /// The resource at an endpoint.
    pub fn by_gvr(&self, gvr: &Gvr) -> Option<&Arc<Resource>> {
        self.resources.get(gvr)
    }

    /// The resource whose objects have a kind.
    pub fn by_kind(&self, kind: &Gvk) -> Option<&Arc<Resource>> {
        self.resources.values().find(|resource| resource.kind == *kind)
    }

    /// Any version of a resource, the storage version first.
    pub fn by_group_resource(&self, resource: &GroupResource) -> Option<&Arc<Resource>> {
        let versions = self.resources.values().filter(|r| r.group_resource() == *resource);
        versions.max_by_key(|r| r.gvr.version == r.storage_version)
    }
}
