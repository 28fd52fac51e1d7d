//! Settled: nothing is left to follow from a change.
//!
//! # What counts
//! A change is settled when every change that follows from it ([`Descent`]) has been looked at, and no key is queued or
//! running that was woken by one of them. A key in backoff, or one that failed for good, is stuck: it is neither at work
//! nor done. So is one that was woken and is frozen; one that is only slowed down will run, and is busy.
//! A timer that a run set on purpose holds nothing up until it is due. Whatever else the host is doing does not
//! matter.
//!
//! # Why never too early
//! The answer is given under the lock of the state, with all changes looked at that were committed before. A run that
//! has committed and not ended still has its key; one that has ended committed before. A run that read a change before
//! the trigger looked at it counts while it runs, and names it in its cause when it commits.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_store::{ChangesError, Key, Revision};
use serde::Serialize;

use crate::controller::{Controller, ControllerName};
use crate::descent::Descent;
use crate::queue::{Awake, Standing};
use crate::runtime::{Gauge, Runtime, Shared};
use crate::state::State;

/// How many keys are named per controller.
const NAMED_MAX: usize = 10;

/// Looking through more keys than this at every step of every run would cost the runs.
const LOOK_OFTEN_MAX: usize = 1_000;
/// How long a question with that many keys waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How it stands with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standstill {
    /// Everything that follows has happened.
    Settled,
    /// Somebody is at work.
    Busy,
    /// Nobody is at work, and something that follows has failed.
    Stuck,
}

/// Whether everything that follows from a revision has happened.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the answer's main field has its name on the wire")]
pub struct Settled {
    /// Whether everything that follows has happened.
    pub settled: bool,
    /// How it stands.
    pub state: Standstill,
    /// The revision that was asked about.
    pub revision: Revision,
    /// Up to where changes have been looked at.
    pub position: Revision,
    /// How many changes follow so far, with those of the transaction itself; 0 where all changes were asked about.
    pub changes: usize,
    /// The newest of them.
    pub last: Revision,
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
#[derive(Clone, Debug, Default, Serialize)]
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
    /// What the last failure said.
    pub message: Option<String>,
}

impl Runtime {
    /// Waits up to `wait` until everything that follows from `revision` has happened; answers how it stands otherwise.
    /// It ends early when only failures are left that nobody tries again. Suspended controllers count as busy while they
    /// have keys.
    ///
    /// # Errors
    /// `Expired` when the change is compacted, and as the stream of changes.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn settled(
        &self,
        revision: Revision,
        wait: Duration,
    ) -> Result<Settled, ChangesError> {
        let (shared, store) = (&self.shared, self.shared.registry.store());
        let mut descent = None;
        let deadline = shared.clock.sleep(wait);
        tokio::pin!(deadline);
        let mut is_over = wait.is_zero();
        loop {
            let progress = shared.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if descent.is_none() {
                descent = Descent::of(store, revision).await?;
            }
            let (now, looked_at) = match &mut descent {
                Some(descent) => {
                    descent.catch_up(store).await?;
                    follow(shared, revision, descent)?
                }
                None => (Settled::not_there(revision, store.revision()), 0),
            };
            if is_over || now.settled || now.is_final() {
                return Ok(now);
            }
            tokio::select! {
                biased;
                () = &mut deadline => is_over = true,
                () = progress => if looked_at > LOOK_OFTEN_MAX {
                    shared.clock.sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    /// The keys that are queued, run, or wait for a time.
    pub fn awake(&self) -> BTreeSet<Key> {
        let state = self.shared.lock();
        let queues = state.controllers.values().map(|controller| &controller.queue);
        queues.flat_map(|queue| queue.awake().map(|awake| awake.key.clone())).collect()
    }

    /// Waits up to `wait` until nothing at all is queued or running and every change up to `revision` was looked at.
    /// Keys that wait for a time, or failed, do not count.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn at_rest(&self, revision: Revision, wait: Duration) -> Settled {
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
                biased;
                () = &mut deadline => return look(shared, revision),
                () = progress => {}
            }
        }
    }
}

impl Settled {
    fn not_there(revision: Revision, position: Revision) -> Self {
        Self {
            settled: false,
            state: Standstill::Busy,
            revision,
            position,
            changes: 0,
            last: position,
            busy: Vec::new(),
            timers: 0,
            stuck: Vec::new(),
            stuck_count: 0,
        }
    }

    /// Whether only failures are left that are not tried again.
    fn is_final(&self) -> bool {
        self.state == Standstill::Stuck
            && self.stuck_count == self.stuck.len()
            && self.stuck.iter().all(|stuck| stuck.failures == 0)
    }
}

