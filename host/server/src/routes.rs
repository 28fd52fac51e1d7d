//! The catalog as an index by text, so that a request finds its resource without an allocation.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use quadrille_registry::{Catalog, Registry, Resource};

/// The resources of one version of a group, by name.
type Version = HashMap<Arc<str>, Arc<Resource>>;

/// One catalog, indexed.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    catalog: Arc<Catalog>,
    groups: HashMap<Arc<str>, HashMap<Arc<str>, Version>>,
}

/// What a group, version and resource lead to.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A resource.
    Resource(&'a Arc<Resource>),
    /// The version is served and has no such resource.
    NoResource,
    /// The group or version is not served.
    NoVersion,
}

impl Routes {
    fn of(catalog: Arc<Catalog>) -> Self {
        let mut groups: HashMap<Arc<str>, HashMap<Arc<str>, Version>> = HashMap::new();
        for (gvr, resource) in &catalog.resources {
            let versions = groups.entry(Arc::clone(&gvr.group)).or_default();
            let version = versions.entry(Arc::clone(&gvr.version)).or_default();
            version.insert(Arc::clone(&gvr.resource), Arc::clone(resource));
        }
        Self { catalog, groups }
    }

    pub(crate) fn find(&self, group: &str, version: &str, resource: &str) -> Found<'_> {
        let Some(version) = self.groups.get(group).and_then(|versions| versions.get(version))
        else {
            return Found::NoVersion;
        };
        version.get(resource).map_or(Found::NoResource, Found::Resource)
    }
}

/// The index of the newest catalog that was asked for.
#[derive(Debug, Default)]
pub(crate) struct RouteCache(ArcSwap<Routes>);

impl RouteCache {
    /// The index of the registry's catalog; built anew when the catalog has changed.
    pub(crate) fn current(&self, registry: &Registry) -> Arc<Routes> {
        let catalog = registry.catalog();
        let known = self.0.load();
        if Arc::ptr_eq(&known.catalog, &catalog) {
            return Arc::clone(&known);
        }
        let routes = Arc::new(Routes::of(catalog));
        self.0.store(Arc::clone(&routes));
        routes
    }
}
