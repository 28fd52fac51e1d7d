//! The end of every write: validation, field managers, the no-op check, encoding.

use quadrille_object::{Meta, Template};
use quadrille_store::{Expect, Write};
use serde_json::Value;

use crate::field::{Errors, Object};
use crate::metadata;
use crate::registry::Prepared;
use crate::status::{Reason, Status};
use crate::write::change::Before;
use crate::write::{Attempt, bad_request};

/// The deepest nesting of a stored object, field managers included: readers stop at 128 levels.
const DEPTH_MAX: usize = 120;

/// What a write does to the stored object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is stored.
    Stored,
    /// It is removed; the state decided here is only answered.
    Removed,
}

impl Attempt<'_> {
    /// Everything that is wrong with the object, in one answer.
    pub(crate) fn validate(
        &mut self,
        object: &Object,
        before: Option<&Object>,
    ) -> Result<(), Status> {
        let mut errors = Errors::default();
        if let Some(before) = before {
            errors.0.extend(metadata::validate_update(object, before, self.resource));
        }
        errors.0.extend(metadata::validate(object, self.resource));
        if self.resource.custom {
            self.validate_custom(object, before, &mut errors);
        }
        match before {
            None => self.resource.rules.validate(object, &mut errors),
            Some(before) => match self.subresource() {
                None | Some("scale") => {
                    self.resource.rules.validate_update(object, before, &mut errors);
                }
                Some(below) => {
                    self.resource.rules.validate_below(below, object, before, &mut errors);
                }
            },
        }
        if errors.0.is_empty() {
            return Ok(());
        }
        Err(self.invalid(metadata::text(object, "name"), &errors.0))
    }

    /// Encodes the decided state as the write that stores or removes it.
    pub(crate) fn finish(
        &mut self,
        mut object: Object,
        before: Option<Before>,
        outcome: Outcome,
    ) -> Result<Prepared, Status> {
        self.resource.rules.complete(&mut object);
        let name = metadata::text(&object, "name").to_owned();
        let key = self.key(&name);
        let expect = match &before {
            Some(before) => Expect::Revision(before.stored.revision),
            None => Expect::Absent,
        };
        if let Some(before) = &before {
            let revision = before.object.get("metadata").and_then(|m| m.get("resourceVersion"));
            let revision = revision.cloned().unwrap_or(Value::Null);
            metadata::of_mut(&mut object).insert("resourceVersion".to_owned(), revision);
        }
        // What is stored in a version of the past is written anew, as kube-apiserver does.
        let is_current = |before: &Before| {
            !self.resource.custom
                || crate::conversion::version_of(&before.stored.bytes)
                    == *self.resource.storage_api_version
        };
        let same = before
            .as_ref()
            .filter(|before| is_same_but_for_times(&before.object, &object) && is_current(before));
        if let Some(before) = same {
            object.clone_from(&before.object);
        }
        let same = same.is_some();
        let writes = match outcome {
            Outcome::Removed => vec![Write::Delete { key: key.clone(), expect }],
            Outcome::Stored if same => Vec::new(),
            Outcome::Stored if self.resource.converter().is_some() => {
                let to = &self.resource.storage_api_version;
                vec![self.put(&key, expect, &self.convert(self.resource, &object, to)?)?]
            }
            Outcome::Stored => vec![self.put(&key, expect, &object)?],
        };
        let mut writes = writes;
        if outcome == Outcome::Removed {
            self.resource.rules.on_removed(self, &object);
        }
        if !writes.is_empty() {
            writes.append(&mut self.also.borrow_mut());
        }
        Ok(Prepared {
            key,
            writes,
            requires: std::mem::take(&mut self.requires),
            object,
            before: before.map(|b| b.stored),
            removed: outcome == Outcome::Removed,
            warnings: std::mem::take(&mut self.warnings),
            audit: std::mem::take(&mut self.audit),
            answer: None,
        })
    }

    pub(crate) fn put(
        &self,
        key: &quadrille_store::Key,
        expect: Expect,
        object: &Object,
    ) -> Result<Write, Status> {
        let template = Template::encode(object);
        let (bytes, bytes_max) = (template.unrevised().len(), self.config.object_bytes_max);
        if bytes > bytes_max {
            let text = format!("the object takes {bytes} bytes; at most {bytes_max} are stored");
            return Err(Status::new(Reason::RequestEntityTooLarge, text));
        }
        if !is_shallow(object.values(), DEPTH_MAX) {
            let text = format!("the object nests deeper than {DEPTH_MAX} levels");
            return Err(bad_request(&text));
        }
        // What was decoded has the right types; this is for what a step between has made of it.
        let meta = Meta::of(object).map_err(|why| bad_request(&format!("metadata: {why}")))?;
        Ok(Write::Put { key: key.clone(), meta, object: template, expect })
    }

    /// Who manages the fields: the `fieldManager` parameter, else the start of the client's name.
    pub(crate) fn manager(&self) -> &str {
        const LENGTH_MAX: usize = 128;
        if let Some(manager) = self.request.options.field_manager.as_deref() {
            return manager;
        }
        let client = &*self.request.actor.client;
        let name = client.split('/').next().unwrap_or_default();
        let mut end = name.len().min(LENGTH_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.get(..end).filter(|n| !n.is_empty()).unwrap_or("unknown")
    }
}

/// Whether two states differ at most in when their fields were managed, which alone is no change (kube-apiserver's
/// `IgnoreManagedFieldsTimestampsTransformer`): else a write that changes nothing would count once a second.
fn is_same_but_for_times(before: &Object, after: &Object) -> bool {
    let (Some(Value::Object(old)), Some(Value::Object(new))) =
        (before.get("metadata"), after.get("metadata"))
    else {
        return before == after;
    };
    let managers = match (old.get("managedFields"), new.get("managedFields")) {
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            let same = |(a, b): (&Value, &Value)| match (a, b) {
                (Value::Object(a), Value::Object(b)) => is_same_but(a, b, "time"),
                (a, b) => a == b,
            };
            old.len() == new.len() && old.iter().zip(new).all(same)
        }
        (old, new) => old == new,
    };
    managers && is_same_but(old, new, "managedFields") && is_same_but(before, after, "metadata")
}

/// Whether two maps have the same fields, equal but for one.
fn is_same_but(a: &Object, b: &Object, but: &str) -> bool {
    let same =
        |(key, one): (&String, &Value)| b.get(key).is_some_and(|other| key == but || one == other);
    a.len() == b.len() && a.iter().all(same)
}

/// Whether values nest no deeper than so many levels.
fn is_shallow<'a>(mut values: impl Iterator<Item = &'a Value>, levels: usize) -> bool {
    values.all(|value| match value {
        Value::Array(items) => levels > 1 && is_shallow(items.iter(), levels - 1),
        Value::Object(map) => levels > 1 && is_shallow(map.values(), levels - 1),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    })
}
