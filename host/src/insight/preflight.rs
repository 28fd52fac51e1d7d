//! The preflight of a plugin's next version: its newest runs made again with the candidate, for the plugin manager.

use std::sync::Arc;

use quadrille_component::{LoadedComponent, PreflightReport, PreflightRunner};
use quadrille_insight::{CodeSource, Replayed, Verdict, replay};
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::supervisor::chain;
use quadrille_runtime::{RunQuery, Runtime};
use serde_json::Value;

use super::replay::Other;

/// Differing runs that a status shows; a status is an object that everybody lists.
const SHOWN_MAX: usize = 10;

/// The longest difference that a status shows, in bytes.
const SHOWN_BYTES_MAX: usize = 8 * 1024;

/// Makes runs of the journal again.
#[derive(Debug)]
pub(crate) struct JournalPreflight {
    pub(crate) runtime: Runtime,
}

impl PreflightRunner for JournalPreflight {
    fn preflight<'a>(
        &'a self,
        plugin: &'a str,
        candidate: &'a LoadedComponent,
        runs: usize,
    ) -> BoxFuture<'a, Result<PreflightReport, String>> {
        Box::pin(async move {
            let query = RunQuery { plugin: Some(plugin.into()), ..RunQuery::default() };
            let runs = self.runtime.find_runs(&query, runs).await;
            let runs = runs.map_err(|error| chain(&error))?;
            let source: Arc<dyn CodeSource> = Arc::new(Other { component: candidate.clone() });
            let mut differences = Vec::new();
            let summary = replay(self.runtime.registry(), &source, &runs, |replayed| {
                if replayed.verdict == Verdict::Different && differences.len() < SHOWN_MAX {
                    differences.push(shown(replayed));
                }
            });
            let summary = summary.await;
            Ok(PreflightReport {
                runs: summary.identical + summary.different,
                differing: summary.different,
                skipped: summary.impossible,
                differences,
            })
        })
    }
}

/// A difference as a status shows it. What is in secrets stays out of it: who may read plugins may not read those.
fn shown(mut replayed: Replayed) -> Value {
    for difference in &mut replayed.differences {
        if difference.key.resource.group.is_empty()
            && *difference.key.resource.resource == *"secrets"
        {
            "(a Secret)\n".clone_into(&mut difference.diff);
        }
        let end = difference.diff.floor_char_boundary(SHOWN_BYTES_MAX);
        difference.diff.truncate(end);
    }
    serde_json::to_value(replayed).unwrap_or_default()
}
