//! Discovery: which groups, versions and resources are served, in the plain and the aggregated form.
//!
//! Pure functions of a catalog. The plain form is `APIVersions`, `APIGroupList`, `APIGroup` and
//! `APIResourceList`; the aggregated one (KEP-3352) is `APIGroupDiscoveryList`, the core group under `/api`, all
//! others under `/apis`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_object::Gvk;
use quadrille_registry::{Catalog, Resource, Subresource};
use serde_json::{Map, Value, json};

/// The versions of the aggregated form that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Aggregated {
    /// `apidiscovery.k8s.io/v2`.
    V2,
    /// `apidiscovery.k8s.io/v2beta1`, for clients up to kubectl 1.29.
    V2Beta1,
}

impl Aggregated {
    /// Its `v` parameter in media types.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }

    /// The media type of an answer in an encoding.
    pub(crate) fn content_type(self, encoding: &str) -> String {
        let version = self.version();
        format!("{encoding};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
    }
}

/// Whose list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Root {
    /// `/api`: the core group.
    Core,
    /// `/apis`: every other group.
    Groups,
}

type Versions<'a> = BTreeMap<Reverse<VersionRank>, Vec<&'a Arc<Resource>>>;

/// How Kubernetes orders versions: GA before beta before alpha, higher numbers first, others last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct VersionRank {
    stability: u8,
    major: u64,
    minor: u64,
    // Versions of another form come last, in alphabetical order.
    name: Reverse<Arc<str>>,
}

impl VersionRank {
    fn of(version: &Arc<str>) -> Self {
        let (stability, major, minor) = parts(version).unwrap_or((0, 0, 0));
        Self { stability, major, minor, name: Reverse(Arc::clone(version)) }
    }
}

/// `v1beta2` → (2, 1, 2); `v3` → (3, 3, 0).
fn parts(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(end);
    let major = major.parse().ok()?;
    if rest.is_empty() {
        return Some((3, major, 0));
    }
    let (stability, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        (Some(minor), _) => (2, minor),
        (_, Some(minor)) => (1, minor),
        _ => return None,
    };
    Some((stability, major, minor.parse().ok()?))
}

/// Groups in order of name, each with its versions in Kubernetes' order. Those of built-in kinds come first:
/// where two groups serve a name, clients take the first, and a definition must not take `deployments` away.
fn groups(catalog: &Catalog, root: Root) -> Vec<(Arc<str>, Versions<'_>)> {
    let mut groups: BTreeMap<Arc<str>, Versions<'_>> = BTreeMap::new();
    for resource in catalog.resources.values() {
        if resource.gvr.group.is_empty() == (root == Root::Core) {
            let versions = groups.entry(Arc::clone(&resource.gvr.group)).or_default();
            let rank = Reverse(VersionRank::of(&resource.gvr.version));
            versions.entry(rank).or_default().push(resource);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    // The order of names stays within both parts.
    groups.sort_by_key(|(_, versions)| versions.values().flatten().all(|r| r.custom));
    groups
}

/// `/api` and `/apis` in the aggregated form.
pub(crate) fn aggregated(catalog: &Catalog, root: Root, form: Aggregated) -> Value {
    let items: Vec<Value> = groups(catalog, root).iter().map(aggregated_group).collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{}", form.version()),
        "metadata": {},
        "items": items,
    })
}

