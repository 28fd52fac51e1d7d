//! WATCH: the present objects if asked for, then every change, as a stream of events.
//!
//! A watch pulls: it takes what has happened only when the client takes bytes, so a slow client costs the host one
//! position in the history and nothing else. What it takes is encoded once for all watches of the same form
//! ([`relay`]); everything that is ready goes out as one piece. Where the relay does not reach back, the watch reads the
//! store's changes itself. A client that falls behind the history gets the 410 `Expired` error event and the end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream;
use http::StatusCode;
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, Shutdown};
use quadrille_registry::{Reason, Status};
use quadrille_store::{
    Change, ChangeBatch, ChangeFilter, ChangesError, Object, Query, Revision, Store, View as _,
};

use super::{get, list, options};
use crate::answer::{Answer, Body, answer, failure_without_reason};
use crate::app::{App, ResourceRequest};
use crate::framing::{Content, Framing};
use crate::metrics::Present;
use crate::{past, websocket};

mod form;
mod relay;

use form::{Form, Role, Selection, last_match};
pub(crate) use relay::Relays;
use relay::{Chunk, End, Reach, Relay};

/// How much is sent at once at most, unless a single event is larger.
const CHUNK_BYTES: usize = 64 * 1024;
/// How often a watch that waits for a revision looks whether it has come; changes of other resources wake nobody.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Answers a watch.
pub(crate) async fn watch(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
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
        present = app.registry.convert(present, request.resource).await?;
        present.retain(|object| selectors.match_object(object));
    }
    let handshake = websocket::handshake(request.parts)?;
    let encoding = request.wanted.encoding;
    let framing = match &handshake {
        Some(handshake) => Framing::Messages(Content { encoding, base64: handshake.base64 }),
        None => Framing::of(encoding),
    };
    let now = app.clock.monotonic();
    let limits = &app.config.limits;
    let lifetime = lifetime(app, params.timeout_seconds);
    let bookmarks = params.allow_watch_bookmarks;
    let form = Form::new(app, request, framing);
    check_standing(&form)?;
    let headings = form.has_headings();
    let relay = app.relays.join(app, form);
    let watcher = Watcher {
        wake: relay.subscribe(),
        relay,
        selection: Selection::new(request, selectors),
        headings,
        store: app.registry.store().clone(),
        filter: ChangeFilter { resource: Some(request.resource.group_resource()) },
        clock: Arc::clone(&app.clock),
        shutdown: app.shutdown.clone(),
        alarm: None,
        present: present.into(),
        mark_at: (params.send_initial_events == Some(true) && bookmarks)
            .then(|| start.unwrap_or_default()),
        next_look: now + LOOK_EVERY,
        pending: VecDeque::new(),
        pending_through: after,
        seen: after,
        ends_at: now + lifetime,
        bookmark_interval: bookmarks.then_some(limits.bookmark_interval),
        next_bookmark: now + limits.bookmark_interval,
        ended: false,
        _present: app.metrics.watch(request.resource),
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

/// Refuses where a definition has changed since the request was routed: the objects may have been read in another form.
fn check_standing(form: &Form) -> Result<(), Status> {
    End::of(form.standing()).map_or(Ok(()), |_| Err(begin_anew()))
}

/// How long a watch lives: as long as its client says, or for a while that differs from watch to watch.
fn lifetime(app: &App, wanted_seconds: Option<u64>) -> Duration {
    let least = app.config.limits.watch_timeout;
    let wanted = wanted_seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
    wanted.unwrap_or_else(|| least + spread(app, least))
}

/// A random part of a duration, so that the watches of a crowd do not all end at once.
fn spread(app: &App, most: Duration) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(app.random.below(millis))
}

