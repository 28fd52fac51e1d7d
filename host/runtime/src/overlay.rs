//! A run's private view: a snapshot, the run's own writes on top of it, and the record of what was read.
//!
//! Reads and writes are checked against the grant first and then against the limits of the run. Every read joins
//! the read set, whether it found something or not; a write joins it with its key, because what it did, or
//! why it was refused, depends on what stood there. Writes go through [`Registry::prepare`] with this view, so that they are defaulted,
//! admitted and validated at once; several writes to one key are one change at the commit.
//!
//! It must never know who runs: no queue, no Wasm.

mod access;
mod event;
mod fault;
pub(crate) mod write;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use quadrille_object::{Meta, Template, Timestamp};
use quadrille_registry::{
    Actor, Consultation, OpenQuestions, RecordedAnswer, Registry, Resource, Status, Unprepared,
};
use quadrille_store::{
    Cause, Expect, FenceTicket, Key, Object, Query, Range, ReadSet, Revision, Snapshot, Txn, View,
    Write,
};
use serde::{Deserialize, Serialize};

use crate::reconciler::Grant;
use crate::record::EmptyReads;
pub use access::Refusal;
pub use event::Note;
pub use fault::Fault;

/// What one run may do at most; a limit that is reached is an error of that run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "each is a ceiling, and says so")]
pub struct OverlayLimits {
    /// Reads and objects returned by them, in all. Default 20,000.
    pub objects_read_max: usize,
    /// Bytes returned by reads, in all. Default 64 MiB.
    pub bytes_read_max: usize,
    /// Different lists. Default 1,000: the run's key goes on waiting for each of them.
    #[serde(default = "ranges_read_max")]
    pub ranges_read_max: usize,
    /// Bytes of the label selectors of different lists, in all ([`quadrille_object::LabelSelector::size`]). Default
    /// 64 KiB: they are kept while the run's key sleeps, and each change is held against them.
    #[serde(default = "selector_bytes_max")]
    pub selector_bytes_max: usize,
    /// Writes, in all. Default 2,000: one transaction of that size is still a few milliseconds.
    pub writes_max: usize,
    /// Bytes written, in all, with the last states of what is deleted. Default 16 MiB.
    pub bytes_written_max: usize,
    /// Events recorded. Default 16.
    pub events_max: usize,
}

impl Default for OverlayLimits {
    fn default() -> Self {
        Self {
            objects_read_max: 20_000,
            bytes_read_max: 64 << 20,
            ranges_read_max: ranges_read_max(),
            selector_bytes_max: selector_bytes_max(),
            writes_max: 2_000,
            bytes_written_max: 16 << 20,
            events_max: 16,
        }
    }
}

/// The default of a limit that the records of earlier hosts do not have.
fn ranges_read_max() -> usize {
    1_000
}

/// The same.
fn selector_bytes_max() -> usize {
    64 << 10
}

/// Who runs, for what.
#[derive(Clone, Debug)]
pub struct OverlayOwner {
    /// The plugin; its writes are made by the user `system:plugin:NAME`.
    pub plugin: Arc<str>,
    /// The controller: the source of its events.
    pub controller: Arc<str>,
    /// The field manager of its writes.
    pub field_manager: Arc<str>,
    /// The object that the run is for, one that its grant lets it get; events about it need no grant.
    pub primary: Option<Key>,
    /// The moment of the run.
    pub now: Timestamp,
}

impl Default for OverlayOwner {
    fn default() -> Self {
        let name: Arc<str> = "quadrille".into();
        Self {
            plugin: Arc::clone(&name),
            controller: Arc::clone(&name),
            field_manager: name,
            primary: None,
            now: Timestamp::default(),
        }
    }
}

/// What the run left at one key.
#[derive(Debug)]
struct OwnWrite {
    /// What the first write of the run expected of the store.
    expect: Expect,
    /// Whether the snapshot has the key.
    in_snapshot: bool,
    /// The state now; `None` when deleted.
    state: Option<(Arc<Object>, Meta, Template)>,
    /// Its place among the writes.
    order: usize,
}

