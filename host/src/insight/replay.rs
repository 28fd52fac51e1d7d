//! `POST /quadrille/replay`: recorded runs made again, with the code that ran or with another component.
//!
//! Parameters: `run`, or what [`HostInsight::query`] reads and `last`, how many of the newest. The code is the one that
//! ran; or `digest`, a component that a plugin keeps; or the body, a component (`application/wasm`). With `bisect`, a
//! list of digests from the oldest to the newest, the first of them is found that does not do what is recorded.
//! As lines (`application/x-ndjson`) each result comes when it is there, and the summary at the end.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use quadrille_component::{CodeError, LoadedComponent, PluginManager, check_is_component};
use quadrille_insight::{
    Code, CodeMissing, CodeSource, Replayed, Replays, Verdict, bisect, replay,
};
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::supervisor::chain;
use quadrille_registry::{Reason, Status};
use quadrille_runtime::{RunCode, RunRecord};
use quadrille_server::{Form, Question, Reply, Rights};
use quadrille_store::Key;
use serde_json::{Value, json};

use super::runs::{LIMIT_MAX, end_told, unreadable};
use super::{HIDDEN, HostInsight, attributes, bad, may_bring_code, may_get, number};

/// How many runs are replayed where nothing is said.
const LAST: u64 = 100;

/// The most versions of one bisection.
const VERSIONS_MAX: usize = 64;

/// Differing objects are shown for so many runs of an answer that is one document.
const SHOWN_MAX: usize = 1_000;

impl HostInsight {
    pub(super) async fn replay(&self, question: Question) -> Result<Reply, Status> {
        let runs = self.runs_of(&question).await?;
        if let Some(digests) = question.parameter("bisect") {
            return self.bisect(digests, &runs).await;
        }
        let source = self.source(&question).await?;
        let registry = self.runtime.registry().clone();
        if question.form == Form::Lines {
            return Ok(streamed(Replays::new(registry, source, runs), question.rights));
        }
        let mut found: Vec<Replayed> = Vec::new();
        let summary = replay(&registry, &source, &runs, |replayed| {
            if replayed.verdict != Verdict::Identical && found.len() < SHOWN_MAX {
                found.push(replayed);
            }
        });
        let summary = summary.await;
        let runs = found.into_iter().map(|replayed| told(replayed, &question.rights));
        Ok(Reply::Json(json!({"summary": summary, "runs": runs.collect::<Vec<_>>()})))
    }

    async fn runs_of(&self, question: &Question) -> Result<Vec<Arc<RunRecord>>, Status> {
        if let Some(run) = question.parameter("run") {
            let record = self.record(run).await?;
            may_get(question, &record.object)?;
            return Ok(vec![record]);
        }
        let last = number(question, "last")?.unwrap_or(LAST).min(LIMIT_MAX);
        let last = usize::try_from(last).unwrap_or(usize::MAX);
        let query = Self::query(question)?;
        if query.plugin.is_none() && query.object.is_none() {
            return Err(bad("replay needs the parameter run, plugin or resource"));
        }
        self.runtime.find_runs(&query, last).await.map_err(|error| unreadable(&error))
    }

    async fn source(&self, question: &Question) -> Result<Arc<dyn CodeSource>, Status> {
        let manager = self.manager.clone();
        let component = match question.parameter("digest") {
            _ if !question.body.is_empty() => {
                may_bring_code(question)?;
                manager.foreign_component(&question.body).await
            }
            Some(digest) => manager.component(digest).await,
            None => return Ok(Arc::new(Recorded { manager })),
        };
        let component = component.map_err(|error| Status::new(Reason::Invalid, chain(&error)))?;
        Ok(Arc::new(Other { component }))
    }

    async fn bisect(&self, digests: &str, runs: &[Arc<RunRecord>]) -> Result<Reply, Status> {
        let digests: Vec<&str> = digests.split(',').filter(|digest| !digest.is_empty()).collect();
        if digests.is_empty() || digests.len() > VERSIONS_MAX {
            return Err(bad(format!("bisect takes between 1 and {VERSIONS_MAX} digests")));
        }
        let registry = self.runtime.registry().clone();
        let mut versions: Vec<Arc<dyn CodeSource>> = Vec::new();
        for digest in &digests {
            let component = self.manager.component(digest).await;
            let component =
                component.map_err(|error| Status::new(Reason::Invalid, chain(&error)))?;
            versions.push(Arc::new(Other { component }));
        }
        let mut steps = Vec::new();
        let first = bisect(&registry, &versions, runs, |at, summary| {
            steps.push(json!({"digest": digests.get(at), "summary": summary}));
        });
        let first = first.await.and_then(|at| digests.get(at));
        Ok(Reply::Json(json!({"first": first, "steps": steps, "runs": runs.len()})))
    }
}

/// Each result as a line when it is there, then the summary. The replay ends when nobody reads.
fn streamed(replays: Replays, rights: Rights) -> Reply {
    let lines = stream::unfold(Some((replays, rights)), |state| async move {
        let (mut replays, rights) = state?;
        match replays.next().await {
            Some(replayed) => {
                let value = told(replayed, &rights);
                Some((text(&value), Some((replays, rights))))
            }
            None => Some((text(&json!({"summary": replays.summary()})), None)),
        }
    });
    Reply::Lines(Box::pin(lines))
}

/// A result as it is told to somebody: what they may not get is neither named nor shown, nor is what runs said of it.
pub(super) fn told(mut replayed: Replayed, rights: &Rights) -> Value {
    let sees = |key: &Key| rights.allow("get", attributes(key));
    let sees_object = sees(&replayed.key);
    if !sees_object {
        HIDDEN.clone_into(&mut replayed.object);
    }
    for difference in replayed.differences.iter_mut().filter(|of| !sees(&of.key)) {
        HIDDEN.clone_into(&mut difference.object);
        "(you may not get this object)\n".clone_into(&mut difference.diff);
    }
    let ends = replayed.ends.take();
    let mut value = serde_json::to_value(replayed).unwrap_or_default();
    if let Some((recorded, now)) = ends {
        value["ends"] =
            [recorded, now].iter().map(|end| end_told(end, sees_object, &sees)).collect();
    }
    value
}

fn text(value: &Value) -> Bytes {
    format!("{value}\n").into()
}

/// The component that ran, by its digest.
#[derive(Debug)]
struct Recorded {
    manager: PluginManager,
}

/// Another component, with the settings of the run.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) component: LoadedComponent,
}

impl CodeSource for Recorded {
    fn code<'a>(&'a self, code: &'a RunCode) -> BoxFuture<'a, Result<Code, CodeMissing>> {
        Box::pin(async move {
            check_is_component(code).map_err(|error| missing(&error))?;
            let component = self.manager.component(&code.spec.digest).await;
            ready(&component.map_err(|error| missing(&error))?, code)
        })
    }
}

impl CodeSource for Other {
    fn code<'a>(&'a self, code: &'a RunCode) -> BoxFuture<'a, Result<Code, CodeMissing>> {
        Box::pin(async move { ready(&self.component, code) })
    }
}

fn ready(component: &LoadedComponent, code: &RunCode) -> Result<Code, CodeMissing> {
    let (spec, reconciler) = component.code_for(code).map_err(|e| missing(&e))?;
    Ok(Code { spec, reconciler })
}

fn missing(error: &CodeError) -> CodeMissing {
    CodeMissing(chain(error))
}
