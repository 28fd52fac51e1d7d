//! What a stateful set's status says.

use quadrille_sdk::prelude::*;

use crate::kinds::StatefulSetStatus;
use crate::{Work, identity, is_running};

impl Work<'_> {
    /// The counts of the pods, and the revisions: when every pod is of the newest one, that is the current one.
    pub(crate) fn status(&self, collisions: i64) -> StatefulSetStatus {
        let count = |pick: &dyn Fn(&&Pod) -> bool| {
            i64::try_from(self.pods.iter().filter(pick).count()).unwrap_or(i64::MAX)
        };
        let of = |revision: &str, pod: &Pod| {
            !pod.metadata.is_terminating() && identity::revision(pod) == revision
        };
        let mut status = StatefulSetStatus {
            observed_generation: self.set.metadata.generation,
            replicas: count(&|_| true),
            ready_replicas: count(&|pod| is_running(pod)),
            available_replicas: count(&|pod| self.is_available(pod)),
            current_replicas: count(&|pod| of(&self.current.name, pod)),
            updated_replicas: count(&|pod| of(&self.newest.name, pod)),
            current_revision: self.current.name.clone(),
            update_revision: self.newest.name.clone(),
            collision_count: Some(collisions),
            conditions: self.set.status.conditions.clone(),
        };
        let wanted = self.set.wanted();
        let counts = [status.updated_replicas, status.ready_replicas, status.replicas];
        if self.set.rolls() && counts == [wanted; 3] {
            status.current_replicas = status.updated_replicas;
            status.current_revision.clone_from(&status.update_revision);
        }
        status
    }
}
