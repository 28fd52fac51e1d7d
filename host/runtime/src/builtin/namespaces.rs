//! The life-cycle of namespaces: a new one is furnished, a terminating one is emptied and then goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quadrille_object::{GroupResource, Timestamp};
use quadrille_registry::Reason;
use quadrille_store::{Change, Key, Object, Query, Range, Revision, Selection, Snapshot, View};
use serde_json::{Value, json};

use super::batch::Batch;
use super::part::Part;
use super::pending::Pending;
use super::refused::Refused;
use crate::runtime::Shared;

/// What every namespace has; what is deleted comes back.
const FURNITURE: [(&str, &str); 2] =
    [("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")];

/// How many namespaces are furnished at once; then something else has its turn.
const FURNISHED_MAX: usize = 64;

/// The longest wait for what could not be furnished; each is twice as long as the one before.
const FURNISHING_WAIT_MAX: Duration = Duration::from_mins(5);

#[derive(Debug, Default)]
pub(super) struct Namespaces {
    terminating: BTreeSet<Arc<str>>,
    /// Terminating ones to look at.
    pending: Pending<Arc<str>>,
    /// New ones, and those that lost something.
    bare: Pending<Arc<str>>,
    /// Bare ones that could not be furnished for a reason that passes.
    postponed: Pending<Arc<str>>,
    /// When those are tried again, and how long they wait.
    furnished_from: Duration,
    wait: Duration,
}

fn namespaces() -> GroupResource {
    GroupResource::new("", "namespaces")
}

impl Namespaces {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut this = Self::default();
        for namespace in snapshot.list(&Query::whole(Range::all(namespaces()))) {
            this.note(&namespace, Revision(0));
        }
        this
    }

    pub(super) fn pending(&self) -> [&Pending<Arc<str>>; 3] {
        [&self.pending, &self.bare, &self.postponed]
    }

    /// How long until one is to be furnished; `None` when none is.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        if !self.bare.is_empty() {
            return Some(Duration::ZERO);
        }
        (!self.postponed.is_empty()).then(|| self.furnished_from.saturating_sub(now))
    }

    pub(super) fn look_at(&mut self, change: &Change) {
        let key = change.key();
        if key.resource == namespaces() {
            match change.after() {
                // Only a change of the namespace that may move its life on.
                Some(namespace)
                    if change.before.is_none() || namespace.meta.deleted_at.is_some() =>
                {
                    self.note(namespace, change.revision);
                }
                Some(_) => {}
                None => {
                    self.terminating.remove(&key.name);
                    self.pending.remove(&key.name);
                    self.bare.remove(&key.name);
                    self.postponed.remove(&key.name);
                }
            }
        } else if self.terminating.contains(&key.namespace) {
            self.pending.insert(Arc::clone(&key.namespace), change.revision);
        } else if change.after().is_none()
            && key.resource.group.is_empty()
            && FURNITURE.iter().any(|(r, n)| *r == &*key.resource.resource && *n == &*key.name)
        {
            self.bare.insert(Arc::clone(&key.namespace), change.revision);
        }
    }

    fn note(&mut self, namespace: &Object, cause: Revision) {
        let name = &namespace.key.name;
        if namespace.meta.deleted_at.is_some() {
            self.bare.remove(name);
            self.postponed.remove(name);
            self.terminating.insert(Arc::clone(name));
            self.pending.insert(Arc::clone(name), cause);
        } else {
            self.bare.insert(Arc::clone(name), cause);
        }
    }

    /// Furnishes some of what is bare; answers what was refused. What failed otherwise stays to be done.
    pub(super) async fn furnish(&mut self, shared: &Shared) -> BTreeSet<Key> {
        let mut refused = BTreeSet::new();
        let now = shared.clock.monotonic();
        if self.bare.is_empty() && self.wait(now).is_some_and(|wait| wait.is_zero()) {
            self.bare = std::mem::take(&mut self.postponed);
        }
        for _ in 0..FURNISHED_MAX {
            let Some((name, causes)) = self.bare.pop_first() else { break };
            let because: Vec<_> = causes.iter().copied().filter(|c| *c > Revision(0)).collect();
            match shared.registry.furnish(&name, &because).await {
                Ok(()) => self.wait = Duration::ZERO,
                Err(status) if status.reason == Reason::NotFound => {}
                Err(status) => {
                    tracing::warn!(namespace = %name, error = %status, "namespace not furnished yet");
                    if matches!(status.reason, Reason::Forbidden | Reason::Invalid) {
                        refused.insert(key_of(name));
                    } else {
                        self.postponed.insert_all(&name, &causes);
                    }
                }
            }
            let mut state = shared.lock();
            state.last_commit = state.last_commit.max(shared.registry.store().revision());
        }
        let now = shared.clock.monotonic();
        if !self.postponed.is_empty() && self.furnished_from <= now {
            self.wait = (self.wait * 2).clamp(crate::trigger::RETRY, FURNISHING_WAIT_MAX);
            self.furnished_from = now.saturating_add(self.wait);
        }
        refused
    }
}

