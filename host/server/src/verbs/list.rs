//! LIST: a consistent state of a collection, whole or in pages, assembled from stored bytes.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, stream};
use http::StatusCode;
use http::header::HeaderValue;
use quadrille_object::LabelSelector;
use quadrille_object::protobuf::{self, ItemEncoder};
use quadrille_object::selector::FieldSelector;
use quadrille_registry::{Reason, Resource, Status};
use quadrille_store::{Object, Query, Range, Revision, Selection};
use serde_json::{Map, Value};

use super::{get, options, why};
use crate::answer::{Answer, Body, JSON, answer as answer_with};
use crate::app::{App, ResourceRequest};
use crate::negotiate::{Encoding, MetaVersion, Shape};
use crate::past::PastView;
use crate::shape::{self, ItemWriter};
use crate::token::ContinueToken;
use crate::{forms, gzip, present};

/// How much of a list is assembled at once: large enough to amortise a frame, small enough to share a core and to be
/// in its cache still when it is encrypted.
const PIECE_BYTES: usize = 64 * 1024;
/// Room for what stands around the items.
const ROOM_BYTES: usize = 1024;
/// How many objects are encoded as protobuf before other requests have their turn.
const PROTOBUF_AT_ONCE: usize = 64;

/// Which objects a request selects.
#[derive(Debug)]
pub(crate) struct Selectors {
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Selectors {
    pub(crate) fn are_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    pub(crate) fn match_object(&self, object: &Object) -> bool {
        self.labels.matches(&object.meta) && self.match_fields(object)
    }

    fn match_fields(&self, object: &Object) -> bool {
        let key = &object.key;
        self.fields.is_everything() || self.fields.matches(&key.name, &key.namespace, &object.bytes)
    }
}

/// What a list contains.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) objects: Vec<Arc<Object>>,
    pub(crate) revision: Revision,
    pub(crate) metadata: ListMetadata,
}

/// When a list says `continue`: those of custom resources do even when there is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Continue {
    Always,
    IfMore,
}

/// What a list says about its pages.
#[derive(Debug, Default)]
pub(crate) struct ListMetadata {
    pub(crate) r#continue: Option<String>,
    pub(crate) remaining: Option<usize>,
}

/// Answers a list.
pub(crate) async fn list(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    options::check_list(&request.params)?;
    match (select(app, request).await, request.params.r#continue.as_deref()) {
        (Ok(mut selected), _) => {
            why::summarise(app, request, &mut selected).await;
            answer(app, request, selected)
        }
        (Err(status), Some(token)) if status.reason == Reason::Expired => expired(request, token),
        (Err(status), _) => Err(status),
    }
}

/// The selectors of a request.
pub(crate) fn selectors(request: &ResourceRequest<'_>) -> Result<Selectors, Status> {
    let bad =
        |error: quadrille_object::selector::SelectorError| Status::new(Reason::BadRequest, error.0);
    let params = &request.params;
    let labels = params.label_selector.as_deref().map(LabelSelector::parse).transpose();
    let fields = params.field_selector.as_deref().map(FieldSelector::parse).transpose();
    let (labels, mut fields) =
        (labels.map_err(bad)?.unwrap_or_default(), fields.map_err(bad)?.unwrap_or_default());
    let selectable = request.resource.selectable_fields();
    fields.check(&request.resource.kind, selectable).map_err(bad)?;
    let by_namespace = fields.requirements.iter().any(|r| *r.field == *"metadata.namespace");
    if by_namespace && request.resource.custom && !request.resource.namespaced {
        let message = "field label not supported: metadata.namespace";
        return Err(Status::new(Reason::BadRequest, message));
    }
    if let Some(name) = request.path.name.as_deref() {
        // The deprecated watch of one object is a watch of the collection with a selector.
        let named = FieldSelector::parse(&format!("metadata.name={name}")).map_err(bad)?;
        fields.requirements.extend(named.requirements);
    }
    Ok(Selectors { labels, fields })
}

