//! A candidate beside the version that runs: which keys it is given, what it did with them, and its end.
//!
//! A key belongs to the candidate or to the version that runs for as long as the trial goes on: by a hash of the key,
//! or by the labels of the object. The trial decides nothing; whoever began it reads [`CanaryStats`] and ends it by
//! [`Runtime::replace`] or [`Runtime::call_off`]. Once it is called off, no run of the candidate commits any more, and
//! the version that runs goes over every key that the candidate had.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quadrille_object::selector::LabelSelector;
use quadrille_store::{Fence, FenceTicket, Key, Object, Query, Range, View};
use serde::Serialize;

use crate::controller::{Controller, ControllerName, Version};
use crate::reconciler::{ControllerSpec, Failure, Reconciler};
use crate::run::Bad;
use crate::runtime::{ControllerError, Runtime};
use crate::stats::{Durations, Histogram};

/// Written objects that are kept by name; more are not told apart any more.
const TOUCHED_MAX: usize = 100_000;

/// Which keys a candidate is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portion {
    /// So many of a hundred keys, by a hash of the key; 100 for all that are selected.
    pub percent: u8,
    /// Only keys of objects with these labels; empty for all.
    pub selector: LabelSelector,
}

impl Portion {
    /// Whether the candidate has this object's key.
    pub fn has(&self, object: &Object) -> bool {
        self.selector.matches(&object.meta) && hash(&object.key) % 100 < u64::from(self.percent)
    }
}

/// The same for a key in every life of the host.
fn hash(key: &Key) -> u64 {
    key.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }) >> 16
}

/// A candidate on trial.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) version: Version,
    fence: Fence,
    portion: Portion,
    its: Tally,
    others: Tally,
    touched: BTreeSet<Key>,
    since: Duration,
}

impl Candidate {
    /// Its code and a ticket, when the object's key is one of its own.
    pub(crate) fn take(&self, object: Option<&Object>) -> Option<(Version, FenceTicket)> {
        object.filter(|object| self.portion.has(object))?;
        Some((self.version.clone(), self.fence.ticket()))
    }

    /// Counts a run of the candidate, or of the version beside it.
    pub(crate) fn count(&mut self, is_candidate: bool, run: &Counted<'_>) {
        let tally = if is_candidate { &mut self.its } else { &mut self.others };
        tally.add(run);
        if is_candidate {
            let room = TOUCHED_MAX.saturating_sub(self.touched.len());
            self.touched.extend(run.written.clone().take(room).cloned());
        }
    }

    fn stats(&self, now: Duration) -> CanaryStats {
        CanaryStats {
            digest: Arc::clone(&self.version.spec.digest),
            percent: self.portion.percent,
            age: now.saturating_sub(self.since),
            candidate: self.its.stats(),
            active: self.others.stats(),
            objects_touched: self.touched.len(),
        }
    }

    pub(crate) fn spec(&self) -> &Arc<ControllerSpec> {
        &self.version.spec
    }

    pub(crate) fn end(&self) {
        self.fence.advance();
    }
}

/// A run that ended, as it is counted.
#[derive(Debug)]
pub(crate) struct Counted<'a> {
    pub(crate) bad: Option<&'a Bad>,
    pub(crate) duration: Duration,
    pub(crate) written: WrittenKeys<'a>,
}

/// The keys that a run committed.
pub(crate) type WrittenKeys<'a> = std::iter::Map<
    std::slice::Iter<'a, crate::record::RunWrite>,
    fn(&'a crate::record::RunWrite) -> &'a Key,
>;

#[derive(Debug, Default)]
struct Tally {
    runs: u64,
    commits: u64,
    failures: u64,
    broken: u64,
    fights: u64,
    durations: Histogram,
    last_error: Option<String>,
}

impl Tally {
    fn add(&mut self, run: &Counted<'_>) {
        let failure = match run.bad {
            // Thrown away for reasons that are not the code's.
            Some(Bad::Conflict(_) | Bad::Fenced) => return,
            Some(Bad::Failure(failure)) => Some(failure),
            None => None,
        };
        self.runs += 1;
        self.commits += u64::from(failure.is_none() && run.written.len() > 0);
        self.durations.add(run.duration);
        let Some(failure) = failure else { return };
        self.failures += 1;
        let is_broken = match failure {
            Failure::Trap(_) | Failure::Deadline(_) | Failure::Limit(_) => true,
            Failure::Transient(_) | Failure::Permanent(_) | Failure::Host(_) => false,
        };
        self.broken += u64::from(is_broken);
        self.last_error = Some(format!("{}: {}", failure.kind(), failure.message()));
    }

    fn stats(&self) -> TrialNumbers {
        TrialNumbers {
            runs: self.runs,
            commits: self.commits,
            failures: self.failures,
            broken: self.broken,
            fights: self.fights,
            durations: (&self.durations).into(),
            last_error: self.last_error.clone(),
        }
    }
}

/// What one of the two versions did since the trial began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialNumbers {
    /// Runs that ended well or failed; those that were thrown away do not count.
    pub runs: u64,
    /// Runs that committed something.
    pub commits: u64,
    /// Runs that failed, whichever way.
    pub failures: u64,
    /// Those among them that trapped, ran out of time, or met another limit.
    pub broken: u64,
    /// Fights that it was part of.
    pub fights: u64,
    /// How long its runs took.
    pub durations: Durations,
    /// What its last failure said.
    pub last_error: Option<String>,
}

