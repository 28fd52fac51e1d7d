//! One seed, from the first life of a host to the end of its last.
//!
//! A life: the store is opened where the life before left it, registry and runtime are built anew, whoever plays goes on,
//! and at some moment it ends: as it should, by a kill, by a power cut. Tasks end at whatever they wait for, as they
//! would with their process. In the last life everything heals, the host comes to rest, and hours pass in which it must
//! do nothing. Then all books are compared.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quadrille_disk::SimDisk;
use quadrille_kit::{Clock, ManualClock, Random as _, SeededRandom, Supervisor, VirtualTime};
use quadrille_model::world::rest;
use quadrille_registry::Registry;
use quadrille_runtime::{Config, Runtime};
use quadrille_store::{ChangeFilter, OpenError, Store, View};

use crate::audience::{Audience, seat};
use crate::figures::Figures;
use crate::ground::{End, Ground};
use crate::look::{self, Seen};
use crate::play::{Life, Play};
use crate::reflector::Reflector;
use crate::watcher::Watcher;
use crate::weather::Weather;
use crate::witness::{Witness, sum_of};

/// How long nothing may happen once everything is settled.
const QUIET: Duration = Duration::from_hours(6);
/// How often a store is opened under trouble before the trouble ends.
const OPENINGS_MAX: u32 = 4;
/// How often rest is awaited for a second and more.
const RESTS_MAX: u32 = 40;
/// How often a start is tried again.
const STARTS_MAX: u32 = 50;

/// What one seed does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// How many lives the host has.
    pub lives: u64,
    /// How many watch.
    pub watchers: u64,
    /// Whether the disk fails now and then.
    pub trouble: bool,
    /// Whether the wall clock jumps.
    pub jumps: bool,
    /// Whether the host's own controllers run.
    pub builtin: bool,
    /// How long a life that is cut off lasts at most.
    pub life_max: Duration,
}

impl Plan {
    /// What this seed does where nothing is asked for.
    pub fn of(seed: u64) -> Self {
        let random = SeededRandom::new(seed ^ 0xf1a9);
        Self {
            seed,
            lives: 1 + random.below(5),
            watchers: 3 + random.below(4),
            trouble: random.below(2) == 0,
            jumps: random.below(2) == 0,
            builtin: false,
            life_max: Duration::from_millis(15),
        }
    }
}

/// A disk with a new store, and the built-in kinds; seeds begin with copies of it.
#[derive(Debug)]
pub struct Stage {
    disk: SimDisk,
    registry: Registry,
}

/// What goes on through all lives of one seed.
struct Going<'a, P> {
    stage: &'a Stage,
    plan: Plan,
    play: P,
    random: SeededRandom,
    ground: Ground,
    clock: Arc<ManualClock>,
    weather: Arc<Weather>,
    witness: Option<Witness>,
    watchers: Vec<Watcher>,
    reflector: Option<Reflector>,
    seen: Arc<Mutex<Vec<Seen>>>,
    figures: Figures,
}

impl Stage {
    /// Built once: the built-in kinds take a while.
    ///
    /// # Panics
    /// When a new store cannot be made on a disk that works.
    pub fn build() -> Self {
        let clock = Arc::new(ManualClock::default());
        let built = VirtualTime::run(clock, async |time| {
            let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(time.clock());
            let disk = SimDisk::new(1);
            let config = quadrille_store::Config { disk: Some(disk.boot()), ..Default::default() };
            let store = Store::open(config, Arc::clone(&clock), &Supervisor::default()).await;
            let store = store.expect("a new store on a good disk");
            let random = Arc::new(SeededRandom::new(1));
            let config = quadrille_registry::Config::default();
            let registry = Registry::build(config, store.clone(), clock, random);
            let registry = registry.expect("built-in data");
            registry.bootstrap().await.expect("an empty store takes it");
            store.close().await;
            Self { disk, registry }
        });
        built.expect("a thread is there")
    }

