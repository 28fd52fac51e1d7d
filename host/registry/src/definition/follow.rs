//! Keeping the catalog in step with the definitions, and finishing the deletion of a definition.
//!
//! Flow of a deletion: the definition is marked (it has the cleanup finalizer); the commit that marks it deletes its
//! objects, page by page; the commit that removes the last object takes the finalizer away, and with it the
//! definition. All of it happens behind [`Registry::commit`], so that runs and requests need not know.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_object::GroupResource;
use quadrille_store::{
    Cause, Committed, Expect, Key, Object as Stored, Query, Range, Selection, SystemCause,
    View as _, Write,
};
use serde_json::json;

use crate::access::is_indexed;
use crate::admission::hooks;
use crate::catalog::{Definition, Resource, custom};
use crate::definition::{CLEANUP, is_served, is_terminating, lacks_names, resource};
use crate::field::Object;
use crate::registry::Registry;
use crate::request::{
    Action, Actor, Body, DeleteOptions, PatchFormat, Target, WriteOptions, WriteRequest,
};
use crate::status::{Reason, Status};
use crate::write::parse;

/// Definitions whose end is tried again: each by one task, however many changes lead to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endings(Arc<Mutex<BTreeSet<Key>>>);

/// The one task of a definition.
#[derive(Debug)]
struct Ending {
    of: Endings,
    key: Key,
}

