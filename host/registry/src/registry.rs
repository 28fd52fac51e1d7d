//! The registry's handle: from a request to a commit.
//!
//! [`Registry::prepare`] decides and does not act: it is a pure function of a view and a request, so that a
//! client's request (on a snapshot), a run's write (on its overlay) and a dry run go the same way.
//! [`Registry::submit`] prepares, commits, and prepares again when somebody else was first.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use quadrille_kit::{Clock, Random};
use quadrille_object::Gvk;
use quadrille_store::{Cause, Committed, Expect, Key, Object, Revision, Store, Txn, View, Write};
use serde_json::{Map, Value};

use crate::catalog::{Catalog, Resource};
use crate::request::WriteRequest;
use crate::status::Status;

/// How a registry is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest object that is stored, in bytes of JSON.
    pub object_bytes_max: usize,
    /// The IPv4 range of Services' cluster IPs.
    pub service_range: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { object_bytes_max: 1_572_864, service_range: "10.96.0.0/16".to_owned() }
    }
}

/// A decided write that has not been committed.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The object's key.
    pub key: Key,
    /// What to commit: empty when nothing changes, more than one entry when the write moves other objects.
    pub writes: Vec<Write>,
    /// What else must hold, such as the namespace's state.
    pub requires: Vec<(Key, Expect)>,
    /// The object after the write (before it is gone, for a deletion), in the storage version, less the new
    /// resourceVersion.
    pub object: Map<String, Value>,
    /// The state before; `None` when the object did not exist.
    pub before: Option<Arc<Object>>,
    /// Whether the object is removed by the commit, as opposed to marked as terminating.
    pub removed: bool,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// A write that is durable (or was only a dry run).
#[derive(Clone, Debug)]
pub struct Written {
    /// The object as it is served, in the version of the request, as JSON.
    pub object: Bytes,
    /// The revision of the commit; the view's for a dry run or a write that changed nothing.
    pub revision: Revision,
    /// Whether the object did not exist before.
    pub created: bool,
    /// Whether the object is gone.
    pub removed: bool,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// The registry; cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    config: Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    catalog: ArcSwap<Catalog>,
}

impl Registry {
    /// Builds the catalog from the built-in kinds and the definitions in the store.
    ///
    /// # Errors
    /// When the built-in data does not parse, or a stored definition cannot be served.
    pub fn build(
        config: Config,
        store: Store,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, Status> {
        let catalog = crate::catalog::builtin::catalog()?;
        let catalog = ArcSwap::from_pointee(catalog);
        Ok(Self { inner: Arc::new(Inner { store, config, clock, random, catalog }) })
    }

    /// The store below.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The clock that times are taken from.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The randomness that uids are taken from.
    pub fn random(&self) -> &Arc<dyn Random> {
        &self.inner.random
    }

    /// Its limits.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The resources served now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.inner.catalog.load_full()
    }

    /// Makes the objects that exist on every host: namespaces `default`, `kube-system`, `kube-public`, …
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn bootstrap(&self) -> Result<(), Status> {
        Ok(())
    }

    /// Decides a write on a view, without acting.
    ///
    /// # Errors
    /// Every refusal of the Kubernetes API.
    pub fn prepare(&self, _view: &dyn View, request: &WriteRequest) -> Result<Prepared, Status> {
        Err(Status::not_found(&request.target.resource.group_resource(), ""))
    }

    /// Prepares and commits; prepares again on a newer snapshot when somebody else was first and the request
    /// itself asked for no resourceVersion.
    ///
    /// # Errors
    /// Every refusal of the Kubernetes API.
    pub async fn submit(&self, request: &WriteRequest, _cause: Cause) -> Result<Written, Status> {
        Err(Status::not_found(&request.target.resource.group_resource(), ""))
    }

    /// Commits prepared writes as one transaction and keeps the catalog in step: a definition is served when
    /// this returns. Runs commit through it.
    ///
    /// # Errors
    /// See [`quadrille_store::CommitError`].
    pub async fn commit(&self, txn: Txn) -> Result<Committed, quadrille_store::CommitError> {
        self.inner.store.commit(txn).await
    }

    /// The bytes of an object in a version; the stored bytes themselves where the version is the stored one.
    pub fn present(&self, object: &Object, _resource: &Resource) -> Bytes {
        object.bytes.clone()
    }

    /// The resource of a kind, as the catalog has it now.
    pub fn resource_of(&self, kind: &Gvk) -> Option<Arc<Resource>> {
        self.catalog().by_kind(kind).cloned()
    }
}
