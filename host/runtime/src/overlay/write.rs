//! The writes of a run: admitted at once, kept until the end, merged per key.

use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_registry::{
    Action, Actor, Body, PatchFormat, Prepared, Reason, Resource, Status, Target, Unprepared,
    WriteOptions, WriteRequest,
};
use quadrille_store::{Expect, Key, Object, View, Write};
use serde_json::{Value, json};

use super::{Overlay, OwnWrite, Unchecked};

/// The user that the host's own writes in a run are made by: finalizers and events.
const HOST_USER: &str = "system:quadrille";

impl Overlay {
    /// Creates, updates, patches, applies or deletes; answers the object after it (`None` when it is gone).
    /// Needs the verb on the resource, and on the subresource where one is named; an apply of an object that does
    /// not exist needs `create` too.
    ///
    /// # Errors
    /// Every refusal of the registry, [`super::Refusal::Denied`] without the grant, and
    /// [`super::Refusal::LimitReached`] at a limit.
    pub fn write(
        &mut self,
        target: Target,
        action: Action,
        options: WriteOptions,
    ) -> Result<Option<Arc<Object>>, Status> {
        self.befall()?;
        self.check_limit()?;
        let resource = target.resource.group_resource();
        let subresource = target.subresource.as_deref();
        self.allow(verb_of(&action), &resource, subresource, &target.namespace)?;
        if matches!(action, Action::Apply(_)) && subresource.is_none() {
            self.allow_creation_by_apply(&target, &resource)?;
        }
        let actor = self.actor.clone();
        self.write_as(actor, target, action, options, true)
    }

    /// Replaces the status of an object, and writes nothing when it is equal. Needs `update` on `status`.
    ///
    /// # Errors
    /// As [`Self::write`]; `NotFound` when the object does not exist.
    pub fn set_status(
        &mut self,
        resource: &Arc<Resource>,
        key: &Key,
        status: Value,
    ) -> Result<Option<Arc<Object>>, Status> {
        self.befall()?;
        self.check_limit()?;
        self.allow("update", &key.resource, Some("status"), &key.namespace)?;
        self.keys_read.insert(key.clone());
        let object = self.look(key);
        let object = object.ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
        let mut value = decode(&self.shown(&object, resource)?)?;
        if value.get("status") == Some(&status) {
            return Ok(Some(object));
        }
        if let Some(map) = value.as_object_mut() {
            map.insert("status".to_owned(), status);
        }
        let target = Target {
            resource: Arc::clone(resource),
            namespace: Arc::clone(&key.namespace),
            name: Some(Arc::clone(&key.name)),
            subresource: Some("status".into()),
        };
        let actor = self.actor.clone();
        self.write_as(actor, target, Action::Update(value.into()), WriteOptions::default(), true)
    }

    /// Adds or removes a finalizer on behalf of the host: no grant, no budget.
    pub(crate) fn set_finalizer(
        &mut self,
        resource: &Arc<Resource>,
        key: &Key,
        finalizer: &str,
        wanted: bool,
    ) -> Result<(), Status> {
        let Some(object) = self.look(key) else { return Ok(()) };
        let present = object.meta.finalizers.iter().any(|f| **f == *finalizer);
        if present == wanted {
            return Ok(());
        }
        let mut finalizers: Vec<&str> = object.meta.finalizers.iter().map(AsRef::as_ref).collect();
        if wanted {
            finalizers.push(finalizer);
        } else {
            finalizers.retain(|other| *other != finalizer);
        }
        let patch = json!({"metadata": {"finalizers": finalizers}});
        let target = Target {
            resource: Arc::clone(resource),
            namespace: Arc::clone(&key.namespace),
            name: Some(Arc::clone(&key.name)),
            subresource: None,
        };
        let action = Action::Patch(PatchFormat::Merge, Body::from(patch));
        self.write_as(host(), target, action, WriteOptions::default(), true).map(|_| ())
    }

    /// Prepares one write on this view and keeps what it decided. `tracked`: its key joins the read set.
    pub(crate) fn write_as(
        &mut self,
        actor: Actor,
        target: Target,
        action: Action,
        mut options: WriteOptions,
        tracked: bool,
    ) -> Result<Option<Arc<Object>>, Status> {
        let manager = || Some(Arc::clone(&self.owner.field_manager));
        options.field_manager = options.field_manager.or_else(manager);
        let request = WriteRequest { target, action, options, actor };
        if tracked {
            // A refusal, too, depends on what stands there.
            self.keys_read.extend(key_of(&request));
        }
        let prepared = match self.prepare(&request) {
            Ok(prepared) => prepared,
            Err(status) => {
                if tracked {
                    self.note_refusal(&request);
                }
                return Err(status);
            }
        };
        let bytes: usize = prepared.writes.iter().map(|write| self.bytes_of(write)).sum();
        // A write that changes nothing still costs the host its work.
        self.count_write(prepared.writes.len().max(1), bytes)?;
        Ok(self.keep(prepared, tracked))
    }

