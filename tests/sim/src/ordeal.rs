//! One thing going wrong, at every place where it can: the same work is done again and again, each time with one mishap, and
//! must come to the same end.
//!
//! Places are counted, not drawn: the n-th call of the disk, the n-th run of any controller. The undisturbed course says
//! how many there are. [`works`] is what is done.
#![expect(clippy::wildcard_enum_match_arm, reason = "one mishap is looked for among many")]

pub mod works;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, ManualClock, SeededRandom, Supervisor, VirtualTime};
use quadrille_registry::{Reason, Registry};
use quadrille_runtime::{
    Config, ControllerStats, Failure, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler,
    Runtime,
};
use quadrille_store::{Cause, Key, RequestCause, Snapshot, Store, View};
use serde_json::Value;
use tokio::sync::Notify;

use crate::cache::Cache;
use crate::ground::Ground;
use crate::stage::Stage;
use works::{Step, Workload};

/// How many lives one course takes at most.
const LIVES_MAX: u64 = 6;
/// How often a refused write is tried again.
const TRIES_MAX: u32 = 10_000;
/// How often rest is awaited.
const WAITS_MAX: u32 = 3_000;
/// How often every object is reconciled though nothing woke it, where a wake-up gets lost.
const RESYNC: Duration = Duration::from_hours(1);
/// How many snapshots a run that reads a stale state is behind.
const BEHIND: usize = 3;

/// How long a cut of the power may go unnoticed.
const POLL_MAX: Duration = Duration::from_mins(1);

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// Nothing.
    None,
    /// The power goes at this call of the disk, and the host starts again.
    PowerCut(u64),
    /// This call of the disk fails.
    DiskError(u64),
    /// All the work of this run is thrown away after it is done; the host goes on.
    Thrown(u64),
    /// The host ends when this run is about to commit, and starts again.
    Killed(u64),
    /// This run reads the state of some runs ago.
    Stale(u64),
    /// The wake-up for this run is lost; every hour all is looked at.
    Missed(u64),
}

/// How it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// What is there in the end, less what time and chance decide.
    pub end: Vec<String>,
    /// Calls of the disk, from the first step on.
    pub calls: u64,
    /// Runs.
    pub runs: u64,
    /// Whether the mishap came to pass.
    pub befell: bool,
    /// What cannot be.
    pub wrong: Vec<String>,
}

/// What goes on through all lives of one course.
struct Going<'a> {
    stage: &'a Stage,
    work: &'a dyn Workload,
    mishap: Mishap,
    ground: Ground,
    clock: Arc<ManualClock>,
    befallen: Arc<Befallen>,
    /// The next step.
    at: usize,
    calls_before: u64,
    course: Course,
}

impl Stage {
    /// Does the work with one thing going wrong.
    ///
    /// # Panics
    /// When the operating system has no thread to give.
    pub fn undergo(&self, work: &dyn Workload, mishap: Mishap) -> Course {
        let mut going = Going {
            stage: self,
            work,
            mishap,
            ground: Ground::plain(self.disk()),
            clock: Arc::new(ManualClock::default()),
            befallen: Arc::default(),
            at: 0,
            calls_before: 0,
            course: Course::default(),
        };
        for life in 0..LIVES_MAX {
            let clock = Arc::clone(&going.clock);
            let ended = VirtualTime::run(clock, async |_| going.live(life).await);
            if ended.expect("a thread is there") {
                return going.course;
            }
        }
        going.course.wrong.push("it never came to an end".to_owned());
        going.course
    }
}

