//! The catalog: every resource that is served, as data.
//!
//! A catalog is immutable; a change of definitions makes a new one that shares every unchanged resource, and
//! a request keeps the one it began with. Lookups are hash lookups.

pub(crate) mod builtin;
pub(crate) mod custom;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quadrille_object::{GroupResource, Gvk, Gvr, Schema};
use quadrille_store::{Key, View};

use crate::conversion::Converter;
use crate::definition::expressions;
use crate::rules::Rules;

/// A column of the Table form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub r#type: String,
    /// `name`, or an `OpenAPI` format; may be empty.
    pub format: String,
    /// For people.
    pub description: String,
    /// 0 is always shown; more only with `-o wide`.
    pub priority: i64,
    /// The `JSONPath` of a custom resource's column; `None` where a built-in rule makes the cell.
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

/// Where the `scale` subresource finds its numbers, as the segments of their paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// The wanted replicas.
    pub spec_replicas: Vec<String>,
    /// The observed replicas.
    pub status_replicas: Vec<String>,
    /// The label selector in text form; built-in kinds make it from `spec.selector`.
    pub label_selector: Option<Vec<String>>,
}

/// What a name of the resource may look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameRule {
    /// A DNS-1123 subdomain.
    #[default]
    Subdomain,
    /// A DNS-1123 label.
    Label,
    /// Whatever may stand as one segment of a path.
    PathSegment,
}

/// How the generic write path treats a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Whether `metadata.generation` counts changes of what is wanted.
    pub generation: bool,
    /// Whether a PUT of a missing object creates it.
    pub create_on_update: bool,
    /// Whether a PUT without a resourceVersion is taken.
    pub unconditional_update: bool,
    /// What a name may look like.
    pub name_rule: NameRule,
}

/// One resource in one version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its endpoint.
    pub gvr: Gvr,
    /// The kind of its objects.
    pub kind: Gvk,
    /// `kind`'s group and version as objects write it.
    pub api_version: Arc<str>,
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
    /// `apiVersion` of the stored objects.
    pub storage_api_version: Arc<str>,
    /// Where its objects are stored; differs from its own name for events.k8s.io only.
    pub stored_as: GroupResource,
    /// What clients of the whole resource are told, such as that it is deprecated.
    pub warning: Option<Arc<str>>,
    /// Whether a `CustomResourceDefinition` made it.
    pub custom: bool,
    /// The shape of its objects in this version.
    pub schema: Arc<Schema>,
    /// Where `scale` finds its numbers.
    pub scale: Option<ScalePaths>,
    /// How the generic write path treats it.
    pub traits: Traits,
    /// What a definition says beyond that; `None` for built-in kinds.
    pub definition: Option<Arc<Definition>>,
    pub(crate) rules: &'static dyn Rules,
}

/// What only the resource of a `CustomResourceDefinition` has.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    /// The definition's uid and generation: while these stay, so does what was compiled from it.
    pub incarnation: (Arc<str>, i64),
    /// Whether the definition is on its way out, and takes no new objects.
    pub terminating: bool,
    /// The fields, beside name and namespace, by which objects can be selected: `spec.color`.
    pub selectable_fields: Vec<String>,
    /// Whether objects may be stored in versions that were the storage version once.
    pub mixed: bool,
    /// Who converts objects between versions; `None` where these differ in name alone.
    pub(crate) converter: Option<Arc<Converter>>,
    /// Whether the schema has rules in expressions.
    pub has_rules: bool,
    /// The rules, compiled when the first object is checked.
    pub(crate) rules: OnceLock<Option<Arc<expressions::Rules>>>,
}

impl Resource {
    /// Where its objects are stored.
    pub fn group_resource(&self) -> GroupResource {
        self.stored_as.clone()
    }

    /// The fields, beside name and namespace, by which a custom resource can be selected; `None` for built-in kinds.
    pub fn selectable_fields(&self) -> Option<&[String]> {
        self.definition.as_ref().map(|definition| definition.selectable_fields.as_slice())
    }

    /// Whether a `CustomResourceDefinition` in the store made it. All others are the host's own, and stay what they are
    /// whatever definition asks for their name.
    pub fn is_defined(&self) -> bool {
        self.definition.as_deref().is_some_and(|of| !of.incarnation.0.is_empty())
    }

    /// Where the definition that made it is stored. The host's own kinds have none there: one that asks for their names
    /// waits for them, and speaks for nobody.
    pub(crate) fn definition_key(&self) -> Option<Key> {
        let key = || Key::new(crate::definition::resource(), "", self.qualified().to_string());
        self.is_defined().then(key)
    }

