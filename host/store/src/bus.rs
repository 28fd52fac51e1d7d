//! The bus: committed changes fan out to streams.
//!
//! The committer pushes a group into the ring once, answers, and wakes the streams of the resources it touched; a
//! stream takes what it needs when it gets to run. Nothing is queued per stream, so thousands of them cost the
//! committer nothing, and a slow one is late by itself. A stream on a quiet resource is woken only every
//! [`TICK`] changes, so that its position stays recent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use quadrille_object::GroupResource;

use crate::bell::{Bell, Listener};
use crate::change::Change;
use crate::key::Revision;
use crate::recent::{Limits, Recent};

/// After this many changes elsewhere a stream's position moves on even if nothing passed its filter.
pub(crate) const TICK: u64 = 4096;

/// Ring and wake-ups.
#[derive(Debug)]
pub(crate) struct Bus {
    recent: RwLock<Recent>,
    all: Bell,
    resources: Mutex<BTreeMap<GroupResource, Bell>>,
}

/// The revisions before and after a group that is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    before: Revision,
    newest: Revision,
}

impl Bus {
    pub(crate) fn new(limits: Limits, newest: Revision) -> Self {
        Self {
            recent: RwLock::new(Recent::new(limits, newest)),
            all: Bell::default(),
            resources: Mutex::default(),
        }
    }

    pub(crate) fn recent(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a group's changes to whoever looks; their snapshot is already visible. Nobody is woken yet: the writers
    /// are answered first, so that they do not wait behind those who follow.
    pub(crate) fn publish(&self, changes: &[Arc<Change>]) -> Published {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        let before = recent.newest();
        for change in changes {
            recent.push(change);
        }
        Published { before, newest: recent.newest() }
    }

    /// Wakes the streams of what was published.
    pub(crate) fn wake(&self, published: Published, changes: &[Arc<Change>]) {
        let Published { before, newest } = published;
        self.all.ring();
        let tick = before.0 / TICK != newest.0 / TICK;
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        if tick {
            resources.retain(|_, bell| bell.is_heard());
            resources.values().for_each(Bell::ring);
            let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
            recent.forget_quiet(|resource| resources.contains_key(resource));
            return;
        }
        let mut last: Option<&GroupResource> = None;
        for change in changes {
            let resource = &change.key().resource;
            if last != Some(resource) {
                if let Some(bell) = resources.get(resource) {
                    bell.ring();
                }
                last = Some(resource);
            }
        }
    }

    /// Wake-ups for changes of one resource, or of all.
    pub(crate) fn subscribe(&self, resource: Option<&GroupResource>) -> Listener {
        let Some(resource) = resource else { return self.all.listen() };
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        resources.entry(resource.clone()).or_default().listen()
    }

    /// Wakes everybody, so that they find the store closed.
    pub(crate) fn close(&self) {
        self.all.ring();
        let resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        resources.values().for_each(Bell::ring);
    }
}
