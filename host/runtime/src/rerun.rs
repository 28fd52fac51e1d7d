//! A rerun: one reconcile on a given snapshot, without a queue and without a commit.
//!
//! It is what a run does up to its commit. With the code, the snapshot and the request of a recorded run it writes
//! what that run wrote, byte for byte; with other code it shows what that code would have written. Nothing outside is
//! called: an admission webhook that has not answered in the record is taken to consent, and that is counted.
//!
//! What a write is decided by beside the snapshot is what it is now: the catalog of resources, roles, and admission
//! policies. A definition that changed since then may change the outcome.

use std::sync::Arc;

use quadrille_object::Timestamp;
use quadrille_registry::{RecordedAnswer, Registry};
use quadrille_store::{
    Cause, Change, Key, Object, ReadSet, RequestCause, Revision, Snapshot, View, Write,
};

use crate::controller;
use crate::overlay::OverlayLimits;
use crate::reconciler::{ControllerSpec, Failure, Outcome, ReconcileRequest, Reconciler, WokenBy};
use crate::record::{RunRecord, RunWake};
use crate::work::Work;

/// What is run.
#[derive(Clone, Debug)]
pub struct Rerun {
    /// The controller.
    pub spec: Arc<ControllerSpec>,
    /// Its code.
    pub reconciler: Arc<dyn Reconciler>,
    /// What the run may do at most.
    pub limits: OverlayLimits,
    /// The run's number, as the code sees it.
    pub run: u64,
    /// The key.
    pub key: Key,
    /// What woke it.
    pub wakes: Vec<RunWake>,
    /// Failures in a row before it.
    pub attempt: u32,
    /// The time of the run.
    pub now: Timestamp,
    /// The seed of its chance.
    pub seed: u64,
    /// What admission webhooks answered.
    pub answers: Vec<RecordedAnswer>,
}

/// What a rerun came to.
#[derive(Clone, Debug)]
pub struct Reran {
    /// How it ended.
    pub result: Result<Outcome, Failure>,
    /// What it read.
    pub reads: ReadSet,
    /// What it would write, in its order; nothing when it failed.
    pub writes: Vec<Write>,
    /// Whether there was something to run for: the object was there and was one of the controller's.
    pub wanted: bool,
    /// How many questions of admission webhooks were not in the record.
    pub assumed: usize,
}

impl Rerun {
    /// The same run again, with its own code or other code.
    pub fn of(record: &RunRecord, reconciler: Arc<dyn Reconciler>) -> Self {
        Self {
            spec: Arc::clone(&record.code.spec),
            reconciler,
            limits: record.code.limits.clone(),
            run: record.run,
            key: record.object.clone(),
            wakes: record.wakes.clone(),
            attempt: record.attempt,
            now: record.now,
            seed: record.seed,
            answers: record.answers.clone(),
        }
    }

    /// Runs it on a snapshot. Writes are decided by `registry`, whose store is not read.
    pub async fn run(&self, registry: &Registry, snapshot: &Snapshot) -> Reran {
        let object = snapshot.get(&self.key);
        let Some(object) = object.filter(|object| controller::wants(&self.spec, object)) else {
            return self.unwanted(snapshot.revision());
        };
        let request = self.request();
        let work = Work {
            registry,
            spec: &self.spec,
            reconciler: self.reconciler.as_ref(),
            limits: &self.limits,
            snapshot,
            request: &request,
        };
        let answers = work.no_answers().knowing(&self.answers);
        let mut reconciled = work.once(object, answers).await;
        let assumed = reconciled.overlay.take_questions().map_or(0, |(open, _)| open.count());
        let reads = reconciled.overlay.reads();
        let writes = match reconciled.result {
            Ok(_) => {
                let cause = Cause::Request(RequestCause::default());
                reconciled.overlay.into_txn(None, cause).writes
            }
            Err(_) => Vec::new(),
        };
        Reran { result: reconciled.result, reads, writes, wanted: true, assumed }
    }

    fn unwanted(&self, at: Revision) -> Reran {
        let reads = ReadSet { at, keys: vec![self.key.clone()], ..ReadSet::default() };
        let (result, writes) = (Ok(Outcome::Done), Vec::new());
        Reran { result, reads, writes, wanted: false, assumed: 0 }
    }

    fn request(&self) -> ReconcileRequest {
        ReconcileRequest {
            run: self.run,
            controller: Arc::clone(&self.spec.name),
            key: self.key.clone(),
            object: None,
            woken_by: self.wakes.iter().map(woken_by).collect(),
            attempt: self.attempt,
            now: self.now,
            seed: self.seed,
            trial: true,
        }
    }
}

/// A wake as a reconciler is shown it: what happened to which object, without the object.
fn woken_by(wake: &RunWake) -> WokenBy {
    let revision = wake.revision;
    let object = Object {
        key: wake.key.clone(),
        revision,
        meta: quadrille_object::Meta::default(),
        bytes: bytes::Bytes::from_static(b"{}"),
    };
    let change = Change {
        revision,
        txn: (revision, revision),
        kind: wake.kind,
        before: None,
        object: Arc::new(object),
        cause: Arc::new(Cause::Request(RequestCause::default())),
        at: Timestamp::default(),
    };
    WokenBy { change: Arc::new(change) }
}
