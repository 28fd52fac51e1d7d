//! What policies and webhooks see of a write: who does what to which object, in which version.
//!
//! A subject is made once per pass of the chain and only when there is somebody to look at it. Objects are shown in
//! the version that was asked for; [`Subject::seen_as`] shows them in another one.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use quadrille_object::{Gvk, Gvr, Meta};
use serde_json::{Value, json};

use crate::admission::Operation;
use crate::catalog::Resource;
use crate::convert;
use crate::field::Object;
use crate::metadata;
use crate::request::{Action, Actor};
use crate::write::{Attempt, scale};

/// A write as policies and webhooks see it.
pub(crate) struct Subject<'a> {
    pub(crate) operation: Operation,
    pub(crate) resource: &'a Resource,
    pub(crate) subresource: &'a str,
    /// The name as the request has it; empty for a create whose name is not generated yet.
    pub(crate) name: String,
    /// The namespace; a Namespace's own name for a Namespace.
    pub(crate) namespace: Arc<str>,
    pub(crate) actor: &'a Actor,
    pub(crate) dry_run: bool,
    /// `CreateOptions`, `UpdateOptions`, `PatchOptions` or `DeleteOptions`.
    pub(crate) options: Value,
    /// The new state in the stored form; `None` for a deletion.
    object: Option<&'a Object>,
    before: Option<&'a Object>,
    attempt: &'a Attempt<'a>,
    /// The versions in which somebody has looked at it.
    shown: RefCell<Vec<Arc<Shown>>>,
    labels: OnceLock<Meta>,
    labels_before: OnceLock<Meta>,
}

/// The objects of a subject in one version.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The resource as which it is seen.
    pub(crate) resource: Gvr,
    /// The new state; null for a deletion.
    pub(crate) object: Value,
    /// The state before; null for a create.
    pub(crate) old_object: Value,
    /// The `AdmissionRequest`, less its uid and objects.
    pub(crate) request: Value,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(
        attempt: &'a Attempt<'_>,
        object: &'a Object,
        before: Option<&'a Object>,
        operation: Operation,
    ) -> Self {
        let resource = attempt.resource;
        let name = name_of(attempt, object);
        let is_namespace = resource.gvr.group.is_empty() && *resource.gvr.resource == *"namespaces";
        let namespace =
            if is_namespace { name.as_str().into() } else { Arc::clone(attempt.namespace()) };
        Self {
            operation,
            resource,
            subresource: attempt.subresource().unwrap_or_default(),
            name,
            namespace,
            actor: &attempt.request.actor,
            dry_run: attempt.request.options.dry_run,
            options: options_of(attempt, operation),
            object: (operation != Operation::Delete).then_some(object),
            before,
            attempt,
            shown: RefCell::default(),
            labels: OnceLock::new(),
            labels_before: OnceLock::new(),
        }
    }

    /// Whether it is about Namespaces themselves, whichever subresource.
    pub(crate) fn is_namespace(&self) -> bool {
        self.resource.gvr.group.is_empty() && *self.resource.gvr.resource == *"namespaces"
    }

    /// The labels of the new state.
    pub(crate) fn meta(&self) -> Option<&Meta> {
        let object = self.object?;
        Some(self.labels.get_or_init(|| Meta::from_object(object)))
    }

    /// The labels of the state before.
    pub(crate) fn meta_before(&self) -> Option<&Meta> {
        let before = self.before?;
        Some(self.labels_before.get_or_init(|| Meta::from_object(before)))
    }

    /// The kind of the body: the subresource's own, where it has one.
    fn kind(&self, of: &Resource) -> Gvk {
        let sub = of.subresource(self.subresource);
        sub.map_or_else(|| of.kind.clone(), |sub| sub.kind.clone())
    }

    /// The objects as a version of the resource has them.
    pub(crate) fn seen_as(&self, resource: &Resource) -> Arc<Shown> {
        let mut known = self.shown.borrow_mut();
        if let Some(shown) = known.iter().find(|shown| shown.resource == resource.gvr) {
            return Arc::clone(shown);
        }
        let shown = Arc::new(self.show(resource));
        known.push(Arc::clone(&shown));
        shown
    }

    fn show(&self, resource: &Resource) -> Shown {
        let show = |object: Option<&Object>| match object {
            None => Value::Null,
            Some(object) => Value::Object(self.shown(resource, object)),
        };
        Shown {
            resource: resource.gvr.clone(),
            object: show(self.object),
            old_object: show(self.before),
            request: self.request(resource),
        }
    }

    fn shown(&self, resource: &Resource, object: &Object) -> Object {
        if self.subresource == "scale" {
            return scale::scale_of(resource, object);
        }
        if resource.converter().is_some() && resource.gvr != self.resource.gvr {
            // What cannot be shown yet, or at all, is noted by the attempt, which does not count then.
            let shown = self.attempt.convert(self.resource, object, &resource.api_version);
            return shown.unwrap_or_default();
        }
        let mut shown = object.clone();
        convert::from_storage(resource, &mut shown);
        shown
    }

    fn request(&self, resource: &Resource) -> Value {
        let own = &self.resource.gvr;
        let user = self.actor;
        let mut request = json!({
            "kind": kind_value(&self.kind(resource)),
            "resource": resource_value(&resource.gvr),
            "requestKind": kind_value(&self.kind(self.resource)),
            "requestResource": resource_value(own),
            "operation": self.operation.name(),
            "userInfo": {"username": *user.user, "groups": *user.groups},
            "dryRun": self.dry_run,
            "options": self.options,
        });
        let of = request.as_object_mut().expect("made a map just now");
        for (key, text) in [("name", self.name.as_str()), ("namespace", &*self.namespace)] {
            if !text.is_empty() {
                of.insert(key.to_owned(), text.into());
            }
        }
        if !self.subresource.is_empty() {
            of.insert("subResource".to_owned(), self.subresource.into());
            of.insert("requestSubResource".to_owned(), self.subresource.into());
        }
        if !user.extra.is_empty() {
            of["userInfo"]["extra"] = json!(*user.extra);
        }
        if !user.uid.is_empty() {
            of["userInfo"]["uid"] = (*user.uid).into();
        }
        request
    }
}