    pub(crate) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Runs one seed; answers what there was of it, or what is wrong.
    ///
    /// # Errors
    /// Everything that cannot be, in words.
    ///
    /// # Panics
    /// When the operating system has no thread to give.
    pub fn run<P: Play>(&self, plan: Plan, play: P) -> Result<Figures, Vec<String>> {
        let clock = Arc::new(ManualClock::default());
        let mut going = Going {
            stage: self,
            plan,
            play,
            random: SeededRandom::new(plan.seed),
            ground: Ground::new(&self.disk, plan.seed),
            weather: Arc::new(Weather::new(Arc::clone(&clock))),
            clock,
            witness: None,
            watchers: Vec::new(),
            reflector: None,
            seen: Arc::default(),
            figures: Figures { seeds: 1, ..Figures::default() },
        };
        for number in 0..plan.lives {
            let end = match going.random.below(5) {
                _ if number + 1 == plan.lives => End::Stop,
                0 => End::Stop,
                1 | 2 => End::Kill,
                _ => End::PowerCut,
            };
            let clock = Arc::clone(&going.clock);
            let lived = VirtualTime::run(clock, async |_| going.live(number, end).await);
            lived.expect("a thread is there");
        }
        going.verdict()
    }
}

impl<P: Play> Going<'_, P> {
    /// What is wrong; of what came after history went without being heard, nothing can be said.
    fn verdict(mut self) -> Result<Figures, Vec<String>> {
        let witness = self.witness.take().unwrap_or_default();
        let (wrong, missed) = match witness.wrong_before_miss() {
            Some(mut wrong) => {
                if !self.ground.forgets() {
                    wrong.push("the witness found history gone that is kept".to_owned());
                }
                (wrong, true)
            }
            None => (witness.wrong(), false),
        };
        match (wrong.is_empty(), missed) {
            (false, _) => Err(wrong),
            (true, true) => Ok(Figures { seeds: 1, unseen: 1, ..Figures::default() }),
            (true, false) => Ok(self.figures),
        }
    }

    async fn live(&mut self, number: u64, end: End) {
        let supervisor = Supervisor::default();
        let is_last = number + 1 == self.plan.lives;
        let store = self.open(number, &supervisor).await;
        let witness = self.witness.get_or_insert_with(|| Witness::new(&store.snapshot())).clone();
        self.greet(&store, &witness).await;
        let (registry, runtime) = self.build(number, &store, &supervisor);
        // A host that cannot write at its start does not start; this one tries again until it can.
        for _ in 0..STARTS_MAX {
            if !self.plan.builtin || registry.bootstrap().await.is_ok() {
                break;
            }
            self.clock.sleep(Duration::from_millis(1)).await;
        }
        let life = Life { number, registry: &registry, runtime: &runtime };
        let first_run = runtime.next_run();
        if number == 0 {
            witness.uphold(self.play.laws());
            self.play.begin(&life).await;
            let resources = self.play.resources();
            self.reflector = Some(Reflector::new(&store, self.plan.seed, self.play.rule()));
            let (seed, start) = (self.plan.seed, store.revision().0);
            let watchers =
                (0..self.plan.watchers).map(|number| Watcher::new(seed, number, start, &resources));
            self.watchers = watchers.collect();
        }
        self.play.enter(&life);
        let audience = self.attend(number, &store, &witness);
        if self.plan.trouble && self.random.below(2) == 0 {
            if is_last {
                // What passes: whoever was refused has to try again by itself.
                self.ground.passing_trouble(&self.random);
            } else {
                self.ground.trouble(&self.random);
            }
        }
        let micros = u64::try_from(self.plan.life_max.as_micros()).unwrap_or(u64::MAX);
        let cut = Duration::from_micros(1 + self.random.below(micros));
        let cut_off = async {
            match end {
                End::Stop => std::future::pending().await,
                End::Kill | End::PowerCut => self.clock.sleep(cut).await,
            }
        };
        let was_cut = tokio::select! {
            biased;
            () = self.play.act(&life) => false,
            () = cut_off => true,
        };
        self.figures.lives += 1;
        self.figures.runs += runtime.next_run() - first_run;
        match end {
            End::Stop => {
                audience.lookers.shutdown().start();
                if is_last {
                    self.settle(&life, &store, &audience).await;
                }
                audience.leave();
                self.stop(&store, &supervisor, is_last).await;
            }
            End::Kill => {
                // Whoever has the disk now has it no more.
                let _next = self.ground.disk().boot();
                self.figures.kills += u64::from(was_cut);
            }
            End::PowerCut => {
                self.ground.disk().cut_power();
                self.figures.power_cuts += u64::from(was_cut);
            }
        }
        audience.leave();
        supervisor.shutdown().start();
    }

    /// Opens the store, in the midst of trouble perhaps: a crash while it recovers, and another one.
    async fn open(&mut self, number: u64, supervisor: &Supervisor) -> Store {
        let clock: Arc<dyn Clock> = Arc::<Weather>::clone(&self.weather);
        for _ in 0..OPENINGS_MAX {
            if number == 0 || !self.plan.trouble || self.random.below(3) > 0 {
                break;
            }
            self.ground.trouble(&self.random);
            match self.ground.open(Arc::clone(&clock), supervisor).await {
                Ok(store) => return store,
                Err(OpenError::Io { .. }) => self.figures.openings += 1,
                Err(error) => self.say(format!("a store cannot be opened: {error}")),
            }
        }
        self.ground.disk().heal();
        match self.ground.open(clock, supervisor).await {
            Ok(store) => store,
            Err(error) => {
                self.say(format!("a store cannot be opened on a good disk: {error}"));
                let memory = quadrille_store::Config::default();
                let clock: Arc<dyn Clock> = Arc::<Weather>::clone(&self.weather);
                Store::open(memory, clock, supervisor).await.expect("memory opens")
            }
        }
    }

    fn say(&self, what: String) {
        if let Some(witness) = &self.witness {
            witness.claim(false, || what);
        }
    }

    /// A store that was opened has everything that anybody was told of, and nothing else.
    async fn greet(&self, store: &Store, witness: &Witness) {
        witness.check_again(store).await;
        witness.hear_late(store).await;
        let snapshot = store.snapshot();
        witness.check_sum("the opened store", snapshot.revision().0, sum_of(&snapshot), true);
        let found = look::indexes(&snapshot);
        witness.claim(found.is_ok(), || format!("after opening: {found:?}"));
    }

    fn build(&self, number: u64, store: &Store, supervisor: &Supervisor) -> (Registry, Runtime) {
        let clock: Arc<dyn Clock> = Arc::<Weather>::clone(&self.weather);
        let random = Arc::new(SeededRandom::new(self.plan.seed ^ ((number + 1) << 48)));
        let registry = self.stage.registry.fork(store.clone(), clock, random);
        registry.set_supervisor(supervisor.clone());
        supervisor.spawn("roles", registry.clone().keep_access(supervisor.shutdown()));
        supervisor.spawn("quotas", registry.clone().keep_quotas(supervisor.shutdown()));
        // Events are kept: that they expire is a timer, and not what is settled.
        let config =
            Config { builtin: self.plan.builtin, slots: 3, event_life: None, ..Config::default() };
        let runtime = Runtime::build(config, registry.clone(), supervisor.clone());
        runtime.start();
        (registry, runtime)
    }

    /// Those who watch and look, and the weather.
    fn attend(&self, number: u64, store: &Store, witness: &Witness) -> Audience {
        let (lookers, listeners) = (Supervisor::default(), Supervisor::default());
        let clock: Arc<dyn Clock> = Arc::<Weather>::clone(&self.weather);
        let follow = witness.clone().follow(store.clone(), Arc::clone(&clock));
        seat(&listeners, Box::pin(follow));
        for watcher in &self.watchers {
            let of = (store.clone(), witness.clone());
            let (calm, seen) = (lookers.shutdown(), Arc::clone(&self.seen));
            let watch = watcher.clone().watch(of, Arc::clone(&clock), calm, seen);
            seat(&listeners, Box::pin(watch));
        }
        let seed = self.plan.seed ^ (number << 32) ^ 0x100;
        let (store, witness) = (store.clone(), witness.clone());
        if let Some(reflector) = self.reflector.clone() {
            let (store, witness, seen) = (store.clone(), witness.clone(), Arc::clone(&self.seen));
            let reflect = Box::pin(reflector.reflect(store, witness, Arc::clone(&clock), seen));
            seat(&listeners, reflect);
        }
        let (rule, seen) = (self.play.rule(), Arc::clone(&self.seen));
        let looking = look::keep_looking(store, witness, (clock, seed), rule, seen);
        seat(&lookers, Box::pin(looking));
        if self.plan.jumps {
            let weather = Arc::clone(&self.weather);
            let random = SeededRandom::new(seed ^ 0x200);
            let jumping = async move {
                for _ in 0..4 {
                    weather.sleep(Duration::from_micros(random.below(8_000))).await;
                    weather.jump(&random);
                }
            };
            seat(&lookers, Box::pin(jumping));
        }
        Audience { lookers, listeners }
    }

    /// The end of the last life: everything heals, comes to rest and is judged.
    async fn settle(&mut self, life: &Life<'_>, store: &Store, audience: &Audience) {
        self.figures.faults = self.ground.disk().faults();
        self.ground.disk().heal();
        self.play.tidy(life).await;
        let mut at_rest = false;
        for _ in 0..RESTS_MAX {
            // Whoever failed often waits long.
            at_rest = at_rest || rest(life.runtime, life.registry).await;
            if !at_rest {
                self.clock.sleep(Duration::from_secs(30)).await;
            }
        }
        if !at_rest {
            let busy = life.runtime.stats(None).into_iter();
            let busy = busy.filter(|stats| stats.failing + stats.timers + stats.queued > 0);
            let busy: Vec<_> = busy.map(|stats| (stats.controller, stats.last_error)).collect();
            self.say(format!("no rest: {busy:?}"));
        }
        self.stay_quiet(life, store).await;
        audience.leave();
        self.check_told(store);
        self.judge(life, store, at_rest).await;
    }

    /// Whoever only waited has been told everything: nobody opens a stream anew for that.
    fn check_told(&self, store: &Store) {
        let Some(witness) = &self.witness else { return };
        let (heard, newest) = (witness.position(), store.revision().0);
        witness.claim(heard == newest, || {
            format!("the witness waits at {heard} and is not told of what came up to {newest}")
        });
        for watcher in &self.watchers {
            watcher.check_told(witness);
        }
        if let Some(reflector) = &self.reflector {
            reflector.check_told(store, witness);
        }
    }

    /// A life that ends as it should; after the last one the store is opened once more.
    async fn stop(&mut self, store: &Store, supervisor: &Supervisor, last: bool) {
        self.ground.disk().heal();
        let sum = (store.revision(), sum_of(&store.snapshot()));
        supervisor.shutdown().start();
        store.close().await;
        if last {
            let clock: Arc<dyn Clock> = Arc::<Weather>::clone(&self.weather);
            match self.ground.open(clock, &Supervisor::default()).await {
                Ok(again) => {
                    let now = (again.revision(), sum_of(&again.snapshot()));
                    if now != sum {
                        self.say(format!("{sum:?} was closed, and {now:?} is opened"));
                    }
                }
                Err(error) => self.say(format!("what was closed cannot be opened: {error}")),
            }
        }
    }

    /// A settled system does nothing.
    async fn stay_quiet(&mut self, life: &Life<'_>, store: &Store) {
        let before = (life.runtime.next_run(), store.revision());
        self.clock.sleep(QUIET).await;
        let after = (life.runtime.next_run(), store.revision());
        if before != after {
            let mut stream = store.changes(ChangeFilter::default(), before.1);
            let changes = stream.try_next().ok().flatten().map(|batch| batch.changes);
            let told = changes
                .iter()
                .flatten()
                .map(|change| format!("{:?} {} by {:?}", change.kind, change.key(), change.cause));
            let told: Vec<String> = told.collect();
            self.say(format!("at rest at {before:?}, and hours later at {after:?}: {told:?}"));
        }
        self.figures.quiet_hours += QUIET.as_secs() / 3600;
    }

    async fn judge(&mut self, life: &Life<'_>, store: &Store, at_rest: bool) {
        let Some(witness) = self.witness.clone() else { return };
        witness.catch_up(store).await;
        let snapshot = store.snapshot();
        witness.check_sum("the end", snapshot.revision().0, sum_of(&snapshot), true);
        for watcher in &self.watchers {
            watcher.finish(store, &witness, &self.seen).await;
            let (events, resumes, relists) = watcher.check(&witness);
            if relists > 0 && !self.ground.forgets() {
                self.say(format!("history was gone that is kept: {watcher:?}"));
            }
            self.figures.events += events;
            self.figures.resumes += resumes;
            self.figures.relists += relists;
        }
        if let Some(reflector) = &self.reflector {
            reflector.finish(store, &witness, &self.seen).await;
            if reflector.relists() > 0 && !self.ground.forgets() {
                self.say(format!("a cache found history gone that is kept: {reflector:?}"));
            }
        }
        let served = look::served(life.registry, &self.stage.registry);
        witness.claim(served.is_ok(), || format!("{served:?}"));
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.figures.looks += look::judge(&witness, &seen);
        for what in self.play.judge(&snapshot, &witness, at_rest) {
            self.say(what);
        }
        self.figures.changes += witness.changes();
        self.figures.deeds += self.play.acknowledged();
    }
}
