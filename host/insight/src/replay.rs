//! Replays: recorded runs made again on their own snapshots, and compared with what they wrote.
//!
//! With the code that ran, a replay writes the same, byte for byte: whatever a run takes from time and chance is in its
//! record. With other code the difference is what that code would have done otherwise. Many runs are replayed from the
//! newest to the oldest in one walk back through the history.
//!
//! Writes are decided as they would be now: by the present catalog, roles and admission policies. Nothing outside is
//! called; a webhook whose answer is not in the record is taken to consent.

mod compare;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use quadrille_kit::clock::BoxFuture;
use quadrille_registry::Registry;
use quadrille_runtime::case::end_text;
use quadrille_runtime::{ControllerSpec, Reconciler, Rerun, RunCode, RunEnd, RunRecord};
use quadrille_store::{ChangesError, Key, Rewind, Snapshot};
use serde::{Serialize, Serializer};

pub(crate) use compare::kind_text;
pub use compare::{Difference, Side, difference_text};

/// Code that is ready to run.
#[derive(Clone, Debug)]
pub struct Code {
    /// The controller, as this code describes it.
    pub spec: Arc<ControllerSpec>,
    /// The code.
    pub reconciler: Arc<dyn Reconciler>,
}

/// Why code is not to be had, in a person's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodeMissing(pub String);

/// Where the code for a recorded run comes from: the component that ran, or another one.
pub trait CodeSource: fmt::Debug + Send + Sync {
    /// The code for runs of one generation of a controller, with their settings.
    fn code<'a>(&'a self, code: &'a RunCode) -> BoxFuture<'a, Result<Code, CodeMissing>>;
}

/// What a replay showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The same writes, byte for byte, and the same end.
    Identical,
    /// Something else.
    Different,
    /// It could not be made.
    Impossible,
}

/// One replayed run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    /// The run.
    pub run: u64,
    /// The object that it ran for.
    #[serde(skip)]
    pub key: Key,
    /// The same as text.
    pub object: String,
    /// `plugin/controller`.
    pub controller: String,
    /// The digest of the code that ran.
    pub recorded_digest: String,
    /// The digest of the code that was run now.
    pub digest: String,
    /// What it showed.
    pub verdict: Verdict,
    /// Why it could not be made: something about the code or the history, never about an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The ends, where they differ: the recorded one and the one now.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_words")]
    pub ends: Option<(RunEnd, RunEnd)>,
    /// The writes that differ, by object.
    pub differences: Vec<Difference>,
    /// How many writes there were in the record.
    pub writes: usize,
    /// How many questions of admission webhooks were not in the record.
    pub assumed: usize,
}

#[expect(clippy::ref_option, reason = "serde hands a field over like this")]
fn in_words<S: Serializer>(ends: &Option<(RunEnd, RunEnd)>, to: S) -> Result<S::Ok, S::Error> {
    let words = ends.as_ref().map(|(recorded, now)| (end_text(recorded), end_text(now)));
    words.serialize(to)
}

/// Many replays in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplaySummary {
    /// Replays that were asked for.
    pub runs: usize,
    /// Those with the same writes.
    pub identical: usize,
    /// Those with others.
    pub different: usize,
    /// Those that could not be made.
    pub impossible: usize,
    /// Writes in the records of those that could be made.
    pub writes: usize,
}

impl ReplaySummary {
    fn add(&mut self, replayed: &Replayed) {
        self.runs += 1;
        match replayed.verdict {
            Verdict::Identical => self.identical += 1,
            Verdict::Different => self.different += 1,
            Verdict::Impossible => self.impossible += 1,
        }
        if replayed.verdict != Verdict::Impossible {
            self.writes += replayed.writes;
        }
    }
}

/// Replays runs, newest first, and hands each result over as it comes.
pub async fn replay(
    registry: &Registry,
    source: &Arc<dyn CodeSource>,
    runs: &[Arc<RunRecord>],
    mut each: impl FnMut(Replayed) + Send,
) -> ReplaySummary {
    let mut walk = Replays::new(registry.clone(), Arc::clone(source), runs.to_vec());
    while let Some(replayed) = walk.next().await {
        each(replayed);
    }
    walk.summary()
}

