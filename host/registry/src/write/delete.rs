//! Delete: at once, after a grace period, or when the last finalizer is gone.
//!
//! A deletion that cannot finish now marks the object (`deletionTimestamp`); whoever removes the last finalizer
//! finishes it with the same write.

use std::sync::Arc;

use quadrille_object::{GroupResource, Timestamp};
use serde_json::Value;

use crate::admission::{self, Operation};
use crate::field::{self, Object};
use crate::metadata;
use crate::registry::Prepared;
use crate::request::{DeleteOptions, Propagation};
use crate::status::Status;
use crate::write::Attempt;
use crate::write::change::Before;
use crate::write::finish::Outcome;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

impl Attempt<'_> {
    pub(crate) fn delete(&mut self, options: &DeleteOptions) -> Result<Prepared, Status> {
        let before = self.before(self.find()?)?;
        let object = before.object.clone();
        self.delete_changed(before, object, options)
    }

    /// Deletes an object that is changed on its way out.
    pub(crate) fn delete_changed(
        &mut self,
        before: Before,
        mut object: Object,
        options: &DeleteOptions,
    ) -> Result<Prepared, Status> {
        self.check_preconditions(options, &before)?;
        self.resource.rules.before_delete(self, &before.object)?;
        // An eviction has been seen as such.
        if self.subresource().is_none() {
            let old = &before.object;
            admission::mutate(self, &mut object, Some(old), Operation::Delete)?;
            admission::validate(self, old, Some(old), Operation::Delete)?;
        }
        self.propagate(options, &mut object);
        let was_marked = before.stored.meta.deleted_at.is_some();
        if !was_marked {
            self.resource.rules.before_mark(&mut object);
        }
        let asked = self.resource.rules.grace_seconds(&object, options.grace_period_seconds);
        let held =
            metadata::finalizers(&object).next().is_some() || !self.resource.rules.may_go(&object);
        let running = field::integer(&object, &["metadata", "deletionGracePeriodSeconds"]);
        // A grace period that runs may be made shorter, never longer.
        let grace = match running.filter(|_| was_marked) {
            Some(left) => asked.map_or(left, |asked| asked.min(left)),
            None => asked.unwrap_or(0),
        };
        if !was_marked {
            self.mark(&mut object, grace);
        } else if running.is_some_and(|left| grace < left) {
            let metadata = metadata::of_mut(&mut object);
            metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
        }
        if held || grace > 0 {
            if !was_marked {
                self.resource.rules.on_terminating(&mut object, &self.now.to_rfc3339());
            }
            return self.finish_unmanaged(object, before, Outcome::Stored);
        }
        if !self.resource.rules.answers_mark() {
            object.clone_from(&before.object);
        }
        self.finish_unmanaged(object, before, Outcome::Removed)
    }

    fn finish_unmanaged(
        &mut self,
        object: Object,
        before: Before,
        outcome: Outcome,
    ) -> Result<Prepared, Status> {
        self.finish(object, Some(before), outcome)
    }

    fn check_preconditions(&self, options: &DeleteOptions, before: &Before) -> Result<(), Status> {
        let wanted = &options.preconditions;
        let found = &before.stored.meta.uid;
        if let Some(uid) = wanted.uid.as_deref().filter(|uid| **uid != **found) {
            return Err(self.kind_conflict(&format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({found}). The object might \
                 have been deleted and then recreated"
            )));
        }
        let found = before.stored.revision.to_string();
        if let Some(version) = wanted.resource_version.as_deref().filter(|v| **v != *found) {
            return Err(self.kind_conflict(&format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record \
                 ({found}). The object might have been modified"
            )));
        }
        Ok(())
    }

    /// A conflict that names the kind where others name the resource.
    fn kind_conflict(&self, why: &str) -> Status {
        let kind = &self.resource.kind;
        let named = GroupResource::new(Arc::clone(&kind.group), Arc::clone(&kind.kind));
        Status::conflict(&named, self.name(), why)
    }

    /// Sets the finalizers that the garbage collector works off.
    fn propagate(&mut self, options: &DeleteOptions, object: &mut Object) {
        let mut names: Vec<String> = metadata::finalizers(object).map(str::to_owned).collect();
        let had = names.len();
        let policy = options.propagation.or_else(|| {
            let held = names.iter().any(|n| n == ORPHAN || n == FOREGROUND);
            if held { None } else { self.resource.rules.propagation(&mut self.warnings) }
        });
        let Some(policy) = policy else { return };
        let wanted = match policy {
            Propagation::Background => None,
            Propagation::Foreground => Some(FOREGROUND),
            Propagation::Orphan => Some(ORPHAN),
        };
        names.retain(|n| (n != ORPHAN && n != FOREGROUND) || Some(n.as_str()) == wanted);
        let is_new = wanted.is_some_and(|wanted| names.iter().all(|n| n != wanted));
        names.extend(wanted.filter(|_| is_new).map(str::to_owned));
        if names.len() == had && !is_new {
            return;
        }
        let metadata = metadata::of_mut(object);
        if names.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".to_owned(), names.into());
        }
    }

    fn mark(&self, object: &mut Object, grace: i64) {
        let generation = field::integer(object, &["metadata", "generation"]).filter(|g| *g > 0);
        let at = Timestamp::from_seconds(self.now.seconds().saturating_add(grace));
        let metadata = metadata::of_mut(object);
        metadata.insert("deletionTimestamp".to_owned(), at.to_rfc3339().into());
        metadata.insert("deletionGracePeriodSeconds".to_owned(), Value::from(grace));
        if let Some(generation) = generation {
            metadata.insert("generation".to_owned(), (generation + 1).into());
        }
    }
}
