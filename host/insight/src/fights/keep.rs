//! Following the changes of a host, and doing something about the fights among them.
//!
//! Each fight is told once on its object: an Event that counts, when it is found and each time its rounds have doubled.
//! Beyond that the response is the operator's: the host's, or that of a writer's plugin (`spec.fights`), whichever is
//! stronger. Slowing down and freezing hold the keys that the writers run for, not the writers.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::Shutdown;
use quadrille_object::GroupResource;
use quadrille_registry::Registry;
use quadrille_runtime::{ControllerName, Grant, Note, Overlay, OverlayOwner, Runtime};
use quadrille_store::{Cause, ChangeFilter, ChangesError, Key, Revision, SystemCause, View};
use serde_json::Value;

use super::{Detector, Fight, FightKind, News, Response, Writer};

/// The name of this part of the host in causes and events.
const PART: &str = "fights";
/// The wait after the first round of a fight that is slowed down; it doubles with each.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait between two rounds.
const WAIT_MAX: Duration = Duration::from_mins(5);
/// How long to wait before a history that cannot be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The fights of a host; cheap to clone.
#[derive(Clone, Debug)]
pub struct Fights {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    detector: Mutex<Detector>,
    runtime: Runtime,
    response: Response,
}

/// Why fights are no longer looked for.
#[derive(Debug, thiserror::Error)]
#[error("cannot follow the changes of the store")]
pub struct FollowError(#[source] ChangesError);

impl Fights {
    /// Nothing is followed yet. `response` is what is done where no plugin asks for more.
    pub fn build(runtime: Runtime, response: Response) -> Self {
        let detector = Mutex::default();
        Self { inner: Arc::new(Inner { detector, runtime, response }) }
    }

    /// The fights at present.
    pub fn list(&self) -> Vec<Fight> {
        let now = self.registry().clock().now();
        self.detector().fights(now)
    }

    /// Ends the fights over an object, and lets everybody run again; answers how many there were. What still fights is
    /// found again.
    pub fn release(&self, object: &Key) -> usize {
        let ended = self.detector().release(object);
        for writer in ended.iter().flat_map(|fight| &fight.writers) {
            if let Some((name, key)) = held(writer) {
                self.inner.runtime.release(&name, &key);
            }
        }
        ended.len()
    }

    /// The numbers in the text form of Prometheus.
    pub fn metrics(&self) -> String {
        let now = self.registry().clock().now();
        let mut detector = self.detector();
        let present = detector.fights(now);
        let mut text = String::from(
            "# HELP quadrille_fights Fights at present.\n# TYPE quadrille_fights gauge\n",
        );
        let kinds = [FightKind::Oscillation, FightKind::SelfLoop, FightKind::Runaway];
        for kind in kinds {
            let count = present.iter().filter(|fight| fight.kind == kind).count();
            line(&mut text, format_args!("quadrille_fights{{kind=\"{}\"}} {count}", kind.as_str()));
        }
        text.push_str("# HELP quadrille_fights_total Fights that were found.\n");
        text.push_str("# TYPE quadrille_fights_total counter\n");
        for kind in kinds {
            let count = detector.found().get(&kind).copied().unwrap_or(0);
            let kind = kind.as_str();
            line(&mut text, format_args!("quadrille_fights_total{{kind=\"{kind}\"}} {count}"));
        }
        text
    }

    /// Follows the changes from now on until the shutdown.
    ///
    /// # Errors
    /// When the store closes before.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), FollowError> {
        let store = self.registry().store().clone();
        let mut changes = store.changes(ChangeFilter::default(), store.revision());
        loop {
            let next = tokio::select! {
                () = shutdown.started() => return Ok(()),
                next = changes.next() => next,
            };
            match next {
                Ok(batch) => {
                    for change in &batch.changes {
                        let news = self.detector().observe(change);
                        for news in news {
                            self.act(&news).await;
                        }
                    }
                }
                Err(ChangesError::Closed) if shutdown.is_started() => return Ok(()),
                Err(error @ ChangesError::Closed) => return Err(FollowError(error)),
                Err(error @ (ChangesError::Expired { .. } | ChangesError::Unavailable(_))) => {
                    tracing::warn!(%error, "changes were missed, fights are looked for anew");
                    self.registry().clock().sleep(RETRY).await;
                    self.detector().forget_changes();
                    changes = store.changes(ChangeFilter::default(), store.revision());
                }
            }
        }
    }

    async fn act(&self, news: &News) {
        let fight = &news.fight;
        let response = self.response_to(fight);
        self.detector().respond(&news.object, &fight.field, response);
        for writer in &fight.writers {
            let Some((name, key)) = held(writer) else { continue };
            if news.is_new {
                self.inner.runtime.note_fight(&name, &writer.digest);
            }
            match response {
                Response::Warn => {}
                Response::Slow => self.inner.runtime.hold(&name, &key, wait_after(fight.rounds)),
                Response::Freeze => self.inner.runtime.freeze(&name, &key, &told(fight)),
            }
        }
        if news.is_new || fight.rounds.is_power_of_two() {
            tracing::warn!(
                object = fight.object,
                field = fight.field,
                kind = fight.kind.as_str(),
                rounds = fight.rounds,
                "{}",
                told(fight)
            );
            self.tell(&news.object, fight).await;
        }
    }

    /// The strongest response that the host or a writer's plugin asks for.
    fn response_to(&self, fight: &Fight) -> Response {
        let snapshot = self.registry().store().snapshot();
        let of_plugin = |writer: &Writer| {
            let resource = GroupResource::new("quadrille.dev", "plugins");
            let plugin = snapshot.get(&Key::new(resource, "", writer.plugin.as_str()))?;
            let value: Value = serde_json::from_slice(&plugin.bytes).ok()?;
            match value.pointer("/spec/fights")?.as_str()? {
                "Freeze" => Some(Response::Freeze),
                "Slow" => Some(Response::Slow),
                _ => Some(Response::Warn),
            }
        };
        let asked = fight.writers.iter().filter_map(of_plugin).max();
        asked.map_or(self.inner.response, |asked| asked.max(self.inner.response))
    }

    /// Says it on the object. An Event that is refused is dropped: it is in the list and in the metrics, too.
    async fn tell(&self, object: &Key, fight: &Fight) {
        let registry = self.registry();
        let owner = OverlayOwner {
            controller: PART.into(),
            primary: Some(object.clone()),
            now: registry.clock().now(),
            ..OverlayOwner::default()
        };
        let snapshot = registry.store().snapshot();
        let overlay = Overlay::new(snapshot, registry.clone(), Grant::default());
        let mut overlay = overlay.owned_by(owner);
        let note = Note { kind: "Warning", reason: "Fight", message: &told(fight) };
        if overlay.record_event(object, &note).is_err() || overlay.written().is_empty() {
            return;
        }
        let act = format!("told of a fight over {}", fight.field);
        let because: Vec<Revision> = vec![fight.revision];
        let cause = SystemCause { part: PART.to_owned(), act, because };
        let mut txn = overlay.into_txn(None, Cause::System(cause));
        txn.reads = None;
        if let Err(error) = registry.commit(txn).await {
            tracing::debug!(%object, %error, "event about a fight dropped");
        }
    }

    fn registry(&self) -> &Registry {
        self.inner.runtime.registry()
    }

    fn detector(&self) -> MutexGuard<'_, Detector> {
        self.inner.detector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What holding a writer means: its controller, and the key that it runs for.
fn held(writer: &Writer) -> Option<(ControllerName, Key)> {
    let name = ControllerName::new(writer.plugin.as_str(), writer.controller.as_str());
    Some((name, writer.runs_for.parse().ok()?))
}

fn wait_after(rounds: u64) -> Duration {
    let doublings = u32::try_from(rounds).unwrap_or(u32::MAX).min(16);
    WAIT_MIN.saturating_mul(1 << doublings.saturating_sub(3)).min(WAIT_MAX)
}

/// The fight in a sentence that stays the same from round to round, so that its Event counts.
pub fn told(fight: &Fight) -> String {
    let mut names: Vec<String> = fight.writers.iter().map(Writer::name).collect();
    names.dedup();
    let (names, field) = (names.join(" and "), &fight.field);
    match fight.kind {
        FightKind::Oscillation => format!("{names} undo each other's changes of {field}"),
        FightKind::SelfLoop => format!("{names} changes {field} because it changed it before"),
        FightKind::Runaway => {
            format!("{field} runs away: {names} change it because they changed it before")
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing into memory cannot fail");
}
