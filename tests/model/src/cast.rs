//! Who takes part in an experiment: random controllers and clients, and the notes that they keep.
//!
//! A cast outlives the host that it works on: when that is killed, its tasks end with it, and the same cast goes on with
//! the next host over the same store. What was noted before stays.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::{Clock, Random, SeededRandom};
use quadrille_object::Gvk;
use quadrille_registry::{
    Action, Actor, Body, Reason, Registry, Resource, WriteOptions, WriteRequest,
};
use quadrille_runtime::{ControllerName, ControllerSpec, Overlay, Runtime};
use quadrille_store::{Cause, RequestCause, Snapshot, View};
use serde_json::json;

use crate::desk::{self, Working, Workshop};
use crate::history::{Deed, Read, Run};
use crate::program::{
    NAMES, Program, change_of, choice_of, found_of, key, name_of, query_of, state_of,
};
use crate::world::Plan;

/// How many old snapshots are kept for controllers that shall read stale.
const OLD_MAX: usize = 4;
/// How many objects the controllers run for.
const PRIMARIES: u64 = 3;

/// Where everybody notes what they saw.
#[derive(Debug)]
pub struct Notes {
    pub(crate) resource: Arc<Resource>,
    clock: Arc<dyn Clock>,
    acknowledged: AtomicU64,
    writing_runs: AtomicU64,
    next_write: AtomicU64,
    next_start: AtomicU64,
    runs: Mutex<BTreeMap<u64, Run>>,
    working: Workshop,
    met: Mutex<Vec<(String, String)>>,
    deeds: Mutex<Vec<Deed>>,
    old: Mutex<VecDeque<Snapshot>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    /// The newest revision that was acknowledged to anybody.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Notes that somebody was told of a revision.
    pub fn acknowledge(&self, revision: u64) {
        self.acknowledged.fetch_max(revision, Ordering::SeqCst);
    }

    pub(crate) fn may_write(&self) -> bool {
        self.writing_runs
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
    }

    /// A reconciler begins to work on a key; answers its place in the order of beginnings.
    pub(crate) fn begin(&self, controller: &str, key: &str) -> (u64, Working<'_>) {
        let (is_alone, working) = self.working.enter(controller, key);
        if !is_alone {
            lock(&self.met).push((controller.to_owned(), key.to_owned()));
        }
        (self.next_start.fetch_add(1, Ordering::SeqCst), working)
    }

    pub(crate) fn ran(&self, number: u64, run: Run) {
        lock(&self.runs).insert(number, run);
    }

    pub(crate) async fn sleep(&self, wait: Duration) {
        self.clock.sleep(wait).await;
    }

    /// A snapshot of some runs ago.
    pub(crate) fn old_snapshot(&self, overlay: &Overlay) -> Snapshot {
        let mut old = lock(&self.old);
        old.push_back(overlay.registry().store().snapshot());
        if old.len() > OLD_MAX {
            old.pop_front();
        }
        old.front().cloned().unwrap_or_default()
    }
}

/// The controllers and clients of one experiment; cheap to clone.
#[derive(Clone, Debug)]
pub struct Cast {
    plan: Plan,
    notes: Arc<Notes>,
}

impl Cast {
    /// Nobody has done anything yet.
    ///
    /// # Panics
    /// When the registry has no `ConfigMap`s.
    pub fn new(plan: Plan, registry: &Registry) -> Self {
        let resource = registry.resource_of(&Gvk::new("", "v1", "ConfigMap")).expect("built in");
        let notes = Notes {
            resource,
            clock: Arc::clone(registry.clock()),
            acknowledged: AtomicU64::default(),
            writing_runs: AtomicU64::new(plan.writing_runs),
            // No two experiments on one store have a write in common.
            next_write: AtomicU64::new(plan.seed << 20),
            next_start: AtomicU64::default(),
            runs: Mutex::default(),
            working: Workshop::default(),
            met: Mutex::default(),
            deeds: Mutex::default(),
            old: Mutex::default(),
        };
        Self { plan, notes: Arc::new(notes) }
    }

    /// The notes of all.
    pub fn notes(&self) -> &Arc<Notes> {
        &self.notes
    }

    /// What was noted of runs, by number.
    pub fn runs(&self) -> BTreeMap<u64, Run> {
        lock(&self.notes.runs).clone()
    }

    /// What clients noted.
    pub fn deeds(&self) -> Vec<Deed> {
        lock(&self.notes.deeds).clone()
    }

    /// Controllers that worked twice at once on one object, with the object.
    pub fn met(&self) -> Vec<(String, String)> {
        lock(&self.notes.met).clone()
    }

    /// Makes the objects that the controllers run for, where they are not there; nobody in the experiment writes them.
    ///
    /// # Panics
    /// When they are refused.
    pub async fn set_up(&self, registry: &Registry) {
        for number in 0..PRIMARIES {
            let object =
                json!({"metadata": {"name": format!("p{number}"), "labels": {"run": "yes"}}});
            let create = Action::Create(Body::from(object));
            if let Err(status) = desk::submit(registry, None, create).await {
                // An experiment before this one made it.
                assert_eq!(status.reason, Reason::AlreadyExists, "{status:?}");
            }
        }
    }

