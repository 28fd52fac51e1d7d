//! Patch and server-side apply: the wanted state is made from the state before.

use quadrille_object::schema::Nulls;
use quadrille_object::{decode, protobuf};
use serde_json::Value;

use crate::catalog::Resource;
use crate::convert;
use crate::field::{Errors, Object};
use crate::metadata;
use crate::registry::Prepared;
use crate::request::{Body, FieldValidation, PatchFormat};
use crate::shape;
use crate::status::{Reason, Status};
use crate::write::Attempt;
use crate::write::body::{bad_request, strict_text};
use crate::write::change::Before;

impl Attempt<'_> {
    pub(crate) fn patch(&mut self, format: PatchFormat, body: &Body) -> Result<Prepared, Status> {
        if format == PatchFormat::Strategic && self.resource.custom {
            let text = "the body of the request was in an unknown format - accepted media types include: \
                        application/json-patch+json, application/merge-patch+json, \
                        application/apply-patch+yaml";
            return Err(Status::new(Reason::UnsupportedMediaType, text));
        }
        let before = self.before(self.find()?)?;
        let (object, mut problems) = self.patched(&before, format, &body.value)?;
        problems.extend_from_slice(&body.duplicates);
        self.replace_patched(
            before,
            object,
            &Patch { of: self.resource, format, body: &body.value, problems },
        )
    }

    /// What the patch makes of the object, and what strict decoding objects to in the patch itself.
    fn patched(
        &self,
        before: &Before,
        format: PatchFormat,
        body: &Value,
    ) -> Result<(Object, Vec<String>), Status> {
        let mut base = before.object.clone();
        convert::from_storage(self.resource, &mut base);
        let mut patched = Value::Object(base);
        let problems = shape::patch(self.resource, format, &mut patched, body)?;
        match patched {
            Value::Object(object) => Ok((object, problems)),
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)) => {
                Err(self.cannot_handle(&format!("the patch turns the object into {other}")))
            }
        }
    }

    fn replace_patched(
        &mut self,
        before: Before,
        mut object: Object,
        patch: &Patch<'_>,
    ) -> Result<Prepared, Status> {
        self.check_patched(&object, patch)?;
        self.check_place(&mut object)?;
        if !self.resource.custom {
            // kube-apiserver blames the patch, not the object, when the result does not decode.
            let types = match patch.format {
                PatchFormat::Strategic => self.resource.schema.check_restored(&object),
                PatchFormat::Json | PatchFormat::Merge => {
                    shape::check_types(self.resource, &object)
                }
            };
            types.map_err(|why| patch.blame(&object, &why))?;
        }
        // The types of a built-in kind have been checked just now, unless the patch has a manner of its own.
        let decoded = if self.resource.custom || patch.format == PatchFormat::Strategic {
            self.decode(&mut object, &patch.problems)
        } else {
            self.decode_typed(&mut object, &patch.problems)
        };
        decoded.map_err(|status| self.blame_patch(patch, &before, status))?;
        shape::manage(self, &mut object, Some(&before.object));
        self.replace(before, object)
    }

    /// The refusal of a patch's result: of what does not decode the patch is to blame.
    fn blame_patch(&self, patch: &Patch<'_>, before: &Before, status: Status) -> Status {
        if status.reason != Reason::BadRequest {
            return status;
        }
        let prefix = self.cannot_handle("").message;
        let why = status.message.strip_prefix(&prefix).unwrap_or(&status.message);
        // It is shown as it was before it was decoded, which is worth keeping for nobody else.
        let patched = self.patched(before, patch.format, patch.body);
        patch.blame(&patched.map(|(object, _)| object).unwrap_or_default(), why)
    }

    /// A patch may not turn the object into another one.
    fn check_patched(&self, object: &Object, patch: &Patch<'_>) -> Result<(), Status> {
        let of = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (of("apiVersion"), of("kind"));
        if version == &*self.resource.api_version && kind == &*self.resource.kind.kind {
            return Ok(());
        }
        let wanted = &self.resource.kind.kind;
        let why = if version == &*self.resource.api_version && !self.resource.custom {
            let package = self.resource.gvr.group.split('.').next().filter(|p| !p.is_empty());
            let (from, package) = (&self.resource.gvr.version, package.unwrap_or("core"));
            format!("converting ({from}.{kind}) to ({package}.{wanted}): unknown conversion")
        } else {
            let scheme = "in scheme \"pkg/api/legacyscheme/scheme.go:30\"";
            format!("no kind \"{kind}\" is registered for version \"{version}\" {scheme}")
        };
        Err(patch.blame(object, &why))
    }

    pub(crate) fn apply(&mut self, body: &Body) -> Result<Prepared, Status> {
        let wanted = self.applied(body)?;
        self.strict_apply(body)?;
        let found = self.view.get(&self.key(self.name()));
        let Some(stored) = found else {
            if self.subresource().is_some() {
                return Err(self.not_found());
            }
            return self.apply_new(wanted);
        };
        let before = self.before(stored)?;
        let mut object = shape::apply(self, Some(&before.object), &wanted)?;
        self.complete_applied(&mut object)?;
        self.replace(before, object)
    }

    fn apply_new(&mut self, mut wanted: Object) -> Result<Prepared, Status> {
        let uid = metadata::text(&wanted, "uid");
        if !uid.is_empty() {
            let why = "and no existing object was found";
            return Err(self.conflict(&format!(
                "uid mismatch: the provided object specified uid {uid}, {why}"
            )));
        }
        metadata::of_mut(&mut wanted).remove("resourceVersion");
        let mut object = shape::apply(self, None, &wanted)?;
        self.place(&mut object);
        self.complete_applied(&mut object)?;
        self.create_decoded(object)
    }

    /// What the decoder noticed in an applied configuration.
    fn strict_apply(&mut self, body: &Body) -> Result<(), Status> {
        let problems = &body.duplicates;
        if self.request.options.field_validation == FieldValidation::Strict && !problems.is_empty()
        {
            let text = format!("error strict decoding YAML: {}", strict_text(problems));
            return Err(bad_request(&text));
        }
        self.strict(problems.clone())
    }

    /// Types and defaults of the merged object; types that the configuration's check lets pass may still be wrong.
    fn complete_applied(&mut self, object: &mut Object) -> Result<(), Status> {
        shape::check_types(self.resource, object).map_err(|why| {
            let (gvk, name) = (&self.resource.kind, self.name());
            let (namespace, api_version) = (self.namespace(), &self.resource.api_version);
            Status::new(
                Reason::Unknown,
                format!(
                    "failed to convert new object ({namespace}/{name}; {}/{}, Kind={}) to proper version \
                     ({api_version}): {why}",
                    gvk.group, gvk.version, gvk.kind
                ),
            )
        })?;
        self.complete(object, Nulls::Keep)
    }

    /// The applied configuration, checked against the path.
    fn applied(&self, body: &Body) -> Result<Object, Status> {
        if self.request.options.field_manager.as_deref().unwrap_or_default().is_empty() {
            let mut errors = Errors::default();
            errors.required("fieldManager", "is required for apply patch");
            return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &errors.0));
        }
        let Value::Object(object) = &body.value else {
            return Err(bad_request("the applied configuration must be an object"));
        };
        let mut object = object.clone();
        let of = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if of("apiVersion") != *self.resource.api_version || of("kind") != *self.resource.kind.kind
        {
            let version = of("apiVersion");
            let version = if version.contains('/') { version } else { format!("/{version}") };
            return Err(bad_request(&format!(
                "invalid object type: {version}, Kind={}",
                of("kind")
            )));
        }
        if object.get("metadata").and_then(|m| m.get("managedFields")).is_some_and(|m| !m.is_null())
        {
            return Err(bad_request("metadata.managedFields must be nil"));
        }
        let metadata = metadata::of_mut(&mut object);
        if metadata.get("name").is_none_or(Value::is_null) {
            metadata.insert("name".to_owned(), self.name().into());
        }
        self.check_same_place(&object)?;
        Ok(object)
    }
}

