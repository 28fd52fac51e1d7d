//! A run's calls, answered by an overlay: what the component host does for guests, natively.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use quadrille_kit::{Random, SeededRandom};
use quadrille_object::{Gvr, LabelSelector};
use quadrille_registry::{
    Action, DeleteOptions, Preconditions, Resource, Status, Target, WriteOptions,
};
use quadrille_runtime::Overlay;
use quadrille_runtime::overlay::{Note, Refusal};
use quadrille_sdk::{
    ApiError, EventKind, Host, Level, ObjectRef, PatchFormat, Propagation, Query, Reason,
    ResourceRef,
};
use quadrille_store::{Key, Object, Range, Selection};
use serde_json::Value;

/// An overlay as a [`Host`].
#[derive(Debug)]
pub(crate) struct OverlayHost {
    overlay: RefCell<Option<Overlay>>,
    random: SeededRandom,
    now_micros: i64,
    log: RefCell<Vec<(Level, String)>>,
    writes: Cell<usize>,
    config: std::collections::BTreeMap<String, String>,
}

type Answer<T> = Result<T, ApiError>;

/// One of the two ways in which an overlay lists.
type Lists = fn(&mut Overlay, &quadrille_store::Query) -> Result<Vec<Arc<Object>>, Status>;

impl OverlayHost {
    pub(crate) fn new(
        overlay: Overlay,
        seed: u64,
        config: std::collections::BTreeMap<String, String>,
    ) -> Self {
        let now_micros = overlay.now().0;
        Self {
            overlay: RefCell::new(Some(overlay)),
            random: SeededRandom::new(seed),
            now_micros,
            log: RefCell::default(),
            writes: Cell::new(0),
            config,
        }
    }

    /// The overlay back, at the end of the run.
    pub(crate) fn take_overlay(&self) -> Option<Overlay> {
        self.overlay.borrow_mut().take()
    }

    pub(crate) fn take_log(&self) -> Vec<(Level, String)> {
        self.log.take()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Overlay) -> Result<T, Status>) -> Answer<T> {
        let mut overlay = self.overlay.borrow_mut();
        match overlay.as_mut() {
            Some(overlay) => act(overlay).map_err(|status| refusal(&status)),
            None => Err(ApiError::new(Reason::Internal, "the run is over")),
        }
    }

    fn write(
        &self,
        resource: &ResourceRef,
        (namespace, name): (&str, Option<&str>),
        action: Action,
        force: bool,
    ) -> Answer<String> {
        self.writes.set(self.writes.get() + 1);
        self.with(|overlay| {
            let resource = served(overlay, resource)?;
            let target = Target {
                namespace: in_namespace(&resource, namespace).into(),
                name: name.filter(|name| !name.is_empty()).map(Into::into),
                subresource: None,
                resource: Arc::clone(&resource),
            };
            let options = WriteOptions { force, ..WriteOptions::default() };
            let written = overlay.write(target, action, options)?;
            Ok(written.map(|object| text(overlay, &object, &resource)).unwrap_or_default())
        })
    }

    fn write_body(
        &self,
        resource: &ResourceRef,
        object: &str,
        force: bool,
        action: fn(Value) -> Action,
    ) -> Answer<String> {
        let body: Value = parse(object)?;
        let field =
            |name: &str| body.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, name) = (field("/metadata/namespace"), field("/metadata/name"));
        self.write(resource, (&namespace, Some(&name)), action(body), force)
    }

    fn list_by(&self, query: &Query, lists: Lists) -> Answer<Vec<String>> {
        let labels = query.label_selector.as_deref().filter(|text| !text.is_empty());
        let labels = labels.map(LabelSelector::parse).transpose();
        let labels = labels.map_err(|e| ApiError::new(Reason::BadRequest, e.to_string()))?;
        let (selection, filter) = match (&query.owner_uid, labels) {
            (Some(uid), labels) => (Selection::Owner(uid.as_str().into()), labels),
            (None, Some(labels)) => (Selection::Labels(labels), None),
            (None, None) => (Selection::All, None),
        };
        let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
        self.with(|overlay| {
            let resource = served(overlay, &query.resource)?;
            let namespace = query.namespace.as_deref().filter(|_| resource.namespaced);
            let range = Range {
                resource: resource.group_resource(),
                namespace: namespace.map(Into::into),
                selection,
            };
            let found = lists(overlay, &quadrille_store::Query::whole(range))?;
            let fits = |o: &&Arc<Object>| filter.as_ref().is_none_or(|f| f.matches(&o.meta));
            let found = found.iter().filter(fits).take(limit);
            Ok(found.map(|object| text(overlay, object, &resource)).collect())
        })
    }
}

impl Host for OverlayHost {
    fn get(&self, object: &ObjectRef) -> Answer<Option<String>> {
        self.with(|overlay| {
            let resource = served(overlay, &object.resource)?;
            let found = overlay.get(&key(&resource, &object.namespace, &object.name))?;
            Ok(found.map(|object| text(overlay, &object, &resource)))
        })
    }

    fn list(&self, query: &Query) -> Answer<Vec<String>> {
        self.list_by(query, Overlay::list)
    }

    fn list_weakly(&self, query: &Query) -> Answer<Vec<String>> {
        self.list_by(query, Overlay::list_weakly)
    }

    fn create(&self, resource: &ResourceRef, object: &str) -> Answer<String> {
        self.write_body(resource, object, false, |body| Action::Create(body.into()))
    }

    fn update(&self, resource: &ResourceRef, object: &str) -> Answer<String> {
        self.write_body(resource, object, false, |body| Action::Update(body.into()))
    }