    /// Adds the controllers to a host.
    ///
    /// # Panics
    /// When they are there already.
    pub fn enter(&self, runtime: &Runtime) {
        for number in 0..self.plan.controllers {
            let program = self.program(self.plan.seed ^ (number << 32));
            runtime.add(spec(number), program).expect("a new name");
        }
    }

    fn program(&self, seed: u64) -> Arc<Program> {
        Arc::new(Program { seed, notes: Arc::clone(&self.notes), plant: self.plan.plant })
    }

    /// What the clients and the operator do in one life of a host.
    pub async fn act(&self, registry: &Registry, runtime: &Runtime, life: u64) {
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..self.plan.clients {
            let (registry, this) = (registry.clone(), self.clone());
            clients.spawn(async move { this.client(registry, number | (life << 16)).await });
        }
        self.disturb(runtime, life).await;
        clients.join_all().await;
    }

    /// Writes and looks, and notes it.
    async fn client(&self, registry: Registry, number: u64) {
        let random = SeededRandom::new(self.plan.seed.rotate_left(17) ^ number);
        for _ in 0..self.plan.deeds {
            if random.below(2) == 0 {
                self.notes.sleep(Duration::from_micros(random.below(4_000))).await;
            }
            let deed = if random.below(2) == 0 {
                Some(look(&registry, &self.notes, &random).await)
            } else {
                write(&registry, &self.notes, &random).await
            };
            lock(&self.notes.deeds).extend(deed);
        }
    }

    /// Replaces, removes, suspends and holds controllers while they work.
    async fn disturb(&self, runtime: &Runtime, life: u64) {
        let random = SeededRandom::new(!self.plan.seed ^ (life << 24));
        for _ in 0..random.below(5) {
            self.notes.sleep(Duration::from_micros(random.below(6_000))).await;
            let number = random.below(self.plan.controllers);
            let name = ControllerName::new("model", format!("program-{number}"));
            let known = "the controller is there";
            match random.below(4) {
                0 => {
                    let program = self.program(random.next_u64());
                    runtime.replace(spec(number), program).expect(known);
                }
                1 => {
                    runtime.suspend(&name).expect(known);
                    self.notes.sleep(Duration::from_micros(random.below(3_000))).await;
                    runtime.resume(&name).expect(known);
                }
                2 => {
                    runtime.remove(&name).expect(known);
                    self.notes.sleep(Duration::from_micros(random.below(2_000))).await;
                    let program = self.program(random.next_u64());
                    runtime.add(spec(number), program).expect("it was removed");
                }
                _ => runtime.hold(&name, &key("p0"), Duration::from_micros(random.below(4_000))),
            }
        }
    }
}

fn spec(number: u64) -> ControllerSpec {
    ControllerSpec {
        plugin: "model".into(),
        ..desk::spec(&format!("program-{number}"), "run=yes", 2)
    }
}

async fn look(registry: &Registry, notes: &Notes, random: &SeededRandom) -> Deed {
    let acknowledged = notes.acknowledged();
    let snapshot = registry.store().snapshot();
    // Whoever reads slowly still reads one state.
    tokio::task::yield_now().await;
    let choice = choice_of(random);
    let found = snapshot.list(&query_of(&choice)).iter().map(|object| found_of(object)).collect();
    let name = name_of(random.below(NAMES));
    let got = snapshot.get(&key(&name)).map(|object| (object.revision.0, state_of(&object).tag));
    let reads = vec![Read::List { choice, found }, Read::Get { name, found: got }];
    Deed::Looked { acknowledged, at: snapshot.revision().0, reads }
}

/// A write; none when nobody can say what came of it: the client went away, or the disk failed.
async fn write(registry: &Registry, notes: &Notes, random: &SeededRandom) -> Option<Deed> {
    let acknowledged = notes.acknowledged();
    let number = notes.next_write.fetch_add(1, Ordering::SeqCst);
    let (name, tag) = (name_of(random.below(NAMES)), format!("client-{number}"));
    let exists = registry.store().snapshot().get(&key(&name)).is_some();
    let (target, action, tag) = change_of(&notes.resource, exists, random, &name, &tag);
    let (options, actor) = (WriteOptions::default(), Actor::default());
    let request = WriteRequest { target, action, options, actor };
    let user = format!("client-{number}");
    let cause = Cause::Request(RequestCause { user, ..RequestCause::default() });
    let submitted = registry.submit(&request, cause);
    let answer = if random.below(8) == 0 {
        // A client that goes away: what it asked for may happen, or not.
        tokio::select! {
            answer = submitted => answer,
            () = notes.sleep(Duration::from_micros(random.below(500))) => return None,
        }
    } else {
        submitted.await
    };
    match answer {
        Ok(written) => {
            let revision = written.revision.0;
            notes.acknowledge(revision);
            Some(Deed::Wrote { number, acknowledged, revision, name, tag })
        }
        Err(status) if status.reason == Reason::ServiceUnavailable => None,
        Err(status) => Some(Deed::Refused { number, why: status.message }),
    }
}
