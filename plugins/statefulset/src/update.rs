//! A rolling update: pods of an old revision go, highest number first, as many at once as may be missing.

use quadrille_sdk::prelude::*;

use crate::{Refused, Work, identity};

impl Work<'_> {
    /// Takes away pods of an old revision.
    pub(crate) fn replace(&mut self) -> Result<(), Refused> {
        if !self.set.rolls() {
            return Ok(());
        }
        let numbers = self.set.numbers();
        let mut pods: Vec<(i64, Pod)> = self.numbered();
        pods.retain(|(number, _)| numbers.contains(number));
        pods.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let missing = pods.iter().filter(|(_, pod)| self.is_unavailable(pod)).count();
        let mut may_go = self.max_unavailable().saturating_sub(missing);
        let lowest = self.set.start() + self.set.partition().unwrap_or(0);
        let old = |pod: &Pod| {
            identity::revision(pod) != self.newest.name && !pod.metadata.is_terminating()
        };
        pods.retain(|(number, pod)| *number >= lowest && old(pod));
        for (_, pod) in pods {
            // An old pod that is missing anyway costs nothing.
            if !self.is_unavailable(&pod) {
                let Some(left) = may_go.checked_sub(1) else { break };
                may_go = left;
            }
            self.delete(&pod)?;
        }
        Ok(())
    }

    fn max_unavailable(&self) -> usize {
        let rolling = self.set.spec.update_strategy.rolling_update.as_ref();
        let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let most = most.map_or(1, |most| most.of(self.set.wanted(), false)).max(1);
        usize::try_from(most).unwrap_or(1)
    }
}