/// How much was used of the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverlayUse {
    /// Reads and objects returned by them.
    pub objects_read: usize,
    /// Bytes returned by reads.
    pub bytes_read: usize,
    /// Writes.
    pub writes: usize,
    /// Bytes written.
    pub bytes_written: usize,
    /// Events recorded.
    pub events: usize,
}

/// A run's view of the world; every read joins the read set, every write is admitted at once and read back.
#[derive(Debug)]
pub struct Overlay {
    snapshot: Snapshot,
    registry: Registry,
    grant: Grant,
    limits: OverlayLimits,
    owner: OverlayOwner,
    actor: Actor,
    writes: BTreeMap<Key, OwnWrite>,
    requires: BTreeMap<Key, Expect>,
    keys_read: BTreeSet<Key>,
    ranges_read: HashSet<Range>,
    ranges_read_weakly: HashSet<Range>,
    /// Of the selectors of those, each as often as it is there.
    selector_bytes: usize,
    /// What was read and not there.
    empty: EmptyReads,
    used: OverlayUse,
    limit_reached: Option<Status>,
    /// Whether the API refused a write.
    was_refused: bool,
    /// What admission webhooks have answered in earlier tries of the run.
    answers: Option<Consultation>,
    /// What they must be asked before the run counts.
    questions: Option<OpenQuestions>,
    faults: fault::Faults,
}

impl Overlay {
    /// An overlay without writes, with the default limits, for the host itself.
    pub fn new(snapshot: Snapshot, registry: Registry, grant: Grant) -> Self {
        let this = Self {
            snapshot,
            registry,
            grant,
            limits: OverlayLimits::default(),
            owner: OverlayOwner::default(),
            actor: Actor::default(),
            writes: BTreeMap::new(),
            requires: BTreeMap::new(),
            keys_read: BTreeSet::new(),
            ranges_read: HashSet::new(),
            ranges_read_weakly: HashSet::new(),
            selector_bytes: 0,
            empty: EmptyReads::default(),
            used: OverlayUse::default(),
            limit_reached: None,
            was_refused: false,
            answers: None,
            questions: None,
            faults: fault::Faults::default(),
        };
        this.owned_by(OverlayOwner::default())
    }

    /// The same with other limits.
    #[must_use]
    pub fn limited(mut self, limits: OverlayLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The same for a run; its primary object joins the read set.
    #[must_use]
    pub fn owned_by(mut self, owner: OverlayOwner) -> Self {
        self.keys_read.extend(owner.primary.clone());
        self.actor = Actor {
            user: format!("system:plugin:{}", owner.plugin).into(),
            client: Arc::clone(&owner.controller),
            ..Actor::default()
        };
        self.owner = owner;
        self
    }

    /// The same with what admission webhooks have answered so far.
    #[must_use]
    pub fn answered(mut self, answers: Option<Consultation>) -> Self {
        self.answers = answers;
        self
    }

    /// What webhooks must be asked, with what they answered so far. Everything in the overlay assumes their consent
    /// then, so that it must be thrown away and the run made again with their answers.
    pub fn take_questions(&mut self) -> Option<(OpenQuestions, Option<Consultation>)> {
        let questions = self.questions.take()?;
        Some((questions, self.answers.take()))
    }

    /// One object; joins the read set whether it exists or not. Needs `get`.
    ///
    /// # Errors
    /// [`Refusal::Denied`] without the grant, [`Refusal::LimitReached`] at a limit.
    pub fn get(&mut self, key: &Key) -> Result<Option<Arc<Object>>, Status> {
        self.befall()?;
        self.allow("get", &key.resource, None, &key.namespace)?;
        let object = self.look(key);
        self.count_read(1, object.as_ref().map_or(0, |object| object.bytes.len()))?;
        if !self.keys_read.contains(key) {
            self.keys_read.insert(key.clone());
        }
        if object.is_none() {
            self.empty.keys.push(key.clone());
        }
        Ok(object)
    }

    /// The objects of a query; the range joins the read set, all of it even when the query has a limit. Needs
    /// `list`: in all namespaces when the query names none.
    ///
    /// # Errors
    /// [`Refusal::Denied`] without the grant, [`Refusal::LimitReached`] at a limit.
    pub fn list(&mut self, query: &Query) -> Result<Vec<Arc<Object>>, Status> {
        let found = self.list_unrecorded(query)?;
        if !self.ranges_read.contains(&query.range) {
            self.count_range(&query.range)?;
            self.ranges_read.insert(query.range.clone());
        }
        Ok(found)
    }

    /// As [`Self::list`], but a change of the range does not invalidate the run: it only wakes the key afterwards.
    /// What the run decides from it may rest on a state that is not the newest any more when it commits.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn list_weakly(&mut self, query: &Query) -> Result<Vec<Arc<Object>>, Status> {
        let found = self.list_unrecorded(query)?;
        if !self.ranges_read_weakly.contains(&query.range) {
            self.count_range(&query.range)?;
            self.ranges_read_weakly.insert(query.range.clone());
        }
        Ok(found)
    }