impl Operation {
    /// As reviews and rules write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// The name in the path or body; an object whose name is generated has none for whoever looks.
fn name_of(attempt: &Attempt<'_>, object: &Object) -> String {
    if !attempt.name().is_empty() {
        return attempt.name().to_owned();
    }
    let Action::Create(body) = &attempt.request.action else {
        return metadata::text(object, "name").to_owned();
    };
    let name = body.value.pointer("/metadata/name").and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

fn kind_value(kind: &Gvk) -> Value {
    json!({"group": *kind.group, "version": *kind.version, "kind": *kind.kind})
}

fn resource_value(gvr: &Gvr) -> Value {
    json!({"group": *gvr.group, "version": *gvr.version, "resource": *gvr.resource})
}

fn options_of(attempt: &Attempt<'_>, operation: Operation) -> Value {
    let request = attempt.request;
    let kind = match (&request.action, operation) {
        (Action::Delete(_), _) | (_, Operation::Delete) => "DeleteOptions",
        (Action::Patch(..) | Action::Apply(_), _) => "PatchOptions",
        (_, Operation::Create) => "CreateOptions",
        (_, Operation::Update) => "UpdateOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if let Action::Delete(given) = &request.action {
        if let Some(seconds) = given.grace_period_seconds {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(propagation) = given.propagation {
            options["propagationPolicy"] = format!("{propagation:?}").into();
        }
    } else if let Some(manager) = &request.options.field_manager {
        options["fieldManager"] = (**manager).into();
    }
    if request.options.force {
        options["force"] = true.into();
    }
    if request.options.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    options
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).finish_non_exhaustive()
    }
}
