//! The registry's handle: what is served, over which store, and who is asked.
//!
//! What a request comes to is decided in [`decide`], committed in [`submit`] and shown by [`present`]. The handle itself
//! knows no request.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use quadrille_kit::{Clock, Random, Supervisor};
use quadrille_object::Gvk;
use quadrille_store::Store;
use tokio::sync::{RwLock, watch};

pub use self::prepared::{OpenQuestions, Prepared, Received, Unprepared, Written};
pub(crate) use self::present::done;
use crate::access::Access;
use crate::admission::Hooks;
use crate::catalog::{Catalog, Resource};
use crate::conversion::Kept;
use crate::definition::follow::Endings;
use crate::status::Status;
use crate::webhooks::Webhooks;

mod decide;
mod prepared;
mod present;
mod submit;

/// How a registry is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest object that is stored, in bytes of JSON.
    pub object_bytes_max: usize,
    /// The certificate of the host's authority as PEM, for the `ConfigMap` `kube-root-ca.crt`; empty without TLS.
    pub ca_certificate: String,
    /// The IPv4 range of Services' cluster IPs.
    pub service_range: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            object_bytes_max: 1_572_864,
            ca_certificate: String::new(),
            service_range: "10.96.0.0/16".to_owned(),
        }
    }
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
    /// Wakes whoever serves something of the catalog for long.
    catalog_changed: watch::Sender<()>,
    access: Access,
    hooks: ArcSwap<Hooks>,
    webhooks: OnceLock<Arc<dyn Webhooks>>,
    /// What conversion webhooks have answered.
    kept: Arc<Kept>,
    /// Who runs what must not end with the request that it belongs to.
    supervisor: OnceLock<Supervisor>,
    endings: Endings,
    /// Commits share it; a [`crate::Turn`] has it alone.
    commits: RwLock<()>,
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
        let catalog = ArcSwap::from_pointee(crate::catalog::builtin::catalog()?);
        let commits = RwLock::new(());
        let inner = Inner {
            store,
            config,
            clock,
            random,
            catalog,
            catalog_changed: watch::Sender::new(()),
            access: Access::default(),
            hooks: ArcSwap::default(),
            webhooks: OnceLock::new(),
            kept: Arc::default(),
            supervisor: OnceLock::new(),
            endings: Endings::default(),
            commits,
        };
        let registry = Self { inner: Arc::new(inner) };
        registry.load_definitions();
        registry.load_access();
        registry.load_hooks();
        Ok(registry)
    }

    /// The same registry over another store with the same kind of content: a fork of this one's. It serves what the
    /// definitions there say, knows the roles and policies there, and has no webhooks. It writes nothing by itself.
    #[must_use]
    pub fn fork(&self, store: Store, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let inner = Inner {
            store,
            config: self.inner.config.clone(),
            clock,
            random,
            catalog: ArcSwap::new(self.inner.catalog.load_full()),
            catalog_changed: watch::Sender::new(()),
            access: Access::default(),
            hooks: ArcSwap::new(self.inner.hooks.load_full()),
            webhooks: OnceLock::new(),
            kept: Arc::clone(&self.inner.kept),
            supervisor: OnceLock::new(),
            endings: Endings::default(),
            commits: RwLock::new(()),
        };
        let fork = Self { inner: Arc::new(inner) };
        fork.follow_definitions();
        fork.load_access();
        fork.load_hooks();
        fork
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

    /// Wakes after each change of the catalog from now on. What is written in the form of the new catalog is committed
    /// after that.
    pub fn catalog_changes(&self) -> watch::Receiver<()> {
        self.inner.catalog_changed.subscribe()
    }

    /// The index of roles and bindings.
    pub fn access(&self) -> &Access {
        &self.inner.access
    }

    /// Names the one who calls admission webhooks; only the first call counts. Without one each call fails.
    pub fn set_webhooks(&self, webhooks: Arc<dyn Webhooks>) {
        drop(self.inner.webhooks.set(webhooks));
    }

    /// Names the one who runs commits that something follows from, so that they end well though nobody waits for
    /// them any more; only the first call counts. Without one they end with the future of [`Self::commit`].
    pub fn set_supervisor(&self, supervisor: Supervisor) {
        drop(self.inner.supervisor.set(supervisor));
    }

    pub(crate) fn supervisor(&self) -> Option<&Supervisor> {
        self.inner.supervisor.get()
    }

    pub(crate) fn endings(&self) -> &Endings {
        &self.inner.endings
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.inner.kept
    }

    pub(crate) fn hooks(&self) -> &ArcSwap<Hooks> {
        &self.inner.hooks
    }

    pub(crate) fn commits(&self) -> &RwLock<()> {
        &self.inner.commits
    }

    /// The resource of a kind, as the catalog has it now.
    pub fn resource_of(&self, kind: &Gvk) -> Option<Arc<Resource>> {
        self.catalog().by_kind(kind).cloned()
    }

    /// Changes the catalog; later calls see what earlier ones did.
    pub(crate) fn update_catalog(&self, change: impl Fn(&mut Catalog)) {
        self.inner.catalog.rcu(|current| {
            let mut next = Catalog::clone(current);
            change(&mut next);
            next.converts = next.resources.values().any(|resource| resource.converter().is_some());
            next.generation += 1;
            next
        });
        self.inner.catalog_changed.send_replace(());
    }
}
