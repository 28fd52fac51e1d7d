//! Finding runs again: the newest in memory, the others in the journal.
//!
//! A commit is visible a moment before the run's task hears of it and keeps the record. So whoever asks waits for the runs
//! that are between the two: who has seen what a run wrote finds the run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quadrille_store::{JournalError, JournalQuery, Key};

use crate::record::{RecordError, RunRecord};
use crate::runtime::Runtime;

/// Entries of the journal that are read at once.
const PAGE: usize = 256;

/// How long a question waits for runs that commit: longer than the longest turn that keeps others from it, so that nobody
/// waits in vain but where the disk stands still. What is not recorded by then is not found yet.
const COMMITS_MAX: Duration = Duration::from_secs(10);

/// Why runs cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The journal cannot be read.
    #[error("the journal of runs cannot be read")]
    Journal(#[source] JournalError),
    /// A record in it cannot be understood.
    #[error("a record cannot be understood")]
    Record(#[source] RecordError),
}

/// Which runs are meant; all without a condition.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Only those for this object.
    pub object: Option<Key>,
    /// Only those of this plugin.
    pub plugin: Option<Arc<str>>,
    /// Only those of this controller.
    pub controller: Option<Arc<str>>,
    /// Only those that ended badly.
    pub failed: bool,
    /// Only those that committed something.
    pub wrote: bool,
}

impl RunQuery {
    /// Whether a run is meant.
    pub fn matches(&self, record: &RunRecord) -> bool {
        self.object.as_ref().is_none_or(|key| record.object == *key)
            && self.plugin.as_ref().is_none_or(|plugin| record.plugin() == plugin)
            && self.controller.as_ref().is_none_or(|name| record.controller() == name)
            && (!self.failed || record.has_failed())
            && (!self.wrote || record.has_committed())
    }

    fn of_journal(&self) -> JournalQuery {
        match (&self.object, &self.plugin) {
            (Some(key), _) => JournalQuery::Object(RunRecord::object_tag(key)),
            (None, Some(plugin)) => JournalQuery::Plugin(RunRecord::plugin_tag(plugin)),
            (None, None) => JournalQuery::All,
        }
    }
}

impl Runtime {
    /// The newest runs of a query, newest first, as far back as the journal goes; each run is among them whose writes were
    /// visible before it was asked.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn find_runs(
        &self,
        query: &RunQuery,
        limit: usize,
    ) -> Result<Vec<Arc<RunRecord>>, FindError> {
        let committing = self.shared.lock().committing.clone();
        self.recorded(committing).await;
        let mut found = self.shared.lock().records.newest(limit, |record| query.matches(record));
        let Some(journal) = self.shared.config.journal.as_ref() else { return Ok(found) };
        if found.len() >= limit {
            return Ok(found);
        }
        journal.flush().await;
        let seen: BTreeSet<u64> = found.iter().map(|record| record.run).collect();
        let mut from = None;
        loop {
            let page = journal.newest(query.of_journal(), from, PAGE).await;
            let page = page.map_err(FindError::Journal)?;
            for record in page.records.iter().filter(|record| !seen.contains(&record.number)) {
                let record = RunRecord::read(record).map_err(FindError::Record)?;
                if query.matches(&record) {
                    found.push(Arc::new(record));
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            from = page.next;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// One run by its number; `None` when it is not known, or not any more.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn find_run(&self, run: u64) -> Result<Option<Arc<RunRecord>>, FindError> {
        let committing = self.shared.lock().committing.get(&run).copied();
        self.recorded(committing.into_iter().collect()).await;
        let in_memory = self.shared.lock().records.newest(1, |record| record.run == run);
        if let Some(record) = in_memory.into_iter().next() {
            return Ok(Some(record));
        }
        let Some(journal) = self.shared.config.journal.as_ref() else { return Ok(None) };
        journal.flush().await;
        let found = journal.read(run).await.map_err(FindError::Journal)?;
        let record = found.as_ref().map(RunRecord::read).transpose();
        Ok(record.map_err(FindError::Record)?.map(Arc::new))
    }

    /// Waits until runs that commit have their records.
    async fn recorded(&self, mut committing: BTreeSet<u64>) {
        if committing.is_empty() {
            return;
        }
        let deadline = self.shared.clock.sleep(COMMITS_MAX);
        tokio::pin!(deadline);
        loop {
            let progress = self.shared.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            committing.retain({
                let state = self.shared.lock();
                move |run| state.committing.contains(run)
            });
            if committing.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = progress => {}
                () = &mut deadline => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::ControllerName;
    use crate::testing::{Host, Patience, map_key, native, runnable, spec, target, transient};
    use crate::{Outcome, Overlay};

    /// A controller that marks its objects.
    fn marking(host: &Host) -> Arc<dyn crate::Reconciler> {
        let maps = host.maps();
        native(move |request, overlay: &mut Overlay| {
            let patch = quadrille_registry::Body::from(json!({"data": {"marked": "yes"}}));
            let action =
                quadrille_registry::Action::Patch(quadrille_registry::PatchFormat::Merge, patch);
            let target = target(&maps, "default", Some(&request.key.name));
            overlay
                .write(target, action, quadrille_registry::WriteOptions::default())
                .map_err(transient)?;
            Ok(Outcome::Done)
        })
    }

    /// Creates an object and waits until it shows that it is marked; nothing more.
    async fn seen_marked(host: &Host, name: &str) -> RunQuery {
        host.map(name, runnable()).await;
        let patience = Patience::default();
        while host.value(&map_key(name))["data"]["marked"] != "yes" {
            assert!(patience.is_left(), "{name} is never marked");
            tokio::task::yield_now().await;
        }
        RunQuery { object: Some(map_key(name)), wrote: true, ..RunQuery::default() }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_has_seen_what_a_run_wrote_finds_the_run() {
        let host = Host::new(false).await;
        host.runtime.add(spec("marking"), marking(&host)).expect("new");
        for at in 0..50 {
            let query = seen_marked(&host, &format!("m{at}")).await;
            let found = host.runtime.find_runs(&query, 10).await.expect("in memory");
            assert_eq!(found.len(), 1, "m{at}");
            let run = host.runtime.find_run(found[0].run).await.expect("in memory");
            assert!(run.is_some());
        }
        host.settle().await;
        assert!(host.runtime.shared.lock().committing.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_that_committed_is_found_though_its_controller_went_meanwhile() {
        let host = Host::new(false).await;
        for at in 0..20 {
            host.runtime.add(spec("marking"), marking(&host)).expect("new");
            let query = seen_marked(&host, &format!("m{at}")).await;
            host.runtime.remove(&ControllerName::new("demo", "marking")).expect("known");
            let found = host.runtime.find_runs(&query, 10).await.expect("in memory");
            assert_eq!(found.len(), 1, "m{at}");
            host.settle().await;
        }
    }
}