fn aggregated_group((name, versions): &(Arc<str>, Versions<'_>)) -> Value {
    let metadata = if name.is_empty() { json!({}) } else { json!({"name": **name}) };
    let versions = versions.iter().map(|(rank, resources)| {
        json!({
            "version": *rank.0.name.0,
            "resources": resources.iter().map(|r| aggregated_resource(r)).collect::<Vec<_>>(),
            "freshness": "Current",
        })
    });
    json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
}

fn kind_value(kind: &Gvk) -> Value {
    json!({"group": *kind.group, "version": *kind.version, "kind": *kind.kind})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let mut value = Map::new();
    value.insert("resource".into(), json!(*resource.gvr.resource));
    value.insert("responseKind".into(), kind_value(&resource.kind));
    let scope = if resource.namespaced { "Namespaced" } else { "Cluster" };
    value.insert("scope".into(), json!(scope));
    value.insert("singularResource".into(), json!(*resource.singular));
    value.insert("verbs".into(), json!(resource.shown_verbs()));
    names(&mut value, "shortNames", &resource.short_names);
    names(&mut value, "categories", &resource.categories);
    if !resource.subresources.is_empty() {
        let subresources = resource.subresources.iter().map(|sub| {
            json!({
                "subresource": *sub.name, "responseKind": kind_value(&sub.kind), "verbs": sub.verbs,
            })
        });
        value.insert("subresources".into(), subresources.collect());
    }
    Value::Object(value)
}

fn names(value: &mut Map<String, Value>, field: &str, names: &[Arc<str>]) {
    if !names.is_empty() {
        value.insert(field.to_owned(), names.iter().map(|name| Value::from(&**name)).collect());
    }
}

/// `/api` in the plain form; `address` is the server's own `host:port`.
pub(crate) fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis` in the plain form.
pub(crate) fn group_list(catalog: &Catalog) -> Value {
    let groups = groups(catalog, Root::Groups);
    let groups: Vec<Value> =
        groups.iter().map(|(name, versions)| group_value(name, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_value(name: &str, versions: &Versions<'_>) -> Value {
    let entry = |rank: &Reverse<VersionRank>| {
        let version = &rank.0.name.0;
        json!({"groupVersion": format!("{name}/{version}"), "version": **version})
    };
    let versions: Vec<Value> = versions.keys().map(entry).collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": name, "versions": versions, "preferredVersion": preferred})
}

/// `/apis/GROUP`; `None` when no such group is served.
pub(crate) fn group(catalog: &Catalog, name: &str) -> Option<Value> {
    let groups = groups(catalog, Root::Groups);
    let (_, versions) = groups.iter().find(|(known, _)| **known == *name)?;
    let mut value = group_value(name, versions);
    let object = value.as_object_mut()?;
    object.insert("kind".to_owned(), json!("APIGroup"));
    object.insert("apiVersion".to_owned(), json!("v1"));
    Some(value)
}

/// `/api/v1` and `/apis/GROUP/VERSION`; `None` when no such version is served.
pub(crate) fn resource_list(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    let served = catalog.resources.values();
    for resource in served.filter(|r| *r.gvr.group == *group && *r.gvr.version == *version) {
        resources.push(plain_resource(resource));
        resources.extend(resource.subresources.iter().map(|sub| plain_subresource(resource, sub)));
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut list = json!({
        "kind": "APIResourceList", "groupVersion": group_version, "resources": resources,
    });
    if !group.is_empty() {
        list.as_object_mut()?.insert("apiVersion".to_owned(), json!("v1"));
    }
    let empty = list.get("resources").and_then(Value::as_array).is_none_or(Vec::is_empty);
    (!empty).then_some(list)
}

fn plain_resource(resource: &Resource) -> Value {
    let mut value = Map::new();
    value.insert("name".into(), json!(*resource.gvr.resource));
    value.insert("singularName".into(), json!(*resource.singular));
    value.insert("namespaced".into(), json!(resource.namespaced));
    foreign_kind(&mut value, resource, &resource.kind);
    value.insert("kind".into(), json!(*resource.kind.kind));
    value.insert("verbs".into(), json!(resource.shown_verbs()));
    names(&mut value, "shortNames", &resource.short_names);
    names(&mut value, "categories", &resource.categories);
    if resource.verbs.contains(&"watch") {
        value.insert("storageVersionHash".into(), json!(storage_version_hash(resource)));
    }
    Value::Object(value)
}

fn plain_subresource(resource: &Resource, sub: &Subresource) -> Value {
    let mut value = Map::new();
    value.insert("name".into(), json!(format!("{}/{}", resource.gvr.resource, sub.name)));
    value.insert("singularName".into(), json!(""));
    value.insert("namespaced".into(), json!(resource.namespaced));
    foreign_kind(&mut value, resource, &sub.kind);
    value.insert("kind".into(), json!(*sub.kind.kind));
    value.insert("verbs".into(), json!(sub.verbs));
    Value::Object(value)
}

/// Names the kind's group and version where they are not the endpoint's own.
fn foreign_kind(value: &mut Map<String, Value>, resource: &Resource, kind: &Gvk) {
    if kind.group != resource.gvr.group || kind.version != resource.gvr.version {
        value.insert("group".into(), json!(*kind.group));
        value.insert("version".into(), json!(*kind.version));
    }
}

/// Tells clients when the stored form of a resource changes: base64 of eight bytes of a hash.
fn storage_version_hash(resource: &Resource) -> String {
    use base64::Engine as _;
    use sha2::{Digest, Sha256};
    let kind = &resource.kind;
    let text = format!("{}/{}/{}", kind.group, resource.storage_version, kind.kind);
    let hash = Sha256::digest(text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hash.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use quadrille_object::Gvr;

    use super::*;

    fn entry(list: &Value, name: &str) -> Value {
        let entries = list["resources"].as_array().expect("a list");
        let mut entry = entries.iter().find(|e| e["name"] == name).expect(name).clone();
        entry.as_object_mut().expect("a map").remove("storageVersionHash");
        entry
    }

    #[test]
    fn resources_are_described_as_recorded() {
        let catalog = Catalog::builtin().expect("the built-in data is valid");
        let core = resource_list(&catalog, "", "v1").expect("served");
        assert_eq!(core.get("apiVersion"), None);
        assert_eq!(
            entry(&core, "pods"),
            json!({
                "categories": ["all"], "kind": "Pod", "name": "pods", "namespaced": true,
                "shortNames": ["po"], "singularName": "pod",
                "verbs": [
                    "create", "delete", "deletecollection", "get", "list", "patch", "update",
                    "watch",
                ],
            })
        );
        let apps = resource_list(&catalog, "apps", "v1").expect("served");
        assert_eq!(
            entry(&apps, "deployments/scale"),
            json!({
                "group": "autoscaling", "kind": "Scale", "name": "deployments/scale",
                "namespaced": true, "singularName": "", "verbs": ["get", "patch", "update"],
                "version": "v1",
            })
        );
    }

    #[test]
    fn groups_of_definitions_come_after_built_in_ones() {
        let mut catalog = Catalog::builtin().expect("the built-in data is valid");
        let builtin = Gvr::new("apps", "v1", "deployments");
        let mut custom = Resource::clone(catalog.by_gvr(&builtin).expect("built in"));
        custom.custom = true;
        custom.gvr = Gvr::new("acme.io", "v1", "deployments");
        catalog.resources.insert(custom.gvr.clone(), Arc::new(custom));
        let list = aggregated(&catalog, Root::Groups, Aggregated::V2);
        let items = list["items"].as_array().expect("a list");
        let place = |name: &str| items.iter().position(|item| item["metadata"]["name"] == name);
        assert!(place("acme.io") > place("storage.k8s.io") && place("apps").is_some());
        assert!(group(&catalog, "acme.io").is_some() && group(&catalog, "nope").is_none());
    }

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let names =
            ["foo1", "v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "foo10"];
        let mut ranks: Vec<_> =
            names.iter().map(|n| Reverse(VersionRank::of(&Arc::from(*n)))).collect();
        ranks.sort();
        let sorted: Vec<&str> = ranks.iter().map(|rank| &*rank.0.name.0).collect();
        let wanted =
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "foo1", "foo10"];
        assert_eq!(sorted, wanted);
    }
}
