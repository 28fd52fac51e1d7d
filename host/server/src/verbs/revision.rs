//! `revisions.quadrille.dev`: read-only objects that tell whether a change has settled, for `kubectl wait`.
//!
//! The object named `123` stands for the change with revision 123. It is stored nowhere: GET, LIST and WATCH of one name
//! make it up from what the runtime knows, a LIST of all is empty. A watch sends the object when it is asked for, and
//! again when its conditions change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use quadrille_kit::Clock;
use quadrille_object::Meta;
use quadrille_registry::{Reason, Resource, Status};
use quadrille_store::{Key, Object, View as _};
use serde_json::Value;

use super::list::{self, ListMetadata, Selected};
use super::options;
use crate::answer::{Answer, Body, answer as answer_with};
use crate::app::{App, ResourceRequest};
use crate::extension::{Insight, Rights};
use crate::framing::Framing;
use crate::place::method_not_allowed;
use crate::present;

/// How long a watch lets a question wait before it looks whether its own time is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether these objects are asked for.
pub(crate) fn is_of(resource: &Resource) -> bool {
    resource.custom
        && *resource.gvr.resource == *"revisions"
        && *resource.gvr.group == *"quadrille.dev"
}

/// Answers a request.
pub(crate) async fn answer(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    match request.verb {
        "get" => get(app, request).await,
        "list" => list(app, request).await,
        "watch" => watch(app, request),
        _ => Err(method_not_allowed()),
    }
}

async fn get(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    let name = request.path.name.as_deref().unwrap_or_default();
    let found = find(app.insight.as_ref(), name, Duration::ZERO, rights(app, request)).await?;
    let not_found = || Status::not_found(&request.resource.qualified(), name);
    let value = found.ok_or_else(not_found)?;
    present::one(app, request, StatusCode::OK, value.to_string().into())
}

async fn list(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    options::check_list(&request.params)?;
    let found = match request.params.single_name() {
        Some(name) => {
            find(app.insight.as_ref(), &name, Duration::ZERO, rights(app, request)).await?
        }
        None => None,
    };
    let objects = found.iter().map(|value| Arc::new(object_of(request.resource, value))).collect();
    let revision = app.registry.store().snapshot().revision();
    list::answer(app, request, Selected { objects, revision, metadata: ListMetadata::default() })
}

/// What the asker may do: objects that they may not get are not named.
fn rights(app: &App, request: &ResourceRequest<'_>) -> Rights {
    Rights::new(Arc::clone(&app.authorizer), Arc::new(request.user.clone()))
}

/// The object of a name; `None` when there is no such change.
async fn find(
    insight: Option<&Arc<dyn Insight>>,
    name: &str,
    wait: Duration,
    rights: Rights,
) -> Result<Option<Value>, Status> {
    let (Some(insight), Ok(number)) = (insight, name.parse::<u64>()) else { return Ok(None) };
    match insight.revision(number, wait, rights).await {
        Err(status) if status.reason == Reason::NotFound => Ok(None),
        other => other,
    }
}

fn object_of(resource: &Resource, value: &Value) -> Object {
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let revision = value.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    Object {
        key: Key::new(resource.group_resource(), "", name),
        revision: quadrille_store::Revision(
            revision.and_then(|text| text.parse().ok()).unwrap_or_default(),
        ),
        meta: value.as_object().map(Meta::from_object).unwrap_or_default(),
        bytes: value.to_string().into(),
    }
}

