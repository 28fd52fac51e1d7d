//! `GET /quadrille/bus?from=R`: every change of every kind, in the one order of the store.
//!
//! # The stream
//! It begins after revision `from` (default: now) and gives each change once: as lines of JSON, or as server-sent events
//! whose id is the revision, so that a client which lost its stream goes on with `from`, or with `Last-Event-ID`, where it
//! was. A transaction is never torn apart by the host: `txn` names its first and its last revision. Bookmarks tell
//! how far the stream is where nothing passes its filter. Below the history the answer is 410 `Expired`; a stream that falls
//! behind it ends with the same in an `error`.
//!
//! # Who sees what
//! Whoever may `get /quadrille/bus` sees keys and causes. An object is there only for those who may `get` and `list` its
//! resource in its namespace.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use quadrille_insight::why::verb;
use quadrille_kit::Clock;
use quadrille_object::{GroupResource, Timestamp};
use quadrille_registry::Status;
use quadrille_server::{Form, Question, Reply, ResourceAttributes, Rights};
use quadrille_store::{
    Cause, Change, ChangeBatch, ChangeFilter, ChangeStream, ChangesError, Object, Revision,
};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::settled::refused;
use super::{HostInsight, bad, number};

/// How long nothing is sent at most.
const BOOKMARK_EVERY: Duration = Duration::from_secs(15);
/// The most resources that a stream may name.
const RESOURCES_MAX: usize = 64;

impl HostInsight {
    pub(super) fn bus(&self, question: &Question) -> Result<Reply, Status> {
        let newest = self.store.revision();
        let from = match &question.last_seen {
            Some(id) => {
                let bad_id = |_| bad(format!("Last-Event-ID: {id:?} is no revision"));
                Some(id.parse().map_err(bad_id)?)
            }
            None => number(question, "from")?,
        };
        let from = Revision(from.unwrap_or(newest.0));
        if from > newest {
            return Err(bad(format!(
                "from: revision {from} is not there yet; {newest} is the newest"
            )));
        }
        let oldest = self.store.oldest();
        if from < oldest {
            return Err(refused(&ChangesError::Expired { oldest }));
        }
        let resources = resources(question)?;
        let until = (question.parameter("follow") == Some("false")).then_some(newest);
        // The store's own filter knows one resource; more are filtered here. A stream that ends has to see every change,
        // to know where it is.
        let resource = match (resources.as_slice(), until) {
            ([one], None) => Some(one.clone()),
            _ => None,
        };
        let bus = Bus {
            changes: self.store.changes(ChangeFilter { resource }, from),
            resources,
            namespace: question.parameter("namespace").map(str::to_owned),
            rights: question.rights.clone(),
            until,
            events: question.form == Form::Events,
            clock: Arc::clone(self.runtime.registry().clock()),
            ended: false,
        };
        let pieces = Box::pin(stream::unfold(bus, |mut bus| async move {
            let piece = bus.next().await?;
            Some((piece, bus))
        }));
        Ok(if question.form == Form::Events { Reply::Events(pieces) } else { Reply::Lines(pieces) })
    }
}

/// `resource=pods&resource=deployments.apps`; none means all.
fn resources(question: &Question) -> Result<Vec<GroupResource>, Status> {
    let named = question.query.iter().filter(|(key, _)| key == "resource");
    let named = named.flat_map(|(_, value)| value.split(',')).filter(|name| !name.is_empty());
    let read = named.map(|name| {
        let (resource, group) = name.split_once('.').unwrap_or((name, ""));
        GroupResource::new(group, resource)
    });
    let mut read: Vec<GroupResource> = read.take(RESOURCES_MAX + 1).collect();
    if read.len() > RESOURCES_MAX {
        return Err(bad(format!("more than {RESOURCES_MAX} resources are named")));
    }
    read.sort();
    read.dedup();
    Ok(read)
}

struct Bus {
    changes: ChangeStream,
    resources: Vec<GroupResource>,
    namespace: Option<String>,
    rights: Rights,
    /// Ends after this revision.
    until: Option<Revision>,
    events: bool,
    clock: Arc<dyn Clock>,
    ended: bool,
}

/// One change, as it is sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent<'a> {
    r#type: &'static str,
    revision: Revision,
    txn: Txn,
    at: String,
    key: String,
    group: &'a str,
    resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    name: &'a str,
    cause: &'a Cause,
    /// After the change; for a deletion the last state.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Txn {
    first: Revision,
    last: Revision,
}

impl Bus {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            if self.until.is_some_and(|until| self.changes.position() >= until) {
                return None;
            }
            let mut out = BytesMut::new();
            tokio::select! {
                biased;
                batch = self.changes.next() => self.take(&mut out, batch),
                () = self.clock.sleep(BOOKMARK_EVERY), if self.until.is_none() => {
                    self.mark(&mut out);
                }
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
        }
        None
    }

    fn take(&mut self, out: &mut BytesMut, batch: Result<ChangeBatch, ChangesError>) {
        match batch {
            Ok(batch) => {
                for change in &batch.changes {
                    self.write_change(out, change);
                }
            }
            Err(error) => {
                self.ended = true;
                let status = refused(&error).to_value();
                self.write(out, None, "error", &json!({"type": "error", "status": status}));
            }
        }
    }

    /// Tells how far the stream is: what does not pass the filter wakes nobody.
    fn mark(&mut self, out: &mut BytesMut) {
        match self.changes.try_next() {
            Ok(Some(batch)) => self.take(out, Ok(batch)),
            Ok(None) => {}
            Err(error) => return self.take(out, Err(error)),
        }
        let revision = self.changes.position();
        let bookmark = json!({"type": "bookmark", "revision": revision});
        self.write(out, Some(revision), "bookmark", &bookmark);
    }

    fn write_change(&self, out: &mut BytesMut, change: &Change) {
        let key = change.key();
        let of_resource = self.resources.is_empty() || self.resources.contains(&key.resource);
        let of_namespace = self.namespace.as_ref().is_none_or(|of| **of == *key.namespace);
        let is_late = self.until.is_some_and(|until| change.revision > until);
        if !of_resource || !of_namespace || is_late {
            return;
        }
        let shown = self.may_see(&change.object).then(|| raw(&change.object)).flatten();
        let sent = Sent {
            r#type: verb(change.kind),
            revision: change.revision,
            txn: Txn { first: change.txn.0, last: change.txn.1 },
            at: Timestamp::to_rfc3339_micros(change.at),
            key: key.to_string(),
            group: &key.resource.group,
            resource: &key.resource.resource,
            namespace: &key.namespace,
            name: &key.name,
            cause: &change.cause,
            object: shown,
        };
        self.write(out, Some(change.revision), "change", &sent);
    }

    fn may_see(&self, object: &Object) -> bool {
        let key = &object.key;
        let of = |name| ResourceAttributes { name, ..super::attributes(key) };
        self.rights.allow("list", of("")) && self.rights.allow("get", of(&key.name))
    }

    fn write(&self, out: &mut BytesMut, id: Option<Revision>, event: &str, what: &impl Serialize) {
        let Ok(text) = serde_json::to_string(what) else { return };
        if self.events {
            if let Some(id) = id {
                out.put_slice(format!("id: {id}\n").as_bytes());
            }
            out.put_slice(format!("event: {event}\ndata: {text}\n\n").as_bytes());
        } else {
            out.put_slice(text.as_bytes());
            out.put_u8(b'\n');
        }
    }
}

/// An object's stored bytes, which are JSON of one line.
fn raw(object: &Object) -> Option<&RawValue> {
    serde_json::from_slice(&object.bytes).ok()
}