    fn list_unrecorded(&mut self, query: &Query) -> Result<Vec<Arc<Object>>, Status> {
        self.befall()?;
        let range = &query.range;
        self.allow("list", &range.resource, None, range.namespace.as_deref().unwrap_or(""))?;
        self.check_limit()?;
        let found = self.look_through(query);
        self.count_read(found.len().max(1), found.iter().map(|o| o.bytes.len()).sum())?;
        if found.is_empty() && query.after.is_none() && !self.empty.ranges.contains(range) {
            self.empty.ranges.push(range.clone());
        }
        Ok(found)
    }

    /// The bytes of an object in the version of a resource.
    ///
    /// # Errors
    /// As [`Self::all_shown`].
    pub fn shown(
        &mut self,
        object: &Arc<Object>,
        resource: &Arc<Resource>,
    ) -> Result<Bytes, Status> {
        let mut shown = self.all_shown(std::slice::from_ref(object), resource)?;
        shown.pop().ok_or_else(|| Status::not_found(&object.key.resource, &object.key.name))
    }

    /// The bytes of objects in the version of a resource.
    ///
    /// # Errors
    /// When a webhook that converts them has failed. When it has not been asked yet the run is stopped, and made again
    /// with its answers.
    pub fn all_shown(
        &mut self,
        objects: &[Arc<Object>],
        resource: &Arc<Resource>,
    ) -> Result<Vec<Bytes>, Status> {
        let answers = self.answers.as_ref();
        match self.registry.shown(&self.snapshot, objects, resource, answers) {
            Ok(shown) => Ok(shown),
            Err(Unprepared::Refused(status)) => Err(*status),
            Err(Unprepared::Asks(asks)) => {
                match &mut self.questions {
                    Some(questions) => questions.join(asks),
                    None => self.questions = Some(asks),
                }
                Err(self.stop_waiting())
            }
        }
    }

    /// The registry that writes go through, for its catalog.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The object that the run is for.
    pub fn primary(&self) -> Option<&Key> {
        self.owner.primary.as_ref()
    }

    /// The snapshot that is read.
    pub fn revision(&self) -> Revision {
        self.snapshot.revision()
    }

    /// The moment of the run.
    pub fn now(&self) -> Timestamp {
        self.owner.now
    }

    /// How much was used of the limits.
    pub fn used(&self) -> OverlayUse {
        self.used
    }

    /// The limit that was reached, if one was: the run has failed then, whatever its reconciler says.
    pub fn limit_reached(&self) -> Option<&Status> {
        self.limit_reached.as_ref()
    }

    /// Whether the API refused a write: the run may have ended as it did for something that it did not read.
    pub(crate) fn was_refused(&self) -> bool {
        self.was_refused
    }

    /// What was read so far.
    pub fn reads(&self) -> ReadSet {
        let checked = &self.ranges_read;
        let weak = self.ranges_read_weakly.iter().filter(|range| !checked.contains(range));
        let keys = self.keys_read.iter().cloned().collect();
        let (ranges, weak) = (in_order(checked.iter()), in_order(weak));
        ReadSet { at: self.snapshot.revision(), keys, ranges, weak }
    }