/// How it stands with what follows from one change, and how many keys were looked at for that.
fn follow(
    shared: &Shared,
    revision: Revision,
    descent: &mut Descent,
) -> Result<(Settled, usize), ChangesError> {
    let parts = shared.parts();
    let state = shared.lock();
    descent.finish(shared.registry.store().revision())?;
    let mut found =
        Found { descent, busy: Vec::new(), stuck: Vec::new(), stuck_count: 0, timers: 0 };
    let mut looked_at = 0;
    for controller in state.controllers.values() {
        looked_at += found.controller(controller);
    }
    let telling = state.telling.values();
    let telling = telling.filter(|wakes| found.is_woken(wakes)).count();
    if telling > 0 {
        found.note_part("events", telling);
    }
    let position = found.parts(&parts, &state);
    drop::<MutexGuard<'_, State>>(state);
    let busy = !found.busy.is_empty() || position < found.descent.last();
    let standstill = match (busy, found.stuck_count) {
        (true, _) => Standstill::Busy,
        (false, 0) => Standstill::Settled,
        (false, _) => Standstill::Stuck,
    };
    let settled = Settled {
        settled: standstill == Standstill::Settled,
        state: standstill,
        revision,
        position,
        changes: found.descent.count(),
        last: found.descent.last(),
        busy: found.busy,
        timers: found.timers,
        stuck: found.stuck,
        stuck_count: found.stuck_count,
    };
    Ok((settled, looked_at))
}

/// What is found to follow from a change.
struct Found<'a> {
    descent: &'a Descent,
    busy: Vec<Busy>,
    stuck: Vec<Stuck>,
    stuck_count: usize,
    timers: usize,
}

impl Found<'_> {
    fn is_woken(&self, wakes: &crate::wakes::Wakes) -> bool {
        wakes.descends(self.descent.first(), |revision| self.descent.contains(revision))
    }

    fn concerns(&self, awake: &Awake<'_>) -> bool {
        let under_way = awake.under_way.is_some_and(|run| {
            self.is_woken(&run.wakes) || self.descent.has_between(run.looked, run.snapshot)
        });
        under_way || self.is_woken(awake.wakes)
    }

    fn controller(&mut self, controller: &Controller) -> usize {
        let name: ControllerName = controller.name();
        let (mut busy, mut looked_at) = (Busy::default(), 0);
        for awake in controller.queue.awake() {
            looked_at += 1;
            if !self.concerns(&awake) {
                continue;
            }
            match awake.standing {
                Standing::Ready => busy.queued += 1,
                Standing::Running => busy.running += 1,
                Standing::Held => {
                    if let Some(why) = controller.holds.frozen_for(awake.key) {
                        self.note_stuck(&name, awake.key, 0, Some(format!("frozen: {why}")));
                        continue;
                    }
                    busy.queued += 1;
                }
                Standing::Timer => {
                    self.timers += 1;
                    continue;
                }
                Standing::Failing(failures) => {
                    let message = controller.failed.get(awake.key).cloned();
                    self.note_stuck(&name, awake.key, failures, message);
                    continue;
                }
            }
            if busy.objects.len() < NAMED_MAX {
                busy.objects.push(awake.key.to_string());
            }
        }
        if busy.queued + busy.running > 0 {
            busy.objects.sort();
            self.busy.push(Busy { controller: name.to_string(), ..busy });
        }
        for (key, halted) in &controller.halted {
            if self.is_woken(&halted.wakes) {
                self.note_stuck(&name, key, 0, Some(halted.message.clone()));
            }
        }
        looked_at + controller.halted.len()
    }

    fn note_stuck(
        &mut self,
        controller: &ControllerName,
        key: &Key,
        failures: u32,
        message: Option<String>,
    ) {
        self.stuck_count += 1;
        if self.stuck.len() < NAMED_MAX {
            let (controller, object) = (controller.to_string(), key.to_string());
            self.stuck.push(Stuck { controller, object, failures, message });
        }
    }

    fn note_part(&mut self, name: &str, queued: usize) {
        let controller = format!("quadrille/{name}");
        self.busy.push(Busy { controller, queued, ..Busy::default() });
    }

    /// The host's own parts; answers up to where everybody has looked.
    fn parts(&mut self, parts: &[std::sync::Arc<Gauge>], state: &State) -> Revision {
        let mut position = state.position;
        for part in parts {
            position = position.min(Revision(part.position.load(Ordering::Acquire)));
            let causes = part.causes.lock().unwrap_or_else(PoisonError::into_inner);
            let at_work =
                causes.iter().filter(|of| **of == Revision(0) || self.descent.contains(**of));
            let at_work = at_work.count();
            if at_work > 0 {
                self.note_part(part.name, at_work);
            }
        }
        position
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
    let frozen: usize = state.controllers.values().map(|c| c.holds.frozen().count()).sum();
    let halted = halted + frozen;
    let under_way = state.in_flight + state.telling.len();
    let settled = busy.is_empty() && position >= wanted && under_way == 0;
    let standstill = match (settled, failing + halted) {
        (false, _) => Standstill::Busy,
        (true, 0) => Standstill::Settled,
        (true, _) => Standstill::Stuck,
    };
    Settled {
        settled,
        state: standstill,
        revision,
        position,
        changes: 0,
        last: state.last_commit,
        busy,
        timers: waiting.saturating_sub(failing),
        stuck: stuck(&state),
        stuck_count: failing + halted,
    }
}

fn busy_controller(controller: &Controller) -> Option<Busy> {
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
            message: controller.failed.get(&key).cloned(),
        }));
        found.extend(controller.halted.iter().take(NAMED_MAX).map(|(key, halted)| Stuck {
            controller: name.to_string(),
            object: key.to_string(),
            failures: 0,
            message: Some(halted.message.clone()),
        }));
        found.extend(controller.holds.frozen().take(NAMED_MAX).map(|(key, why)| Stuck {
            controller: name.to_string(),
            object: key.to_string(),
            failures: 0,
            message: Some(format!("frozen: {why}")),
        }));
    }
    found
}
