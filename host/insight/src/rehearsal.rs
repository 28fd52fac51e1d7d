//! A rehearsal: a fork of the runtime that lives in virtual time, in a thread of its own.
//!
//! What is done to it runs through the host's own code, with every timer at its time, and nothing outside is called:
//! admission webhooks are taken to consent, and which ones is told. What comes from outside in the world (kubelets,
//! people) does not come here.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quadrille_kit::{Clock, ManualClock, Random, SeededRandom, Supervisor, VirtualTime};
use quadrille_registry::{Registry, WebhookEndpoint, WebhookReply, Webhooks};
use quadrille_runtime::{ForkParts, Runtime};
use quadrille_store::{Revision, Snapshot};
use serde::Serialize;
use serde_json::{Value, json};

/// How long a rehearsal goes on at most.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "each is a ceiling, and says so")]
pub struct Bounds {
    /// Runs. Default 20,000.
    pub runs_max: u64,
    /// Changes. Default 50,000; each is kept in memory.
    pub writes_max: u64,
    /// Virtual time. Default 10 s: enough for retries, and too short for nodes to be missed whose kubelets do not
    /// report here.
    pub virtual_max: Duration,
    /// Real time. Default 30 s.
    pub wall_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            runs_max: 20_000,
            writes_max: 50_000,
            virtual_max: Duration::from_secs(10),
            wall_max: Duration::from_secs(30),
        }
    }
}

/// Why a rehearsal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// Nothing is left to do.
    Quiet,
    /// Only timers are left, and they are due after the bound of virtual time.
    VirtualTime,
    /// The bound of runs was met.
    Runs,
    /// The bound of writes was met.
    Writes,
    /// The bound of real time was met.
    WallTime,
}

impl Ended {
    /// Whether everything that follows within the virtual time has happened.
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Quiet | Self::VirtualTime)
    }
}

/// A fork under way.
#[derive(Debug)]
pub struct Rehearsal {
    /// The fork's runtime.
    pub runtime: Runtime,
    /// The snapshot's revision: changes after it are the fork's own.
    pub base: Revision,
    time: VirtualTime,
    wall: Arc<dyn Clock>,
    began: Duration,
    first_run: u64,
    began_virtual: Duration,
    consenting: Arc<Consenting>,
}

/// What a rehearsal begins with.
#[derive(Clone, Debug)]
pub enum Cast {
    /// All controllers, with their sleeping keys and timers.
    All,
    /// No controllers, on this snapshot.
    Nobody(Snapshot),
}

/// Rehearses in this thread, which must not be one of a scheduler's.
///
/// # Errors
/// When the operating system does not give what a scheduler needs.
pub fn rehearse<T>(
    live: &Runtime,
    wall: &Arc<dyn Clock>,
    (cast, seed): (Cast, u64),
    work: impl AsyncFnOnce(&Rehearsal) -> T,
) -> std::io::Result<T> {
    let clock = Arc::new(ManualClock::like(live.registry().clock().as_ref()));
    VirtualTime::run(clock, async |time| {
        let rehearsal = Rehearsal::begin(live, wall, (cast, seed), time);
        work(&rehearsal).await
    })
}

impl Rehearsal {
    fn begin(
        live: &Runtime,
        wall: &Arc<dyn Clock>,
        (cast, seed): (Cast, u64),
        time: VirtualTime,
    ) -> Self {
        let supervisor = Supervisor::default();
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(time.clock());
        let random: Arc<dyn Random> = Arc::new(SeededRandom::new(seed));
        let began_virtual = clock.monotonic();
        let parts =
            ForkParts { clock, random, supervisor: supervisor.clone(), records_max: RECORDS_MAX };
        let runtime = match cast {
            Cast::All => live.fork(parts),
            Cast::Nobody(snapshot) => live.fork_bare(&snapshot, parts),
        };
        let consenting = Arc::<Consenting>::default();
        let registry = runtime.registry();
        registry.set_webhooks(Arc::<Consenting>::clone(&consenting));
        let base = registry.store().revision();
        supervisor.spawn("roles", registry.clone().keep_access(supervisor.shutdown()));
        supervisor.spawn("quotas", registry.clone().keep_quotas(supervisor.shutdown()));
        runtime.start();
        let (first_run, began) = (runtime.next_run(), wall.monotonic());
        let wall = Arc::clone(wall);
        Self { runtime, base, time, wall, began, first_run, began_virtual, consenting }
    }

