//! One controller as the runtime keeps it: its code, its queue and its numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quadrille_object::Timestamp;
use quadrille_store::{Change, Fence, Key, Object};

use crate::canary::Candidate;
use crate::hold::Holds;
use crate::overlay::OverlayLimits;
use crate::queue::Workqueue;
use crate::reconciler::{ControllerSpec, Failure, Reconciler};
use crate::record::RunCode;
use crate::stats::{ControllerStats, Histogram, LastError};
use crate::wakes::Wakes;

/// How many keys that failed are kept by name with their message; more are only counted.
const HALTED_NAMED_MAX: usize = 1000;

/// The longest message of a failure that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024;

/// A controller's name: unique in its plugin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ControllerName {
    /// The plugin.
    pub plugin: Arc<str>,
    /// The controller.
    pub controller: Arc<str>,
}

impl ControllerName {
    /// From its two parts.
    pub fn new(plugin: impl Into<Arc<str>>, controller: impl Into<Arc<str>>) -> Self {
        Self { plugin: plugin.into(), controller: controller.into() }
    }

    /// The name that a spec has.
    pub fn of(spec: &ControllerSpec) -> Self {
        Self::new(Arc::clone(&spec.plugin), Arc::clone(&spec.name))
    }
}

/// `plugin/controller`.
impl std::fmt::Display for ControllerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.plugin, self.controller)
    }
}

/// Code and its settings: one generation of a controller.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) spec: Arc<ControllerSpec>,
    pub(crate) reconciler: Arc<dyn Reconciler>,
    pub(crate) generation: u64,
    /// The same for the record.
    pub(crate) code: Arc<RunCode>,
}

impl Version {
    pub(crate) fn new(
        spec: ControllerSpec,
        reconciler: Arc<dyn Reconciler>,
        generation: u64,
        limits: &OverlayLimits,
    ) -> Self {
        let (spec, settings) = (Arc::new(spec), reconciler.settings());
        let code = RunCode::new(Arc::clone(&spec), generation, limits.clone(), settings);
        Self { spec, reconciler, generation, code: Arc::new(code) }
    }

    /// Whether the object is its business, though it may have nothing to run for: it is selected, or carries the
    /// controller's finalizer.
    pub(crate) fn minds(&self, object: &Object) -> bool {
        self.spec.reaches(&object.key.namespace)
            && (self.spec.selector.matches(&object.meta) || carries(&self.spec, object))
    }

    /// Whether the object has kept the finalizer though it left the selector.
    pub(crate) fn has_left(&self, object: &Object) -> bool {
        self.minds(object)
            && object.meta.deleted_at.is_none()
            && !self.spec.selector.matches(&object.meta)
    }

    /// Whether there is something to run for.
    pub(crate) fn wants(&self, object: &Object) -> bool {
        wants(&self.spec, object)
    }
}

/// Whether the host put the controller's finalizer on the object.
pub(crate) fn carries(spec: &ControllerSpec, object: &Object) -> bool {
    let Some(finalizer) = &spec.finalizer else { return false };
    object.meta.finalizers.iter().any(|f| **f == **finalizer)
}

/// Whether there is something to run for: the object exists, lies within the grant, is selected, and, when it is
/// terminating and the controller has a finalizer, still waits for it.
pub(crate) fn wants(spec: &ControllerSpec, object: &Object) -> bool {
    if !spec.reaches(&object.key.namespace) {
        return false;
    }
    let terminating = object.meta.deleted_at.is_some();
    if terminating && spec.finalizer.is_some() {
        return carries(spec, object);
    }
    spec.selector.matches(&object.meta)
}

#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) version: Version,
    pub(crate) fence: Fence,
    pub(crate) queue: Workqueue,
    pub(crate) holds: Holds,
    /// The generation that the queue began with; runs of earlier ones took their keys from another queue.
    pub(crate) queue_since: u64,
    pub(crate) suspended: bool,
    /// Runs in the reconciler, as opposed to those that wait for their commit.
    pub(crate) executing: usize,
    /// How long the last run took that somebody else's change made worthless.
    pub(crate) lost_run: Duration,
    /// Runs that have not ended, by generation.
    pub(crate) under_way: BTreeMap<u64, usize>,
    pub(crate) next_resync: Option<Duration>,
    pub(crate) halted: BTreeMap<Key, Halted>,
    /// What the last failure of a key said that is to be tried again.
    pub(crate) failed: BTreeMap<Key, String>,
    pub(crate) numbers: Numbers,
    /// A version on trial beside this one.
    pub(crate) candidate: Option<Candidate>,
}

