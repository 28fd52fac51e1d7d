//! `objects`: the store as one run sees it.
//!
//! Grants: the verb on the resource (and on the subresource, for `set-status`), checked by the overlay, whose refusal
//! names what is missing. State: the run's overlay, which records reads and admits writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use quadrille_object::{Gvr, LabelSelector};
use quadrille_registry::{
    Action, Body, DeleteOptions, PatchFormat, Preconditions, Propagation, Resource, Status, Target,
    WriteOptions,
};
use quadrille_runtime::{Note, Overlay, Refusal};
use quadrille_store::{Key, Object, Query, Range, Selection};
use serde_json::Value;
use wasmtime::Result;

use super::bindings::quadrille::controller::objects as wit;
use super::bindings::quadrille::controller::types as wit_types;
use super::reason::{bad_request, denied, limit_reached, refusal};
use super::state::{CallState, RunState};
use crate::limit::LimitHit;
use wit_types::{ApiError, ObjectRef, ResourceRef};

/// What a host function answers: a value, or a refusal that the guest sees.
type Answer<T> = std::result::Result<T, ApiError>;
type Refused<T> = std::result::Result<T, Status>;

impl wit_types::Host for CallState {}

impl wit::Host for CallState {
    fn get(&mut self, object: ObjectRef) -> Result<Answer<Option<String>>> {
        self.answer(object.weight(), |run| {
            let resource = run.resource(&object.resource)?;
            let key = key(&resource, &object.namespace, &object.name)?;
            let found = run.overlay.get(&key)?;
            found.map(|found| run.text(&found, &resource)).transpose()
        })
    }

    fn list_objects(&mut self, query: wit::Query) -> Result<Answer<Vec<String>>> {
        self.answer(query.weight(), |run| {
            let resource = run.resource(&query.resource)?;
            list(run, &resource, &query, Overlay::list)
        })
    }

    fn list_weakly(&mut self, query: wit::Query) -> Result<Answer<Vec<String>>> {
        self.answer(query.weight(), |run| {
            let resource = run.resource(&query.resource)?;
            list(run, &resource, &query, Overlay::list_weakly)
        })
    }

    fn create(&mut self, resource: ResourceRef, object: String) -> Result<Answer<String>> {
        self.write_object("create", &resource, &object, Action::Create)
    }

    fn update(&mut self, resource: ResourceRef, object: String) -> Result<Answer<String>> {
        self.write_object("update", &resource, &object, Action::Update)
    }

    fn apply(
        &mut self,
        resource: ResourceRef,
        object: String,
        force: bool,
    ) -> Result<Answer<String>> {
        self.answer(resource.weight() + object.len(), |run| {
            let resource = run.resource(&resource)?;
            let body = parse(&object)?;
            let target = target_of(&resource, &body, true)?;
            let options = WriteOptions { force, ..WriteOptions::default() };
            let written = run.overlay.write(target, Action::Apply(body.into()), options)?;
            run.written_text(written.as_ref(), &resource)
        })
    }

    fn patch(
        &mut self,
        object: ObjectRef,
        format: wit::PatchFormat,
        patch: String,
    ) -> Result<Answer<String>> {
        let format = match format {
            wit::PatchFormat::Json => PatchFormat::Json,
            wit::PatchFormat::Merge => PatchFormat::Merge,
            wit::PatchFormat::Strategic => PatchFormat::Strategic,
        };
        self.answer(object.weight() + patch.len(), |run| {
            let resource = run.resource(&object.resource)?;
            let target = target(&resource, &object.namespace, &object.name)?;
            let body: Value = from_json(&patch)?;
            let action = Action::Patch(format, Body::from(body));
            let written = run.overlay.write(target, action, WriteOptions::default())?;
            run.written_text(written.as_ref(), &resource)
        })
    }

    fn delete(
        &mut self,
        object: ObjectRef,
        uid: Option<String>,
        propagation: wit::Propagation,
    ) -> Result<Answer<()>> {
        let propagation = match propagation {
            wit::Propagation::Background => Propagation::Background,
            wit::Propagation::Foreground => Propagation::Foreground,
            wit::Propagation::Orphan => Propagation::Orphan,
        };
        self.answer(object.weight() + uid.weight(), |run| {
            let resource = run.resource(&object.resource)?;
            let target = target(&resource, &object.namespace, &object.name)?;
            let options = DeleteOptions {
                preconditions: Preconditions { uid, resource_version: None },
                propagation: Some(propagation),
                grace_period_seconds: None,
            };
            run.overlay.write(target, Action::Delete(options), WriteOptions::default()).map(drop)
        })
    }

    fn set_status(&mut self, object: ObjectRef, status: String) -> Result<Answer<()>> {
        self.answer(object.weight() + status.len(), |run| {
            let resource = run.resource(&object.resource)?;
            let status: Value = from_json(&status)?;
            let key = key(&resource, &object.namespace, &object.name)?;
            run.overlay.set_status(&resource, &key, status).map(drop)
        })
    }

