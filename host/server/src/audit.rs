//! The audit log: who did what, as lines of `audit.k8s.io/v1` Events.
//!
//! While a request is worked on, [`Noted`] gathers what the log wants to know of it: who asked, for what, what came in
//! and how it was decided. The policy says how much of it is written at which stage. Events go through a bounded
//! queue to a thread that writes them; a request waits a bounded time for room in it, then its event is dropped and
//! counted. A request that ends without an answer, because its client went away, has its last event all the same: what it
//! asked for may have been done. A host without an audit log has none of this: nothing is gathered.

mod event;
pub mod policy;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use quadrille_kit::{Clock, Supervisor};
use quadrille_object::Timestamp;
use quadrille_registry::Status;
use quadrille_registry::access::{Attributes, Decision, User};

use crate::answer::{Answer, Body, UNANSWERED};
use crate::app::{Caller, user_agent};
use crate::impersonation::Acted;
use event::{Draft, ObjectRef};
pub use policy::Policy;
use policy::{Level, Stage, Verdict};
pub use writer::AuditConfig;
use writer::{Sink, Writer};

/// How long a request waits for room in the queue before its event is dropped.
const ROOM_WAIT: Duration = Duration::from_millis(200);

/// The audit log of a host.
#[derive(Debug)]
pub(crate) struct AuditLog {
    policy: Policy,
    sink: Sink,
    clock: Arc<dyn Clock>,
}

/// Why the audit log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit log {path}")]
pub struct AuditError {
    path: String,
    #[source]
    source: std::io::Error,
}

impl AuditLog {
    /// Opens the file and starts the thread that writes it.
    pub(crate) fn open(
        config: AuditConfig,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Self, AuditError> {
        let path = config.path.display().to_string();
        let policy = config.policy.clone();
        let failed = |source| AuditError { path: path.clone(), source };
        let (writer, sink) = Writer::open(config, Arc::clone(&clock)).map_err(failed)?;
        supervisor.spawn_thread("audit", move || writer.run()).map_err(failed)?;
        Ok(Self { policy, sink, clock })
    }

    /// Begins to gather what the log wants to know of a request.
    pub(crate) fn begin(self: &Arc<Self>, parts: &Parts, caller: &Caller, id: &str) -> Arc<Noted> {
        let draft = Draft {
            id: id.to_owned(),
            uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            address: Arc::clone(&caller.address),
            client: user_agent(parts).to_owned(),
            received: self.clock.now(),
            ..Draft::default()
        };
        let (verdict, is_long, is_open) = (Verdict::default(), false, false);
        let notes = Notes { draft, verdict, is_long, is_open };
        Arc::new(Noted { log: Arc::clone(self), notes: Mutex::new(notes) })
    }
}

/// What is gathered of one request; shared by the parts that work on it.
#[derive(Debug)]
pub(crate) struct Noted {
    log: Arc<AuditLog>,
    notes: Mutex<Notes>,
}

#[derive(Debug)]
struct Notes {
    draft: Draft,
    verdict: Verdict,
    is_long: bool,
    /// Whether it is known what is asked for, and the last event is still to come.
    is_open: bool,
}

impl Notes {
    /// The event of a stage, where the policy wants one.
    fn event(&self, stage: Stage, at: Timestamp) -> Option<Draft> {
        if !self.verdict.writes(stage) {
            return None;
        }
        let mut draft = self.draft.clone();
        (draft.stage, draft.at) = (stage, at);
        draft.omits_managed_fields = self.verdict.omits_managed_fields;
        Some(draft)
    }
}

/// The notes of a request, on a host with an audit log.
pub(crate) fn of(parts: &Parts) -> Option<&Arc<Noted>> {
    parts.extensions.get::<Arc<Noted>>()
}

impl Noted {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who asks for what; `None` for somebody unknown. From here on the policy's verdict is known.
    pub(crate) async fn asked(&self, user: Option<&User>, asked: &Attributes<'_>) {
        let event = {
            let mut notes = self.notes();
            notes.verdict = self.log.policy.verdict(user, asked);
            notes.draft.level = notes.verdict.level;
            notes.draft.user = user.cloned().unwrap_or_default();
            asked.verb.clone_into(&mut notes.draft.verb);
            notes.draft.object = asked.resource.map(|of| ObjectRef::of(&of));
            notes.is_long = asked.verb == "watch";
            notes.is_open = true;
            notes.event(Stage::RequestReceived, notes.draft.received)
        };
        if let Some(event) = event {
            self.send(event).await;
        }
    }

    /// Whom the asker acts as.
    pub(crate) fn acted(&self, acted: &Acted) {
        let mut notes = self.notes();
        notes.draft.impersonated = Some(User::clone(&acted.user));
        notes.draft.constraint.clone_from(&acted.constraint);
    }

    /// Whether the asker may.
    pub(crate) fn decided(&self, decision: &Decision) {
        let mut notes = self.notes();
        let word = if decision.allowed { "allow" } else { "forbid" };
        notes.draft.annotate("authorization.k8s.io/decision", word);
        notes.draft.annotate("authorization.k8s.io/reason", &decision.reason);
    }

    /// What else the log should say.
    pub(crate) fn annotate(&self, annotations: &[(String, String)]) {
        let mut notes = self.notes();
        for (key, value) in annotations {
            notes.draft.annotate(key, value);
        }
    }

    /// What came in.
    pub(crate) fn came_in(&self, body: &Bytes) {
        let mut notes = self.notes();
        if notes.verdict.level >= Level::Request {
            notes.draft.request = Some(body.clone());
        }
    }

    /// The answer, or the refusal that it is: the last event, or the one before the last for a watch.
    pub(crate) async fn answered(self: &Arc<Self>, answer: &mut Answer, refused: Option<&Status>) {
        let (event, follows) = {
            let mut notes = self.notes();
            let code = answer.status().as_u16();
            notes.draft.code = code;
            notes.draft.status = refused.cloned().map(Box::new);
            let whole = match answer.body() {
                Body::Whole(bytes) => Some(bytes.clone()),
                Body::Pieces(_) => None,
            };
            if notes.verdict.level == Level::RequestResponse && refused.is_none() {
                notes.draft.response.clone_from(&whole);
            }
            let follows = notes.is_long && whole.is_none();
            let stage = if follows { Stage::ResponseStarted } else { Stage::ResponseComplete };
            (notes.event(stage, self.log.clock.now()), follows)
        };
        if let Some(event) = event {
            self.send(event).await;
        }
        self.notes().is_open = follows;
        if follows {
            answer.body_mut().keep_until_end(Box::new(Arc::clone(self)));
        }
    }

    async fn send(&self, event: Draft) {
        let Err(event) = self.log.sink.offer(event) else { return };
        tokio::select! {
            () = self.log.sink.push(event) => {}
            () = self.log.clock.sleep(ROOM_WAIT) => self.log.sink.count_dropped(),
        }
    }
}

/// The last event of whatever has had none yet: of a watch that ends, and of a request that is dropped before its answer.
impl Drop for Noted {
    fn drop(&mut self) {
        let notes = self.notes.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !notes.is_open {
            return;
        }
        let mut stage = Stage::ResponseComplete;
        if std::thread::panicking() {
            stage = Stage::Panic;
            notes.draft.fail(500, "the server failed while it worked on the request");
        } else if notes.draft.code == 0 {
            notes.draft.fail(UNANSWERED, "the client did not wait for the answer");
        }
        let event = notes.event(stage, self.log.clock.now());
        if event.is_some_and(|event| self.log.sink.offer(event).is_err()) {
            self.log.sink.count_dropped();
        }
    }
}
