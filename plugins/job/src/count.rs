//! Counting finished pods, each once.

use quadrille_sdk::prelude::*;

use crate::{TRACKING, Work, index, pods};

impl Work<'_> {
    /// Adds the finished pods that hold the finalizer to the counts, and takes it from them in the same commit.
    pub(crate) fn count_finished(&mut self) -> Result<()> {
        let mut done = index::parse(self.status.completed_indexes.as_deref().unwrap_or(""));
        let (mut succeeded, mut failed) = (0, 0);
        for pod in &self.pods {
            let (has_succeeded, has_failed) = (pod.phase() == "Succeeded", self.is_failed(pod));
            if !is_tracked(pod) || !(has_succeeded || has_failed) {
                continue;
            }
            if has_failed {
                failed += 1;
            } else if !self.is_indexed() {
                succeeded += 1;
            } else if let Some(index) = self.index_of(pod) {
                done.insert(index);
            }
            pods::release(self.ctx, pod)?;
        }
        if self.is_indexed() {
            self.status.completed_indexes = Some(index::format(&done)).filter(|s| !s.is_empty());
            let count = i64::try_from(done.len()).unwrap_or(i64::MAX);
            self.status.succeeded = Some(count).filter(|count| *count > 0);
        } else if succeeded > 0 {
            self.status.succeeded = Some(self.succeeded() + succeeded);
        }
        if failed > 0 {
            self.status.failed = Some(self.failed() + failed);
        }
        self.forget_released();
        Ok(())
    }

    /// A deleted pod counts as failed too, unless only failed ones are replaced.
    fn is_failed(&self, pod: &Pod) -> bool {
        let only_failed = self.job.spec.pod_replacement_policy.as_deref() == Some("Failed");
        pod.phase() == "Failed"
            || (pod.metadata.is_terminating() && pod.phase() != "Succeeded" && !only_failed)
    }

    /// The index of a pod, when it is one of the job's.
    fn index_of(&self, pod: &Pod) -> Option<i64> {
        let completions = self.job.spec.completions.unwrap_or(0);
        index::of(pod).filter(|index| (0..completions).contains(index))
    }

    /// Terminating pods that were held by nothing else are gone now.
    fn forget_released(&mut self) {
        let only_failed = self.job.spec.pod_replacement_policy.as_deref() == Some("Failed");
        self.pods.retain(|pod| {
            let finished = matches!(pod.phase(), "Succeeded" | "Failed") || !only_failed;
            !(pod.metadata.is_terminating() && finished && pod.metadata.finalizers == [TRACKING])
        });
    }
}

pub(crate) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|finalizer| finalizer == TRACKING)
}