    fn update_status(&mut self, resource: ResourceRef, object: String) -> Result<Answer<String>> {
        self.answer(resource.weight() + object.len(), |run| {
            let resource = run.resource(&resource)?;
            let body = parse(&object)?;
            let target = target_of(&resource, &body, true)?;
            let target = Target { subresource: Some("status".into()), ..target };
            let action = Action::Update(body.into());
            let written = run.overlay.write(target, action, WriteOptions::default())?;
            run.written_text(written.as_ref(), &resource)
        })
    }

    fn record_event(
        &mut self,
        object: ObjectRef,
        kind: String,
        reason: String,
        message: String,
    ) -> Result<Answer<()>> {
        let bytes = object.weight() + kind.len() + reason.len() + message.len();
        self.answer(bytes, |run| {
            let resource = run.resource(&object.resource)?;
            let key = key(&resource, &object.namespace, &object.name)?;
            let note = Note { kind: &kind, reason: &reason, message: &message };
            run.overlay.record_event(&key, &note)
        })
    }
}

/// Bytes that a call carries from or to the guest.
trait Weight {
    fn weight(&self) -> usize;
}

impl Weight for () {
    fn weight(&self) -> usize {
        0
    }
}

impl Weight for String {
    fn weight(&self) -> usize {
        self.len()
    }
}

impl<T: Weight> Weight for Option<T> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(0, Weight::weight)
    }
}

impl<T: Weight> Weight for Vec<T> {
    fn weight(&self) -> usize {
        self.iter().map(Weight::weight).sum()
    }
}

impl Weight for ResourceRef {
    fn weight(&self) -> usize {
        self.group.len() + self.version.len() + self.resource.len()
    }
}

impl Weight for ObjectRef {
    fn weight(&self) -> usize {
        self.resource.weight() + self.namespace.len() + self.name.len()
    }
}

impl Weight for wit::Query {
    fn weight(&self) -> usize {
        let texts = [&self.namespace, &self.label_selector, &self.owner_uid];
        self.resource.weight() + texts.into_iter().map(Weight::weight).sum::<usize>()
    }
}

impl CallState {
    /// The frame of every function: budget, grant, act, budget of the answer.
    fn answer<T: Weight>(
        &mut self,
        bytes: usize,
        act: impl FnOnce(&mut RunState) -> Refused<T>,
    ) -> Result<Answer<T>> {
        if let Some(hit) = self.meter.charge(bytes)? {
            return Ok(Err(limit_reached(&hit)));
        }
        let Some(run) = &mut self.run else {
            let message = "a component has no objects while it describes itself";
            return Ok(Err(denied(message.to_owned())));
        };
        let answer = act(run);
        if let Err(status) = &answer {
            match Refusal::of(status) {
                Some(Refusal::Denied) => drop(run.denials.fetch_add(1, Ordering::Relaxed)),
                Some(Refusal::LimitReached) => {
                    self.meter.note(LimitHit::View(status.message.clone()));
                }
                None => {}
            }
        }
        let answer = answer.map_err(refusal);
        self.meter.charge_bytes(answer.as_ref().map_or(0, Weight::weight));
        match self.meter.hit() {
            Some(hit) => Ok(Err(limit_reached(hit))),
            None => Ok(answer),
        }
    }

    fn write_object(
        &mut self,
        verb: &str,
        resource: &ResourceRef,
        object: &str,
        action: impl FnOnce(Body) -> Action,
    ) -> Result<Answer<String>> {
        self.answer(resource.weight() + object.len(), |run| {
            let resource = run.resource(resource)?;
            let body = parse(object)?;
            let target = target_of(&resource, &body, verb != "create")?;
            let written =
                run.overlay.write(target, action(body.into()), WriteOptions::default())?;
            run.written_text(written.as_ref(), &resource)
        })
    }
}

impl RunState {
    pub(super) fn resource(&self, wanted: &ResourceRef) -> Refused<Arc<Resource>> {
        for part in [&wanted.group, &wanted.version, &wanted.resource] {
            at_most("a part of the resource's name", part, NAME_BYTES_MAX)?;
        }
        let gvr = Gvr::new(&*wanted.group, &*wanted.version, &*wanted.resource);
        self.catalog.by_gvr(&gvr).cloned().ok_or_else(|| {
            let message = format!("the host serves no resource {gvr:?}", gvr = gvr_text(&gvr));
            Status::new(quadrille_registry::Reason::NotFound, message)
        })
    }

    fn text(&mut self, object: &Arc<Object>, resource: &Arc<Resource>) -> Refused<String> {
        text_of(object, self.overlay.shown(object, resource)?)
    }

    fn texts(&mut self, objects: &[Arc<Object>], resource: &Arc<Resource>) -> Refused<Vec<String>> {
        let shown = self.overlay.all_shown(objects, resource)?;
        objects.iter().zip(shown).map(|(object, bytes)| text_of(object, bytes)).collect()
    }