/// A patch that was laid over an object.
struct Patch<'a> {
    of: &'a Resource,
    format: PatchFormat,
    body: &'a Value,
    /// What strict decoding objects to in it.
    problems: Vec<String>,
}

impl Patch<'_> {
    /// 422 that blames the patch for its result, which does not decode: it is shown with its fields as kube-apiserver
    /// has them, or the patch itself where that is what kube-apiserver shows.
    fn blame(&self, result: &Object, why: &str) -> Status {
        let shown = match self.format {
            PatchFormat::Strategic => decode::go_text(self.body),
            PatchFormat::Merge => self.show(result, self.body),
            PatchFormat::Json => self.show(result, &touched(self.body)),
        };
        let mut errors = Errors::default();
        errors.invalid("patch", &Value::String(shown), why);
        Status::invalid("", "", "", &errors.0)
    }

    fn show(&self, result: &Object, touched: &Value) -> String {
        protobuf::as_patched(&self.of.api_version, &self.of.kind.kind, result, touched)
    }
}

/// The places that the operations of a JSON Patch name, as a tree.
fn touched(operations: &Value) -> Value {
    let mut tree = Value::Object(Object::new());
    let paths = operations.as_array().into_iter().flatten().flat_map(|operation| {
        ["path", "from"].into_iter().filter_map(|key| operation.get(key)?.as_str())
    });
    for path in paths {
        let mut at = &mut tree;
        for step in path.split('/').skip(1) {
            if !at.is_object() {
                *at = Value::Object(Object::new());
            }
            let Value::Object(map) = at else { break };
            let step = step.replace("~1", "/").replace("~0", "~");
            at = map.entry(step).or_insert(Value::Null);
        }
    }
    tree
}