    /// The definition that made it, as JSON: the stored one, or that beside the code where the kind is the host's own.
    pub fn definition_json(&self, view: &dyn View) -> Option<Bytes> {
        let Some(key) = self.definition_key() else {
            return self.own_definition().map(|own| Bytes::from_static(own.as_bytes()));
        };
        view.get(&key).map(|stored| stored.bytes.clone())
    }

    /// The definition beside the code that makes a kind of the host's own.
    pub fn own_definition(&self) -> Option<&'static str> {
        let is_own = self.custom && !self.is_defined();
        is_own.then(|| builtin::definition(&self.gvr.resource)).flatten()
    }

    /// The verbs that discovery shows.
    pub fn shown_verbs(&self) -> Vec<&'static str> {
        let ends = self.definition.as_ref().is_some_and(|definition| definition.terminating);
        let adds = |verb: &str| matches!(verb, "create" | "update" | "patch");
        self.verbs.iter().copied().filter(|verb| !ends || !adds(verb)).collect()
    }

    /// Its own name whatever its version, as messages have it.
    pub fn qualified(&self) -> GroupResource {
        self.gvr.group_resource()
    }

    /// One of its subresources.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| *sub.name == *name)
    }

    /// Whether its objects are stored at all; a review is only answered.
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"get")
    }

    /// Whether a definition made both, and they are of one life of it.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        let uid = |of: &Self| of.definition.as_ref().map(|facts| Arc::clone(&facts.incarnation.0));
        self.kind == other.kind && uid(self) == uid(other)
    }

    /// Whether another state of this resource shows whatever is stored just as this one does. It may say no where that
    /// takes more than a look: of what a webhook converts, only the same definition counts as showing the same.
    pub fn shows_as(&self, other: &Self) -> bool {
        let (Some(own), Some(others)) = (&self.definition, &other.definition) else { return false };
        if own.incarnation == others.incarnation {
            return true;
        }
        let plain = |of: &Self| of.converter().is_none() || of.is_storage_form();
        self.is_same_kind(other)
            && self.storage_api_version == other.storage_api_version
            && self.columns == other.columns
            && (own.mixed || !others.mixed)
            && plain(self)
            && plain(other)
    }

    /// Whether all stored objects already have this version's form.
    pub fn is_storage_form(&self) -> bool {
        self.is_storage_version() && !self.definition.as_ref().is_some_and(|of| of.mixed)
    }

    /// Whether objects are stored in this version from now on.
    pub(crate) fn is_storage_version(&self) -> bool {
        self.api_version == self.storage_api_version
    }

    /// Who converts objects between versions; `None` where these differ in name alone.
    pub(crate) fn converter(&self) -> Option<&Arc<Converter>> {
        self.definition.as_ref()?.converter.as_ref()
    }

    /// The version in which the write path works: the request's where a webhook converts, else the stored one.
    pub(crate) fn working_api_version(&self) -> &Arc<str> {
        match self.converter() {
            Some(_) => &self.api_version,
            None => &self.storage_api_version,
        }
    }
}

/// Every resource that is served at one moment.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Grows with each change of the catalog; discovery's and `OpenAPI`'s caches are keyed by it.
    pub generation: u64,
    /// By endpoint, in order.
    pub resources: BTreeMap<Gvr, Arc<Resource>>,
    /// Whether some resource's versions are converted by a webhook.
    pub(crate) converts: bool,
    /// The host's kinds that have no endpoint of their own: each is only the body of another resource's subresource.
    bodies: Vec<Arc<Resource>>,
    kinds: HashMap<Gvk, Arc<Resource>>,
    storage: HashMap<GroupResource, Arc<Resource>>,
}

impl Catalog {
    /// Every resource that is there before the first definition.
    ///
    /// # Errors
    /// When the data beside the code does not parse.
    pub fn builtin() -> Result<Self, crate::status::Status> {
        builtin::catalog()
    }

    /// The resource at an endpoint.
    pub fn by_gvr(&self, gvr: &Gvr) -> Option<&Arc<Resource>> {
        self.resources.get(gvr)
    }

    /// The resource whose objects have a kind.
    pub fn by_kind(&self, kind: &Gvk) -> Option<&Arc<Resource>> {
        self.kinds.get(kind)
    }

    /// Any version of a resource, the storage version first.
    pub fn by_group_resource(&self, resource: &GroupResource) -> Option<&Arc<Resource>> {
        self.storage.get(resource)
    }

