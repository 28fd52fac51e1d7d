//! The experiment: a store, a registry, a runtime with random controllers, and random clients beside them.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::{
    Clock, ManualClock, Random, SeededRandom, Supervisor, SystemClock, SystemRandom, VirtualTime,
};
use quadrille_object::selector::LabelSelector;
use quadrille_object::{GroupResource, Gvk};
use quadrille_registry::{
    Action, Actor, Body, Reason, Registry, Resource, Target, WriteOptions, WriteRequest,
};
use quadrille_runtime::{Config, ControllerName, ControllerSpec, Grant, Overlay, Runtime};
use quadrille_store::{
    Cause, ChangeFilter, Query, Range, RequestCause, Revision, Snapshot, Store, View,
};
use serde_json::json;

use crate::history::{Deed, History, Maker, Objects, Run, Txn};
use crate::program::{
    NAMES, Program, change_of, choice_of, found_of, key, name_of, query_of, state_of,
};

/// How many old snapshots are kept for controllers that shall read stale.
const OLD_MAX: usize = 4;

/// A fault that is planted, to see that the checker finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plant {
    /// None.
    #[default]
    None,
    /// Lists are not checked at the commit.
    UncheckedLists,
    /// Some reads come from an older snapshot.
    StaleReads,
    /// A write of a run gets lost.
    HalfRuns,
}

/// What is done in one experiment.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// How many controllers there are; each runs for three objects.
    pub controllers: u64,
    /// How many clients there are.
    pub clients: u64,
    /// What each client does.
    pub deeds: u64,
    /// How many runs may write; later ones only look.
    pub writing_runs: u64,
    /// What is broken.
    pub plant: Plant,
}

impl Plan {
    /// A small experiment with this seed.
    pub fn small(seed: u64) -> Self {
        let random = SeededRandom::new(seed);
        Self {
            seed,
            controllers: 1 + random.below(3),
            clients: 1 + random.below(3),
            deeds: 5,
            writing_runs: 12,
            plant: Plant::None,
        }
    }

    /// The same with something broken.
    #[must_use]
    pub fn planted(self, plant: Plant) -> Self {
        Self { plant, ..self }
    }
}

