//! From a request's body to a decoded, defaulted object in the stored form.

use quadrille_object::schema::Nulls;
use serde_json::Value;

use crate::catalog::Resource;
use crate::convert;
use crate::field::{self, Object};
use crate::metadata;
use crate::request::{Body, FieldValidation};
use crate::shape;
use crate::status::{Reason, Status};
use crate::write::Attempt;

/// Kubernetes' bound on the problems that strict decoding lists.
const PROBLEMS_MAX: usize = 100;

impl Attempt<'_> {
    /// The body of a create, update or apply: checked against the path, with apiVersion and kind set.
    pub(crate) fn object_of(&self, body: &Body) -> Result<Object, Status> {
        let Value::Object(object) = &body.value else {
            return Err(bad_request("the body of the request must be an object"));
        };
        let mut object = object.clone();
        self.check_envelope(&mut object)?;
        if let Some(metadata) = object.get("metadata").filter(|m| !m.is_object() && !m.is_null()) {
            let kind = &self.resource.kind.kind;
            let found = quadrille_object::decode::go_kind(metadata);
            return Err(self.cannot_handle(&format!(
                "json: cannot unmarshal {found} into Go struct field {kind}.metadata of type v1.ObjectMeta"
            )));
        }
        Ok(object)
    }

    fn check_envelope(&self, object: &mut Object) -> Result<(), Status> {
        let (wanted_version, wanted_kind) =
            (&*self.resource.api_version, &*self.resource.kind.kind);
        let of = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (of("apiVersion"), of("kind"));
        if self.resource.custom {
            if kind.is_empty() {
                return Err(bad_request("Object 'Kind' is missing in the body of the request"));
            }
            if version != wanted_version {
                return Err(bad_request(&format!(
                    "the API version in the data ({version}) does not match the expected API version \
                     ({wanted_version})"
                )));
            }
            if kind != wanted_kind {
                return Err(bad_request(&format!(
                    "{kind} in version \"{}\" cannot be handled as a {wanted_kind}: {kind} is not {wanted_kind}",
                    self.resource.gvr.version
                )));
            }
            return Ok(());
        }
        let (shown_kind, shown) = (
            if kind.is_empty() { wanted_kind } else { kind },
            version.rsplit('/').next().unwrap_or_default(),
        );
        if !version.is_empty() && version != wanted_version {
            return Err(bad_request(&format!(
                "{shown_kind} in version \"{shown}\" cannot be handled as a {wanted_kind}: no kind \
                 \"{shown_kind}\" is registered for version \"{version}\" in scheme \
                 \"pkg/api/legacyscheme/scheme.go:30\""
            )));
        }
        if !kind.is_empty() && kind != wanted_kind {
            let version = &self.resource.gvr.version;
            let package = self.resource.gvr.group.split('.').next().filter(|p| !p.is_empty());
            return Err(bad_request(&format!(
                "{kind} in version \"{version}\" cannot be handled as a {wanted_kind}: converting \
                 ({version}.{kind}) to ({}.{wanted_kind}): unknown conversion",
                package.unwrap_or("core")
            )));
        }
        object.insert("apiVersion".to_owned(), wanted_version.into());
        object.insert("kind".to_owned(), wanted_kind.into());
        Ok(())
    }

    /// Checks that the body belongs under the path, and fills in what only the path says.
    pub(crate) fn check_place(&self, object: &mut Object) -> Result<(), Status> {
        self.check_same_place(object)?;
        self.place(object);
        Ok(())
    }

    /// Fills in the namespace that the path names.
    pub(crate) fn place(&self, object: &mut Object) {
        if self.resource.namespaced {
            let namespace = Value::from(&**self.namespace());
            metadata::of_mut(object).insert("namespace".to_owned(), namespace);
        }
    }

    /// Checks that the body has the path's namespace, or none.
    pub(crate) fn check_space(&self, object: &Object) -> Result<(), Status> {
        let namespace = metadata::text(object, "namespace");
        if namespace != &**self.namespace() && !namespace.is_empty() {
            return Err(bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        Ok(())
    }

    /// Checks that the body belongs under the path.
    pub(crate) fn check_same_place(&self, object: &Object) -> Result<(), Status> {
        self.check_space(object)?;
        let wanted = self.name();
        let name = metadata::text(object, "name");
        if !wanted.is_empty() && name.is_empty() {
            return Err(bad_request(&format!(
                "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
            )));
        }
        if !wanted.is_empty() && name != wanted {
            return Err(bad_request(&format!(
                "the name of the object ({name}) does not match the name on the URL ({wanted})"
            )));
        }
        Ok(())
    }

    /// Types, unknown fields, defaults; the result is in the stored form.
    pub(crate) fn decode(
        &mut self,
        object: &mut Object,
        duplicates: &[String],
    ) -> Result<(), Status> {
        self.check_fields(object, duplicates)?;
        self.complete(object, Nulls::Drop)
    }

    /// The same for an object whose types have been checked.
    pub(crate) fn decode_typed(
        &mut self,
        object: &mut Object,
        duplicates: &[String],
    ) -> Result<(), Status> {
        self.check_known(object, duplicates)?;
        self.complete(object, Nulls::Drop)
    }

    /// Types and unknown fields.
    pub(crate) fn check_fields(
        &mut self,
        object: &mut Object,
        duplicates: &[String],
    ) -> Result<(), Status> {
        shape::check_types(self.resource, object).map_err(|why| self.cannot_handle(&why))?;
        self.check_known(object, duplicates)
    }

    fn check_known(&mut self, object: &mut Object, duplicates: &[String]) -> Result<(), Status> {
        let mut problems: Vec<String> = duplicates.to_vec();
        let unknown = shape::prune(self.resource, object);
        problems.extend(unknown.iter().map(|path| format!("unknown field \"{path}\"")));
        self.strict(problems)
    }

    /// Defaults, and the stored form.
    pub(crate) fn complete(&self, object: &mut Object, nulls: Nulls) -> Result<(), Status> {
        let counted = shape::check_count(self.resource, object);
        counted.map_err(|why| Status::new(Reason::RequestEntityTooLarge, why))?;
        shape::defaults(self.resource, object, nulls);
        convert::to_storage(self.resource, object);
        if let Some(stored) = self.storage_resource() {
            let lost = shape::prune(stored, object);
            self.lost_in_storage.set(!lost.is_empty());
        } else if !self.resource.is_storage_form() {
            shape::fill_empty(self.working_resource(), object);
        }
        Ok(())
    }

    /// The resource in the version in which the write path works.
    pub(crate) fn working_resource(&self) -> &'_ Resource {
        let stored = self.catalog.by_group_resource(&self.resource.stored_as);
        let stored = stored.filter(|_| self.resource.converter().is_none());
        stored.map_or(self.resource, AsRef::as_ref)
    }

    /// The resource in its storage version, where a custom resource's request speaks another one.
    pub(crate) fn storage_resource(&self) -> Option<&'_ Resource> {
        let resource = self.resource;
        if resource.is_storage_version() || !resource.custom || resource.converter().is_some() {
            return None;
        }
        self.catalog.by_group_resource(&self.resource.qualified()).map(AsRef::as_ref)
    }

    pub(crate) fn strict(&mut self, mut problems: Vec<String>) -> Result<(), Status> {
        problems.truncate(PROBLEMS_MAX);
        match self.request.options.field_validation {
            FieldValidation::Strict if !problems.is_empty() => {
                let list = strict_text(&problems);
                Err(self.cannot_handle(&format!("strict decoding error: {list}")))
            }
            FieldValidation::Warn => {
                self.warnings.append(&mut problems);
                Ok(())
            }
            FieldValidation::Strict | FieldValidation::Ignore => Ok(()),
        }
    }

    pub(crate) fn cannot_handle(&self, why: &str) -> Status {
        cannot_handle(self.resource, why)
    }
}

/// The refusal of a body that does not decode as what it says it is.
pub(crate) fn cannot_handle(resource: &Resource, why: &str) -> Status {
    let (kind, version) = (&resource.kind.kind, &resource.kind.version);
    bad_request(&format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
}

/// Problems in one line; those of YAML, which name their lines, stand together.
pub(crate) fn strict_text(problems: &[String]) -> String {
    let (lines, others): (Vec<&String>, Vec<&String>) =
        problems.iter().partition(|problem| problem.starts_with("line "));
    let lines: Vec<String> = lines.into_iter().map(|line| format!("  {line}")).collect();
    let yaml =
        (!lines.is_empty()).then(|| format!("yaml: unmarshal errors:\n{}", lines.join("\n")));
    let all: Vec<String> = yaml.into_iter().chain(others.into_iter().cloned()).collect();
    all.join(", ")
}

/// 400 with a text.
pub(crate) fn bad_request(text: &str) -> Status {
    Status::new(Reason::BadRequest, text)
}

/// Whether the object is on its way out.
pub(crate) fn is_terminating(object: &Object) -> bool {
    field::get(object, &["metadata", "deletionTimestamp"]).is_some()
}
