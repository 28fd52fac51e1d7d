//! Many who want to run: a key that changes all the time, controllers that take their whole time each time, and others
//! that want little now and then. How long must those wait?
//!
//! Time is virtual, so a wait is what the order of runs makes it, and not what the machine does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, ManualClock, Random, SeededRandom, Supervisor, VirtualTime};
use quadrille_model::desk;
use quadrille_registry::{Action, Body, PatchFormat, Registry, Status, WriteOptions};
use quadrille_runtime::{
    Config, Failure, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler, Runtime,
};
use quadrille_store::Store;
use serde_json::{Value, json};

use crate::stage::Stage;

/// How long a run of a slow controller takes: its whole time.
pub const SLOW: Duration = Duration::from_secs(1);
/// How long a run of the hot key takes.
const HOT: Duration = Duration::from_millis(4);
/// How often the hot key is changed.
const HAMMER: Duration = Duration::from_millis(3);
/// How long a run of the others takes.
const SHORT: Duration = Duration::from_millis(1);
/// How many keys each controller has.
pub const KEYS: u64 = 4;

/// Who is there.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Decides when what happens.
    pub seed: u64,
    /// How many runs there are at once.
    pub slots: usize,
    /// How many controllers take their whole time.
    pub slow: u64,
    /// How many want little.
    pub others: u64,
    /// Whether others' keys belong to the hot key's controller, too.
    pub shared: bool,
    /// Whether runs write.
    pub writes: bool,
    /// How long it lasts; what is changed in the first half is not looked at.
    pub lasts: Duration,
}

/// How long they waited.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// For each change of another's key, from the change to the end of a run that saw it.
    pub others: Vec<Duration>,
    /// The same of the keys that belong to the hot key's controller, which counts as greedy with all its keys.
    pub beside: Vec<Duration>,
    /// The changes that no run saw.
    pub unseen: usize,
    /// The runs of each key of slow controllers.
    pub slow: BTreeMap<String, usize>,
    /// The runs of the hot key.
    pub hot: usize,
    /// The most runs of the hot key while one other key waited.
    pub hot_meanwhile: usize,
}

/// A run: which key, what it saw, when it ended.
type Ran = (String, u64, Duration);

#[derive(Debug, Default)]
struct Notes {
    changed: Mutex<Vec<Ran>>,
    ran: Mutex<Vec<Ran>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Taking {
    time: Duration,
    again: bool,
    writes: bool,
    notes: Arc<Notes>,
}

impl fmt::Debug for Taking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taking").field("time", &self.time).finish_non_exhaustive()
    }
}

impl Reconciler for Taking {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let clock = Arc::clone(overlay.registry().clock());
            clock.sleep(self.time).await;
            let saw = overlay.revision().0;
            let ran = (request.key.name.to_string(), saw, clock.monotonic());
            lock(&self.notes.ran).push(ran);
            let mut result = if self.again {
                Ok(Outcome::DoneUntil(Duration::from_millis(1)))
            } else {
                Ok(Outcome::Done)
            };
            if self.writes
                && let Err(status) = sign(&mut overlay, &request)
            {
                result = Err(Failure::Transient(status.message));
            }
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

/// Writes down on the object that it was seen.
fn sign(overlay: &mut Overlay, request: &ReconcileRequest) -> Result<(), Status> {
    let seen = json!({"metadata": {"annotations": {"seen": overlay.revision().0.to_string()}}});
    let target = desk::target(overlay.registry(), Some(&request.key.name));
    let action = Action::Patch(PatchFormat::Merge, Body::from(seen));
    overlay.write(target, action, WriteOptions::default()).map(drop)
}

async fn submit(registry: &Registry, name: Option<&str>, action: Action) -> u64 {
    desk::submit(registry, name, action).await.expect("memory takes it").0
}

fn touched(number: u64) -> Action {
    let patch = json!({"data": {"n": number.to_string()}});
    Action::Patch(PatchFormat::Merge, Body::from(patch))
}

impl Crowd {
    /// The crowd of a seed.
    pub fn of(seed: u64) -> Self {
        let random = SeededRandom::new(seed ^ 0xc0de);
        Self {
            seed,
            slots: usize::try_from(2 + random.below(4)).unwrap_or(2),
            slow: 1 + random.below(3),
            others: 1 + random.below(3),
            shared: random.below(2) == 0,
            writes: random.below(2) == 0,
            lasts: SLOW * 16,
        }
    }