/// The first of some versions, from the oldest to the newest, that does not do what is recorded; `None` when the newest
/// does. Each step halves what is left, so ten versions cost four replays of the runs.
pub async fn bisect(
    registry: &Registry,
    versions: &[Arc<dyn CodeSource>],
    runs: &[Arc<RunRecord>],
    mut each: impl FnMut(usize, ReplaySummary) + Send,
) -> Option<usize> {
    let (mut same, mut changed) = (0, versions.len());
    while same < changed {
        // The newest is asked first: when it has not changed, none has to be looked for.
        let at = if changed == versions.len() { changed - 1 } else { same.midpoint(changed) };
        let Some(version) = versions.get(at) else { break };
        let summary = replay(registry, version, runs, |_| ()).await;
        each(at, summary);
        if summary.different > 0 {
            changed = at;
        } else if at + 1 == versions.len() {
            return None;
        } else {
            same = at + 1;
        }
    }
    (changed < versions.len()).then_some(changed)
}

/// Replays of many runs, one after the other, in one walk back through the history.
#[derive(Debug)]
pub struct Replays {
    registry: Registry,
    source: Arc<dyn CodeSource>,
    rewind: Rewind,
    /// By what tells code and settings apart.
    codes: BTreeMap<u128, Result<Code, CodeMissing>>,
    /// What is left, from the oldest to the newest.
    left: Vec<Arc<RunRecord>>,
    summary: ReplaySummary,
}

impl Replays {
    /// Replays of these runs; nothing is done yet.
    pub fn new(
        registry: Registry,
        source: Arc<dyn CodeSource>,
        mut runs: Vec<Arc<RunRecord>>,
    ) -> Self {
        runs.sort_by_key(|record| (record.snapshot, record.run));
        let (rewind, codes) = (registry.store().rewind(), BTreeMap::new());
        Self { registry, source, rewind, codes, left: runs, summary: ReplaySummary::default() }
    }

    /// Replays the newest run that is left; `None` when none is.
    pub async fn next(&mut self) -> Option<Replayed> {
        let record = self.left.pop()?;
        let replayed = self.replay(&record).await;
        self.summary.add(&replayed);
        // A long walk gives way to others.
        tokio::task::yield_now().await;
        Some(replayed)
    }

    /// What there was so far, in numbers.
    pub fn summary(&self) -> ReplaySummary {
        self.summary
    }

    /// How many runs are left.
    pub fn left(&self) -> usize {
        self.left.len()
    }

    async fn replay(&mut self, record: &RunRecord) -> Replayed {
        let code = match self.code(&record.code).await {
            Ok(code) => code,
            Err(CodeMissing(why)) => return impossible(record, String::new(), why),
        };
        let digest = code.spec.digest.as_ref().to_owned();
        let snapshot = match self.rewind.to(record.snapshot).await {
            Ok(snapshot) => snapshot,
            Err(error) => return impossible(record, digest, out_of_reach(record, &error)),
        };
        self.run(record, code, &snapshot).await
    }

    async fn run(&self, record: &RunRecord, code: Code, snapshot: &Snapshot) -> Replayed {
        let digest = code.spec.digest.as_ref().to_owned();
        let rerun = Rerun { spec: code.spec, ..Rerun::of(record, code.reconciler) };
        let reran = rerun.run(&self.registry, snapshot).await;
        let ends = compare::ends(&record.end, &reran.result);
        let store = self.registry.store();
        let differences = compare::writes(store, &record.writes, &reran.writes, snapshot).await;
        let same = ends.is_none() && differences.is_empty();
        Replayed {
            verdict: if same { Verdict::Identical } else { Verdict::Different },
            ends,
            differences,
            assumed: reran.assumed,
            ..about(record, digest)
        }
    }

    async fn code(&mut self, code: &RunCode) -> Result<Code, CodeMissing> {
        if let Some(known) = self.codes.get(&code.hash()) {
            return known.clone();
        }
        let found = self.source.code(code).await;
        self.codes.insert(code.hash(), found.clone());
        found
    }
}

fn about(record: &RunRecord, digest: String) -> Replayed {
    Replayed {
        run: record.run,
        key: record.object.clone(),
        object: record.object.to_string(),
        controller: format!("{}/{}", record.plugin(), record.controller()),
        recorded_digest: record.digest().as_ref().to_owned(),
        digest,
        verdict: Verdict::Impossible,
        why: None,
        ends: None,
        differences: Vec::new(),
        writes: record.writes.len(),
        assumed: 0,
    }
}

fn impossible(record: &RunRecord, digest: String, why: String) -> Replayed {
    Replayed { why: Some(why), ..about(record, digest) }
}

fn out_of_reach(record: &RunRecord, error: &ChangesError) -> String {
    match error {
        ChangesError::Expired { oldest } => format!(
            "it read revision {}, and the history begins after {oldest}: keep more of it (history.bytes_max)",
            record.snapshot
        ),
        ChangesError::Unavailable(_) | ChangesError::Closed => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
