//! One attempt at a write: from a view and a request to what shall be committed.
//!
//! The steps are those of kube-apiserver: decode (types, unknown fields, defaults), admit, prepare (what only
//! the server sets, what the subresource may not touch), validate, note who manages which field, encode. An
//! attempt has no effects: it may be thrown away and made again on a newer view.

pub(crate) mod body;
mod change;
mod create;
mod custom;
mod delete;
mod finish;
mod patch;
pub(crate) mod scale;

pub(crate) use body::bad_request;
pub(crate) use change::Before;

use std::cell::{Cell, RefCell};
use std::mem::take;
use std::sync::Arc;

use quadrille_object::Timestamp;
use quadrille_store::{Expect, Key, Object as Stored, View, Write};

use crate::access::Access;
use crate::admission::{Hooks, Reinvocation};
use crate::catalog::{Catalog, Resource};
use crate::conversion::{self, Conversion, Kept};
use crate::field::{self, Object};
use crate::registry::{Config, OpenQuestions, Prepared, Unprepared};
use crate::request::{Action, Body, WriteRequest};
use crate::status::{Reason, Status};
use crate::webhooks::{Consultation, Question};

/// One attempt at one request on one view.
pub(crate) struct Attempt<'a> {
    pub(crate) config: &'a Config,
    pub(crate) random: &'a dyn quadrille_kit::Random,
    pub(crate) catalog: &'a Catalog,
    pub(crate) access: &'a Access,
    /// Policies and webhooks.
    pub(crate) hooks: &'a Hooks,
    /// What webhooks have answered so far; an attempt without it is one to which none has.
    pub(crate) consultation: Option<&'a Consultation>,
    /// What webhooks must be asked first; the attempt has failed then.
    pub(crate) questions: Vec<Question>,
    /// What conversion webhooks answered to others.
    pub(crate) kept: &'a Kept,
    /// What they must be asked first; the attempt has failed then.
    pub(crate) conversions: RefCell<Vec<Conversion>>,
    /// A conversion that failed; the attempt has failed then.
    pub(crate) unconverted: RefCell<Option<Status>>,
    pub(crate) reinvocation: Reinvocation,
    pub(crate) view: &'a dyn View,
    pub(crate) request: &'a WriteRequest,
    pub(crate) resource: &'a Resource,
    pub(crate) now: Timestamp,
    pub(crate) warnings: Vec<String>,
    /// Annotations for the audit log.
    pub(crate) audit: Vec<(String, String)>,
    pub(crate) requires: Vec<(Key, Expect)>,
    /// Whether the object had fields that the version in which it is stored does not know.
    pub(crate) lost_in_storage: Cell<bool>,
    /// Writes to other objects that must happen together with this one.
    pub(crate) also: RefCell<Vec<Write>>,
}

