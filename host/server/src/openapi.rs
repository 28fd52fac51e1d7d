//! `OpenAPI`: what kubectl checks and explains objects by.
//!
//! `/openapi/v3` is an index with one hashed URL per group and version. Nothing is built before it is asked for, and what
//! was built for a group stays for as long as the group's resources stay the same: a changed definition costs its own
//! group a document and nobody else. `/openapi/v2` is the same in one document, for older clients, as JSON and in the
//! protobuf form that Go clients read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quadrille_object::{GroupVersion, Gvr};
use quadrille_registry::{Catalog, Resource};
use quadrille_store::View;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use crate::discovery::{self, Aggregated, Root};

mod gnostic;
mod operations;
mod schemas;
mod version2;

/// A document and its entity tag.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// The text.
    pub(crate) bytes: Bytes,
    /// Stands for the content, in upper-case hexadecimal.
    pub(crate) hash: Arc<str>,
}

/// Builds documents when they are asked for and keeps them while what they are made of stays the same.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    /// Documents about everything, with the catalog's generation.
    whole: BTreeMap<Whole, (u64, Document)>,
    groups: BTreeMap<GroupVersion, Group>,
}

/// The documents about everything that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whole {
    Index,
    Discovery(Root, Aggregated),
    Version2(Version2),
}

/// The encodings of `/openapi/v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version2 {
    Json,
    Protobuf,
}

/// What is known of one group and version.
#[derive(Clone, Debug)]
struct Group {
    /// What it was made of; a changed resource is another one.
    resources: Vec<Arc<Resource>>,
    hash: Arc<str>,
    bytes: Option<Bytes>,
}

impl Group {
    fn is_of(&self, resources: &[Arc<Resource>]) -> bool {
        self.resources.len() == resources.len()
            && self.resources.iter().zip(resources).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

impl Documents {
    /// `/openapi/v3`: every group and version with the URL of its document.
    pub(crate) fn index(&self, catalog: &Catalog) -> Document {
        self.whole(catalog, Whole::Index, || {
            let groups = group_versions(catalog);
            let mut paths = Map::new();
            for (group_version, resources) in &groups {
                let (path, hash) =
                    (path_of(group_version), self.known(group_version, resources).hash);
                let url = format!("/openapi/v3/{path}?hash={hash}");
                paths.insert(path, json!({"serverRelativeURL": url}));
            }
            self.lock().groups.retain(|known, _| groups.contains_key(known));
            Bytes::from(json!({"paths": paths}).to_string())
        })
    }

    /// `/openapi/v3/apis/GROUP/VERSION`, or `/openapi/v3/api/v1`; `None` when it is not served.
    pub(crate) fn group(
        &self,
        catalog: &Catalog,
        view: &dyn View,
        group_version: &GroupVersion,
    ) -> Option<Document> {
        let resources = resources_of(catalog, group_version);
        if resources.is_empty() {
            return None;
        }
        let known = self.known(group_version, &resources);
        if let Some(bytes) = known.bytes {
            return Some(Document { bytes, hash: known.hash });
        }
        let bytes = Bytes::from(schemas::group_document(&resources, view).to_string());
        if let Some(group) = self.lock().groups.get_mut(group_version)
            && group.is_of(&resources)
        {
            group.bytes = Some(bytes.clone());
        }
        Some(Document { bytes, hash: known.hash })
    }

    /// The hash of a group's document, without building it; `None` when it is not served.
    pub(crate) fn group_hash(&self, catalog: &Catalog, of: &GroupVersion) -> Option<Arc<str>> {
        let resources = resources_of(catalog, of);
        (!resources.is_empty()).then(|| self.known(of, &resources).hash)
    }

    /// `/api` or `/apis` in the aggregated form.
    pub(crate) fn aggregated(&self, catalog: &Catalog, root: Root, form: Aggregated) -> Document {
        self.whole(catalog, Whole::Discovery(root, form), || {
            Bytes::from(discovery::aggregated(catalog, root, form).to_string())
        })
    }

    /// `/openapi/v2`.
    pub(crate) fn version2(&self, catalog: &Catalog, view: &dyn View, form: Version2) -> Document {
        self.whole(catalog, Whole::Version2(form), || match form {
            Version2::Json => version2::json(catalog, view),
            Version2::Protobuf => version2::protobuf(catalog, view),
        })
    }

    fn known(&self, of: &GroupVersion, resources: &[Arc<Resource>]) -> Group {
        if let Some(group) = self.lock().groups.get(of).filter(|group| group.is_of(resources)) {
            return group.clone();
        }
        let hash = source_hash(resources).into();
        let group = Group { resources: resources.to_vec(), hash, bytes: None };
        self.lock().groups.insert(of.clone(), group.clone());
        group
    }

    fn whole(&self, catalog: &Catalog, key: Whole, build: impl FnOnce() -> Bytes) -> Document {
        let generation = catalog.generation;
        if let Some((_, document)) = self.lock().whole.get(&key).filter(|(at, _)| *at == generation)
        {
            return document.clone();
        }
        let bytes = build();
        let document = Document { hash: hash_of(&bytes).into(), bytes };
        let mut cache = self.lock();
        // A slow builder must not replace what a newer catalog says.
        if cache.whole.get(&key).is_none_or(|(at, _)| *at < generation) {
            cache.whole.insert(key, (generation, document.clone()));
        }
        document
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

fn group_versions(catalog: &Catalog) -> BTreeMap<GroupVersion, Vec<Arc<Resource>>> {
    let mut groups: BTreeMap<GroupVersion, Vec<Arc<Resource>>> = BTreeMap::new();
    for resource in catalog.resources.values() {
        groups.entry(resource.kind.group_version()).or_default().push(Arc::clone(resource));
    }
    groups
}

/// `api/v1` or `apis/apps/v1`.
fn path_of(group_version: &GroupVersion) -> String {
    if group_version.group.is_empty() {
        format!("api/{}", group_version.version)
    } else {
        format!("apis/{group_version}")
    }
}

fn resources_of(catalog: &Catalog, of: &GroupVersion) -> Vec<Arc<Resource>> {
    let first = Gvr::new(Arc::clone(&of.group), Arc::clone(&of.version), "");
    let from_there = catalog.resources.range(first..);
    from_there
        .take_while(|(gvr, _)| gvr.group == of.group && gvr.version == of.version)
        .map(|(_, resource)| Arc::clone(resource))
        .collect()
}

/// Stands for a document without building it: a hash of what it is built from. Clients keep documents by it
/// across restarts and hosts, so that nothing that merely counts may be part of it: a definition's uid and generation
/// name one schema, wherever it is served.
fn source_hash(resources: &[Arc<Resource>]) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    for resource in resources {
        hash.update(format!("{:?} {:?}", resource.gvr, resource.verbs));
        for sub in &resource.subresources {
            hash.update(format!("{} {:?}", sub.name, sub.verbs));
        }
        match resource.definition.as_ref().map(|definition| &definition.incarnation) {
            Some((uid, generation)) if !uid.is_empty() => {
                hash.update(format!("{uid} {generation}"));
            }
            Some(_) => hash.update(resource.own_definition().unwrap_or_default()),
            None => {}
        }
    }
    in_hexadecimal(&hash.finalize())
}