/// The range of objects that a request is about, before its field selector.
pub(crate) fn range(request: &ResourceRequest<'_>, selectors: &Selectors) -> Range {
    let namespace = &request.path.namespace;
    let selection = match selectors.fields.exact("metadata.name") {
        Some(name) if selectors.labels.is_everything() => Selection::Names(vec![name.into()]),
        _ if selectors.labels.is_everything() => Selection::All,
        _ => Selection::Labels(selectors.labels.clone()),
    };
    Range {
        resource: request.resource.group_resource(),
        namespace: (!namespace.is_empty()).then(|| namespace.as_ref().into()),
        selection,
    }
}

/// Finds what a list contains.
pub(crate) async fn select(app: &App, request: &ResourceRequest<'_>) -> Result<Selected, Status> {
    let selectors = selectors(request)?;
    let token = request.params.r#continue.as_deref().map(ContinueToken::decode).transpose()?;
    let range = range(request, &selectors);
    let (view, limit) = view(app, request, token.as_ref())?;
    let after = token.as_ref().map(|token| {
        let (namespace, name) = token.after();
        (Arc::from(namespace), Arc::from(name))
    });
    // One more than asked for tells whether there is another page.
    let everything = selectors.are_everything();
    let pushed_down = limit.filter(|_| selectors.fields.is_everything()).map(|limit| limit + 1);
    let mut objects = view.list(&Query { range: range.clone(), after, limit: pushed_down });
    if app.registry.converts(request.resource) {
        objects = app.registry.convert(objects, request.resource).await?;
    }
    if !selectors.fields.is_everything() {
        objects.retain(|object| selectors.match_object(object));
    }
    let mut metadata = ListMetadata::default();
    if let Some(limit) = limit.filter(|limit| objects.len() > *limit) {
        objects.truncate(limit);
        let sent = token.as_ref().map_or(0, ContinueToken::sent) + objects.len();
        if let Some(last) = objects.last() {
            let key = &last.key;
            let revision = Some(view.revision().0);
            let next = ContinueToken::new(revision, &key.namespace, &key.name, sent);
            metadata.r#continue = Some(next.encode());
        }
        metadata.remaining = everything.then(|| count(&view, range).saturating_sub(sent));
        if let PastView::Snapshot(snapshot) = &view {
            app.past.keep(app.clock.monotonic(), snapshot);
        }
    }
    Ok(Selected { objects, revision: view.revision(), metadata })
}

fn count(view: &PastView, range: Range) -> usize {
    match view {
        PastView::Snapshot(snapshot) => snapshot.count(&range.resource, range.namespace.as_deref()),
        PastView::Rebuilt(..) => view.list(&Query::whole(range)).len(),
    }
}

/// Where a list reads, and how many objects it may contain, by the rules for resourceVersion and limit.
fn view(
    app: &App,
    request: &ResourceRequest<'_>,
    token: Option<&ContinueToken>,
) -> Result<(PastView, Option<usize>), Status> {
    let params = &request.params;
    let store = app.registry.store();
    let resource = request.resource.group_resource();
    let limit = usize::try_from(params.limit).ok().filter(|limit| *limit > 0);
    let newest = || PastView::Snapshot(store.snapshot());
    let asked = params.resource_version.as_deref();
    if let Some(token) = token {
        if asked.is_some_and(|version| version != "0") {
            let message = "specifying resource version is not allowed when using continue";
            return Err(Status::new(Reason::BadRequest, message));
        }
        let view = match token.revision() {
            Some(revision) => app.past.at(store, Revision(revision), &resource)?,
            None => newest(),
        };
        return Ok((view, limit));
    }
    let Some(text) = asked else { return Ok((newest(), limit)) };
    let revision = get::parse_version(text).map_err(|message| {
        Status::new(Reason::BadRequest, format!("invalid resource version: {message}"))
    })?;
    if revision == Revision(0) {
        // Kubernetes answers these from its cache, which knows no pages.
        return Ok((newest(), None));
    }
    get::check_not_future(app, revision)?;
    let exact = match params.resource_version_match.as_deref() {
        Some("Exact") => true,
        Some(_) => false,
        None => limit.is_some(),
    };
    let view = if exact { app.past.at(store, revision, &resource)? } else { newest() };
    Ok((view, limit))
}