    /// Which of the reads found nothing; takes them out.
    pub(crate) fn take_empty(&mut self) -> EmptyReads {
        let mut empty = std::mem::take(&mut self.empty);
        empty.keys.sort();
        empty.keys.dedup();
        empty
    }

    /// What admission webhooks have answered, for the record.
    pub(crate) fn answers(&self) -> Vec<RecordedAnswer> {
        self.answers.as_ref().map(Consultation::record).unwrap_or_default()
    }

    /// What the overlay lies on.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The keys that the commit will change.
    pub fn written(&self) -> Vec<Key> {
        let mut changed: Vec<_> = self.writes.iter().filter(|(_, own)| own.changes()).collect();
        changed.sort_by_key(|(_, own)| own.order);
        changed.into_iter().map(|(key, _)| key.clone()).collect()
    }

    /// Ends the run: what to commit. Without writes there is nothing to commit, and the checks are the caller's.
    pub fn into_txn(self, fence: Option<FenceTicket>, cause: Cause) -> Txn {
        let reads = Some(self.reads());
        let written = self.writes.keys().cloned().collect::<BTreeSet<_>>();
        let mut writes: Vec<_> = self.writes.into_iter().filter(|(_, own)| own.changes()).collect();
        writes.sort_by_key(|(_, own)| own.order);
        let writes = writes.into_iter().map(|(key, own)| match own.state {
            Some((_, meta, object)) => Write::Put { key, meta, object, expect: own.expect },
            None => Write::Delete { key, expect: own.expect },
        });
        let requires = self.requires.into_iter().filter(|(key, _)| !written.contains(key));
        Txn { writes: writes.collect(), requires: requires.collect(), reads, fence, cause }
    }

    fn look(&self, key: &Key) -> Option<Arc<Object>> {
        match self.writes.get(key) {
            Some(own) => own.state.as_ref().map(|(object, _, _)| Arc::clone(object)),
            None => self.snapshot.get(key),
        }
    }

    fn look_through(&self, query: &Query) -> Vec<Arc<Object>> {
        let resource = &query.range.resource;
        if !self.writes.keys().any(|key| key.resource == *resource) {
            return self.snapshot.list(query);
        }
        let place =
            |object: &Object| (Arc::clone(&object.key.namespace), Arc::clone(&object.key.name));
        let whole = Query { limit: None, ..query.clone() };
        let stored = self.snapshot.list(&whole).into_iter();
        let stored = stored.filter(|object| !self.writes.contains_key(&object.key));
        let own = self.writes.values().filter_map(|own| own.state.as_ref().map(|(o, _, _)| o));
        let own = own.filter(|object| query.range.contains(object)).cloned();
        let mut found: Vec<_> = stored.chain(own).collect();
        found.retain(|object| query.after.as_ref().is_none_or(|after| place(object) > *after));
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.truncate(query.limit.unwrap_or(usize::MAX));
        found
    }
}

/// A set has no order of its own, and the record of a run must be the same each time.
fn in_order<'a>(ranges: impl Iterator<Item = &'a Range>) -> Vec<Range> {
    let mut ranges: Vec<Range> = ranges.cloned().collect();
    ranges.sort_by_cached_key(|range| format!("{range:?}"));
    ranges
}

/// How the registry sees an overlay: reads of the write path itself join nothing and are not checked. It is a type
/// of its own, so that nobody reads past the grant because a trait is in scope.
#[derive(Debug)]
pub(crate) struct Unchecked<'a>(pub(crate) &'a Overlay);

impl View for Unchecked<'_> {
    fn revision(&self) -> Revision {
        self.0.snapshot.revision()
    }

    fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.0.look(key)
    }

    fn list(&self, query: &Query) -> Vec<Arc<Object>> {
        self.0.look_through(query)
    }
}

impl OwnWrite {
    /// Whether it changes the store: what was created and deleted again does not.
    fn changes(&self) -> bool {
        self.state.is_some() || self.in_snapshot
    }
}

#[cfg(test)]
mod tests;
