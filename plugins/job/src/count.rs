//! Counting finished pods, each once.

use quadrille_sdk::prelude::*;

use crate::policy::{self, Verdict};
use crate::{TRACKING, Work, index, pods};

impl Work<'_> {
    /// Adds the finished pods that hold the finalizer to the counts, and takes it from them in the same commit.
    pub(crate) fn count_finished(&mut self) -> Result<()> {
        let mut done = self.completed();
        let mut given_up = self.given_up();
        let mut refused = None;
        let (mut succeeded, mut failed) = (0, 0);
        for pod in &self.pods {
            let (has_succeeded, has_failed) = (pod.phase() == "Succeeded", self.is_failed(pod));
            if !is_tracked(pod) || !(has_succeeded || has_failed) {
                continue;
            }
            if has_failed {
                let verdict = self.policy.verdict(pod);
                failed += i64::from(verdict != Verdict::Ignore);
                if let Verdict::FailJob(why) = &verdict {
                    refused.get_or_insert_with(|| why.clone());
                }
                let index =
                    self.index_of(pod).filter(|_| self.job.spec.backoff_limit_per_index.is_some());
                if let Some(index) = index
                    && (verdict == Verdict::FailIndex || self.index_has_failed(pod, &verdict))
                {
                    given_up.insert(index);
                }
            } else if !self.is_indexed() {
                succeeded += 1;
            } else if let Some(index) = self.index_of(pod) {
                done.insert(index);
            }
            pods::release(self.ctx, pod)?;
        }
        self.refused = self.refused.take().or(refused);
        if self.job.spec.backoff_limit_per_index.is_some() {
            given_up.retain(|index| !done.contains(index));
            self.status.failed_indexes = Some(index::format(&given_up));
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

    /// Whether the pod was the last try of its index.
    fn index_has_failed(&self, pod: &Pod, verdict: &Verdict) -> bool {
        let limit = self.job.spec.backoff_limit_per_index.unwrap_or(i64::MAX);
        let counts = i64::from(*verdict != Verdict::Ignore);
        policy::failures_before(pod) + counts > limit
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