/// The 410 of a continue token carries one that goes on at the newest state, as kube-apiserver's does.
fn expired(request: &ResourceRequest<'_>, token: &str) -> Result<Answer, Status> {
    let token = ContinueToken::decode(token)?;
    let (namespace, name) = token.after();
    let fresh = ContinueToken::new(None, namespace, name, token.sent()).encode();
    let message = "The provided continue parameter is too old to display a consistent list result. \
         You can start a new list without the continue parameter, or use the continue token in this \
         response to retrieve the remainder of the results. Continuing with the provided token \
         results in an inconsistent list - objects that were created, modified, or deleted between \
         the time the first chunk was returned and now may show up in the list.";
    let mut value = Status::new(Reason::Expired, message).to_value();
    value["metadata"] = serde_json::json!({ "continue": fresh });
    Ok(present::encoded(request, StatusCode::GONE, value.to_string().into()))
}

/// A list as an answer.
pub(crate) fn answer(
    app: &App,
    request: &ResourceRequest<'_>,
    selected: Selected,
) -> Result<Answer, Status> {
    if request.wanted.encoding == Encoding::Protobuf {
        let kind = &request.resource.kind.kind;
        let formless =
            || Status::new(Reason::InternalError, format!("{kind} has no protobuf form"));
        return protobuf_list(app, request, selected).ok_or_else(formless);
    }
    let resource = Arc::clone(request.resource);
    let rows: Rows = match request.wanted.shape {
        Shape::Table(version) => {
            let table = forms::table(app, request, version, &selected)?;
            return Ok(present::encoded(request, StatusCode::OK, table));
        }
        Shape::Whole => {
            let writer = ItemWriter::new(&resource);
            let registry = app.registry.clone();
            Box::new(move |out, object| {
                if resource.is_storage_form() {
                    writer.write(out, &object.bytes);
                } else {
                    writer.write(out, &registry.present(object, &resource));
                }
            })
        }
        Shape::Partial(version) => {
            Box::new(move |out, object| out.put_slice(&shape::partial(&object.bytes, version)))
        }
    };
    let head = head(request.resource, request.wanted.shape, &selected);
    let mut pieces = ListPieces { head: Some(head), objects: selected.objects.into_iter(), rows };
    let first = pieces.next().unwrap_or_default();
    if pieces.is_done()
        || present::wants_pretty(request)
        || request.wanted.encoding == Encoding::Yaml
    {
        let whole = pieces.fold(BytesMut::from(first), |mut whole, piece| {
            whole.put_slice(&piece);
            whole
        });
        return Ok(present::encoded(request, StatusCode::OK, whole.freeze()));
    }
    let pieces = stream::iter(std::iter::once(first).chain(pieces));
    Ok(streamed(request, JSON, pieces, 0))
}

/// A long list: compressed where the client takes that, else as it is. `weight` is what lies in memory meanwhile.
fn streamed(
    request: &ResourceRequest<'_>,
    content_type: HeaderValue,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
    weight: usize,
) -> Answer {
    if gzip::is_taken(request.parts) {
        let mut answer = answer_with(StatusCode::OK, content_type, Body::Whole(Bytes::new()));
        gzip::pack(&mut answer, pieces, weight);
        return answer;
    }
    answer_with(StatusCode::OK, content_type, Body::pieces(pieces).weighing(weight))
}

