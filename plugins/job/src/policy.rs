//! What a failed pod means, and when enough indexes have succeeded.

use std::collections::BTreeSet;

use quadrille_sdk::k8s::{ContainerStatus, Job, Raw};
use quadrille_sdk::prelude::*;
use serde::Deserialize;

use crate::index;

/// How often the index of a pod had failed before it, on the pod.
pub(crate) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

/// The policies of one job.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    failure: Vec<FailureRule>,
    success: Vec<SuccessRule>,
}

#[derive(Debug, Deserialize)]
struct Rules<T> {
    #[serde(default = "Vec::new")]
    rules: Vec<T>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FailureRule {
    action: String,
    on_exit_codes: Option<OnExitCodes>,
    on_pod_conditions: Vec<OnPodCondition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OnExitCodes {
    container_name: Option<String>,
    operator: String,
    values: Vec<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OnPodCondition {
    r#type: String,
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SuccessRule {
    succeeded_indexes: Option<String>,
    succeeded_count: Option<i64>,
}

/// What a failed pod means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts towards the limit.
    Count,
    /// It does not.
    Ignore,
    /// Its index has failed.
    FailIndex,
    /// The job has failed, for this reason.
    FailJob(String),
}

impl Policy {
    pub(crate) fn of(job: &Job) -> Result<Self> {
        Ok(Self {
            failure: rules(job.spec.pod_failure_policy.as_ref())?,
            success: rules(job.spec.success_policy.as_ref())?,
        })
    }

    /// The first rule that fits the pod decides.
    pub(crate) fn verdict(&self, pod: &Pod) -> Verdict {
        for (at, rule) in self.failure.iter().enumerate() {
            let Some(what) = rule.fits(pod) else { continue };
            return match rule.action.as_str() {
                "Ignore" => Verdict::Ignore,
                "FailIndex" => Verdict::FailIndex,
                "FailJob" => {
                    Verdict::FailJob(format!("{what} matching FailJob rule at index {at}"))
                }
                _ => Verdict::Count,
            };
        }
        Verdict::Count
    }

    /// The rule by which enough indexes have succeeded, if there is one.
    pub(crate) fn succeeded(&self, job: &Job, done: &BTreeSet<i64>) -> Option<usize> {
        let completions = job.spec.completions.unwrap_or(0);
        self.success.iter().position(|rule| {
            let named = rule.succeeded_indexes.as_deref().map(index::parse);
            let wanted = named.unwrap_or_else(|| (0..completions).collect());
            let have = wanted.intersection(done).count();
            match rule.succeeded_count {
                Some(count) => i64::try_from(have).is_ok_and(|have| have >= count),
                None => have == wanted.len(),
            }
        })
    }
}

fn rules<T: for<'de> Deserialize<'de>>(policy: Option<&Raw>) -> Result<Vec<T>> {
    Ok(policy
        .map(Raw::read::<Rules<T>>)
        .transpose()?
        .map(|policy| policy.rules)
        .unwrap_or_default())
}

impl FailureRule {
    /// What of the pod fits the rule, for people.
    fn fits(&self, pod: &Pod) -> Option<String> {
        let status = pod.status.as_ref()?;
        let named = format!("{}/{}", pod.namespace(), pod.name());
        if let Some(wanted) = &self.on_exit_codes {
            let all = status.init_container_statuses.iter().chain(&status.container_statuses);
            let (container, code) = all.filter_map(exit_code).find(|found| wanted.fits(found))?;
            return Some(format!(
                "Container {container} for pod {named} failed with exit code {code}"
            ));
        }
        let fits = |wanted: &OnPodCondition| {
            let status_wanted = wanted.status.as_deref().unwrap_or("True");
            status.conditions.iter().any(|c| c.r#type == wanted.r#type && c.status == status_wanted)
        };
        let found = self.on_pod_conditions.iter().find(|wanted| fits(wanted))?;
        Some(format!("Pod {named} has condition {}", found.r#type))
    }
}

/// A container that failed, and how.
fn exit_code(status: &ContainerStatus) -> Option<(&str, i64)> {
    let code = status.state.as_ref()?.terminated.as_ref()?.exit_code;
    (code != 0).then_some((status.name.as_str(), code))
}

impl OnExitCodes {
    fn fits(&self, (container, code): &(&str, i64)) -> bool {
        let named = self.container_name.as_deref().is_none_or(|name| name == *container);
        let listed = self.values.contains(code);
        named && listed == (self.operator != "NotIn")
    }
}

/// How often a pod's index had failed before it.
pub(crate) fn failures_before(pod: &Pod) -> i64 {
    pod.metadata.annotations.get(FAILURES).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// How often an index has failed, by the pods that are still there.
pub(crate) fn failures_of(index: i64, pods: &[Pod], policy: &Policy) -> i64 {
    let failed = pods.iter().filter(|pod| index::of(pod) == Some(index) && !pod.is_active());
    let counts = |pod: &Pod| i64::from(policy.verdict(pod) != Verdict::Ignore);
    failed.map(|pod| failures_before(pod) + counts(pod)).max().unwrap_or(0)
}
