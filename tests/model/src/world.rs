//! The experiment: a store, a registry, a runtime with random controllers, and random clients beside them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::{
    Clock, ManualClock, Random, SeededRandom, Supervisor, SystemClock, SystemRandom, VirtualTime,
};
use quadrille_object::GroupResource;
use quadrille_registry::Registry;
use quadrille_runtime::{Config, ControllerStats, Runtime};
use quadrille_store::{Cause, Change, ChangeFilter, Query, Range, Revision, Snapshot, Store, View};

use crate::cast::Cast;
use crate::history::{History, Maker, Objects, Txn};
use crate::program::state_of;

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
    let cast = Cast::new(plan, registry);
    cast.set_up(registry).await;
    let snapshot = registry.store().snapshot();
    let (start, begin) = (objects_of(&snapshot), snapshot.revision());
    let config = Config { builtin: false, slots: 3, ..Config::default() };
    let runtime = Runtime::build(config, registry.clone(), supervisor.clone());
    runtime.start();
    cast.enter(&runtime);
    cast.act(registry, &runtime, 0).await;
    let at_rest = rest(&runtime, registry).await;
    let txns = txns_of(registry.store(), begin).await;
    let end = objects_of(&registry.store().snapshot());
    let (runs, deeds, met) = (cast.runs(), cast.deeds(), cast.met());
    let late = BTreeSet::new();
    History { start, start_revision: begin.0, txns, runs, deeds, met, late, at_rest, end }
}

/// Waits until nobody has anything to do, not even later; runs that only look come to rest. False when they do not.
pub async fn rest(runtime: &Runtime, registry: &Registry) -> bool {
    for _ in 0..1_000 {
        let revision = registry.store().revision();
        let settled = runtime.at_rest(revision, Duration::from_secs(30)).await.settled;
        let waits = |stats: &ControllerStats| stats.failing + stats.timers > 0;
        if settled && !runtime.stats(None).iter().any(waits) {
            return true;
        }
        registry.clock().sleep(Duration::from_millis(1)).await;
    }
    false
}

async fn txns_of(store: &Store, after: Revision) -> Vec<Txn> {
    let newest = store.revision();
    let mut txns: Vec<Txn> = Vec::new();
    let mut stream = store.changes(ChangeFilter::default(), after);
    while stream.position() < newest {
        for change in stream.next().await.expect("the history is kept").changes {
            note_change(&mut txns, &change);
        }
    }
    txns
}

/// Adds the next change of the store to the transactions.
pub fn note_change(txns: &mut Vec<Txn>, change: &Change) {
    let state = change.after().map(|object| state_of(object));
    let is_map = *change.key().resource.resource == *"configmaps";
    // What is none of the experiment's has no name here: it takes a revision and nothing else.
    let name = if is_map { change.key().name.as_ref() } else { "" };
    let entry = (change.revision.0, name.to_owned(), state);
    if let Some(open) = txns.last_mut().filter(|txn| txn.first == change.txn.0.0) {
        open.changes.push(entry);
        return;
    }
    let maker = match change.cause.as_ref() {
        _ if !is_map => Maker::Other(change.revision.0),
        Cause::Run(run) => Maker::Run(run.run),
        Cause::Request(request) => {
            let number = request.user.strip_prefix("client-").and_then(|n| n.parse().ok());
            Maker::Client(number.unwrap_or(u64::MAX))
        }
        Cause::System(_) => Maker::Client(u64::MAX),
    };
    txns.push(Txn { first: change.txn.0.0, maker, changes: vec![entry] });
}

/// `k0` to `k9`.
fn is_of_model(name: &str) -> bool {
    name.len() == 2 && name.starts_with('k')
}

/// The objects of the experiment.
pub fn objects_of(snapshot: &Snapshot) -> Objects {
    let all = Query::whole(Range::all(GroupResource::new("", "configmaps")));
    let found = snapshot.list(&all);
    let found = found.iter().filter(|object| is_of_model(&object.key.name));
    found.map(|object| (object.key.name.as_ref().to_owned(), state_of(object))).collect()
}
