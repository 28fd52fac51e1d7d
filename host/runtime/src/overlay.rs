//! A run's private view: a snapshot, the run's own writes on top of it, and the record of what was read.

use std::sync::Arc;

use quadrille_registry::{Action, Registry, Status, WriteOptions};
use quadrille_store::{Key, Object, Query, Snapshot};

use crate::reconciler::Grant;

/// What one run may do at most; a limit that is reached is an error of that run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayLimits {
    /// Objects returned by reads, in all.
    pub objects_read_max: usize,
    /// Bytes returned by reads, in all.
    pub bytes_read_max: usize,
    /// Writes, in all.
    pub writes_max: usize,
    /// Bytes written, in all.
    pub bytes_written_max: usize,
}

/// A run's view of the world; every read joins the read set, every write is admitted at once and read back.
#[derive(Debug)]
pub struct Overlay {
    _snapshot: Snapshot,
    _registry: Registry,
    _grant: Grant,
}

impl Overlay {
    /// An overlay without writes.
    pub fn new(snapshot: Snapshot, registry: Registry, grant: Grant) -> Self {
        Self { _snapshot: snapshot, _registry: registry, _grant: grant }
    }

    /// One object; joins the read set whether it exists or not. Needs `get`.
    ///
    /// # Errors
    /// `Forbidden` without the grant.
    pub fn get(&mut self, _key: &Key) -> Result<Option<Arc<Object>>, Status> {
        Ok(None)
    }

    /// The objects of a query; the range joins the read set. Needs `list`.
    ///
    /// # Errors
    /// `Forbidden` without the grant.
    pub fn list(&mut self, _query: &Query) -> Result<Vec<Arc<Object>>, Status> {
        Ok(Vec::new())
    }

    /// Creates, updates, patches, applies or deletes; answers the object after it (`None` when it is gone).
    /// Needs the verb on the resource, and on the subresource where one is named.
    ///
    /// # Errors
    /// Every refusal of the registry, and `Forbidden` without the grant.
    pub fn write(
        &mut self,
        _target: quadrille_registry::Target,
        _action: Action,
        _options: WriteOptions,
    ) -> Result<Option<Arc<Object>>, Status> {
        Ok(None)
    }
}
