//! The form of a watch's events, which watches share, and what each of them selects, which they do not.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quadrille_registry::{Registry, Resource, Status};
use quadrille_store::{Change, ChangeBatch, ChangeKind, Object, Revision};

use crate::app::{App, ResourceRequest};
use crate::forms::TableRows;
use crate::framing::Framing;
use crate::negotiate::{MetaVersion, Shape};
use crate::shape;
use crate::table::IncludeObject;
use crate::verbs::list::Selectors;

/// Writes watch events in the form that was asked for.
#[derive(Debug)]
pub(super) struct Form {
    shape: Shape,
    framing: Framing,
    resource: Arc<Resource>,
    registry: Registry,
    rows: Option<TableRows>,
}

/// What has become of the resource of a form since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its objects are still shown in this form.
    Same,
    /// They are shown in another form, or this version is not served any more.
    Changed,
    /// The kind is gone, and nothing is stored any more.
    Gone,
    /// Another kind has its name.
    Replaced,
}

/// Two forms with the same key write the same bytes. A resource counts as the same while it is the same in memory: who
/// keeps a form keeps its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FormKey {
    resource: usize,
    shape: Shape,
    framing: Framing,
    include: Option<IncludeObject>,
}

impl Form {
    pub(super) fn new(app: &App, request: &ResourceRequest<'_>, framing: Framing) -> Self {
        let rows = match request.wanted.shape {
            Shape::Table(version) => Some(TableRows::new(app, request, version)),
            Shape::Whole | Shape::Partial(_) => None,
        };
        Self {
            shape: request.wanted.shape,
            framing,
            resource: Arc::clone(request.resource),
            registry: app.registry.clone(),
            rows,
        }
    }

    pub(super) fn key(&self) -> FormKey {
        FormKey {
            resource: Arc::as_ptr(&self.resource).addr(),
            shape: self.shape,
            framing: self.framing,
            include: self.rows.as_ref().map(TableRows::include),
        }
    }

    pub(super) fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What has become of the resource. The catalog follows a definition before anything is stored as it says: what was
    /// read from the store before the answer was `Same` is shown rightly by this form.
    pub(super) fn standing(&self) -> Standing {
        let own = &self.resource;
        if !own.is_defined() {
            return Standing::Same;
        }
        let catalog = self.registry.catalog();
        let any = || catalog.by_group_resource(&own.group_resource());
        match catalog.by_gvr(&own.gvr) {
            Some(now) if Arc::ptr_eq(now, own) || own.shows_as(now) => Standing::Same,
            Some(now) if own.is_same_kind(now) => Standing::Changed,
            Some(_) => Standing::Replaced,
            None => match any() {
                None => Standing::Gone,
                Some(_) => Standing::Changed,
            },
        }
    }

    /// Whether a webhook makes of the changes what is sent.
    pub(super) fn converts(&self) -> bool {
        self.registry.converts(&self.resource)
    }

    /// Changes in the version of the form, which a webhook may have to make of them, all together.
    ///
    /// # Errors
    /// When the webhook fails.
    pub(super) async fn convert(&self, mut batch: ChangeBatch) -> Result<ChangeBatch, Status> {
        if !self.converts() {
            return Ok(batch);
        }
        let states = batch.changes.iter();
        let states = states.flat_map(|change| [Some(&change.object), change.before.as_ref()]);
        let states = states.flatten().cloned().collect();
        let mut shown = self.registry.convert(states, &self.resource).await?.into_iter();
        for change in &mut batch.changes {
            let object = shown.next().unwrap_or_else(|| Arc::clone(&change.object));
            let before = change.before.as_ref().and_then(|_| shown.next());
            *change = Arc::new(Change { object, before, ..Change::clone(change) });
        }
        Ok(batch)
    }

    /// Whether the first event of a watch differs from those after it: it carries a Table's columns.
    pub(super) fn has_headings(&self) -> bool {
        self.rows.is_some()
    }

    /// Appends a change as those see it who select everything.
    pub(super) fn change(&self, out: &mut BytesMut, change: &Change, headings: bool) {
        let r#type = match change.kind {
            ChangeKind::Created => "ADDED",
            ChangeKind::Updated => "MODIFIED",
            ChangeKind::Deleted => "DELETED",
        };
        self.event(out, r#type, &change.object, &change.object.bytes, headings);
    }

