//! Controllers that fight over a field, and some that only look as if they did, on a runtime in virtual time.
//!
//! Who is first, and how long anybody takes, follows from the seed. The detector sees the changes afterwards, in their
//! order, as it would have on the way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quadrille_insight::Fight;
use quadrille_insight::fights::Detector;
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, ManualClock, Random, SeededRandom, Supervisor, VirtualTime};
use quadrille_model::desk;
use quadrille_registry::{Action, Body, PatchFormat, Registry, Status, WriteOptions};
use quadrille_runtime::{
    Config, Failure, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler, Runtime,
};
use quadrille_store::{ChangeFilter, Key, Store};
use serde_json::{Value, json};

use crate::stage::Stage;

/// What one controller does to the object that it runs for: a patch, when it wants one.
type Wish = fn(&Value, &ReconcileRequest) -> Option<Value>;

/// Controllers on one object.
#[derive(Clone, Copy)]
pub struct Brawl {
    /// What it is about.
    pub name: &'static str,
    /// How often a client changes the object meanwhile.
    pub changes: u64,
    /// Who fights.
    pub fighters: &'static [&'static str],
    wishes: &'static [Wish],
}

impl fmt::Debug for Brawl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> u64 {
    at(object, pointer).parse().unwrap_or(0)
}

/// Sets a datum where it is not so.
fn set(object: &Value, name: &str, value: &str) -> Option<Value> {
    let is = at(object, &format!("/data/{name}"));
    (is != value).then(|| json!({"data": {name: value}}))
}

/// Fights, and what looks like one.
pub const BRAWLS: [Brawl; 12] = [
    fight("two set one field", TWO, &[|o, _| set(o, "n", "5"), |o, _| set(o, "n", "3")]),
    fight(
        "three in a circle",
        THREE,
        &[
            |o, _| {
                (at(o, "/data/n") != "2" && at(o, "/data/n") != "3")
                    .then(|| json!({"data": {"n": "2"}}))
            },
            |o, _| (at(o, "/data/n") == "2").then(|| json!({"data": {"n": "3"}})),
            |o, _| (at(o, "/data/n") == "3").then(|| json!({"data": {"n": "1"}})),
        ],
    ),
    fight(
        "two set one label",
        TWO,
        &[
            |o, _| {
                (at(o, "/metadata/labels/l") != "a")
                    .then(|| json!({"metadata": {"labels": {"l": "a"}}}))
            },
            |o, _| {
                (at(o, "/metadata/labels/l") != "b")
                    .then(|| json!({"metadata": {"labels": {"l": "b"}}}))
            },
        ],
    ),
    fight(
        "one sets what the other takes away",
        TWO,
        &[
            |o, _| {
                at(o, "/metadata/annotations/x")
                    .is_empty()
                    .then(|| json!({"metadata": {"annotations": {"x": "1"}}}))
            },
            |o, _| {
                (!at(o, "/metadata/annotations/x").is_empty())
                    .then(|| json!({"metadata": {"annotations": {"x": null}}}))
            },
        ],
    ),
    fight(
        "each wants one more than the other",
        TWO,
        &[
            |o, _| set(o, "a", &(number(o, "/data/b") + 1).to_string()),
            |o, _| set(o, "b", &(number(o, "/data/a") + 1).to_string()),
        ],
    ),
    fight(
        "one writes the time, the other copies it",
        TWO,
        &[
            |o, r| {
                (at(o, "/data/t") == at(o, "/data/copy"))
                    .then(|| json!({"data": {"t": r.now.0.to_string()}}))
            },
            |o, _| set(o, "copy", at(o, "/data/t")),
        ],
    ),
    peace("two set fields of their own", 0, &[|o, _| set(o, "a", "1"), |o, _| set(o, "b", "2")]),
    peace(
        "one gives a default, one follows",
        4,
        &[
            |o, _| at(o, "/data/n").is_empty().then(|| json!({"data": {"n": "1"}})),
            |o, _| set(o, "seen", at(o, "/data/n")),
        ],
    ),
    peace(
        "two follow what a client turns back and forth",
        12,
        &[|o, _| set(o, "a", at(o, "/data/client")), |o, _| set(o, "b", at(o, "/data/a"))],
    ),
    peace(
        "a step each, and done",
        0,
        &[
            |o, _| at(o, "/data/phase").is_empty().then(|| json!({"data": {"phase": "made"}})),
            |o, _| (at(o, "/data/phase") == "made").then(|| json!({"data": {"phase": "ready"}})),
        ],
    ),
    peace("two that want the same", 6, &[|o, _| set(o, "n", "5"), |o, _| set(o, "n", "5")]),
    peace(
        "a generation that is followed",
        12,
        &[
            |o, _| set(o, "observed", at(o, "/data/client")),
            |o, _| {
                let ready =
                    if at(o, "/data/observed") == at(o, "/data/client") { "yes" } else { "no" };
                set(o, "ready", ready)
            },
        ],
    ),
];