impl Going<'_> {
    /// One life of the host; true when the work is done.
    async fn live(&mut self, life: u64) -> bool {
        let supervisor = Supervisor::default();
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        let Ok(store) = self.ground.open(Arc::clone(&clock), &supervisor).await else {
            return false;
        };
        let random = Arc::new(SeededRandom::new(0x0d_ea1 ^ (life << 32)));
        let registry = self.stage.registry().fork(store.clone(), clock, random);
        registry.set_supervisor(supervisor.clone());
        let config = Config { slots: 2, event_life: None, ..Config::default() };
        let runtime = Runtime::build(config, registry.clone(), supervisor.clone());
        runtime.start();
        if life == 0 {
            self.calls_before = self.ground.disk().calls();
            self.arm();
        }
        for (mut spec, reconciler) in self.work.controllers() {
            if matches!(self.mishap, Mishap::Missed(_)) {
                spec.resync = Some(RESYNC);
            }
            let has_finalizer = spec.finalizer.is_some();
            let befallen = Arc::clone(&self.befallen);
            let mishap = if life == 0 { self.mishap } else { Mishap::None };
            let inner = Disturbed { reconciler, befallen, mishap, has_finalizer };
            runtime.add(spec, Arc::new(inner)).expect("a new name");
        }
        let (disk, befallen) = (self.ground.disk().clone(), Arc::clone(&self.befallen));
        let (cuts, clock) = (disk.power_cuts(), Arc::clone(&self.clock));
        let gone = async {
            // Nothing happens without power, so that it does not matter how late that is seen.
            let mut wait = Duration::from_millis(1);
            while disk.power_cuts() == cuts {
                tokio::select! {
                    biased;
                    () = befallen.killed.notified() => return,
                    () = clock.sleep(wait) => wait = (wait * 2).min(POLL_MAX),
                }
            }
        };
        let done = tokio::select! {
            biased;
            () = gone => false,
            () = self.go(&registry, &runtime, &store) => true,
        };
        if !done {
            let _next = self.ground.disk().boot();
        }
        supervisor.shutdown().start();
        done
    }

    /// Plans what the disk does.
    fn arm(&self) {
        match self.mishap {
            Mishap::PowerCut(call) => {
                self.ground.disk().plan(quadrille_disk::Plan::power_cut(call));
            }
            Mishap::DiskError(call) => {
                self.ground.disk().plan(quadrille_disk::Plan::errors(call, 1));
            }
            _ => {}
        }
    }

    async fn go(&mut self, registry: &Registry, runtime: &Runtime, store: &Store) {
        let steps = self.work.steps();
        while let Some(step) = steps.get(self.at) {
            self.take(step, registry, runtime).await;
            self.at += 1;
        }
        self.rest(runtime, registry).await;
        let snapshot = store.snapshot();
        self.course.calls = self.ground.disk().calls() - self.calls_before;
        self.course.runs = self.befallen.runs.load(Ordering::SeqCst);
        self.course.befell = match self.mishap {
            Mishap::PowerCut(_) => self.ground.disk().power_cuts() > 0,
            Mishap::DiskError(_) => self.ground.disk().faults() > 0,
            _ => self.befallen.befell.load(Ordering::SeqCst) > 0,
        };
        self.course.end = end_of(&snapshot, &self.stage.registry().store().snapshot());
        store.close().await;
    }

    async fn take(&mut self, step: &Step, registry: &Registry, runtime: &Runtime) {
        let Some(request) = step.request(registry) else {
            return self.rest(runtime, registry).await;
        };
        for _ in 0..TRIES_MAX {
            let cause = Cause::Request(RequestCause::default());
            match registry.submit(&request, cause).await {
                Ok(_) => return,
                // It was done before the host ended, and nobody was told.
                Err(status)
                    if matches!(status.reason, Reason::AlreadyExists | Reason::NotFound) =>
                {
                    return;
                }
                Err(_) => self.clock.sleep(Duration::from_millis(1)).await,
            }
        }
        self.course.wrong.push(format!("{step:?} is refused for ever"));
    }

    /// Waits until nobody has anything to do; where a wake-up got lost, until all was looked at anew.
    async fn rest(&mut self, runtime: &Runtime, registry: &Registry) {
        self.rest_once(runtime, registry).await;
        if matches!(self.mishap, Mishap::Missed(_)) {
            self.clock.sleep(RESYNC * 2).await;
            self.rest_once(runtime, registry).await;
        }
    }

    /// Waits until nobody has anything to do, not even later.
    async fn rest_once(&mut self, runtime: &Runtime, registry: &Registry) {
        for _ in 0..WAITS_MAX {
            let revision = registry.store().revision();
            let settled = runtime.at_rest(revision, Duration::from_secs(30)).await.settled;
            let waits = |stats: &ControllerStats| stats.failing + stats.timers > 0;
            if settled && !runtime.stats(None).iter().any(waits) {
                return;
            }
            self.clock.sleep(Duration::from_secs(1)).await;
        }
        self.course.wrong.push("somebody has something to do for ever".to_owned());
    }
}

