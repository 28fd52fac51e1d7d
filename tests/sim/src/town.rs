//! A play of several kinds on the whole host: owners and those that depend on them, a chain of controllers, namespaces that
//! come and go, a kind whose definition is deleted, money that moves between kinds, and spies that try what they may not.
//!
//! An app (a `ConfigMap`) wants parts (`Secret`s), each part a `Widget` (a custom kind), each widget its colour as status.
//! So what must be there in the end follows from the apps alone ([`judge`]). [`people`] are the clients, [`trade`] what
//! controllers do, [`spy`] those that are refused, [`kinds`] the words for all of them.

mod judge;
mod kinds;
mod people;
mod power;
mod spy;
mod trade;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::{Clock, Random, SeededRandom};
use quadrille_model::desk::Workshop;
use quadrille_object::GroupResource;
use quadrille_object::selector::LabelSelector;
use quadrille_registry::Registry;
use quadrille_runtime::{ControllerName, ControllerSpec, Grant, GrantRule, Reconciler, Runtime};
use quadrille_store::Snapshot;

use crate::law::{Always, Collecting, Law, Lodging, Rule};
use crate::play::{Life, Play};
use crate::witness::Witness;
use kinds::Kind;
use power::{Books, Power, Powers};

/// The plugin that all controllers belong to.
const PLUGIN: &str = "town";
/// How many runs may move money, or spy, or stumble; later ones only look.
const BUDGET: u64 = 30;

/// What is noted over all lives.
#[derive(Debug)]
pub struct Notes {
    seed: u64,
    budgets: [AtomicU64; 3],
    next_name: AtomicU64,
    books: Mutex<Books>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    wrong: Mutex<Vec<String>>,
    lives: Mutex<BTreeSet<u64>>,
    /// What runs at this moment, by controller and key.
    working: Workshop,
}

/// What there is only so much of.
#[derive(Clone, Copy, Debug)]
enum Budget {
    Money,
    Spying,
    Stumbling,
}

impl Notes {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            budgets: [BUDGET, BUDGET, BUDGET].map(AtomicU64::new),
            next_name: AtomicU64::new(10),
            books: Mutex::default(),
            counts: Mutex::default(),
            wrong: Mutex::default(),
            lives: Mutex::default(),
            working: Workshop::default(),
        }
    }

    /// Takes one of a budget, if there is one left.
    fn may(&self, what: Budget) -> bool {
        let left = &self.budgets[what as usize];
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    }

    fn next_name(&self) -> u64 {
        self.next_name.fetch_add(1, Ordering::SeqCst)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    /// Says that something cannot be.
    fn claim(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            lock(&self.wrong).push(what());
        }
    }

    /// Counts what happened, so that a play in which nothing happens is noticed.
    fn count(&self, what: &'static str) {
        *lock(&self.counts).entry(what).or_default() += 1;
    }

    /// What happened, by name.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.counts).clone()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits a little, or not, or lets others go first.