/// A trial at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStats {
    /// The candidate's digest.
    pub digest: Arc<str>,
    /// How many of a hundred keys it has.
    pub percent: u8,
    /// How long the trial has gone on.
    pub age: Duration,
    /// What the candidate did.
    pub candidate: TrialNumbers,
    /// What the version beside it did meanwhile.
    pub active: TrialNumbers,
    /// How many objects the candidate has written so far.
    pub objects_touched: usize,
}

impl Controller {
    /// The code for an object's key, a ticket for its commit, and whether it is the candidate's.
    pub(crate) fn pick(&self, object: Option<&Object>) -> (Version, FenceTicket, bool) {
        match self.candidate.as_ref().and_then(|candidate| candidate.take(object)) {
            Some((version, ticket)) => (version, ticket, true),
            None => (self.version.clone(), self.fence.ticket(), false),
        }
    }
}

impl Runtime {
    /// Gives a portion of a controller's keys to a candidate; they are queued at once. A trial that is under way
    /// already is called off first.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`]; [`ControllerError::OtherPrimary`] when the candidate reconciles another resource.
    pub fn try_out(
        &self,
        spec: ControllerSpec,
        reconciler: Arc<dyn Reconciler>,
        portion: Portion,
    ) -> Result<(), ControllerError> {
        let name = ControllerName::of(&spec);
        self.call_off(&name)?;
        let since = self.shared.clock.monotonic();
        let its = portion.clone();
        self.shared.with(&name, |controller| {
            if controller.version.spec.primary != spec.primary {
                return Err(ControllerError::OtherPrimary(name.clone()));
            }
            let limits = &controller.version.code.limits;
            let version = Version::new(spec, reconciler, controller.version.generation, limits);
            controller.candidate = Some(Candidate {
                version,
                fence: Fence::default(),
                portion,
                its: Tally::default(),
                others: Tally::default(),
                touched: BTreeSet::new(),
                since,
            });
            Ok(())
        })??;
        self.queue_portion(&name, &its)
    }

    /// Ends a trial without the candidate, whose finalizer goes from its objects; nothing happens when there is none.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`].
    pub fn call_off(&self, name: &ControllerName) -> Result<Option<CanaryStats>, ControllerError> {
        let now = self.shared.clock.monotonic();
        let ended = self.shared.with(name, |controller| controller.candidate.take())?;
        let Some(candidate) = ended else { return Ok(None) };
        candidate.end();
        self.shared.release(Arc::clone(candidate.spec()));
        self.queue_portion(name, &candidate.portion)?;
        Ok(Some(candidate.stats(now)))
    }

    /// How a trial goes; `None` when there is none.
    ///
    /// # Errors
    /// [`ControllerError::Unknown`].
    pub fn trial(&self, name: &ControllerName) -> Result<Option<CanaryStats>, ControllerError> {
        let now = self.shared.clock.monotonic();
        self.shared.with(name, |c| c.candidate.as_ref().map(|candidate| candidate.stats(now)))
    }

    /// Counts a fight against the code with this digest, if it is on trial or beside one.
    pub fn note_fight(&self, name: &ControllerName, digest: &str) {
        let noted = self.shared.with(name, |controller| {
            let Some(candidate) = &mut controller.candidate else { return };
            if *candidate.version.spec.digest == *digest {
                candidate.its.fights += 1;
            } else {
                candidate.others.fights += 1;
            }
        });
        if let Err(error) = noted {
            tracing::debug!(%error, "a fight of a controller that is gone");
        }
    }

    /// Queues every key of a portion behind new work.
    fn queue_portion(
        &self,
        name: &ControllerName,
        portion: &Portion,
    ) -> Result<(), ControllerError> {
        let snapshot = self.shared.registry.store().snapshot();
        let mut state = self.shared.lock();
        let unknown = || ControllerError::Unknown(name.clone());
        let id = state.names.get(name).copied().ok_or_else(unknown)?;
        let controller = state.controllers.get_mut(&id).ok_or_else(unknown)?;
        let primary = controller.version.spec.primary.clone();
        for object in snapshot.list(&Query::whole(Range::all(primary))) {
            if portion.has(&object) && controller.version.wants(&object) {
                controller.queue.resync(&object.key, Some(snapshot.revision()));
            }
        }
        state.line_up(id);
        drop(state);
        self.shared.pump();
        Ok(())
    }
}
