//! `GET /quadrille/runs`, `…/runs/RUN` and `…/runs/RUN/case`: the record of runs.

use std::sync::Arc;

use quadrille_insight::runs;
use quadrille_object::GroupResource;
use quadrille_registry::{Reason, Status};
use quadrille_runtime::case::end_text;
use quadrille_runtime::{CaseError, FindError, RunCase, RunEnd, RunQuery, RunRecord};
use quadrille_server::{Question, Reply, Rights};
use quadrille_store::{Key, Range};
use serde_json::{Value, json};

use super::settled::refused;
use super::{HIDDEN, HostInsight, attributes, bad, may_get, may_list, number, object};

/// Runs of a list where nothing else is asked for.
const LIMIT: u64 = 50;

/// So many runs are told before others get the thread.
const TOLD_AT_ONCE: usize = 1_000;

/// The most runs of one list, and of one replay.
pub(super) const LIMIT_MAX: u64 = 100_000;

impl HostInsight {
    /// The newest runs for an object, of a plugin, or of all plugins. Objects that the asker may not get are hidden.
    pub(super) async fn runs(&self, question: &Question) -> Result<Reply, Status> {
        let query = Self::query(question)?;
        let limit = number(question, "limit")?.unwrap_or(LIMIT).min(LIMIT_MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let found = self.runtime.find_runs(&query, limit).await;
        let found = found.map_err(|error| unreadable(&error))?;
        let rights = &question.rights;
        let mut told = Vec::with_capacity(found.len());
        for some in found.chunks(TOLD_AT_ONCE) {
            told.extend(some.iter().map(|record| listed(rights, record)));
            tokio::task::yield_now().await;
        }
        Ok(Reply::Json(json!({"runs": told})))
    }

    /// One run, or what it takes to make it again elsewhere.
    pub(super) async fn run(&self, question: &Question, path: &str) -> Result<Reply, Status> {
        let mut parts = path.split('/').skip(1);
        let (text, rest) = (parts.next().unwrap_or_default(), parts.next());
        let record = self.record(text).await?;
        may_get(question, &record.object)?;
        match (rest, parts.next()) {
            (None, _) => Ok(Reply::Json(hidden(&question.rights, &record))),
            (Some("case"), None) => self.case(question, &record).await,
            _ => Err(Status::new(Reason::NotFound, format!("there is no /quadrille/{path}"))),
        }
    }

    /// Which runs a question means; who asks for those of an object must be allowed to get it, and else the plugin.
    pub(super) fn query(question: &Question) -> Result<RunQuery, Status> {
        let plugin: Option<Arc<str>> = question.parameter("plugin").map(Into::into);
        let object = object(question)?;
        if object.is_none() {
            let plugins = GroupResource::new("quadrille.dev", "plugins");
            may_get(question, &Key::new(plugins, "", plugin.as_deref().unwrap_or_default()))?;
        }
        let flag = |name: &str| question.parameter(name).is_some_and(|value| value != "false");
        let controller = question.parameter("controller").map(Into::into);
        let (failed, wrote) = (flag("failed"), flag("wrote"));
        Ok(RunQuery { object, plugin, controller, failed, wrote })
    }

    /// A run by its number.
    pub(super) async fn record(&self, text: &str) -> Result<Arc<RunRecord>, Status> {
        let run: u64 = text.parse().map_err(|_| bad(format!("{text:?} is no run's number")))?;
        let found = self.runtime.find_run(run).await.map_err(|error| unreadable(&error))?;
        found.ok_or_else(|| {
            let message = format!(
                "no run {run} is in the journal: it never was, or it is older than the journal goes back"
            );
            Status::new(Reason::NotFound, message)
        })
    }

    async fn case(&self, question: &Question, record: &RunRecord) -> Result<Reply, Status> {
        let snapshot = self.store.snapshot_at(record.snapshot).await;
        let snapshot = snapshot.map_err(|error| refused(&error))?;
        let case = RunCase::export(record, &snapshot, self.runtime.registry()).await;
        let case = case.map_err(|error: CaseError| bad(error.to_string()))?;
        for key in case.keys() {
            may_get(question, key)?;
        }
        Ok(Reply::Json(serde_json::to_value(&case).unwrap_or_default()))
    }
}

/// A run of a list as it is told to somebody. A list tells of the object and the end alone, so that is all that is decided.
pub(super) fn listed(rights: &Rights, record: &RunRecord) -> Value {
    let mut value = runs::brief(record);
    hide_object(rights, record, &mut value);
    value
}

/// The object of a run where they may not get it, and what it said of that in the end.
fn hide_object(rights: &Rights, record: &RunRecord, value: &mut Value) {
    let sees = |key: &Key| rights.allow("get", attributes(key));
    let sees_object = sees(&record.object);
    if !sees_object {
        hide(value.get_mut("object"));
    }
    if let Some(end) = value.get_mut("end") {
        *end = end_told(&record.end, sees_object, &sees).into();
    }
}

fn hide(value: Option<&mut Value>) {
    if let Some(value) = value {
        *value = HIDDEN.into();
    }
}

/// A run as it is told to somebody: what it read, wrote and was woken by that they may not get is not named, nor what
/// it said of an object that they may not get.
fn hidden(rights: &Rights, record: &RunRecord) -> Value {
    let mut value = runs::whole(record);
    let sees = |key: &Key| rights.allow("get", attributes(key));
    hide_object(rights, record, &mut value);
    for (at, _) in record.wakes.iter().enumerate().filter(|(_, wake)| !sees(&wake.key)) {
        hide(value.pointer_mut(&format!("/shown/{at}/object")));
    }
    for (at, _) in record.writes.iter().enumerate().filter(|(_, write)| !sees(&write.key)) {
        hide(value.pointer_mut(&format!("/writes/{at}/object")));
        // It would tell whether a guess of the content is right.
        hide(value.pointer_mut(&format!("/writes/{at}/hash")));
    }
    for (place, keys) in
        [("/reads/keys", &record.reads.keys), ("/reads/empty/keys", &record.empty.keys)]
    {
        for (at, _) in keys.iter().enumerate().filter(|(_, key)| !sees(key)) {
            hide(value.pointer_mut(&format!("{place}/{at}")));
        }
    }
    let lists = |range: &Range| may_list(rights, &range.resource, range.namespace.as_deref());
    for (place, ranges) in [
        ("/reads/ranges", &record.reads.ranges),
        ("/reads/weak", &record.reads.weak),
        ("/reads/empty/ranges", &record.empty.ranges),
    ] {
        for (at, _) in ranges.iter().enumerate().filter(|(_, range)| !lists(range)) {
            hide(value.pointer_mut(&format!("{place}/{at}")));
        }
    }
    value
}

/// How a run ended, less what it said of an object that is hidden.
pub(super) fn end_told(end: &RunEnd, sees_object: bool, sees: &dyn Fn(&Key) -> bool) -> String {
    match end {
        RunEnd::Failed { kind, .. } if !sees_object => format!("{kind}: {HIDDEN}"),
        RunEnd::Conflict { key: Some(key) } if !sees(key) => {
            format!("thrown away: {HIDDEN} changed")
        }
        end @ (RunEnd::Done { .. }
        | RunEnd::Failed { .. }
        | RunEnd::Conflict { .. }
        | RunEnd::Fenced) => end_text(end),
    }
}

/// The refusal when the journal cannot be read.
pub(super) fn unreadable(error: &FindError) -> Status {
    Status::new(Reason::ServiceUnavailable, quadrille_kit::supervisor::chain(error))
}
