//! `GET /quadrille/waiting`: what objects wait for, and who waits for each other.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use quadrille_insight::waiting::{AllWaiting, Missing, Place, waiting};
use quadrille_registry::{Reason, Status};
use quadrille_runtime::RunQuery;
use quadrille_server::{Form, Question, Reply, Rights};
use serde_json::json;

use super::{HIDDEN, HostInsight, attributes, may_list, object};

/// How many of the newest runs are looked through for the last one of each key.
const RUNS_MAX: usize = 20_000;
/// The same where one object is asked about.
const RUNS_OF_ONE_MAX: usize = 500;

impl HostInsight {
    /// Of one object, or of all that are not ready; those that the asker may not get are left out,
    /// and not named where others wait for them.
    pub(super) async fn waiting(&self, question: &Question) -> Result<Reply, Status> {
        let of_one = object(question)?;
        let limit = if of_one.is_some() { RUNS_OF_ONE_MAX } else { RUNS_MAX };
        let query = RunQuery { object: of_one.clone(), ..RunQuery::default() };
        let runs = self.runtime.find_runs(&query, limit).await;
        let mut runs =
            runs.map_err(|error| Status::new(Reason::InternalError, error.to_string()))?;
        let truncated = runs.len() == limit;
        // The newest come first, so the first of a key and a controller is its last run.
        let mut seen = BTreeSet::new();
        runs.retain(|run| {
            let name = (run.object.clone(), Arc::clone(run.plugin()), Arc::clone(run.controller()));
            seen.insert(name) && question.rights.allow("get", attributes(&run.object))
        });
        let snapshot = self.store.snapshot();
        let awake = self.runtime.awake();
        let mut answer = waiting(&snapshot, &runs, |key| awake.contains(key), of_one.is_some());
        for missing in answer.waiting.iter_mut().flat_map(|waiting| &mut waiting.waits_for) {
            hide(&question.rights, missing);
        }
        let text = told(&answer);
        if question.form == Form::Text {
            return Ok(Reply::Text(text));
        }
        Ok(Reply::Json(json!({
            "waiting": answer.waiting, "deadlocks": answer.deadlocks,
            "truncated": truncated, "text": text,
        })))
    }
}

fn hide(rights: &Rights, missing: &mut Missing) {
    let is_told = match &missing.place {
        Place::Object(key) => rights.allow("get", attributes(key)),
        Place::List(resource, namespace) => may_list(rights, resource, namespace.as_deref()),
    };
    if !is_told {
        HIDDEN.clone_into(&mut missing.of);
        missing.message = None;
    }
}

fn told(answer: &AllWaiting) -> String {
    let mut out = String::new();
    for waiting in &answer.waiting {
        let own = waiting.unready.as_deref().map(|own| format!(" ({own})")).unwrap_or_default();
        let lines = [format!("{}{own}", waiting.object)].into_iter();
        let lines = lines.chain([format!("  {}, run {}", waiting.controller, waiting.run)]);
        let failed = waiting.failure.iter().map(|message| format!("    failed: {message}"));
        let missing = waiting.waits_for.iter().map(|missing| {
            let message = missing.message.as_deref().map(|m| format!(": {m}")).unwrap_or_default();
            format!("    waits for {} ({}){message}", missing.of, missing.what)
        });
        for line in lines.chain(failed).chain(missing) {
            out.extend([line.as_str(), "\n"]);
        }
    }
    for deadlock in &answer.deadlocks {
        let circle = deadlock.join(" → ");
        let first = deadlock.first().map_or("", String::as_str);
        let drawn = writeln!(out, "deadlock: {circle} → {first}: each waits for the next");
        debug_assert!(drawn.is_ok(), "writing into memory");
    }
    if out.is_empty() {
        out.push_str("nothing waits\n");
    }
    out
}
