//! Create: a name, the marks of a new object, and a namespace that takes it.

use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_store::{Expect, Key};
use serde_json::Value;

use crate::access::{self, Attributes, ResourceAttributes};
use crate::admission::{self, Operation};
use crate::field::{self, Object};
use crate::metadata;
use crate::registry::{OpenQuestions, Prepared, Received, Unprepared};
use crate::request::{Action, Body};
use crate::shape;
use crate::status::{Reason, Status, StatusCause};
use crate::write::body::cannot_handle;
use crate::write::finish::Outcome;
use crate::write::{Attempt, bad_request};

/// How often a taken generated name is replaced by another one.
const NAMES_TRIED_MAX: usize = 8;

impl Attempt<'_> {
    pub(crate) fn create(&mut self, body: &Body) -> Result<Prepared, Status> {
        let mut object = self.object_of(body)?;
        for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            metadata::of_mut(&mut object).remove(key);
        }
        self.check_place(&mut object)?;
        self.decode(&mut object, &body.duplicates)?;
        shape::manage(self, &mut object, None);
        self.create_decoded(object)
    }

    /// The object of a create that stores nothing.
    pub(crate) fn receive(mut self) -> Result<Received, Status> {
        let Action::Create(body) = &self.request.action else {
            return Err(crate::write::method_not_allowed());
        };
        let mut object = self.object_of(body)?;
        for key in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            metadata::of_mut(&mut object).remove(key);
        }
        self.check_place(&mut object)?;
        self.decode(&mut object, &body.duplicates)?;
        shape::manage(&self, &mut object, None);
        Ok(Received { object, warnings: self.warnings })
    }

    /// The body of a POST that stores something else, once policies and webhooks have seen it.
    pub(crate) fn admitted(&mut self, body: &Body) -> Result<Object, Status> {
        let Value::Object(object) = &body.value else {
            return Err(bad_request("the body of the request must be an object"));
        };
        let mut object = object.clone();
        let of = admission::body_resource(self, self.resource);
        shape::check_types(of, &object).map_err(|why| cannot_handle(of, &why))?;
        metadata::settle_nulls(&mut object);
        let sub = self.subresource().and_then(|name| self.resource.subresource(name));
        let kind = sub.map_or(&self.resource.kind, |sub| &sub.kind);
        let group = if kind.group.is_empty() { "" } else { "/" };
        let version = format!("{}{group}{}", kind.group, kind.version);
        for (key, wanted) in [("apiVersion", version.as_str()), ("kind", &kind.kind)] {
            field::default(&mut object, key, wanted);
        }
        self.check_space(&object)?;
        self.place(&mut object);
        admission::admit_body(self, &mut object)?;
        Ok(object)
    }

    /// Lets policies and webhooks see what is answered and never stored.
    pub(crate) fn admit(mut self, mut object: Object) -> Result<Received, Unprepared> {
        let admitted = admission::admit_body(&mut self, &mut object);
        let conversions = self.conversions.take();
        if !self.questions.is_empty() || !conversions.is_empty() {
            let questions = std::mem::take(&mut self.questions);
            return Err(Unprepared::Asks(OpenQuestions { questions, conversions, assumed: None }));
        }
        let (warnings, audit) = (self.warnings, self.audit);
        admitted.map_err(|status| Status { warnings: warnings.clone(), audit, ..status })?;
        Ok(Received { object, warnings })
    }

    /// The part of a create that an update or apply of a missing object shares.
    pub(crate) fn create_decoded(&mut self, mut object: Object) -> Result<Prepared, Status> {
        if !metadata::text(&object, "resourceVersion").is_empty() {
            let text = "resourceVersion should not be set on objects to be created";
            return Err(Status::new(Reason::Unknown, text));
        }
        self.admit_namespace(&object)?;
        admission::mutate(self, &mut object, None, Operation::Create)?;
        self.name_new(&mut object);
        metadata::begin(&mut object, self.resource, self.random, self.now);
        self.warnings.extend(metadata::dedup_owners(&mut object));
        if self.resource.subresource("status").is_some() {
            object.remove("status");
        }
        self.resource.rules.before_create(self, &mut object)?;
        shape::fill_empty(self.working_resource(), &mut object);
        self.validate(&object, None)?;
        self.authorize_create()?;
        admission::validate(self, &object, None, Operation::Create)?;
        self.resource.rules.warn(&object, None, &mut self.warnings);
        let name = metadata::text(&object, "name").to_owned();
        if self.view.get(&self.key(&name)).is_some() {
            return Err(Status::already_exists(&self.resource.qualified(), &name));
        }
        self.finish(object, None, Outcome::Stored)
    }

    /// An update or apply that creates needs the right to create, too.
    fn authorize_create(&self) -> Result<(), Status> {
        let actor = &self.request.actor;
        if matches!(self.request.action, Action::Create(_)) || actor.is_host() {
            return Ok(());
        }
        let gvr = &self.resource.gvr;
        let of = ResourceAttributes {
            group: &gvr.group,
            version: &gvr.version,
            resource: &gvr.resource,
            subresource: "",
            namespace: self.namespace(),
            name: self.name(),
        };
        let asked = Attributes::of("create", of);
        let decision = self.access.decide(actor.asker(), &asked);
        if decision.allowed {
            return Ok(());
        }
        Err(access::forbidden(&actor.user, &asked, &decision.reason))
    }

    fn name_new(&mut self, object: &mut Object) {
        let prefix = metadata::text(object, "generateName").to_owned();
        if !metadata::text(object, "name").is_empty() || prefix.is_empty() {
            return;
        }
        let mut name = metadata::generate_name(&prefix, self.random);
        for _ in 1..NAMES_TRIED_MAX {
            if self.view.get(&self.key(&name)).is_none() {
                break;
            }
            name = metadata::generate_name(&prefix, self.random);
        }
        metadata::of_mut(object).insert("name".to_owned(), name.into());
    }

    /// The namespace must be there and stay: the commit checks it again.
    fn admit_namespace(&mut self, object: &Object) -> Result<(), Status> {
        if !self.resource.namespaced {
            return self.admit_definition(object);
        }
        let namespaces = GroupResource::new("", "namespaces");
        let key = Key::new(namespaces.clone(), "", Arc::clone(self.namespace()));
        let Some(namespace) = self.view.get(&key) else {
            return Err(Status::not_found(&namespaces, self.namespace()));
        };
        if namespace.meta.deleted_at.is_some() {
            return Err(self.namespace_terminating(metadata::text(object, "name")));
        }
        self.requires.push((key, Expect::Revision(namespace.revision)));
        self.admit_definition(object)
    }

    /// A definition on its way out takes no new objects; the commit checks again that it is as it was.
    fn admit_definition(&mut self, object: &Object) -> Result<(), Status> {
        let Some(key) = self.resource.definition_key() else { return Ok(()) };
        let name = metadata::text(object, "name");
        let Some(definition) = self.view.get(&key) else {
            return Err(Status::not_found(&self.resource.qualified(), name));
        };
        if definition.meta.deleted_at.is_some() {
            let why = "create not allowed while custom resource definition is terminating";
            return Err(Status::forbidden(&self.resource.qualified(), name, why));
        }
        self.requires.push((key, Expect::Revision(definition.revision)));
        Ok(())
    }

    fn namespace_terminating(&self, name: &str) -> Status {
        let namespace = self.namespace();
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut status = Status::forbidden(&self.resource.qualified(), name, &why);
        if let Some(details) = &mut status.details {
            details.causes.push(StatusCause {
                reason: "NamespaceTerminating".to_owned(),
                message: format!("namespace {namespace} is being terminated"),
                field: "metadata.namespace".to_owned(),
            });
        }
        status
    }
}
