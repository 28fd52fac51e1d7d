//! Objects as a client gets to see them: in the version it asked for, as JSON. It reads no store and decides nothing.

use std::sync::Arc;

use bytes::Bytes;
use quadrille_store::{Object, Revision};
use serde_json::{Map, Value};

use super::{Prepared, Registry, Written};
use crate::catalog::Resource;
use crate::request::WriteRequest;
use crate::status::Status;

impl Registry {
    pub(super) fn written(
        &self,
        request: &WriteRequest,
        prepared: Prepared,
        committed: Option<&Arc<Object>>,
        revision: Revision,
    ) -> Written {
        let resource = &request.target.resource;
        let is_scale = request.target.subresource.as_deref() == Some("scale");
        let stored = committed.filter(|_| !prepared.removed && !is_scale);
        let created = prepared.before.is_none() || prepared.answer.is_some();
        let object = if let Some(answer) = &prepared.answer {
            encode(answer)
        } else if let Some(object) = stored {
            self.present(object, resource)
        } else {
            let mut object = prepared.object;
            // What is gone shows the revision at which it went, unless it went with its last finalizer.
            let deleted = matches!(request.action, crate::request::Action::Delete(_));
            if let Some(stored) = committed.filter(|_| deleted || !prepared.removed) {
                let metadata = crate::metadata::of_mut(&mut object);
                let revision = stored.revision.to_string();
                metadata.insert("resourceVersion".to_owned(), revision.into());
            }
            let value = if is_scale {
                crate::write::scale::scale_of(resource, &object)
            } else {
                crate::convert::from_storage(resource, &mut object);
                object
            };
            encode(&value)
        };
        Written {
            object,
            revision,
            created,
            removed: prepared.removed,
            warnings: prepared.warnings,
            audit: prepared.audit,
        }
    }

    /// The bytes of an object in a version; the stored bytes themselves where the version is the stored one, or where
    /// a webhook converts: those objects have gone through [`Self::convert`] or [`Self::shown`].
    #[expect(clippy::unused_self, reason = "conversions by component will need the registry")]
    pub fn present(&self, object: &Object, resource: &Resource) -> Bytes {
        if resource.is_storage_form() || resource.converter().is_some() {
            return object.bytes.clone();
        }
        let Ok(mut value) = crate::write::parse(object) else { return object.bytes.clone() };
        crate::convert::from_storage(resource, &mut value);
        encode(&value)
    }

    /// An object as the `scale` subresource answers it.
    ///
    /// # Errors
    /// `NotFound` for a resource without it.
    #[expect(clippy::unused_self, reason = "conversions by component will need the registry")]
    pub fn present_scale(&self, object: &Object, resource: &Resource) -> Result<Bytes, Status> {
        if resource.scale.is_none() {
            return Err(Status::not_found(&resource.qualified(), &object.key.name));
        }
        let value = crate::write::parse(object)?;
        Ok(encode(&crate::write::scale::scale_of(resource, &value)))
    }
}

fn encode(object: &Map<String, Value>) -> Bytes {
    Bytes::from(serde_json::to_vec(object).expect("writing JSON into memory cannot fail"))
}

/// The `Status` that answers what was done and has no object to show.
pub(crate) fn done(code: u16) -> Map<String, Value> {
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code,
    });
    status.as_object().cloned().unwrap_or_default()
}