    fn written_text(
        &mut self,
        object: Option<&Arc<Object>>,
        resource: &Arc<Resource>,
    ) -> Refused<String> {
        object.map_or_else(|| Ok(String::new()), |object| self.text(object, resource))
    }
}

fn text_of(object: &Object, bytes: Bytes) -> Refused<String> {
    String::from_utf8(bytes.into()).map_err(|_| {
        let text = format!("{} is not stored as UTF-8", object.key);
        Status::new(quadrille_registry::Reason::InternalError, text)
    })
}

/// The longest name that an object can have; what is longer is refused before anything keeps it.
const NAME_BYTES_MAX: usize = 253;
/// The longest selector: what a run lists by, its key goes on waiting for.
const SELECTOR_BYTES_MAX: usize = 4 << 10;

fn at_most(what: &str, text: &str, max: usize) -> Refused<()> {
    if text.len() <= max {
        return Ok(());
    }
    Err(bad_request(format!("{what} has {} bytes, more than {max}", text.len())))
}

fn check_name(namespace: &str, name: &str) -> Refused<()> {
    at_most("the namespace", namespace, NAME_BYTES_MAX)?;
    at_most("the name", name, NAME_BYTES_MAX)
}

fn key(resource: &Resource, namespace: &str, name: &str) -> Refused<Key> {
    check_name(namespace, name)?;
    let namespace = if resource.namespaced { namespace } else { "" };
    Ok(Key::new(resource.group_resource(), namespace, name))
}

fn target(resource: &Arc<Resource>, namespace: &str, name: &str) -> Refused<Target> {
    check_name(namespace, name)?;
    let namespace = if resource.namespaced { namespace } else { "" };
    Ok(Target {
        resource: Arc::clone(resource),
        namespace: namespace.into(),
        name: Some(name.into()),
        subresource: None,
    })
}

/// The target that a body names.
fn target_of(resource: &Arc<Resource>, body: &Value, named: bool) -> Refused<Target> {
    let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if named && name.is_empty() {
        return Err(bad_request("metadata.name: the object has no name".to_owned()));
    }
    let namespace = namespace_of(body);
    if resource.namespaced && namespace.is_empty() {
        let message = format!("metadata.namespace: {} live in namespaces", resource.gvr.resource);
        return Err(bad_request(message));
    }
    let target = target(resource, namespace, name)?;
    Ok(Target { name: target.name.filter(|name| !name.is_empty()), ..target })
}

fn gvr_text(gvr: &Gvr) -> String {
    format!("{} in {}/{}", gvr.resource, gvr.group, gvr.version)
}

/// One of the two ways in which an overlay lists.
type Lists = fn(&mut Overlay, &Query) -> Refused<Vec<Arc<Object>>>;

fn list(
    run: &mut RunState,
    resource: &Arc<Resource>,
    query: &wit::Query,
    lists: Lists,
) -> Refused<Vec<String>> {
    let texts = [
        ("the namespace", &query.namespace, NAME_BYTES_MAX),
        ("owner-uid", &query.owner_uid, NAME_BYTES_MAX),
        ("label-selector", &query.label_selector, SELECTOR_BYTES_MAX),
    ];
    for (what, text, max) in texts {
        at_most(what, text.as_deref().unwrap_or_default(), max)?;
    }
    let labels = query.label_selector.as_deref().filter(|text| !text.is_empty());
    let labels = labels.map(LabelSelector::parse).transpose();
    let labels = labels.map_err(|error| bad_request(format!("label-selector: {error}")))?;
    let limit = query.limit.and_then(|limit| usize::try_from(limit).ok());
    // The read set has one selection per range; the narrower one is kept, the other filters what it gives.
    let (selection, filter) = match (&query.owner_uid, labels) {
        (Some(uid), labels) => (Selection::Owner(uid.as_str().into()), labels),
        (None, Some(labels)) => (Selection::Labels(labels), None),
        (None, None) => (Selection::All, None),
    };
    let namespace = query.namespace.as_deref().filter(|_| resource.namespaced).map(Into::into);
    let range = Range { resource: resource.group_resource(), namespace, selection };
    let asked = if filter.is_some() { None } else { limit };
    let found = lists(&mut run.overlay, &Query { range, after: None, limit: asked })?;
    let fits = |object: &Arc<Object>| filter.as_ref().is_none_or(|f| f.matches(&object.meta));
    let found = found.into_iter().filter(fits).take(limit.unwrap_or(usize::MAX));
    run.texts(&found.collect::<Vec<_>>(), resource)
}

fn namespace_of(body: &Value) -> &str {
    body.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default()
}

fn parse(text: &str) -> Refused<Value> {
    let value: Value = from_json(text)?;
    if !value.is_object() {
        return Err(bad_request("an object is a JSON object".to_owned()));
    }
    Ok(value)
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Refused<T> {
    serde_json::from_str(text).map_err(|error| bad_request(format!("not JSON: {error}")))
}