const TWO: &[&str] = &["w0", "w1"];
const THREE: &[&str] = &["w0", "w1", "w2"];

const fn fight(
    name: &'static str,
    fighters: &'static [&'static str],
    wishes: &'static [Wish],
) -> Brawl {
    Brawl { name, changes: 0, fighters, wishes }
}

const fn peace(name: &'static str, changes: u64, wishes: &'static [Wish]) -> Brawl {
    Brawl { name, changes, fighters: &[], wishes }
}

struct Wishing {
    wish: Wish,
    seed: u64,
}

impl fmt::Debug for Wishing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wishing").finish_non_exhaustive()
    }
}

impl Reconciler for Wishing {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let random = SeededRandom::new(self.seed ^ request.run.wrapping_mul(0x9E37_79B9));
            let clock = Arc::clone(overlay.registry().clock());
            clock.sleep(Duration::from_micros(random.below(3_000))).await;
            let object = request.object.as_ref().map(|o| serde_json::from_slice(&o.bytes));
            let object: Value = object.and_then(Result::ok).unwrap_or_default();
            let mut result = Ok(Outcome::Done);
            if let Some(patch) = (self.wish)(&object, &request)
                && let Err(status) = write(&mut overlay, &request.key, patch)
            {
                result = Err(Failure::Transient(status.message));
            }
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

fn write(overlay: &mut Overlay, key: &Key, patch: Value) -> Result<(), Status> {
    let target = desk::target(overlay.registry(), Some(&key.name));
    let action = Action::Patch(PatchFormat::Merge, Body::from(patch));
    overlay.write(target, action, WriteOptions::default()).map(drop)
}

async fn submit(registry: &Registry, name: Option<&str>, action: Action) {
    desk::submit(registry, name, action).await.expect("memory takes it");
}

impl Stage {
    /// The first fight that is found, as it was then; how many changes there were in all.
    ///
    /// # Panics
    /// When the operating system has no thread to give.
    pub fn brawl(&self, brawl: Brawl, seed: u64) -> (Option<Fight>, usize) {
        let seen = VirtualTime::run(Arc::new(ManualClock::default()), async |time| {
            let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(time.clock());
            let store = Store::fork(&self.registry().store().snapshot(), Arc::clone(&clock));
            let random = Arc::new(SeededRandom::new(seed));
            let registry = self.registry().fork(store.clone(), Arc::clone(&clock), random);
            let supervisor = Supervisor::default();
            let config = Config { builtin: false, slots: 3, ..Config::default() };
            let runtime = Runtime::build(config, registry.clone(), supervisor.clone());
            let start = store.revision();
            runtime.start();
            let object = json!({"metadata": {"name": "o", "labels": {"run": "yes"}}});
            submit(&registry, None, Action::Create(Body::from(object))).await;
            for (number, wish) in brawl.wishes.iter().enumerate() {
                let seed = seed ^ ((number as u64) << 40);
                let wishing = Arc::new(Wishing { wish: *wish, seed });
                runtime
                    .add(desk::spec(&format!("w{number}"), "run=yes", 1), wishing)
                    .expect("a new name");
            }
            let random = SeededRandom::new(seed ^ 0xb4a1);
            for number in 0..brawl.changes {
                clock.sleep(Duration::from_micros(random.below(12_000))).await;
                let patch = json!({"data": {"client": (number % 2).to_string()}});
                let action = Action::Patch(PatchFormat::Merge, Body::from(patch));
                submit(&registry, Some("o"), action).await;
            }
            clock.sleep(Duration::from_millis(60)).await;
            supervisor.shutdown().start();
            let mut stream = store.changes(ChangeFilter::default(), start);
            let (mut detector, mut found, mut count) = (Detector::default(), None, 0);
            while let Ok(Some(batch)) = stream.try_next() {
                for change in &batch.changes {
                    count += 1;
                    let news = detector.observe(change);
                    found = found.or_else(|| news.into_iter().next().map(|news| news.fight));
                }
            }
            (found, count)
        });
        seen.expect("a thread is there")
    }
}