struct Watcher {
    relay: Arc<Relay>,
    wake: tokio::sync::watch::Receiver<()>,
    selection: Selection,
    /// Whether the next event is the first one and has to say more than those that are shared.
    headings: bool,
    store: Store,
    filter: ChangeFilter,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    /// Rings at the shutdown or at a time, which is kept beside it.
    alarm: Option<(Duration, BoxFuture<'static, Woken>)>,
    present: VecDeque<Arc<Object>>,
    /// From which revision on the end of the present objects is marked by a bookmark; `None` once that is done. A
    /// client may have seen more than there is here, and must not take what is older for the present.
    mark_at: Option<Revision>,
    /// When it is looked next whether that has come.
    next_look: Duration,
    /// What was read from the store itself.
    pending: VecDeque<Arc<Change>>,
    /// Where it is when that is sent.
    pending_through: Revision,
    /// Every change up to here has been sent or left out.
    seen: Revision,
    ends_at: Duration,
    bookmark_interval: Option<Duration>,
    next_bookmark: Duration,
    ended: bool,
    _present: [Present; 2],
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
        if !self.present.is_empty() {
            self.write_present(&mut out);
            return Some(out.freeze());
        }
        while !self.ended {
            if self.write_mark(&mut out) {
                return Some(out.freeze());
            }
            let shared = self.step(&mut out).await;
            if shared.is_some() {
                return shared;
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
            let headings = std::mem::take(&mut self.headings);
            self.relay.form.event(out, "ADDED", &object, &object.bytes, headings);
        }
        if self.present.is_empty() {
            self.write_mark(out);
        }
    }

    /// Marks the end of the present objects, once that is to be done.
    fn write_mark(&mut self, out: &mut BytesMut) -> bool {
        let marks = self.mark_at.take_if(|at| *at <= self.seen).is_some();
        if marks {
            self.relay.form.bookmark(out, self.seen, true);
        }
        marks
    }

    /// Writes what there is, or waits; answers bytes that are shared with others as they are.
    async fn step(&mut self, out: &mut BytesMut) -> Option<Bytes> {
        if self.clock.monotonic() >= self.due() {
            self.on_time(out).await;
            return None;
        }
        if !self.pending.is_empty() {
            self.write_pending(out);
            return None;
        }
        // Marked as seen before looking, so that what comes after the look wakes the wait below.
        drop(self.wake.borrow_and_update());
        let woken = match self.relay.after(self.seen) {
            Reach::Chunks(chunks) if chunks.is_empty() => self.wait().await,
            Reach::Chunks(chunks) => return self.write_chunks(out, &chunks),
            Reach::Behind => self.read_behind().await,
            Reach::Closed(end) => ended_for(end),
        };
        match woken {
            Woken::Changes => {}
            Woken::Time => self.on_time(out).await,
            Woken::Fails(status) => {
                self.ended = true;
                self.relay.form.error(out, &status);
            }
            Woken::Ends => {
                self.ended = true;
                self.write_newest(out).await;
            }
        }
        None
    }

    fn write_chunks(&mut self, out: &mut BytesMut, chunks: &[Arc<Chunk>]) -> Option<Bytes> {
        let relay = Arc::clone(&self.relay);
        let is_shared = |this: &Self, chunk: &Chunk| {
            this.selection.is_everything() && !this.headings && chunk.from() == this.seen
        };
        if let [chunk] = chunks
            && is_shared(self, chunk)
        {
            self.seen = chunk.through();
            return Some(chunk.whole(&relay.form).clone()).filter(|bytes| !bytes.is_empty());
        }
        for chunk in chunks {
            if is_shared(self, chunk) {
                out.put_slice(chunk.whole(&relay.form));
            } else {
                for (change, frame) in chunk.after(self.seen, &relay.form) {
                    let role = self.selection.role(change);
                    if role == Role::Plain && !self.headings {
                        out.put_slice(frame());
                    } else {
                        self.write_change(out, change, role);
                    }
                }
            }
            self.seen = chunk.through().max(self.seen);
        }
        None
    }

    fn write_pending(&mut self, out: &mut BytesMut) {
        while out.len() < CHUNK_BYTES {
            let Some(change) = self.pending.pop_front() else { break };
            self.seen = change.revision;
            self.write_change(out, &change, self.selection.role(&change));
        }
        if self.pending.is_empty() {
            self.seen = self.pending_through;
        }
    }

    fn write_change(&mut self, out: &mut BytesMut, change: &Change, role: Role) {
        if role == Role::Elsewhere {
            return;
        }
        let (form, headings) = (&self.relay.form, std::mem::take(&mut self.headings));
        match role {
            Role::Elsewhere => {}
            Role::Plain => form.change(out, change, headings),
            Role::Entered => {
                form.event(out, "ADDED", &change.object, &change.object.bytes, headings);
            }
            Role::Left => {
                let (last, bytes) = last_match(change);
                form.event(out, "DELETED", last, &bytes, headings);
            }
        }
    }

    /// When time next matters.
    fn due(&self) -> Duration {
        let due = match self.bookmark_interval {
            Some(_) => self.next_bookmark.min(self.ends_at),
            None => self.ends_at,
        };
        if self.mark_at.is_some() { due.min(self.next_look) } else { due }
    }

    /// Sets what rings when time matters, and at the shutdown. It is kept while that stays the same: setting it for
    /// every event would cost as much as the event.
    fn set_alarm(&mut self) -> &mut BoxFuture<'static, Woken> {
        let due = self.due();
        if self.alarm.as_ref().is_some_and(|(of, _)| *of != due) {
            self.alarm = None;
        }
        let (_, alarm) = self.alarm.get_or_insert_with(|| {
            let sleep = self.clock.sleep(due.saturating_sub(self.clock.monotonic()));
            let shutdown = self.shutdown.clone();
            let rings = async move {
                tokio::select! {
                    biased;
                    () = shutdown.started() => Woken::Ends,
                    () = sleep => Woken::Time,
                }
            };
            (due, Box::pin(rings))
        });
        alarm
    }