impl Attempt<'_> {
    /// Decides the request.
    ///
    /// # Errors
    /// Every refusal of the Kubernetes API, or what webhooks must be asked first.
    pub(crate) fn decide(mut self) -> Result<Prepared, Unprepared> {
        let mut decided = self.act();
        if let Some(status) = self.unconverted.take() {
            decided = Err(status);
        }
        let conversions = self.conversions.take();
        if !conversions.is_empty() {
            // Admission webhooks are asked once they can be shown the object.
            let questions = Vec::new();
            return Err(Unprepared::Asks(OpenQuestions { questions, conversions, assumed: None }));
        }
        if self.questions.is_empty() {
            let (warnings, audit) = (take(&mut self.warnings), take(&mut self.audit));
            return Ok(decided.map_err(|status| Status { warnings, audit, ..status })?);
        }
        let assumed = decided.ok().map(Box::new);
        Err(Unprepared::Asks(OpenQuestions { questions: self.questions, conversions, assumed }))
    }

    fn act(&mut self) -> Result<Prepared, Status> {
        let request = self.request;
        match (&request.action, request.target.subresource.as_deref()) {
            (Action::Create(body), None) => self.create_or_instead(body),
            _ if !self.resource.is_stored() => Err(method_not_allowed()),
            (Action::Create(body), Some(subresource)) => self.create_below(subresource, body),
            (Action::Delete(options), None) => self.delete(options),
            (Action::Delete(_), Some(_)) => Err(method_not_allowed()),
            (_, Some("scale")) => self.scale(),
            (Action::Update(body), _) => self.update(body),
            (Action::Patch(format, body), _) => self.patch(*format, body),
            (Action::Apply(body), _) => self.apply(body),
        }
    }

    fn create_or_instead(&mut self, body: &Body) -> Result<Prepared, Status> {
        let rules = self.resource.rules;
        match rules.create_instead(self, body) {
            Some(instead) => instead,
            None if self.resource.is_stored() => self.create(body),
            None => Err(method_not_allowed()),
        }
    }

    fn create_below(&mut self, subresource: &str, body: &Body) -> Result<Prepared, Status> {
        let rules = self.resource.rules;
        rules.create_below(self, subresource, body)
    }

    pub(crate) fn subresource(&self) -> Option<&str> {
        self.request.target.subresource.as_deref()
    }

    /// The name in the path; empty for a create.
    pub(crate) fn name(&self) -> &str {
        self.request.target.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &Arc<str> {
        &self.request.target.namespace
    }

    pub(crate) fn key(&self, name: &str) -> Key {
        Key::new(self.resource.group_resource(), Arc::clone(self.namespace()), name)
    }

    /// An object of a resource in another of its versions, which a webhook makes of it.
    ///
    /// # Errors
    /// When the webhook failed, or has to be asked first: the attempt has failed then, and knows it.
    pub(crate) fn convert(
        &self,
        of: &Resource,
        object: &Object,
        to: &Arc<str>,
    ) -> Result<Object, Status> {
        let from = object.get("apiVersion").and_then(serde_json::Value::as_str);
        let Some(converter) = of.converter().filter(|_| from != Some(&**to)) else {
            return Ok(object.clone());
        };
        let bytes = serde_json::to_vec(object).expect("writing JSON into memory cannot fail");
        let target = conversion::served_as(self.catalog, of, to);
        let conversion = converter.conversion(bytes.into(), to, target.as_ref(), self.view);
        let key = &conversion.key;
        let known = self.consultation.and_then(|known| known.converted(key)).cloned();
        let status = match known.or_else(|| self.kept.get(key).map(Ok)) {
            Some(Ok(bytes)) => match serde_json::from_slice(&bytes) {
                Ok(object) => return Ok(object),
                Err(error) => conversion::failed(&error.to_string()),
            },
            Some(Err(why)) => conversion::failed(&why),
            None => {
                self.conversions.borrow_mut().push(conversion);
                return Err(conversion::failed("conversion webhooks have not been asked"));
            }
        };
        self.unconverted.borrow_mut().get_or_insert_with(|| status.clone());
        Err(status)
    }

    /// A stored object as the write path works on it.
    pub(crate) fn before(&self, stored: Arc<Stored>) -> Result<Before, Status> {
        let mut before = Before::of(stored)?;
        let wanted = self.resource.working_api_version();
        if !self.resource.custom || field::text(&before.object, &["apiVersion"]) == Some(wanted) {
            return Ok(before);
        }
        if self.resource.converter().is_some() {
            before.object = self.convert(self.resource, &before.object, wanted)?;
        } else {
            before.object.insert("apiVersion".to_owned(), (**wanted).into());
        }
        Ok(before)
    }

    /// Adds a write that must happen together with this one.
    pub(crate) fn also(&self, write: Write) {
        self.also.borrow_mut().push(write);
    }

    /// The stored object that the path names.
    pub(crate) fn find(&self) -> Result<Arc<Stored>, Status> {
        self.view.get(&self.key(self.name())).ok_or_else(|| self.not_found())
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(&self.resource.qualified(), self.name())
    }

    pub(crate) fn conflict(&self, why: &str) -> Status {
        Status::conflict(&self.resource.qualified(), self.name(), why)
    }

    pub(crate) fn invalid(&self, name: &str, errors: &[quadrille_object::FieldError]) -> Status {
        // Events are validated as what they are stored as.
        let group = if self.resource.custom || self.resource.is_storage_form() {
            &*self.resource.kind.group
        } else {
            &*self.resource.stored_as.group
        };
        Status::invalid(group, &self.resource.kind.kind, name, errors)
    }
}

/// 405, in kube-apiserver's words.
pub(crate) fn method_not_allowed() -> Status {
    let text = "the server does not allow this method on the requested resource";
    Status::new(Reason::MethodNotAllowed, text)
}

/// A stored object as a tree.
pub(crate) fn parse(object: &Stored) -> Result<Object, Status> {
    serde_json::from_slice(&object.bytes).map_err(|error| {
        let text = format!("stored object {} is no JSON object: {error}", object.key);
        Status::new(Reason::InternalError, text)
    })
}
