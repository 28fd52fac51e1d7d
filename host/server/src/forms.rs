//! The Table form of objects, as requests need it: one object, a list, watch events.

use std::sync::Arc;

use bytes::Bytes;
use quadrille_kit::Clock;
use quadrille_registry::{Reason, Registry, Resource, Status};
use quadrille_store::Object;
use serde_json::{Map, Value};

use crate::app::{App, ResourceRequest};
use crate::negotiate::MetaVersion;
use crate::table::{self, IncludeObject};
use crate::verbs::list::{self, Selected};

fn version_of(version: MetaVersion) -> &'static str {
    match version {
        MetaVersion::V1 => "v1",
        MetaVersion::V1Beta1 => "v1beta1",
    }
}

fn include(request: &ResourceRequest<'_>) -> Result<IncludeObject, Status> {
    let text = request.params.include_object.as_deref().unwrap_or_default();
    IncludeObject::parse(text).ok_or_else(|| {
        let message = format!("includeObject: {text:?} is none of None, Metadata, Object");
        Status::new(Reason::BadRequest, message)
    })
}

fn decoded(bytes: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(bytes)
        .map_err(|error| Status::new(Reason::InternalError, format!("object is not JSON: {error}")))
}

/// A list's metadata from one object's.
fn metadata_of(object: &Value) -> Map<String, Value> {
    let revision = object.pointer("/metadata/resourceVersion").cloned();
    revision.map(|revision| ("resourceVersion".to_owned(), revision)).into_iter().collect()
}

/// A Table with one row.
pub(crate) fn table_of_one(
    app: &App,
    request: &ResourceRequest<'_>,
    version: MetaVersion,
    object: &[u8],
) -> Result<Bytes, Status> {
    let object = decoded(object)?;
    let metadata = metadata_of(&object);
    let (include, now) = (include(request)?, app.clock.now());
    let version = version_of(version);
    let form = table::Form { version, include, headings: true, now };
    Ok(table::table(request.resource, &[object], &metadata, form).to_string().into())
}

/// A Table of a list.
pub(crate) fn table(
    app: &App,
    request: &ResourceRequest<'_>,
    version: MetaVersion,
    selected: &Selected,
) -> Result<Bytes, Status> {
    let mut objects = Vec::with_capacity(selected.objects.len());
    for object in &selected.objects {
        objects.push(decoded(&app.registry.present(object, request.resource))?);
    }
    let metadata = decoded(list::metadata(selected, list::Continue::IfMore).as_bytes())?;
    let metadata = metadata.as_object().cloned().unwrap_or_default();
    let (include, now) = (include(request)?, app.clock.now());
    let form = table::Form { version: version_of(version), include, headings: true, now };
    Ok(table::table(request.resource, &objects, &metadata, form).to_string().into())
}

/// Tables of one row each, for a watch; only the first carries the columns.
#[derive(Debug)]
pub(crate) struct TableRows {
    resource: Arc<Resource>,
    registry: Registry,
    clock: Arc<dyn Clock>,
    version: &'static str,
    include: IncludeObject,
}

impl TableRows {
    pub(crate) fn new(app: &App, request: &ResourceRequest<'_>, version: MetaVersion) -> Self {
        Self {
            resource: Arc::clone(request.resource),
            registry: app.registry.clone(),
            clock: Arc::clone(&app.clock),
            version: version_of(version),
            include: include(request).unwrap_or_default(),
        }
    }

    /// How much of each object goes with its row.
    pub(crate) fn include(&self) -> IncludeObject {
        self.include
    }

    /// The Table of one object, whose bytes may be others than its own; with the columns, if `headings` says so.
    pub(crate) fn event(&self, object: &Object, bytes: &Bytes, headings: bool) -> Bytes {
        let shown = if self.resource.is_storage_form() {
            bytes.clone()
        } else {
            self.registry.present(object, &self.resource)
        };
        // Stored objects are JSON; were one not, its row would be empty rather than the watch broken.
        let object = decoded(&shown).unwrap_or_default();
        let metadata = metadata_of(&object);
        let now = self.clock.now();
        let form = table::Form { version: self.version, include: self.include, headings, now };
        table::table(&self.resource, &[object], &metadata, form).to_string().into()
    }
}
