//! Finding runs again: the newest in memory, the others in the journal.

use std::collections::BTreeSet;
use std::sync::Arc;

use quadrille_store::{JournalError, JournalQuery, Key};

use crate::record::{RecordError, RunRecord};
use crate::runtime::Runtime;

/// Entries of the journal that are read at once.
const PAGE: usize = 256;

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
    /// The newest runs of a query, newest first, as far back as the journal goes.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn find_runs(
        &self,
        query: &RunQuery,
        limit: usize,
    ) -> Result<Vec<Arc<RunRecord>>, FindError> {
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
}
