//! WATCH: the present objects if asked for, then every change, as a stream of JSON lines.
//!
//! A watch pulls: it reads the store's changes only when the client takes bytes, so a slow client costs the
//! host one position in the history and nothing else. A client that falls behind the history gets the 410
//! `Expired` error event and the end. Events are sent at once when the stream was idle; while they come fast
//! they are gathered for a few milliseconds, since a chunk costs more than an event.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::StatusCode;
use quadrille_kit::{Clock, Shutdown};
use quadrille_registry::{Reason, Registry, Resource, Status};
use quadrille_store::{
    Change, ChangeFilter, ChangeKind, ChangeStream, ChangesError, Object, Query, Revision,
    View as _,
};

use super::list::{self, Selectors};
use super::{get, options};
use crate::answer::{Answer, Body, answer, failure_without_reason};
use crate::app::{App, ResourceRequest};
use crate::forms::TableRows;
use crate::framing::{Content, Framing};
use crate::metrics::Present;
use crate::negotiate::{MetaVersion, Shape};
use crate::{past, shape, websocket};

/// How much is sent at once at most.
const CHUNK_BYTES: usize = 64 * 1024;
/// The shortest time between two chunks while changes come fast.
const GATHER: Duration = Duration::from_millis(5);

/// Answers a watch.
pub(crate) fn watch(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    let params = &request.params;
    options::check_watch(params)?;
    let selectors = list::selectors(request)?;
    let start = match params.resource_version.as_deref().map(get::parse_version).transpose() {
        Ok(start) => start.filter(|revision| *revision > Revision(0)),
        Err(message) => {
            return Ok(failure_without_reason(StatusCode::INTERNAL_SERVER_ERROR, &message));
        }
    };
    let initial = params.send_initial_events.unwrap_or_else(|| start.is_none());
    let snapshot = app.registry.store().snapshot();
    let mut present = Vec::new();
    let newest = snapshot.revision();
    let mut after = start.unwrap_or(newest);
    if initial {
        after = newest;
        present = snapshot.list(&Query::whole(list::range(request, &selectors)));
        present.retain(|object| selectors.match_object(object));
    }
    let handshake = websocket::handshake(request.parts)?;
    let encoding = request.wanted.encoding;
    let framing = match &handshake {
        Some(handshake) => Framing::Messages(Content { encoding, base64: handshake.base64 }),
        None => Framing::of(encoding),
    };
    let filter = ChangeFilter { resource: Some(request.resource.group_resource()) };
    let now = app.clock.monotonic();
    let limits = &app.config.limits;
    let lifetime = match params.timeout_seconds.filter(|seconds| *seconds > 0) {
        Some(seconds) => Duration::from_secs(seconds),
        None => limits.watch_timeout + spread(app, limits.watch_timeout),
    };
    let bookmarks = params.allow_watch_bookmarks;
    let watcher = Watcher {
        events: EventWriter::new(app, request, selectors, framing),
        clock: Arc::clone(&app.clock),
        shutdown: app.shutdown.clone(),
        changes: app.registry.store().changes(filter, after),
        present: present.into(),
        marks_present: params.send_initial_events == Some(true) && bookmarks,
        pending: VecDeque::new(),
        seen: after,
        ends_at: now + lifetime,
        bookmark_interval: bookmarks.then_some(limits.bookmark_interval),
        next_bookmark: now + limits.bookmark_interval,
        sent_at: None,
        ended: false,
        _present: app.metrics.watches().enter(),
    };
    let content_type = framing.content_type();
    let pieces = stream::unfold(watcher, |mut watcher| async move {
        let piece = watcher.next().await?;
        Some((piece, watcher))
    });
    Ok(match handshake {
        Some(handshake) => handshake.accept(Box::pin(pieces)),
        None => answer(StatusCode::OK, content_type, Body::pieces(pieces)),
    })
}

/// A random part of a duration, so that the watches of a crowd do not all end at once.
fn spread(app: &App, most: Duration) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(app.random.below(millis))
}