    /// Whether a resource is the host's own, which no definition makes or takes away.
    pub(crate) fn is_own(&self, resource: &GroupResource) -> bool {
        self.by_group_resource(resource).is_some_and(|of| !of.is_defined())
            || self.bodies.iter().any(|body| body.gvr.group_resource() == *resource)
    }

    /// All that has names: every resource that is served, and the host's kinds without an endpoint.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values().chain(&self.bodies)
    }

    /// Every served version of the resource at an endpoint.
    pub fn versions(&self, gvr: &Gvr) -> impl Iterator<Item = &Arc<Resource>> {
        let first = Gvr::new(Arc::clone(&gvr.group), "", "");
        let of_group = self.resources.range(first..).take_while(|(at, _)| at.group == gvr.group);
        of_group.filter(|(at, _)| at.resource == gvr.resource).map(|(_, resource)| resource)
    }

    /// Adds a kind that has no endpoint of its own and is only the body of another resource's subresource.
    pub(crate) fn insert_body(&mut self, resource: Resource) {
        let resource = Arc::new(resource);
        self.kinds.insert(resource.kind.clone(), Arc::clone(&resource));
        self.bodies.push(resource);
    }

    pub(crate) fn insert(&mut self, resource: impl Into<Arc<Resource>>) {
        let resource = resource.into();
        let holder = self.kinds.get(&resource.kind);
        // A kind of the host stays the host's, whatever a definition calls its own.
        if !resource.is_defined() || holder.is_none_or(|held| held.is_defined()) {
            self.kinds.insert(resource.kind.clone(), Arc::clone(&resource));
        }
        let own = resource.qualified();
        if resource.is_storage_version() || !self.storage.contains_key(&own) {
            self.storage.insert(own, Arc::clone(&resource));
        }
        self.resources.insert(resource.gvr.clone(), resource);
    }

    /// Takes every version of a resource out, and answers them.
    pub(crate) fn remove(&mut self, resource: &GroupResource) -> Vec<Arc<Resource>> {
        self.storage.remove(resource);
        let first = Gvr::new(Arc::clone(&resource.group), "", "");
        let of_group =
            self.resources.range(first..).take_while(|(at, _)| at.group == resource.group);
        let all: Vec<Arc<Resource>> = of_group
            .filter(|(at, _)| at.resource == resource.resource)
            .map(|(_, resource)| Arc::clone(resource))
            .collect();
        for gone in &all {
            self.resources.remove(&gone.gvr);
            if self.by_kind(&gone.kind).is_some_and(|held| Arc::ptr_eq(held, gone)) {
                self.kinds.remove(&gone.kind);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The resource of a definition in the group of tokens' kinds.
    fn defined(plural: &str, kind: &str) -> Arc<Resource> {
        let definition = json!({
            "metadata": {"uid": plural, "generation": 1},
            "spec": {
                "group": "authentication.k8s.io", "scope": "Cluster",
                "names": {"plural": plural, "kind": kind},
                "versions": [{"name": "v1", "served": true, "storage": true}],
            },
        });
        let Value::Object(definition) = definition else { unreachable!("an object") };
        Arc::new(custom::resources(&definition).remove(0))
    }

    #[test]
    fn a_kind_stays_with_who_has_it_when_another_of_its_name_comes_and_goes() {
        let mut catalog = Catalog::builtin().expect("the data parses");
        let kind = |kind| Gvk::new("authentication.k8s.io", "v1", kind);
        let body = Arc::clone(catalog.by_kind(&kind("TokenRequest")).expect("the host's"));
        let strange = defined("strangers", "TokenRequest");
        catalog.insert(Arc::clone(&strange));
        let holds = |catalog: &Catalog, of: &Arc<Resource>| {
            catalog.by_kind(&of.kind).is_some_and(|held| Arc::ptr_eq(held, of))
        };
        assert!(holds(&catalog, &body));
        catalog.remove(&strange.qualified());
        assert!(holds(&catalog, &body));
        let (first, second) = (defined("firsts", "Thing"), defined("seconds", "Thing"));
        catalog.insert(Arc::clone(&first));
        catalog.insert(Arc::clone(&second));
        catalog.remove(&first.qualified());
        assert!(holds(&catalog, &second));
        catalog.remove(&second.qualified());
        assert!(catalog.by_kind(&second.kind).is_none());
        assert!(catalog.is_own(&GroupResource::new("authentication.k8s.io", "tokenrequests")));
    }
}
