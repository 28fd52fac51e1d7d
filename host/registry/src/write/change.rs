//! Update: the new state against the old one.

use std::sync::Arc;

use quadrille_store::Object as Stored;
use serde_json::Value;

use crate::admission::{self, Operation};
use crate::field::{self, Object};
use crate::metadata;
use crate::registry::Prepared;
use crate::request::{Action, Body};
use crate::shape;
use crate::status::{Reason, Status};
use crate::write::body::is_terminating;
use crate::write::finish::Outcome;
use crate::write::{Attempt, parse};

const STALE: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// An object as it is before a change.
pub(crate) struct Before {
    pub(crate) stored: Arc<Stored>,
    pub(crate) object: Object,
}

impl Before {
    pub(crate) fn of(stored: Arc<Stored>) -> Result<Self, Status> {
        let object = parse(&stored)?;
        Ok(Self { stored, object })
    }
}

impl Attempt<'_> {
    pub(crate) fn update(&mut self, body: &Body) -> Result<Prepared, Status> {
        let mut object = self.object_of(body)?;
        self.check_place(&mut object)?;
        let found = self.view.get(&self.key(self.name()));
        let Some(stored) = found else {
            let may_create = self.resource.traits.create_on_update && self.subresource().is_none();
            if !may_create || !metadata::text(&object, "resourceVersion").is_empty() {
                return Err(self.not_found());
            }
            self.decode(&mut object, &body.duplicates)?;
            shape::manage(self, &mut object, None);
            return self.create_decoded(object);
        };
        self.decode(&mut object, &body.duplicates)?;
        self.check_unconditional(&object)?;
        let before = self.before(stored)?;
        shape::manage(self, &mut object, Some(&before.object));
        self.replace(before, object)
    }

    fn check_unconditional(&self, object: &Object) -> Result<(), Status> {
        let given = metadata::text(object, "resourceVersion");
        let unconditional = given.is_empty() || given == "0";
        if !unconditional || self.resource.traits.unconditional_update {
            return Ok(());
        }
        let mut errors = field::Errors::default();
        let why = "must be specified for an update";
        errors.invalid("metadata.resourceVersion", &0.into(), why);
        let (group, plural) = (&self.resource.gvr.group, &self.resource.gvr.resource);
        Err(Status::invalid(group, plural, self.name(), &errors.0))
    }

    /// Turns the decoded, wanted state into a write over the state before.
    pub(crate) fn replace(
        &mut self,
        before: Before,
        mut object: Object,
    ) -> Result<Prepared, Status> {
        self.check_version(&before, &object)?;
        admission::mutate(self, &mut object, Some(&before.object), Operation::Update)?;
        metadata::carry(&mut object, &before.object);
        self.warnings.extend(metadata::dedup_owners(&mut object));
        self.keep(&mut object, &before.object);
        self.resource.rules.before_update(self, &mut object, &before.object)?;
        self.count_generation(&mut object, &before.object);
        self.validate(&object, Some(&before.object))?;
        admission::validate(self, &object, Some(&before.object), Operation::Update)?;
        if self.subresource().is_none() {
            self.resource.rules.warn(&object, Some(&before.object), &mut self.warnings);
        }
        let gone = is_terminating(&object)
            && metadata::finalizers(&object).next().is_none()
            && field::integer(&object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0)
                == 0
            && self.resource.rules.may_go(&object);
        let outcome = if gone { Outcome::Removed } else { Outcome::Stored };
        self.finish(object, Some(before), outcome)
    }

    /// The resourceVersion and uid that the writer believes in.
    fn check_version(&self, before: &Before, object: &Object) -> Result<(), Status> {
        let given = metadata::text(object, "resourceVersion");
        if !given.is_empty() && given != "0" {
            let revision: u64 = given.parse().map_err(|_| {
                let text = format!("strconv.ParseUint: parsing \"{given}\": invalid syntax");
                Status::new(Reason::Unknown, text)
            })?;
            if revision != before.stored.revision.0 {
                return Err(self.conflict(STALE));
            }
        }
        let uid = metadata::text(object, "uid");
        let replaces = matches!(self.request.action, Action::Update(_));
        if replaces && !uid.is_empty() && uid != &*before.stored.meta.uid {
            let resource = self.resource.qualified();
            let folder = if self.resource.custom {
                format!("{}/{}", resource.group, resource.resource)
            } else {
                resource.resource.as_ref().to_owned()
            };
            let namespace = self.namespace();
            let slash = if namespace.is_empty() { "" } else { "/" };
            return Err(self.conflict(&format!(
                "StorageError: invalid object, Code: 4, Key: /registry/{folder}/{namespace}{slash}{}, \
                 ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in \
                 object meta: {}",
                self.name(),
                before.stored.meta.uid
            )));
        }
        Ok(())
    }

    /// Puts back what the endpoint does not change: the status, or all but the status.
    fn keep(&self, object: &mut Object, before: &Object) {
        match self.subresource() {
            Some("status") => {
                let status = object.remove("status");
                let metadata = object.remove("metadata").unwrap_or(Value::Null);
                object.clone_from(before);
                match status {
                    Some(status) => object.insert("status".to_owned(), status),
                    None => object.remove("status"),
                };
                self.keep_metadata(object, metadata);
            }
            Some("approval") => {
                let conditions = field::get(object, &["status", "conditions"]).cloned();
                let managed = field::get(object, &["metadata", "managedFields"]).cloned();
                object.clone_from(before);
                if let Some(managed) = managed {
                    metadata::of_mut(object).insert("managedFields".to_owned(), managed);
                }
                let status = field::map_mut(object, &["status"]);
                match conditions {
                    Some(list) => status.insert("conditions".to_owned(), list),
                    None => status.remove("conditions"),
                };
            }
            Some("finalize") => {
                let finalizers = field::get(object, &["spec", "finalizers"]).cloned();
                let managed = field::get(object, &["metadata", "managedFields"]).cloned();
                object.clone_from(before);
                if let Some(managed) = managed {
                    metadata::of_mut(object).insert("managedFields".to_owned(), managed);
                }
                let spec = field::map_mut(object, &["spec"]);
                match finalizers {
                    Some(list) => spec.insert("finalizers".to_owned(), list),
                    None => spec.remove("finalizers"),
                };
            }
            _ => {
                if self.resource.subresource("status").is_some() {
                    field::copy(object, before, "status");
                }
            }
        }
    }

    /// What a write to `status` may change of the metadata.
    fn keep_metadata(&self, object: &mut Object, new: Value) {
        let Value::Object(mut new) = new else { return };
        let current = metadata::of_mut(object);
        field::copy(current, &new, "managedFields");
        if self.resource.custom {
            return;
        }
        let labels = self.resource.rules.status_keeps_labels();
        let all = ["labels", "annotations", "finalizers"];
        for key in all.into_iter().skip(usize::from(labels)) {
            match new.remove(key) {
                Some(value) => current.insert(key.to_owned(), value),
                None => current.remove(key),
            };
        }
    }

    fn count_generation(&self, object: &mut Object, before: &Object) {
        if !self.resource.traits.generation || self.subresource().is_some() {
            return;
        }
        let counts = |key: &str| match key {
            "metadata" | "apiVersion" | "kind" => false,
            "status" => self.resource.custom && self.resource.subresource("status").is_none(),
            _ => true,
        };
        let same = {
            let old = before.iter().filter(|(k, _)| counts(k));
            old.eq(object.iter().filter(|(k, _)| counts(k)))
        };
        let annotated = self.resource.rules.annotations_count()
            && field::get(object, &["metadata", "annotations"])
                != field::get(before, &["metadata", "annotations"]);
        if !same || annotated {
            let generation = field::integer(before, &["metadata", "generation"]).unwrap_or(0);
            metadata::of_mut(object).insert("generation".to_owned(), (generation + 1).into());
        }
    }
}