/// A key that failed and is not tried again until something it read changes; after the longest backoff where a write of
/// it was refused.
#[derive(Clone, Debug)]
pub(crate) struct Halted {
    pub(crate) message: String,
    pub(crate) wakes: Arc<Wakes>,
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) runs: u64,
    pub(crate) commits: u64,
    pub(crate) failures: u64,
    pub(crate) conflicts: u64,
    pub(crate) fenced: u64,
    pub(crate) retries: u64,
    pub(crate) turns: u64,
    pub(crate) thrown_away: Duration,
    pub(crate) memory_bytes_max: u64,
    pub(crate) last_error: Option<LastError>,
    pub(crate) last_run: Option<Timestamp>,
    pub(crate) durations: Histogram,
}

impl Controller {
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            fence: Fence::default(),
            queue: Workqueue::default(),
            holds: Holds::default(),
            queue_since: 0,
            suspended: false,
            executing: 0,
            lost_run: Duration::ZERO,
            under_way: BTreeMap::new(),
            next_resync: None,
            halted: BTreeMap::new(),
            failed: BTreeMap::new(),
            numbers: Numbers::default(),
            candidate: None,
        }
    }

    /// The same controller with the same keys, where nothing has run yet.
    pub(crate) fn fork(&self) -> Self {
        Self {
            queue: self.queue.fork(),
            queue_since: self.queue_since,
            suspended: self.suspended,
            next_resync: self.next_resync,
            halted: self.halted.clone(),
            failed: self.failed.clone(),
            ..Self::new(self.version.clone())
        }
    }

    pub(crate) fn name(&self) -> ControllerName {
        ControllerName::of(&self.version.spec)
    }

    /// Whether a change of a primary object is its business.
    pub(crate) fn concerns(&self, change: &Change) -> bool {
        let spec = &self.version.spec;
        let left = |before: &Object| spec.selector.matches(&before.meta);
        self.version.minds(&change.object)
            || (change.before.as_deref().is_some_and(left) && spec.reaches(&change.key().namespace))
    }

    pub(crate) fn may_run(&self, executing_max: usize) -> bool {
        let concurrency = self.version.spec.concurrency.max(1).min(executing_max);
        // A queue that began anew may know keys that still run from the one before.
        let is_ours = || self.under_way.range(..self.queue_since).next().is_none();
        !self.suspended && self.queue.ready() > 0 && self.executing < concurrency && is_ours()
    }

    /// Keeps a key that is not tried again by name, with what woke it.
    pub(crate) fn halt(&mut self, key: &Key, message: &str, wakes: &Arc<Wakes>) {
        if self.halted.len() < HALTED_NAMED_MAX {
            let halted = Halted { message: cut(message), wakes: Arc::clone(wakes) };
            self.halted.insert(key.clone(), halted);
        }
    }

    pub(crate) fn note_failure(&mut self, key: &Key, failure: &Failure, at: Timestamp) {
        self.numbers.failures += 1;
        let (kind, message) = (failure.kind(), cut(failure.message()));
        if self.failed.len() < HALTED_NAMED_MAX || self.failed.contains_key(key) {
            self.failed.insert(key.clone(), message.clone());
        }
        self.numbers.last_error = Some(LastError { object: key.clone(), kind, message, at });
    }

    pub(crate) fn stats(&self, sleeping: usize) -> ControllerStats {
        let (spec, numbers) = (&self.version.spec, &self.numbers);
        ControllerStats {
            plugin: Arc::clone(&spec.plugin),
            controller: Arc::clone(&spec.name),
            digest: Arc::clone(&spec.digest),
            generation: self.version.generation,
            suspended: self.suspended,
            queued: self.queue.ready(),
            running: self.queue.running(),
            timers: self.queue.waiting(),
            failing: self.queue.failing(),
            halted: self.halted.len(),
            sleeping,
            runs: numbers.runs,
            commits: numbers.commits,
            failures: numbers.failures,
            conflicts: numbers.conflicts,
            fenced: numbers.fenced,
            retries: numbers.retries,
            turns: numbers.turns,
            lost_us: u64::try_from(numbers.thrown_away.as_micros()).unwrap_or(u64::MAX),
            last_error: numbers.last_error.clone(),
            durations: (&numbers.durations).into(),
            memory_bytes_max: numbers.memory_bytes_max,
            last_run: numbers.last_run,
        }
    }
}

/// As much of a message as is kept.
fn cut(message: &str) -> String {
    let end = message.floor_char_boundary(MESSAGE_BYTES_MAX);
    message.get(..end).unwrap_or_default().to_owned()
}
