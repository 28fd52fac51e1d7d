//! `GET /quadrille/runs`, `…/runs/RUN` and `…/runs/RUN/case`: the record of runs.

use std::sync::Arc;

use quadrille_insight::runs;
use quadrille_object::GroupResource;
use quadrille_registry::{Reason, Status};
use quadrille_runtime::{CaseError, FindError, RunCase, RunQuery, RunRecord};
use quadrille_server::{Question, Reply};
use quadrille_store::Key;
use serde_json::json;

use super::settled::refused;
use super::{HostInsight, bad, may_get, number, object};

/// Runs of a list where nothing else is asked for.
const LIMIT: u64 = 50;

/// The most runs of one list, and of one replay.
pub(super) const LIMIT_MAX: u64 = 100_000;

impl HostInsight {
    /// The newest runs for an object, of a plugin, or of all plugins.
    pub(super) async fn runs(&self, question: &Question) -> Result<Reply, Status> {
        let query = Self::query(question)?;
        let limit = number(question, "limit")?.unwrap_or(LIMIT).min(LIMIT_MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let found = self.runtime.find_runs(&query, limit).await;
        let found = found.map_err(|error| unreadable(&error))?;
        let told: Vec<_> = found.iter().map(|record| runs::brief(record)).collect();
        Ok(Reply::Json(json!({"runs": told})))
    }

    /// One run, or what it takes to make it again elsewhere.
    pub(super) async fn run(&self, question: &Question, path: &str) -> Result<Reply, Status> {
        let mut parts = path.split('/').skip(1);
        let (text, rest) = (parts.next().unwrap_or_default(), parts.next());
        let record = self.record(text).await?;
        may_get(question, &record.object)?;
        match (rest, parts.next()) {
            (None, _) => Ok(Reply::Json(runs::whole(&record))),
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

/// The refusal when the journal cannot be read.
pub(super) fn unreadable(error: &FindError) -> Status {
    Status::new(Reason::ServiceUnavailable, quadrille_kit::supervisor::chain(error))
}