    /// Appends an event about an object, whose bytes may be others than its own.
    pub(super) fn event(
        &self,
        out: &mut BytesMut,
        r#type: &str,
        object: &Object,
        bytes: &Bytes,
        headings: bool,
    ) {
        match (self.shape, &self.rows) {
            (Shape::Partial(version), _) => {
                self.framing.frame(out, r#type, &shape::partial(bytes, version));
            }
            (Shape::Table(_), Some(rows)) => {
                self.framing.frame(out, r#type, &rows.event(object, bytes, headings));
            }
            _ if self.resource.is_storage_form() => self.framing.frame(out, r#type, bytes),
            _ => {
                let key = object.key.clone();
                let (revision, meta) = (object.revision, object.meta.clone());
                let object = Object { key, revision, meta, bytes: bytes.clone() };
                let shown = self.registry.present(&object, &self.resource);
                self.framing.frame(out, r#type, &shown);
            }
        }
    }

    /// Appends the event that ends a watch before its time.
    pub(super) fn error(&self, out: &mut BytesMut, status: &Status) {
        self.framing.error(out, status);
    }

    /// Appends a bookmark; `initial_end` marks the end of the present objects.
    pub(super) fn bookmark(&self, out: &mut BytesMut, revision: Revision, initial_end: bool) {
        let (api_version, kind): (&str, &str) = match self.shape {
            Shape::Partial(version) => (version.api_version(), "PartialObjectMetadata"),
            Shape::Table(version @ (MetaVersion::V1 | MetaVersion::V1Beta1)) => {
                (version.api_version(), "Table")
            }
            Shape::Whole => (&self.resource.api_version, &self.resource.kind.kind),
        };
        let annotations = if initial_end {
            ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}"
        } else {
            ""
        };
        let rest = if matches!(self.shape, Shape::Table(_)) {
            ",\"columnDefinitions\":null,\"rows\":[]"
        } else {
            ""
        };
        let object = format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\
             \"metadata\":{{\"resourceVersion\":\"{revision}\"{annotations}}}{rest}}}"
        );
        self.framing.frame(out, "BOOKMARK", object.as_bytes());
    }
}

/// Which changes of a resource a watch is about.
#[derive(Debug)]
pub(super) struct Selection {
    selectors: Selectors,
    namespace: Option<Arc<str>>,
    selects_all: bool,
}

/// What a change is to a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing.
    Elsewhere,
    /// What it is to those who select everything.
    Plain,
    /// The object matches from now on.
    Entered,
    /// The object, which is still there, matches no longer.
    Left,
}

impl Selection {
    pub(super) fn new(request: &ResourceRequest<'_>, selectors: Selectors) -> Self {
        let namespace = request.path.namespace.as_ref();
        let selects_all = selectors.are_everything();
        let namespace = (!namespace.is_empty()).then(|| namespace.into());
        Self { selectors, namespace, selects_all }
    }

    /// Whether every change of the resource is plain.
    pub(super) fn is_everything(&self) -> bool {
        self.selects_all && self.namespace.is_none()
    }

    pub(super) fn role(&self, change: &Change) -> Role {
        if self.namespace.as_ref().is_some_and(|namespace| *namespace != change.key().namespace) {
            return Role::Elsewhere;
        }
        if self.selects_all {
            return Role::Plain;
        }
        let matches = |object: &Arc<Object>| self.selectors.match_object(object);
        // What is no longer known to have differed counts as having matched: clients take a superfluous
        // MODIFIED or DELETED well, and a missing one badly.
        let before = match (&change.before, change.kind) {
            (Some(before), _) => matches(before),
            (None, kind) => kind != ChangeKind::Created,
        };
        match (before, change.after().is_some_and(matches)) {
            (false, false) => Role::Elsewhere,
            (false, true) if change.kind != ChangeKind::Created => Role::Entered,
            (true, false) if change.kind != ChangeKind::Deleted => Role::Left,
            (true | false, true) | (true, false) => Role::Plain,
        }
    }
}

/// The last state of an object that has left a selector, with the revision of the change that made it leave.
pub(super) fn last_match(change: &Change) -> (&Arc<Object>, Bytes) {
    let last = change.before.as_ref().unwrap_or(&change.object);
    (last, shape::with_revision(&last.bytes, change.revision.0))
}