/// A list in protobuf. Its length stands before its items, so they are all encoded before the first goes out; other
/// requests have their turn between the pieces.
fn protobuf_list(app: &App, request: &ResourceRequest<'_>, selected: Selected) -> Option<Answer> {
    let resource = Arc::clone(request.resource);
    let metadata = metadata(&selected, Continue::IfMore);
    let metadata: Map<String, Value> = serde_json::from_str(&metadata).ok()?;
    let partial = match request.wanted.shape {
        Shape::Partial(version) => Some(version),
        Shape::Whole | Shape::Table(_) => None,
    };
    let (items, head) = match partial {
        Some(version) => {
            let (api_version, kind) = (version.api_version(), "PartialObjectMetadata");
            (
                ItemEncoder::new(api_version, kind)?,
                (api_version.into(), format!("{kind}List").into()),
            )
        }
        None => (
            ItemEncoder::new(&resource.api_version, &resource.kind.kind)?,
            (Arc::clone(&resource.api_version), Arc::clone(&resource.list_kind)),
        ),
    };
    let registry = app.registry.clone();
    let write = move |out: &mut Vec<u8>, object: &Object| {
        let json = match partial {
            Some(version) => shape::partial(&object.bytes, version),
            None if resource.is_storage_form() => object.bytes.clone(),
            None => registry.present(object, &resource),
        };
        items.write(out, &serde_json::from_slice(&json).unwrap_or_default());
    };
    if selected.objects.len() <= PROTOBUF_AT_ONCE {
        let mut out = Vec::new();
        for object in &selected.objects {
            write(&mut out, object);
        }
        let mut whole = protobuf::list_head(&head.0, &head.1, &metadata, out.len());
        whole.append(&mut out);
        let body = Body::Whole(whole.into());
        return Some(answer_with(StatusCode::OK, present::PROTOBUF, body));
    }
    let weight = selected.objects.iter().map(|object| object.bytes.len()).sum();
    let encoding = async move {
        let mut pieces = Vec::new();
        for objects in selected.objects.chunks(PROTOBUF_AT_ONCE) {
            let mut out = Vec::new();
            for object in objects {
                write(&mut out, object);
            }
            pieces.push(Bytes::from(out));
            tokio::task::yield_now().await;
        }
        let length = pieces.iter().map(Bytes::len).sum();
        let head = protobuf::list_head(&head.0, &head.1, &metadata, length);
        stream::iter(std::iter::once(Bytes::from(head)).chain(pieces))
    };
    Some(streamed(request, present::PROTOBUF, encoding.flatten_stream(), weight))
}

type Rows = Box<dyn Fn(&mut BytesMut, &Object) + Send>;

/// The bytes of a list, piece by piece.
struct ListPieces {
    head: Option<String>,
    objects: std::vec::IntoIter<Arc<Object>>,
    rows: Rows,
}

impl ListPieces {
    /// The bytes of the next objects, as many as a piece takes.
    fn size(&self) -> usize {
        let mut size = 0;
        for object in self.objects.as_slice() {
            if size >= PIECE_BYTES {
                break;
            }
            size += object.bytes.len() + 1;
        }
        size
    }

    fn is_done(&self) -> bool {
        self.head.is_none() && self.objects.len() == 0
    }
}

impl Iterator for ListPieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let head = self.head.take();
        let mut first = head.is_some();
        if !first && self.objects.len() == 0 {
            return None;
        }
        let mut out = BytesMut::with_capacity(self.size() + ROOM_BYTES);
        out.put_slice(head.unwrap_or_default().as_bytes());
        while out.len() < PIECE_BYTES {
            let Some(object) = self.objects.next() else { break };
            if !std::mem::take(&mut first) {
                out.put_u8(b',');
            }
            (self.rows)(&mut out, &object);
        }
        if self.objects.len() == 0 {
            out.put_slice(b"]}\n");
        }
        Some(out.freeze())
    }
}

fn head(resource: &Resource, shape: Shape, selected: &Selected) -> String {
    let (api_version, kind) = match shape {
        Shape::Partial(version) => (version.api_version(), "PartialObjectMetadataList"),
        Shape::Whole | Shape::Table(MetaVersion::V1 | MetaVersion::V1Beta1) => {
            (&*resource.api_version, &*resource.list_kind)
        }
    };
    let always = shape == Shape::Whole && resource.custom;
    let metadata = metadata(selected, if always { Continue::Always } else { Continue::IfMore });
    format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
    )
}

/// The metadata of a list.
pub(crate) fn metadata(selected: &Selected, r#continue: Continue) -> String {
    let next = match (&selected.metadata.r#continue, r#continue) {
        (Some(next), _) => format!(",\"continue\":\"{next}\""),
        (None, Continue::Always) => ",\"continue\":\"\"".to_owned(),
        (None, Continue::IfMore) => String::new(),
    };
    let remaining = selected.metadata.remaining;
    let remaining = remaining.map(|count| format!(",\"remainingItemCount\":{count}"));
    let revision = selected.revision;
    format!("{{\"resourceVersion\":\"{revision}\"{next}{}}}", remaining.unwrap_or_default())
}