impl Part for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-lifecycle"
    }

    fn is_busy(&self, _now: Timestamp) -> bool {
        !self.pending.is_empty()
    }

    /// Moves the next terminating namespaces on.
    fn work(&mut self, batch: &mut Batch, refused: &Refused) {
        while let Some((name, causes)) = self.pending.take(batch) {
            if empty(&name, batch, refused) {
                // There is more than one transaction takes.
                self.pending.insert_all(&name, &causes);
                break;
            }
        }
    }

    fn settle(&mut self) {
        self.pending.settle();
    }

    fn retry(&mut self) {
        self.pending.retry();
    }

    fn give_up(&mut self) -> Option<Key> {
        self.pending.give_up().map(key_of)
    }

    /// Looks at a namespace again, or at the one of an object.
    fn look_again(&mut self, key: &Key) {
        let is_namespace = key.resource == namespaces();
        let name = if is_namespace { &key.name } else { &key.namespace };
        if self.terminating.contains(name) {
            self.pending.insert(Arc::clone(name), Revision(0));
        } else if is_namespace {
            self.bare.insert(Arc::clone(name), Revision(0));
        }
    }
}

fn key_of(name: Arc<str>) -> Key {
    Key::new(namespaces(), "", name)
}

/// Deletes the content of a namespace, as much as a batch takes; ends the namespace when there is none. Answers whether
/// there is more to delete. What was refused waits for its time, so that it keeps nothing else from going.
fn empty(name: &Arc<str>, batch: &mut Batch, refused: &Refused) -> bool {
    let Some(namespace) = batch.view().get(&key_of(Arc::clone(name))) else { return false };
    if namespace.meta.deleted_at.is_none() {
        return false;
    }
    let content = content_of(name, batch);
    if content.is_empty() {
        finalize(&namespace, batch);
        return false;
    }
    let mut living: Vec<_> = content.iter().filter(|o| o.meta.deleted_at.is_none()).collect();
    if living.is_empty() {
        say_what_remains(&namespace, &content, batch);
        return false;
    }
    // Owners first, so that their controllers find nothing to repair.
    living.sort_by_key(|object| object.meta.owners.len());
    let before = batch.len();
    for object in living.into_iter().filter(|object| !refused.waits(&object.key)) {
        if batch.is_full() {
            return batch.len() > before || !refused.is_full();
        }
        batch.delete(object, None);
    }
    false
}

fn content_of(name: &Arc<str>, batch: &Batch) -> Vec<Arc<Object>> {
    let resources: BTreeSet<GroupResource> = batch
        .catalog()
        .resources
        .values()
        .filter(|resource| resource.namespaced)
        .map(|resource| resource.group_resource())
        .collect();
    let in_it = |resource| {
        let namespace = Some(Arc::clone(name));
        let range = Range { resource, namespace, selection: Selection::All };
        batch.view().list(&Query::whole(range))
    };
    resources.into_iter().flat_map(in_it).collect()
}

/// Takes the `kubernetes` finalizer away; the registry removes the namespace when no other is left.
fn finalize(namespace: &Object, batch: &mut Batch) {
    let mut value: Value = serde_json::from_slice(&namespace.bytes).unwrap_or_default();
    let held = value["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    if !held {
        return;
    }
    value["spec"]["finalizers"] = json!([]);
    batch.update(namespace, "finalize", value);
}

/// The conditions that people wait on and look at when a namespace does not go.
fn say_what_remains(namespace: &Object, content: &[Arc<Object>], batch: &mut Batch) {
    let mut resources: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for object in content {
        let resource = &object.key.resource;
        let name = format!("{}.{}", resource.resource, resource.group);
        *resources.entry(name).or_default() += 1;
        for finalizer in &object.meta.finalizers {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let resources: Vec<String> = resources
        .iter()
        .map(|(name, count)| format!("{name} has {count} resource instances"))
        .collect();
    let finalizers: Vec<String> = finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect();
    let remain = format!("Some resources are remaining: {}", resources.join(", "));
    let held = format!(
        "Some content in the namespace has finalizers remaining: {}",
        finalizers.join(", ")
    );
    let finalizers_remain = if finalizers.is_empty() {
        ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished")
    } else {
        ("True", "SomeFinalizersRemain", held.as_str())
    };
    let conditions = [
        (
            "NamespaceDeletionDiscoveryFailure",
            ("False", "ResourcesDiscovered", "All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            ("False", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        (
            "NamespaceDeletionContentFailure",
            (
                "False",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
        ),
        ("NamespaceContentRemaining", ("True", "SomeResourcesRemain", remain.as_str())),
        ("NamespaceFinalizersRemaining", finalizers_remain),
    ];
    let mut value: Value = serde_json::from_slice(&namespace.bytes).unwrap_or_default();
    let known = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let now = batch.view().0.registry().clock().now().to_rfc3339();
    let wanted = conditions.iter().map(|(kind, (status, reason, message))| {
        let old = known.iter().find(|c| c["type"] == **kind && c["status"] == **status);
        let since = old.map_or_else(|| json!(now), |c| c["lastTransitionTime"].clone());
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    });
    let wanted: Vec<Value> = wanted.collect();
    if known != wanted {
        value["status"]["conditions"] = wanted.into();
        batch.update(namespace, "status", value);
    }
}