/// Where everybody notes what they saw.
#[derive(Debug)]
pub struct Notes {
    pub(crate) resource: Arc<Resource>,
    clock: Arc<dyn Clock>,
    acknowledged: AtomicU64,
    writing_runs: AtomicU64,
    next_write: AtomicU64,
    runs: Mutex<BTreeMap<u64, Run>>,
    deeds: Mutex<Vec<Deed>>,
    old: Mutex<VecDeque<Snapshot>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Notes {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    pub(crate) fn may_write(&self) -> bool {
        self.writing_runs
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
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

/// A registry over an empty store in memory; experiments begin with forks of it.
#[derive(Debug)]
pub struct Base {
    registry: Registry,
}

impl Base {
    /// Built once: the built-in kinds take a while.
    pub async fn build() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let supervisor = Supervisor::default();
        let config = quadrille_store::Config::default();
        let store = Store::open(config, Arc::clone(&clock), &supervisor).await.expect("memory");
        let random = Arc::new(SeededRandom::new(1));
        let config = quadrille_registry::Config::default();
        let registry = Registry::build(config, store, clock, random).expect("built-in data");
        registry.bootstrap().await.expect("an empty store takes it");
        Self { registry }
    }

    /// One experiment in memory, in this thread and in virtual time: the same seed gives the same history.
    pub fn simulate(&self, plan: Plan) -> History {
        let clock = Arc::new(ManualClock::default());
        VirtualTime::run(clock, async |time| {
            let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(time.clock());
            let store = Store::fork(&self.registry.store().snapshot(), Arc::clone(&shared));
            let random = Arc::new(SeededRandom::new(plan.seed));
            let registry = self.registry.fork(store, shared, random);
            let supervisor = Supervisor::default();
            let history = experiment(&registry, &supervisor, plan).await;
            supervisor.shutdown().start();
            history
        })
        .expect("a thread is there")
    }
}

/// Experiments on disk, one after the other, with real threads and real time; the store is opened again before the end
/// of the last one is noted.
pub async fn on_disk(dir: &Path, plans: &[Plan]) -> Vec<History> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let open = async |supervisor: &Supervisor| {
        let config = quadrille_store::Config {
            dir: Some(dir.to_owned()),
            ..quadrille_store::Config::default()
        };
        Store::open(config, Arc::clone(&clock), supervisor).await.expect("a directory of our own")
    };
    let supervisor = Supervisor::default();
    let store = open(&supervisor).await;
    let random = Arc::new(SystemRandom::default());
    let config = quadrille_registry::Config::default();
    let registry = Registry::build(config, store.clone(), Arc::clone(&clock), random);
    let registry = registry.expect("built-in data");
    registry.bootstrap().await.expect("the store takes it");
    let mut histories = Vec::new();
    for plan in plans {
        let of_one = Supervisor::default();
        histories.push(experiment(&registry, &of_one, *plan).await);
        of_one.stop(Duration::from_secs(20)).await;
    }
    store.close().await;
    drop((registry, store));
    let supervisor = Supervisor::default();
    let again = open(&supervisor).await;
    if let Some(last) = histories.last_mut() {
        last.end = objects_of(&again.snapshot());
    }
    again.close().await;
    histories
}

async fn experiment(registry: &Registry, supervisor: &Supervisor, plan: Plan) -> History {
    let resource = registry.resource_of(&Gvk::new("", "v1", "ConfigMap")).expect("built in");
    let notes = Arc::new(Notes {
        resource,
        clock: Arc::clone(registry.clock()),
        acknowledged: AtomicU64::default(),
        writing_runs: AtomicU64::new(plan.writing_runs),
        // No two experiments on one store have a write in common.
        next_write: AtomicU64::new(plan.seed << 20),
        runs: Mutex::default(),
        deeds: Mutex::default(),
        old: Mutex::default(),
    });
    for number in 0..3 {
        primary(registry, &notes, number).await;
    }
    let snapshot = registry.store().snapshot();
    let (start, begin) = (objects_of(&snapshot), snapshot.revision());
    let config = Config { builtin: false, slots: 3, ..Config::default() };
    let runtime = Runtime::build(config, registry.clone(), supervisor.clone());
    runtime.start();
    for number in 0..plan.controllers {
        let seed = plan.seed ^ (number << 32);
        let program = Program { seed, notes: Arc::clone(&notes), plant: plan.plant };
        runtime.add(spec(number), Arc::new(program)).expect("a new name");
    }
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..plan.clients {
        let (registry, notes) = (registry.clone(), Arc::clone(&notes));
        clients.spawn(client(registry, notes, plan, number));
    }
    disturb(&runtime, &notes, plan).await;
    clients.join_all().await;
    rest(&runtime, registry).await;
    let txns = txns_of(registry.store(), begin).await;
    let end = objects_of(&registry.store().snapshot());
    let (runs, deeds) = (lock(&notes.runs).clone(), lock(&notes.deeds).clone());
    History { start, start_revision: begin.0, txns, runs, deeds, end }
}

/// An object that controllers run for; nobody in the experiment writes it.
async fn primary(registry: &Registry, notes: &Notes, number: u64) {
    let name = format!("p{number}");
    let object = json!({"metadata": {"name": name, "labels": {"run": "yes"}}});
    let action = Action::Create(Body::from(object));
    let target = Target {
        resource: Arc::clone(&notes.resource),
        namespace: "default".into(),
        name: None,
        subresource: None,
    };
    let (options, actor) = (WriteOptions::default(), Actor::default());
    let request = WriteRequest { target, action, options, actor };
    let cause = Cause::Request(RequestCause::default());
    if let Err(status) = registry.submit(&request, cause).await {
        // An experiment before this one made it.
        assert_eq!(status.reason, Reason::AlreadyExists, "{status:?}");
    }
}

fn spec(number: u64) -> ControllerSpec {
    let name: Arc<str> = format!("program-{number}").into();
    ControllerSpec {
        name: Arc::clone(&name),
        plugin: "model".into(),
        digest: "sha256:0".into(),
        primary: GroupResource::new("", "configmaps"),
        version: "v1".into(),
        selector: LabelSelector::parse("run=yes").expect("a selector"),
        concurrency: 2,
        resync: None,
        finalizer: None,
        field_manager: name,
        grant: Grant { unlimited: true, ..Grant::default() },
    }
}

/// Writes and looks, and notes it.
async fn client(registry: Registry, notes: Arc<Notes>, plan: Plan, number: u64) {
    let random = SeededRandom::new(plan.seed.rotate_left(17) ^ number);
    for _ in 0..plan.deeds {
        if random.below(2) == 0 {
            notes.sleep(Duration::from_micros(random.below(4_000))).await;
        }
        let deed = if random.below(2) == 0 {
            Some(look(&registry, &notes, &random).await)
        } else {
            write(&registry, &notes, &random).await
        };
        lock(&notes.deeds).extend(deed);
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
    let reads = vec![
        crate::history::Read::List { choice, found },
        crate::history::Read::Get { name, found: got },
    ];
    Deed::Looked { acknowledged, at: snapshot.revision().0, reads }
}

/// A write; none when it was refused, because somebody else was first.
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
    let revision = if random.below(8) == 0 {
        // A client that goes away: what it asked for may happen, or not.
        tokio::select! {
            written = submitted => written.ok()?.revision.0,
            () = notes.sleep(Duration::from_micros(random.below(500))) => return None,
        }
    } else {
        submitted.await.ok()?.revision.0
    };
    notes.acknowledged.fetch_max(revision, Ordering::SeqCst);
    Some(Deed::Wrote { number, acknowledged, revision, name, tag })
}

/// Replaces, suspends and holds controllers while they work.
async fn disturb(runtime: &Runtime, notes: &Arc<Notes>, plan: Plan) {
    let random = SeededRandom::new(!plan.seed);
    for _ in 0..random.below(4) {
        notes.sleep(Duration::from_micros(random.below(6_000))).await;
        let number = random.below(plan.controllers);
        let name = ControllerName::new("model", format!("program-{number}"));
        let known = "the controller is there";
        match random.below(3) {
            0 => {
                let seed = random.next_u64();
                let program = Program { seed, notes: Arc::clone(notes), plant: plan.plant };
                runtime.replace(spec(number), Arc::new(program)).expect(known);
            }
            1 => {
                runtime.suspend(&name).expect(known);
                notes.sleep(Duration::from_micros(random.below(3_000))).await;
                runtime.resume(&name).expect(known);
            }
            _ => runtime.hold(&name, &key("p0"), Duration::from_micros(random.below(4_000))),
        }
    }
}

/// Waits until nobody has anything to do; runs that only look come to rest.
async fn rest(runtime: &Runtime, registry: &Registry) {
    for _ in 0..100 {
        let revision = registry.store().revision();
        if runtime.at_rest(revision, Duration::from_secs(30)).await.settled {
            return;
        }
    }
}

async fn txns_of(store: &Store, after: Revision) -> Vec<Txn> {
    let newest = store.revision();
    let mut txns: Vec<Txn> = Vec::new();
    let mut stream = store.changes(ChangeFilter::default(), after);
    while stream.position() < newest {
        for change in stream.next().await.expect("the history is kept").changes {
            let state = change.after().map(|object| state_of(object));
            let entry = (change.revision.0, change.key().name.as_ref().to_owned(), state);
            if let Some(open) = txns.last_mut().filter(|txn| txn.first == change.txn.0.0) {
                open.changes.push(entry);
                continue;
            }
            let maker = match change.cause.as_ref() {
                Cause::Run(run) => Maker::Run(run.run),
                Cause::Request(request) => {
                    let number = request.user.strip_prefix("client-").and_then(|n| n.parse().ok());
                    Maker::Client(number.unwrap_or(u64::MAX))
                }
                Cause::System(_) => Maker::Client(u64::MAX),
            };
            txns.push(Txn { first: change.txn.0.0, maker, changes: vec![entry] });
        }
    }
    txns
}

/// `k0` to `k9`.
fn is_of_model(name: &str) -> bool {
    name.len() == 2 && name.starts_with('k')
}

/// The objects of the experiment.
fn objects_of(snapshot: &Snapshot) -> Objects {
    let all = Query::whole(Range::all(GroupResource::new("", "configmaps")));
    let found = snapshot.list(&all);
    let found = found.iter().filter(|object| is_of_model(&object.key.name));
    found.map(|object| (object.key.name.as_ref().to_owned(), state_of(object))).collect()
}