    /// The controllers: name, how long a run takes, whether it wants to run again at once.
    fn controllers(&self) -> Vec<(String, Duration, bool)> {
        let slow = (0..self.slow).map(|number| (format!("slow-{number}"), SLOW, true));
        let others = (0..self.others).map(|number| (format!("other-{number}"), SHORT, false));
        let hot = [("hot".to_owned(), HOT, false)];
        slow.chain(others).chain(hot).collect()
    }

    /// The keys that somebody changes now and then.
    fn quiet_keys(&self) -> Vec<String> {
        let all = (0..self.others).map(|number| format!("other-{number}"));
        let all = all.chain(self.shared.then(|| "hot".to_owned()));
        all.flat_map(|name| (0..KEYS).map(move |key| format!("{name}.{key}"))).collect()
    }

    async fn set_up(&self, registry: &Registry) {
        for (name, _, _) in self.controllers() {
            for key in 0..KEYS {
                let object: Value = json!({"metadata": {
                    "name": format!("{name}.{key}"), "labels": {"role": name},
                }});
                submit(registry, None, Action::Create(Body::from(object))).await;
            }
        }
        let object = json!({"metadata": {"name": "burning", "labels": {"role": "hot"}}});
        submit(registry, None, Action::Create(Body::from(object))).await;
    }

    fn enter(&self, runtime: &Runtime, notes: &Arc<Notes>) {
        for (name, time, again) in self.controllers() {
            let spec = desk::spec(&name, &format!("role={name}"), 8);
            let (writes, notes) = (self.writes && !again, Arc::clone(notes));
            runtime.add(spec, Arc::new(Taking { time, again, writes, notes })).expect("a new name");
        }
    }

    /// Changes the quiet keys now and then, and notes when.
    async fn change(&self, registry: &Registry, notes: &Notes) {
        let (clock, random) = (registry.clock(), SeededRandom::new(self.seed ^ 0xbeef));
        let keys = self.quiet_keys();
        for number in 0.. {
            clock.sleep(Duration::from_micros(random.below(40_000))).await;
            let at = usize::try_from(random.below(keys.len() as u64)).unwrap_or(0);
            let revision = submit(registry, Some(&keys[at]), touched(number)).await;
            lock(&notes.changed).push((keys[at].clone(), revision, clock.monotonic()));
        }
    }
}

impl Stage {
    /// How long who waits in a crowd.
    ///
    /// # Panics
    /// When the operating system has no thread to give.
    pub fn crowd(&self, crowd: Crowd) -> Waits {
        let notes = Arc::new(Notes::default());
        let shared = Arc::clone(&notes);
        let lived = VirtualTime::run(Arc::new(ManualClock::default()), async |time| {
            let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(time.clock());
            let store = Store::fork(&self.registry().store().snapshot(), Arc::clone(&clock));
            let random = Arc::new(SeededRandom::new(crowd.seed));
            let registry = self.registry().fork(store, Arc::clone(&clock), random);
            let supervisor = Supervisor::default();
            let config = Config { builtin: false, slots: crowd.slots, ..Config::default() };
            let runtime = Runtime::build(config, registry.clone(), supervisor.clone());
            runtime.start();
            crowd.set_up(&registry).await;
            crowd.enter(&runtime, &shared);
            let hammer = async {
                for number in 0.. {
                    submit(&registry, Some("burning"), touched(number)).await;
                    clock.sleep(HAMMER).await;
                }
            };
            tokio::select! {
                biased;
                () = clock.sleep(crowd.lasts) => {}
                () = hammer => {}
                () = crowd.change(&registry, &shared) => {}
            }
            // What was changed last is still seen.
            clock.sleep(SLOW).await;
            supervisor.shutdown().start();
        });
        lived.expect("a thread is there");
        judge(&notes, crowd.lasts / 2)
    }
}

fn judge(notes: &Notes, from: Duration) -> Waits {
    let (changed, ran) = (lock(&notes.changed), lock(&notes.ran));
    let mut waits = Waits::default();
    for (key, revision, at) in changed.iter().filter(|(_, _, at)| *at >= from) {
        let saw = |run: &&Ran| run.0 == *key && run.1 >= *revision;
        let Some((_, _, end)) = ran.iter().find(saw) else {
            waits.unseen += 1;
            continue;
        };
        let meanwhile = ran.iter().filter(|run| run.0 == "burning" && run.2 > *at && run.2 <= *end);
        waits.hot_meanwhile = waits.hot_meanwhile.max(meanwhile.count());
        let waited = if key.starts_with("hot") { &mut waits.beside } else { &mut waits.others };
        waited.push(end.saturating_sub(*at));
    }
    for (key, _, _) in ran.iter() {
        if key.starts_with("slow") {
            *waits.slow.entry(key.clone()).or_default() += 1;
        }
        waits.hot += usize::from(key == "burning");
    }
    waits
}
