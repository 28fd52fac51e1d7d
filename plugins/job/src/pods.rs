//! Making, releasing and removing a job's pods, and how many there are to be.

use std::collections::BTreeSet;

use quadrille_sdk::Time;
use quadrille_sdk::k8s::{Job, Raw};
use quadrille_sdk::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{TRACKING, Work, count, index, policy};

/// The most pods that one run makes.
const BURST: i64 = 500;

/// The wait after the first failure; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_mins(10);

/// The longest beginning of a pod's name: five characters of the 63 are left for chance.
const NAME_BASE_MAX: usize = 58;

/// Takes the finalizer away, so that the pod can go.
pub(crate) fn release(ctx: &Context, pod: &Pod) -> Result<()> {
    if !count::is_tracked(pod) {
        return Ok(());
    }
    let others = pod.metadata.finalizers.iter().filter(|name| *name != TRACKING);
    let others: Vec<&String> = others.collect();
    let others = if others.is_empty() { Value::Null } else { json!(others) };
    ctx.patch(pod, &json!({"metadata": {"uid": pod.uid(), "finalizers": others}})).map(drop)
}

/// Deletes a pod that is not to be counted.
pub(crate) fn remove(ctx: &Context, pod: &Pod) -> Result<()> {
    release(ctx, pod)?;
    ctx.delete(pod)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RestartPolicy {
    #[serde(default)]
    restart_policy: String,
}

/// Whether containers that fail are started again in their pod.
pub(crate) fn restarts_in_place(job: &Job) -> bool {
    let spec = job.spec.template.spec.as_ref();
    let policy = spec.and_then(|spec| spec.read::<RestartPolicy>().ok());
    policy.is_some_and(|policy| policy.restart_policy == "OnFailure")
}

impl Work<'_> {
    /// Makes the pods that are missing and removes those that are too many.
    pub(crate) fn balance(&mut self) -> Result<Next> {
        let active: Vec<Pod> = self.pods.iter().filter(|pod| pod.is_active()).cloned().collect();
        let have = i64::try_from(active.len()).unwrap_or(i64::MAX);
        let want = self.wanted(have);
        let mut wait = self.deadline_wait();
        if have > want {
            self.remove_extra(active, want)?;
        } else if have < want {
            let backoff = self.backoff();
            if backoff.is_zero() {
                let made = self.make((want - have).min(BURST))?;
                if made < want - have {
                    wait = Some(Duration::from_millis(1));
                }
            } else {
                wait = Some(wait.map_or(backoff, |wait| wait.min(backoff)));
            }
        }
        Ok(wait.map_or(Next::Done, Next::After))
    }

    fn wanted(&self, active: i64) -> i64 {
        let parallelism = self.job.spec.parallelism.unwrap_or(1);
        let occupied = if self.replaces_only_failed() { self.terminating() } else { 0 };
        let want = match self.job.spec.completions {
            Some(completions) => {
                let given_up = i64::try_from(self.given_up().len()).unwrap_or(i64::MAX);
                (completions - self.succeeded() - given_up).clamp(0, parallelism)
            }
            // A work queue that one pod has emptied gets no new pods.
            None if self.succeeded() > 0 => active.min(parallelism),
            None => parallelism,
        };
        (want - occupied).max(0)
    }

    fn replaces_only_failed(&self) -> bool {
        self.job.spec.pod_replacement_policy.as_deref() == Some("Failed")
    }

    fn terminating(&self) -> i64 {
        let going = |pod: &&Pod| {
            pod.metadata.is_terminating() && !matches!(pod.phase(), "Succeeded" | "Failed")
        };
        i64::try_from(self.pods.iter().filter(going).count()).unwrap_or(i64::MAX)
    }

    /// The pods that have done least go first.
    fn remove_extra(&mut self, mut active: Vec<Pod>, want: i64) -> Result<()> {
        active.sort_by_key(|pod| {
            (pod.phase() != "Pending", pod.is_ready(), std::cmp::Reverse(index::of(pod)))
        });
        let extra = active.len().saturating_sub(usize::try_from(want).unwrap_or(0));
        active.truncate(extra);
        for pod in &active {
            remove(self.ctx, pod)?;
        }
        let gone: BTreeSet<&str> = active.iter().map(Pod::uid).collect();
        self.pods.retain(|pod| !gone.contains(pod.uid()));
        let names: Vec<&str> = active.iter().map(Pod::name).collect();
        self.ctx.event("SuccessfulDelete", format!("Deleted pods: {}", names.join(", ")))
    }

    /// How long to wait before a failed pod is replaced: by the failures since the last success.
    fn backoff(&self) -> Duration {
        let finished = |phase: &'static str| {
            self.pods.iter().filter(move |pod| pod.phase() == phase).filter_map(finished_at)
        };
        let success = finished("Succeeded").max();
        let failures: Vec<Time> =
            finished("Failed").filter(|at| success.is_none_or(|success| *at > success)).collect();
        let Some(last) = failures.iter().max() else { return Duration::ZERO };
        let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
        let wait = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        (*last + wait).since(self.ctx.now())
    }

    fn make(&mut self, missing: i64) -> Result<i64> {
        let mut free = self.free_indexes();
        let mut names = Vec::new();
        for made in 0..missing {
            let index = if self.is_indexed() { free.pop_first() } else { None };
            if self.is_indexed() && index.is_none() {
                break;
            }
            match self.ctx.create(self.pod(index)?) {
                Ok(pod) => {
                    names.push(pod.name().to_owned());
                    self.pods.push(pod);
                }
                // What was made before stands; the rest is tried again.
                Err(error) if made > 0 && error.is_transient() => break,
                Err(error) => return Err(error),
            }
        }
        let plural = if names.len() == 1 { "" } else { "s" };
        if !names.is_empty() {
            let message = format!("Created pod{plural}: {}", names.join(", "));
            self.ctx.event("SuccessfulCreate", message)?;
        }
        let all_indexes_taken = self.is_indexed() && free.is_empty();
        Ok(if all_indexes_taken { missing } else { i64::try_from(names.len()).unwrap_or(0) })
    }

    /// The indexes without a success and without an active pod.
    fn free_indexes(&self) -> BTreeSet<i64> {
        let done = self.completed().into_iter().chain(self.given_up());
        let active = self.pods.iter().filter(|pod| pod.is_active()).filter_map(index::of);
        let taken: BTreeSet<i64> = done.chain(active).collect();
        (0..self.job.spec.completions.unwrap_or(0)).filter(|at| !taken.contains(at)).collect()
    }

    fn pod(&self, index: Option<i64>) -> Result<Pod> {
        let mut pod = Pod::from_template(&self.job.spec.template);
        let mut base = format!("{}-", self.job.name());
        if let Some(index) = index {
            base = format!("{base}{index}-");
            let text = index.to_string();
            pod.metadata.annotations.insert(index::INDEX.to_owned(), text.clone());
            pod.metadata.labels.insert(index::INDEX.to_owned(), text);
            if self.job.spec.backoff_limit_per_index.is_some() {
                let failures = policy::failures_of(index, &self.pods, &self.policy);
                pod.metadata.annotations.insert(policy::FAILURES.to_owned(), failures.to_string());
            }
            pod.spec = pod.spec.map(|spec| self.indexed_spec(&spec, index)).transpose()?;
        }
        let base: String = base.chars().take(NAME_BASE_MAX).collect();
        pod.metadata.name = format!("{base}{}", self.ctx.random_suffix(5));
        pod.metadata.generate_name = base;
        pod.metadata.finalizers.push(TRACKING.to_owned());
        Ok(pod)
    }

    /// The spec with the index as host name, and in the environment of every container.
    fn indexed_spec(&self, spec: &Raw, index: i64) -> Result<Raw> {
        let mut spec = spec.to_value()?;
        if spec.get("hostname").is_none() {
            spec["hostname"] = format!("{}-{index}", self.job.name()).into();
        }
        let variable = json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {
            "apiVersion": "v1",
            "fieldPath": format!("metadata.annotations['{}']", index::INDEX),
        }}});
        for list in ["initContainers", "containers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                add_variable(container, &variable);
            }
        }
        Ok(spec.into())
    }
}

fn add_variable(container: &mut Value, variable: &Value) {
    if container.get("env").is_none() {
        container["env"] = json!([]);
    }
    let env = container.get_mut("env").and_then(Value::as_array_mut);
    for env in env.into_iter().filter(|env| env.iter().all(|v| v["name"] != variable["name"])) {
        env.push(variable.clone());
    }
}

/// When a pod finished, as far as it says so.
fn finished_at(pod: &Pod) -> Option<Time> {
    let not_ready = pod.status.iter().flat_map(|status| &status.conditions);
    let mut not_ready = not_ready.filter(|c| c.r#type == "Ready" && c.status == "False");
    not_ready
        .find_map(|condition| condition.last_transition_time)
        .or(pod.metadata.deletion_timestamp)
        .or(pod.metadata.creation_timestamp)
}