impl Endings {
    /// `None` when there is a task already.
    fn begin(&self, key: &Key) -> Option<Ending> {
        let is_first = self.lock().insert(key.clone());
        is_first.then(|| Ending { of: self.clone(), key: key.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.of.lock().remove(&self.key);
    }
}

/// How many objects of a dying definition are looked at together.
const PAGE: usize = 500;
/// How long to wait before a definition that could not end is looked at again.
const RETRY: Duration = Duration::from_secs(1);

impl Registry {
    /// Serves what the store's definitions say.
    pub(crate) fn load_definitions(&self) {
        let query = Query::whole(Range::all(resource()));
        let definitions = self.store().snapshot().list(&query);
        self.update_catalog(|catalog| {
            for definition in definitions.iter().filter_map(|d| parse(d).ok()).filter(is_served) {
                if custom::group_resource(&definition).is_none_or(|of| catalog.is_own(&of)) {
                    continue;
                }
                for resource in custom::resources(&definition) {
                    catalog.insert(resource);
                }
            }
        });
    }

    /// Brings a catalog that was made from another state of the definitions in line with the store; what is as it was is
    /// not compiled again.
    pub(crate) fn follow_definitions(&self) {
        let catalog = self.catalog();
        let served = catalog.resources.values().filter(|of| of.is_defined());
        let served = served.map(|of| Key::new(resource(), "", of.group_resource().to_string()));
        let stored = self.store().snapshot().list(&Query::whole(Range::all(resource())));
        let keys: BTreeSet<Key> =
            served.chain(stored.iter().map(|definition| definition.key.clone())).collect();
        for key in keys {
            self.follow_definition(&key);
        }
    }

    /// Whether something follows from a write: it may change the catalog, be the last one of a dying definition, or
    /// make a namespace, or say who may do what.
    pub(crate) fn has_followers(&self, write: &Write) -> bool {
        let key = write.key();
        key.resource == resource()
            || is_indexed(key)
            || hooks::changes_hooks(write)
            || is_new_namespace(write)
            || (matches!(write, Write::Delete { .. })
                && self.catalog().by_group_resource(&key.resource).is_some_and(|r| r.custom))
    }

    /// Acts on what a commit did to definitions and custom objects.
    pub(crate) async fn follow(&self, committed: &Committed) {
        self.follow_access(committed.objects.iter().map(|object| &object.key));
        if committed.objects.iter().any(|object| hooks::is_hook(&object.key)) {
            self.load_hooks();
            self.check_policies(committed).await;
        }
        let is_namespace = |o: &&Arc<Stored>| {
            o.key.resource.group.is_empty() && *o.key.resource.resource == *"namespaces"
        };
        for namespace in committed.objects.iter().filter(is_namespace) {
            if namespace.meta.deleted_at.is_some() {
                continue;
            }
            // A namespace without its furniture works; the next start tries again.
            if let Err(error) =
                Box::pin(self.furnish(&namespace.key.name, &[namespace.revision])).await
            {
                tracing::warn!(object = %namespace.key, %error, "namespace is not furnished");
            }
        }
        let definitions: Vec<&Arc<Stored>> =
            committed.objects.iter().filter(|o| o.key.resource == resource()).collect();
        for definition in &definitions {
            self.follow_definition(&definition.key);
            let gone = self.store().snapshot().get(&definition.key).is_none();
            if let Some((_, group)) = definition.key.name.split_once('.').filter(|_| gone) {
                self.accept_waiting(group).await;
            }
        }
        let mut ending: Vec<Key> = definitions.iter().map(|d| d.key.clone()).collect();
        for object in committed.objects.iter().filter(|o| o.key.resource != resource()) {
            let key = Key::new(resource(), "", object.key.resource.to_string());
            if !ending.contains(&key) {
                ending.push(key);
            }
        }
        for key in ending {
            let snapshot = self.store().snapshot();
            let Some(definition) = snapshot.get(&key) else { continue };
            let held = definition.meta.finalizers.iter().any(|f| **f == *CLEANUP);
            if definition.meta.deleted_at.is_none() || !held {
                continue;
            }
            if let Err(error) = Box::pin(self.end_definition(&definition)).await {
                tracing::warn!(object = %key, %error, "definition cannot end yet");
                self.end_definition_later(key);
            }
        }
    }

    /// Tries again until the definition has ended or waits for its objects, given a supervisor; without one, at the next
    /// deletion and at the next start.
    fn end_definition_later(&self, key: Key) {
        let Some(supervisor) = self.supervisor() else { return };
        let Some(turn) = self.endings().begin(&key) else { return };
        let (this, shutdown) = (self.clone(), supervisor.shutdown());
        let work = async move {
            let _turn = turn;
            loop {
                this.clock().sleep(RETRY).await;
                let definition = this.store().snapshot().get(&key);
                let Some(definition) = definition.filter(|d| d.meta.deleted_at.is_some()) else {
                    return;
                };
                match Box::pin(this.end_definition(&definition)).await {
                    Ok(()) => return,
                    Err(error) => tracing::debug!(object = %key, %error, "definition still there"),
                }
            }
        };
        supervisor.spawn_brief("end of a definition", async move {
            tokio::select! {
                biased;
                () = shutdown.started() => {}
                () = work => {}
            }
        });
    }

    /// Finishes what an earlier life of the host left of dying definitions.
    pub(crate) async fn end_definitions(&self) -> Result<(), Status> {
        let query = Query::whole(Range::all(resource()));
        for definition in self.store().snapshot().list(&query) {
            if definition.meta.deleted_at.is_some() {
                self.end_definition(&definition).await?;
            }
        }
        Ok(())
    }

    /// Makes the catalog say what the store says now about one definition.
    fn follow_definition(&self, key: &Key) {
        let Some((plural, group)) = key.name.split_once('.') else { return };
        let group_resource = GroupResource::new(group, plural);
        self.update_catalog(|catalog| {
            // Read inside, so that of two racing changes the later one is what stays.
            let definition = self.store().snapshot().get(key).and_then(|d| parse(&d).ok());
            if catalog.is_own(&group_resource) {
                return;
            }
            let known = catalog.remove(&group_resource);
            let Some(definition) = definition.filter(is_served) else { return };
            for resource in unchanged(&definition, &known).unwrap_or_else(|| {
                custom::resources(&definition).into_iter().map(Arc::new).collect()
            }) {
                catalog.insert(resource);
            }
        });
    }

    /// Gives names that became free to definitions of the group that wait for them.
    async fn accept_waiting(&self, group: &str) {
        let query = Query::whole(Range::all(resource()));
        for definition in self.store().snapshot().list(&query) {
            let is_of_group =
                definition.key.name.split_once('.').is_some_and(|(_, rest)| rest == group);
            let waits = is_of_group
                && definition.meta.deleted_at.is_none()
                && parse(&definition).is_ok_and(|tree| !is_served(&tree) || lacks_names(&tree));
            if !waits {
                continue;
            }
            // An update decides anew which names the definition gets.
            let Some(request) = self.patch_definition(&definition, json!({})) else { return };
            let cause = Cause::System(SystemCause {
                part: "definitions".to_owned(),
                act: format!("look again at the names of {}", definition.key.name),
                because: vec![definition.revision],
            });
            if let Err(error) = Box::pin(self.submit(&request, cause)).await {
                tracing::warn!(object = %definition.key, %error, "names are not accepted yet");
            }
        }
    }

    fn patch_definition(
        &self,
        definition: &Stored,
        patch: serde_json::Value,
    ) -> Option<WriteRequest> {
        let target = Target {
            resource: self.catalog().by_group_resource(&resource()).cloned()?,
            namespace: "".into(),
            name: Some(Arc::clone(&definition.key.name)),
            subresource: None,
        };
        Some(host_request(target, Action::Patch(PatchFormat::Merge, Body::from(patch))))
    }

    /// Deletes the objects of a definition, and lets it go when none is left.
    async fn end_definition(&self, definition: &Stored) -> Result<(), Status> {
        let Some(tree) = parse(definition).ok() else { return Ok(()) };
        let Some(of) = custom::group_resource(&tree) else { return Ok(()) };
        let cause = Cause::System(SystemCause {
            part: "definitions".to_owned(),
            act: format!("delete the objects of {}", definition.key.name),
            because: vec![definition.revision],
        });
        if self.catalog().is_own(&of) {
            // It never got its names, and none of the objects is its own.
            return self.release_definition(definition, cause).await;
        }
        let served = self.catalog().by_group_resource(&of).cloned();
        let resource = served.or_else(|| custom::resources(&tree).into_iter().next().map(Arc::new));
        if let Some(resource) = resource {
            self.delete_all(&resource, &cause).await?;
        }
        let range = Range { resource: of, namespace: None, selection: Selection::All };
        let left = self.store().snapshot().list(&Query { range, after: None, limit: Some(1) });
        if !left.is_empty() {
            return Ok(());
        }
        self.release_definition(definition, cause).await
    }

    async fn delete_all(&self, resource: &Arc<Resource>, cause: &Cause) -> Result<(), Status> {
        let snapshot = self.store().snapshot();
        let mut after = None;
        loop {
            let range = Range::all(resource.group_resource());
            let page = snapshot.list(&Query { range, after, limit: Some(PAGE) });
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((Arc::clone(&last.key.namespace), Arc::clone(&last.key.name)));
            for object in page.iter().filter(|o| o.meta.deleted_at.is_none()) {
                let target = Target {
                    resource: Arc::clone(resource),
                    namespace: Arc::clone(&object.key.namespace),
                    name: Some(Arc::clone(&object.key.name)),
                    subresource: None,
                };
                let request = host_request(target, Action::Delete(DeleteOptions::default()));
                match Box::pin(self.submit_quietly(&request, cause.clone())).await {
                    Err(status) if status.reason != Reason::NotFound => return Err(status),
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }

    async fn release_definition(&self, definition: &Stored, cause: Cause) -> Result<(), Status> {
        let finalizers = definition.meta.finalizers.iter().filter(|f| ***f != *CLEANUP);
        let left: Vec<&str> = finalizers.map(AsRef::as_ref).collect();
        let patch = json!({"metadata": {"finalizers": left, "resourceVersion": definition.revision.to_string()}});
        let Some(request) = self.patch_definition(definition, patch) else { return Ok(()) };
        match Box::pin(self.submit(&request, cause)).await {
            Err(status) if status.reason != Reason::NotFound => Err(status),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// A deletion that does not look for the definition's end each time.
    async fn submit_quietly(&self, request: &WriteRequest, cause: Cause) -> Result<(), Status> {
        self.submit_without_following(request, cause).await.map(drop)
    }
}

/// The resources of a definition whose spec is what they were compiled from; nothing but its end may differ.
fn unchanged(definition: &Object, known: &[Arc<Resource>]) -> Option<Vec<Arc<Resource>>> {
    let incarnation = custom::incarnation(definition);
    let (ends, mixed) = (is_terminating(definition), custom::is_mixed(definition));
    let again = |resource: &Arc<Resource>| {
        let facts =
            resource.definition.as_ref().filter(|facts| facts.incarnation == incarnation)?;
        if facts.terminating == ends && facts.mixed == mixed {
            return Some(Arc::clone(resource));
        }
        let facts = Definition { terminating: ends, mixed, ..Definition::clone(facts) };
        Some(Arc::new(Resource { definition: Some(Arc::new(facts)), ..Resource::clone(resource) }))
    };
    let resources: Option<Vec<_>> = known.iter().map(again).collect();
    resources.filter(|all| !all.is_empty())
}

fn is_new_namespace(write: &Write) -> bool {
    let Write::Put { key, expect: Expect::Absent, .. } = write else { return false };
    key.resource.group.is_empty() && *key.resource.resource == *"namespaces"
}

/// A write by the host itself.
pub(crate) fn host_request(target: Target, action: Action) -> WriteRequest {
    WriteRequest { target, action, options: WriteOptions::default(), actor: Actor::registry() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_ended_by_one_task_at_a_time() {
        let (endings, of) = (Endings::default(), |name: &str| Key::new(resource(), "", name));
        let first = endings.begin(&of("a"));
        assert!(first.is_some() && endings.begin(&of("b")).is_some());
        assert!(endings.begin(&of("a")).is_none());
        drop(first);
        assert!(endings.begin(&of("a")).is_some());
        assert!(endings.lock().is_empty());
    }
}