async fn pause(clock: &Arc<dyn Clock>, random: &SeededRandom, micros_max: u64) {
    match random.below(4) {
        0 => {}
        1 => clock.sleep(Duration::from_micros(random.below(micros_max))).await,
        _ => {
            for _ in 0..random.below(5) {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The chain from apps to painted widgets alone, where nothing is left to chance.
pub fn chain() -> Vec<(ControllerSpec, Arc<dyn Reconciler>)> {
    let trades = [
        (&JOBS[0], Power::of_fleet(), trade::plain(trade::fleet)),
        (&JOBS[1], Power::of_crew(), trade::plain(trade::crew)),
        (&JOBS[2], Power::of_paint(), trade::plain(trade::paint)),
    ];
    trades.map(|(job, power, trade)| (job.spec(&power, "sha256:0".to_owned()), trade)).into()
}

/// The definition of the kind that the chain ends with.
pub fn widget_definition() -> serde_json::Value {
    Kind::Widget.definition()
}

/// One controller, as it is added to a runtime.
struct Job {
    name: &'static str,
    primary: Kind,
    selector: &'static str,
    finalizer: Option<&'static str>,
}

impl Job {
    /// With a finalizer it may keep that on its objects, beside what else it may.
    fn grant(&self, power: &Power) -> Grant {
        let mut grant = power.grant();
        grant.rules.extend(self.finalizer.map(|_| GrantRule {
            group: self.primary.resource().group,
            resource: format!("{}/finalizers", self.primary.resource().resource).into(),
            verbs: vec!["update".into()],
            namespaces: Vec::new(),
        }));
        grant
    }

    fn spec(&self, power: &Power, digest: String) -> ControllerSpec {
        ControllerSpec {
            name: self.name.into(),
            plugin: PLUGIN.into(),
            digest: digest.into(),
            primary: self.primary.resource(),
            version: "v1".into(),
            selector: LabelSelector::parse(self.selector).expect("a selector"),
            concurrency: 2,
            resync: None,
            finalizer: self.finalizer.map(Into::into),
            field_manager: self.name.into(),
            grant: self.grant(power),
        }
    }
}

const JOBS: [Job; 7] = [
    Job { name: "fleet", primary: Kind::Map, selector: "app=yes", finalizer: None },
    Job { name: "crew", primary: Kind::Secret, selector: "part=yes", finalizer: None },
    Job {
        name: "paint",
        primary: Kind::Widget,
        selector: "part=yes",
        finalizer: Some("town.example/paint"),
    },
    Job { name: "smith", primary: Kind::Map, selector: "app=yes", finalizer: None },
    Job { name: "teller", primary: Kind::Map, selector: "teller=yes", finalizer: None },
    Job { name: "spy-0", primary: Kind::Map, selector: "spy=yes", finalizer: None },
    Job { name: "spy-1", primary: Kind::Map, selector: "spy=yes", finalizer: None },
];

/// The play.
#[derive(Clone, Debug)]
pub struct Town {
    notes: Arc<Notes>,
}

impl Town {
    /// Nobody has done anything yet.
    pub fn new(seed: u64) -> Self {
        Self { notes: Arc::new(Notes::new(seed)) }
    }

    /// What is noted.
    pub fn notes(&self) -> &Arc<Notes> {
        &self.notes
    }

    /// A new version of a controller, with a digest of its own.
    fn version(&self, job: &Job, random: &SeededRandom) -> (ControllerSpec, Arc<dyn Reconciler>) {
        let notes = Arc::clone(&self.notes);
        let (power, reconciler): (Power, Arc<dyn Reconciler>) = match job.name {
            "fleet" => (Power::of_fleet(), trade::worker(trade::fleet, notes)),
            "crew" => (Power::of_crew(), trade::worker(trade::crew, notes)),
            "paint" => (Power::of_paint(), trade::worker(trade::paint, notes)),
            "smith" => (Power::of_smith(), trade::worker(trade::smith, notes)),
            "teller" => (Power::of_teller(), trade::worker(trade::teller, notes)),
            _ => {
                let power = Power::random(random);
                (power.clone(), spy::spy(power, notes))
            }
        };
        let digest = self.notes.books().enlist(job.name, &power, job.finalizer.is_some());
        (job.spec(&power, digest), reconciler)
    }

    /// Replaces, removes, suspends and holds controllers while they work.
    async fn disturb(&self, registry: &Registry, runtime: &Runtime, life: u64) {
        let random = SeededRandom::new(!self.notes.seed ^ (life << 24));
        let known = "the controller is there";
        let clock = Arc::clone(registry.clock());
        for _ in 0..random.below(6) {
            clock.sleep(Duration::from_micros(random.below(5_000))).await;
            let at = usize::try_from(random.below(JOBS.len() as u64)).unwrap_or(0);
            let job = &JOBS[at];
            let name = ControllerName::new(PLUGIN, job.name);
            let was = self.notes.books().digest_of(job.name);
            match random.below(4) {
                0 | 1 => {
                    let (spec, reconciler) = self.version(job, &random);
                    runtime.replace(spec, reconciler).expect(known);
                    runtime.drained(&name).await.expect(known);
                    self.notes.books().retire(&was, registry.store().revision().0);
                    self.notes.count("swaps");
                }
                2 => {
                    runtime.suspend(&name).expect(known);
                    clock.sleep(Duration::from_micros(random.below(3_000))).await;
                    runtime.resume(&name).expect(known);
                }
                _ => {
                    runtime.remove(&name).expect(known);
                    clock.sleep(Duration::from_micros(random.below(2_000))).await;
                    let (spec, reconciler) = self.version(job, &random);
                    runtime.add(spec, reconciler).expect("it was removed");
                }
            }
        }
    }
}

impl Play for Town {
    async fn begin(&mut self, life: &Life<'_>) {
        people::found(life.registry).await;
    }

    fn enter(&self, life: &Life<'_>) {
        lock(&self.notes.lives).insert(life.number);
        self.notes.books().retire_all(life.registry.store().revision().0);
        let random = SeededRandom::new(self.notes.seed.rotate_left(9) ^ life.number);
        self.notes.working.clear();
        for job in &JOBS {
            let (spec, reconciler) = self.version(job, &random);
            life.runtime.add(spec, reconciler).expect("a new name");
        }
    }

    async fn act(&self, life: &Life<'_>) {
        let mut people = tokio::task::JoinSet::new();
        for number in 0..3 {
            let (notes, registry) = (Arc::clone(&self.notes), life.registry.clone());
            people.spawn(people::live(notes, registry, number | (life.number << 16)));
        }
        self.disturb(life.registry, life.runtime, life.number).await;
        people.join_all().await;
    }

    async fn tidy(&self, life: &Life<'_>) {
        people::release_all(life.registry).await;
    }

    fn resources(&self) -> Vec<GroupResource> {
        [Kind::Map, Kind::Secret, Kind::Widget, Kind::Namespace].map(Kind::resource).into()
    }

    fn laws(&self) -> Vec<Box<dyn Law>> {
        vec![
            Box::new(Lodging),
            Box::<Collecting>::default(),
            Box::new(Always(trade::money_is_kept)),
            Box::new(Powers::new(Arc::clone(&self.notes))),
        ]
    }

    fn rule(&self) -> Option<Rule> {
        Some(trade::money_is_kept)
    }

    fn judge(&self, end: &Snapshot, _witness: &Witness, at_rest: bool) -> Vec<String> {
        let mut wrong = lock(&self.notes.wrong).clone();
        if !at_rest {
            wrong.push("somebody has something to do for ever".to_owned());
        }
        wrong.extend(judge::judge(end, lock(&self.notes.lives).len()));
        wrong
    }

    fn acknowledged(&self) -> usize {
        usize::try_from(self.notes.counts().get("acknowledged").copied().unwrap_or(0)).unwrap_or(0)
    }
}