    /// The registry refuses a write: for what stands at its key, or for its namespace, which is missing or going. For
    /// what else it may be, a quota or a policy, no read stands.
    fn note_refusal(&mut self, request: &WriteRequest) {
        self.was_refused = true;
        let Target { resource, namespace, .. } = &request.target;
        if resource.namespaced {
            let namespaces = GroupResource::new("", "namespaces");
            self.keys_read.insert(Key::new(namespaces, "", Arc::clone(namespace)));
        }
    }

    /// Decides a write. What a webhook must be asked first is noted and its consent assumed.
    fn prepare(&mut self, request: &WriteRequest) -> Result<Prepared, Status> {
        let Some(answers) = &self.answers else {
            return self.registry.prepare(&Unchecked(self), request);
        };
        let place = self.used.writes as u64;
        let mut asks = match self.registry.prepare_after(&Unchecked(self), request, answers, place)
        {
            Ok(prepared) => return Ok(prepared),
            Err(Unprepared::Refused(status)) => return Err(*status),
            Err(Unprepared::Asks(asks)) => asks,
        };
        let assumed = asks.assumed.take();
        match &mut self.questions {
            Some(questions) => questions.join(asks),
            None => self.questions = Some(asks),
        }
        match assumed {
            Some(prepared) => Ok(*prepared),
            None => Err(self.stop_waiting()),
        }
    }

    /// How much the store has to keep of a write: of a deletion it is the last state.
    fn bytes_of(&self, write: &Write) -> usize {
        match write {
            Write::Put { object, .. } => object.unrevised().len(),
            Write::Delete { key, .. } => self.snapshot.get(key).map_or(0, |o| o.bytes.len()),
        }
    }

    fn keep(&mut self, prepared: Prepared, tracked: bool) -> Option<Arc<Object>> {
        if tracked {
            self.keys_read.insert(prepared.key.clone());
        }
        for (key, expect) in prepared.requires {
            self.requires.entry(key).or_insert(expect);
        }
        for write in prepared.writes {
            self.keep_write(write, tracked);
        }
        self.look(&prepared.key)
    }

    fn keep_write(&mut self, write: Write, tracked: bool) {
        let order = self.writes.len();
        let (key, expect, put) = match write {
            Write::Put { key, meta, object, expect } => (key, expect, Some((meta, object))),
            Write::Delete { key, expect } => (key, expect, None),
        };
        let stored = self.snapshot.get(&key);
        let expect = if tracked { expect } else { Expect::Any };
        let revision = stored.as_ref().map_or_else(|| self.snapshot.revision(), |o| o.revision);
        let state = put.map(|(meta, template)| {
            let bytes = template.with_revision(revision.0);
            let object = Object { key: key.clone(), revision, meta: meta.clone(), bytes };
            (Arc::new(object), meta, template)
        });
        let first = OwnWrite { expect, in_snapshot: stored.is_some(), state: None, order };
        self.writes.entry(key).or_insert(first).state = state;
    }

    fn allow_creation_by_apply(
        &self,
        target: &Target,
        resource: &GroupResource,
    ) -> Result<(), Status> {
        let Some(name) = &target.name else { return Ok(()) };
        let key = Key::new(resource.clone(), Arc::clone(&target.namespace), Arc::clone(name));
        if self.look(&key).is_some() {
            return Ok(());
        }
        self.allow("create", resource, None, &target.namespace)
    }
}

/// The key that a write is about, where it names one.
fn key_of(request: &WriteRequest) -> Option<Key> {
    let target = &request.target;
    let of_body = || match &request.action {
        Action::Create(body) => body.value.pointer("/metadata/name")?.as_str().map(Arc::from),
        Action::Update(_) | Action::Patch(..) | Action::Apply(_) | Action::Delete(_) => None,
    };
    let name = target.name.clone().or_else(of_body)?;
    Some(Key::new(target.resource.group_resource(), Arc::clone(&target.namespace), name))
}

/// Who writes finalizers and events.
pub(crate) fn host() -> Actor {
    Actor { user: HOST_USER.into(), client: "quadrille".into(), ..Actor::default() }
}

fn verb_of(action: &Action) -> &'static str {
    match action {
        Action::Create(_) => "create",
        Action::Update(_) => "update",
        Action::Patch(..) | Action::Apply(_) => "patch",
        Action::Delete(_) => "delete",
    }
}

fn decode(bytes: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(bytes)
        .map_err(|error| Status::new(Reason::InternalError, format!("stored object: {error}")))
}