fn watch(app: &App, request: &ResourceRequest<'_>) -> Result<Answer, Status> {
    options::check_watch(&request.params)?;
    let of_path = request.path.name.as_deref().map(str::to_owned);
    let Some(name) = of_path.or_else(|| request.params.single_name()) else {
        let message = "name the revision to watch: fieldSelector=metadata.name=NUMBER";
        return Err(Status::new(Reason::BadRequest, message));
    };
    let params = &request.params;
    let lifetime = params.timeout_seconds.filter(|seconds| *seconds > 0);
    let lifetime = lifetime.map_or(app.config.limits.watch_timeout, Duration::from_secs);
    let initial = params.send_initial_events.unwrap_or_else(|| params.resource_version.is_none());
    let framing = Framing::of(request.wanted.encoding);
    let watcher = Watcher {
        insight: app.insight.clone(),
        rights: rights(app, request),
        name,
        clock: Arc::clone(&app.clock),
        ends_at: app.clock.monotonic().saturating_add(lifetime),
        framing,
        first: Some(if initial { "ADDED" } else { "MODIFIED" }),
        marks: params.send_initial_events == Some(true) && params.allow_watch_bookmarks,
        sent: None,
        ready: VecDeque::new(),
        revision: app.registry.store().revision().0,
    };
    let pieces = stream::unfold(watcher, |mut watcher| async move {
        let piece = watcher.next().await?;
        Some((piece, watcher))
    });
    let shutdown = app.shutdown.clone();
    let pieces = pieces.take_until(Box::pin(async move { shutdown.started().await }));
    Ok(answer_with(StatusCode::OK, framing.content_type(), Body::pieces(pieces)))
}

struct Watcher {
    insight: Option<Arc<dyn Insight>>,
    rights: Rights,
    name: String,
    clock: Arc<dyn Clock>,
    ends_at: Duration,
    framing: Framing,
    /// The type of the first event, until it is sent.
    first: Option<&'static str>,
    /// Whether the end of what was there is marked.
    marks: bool,
    /// The conditions that were sent last.
    sent: Option<Value>,
    ready: VecDeque<Bytes>,
    revision: u64,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            let left = self.ends_at.saturating_sub(self.clock.monotonic());
            let first = self.first.take();
            // The first look is taken however late it is: a watch that is short begins with what there is too.
            if left.is_zero() && first.is_none() {
                return None;
            }
            let wait = if first.is_some() { Duration::ZERO } else { left.min(LOOK_EVERY) };
            let settled = self.is_settled();
            if settled {
                self.clock.sleep(wait).await;
            } else {
                let begun = self.clock.monotonic();
                self.look(first, wait).await;
                // A question may be answered at once though nothing has changed.
                let spent = self.clock.monotonic().saturating_sub(begun);
                if self.ready.is_empty() && spent < wait {
                    self.clock.sleep(wait.saturating_sub(spent).min(LOOK_EVERY / 10)).await;
                }
            }
        }
    }

    fn is_settled(&self) -> bool {
        let conditions = self.sent.as_ref().and_then(Value::as_array);
        let mut all = conditions.into_iter().flatten();
        all.any(|condition| condition["type"] == "Settled" && condition["status"] == "True")
    }

    async fn look(&mut self, first: Option<&'static str>, wait: Duration) {
        let mut out = BytesMut::new();
        match find(self.insight.as_ref(), &self.name, wait, self.rights.clone()).await {
            Ok(Some(value)) => {
                let conditions = value.pointer("/status/conditions").cloned();
                if first.is_some() || conditions != self.sent {
                    let r#type = first.unwrap_or("MODIFIED");
                    self.framing.frame(&mut out, r#type, value.to_string().as_bytes());
                    self.sent = conditions;
                }
            }
            Ok(None) => {}
            Err(status) => {
                self.framing.error(&mut out, &status);
                self.ends_at = Duration::ZERO;
            }
        }
        if first.is_some() && std::mem::take(&mut self.marks) {
            let bookmark = format!(
                "{{\"kind\":\"Revision\",\"apiVersion\":\"quadrille.dev/v1\",\"metadata\":{{\
                 \"resourceVersion\":\"{}\",\"annotations\":{{\"k8s.io/initial-events-end\":\"true\"}}}}}}",
                self.revision
            );
            self.framing.frame(&mut out, "BOOKMARK", bookmark.as_bytes());
        }
        if !out.is_empty() {
            self.ready.push_back(out.freeze());
        }
    }
}
