//! The judge: reads journals, and knows nothing of hosts.
//!
//! [`history`](crate::check::History) is the one order of changes, from the referee's journal; it must have every revision
//! once. [`writers`] holds the acknowledgements against it, [`watchers`] every list and every stream. A request whose
//! outcome is unknown may have happened or not; everything else is certain. What watchers saw after the referee had gone
//! is left out.

mod history;
mod watchers;
mod writers;

use std::path::Path;

use crate::journal::{self, Change, Item, Said, Seen};
use crate::watcher::Scope;

pub use history::History;

/// How many violations are told.
const TOLD_MAX: usize = 20;

/// All journals of a run.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// What the referee saw.
    pub changes: Vec<Change>,
    /// One journal per writer.
    pub writers: Vec<Vec<Said>>,
    /// One journal per watcher, and what it watched.
    pub watchers: Vec<(Scope, Vec<Seen>)>,
    /// The objects that were there at the end, and the revision of that list.
    pub last: (u64, Vec<Item>),
}

impl Record {
    /// Reads the journals of a folder.
    pub fn read(dir: &Path, writers: usize, scopes: &[(String, Scope)]) -> anyhow::Result<Self> {
        let changes = journal::read(&dir.join("referee"))?;
        let of_writer = |number| journal::read(&dir.join(format!("writer-{number}")));
        let writers = (0..writers).map(of_writer).collect::<anyhow::Result<_>>()?;
        let of_watcher =
            |(name, scope): &(String, Scope)| Ok((scope.clone(), journal::read(&dir.join(name))?));
        let watchers = scopes.iter().map(of_watcher).collect::<anyhow::Result<_>>()?;
        Ok(Self { changes, writers, watchers, last: (0, Vec::new()) })
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What cannot be, the first of each journal.
    pub violations: Vec<String>,
    /// Changes of all resources.
    pub changes: usize,
    /// Acknowledged writes, each of which was looked for.
    pub acknowledged: usize,
    /// Writes whose outcome their writer never learned, and how many of those happened.
    pub unknown: (usize, usize),
    /// Reads of one object that were checked for being up to date.
    pub reads: usize,
    /// Answers that an object is not there, which were checked the same way.
    pub absences: usize,
    /// Watch events that were compared.
    pub events: usize,
    /// Streams that were resumed.
    pub resumed: usize,
    /// Lists that were compared with the state at their revision.
    pub lists: usize,
    /// Bookmarks.
    pub bookmarks: usize,
    /// Backups that were restored and compared.
    pub backups: usize,
    /// Journeys to a revision that was too old.
    pub expired: usize,
    /// Watchers that lost their place because it was too old.
    pub relists: usize,
}

impl Found {
    pub(crate) fn violate(&mut self, what: String) {
        if self.violations.len() < TOLD_MAX {
            self.violations.push(what);
        }
    }
}

/// Judges a run.
pub fn check(record: &Record) -> Found {
    judge(record).1
}

/// The same; answers the order of changes, too.
pub(crate) fn judge(record: &Record) -> (History, Found) {
    let mut found = Found { changes: record.changes.len(), ..Found::default() };
    let history = History::new(&record.changes, &mut found);
    writers::check(&record.writers, &history, &mut found);
    for (number, (scope, seen)) in record.watchers.iter().enumerate() {
        watchers::check(number, scope, seen, &history, &mut found);
    }
    let (revision, items) = &record.last;
    watchers::check_list("the last list", &Scope::All, *revision, items, &history, &mut found);
    (history, found)
}

#[cfg(test)]
mod tests;