struct Watcher {
    events: EventWriter,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    changes: ChangeStream,
    present: VecDeque<Arc<Object>>,
    /// Whether the end of the present objects is marked by a bookmark; false once that is done.
    marks_present: bool,
    pending: VecDeque<Arc<Change>>,
    /// Every change up to here has been sent or left out.
    seen: Revision,
    ends_at: Duration,
    bookmark_interval: Option<Duration>,
    next_bookmark: Duration,
    sent_at: Option<Duration>,
    ended: bool,
    _present: Present,
}

/// What a watch waits for.
enum Woken {
    Changes,
    Time,
    /// The stream cannot go on, and the client is told why.
    Fails(Box<Status>),
    Ends,
}

impl Watcher {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        if !self.present.is_empty() || self.marks_present {
            self.write_present(&mut out);
            return Some(out.freeze());
        }
        while !self.ended {
            self.gather().await;
            self.write_pending(&mut out);
            if !out.is_empty() {
                self.sent_at = Some(self.clock.monotonic());
                return Some(out.freeze());
            }
            match self.wait().await {
                Woken::Changes => {}
                Woken::Time => self.on_time(&mut out),
                Woken::Fails(status) => {
                    self.ended = true;
                    self.events.framing.error(&mut out, &status);
                }
                Woken::Ends => {
                    self.ended = true;
                    self.write_last_bookmark(&mut out);
                }
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
        }
        None
    }

    fn write_present(&mut self, out: &mut BytesMut) {
        while out.len() < CHUNK_BYTES {
            let Some(object) = self.present.pop_front() else { break };
            self.events.write(out, "ADDED", &object, &object.bytes);
        }
        if self.present.is_empty() && std::mem::take(&mut self.marks_present) {
            self.events.write_bookmark(out, self.seen, true);
        }
    }

    /// While chunks follow each other fast, lets a few milliseconds of changes come together.
    async fn gather(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let since = self.sent_at.map_or(GATHER, |at| self.clock.monotonic().saturating_sub(at));
        if since < GATHER {
            self.clock.sleep(GATHER.saturating_sub(since)).await;
        }
    }

    fn write_pending(&mut self, out: &mut BytesMut) {
        while out.len() < CHUNK_BYTES {
            let Some(change) = self.pending.pop_front() else {
                // An error is met again, and answered, by the next wait.
                if let Ok(Some(batch)) = self.changes.try_next() {
                    self.pending.extend(batch.changes);
                    self.seen = batch.through;
                    continue;
                }
                break;
            };
            self.events.write_change(out, &change);
        }
    }

    async fn wait(&mut self) -> Woken {
        let now = self.clock.monotonic();
        let until = match self.bookmark_interval {
            Some(_) => self.next_bookmark.min(self.ends_at),
            None => self.ends_at,
        };
        tokio::select! {
            biased;
            batch = self.changes.next() => match batch {
                Ok(batch) => {
                    self.pending.extend(batch.changes);
                    self.seen = batch.through;
                    Woken::Changes
                }
                Err(error) => ended_by(&error, self.seen),
            },
            () = self.shutdown.started() => Woken::Ends,
            () = self.clock.sleep(until.saturating_sub(now)) => Woken::Time,
        }
    }

    fn on_time(&mut self, out: &mut BytesMut) {
        let now = self.clock.monotonic();
        if now >= self.ends_at {
            self.ended = true;
            self.write_last_bookmark(out);
        } else if let Some(interval) = self.bookmark_interval.filter(|_| now >= self.next_bookmark)
        {
            self.next_bookmark = now + interval;
            self.events.write_bookmark(out, self.seen, false);
        }
    }

    fn write_last_bookmark(&mut self, out: &mut BytesMut) {
        if self.bookmark_interval.is_some() {
            self.events.write_bookmark(out, self.seen, false);
        }
    }
}

/// What the end of the store's stream means to a watch that has seen everything up to `seen`.
fn ended_by(error: &ChangesError, seen: Revision) -> Woken {
    match error {
        ChangesError::Expired { oldest } => Woken::Fails(Box::new(past::expired(seen, *oldest))),
        // The store has logged why; the client can only come again.
        ChangesError::Unavailable(_) => {
            let message = "the history of changes cannot be read at present; list and watch again";
            Woken::Fails(Box::new(Status::new(Reason::InternalError, message)))
        }
        ChangesError::Closed => Woken::Ends,
    }
}