/// What befell so far, over all lives.
#[derive(Debug, Default)]
struct Befallen {
    runs: AtomicU64,
    befell: AtomicU64,
    killed: Notify,
    old: Mutex<VecDeque<Snapshot>>,
}

impl Befallen {
    /// The state of some runs ago.
    fn old(&self, overlay: &Overlay) -> Option<Snapshot> {
        let mut old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = overlay.registry().store().snapshot();
        if old.back().is_none_or(|last| last.revision() < snapshot.revision()) {
            old.push_back(snapshot);
        }
        if old.len() > BEHIND {
            old.pop_front();
        }
        old.front().cloned()
    }
}

/// A controller whose runs go wrong.
struct Disturbed {
    reconciler: Arc<dyn Reconciler>,
    befallen: Arc<Befallen>,
    mishap: Mishap,
    has_finalizer: bool,
}

impl fmt::Debug for Disturbed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disturbed").field("reconciler", &self.reconciler).finish_non_exhaustive()
    }
}

impl Reconciler for Disturbed {
    fn reconcile(&self, request: ReconcileRequest, overlay: Overlay) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let number = self.befallen.runs.fetch_add(1, Ordering::SeqCst) + 1;
            let old = self.befallen.old(&overlay);
            let befalls = || self.befallen.befell.fetch_add(1, Ordering::SeqCst);
            match self.mishap {
                Mishap::Missed(at) if at == number => {
                    befalls();
                    Reconciled { overlay, result: Ok(Outcome::Done), memory_bytes: 0 }
                }
                Mishap::Thrown(at) if at == number => {
                    befalls();
                    let reconciled = self.reconciler.reconcile(request, overlay).await;
                    let result = Err(Failure::Transient("thrown away".to_owned()));
                    Reconciled { result, ..reconciled }
                }
                Mishap::Killed(at) if at == number => {
                    befalls();
                    let _lost = self.reconciler.reconcile(request, overlay).await;
                    self.befallen.killed.notify_one();
                    std::future::pending().await
                }
                Mishap::Stale(at) if at == number && !self.has_finalizer => {
                    let stale = old.and_then(|old| Some((old.get(&request.key)?, old)));
                    let Some((object, old)) = stale else {
                        return self.reconciler.reconcile(request, overlay).await;
                    };
                    befalls();
                    let overlay = overlay.again_on(old, request.seed);
                    let request = ReconcileRequest { object: Some(object), ..request };
                    self.reconciler.reconcile(request, overlay).await
                }
                _ => self.reconciler.reconcile(request, overlay).await,
            }
        })
    }
}

/// What there is more than in the beginning, less what time and chance decide.
fn end_of(end: &Snapshot, start: &Snapshot) -> Vec<String> {
    let known: BTreeSet<Key> = Cache::of(start).iter().map(|object| object.key.clone()).collect();
    let all = Cache::of(end);
    let new = all.iter().filter(|object| {
        !known.contains(&object.key) && *object.key.resource.resource != *"events"
    });
    let mut lines: Vec<String> = new
        .map(|object| {
            let mut value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
            let made = value["metadata"]["generateName"].as_str().map(str::to_owned);
            strip(&mut value);
            if let Some(made) = made {
                value["metadata"]["name"] = made.into();
            }
            format!("{} {value}", object.key.resource)
        })
        .collect();
    lines.sort();
    lines
}

/// What a volume's name begins with that chance ends.
const TOKEN: &str = "kube-api-access-";

/// Takes out what time and chance decide.
fn strip(value: &mut Value) {
    const CHANCE: [&str; 9] = [
        "uid",
        "resourceVersion",
        "managedFields",
        "generation",
        "observedGeneration",
        "clusterIP",
        "clusterIPs",
        "nodePort",
        "generateName",
    ];
    match value {
        Value::Object(map) => {
            map.retain(|name, _| {
                let is_time = name.ends_with("Time") || name.ends_with("Timestamp");
                !is_time && !CHANCE.contains(&name.as_str())
            });
            map.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::String(text) if text.starts_with(TOKEN) => text.truncate(TOKEN.len()),
        _ => {}
    }
}
