//! What a daemon set's status says.

use quadrille_sdk::prelude::*;

use crate::Work;
use crate::kinds::DaemonSetStatus;
use crate::placement::Fit;

impl Work<'_> {
    /// The counts of the nodes, by the oldest pod on each.
    pub(crate) fn status(&self, collision_count: Option<i64>) -> DaemonSetStatus {
        let mut status = DaemonSetStatus {
            observed_generation: self.set.metadata.generation,
            collision_count,
            conditions: self.set.status.conditions.clone(),
            ..DaemonSetStatus::default()
        };
        for (node, fit) in &self.nodes {
            let pods = self.pods.get(node.name()).map_or(&[][..], Vec::as_slice);
            if *fit != Fit::Yes {
                status.number_misscheduled += i64::from(!pods.is_empty());
                continue;
            }
            status.desired_number_scheduled += 1;
            if pods.is_empty() {
                continue;
            }
            status.current_number_scheduled += 1;
            // A pod that is ready and one that is updated need not be the same during an update.
            let any = |holds: &dyn Fn(&Pod) -> bool| i64::from(pods.iter().any(holds));
            status.number_ready += any(&Pod::is_ready);
            status.number_available += any(&|pod| self.is_available(pod));
            status.updated_number_scheduled += any(&|pod| self.is_updated(pod));
        }
        status.number_unavailable = status.desired_number_scheduled - status.number_available;
        status
    }
}