    async fn wait(&mut self) -> Woken {
        self.set_alarm();
        let Some((_, alarm)) = &mut self.alarm else { return Woken::Time };
        let woken = tokio::select! {
            biased;
            more = self.wake.changed() => {
                return if more.is_ok() { Woken::Changes } else { Woken::Ends };
            }
            woken = alarm => woken,
        };
        self.alarm = None;
        woken
    }

    /// Reads the store's changes where the relay does not reach back.
    async fn read_behind(&mut self) -> Woken {
        let mut changes = self.store.changes(self.filter.clone(), self.seen);
        let read = match changes.catch_up().await {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) => {
                self.set_alarm();
                let Some((_, alarm)) = &mut self.alarm else { return Woken::Time };
                tokio::select! {
                    biased;
                    batch = changes.next() => batch,
                    more = self.wake.changed() => {
                        return if more.is_ok() { Woken::Changes } else { Woken::Ends };
                    }
                    woken = alarm => {
                        self.alarm = None;
                        return woken;
                    }
                }
            }
            Err(error) => Err(error),
        };
        // Asked after reading, as the relay does.
        if let (Ok(_), Some(end)) = (&read, End::of(self.relay.form.standing())) {
            return ended_for(end);
        }
        match read {
            Ok(batch) => match self.relay.form.convert(batch).await {
                Ok(batch) => {
                    self.take(batch);
                    Woken::Changes
                }
                Err(status) => Woken::Fails(Box::new(status)),
            },
            Err(error) => ended_by(&error, self.seen),
        }
    }

    fn take(&mut self, batch: ChangeBatch) {
        self.pending.extend(batch.changes);
        self.pending_through = batch.through;
        if self.pending.is_empty() {
            self.seen = batch.through;
        }
    }

    async fn on_time(&mut self, out: &mut BytesMut) {
        let now = self.clock.monotonic();
        if now >= self.ends_at {
            self.ended = true;
            self.write_newest(out).await;
        } else if self.mark_at.is_some() && now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            self.look().await;
        } else if let Some(interval) = self.bookmark_interval.filter(|_| now >= self.next_bookmark)
        {
            self.next_bookmark = now + interval;
            self.write_newest(out).await;
        }
    }

    /// Writes what the store has by now for this watch, however late it is for that: a client whose watches are short on
    /// a host that is slow would get nowhere. Then a bookmark, if it takes any; changes of other resources move that on.
    async fn write_newest(&mut self, out: &mut BytesMut) {
        self.look().await;
        if !self.pending.is_empty() {
            self.write_pending(out);
        }
        if self.bookmark_interval.is_some() {
            self.relay.form.bookmark(out, self.seen, false);
        }
    }

    /// Takes what the store has by now.
    async fn look(&mut self) {
        if !self.pending.is_empty() {
            return;
        }
        let mut changes = self.store.changes(self.filter.clone(), self.seen);
        // An error is met again, and answered, by the next step.
        if let Ok(Some(batch)) = changes.catch_up().await
            && End::of(self.relay.form.standing()).is_none()
            && let Ok(batch) = self.relay.form.convert(batch).await
        {
            self.take(batch);
        }
    }
}

/// What the end of a relay means to its watches: to those of a resource that is shown otherwise now, that they may go on
/// where they were, by a request of their own.
fn ended_for(end: End) -> Woken {
    match end {
        End::Closed | End::Changed => Woken::Ends,
        End::Gone => Woken::Fails(Box::new(begin_anew())),
    }
}

/// 410: what the client knows of the resource is void.
fn begin_anew() -> Status {
    Status::new(Reason::Expired, "the definition of the resource has changed; list and watch again")
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