    /// The fork's registry.
    pub fn registry(&self) -> &Registry {
        self.runtime.registry()
    }

    /// How many runs have begun.
    pub fn runs(&self) -> u64 {
        self.runtime.next_run() - self.first_run
    }

    /// How many changes there were.
    pub fn writes(&self) -> u64 {
        self.registry().store().revision().0 - self.base.0
    }

    /// How much virtual time has passed.
    pub fn passed(&self) -> Duration {
        self.registry().clock().monotonic().saturating_sub(self.began_virtual)
    }

    /// How much real time has passed.
    pub fn took(&self) -> Duration {
        self.wall.monotonic().saturating_sub(self.began)
    }

    /// The webhooks that were taken to consent.
    pub fn assumed(&self) -> Vec<String> {
        self.consenting
            .urls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// How long until the next timer of a controller, if there is one.
    pub fn next_timer(&self) -> Option<Duration> {
        let (due, _) = self.runtime.next_timer()?;
        Some(due.saturating_sub(self.registry().clock().monotonic()))
    }

    /// Lets this much time pass; what is due meanwhile happens.
    pub async fn wait(&self, time: Duration, bounds: &Bounds) -> Ended {
        let bounds = Bounds { virtual_max: self.passed() + time, ..*bounds };
        let ended = self.until_quiet(&bounds).await;
        let left = bounds.virtual_max.saturating_sub(self.passed());
        if ended.is_complete() && !left.is_zero() {
            self.time.clock().advance(left);
            return self.until_quiet(&bounds).await;
        }
        ended
    }

    /// Lets everything happen that follows, timers within the virtual time included.
    pub async fn until_quiet(&self, bounds: &Bounds) -> Ended {
        loop {
            if let Some(bound) = self.bound(bounds) {
                return bound;
            }
            tokio::select! {
                biased;
                () = self.runtime.progressed() => continue,
                () = self.time.idle() => {}
            }
            if self.runtime.under_way() > 0 {
                // A guest that waits for something real.
                self.wall.sleep(REAL_WAIT).await;
                continue;
            }
            let settled = self.runtime.at_rest(self.registry().store().revision(), Duration::ZERO);
            let at_rest = settled.await.busy.iter().all(|busy| !busy.controller.starts_with(HOST));
            let timer = self.next_timer();
            if at_rest && timer.is_none() {
                return Ended::Quiet;
            }
            let left = bounds.virtual_max.saturating_sub(self.passed());
            let due = self.time.clock().next_due();
            match due.filter(|due| *due <= left) {
                // Retries of the host's own parts stand behind no timer of a controller.
                Some(due) if !at_rest || timer.is_some_and(|timer| timer <= left) => {
                    self.time.clock().advance(due);
                }
                _ => return Ended::VirtualTime,
            }
        }
    }

    fn bound(&self, bounds: &Bounds) -> Option<Ended> {
        if self.runs() > bounds.runs_max {
            Some(Ended::Runs)
        } else if self.writes() > bounds.writes_max {
            Some(Ended::Writes)
        } else if self.took() > bounds.wall_max {
            Some(Ended::WallTime)
        } else {
            None
        }
    }
}

/// How many runs are remembered, for their failures.
const RECORDS_MAX: usize = 1_024;

/// How long a guest that waits for real time is given before it is looked at again.
const REAL_WAIT: Duration = Duration::from_millis(1);

/// What the names of the host's own parts begin with.
const HOST: &str = "quadrille/";

/// Says yes to everything, and remembers who should have been asked.
#[derive(Default)]
struct Consenting {
    urls: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Consenting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Consenting")
    }
}

impl Webhooks for Consenting {
    fn post<'a>(
        &'a self,
        endpoint: &'a WebhookEndpoint,
        body: Bytes,
    ) -> Pin<Box<dyn Future<Output = WebhookReply> + Send + 'a>> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.url.clone());
        let review: Value = serde_json::from_slice(&body).unwrap_or_default();
        let answer = json!({
            "apiVersion": review.get("apiVersion"),
            "kind": "AdmissionReview",
            "response": {"uid": review.pointer("/request/uid"), "allowed": true},
        });
        Box::pin(std::future::ready(Ok(Bytes::from(answer.to_string()))))
    }
}
