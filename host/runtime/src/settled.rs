//! Settled: nothing is left to follow from a change.

use std::sync::atomic::Ordering;
use std::time::Duration;

use quadrille_store::{Key, Revision};
use serde::Serialize;

use crate::controller::ControllerName;
use crate::runtime::{Runtime, Shared};
use crate::state::State;

/// How many keys are named per controller.
const NAMED_MAX: usize = 10;

/// Whether everything that follows from a revision has happened.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the answer's main field has its name on the wire")]
pub struct Settled {
    /// Whether no key is queued or running and every change up to `revision` was looked at. Keys that wait for a
    /// time, or failed, do not count: see `timers` and `stuck`.
    pub settled: bool,
    /// The revision that was asked about.
    pub revision: Revision,
    /// Up to where changes have been looked at.
    pub position: Revision,
    /// Who is still at work.
    pub busy: Vec<Busy>,
    /// Keys that wait for a time that they asked for.
    pub timers: usize,
    /// Keys whose last run failed.
    pub stuck: Vec<Stuck>,
    /// How many of those there are, where not all are named.
    pub stuck_count: usize,
}

/// Who is at work, and on what.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Busy {
    /// `plugin/controller`, or a part of the host.
    pub controller: String,
    /// Keys that could run now.
    pub queued: usize,
    /// Keys that run now.
    pub running: usize,
    /// Some of the keys.
    pub objects: Vec<String>,
}

/// A key whose last run failed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stuck {
    /// `plugin/controller`.
    pub controller: String,
    /// The object.
    pub object: String,
    /// Failures in a row; 0 for a failure that is not tried again.
    pub failures: u32,
    /// What a failure that is not tried again said.
    pub message: Option<String>,
}

impl Runtime {
    /// Waits up to `wait` until everything that follows from `revision` has happened; answers what is still busy
    /// otherwise. Suspended controllers count as busy while they have keys.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn settled(&self, revision: Revision, wait: Duration) -> Settled {
        let shared = &self.shared;
        let deadline = shared.clock.sleep(wait);
        tokio::pin!(deadline);
        loop {
            let progress = shared.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let now = look(shared, revision);
            if now.settled {
                return now;
            }
            tokio::select! {
                () = &mut deadline => return look(shared, revision),
                () = progress => {}
            }
        }
    }
}

fn look(shared: &Shared, revision: Revision) -> Settled {
    let parts = shared.parts();
    let state = shared.lock();
    let wanted = revision.max(state.last_commit);
    let mut busy: Vec<Busy> = state.controllers.values().filter_map(busy_controller).collect();
    let mut position = state.position;
    for part in &parts {
        let (at, left) = (part.position.load(Ordering::Acquire), part.busy.load(Ordering::Acquire));
        position = position.min(Revision(at));
        if left > 0 {
            let (controller, objects) = (format!("quadrille/{}", part.name), Vec::new());
            busy.push(Busy { controller, queued: left, running: 0, objects });
        }
    }
    let waiting: usize = state.controllers.values().map(|c| c.queue.waiting()).sum();
    let failing = state.controllers.values().map(|c| c.queue.failing()).sum::<usize>();
    let halted: usize = state.controllers.values().map(|c| c.halted.len()).sum();
    Settled {
        settled: busy.is_empty() && position >= wanted && state.in_flight + state.telling == 0,
        revision,
        position,
        busy,
        timers: waiting.saturating_sub(failing),
        stuck: stuck(&state),
        stuck_count: failing + halted,
    }
}

fn busy_controller(controller: &crate::controller::Controller) -> Option<Busy> {
    let (queued, running) = (controller.queue.ready(), controller.queue.running());
    if queued + running == 0 {
        return None;
    }
    let objects = controller.queue.busy(NAMED_MAX).iter().map(Key::to_string).collect();
    Some(Busy { controller: controller.name().to_string(), queued, running, objects })
}

fn stuck(state: &State) -> Vec<Stuck> {
    let mut found = Vec::new();
    for controller in state.controllers.values() {
        let name: ControllerName = controller.name();
        let failing = controller.queue.failing_keys(NAMED_MAX).into_iter();
        found.extend(failing.map(|(key, failures)| Stuck {
            controller: name.to_string(),
            object: key.to_string(),
            failures,
            message: None,
        }));
        found.extend(controller.halted.iter().take(NAMED_MAX).map(|(key, message)| Stuck {
            controller: name.to_string(),
            object: key.to_string(),
            failures: 0,
            message: Some(message.clone()),
        }));
    }
    found
}
