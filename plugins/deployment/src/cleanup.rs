//! The history: old sets beyond the limit go.

use quadrille_sdk::prelude::*;

use crate::new_set::revision;
use crate::{Work, size};

impl Work<'_> {
    /// Deletes the oldest of the sets without pods, until no more than the limit are left.
    pub(crate) fn cleanup(&mut self) -> Result<()> {
        let limit = self.deployment.spec.revision_history_limit.unwrap_or(10);
        if limit == i64::from(i32::MAX) {
            return Ok(());
        }
        let limit = usize::try_from(limit).unwrap_or(0);
        let mut alive: Vec<_> =
            self.old.iter().filter(|set| !set.metadata.is_terminating()).collect();
        alive.sort_by_key(|set| revision(&set.metadata));
        let extra = alive.len().saturating_sub(limit);
        for set in alive.into_iter().take(extra) {
            let settled = set.metadata.generation <= set.status.observed_generation;
            if settled && size(set) == 0 && set.status.replicas == 0 {
                self.ctx.delete(set)?;
            }
        }
        Ok(())
    }
}
