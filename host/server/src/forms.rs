//! The Table form of objects, as far as requests need it: one object, a list, watch events.

use bytes::Bytes;
use quadrille_registry::Status;
use quadrille_store::Object;

use crate::app::{App, ResourceRequest, no_such_resource};
use crate::negotiate::MetaVersion;
use crate::verbs::list::Selected;

/// A Table with one row.
pub(crate) fn table_of_one(
    _app: &App,
    _request: &ResourceRequest<'_>,
    _version: MetaVersion,
    _object: &[u8],
) -> Result<Bytes, Status> {
    Err(no_such_resource())
}

/// A Table of a list.
pub(crate) fn table(
    _app: &App,
    _request: &ResourceRequest<'_>,
    _version: MetaVersion,
    _selected: &Selected,
) -> Result<Bytes, Status> {
    Err(no_such_resource())
}

/// Tables of one row each, for a watch.
#[derive(Debug)]
pub(crate) struct TableRows;

impl TableRows {
    pub(crate) fn new(_app: &App, _request: &ResourceRequest<'_>, _version: MetaVersion) -> Self {
        Self
    }

    pub(crate) fn event(&mut self, _object: &Object, _bytes: &Bytes) -> Bytes {
        Bytes::from_static(b"null")
    }
}