    fn apply(&self, resource: &ResourceRef, object: &str, force: bool) -> Answer<String> {
        self.write_body(resource, object, force, |body| Action::Apply(body.into()))
    }

    fn patch(&self, object: &ObjectRef, format: PatchFormat, patch: &str) -> Answer<String> {
        let format = match format {
            PatchFormat::Json => quadrille_registry::PatchFormat::Json,
            PatchFormat::Merge => quadrille_registry::PatchFormat::Merge,
            PatchFormat::Strategic => quadrille_registry::PatchFormat::Strategic,
        };
        let action = Action::Patch(format, parse(patch)?.into());
        self.write(&object.resource, (&object.namespace, Some(&object.name)), action, false)
    }

    fn delete(
        &self,
        object: &ObjectRef,
        uid: Option<&str>,
        propagation: Propagation,
    ) -> Answer<()> {
        let propagation = match propagation {
            Propagation::Background => quadrille_registry::Propagation::Background,
            Propagation::Foreground => quadrille_registry::Propagation::Foreground,
            Propagation::Orphan => quadrille_registry::Propagation::Orphan,
        };
        let uid = uid.map(str::to_owned);
        let action = Action::Delete(DeleteOptions {
            preconditions: Preconditions { uid, resource_version: None },
            propagation: Some(propagation),
            grace_period_seconds: None,
        });
        let place = (object.namespace.as_str(), Some(object.name.as_str()));
        self.write(&object.resource, place, action, false).map(drop)
    }

    fn set_status(&self, object: &ObjectRef, status: &str) -> Answer<()> {
        let status = parse(status)?;
        self.with(|overlay| {
            let resource = served(overlay, &object.resource)?;
            let key = key(&resource, &object.namespace, &object.name);
            overlay.set_status(&resource, &key, status).map(drop)
        })
    }

    fn update_status(&self, resource: &ResourceRef, object: &str) -> Answer<String> {
        let body: Value = parse(object)?;
        let field =
            |name: &str| body.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (namespace, name) = (field("/metadata/namespace"), field("/metadata/name"));
        self.with(|overlay| {
            let resource = served(overlay, resource)?;
            let target = Target {
                namespace: in_namespace(&resource, &namespace).into(),
                name: Some(name.as_str().into()),
                subresource: Some("status".into()),
                resource: Arc::clone(&resource),
            };
            let action = Action::Update(body.into());
            let written = overlay.write(target, action, WriteOptions::default())?;
            Ok(written.map(|object| text(overlay, &object, &resource)).unwrap_or_default())
        })
    }

    fn record_event(
        &self,
        object: &ObjectRef,
        kind: EventKind,
        reason: &str,
        message: &str,
    ) -> Answer<()> {
        self.with(|overlay| {
            let resource = served(overlay, &object.resource)?;
            let about = key(&resource, &object.namespace, &object.name);
            overlay.record_event(&about, &Note { kind: kind.as_str(), reason, message })
        })
    }

    fn now(&self) -> i64 {
        self.now_micros
    }

    fn random(&self) -> u64 {
        self.random.next_u64()
    }

    fn log(&self, level: Level, message: &str) {
        self.log.borrow_mut().push((level, message.to_owned()));
    }

    fn config(&self, key: &str) -> Option<String> {
        self.config.get(key).cloned()
    }
}

fn served(overlay: &Overlay, wanted: &ResourceRef) -> Result<Arc<Resource>, Status> {
    let gvr = Gvr::new(&*wanted.group, &*wanted.version, &*wanted.resource);
    overlay.registry().catalog().by_gvr(&gvr).cloned().ok_or_else(|| {
        let message = format!(
            "the host serves no {} in {}/{}",
            wanted.resource, wanted.group, wanted.version
        );
        Status::new(quadrille_registry::Reason::NotFound, message)
    })
}

fn in_namespace<'a>(resource: &Resource, namespace: &'a str) -> &'a str {
    if resource.namespaced { namespace } else { "" }
}

fn key(resource: &Resource, namespace: &str, name: &str) -> Key {
    Key::new(resource.group_resource(), in_namespace(resource, namespace), name)
}

fn text(overlay: &Overlay, object: &Object, resource: &Resource) -> String {
    let bytes = overlay.registry().present(object, resource);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parse(text: &str) -> Answer<Value> {
    serde_json::from_str(text)
        .map_err(|error| ApiError::new(Reason::BadRequest, format!("not JSON: {error}")))
}

/// A refusal of the host, as the SDK has it.
pub(crate) fn refusal(status: &Status) -> ApiError {
    use quadrille_registry::Reason as Registry;
    let reason = match status.reason {
        _ if Refusal::of(status) == Some(Refusal::Denied) => Reason::Denied,
        _ if Refusal::of(status) == Some(Refusal::LimitReached) => Reason::LimitReached,
        Registry::BadRequest
        | Registry::MethodNotAllowed
        | Registry::NotAcceptable
        | Registry::UnsupportedMediaType => Reason::BadRequest,
        Registry::Unauthorized | Registry::Forbidden => Reason::Forbidden,
        Registry::NotFound => Reason::NotFound,
        Registry::AlreadyExists => Reason::AlreadyExists,
        Registry::Conflict => Reason::Conflict,
        Registry::Expired | Registry::Gone => Reason::Expired,
        Registry::RequestEntityTooLarge => Reason::TooLarge,
        Registry::Invalid => Reason::Invalid,
        Registry::TooManyRequests => Reason::LimitReached,
        Registry::InternalError
        | Registry::ServiceUnavailable
        | Registry::Timeout
        | Registry::Unknown => Reason::Internal,
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields = causes.map(|cause| cause.field.clone()).filter(|field| !field.is_empty());
    ApiError { reason, message: status.message.clone(), fields: fields.collect() }
}