/// Writes watch events in the form that was asked for.
struct EventWriter {
    selectors: Selectors,
    namespace: Option<Arc<str>>,
    everything: bool,
    shape: Shape,
    framing: Framing,
    resource: Arc<Resource>,
    registry: Registry,
    rows: Option<TableRows>,
}

impl EventWriter {
    fn new(
        app: &App,
        request: &ResourceRequest<'_>,
        selectors: Selectors,
        framing: Framing,
    ) -> Self {
        let rows = match request.wanted.shape {
            Shape::Table(version) => Some(TableRows::new(app, request, version)),
            Shape::Whole | Shape::Partial(_) => None,
        };
        let namespace = request.path.namespace.as_ref();
        Self {
            everything: selectors.are_everything(),
            selectors,
            namespace: (!namespace.is_empty()).then(|| namespace.into()),
            shape: request.wanted.shape,
            framing,
            resource: Arc::clone(request.resource),
            registry: app.registry.clone(),
            rows,
        }
    }

    fn write_change(&mut self, out: &mut BytesMut, change: &Change) {
        if self.namespace.as_ref().is_some_and(|namespace| *namespace != change.key().namespace) {
            return;
        }
        let object = &change.object;
        if self.everything {
            let r#type = match change.kind {
                ChangeKind::Created => "ADDED",
                ChangeKind::Updated => "MODIFIED",
                ChangeKind::Deleted => "DELETED",
            };
            return self.write(out, r#type, object, &object.bytes);
        }
        let matches = |object: &Arc<Object>| self.selectors.match_object(object);
        // What is no longer known to have differed counts as having matched: clients take a superfluous
        // MODIFIED or DELETED well, and a missing one badly.
        let before = match (&change.before, change.kind) {
            (Some(before), _) => matches(before),
            (None, kind) => kind != ChangeKind::Created,
        };
        let after = change.after().is_some_and(matches);
        match (before, after) {
            (false, false) => {}
            (false, true) => self.write(out, "ADDED", object, &object.bytes),
            (true, true) => self.write(out, "MODIFIED", object, &object.bytes),
            (true, false) if change.kind == ChangeKind::Deleted => {
                self.write(out, "DELETED", object, &object.bytes);
            }
            (true, false) => {
                // The last state that matched, with the revision of the change that ended it.
                let last = change.before.as_ref().unwrap_or(object);
                let bytes = shape::with_revision(&last.bytes, change.revision.0);
                self.write(out, "DELETED", last, &bytes);
            }
        }
    }

    fn write(&mut self, out: &mut BytesMut, r#type: &str, object: &Object, bytes: &Bytes) {
        match (self.shape, &mut self.rows) {
            (Shape::Partial(version), _) => {
                self.framing.frame(out, r#type, &shape::partial(bytes, version));
            }
            (Shape::Table(_), Some(rows)) => {
                let table = rows.event(object, bytes);
                self.framing.frame(out, r#type, &table);
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

    fn write_bookmark(&mut self, out: &mut BytesMut, revision: Revision, initial_end: bool) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_history_ends_a_watch_with_a_500_and_a_closed_store_without() {
        let unreadable = ChangesError::Unavailable("record 7 is damaged".to_owned());
        let Woken::Fails(status) = ended_by(&unreadable, Revision(7)) else {
            unreachable!("the client must be told")
        };
        let mut out = BytesMut::new();
        Framing::Lines.error(&mut out, &status);
        let event: serde_json::Value = serde_json::from_slice(&out).expect("a JSON line");
        assert_eq!((&event["type"], &event["object"]["kind"]), (&"ERROR".into(), &"Status".into()));
        assert_eq!(event["object"]["code"], 500);
        assert_eq!(event["object"]["reason"], "InternalError");
        assert!(matches!(ended_by(&ChangesError::Closed, Revision(7)), Woken::Ends));
    }
}
