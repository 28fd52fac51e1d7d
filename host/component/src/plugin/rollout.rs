//! How a new version takes over: at once, after recorded runs were made again with it, or after a trial on some of
//! the keys. What it decides is a pure function of the policy and the numbers; the manager acts on it.

use std::fmt;
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_object::selector::LabelSelector;
use quadrille_runtime::{CanaryStats, Portion};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::component::LoadedComponent;

/// How a version takes over from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Strategy {
    /// At once.
    #[default]
    Replace,
    /// When recorded runs, made again with it, write what they wrote.
    Preflight,
    /// When it did well on some of the keys.
    Canary,
}

/// `spec.rollout`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rollout {
    pub(super) strategy: Strategy,
    /// How many recorded runs are made again. Default 100.
    pub(super) runs: usize,
    /// How many of them may write something else. Default 0.
    pub(super) differences_max: usize,
    pub(super) canary: CanaryPolicy,
}

/// When a trial ends, and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CanaryPolicy {
    pub(super) portion: Portion,
    /// It lasts at least this long. Default 1 minute.
    pub(super) duration: Duration,
    /// And at least so many runs. Default 10.
    pub(super) runs_min: u64,
    /// So many failures are forgiven. Default 0.
    pub(super) failures_max: u64,
    /// So many times may the slowest hundredth of its runs take what it takes the version that runs. Default 5.
    pub(super) slowdown_max: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RawRollout {
    strategy: Strategy,
    preflight: RawPreflight,
    canary: RawCanary,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPreflight {
    runs: Option<usize>,
    differences_max: usize,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawCanary {
    percent: Option<u8>,
    selector: String,
    duration: Option<String>,
    runs_min: Option<u64>,
    failures_max: u64,
    slowdown_max: Option<u64>,
}

/// The longest preflight; a run is made again in about a millisecond.
const RUNS_MAX: usize = 10_000;

impl RawRollout {
    /// Reads the policy; the error names the field.
    pub(super) fn read(self) -> Result<Rollout, String> {
        let raw = self.canary;
        let selector = LabelSelector::parse(&raw.selector)
            .map_err(|error| format!("spec.rollout.canary.selector: {error}"))?;
        // A selector alone means all that it selects.
        let percent = raw.percent.unwrap_or(if raw.selector.is_empty() { 5 } else { 100 });
        let duration = raw.duration.as_deref();
        let duration =
            duration.map(|text| super::spec::duration("spec.rollout.canary.duration", text));
        Ok(Rollout {
            strategy: self.strategy,
            runs: self.preflight.runs.unwrap_or(100).min(RUNS_MAX),
            differences_max: self.preflight.differences_max,
            canary: CanaryPolicy {
                portion: Portion { percent: percent.clamp(1, 100), selector },
                duration: duration.transpose()?.unwrap_or(Duration::from_mins(1)),
                runs_min: raw.runs_min.unwrap_or(10),
                failures_max: raw.failures_max,
                slowdown_max: raw.slowdown_max.unwrap_or(5).max(1),
            },
        })
    }
}

impl Default for Rollout {
    fn default() -> Self {
        RawRollout::default().read().expect("nothing is no mistake")
    }
}

/// What becomes of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on; what it waits for.
    GoOn(String),
    /// The candidate takes over.
    Promote,
    /// The version that ran goes on; why.
    RollBack(String),
}

/// Runs from which a share of failures or a time says something.
const SAMPLE_MIN: u64 = 20;

/// Times below this are fast enough, however fast the other version is.
const FAST_US: u64 = 10_000;

impl CanaryPolicy {
    /// Judges the trials of a plugin's controllers.
    pub(super) fn judge(&self, trials: &[CanaryStats]) -> Verdict {
        if let Some(why) = trials.iter().find_map(|trial| self.fault(trial)) {
            return Verdict::RollBack(why);
        }
        let runs: u64 = trials.iter().map(|trial| trial.candidate.runs).sum();
        let age = trials.iter().map(|trial| trial.age).max().unwrap_or_default();
        if age >= self.duration && runs >= self.runs_min {
            return Verdict::Promote;
        }
        let (age, wanted) = (age.as_secs(), self.duration.as_secs());
        Verdict::GoOn(format!("{runs} of {} runs, {age} of {wanted} s", self.runs_min))
    }

    fn fault(&self, trial: &CanaryStats) -> Option<String> {
        let (its, others) = (&trial.candidate, &trial.active);
        let said = || its.last_error.as_deref().map(|e| format!(" ({e})")).unwrap_or_default();
        if its.fights > others.fights {
            return Some(format!("it took part in {} fights", its.fights));
        }
        if its.broken > self.failures_max {
            return Some(format!("{} of {} runs broke off{}", its.broken, its.runs, said()));
        }
        // As many failures as the other version has are not this one's fault.
        let is_worse = its.failures * others.runs.max(1) > others.failures * its.runs;
        if its.failures > self.failures_max && is_worse {
            return Some(format!("{} of {} runs failed{}", its.failures, its.runs, said()));
        }
        let (time, usual) = (its.durations.p99_us, others.durations.p99_us);
        let is_known = its.runs >= SAMPLE_MIN && others.runs >= SAMPLE_MIN;
        if is_known && time > FAST_US && time > usual * self.slowdown_max {
            return Some(format!("its runs take {time} µs, those of the other version {usual} µs"));
        }
        None
    }
}

/// A trial as `status.rollout` shows it.
pub(super) fn shown(phase: &str, digest: &str, trials: &[CanaryStats], message: &str) -> Value {
    let sum = |of: fn(&CanaryStats) -> u64| trials.iter().map(of).sum::<u64>();
    json!({
        "strategy": "Canary",
        "phase": phase,
        "candidate": digest,
        "percent": trials.first().map_or(0, |trial| trial.percent),
        "runs": sum(|trial| trial.candidate.runs),
        "failures": sum(|trial| trial.candidate.failures),
        "fights": sum(|trial| trial.candidate.fights),
        "objectsTouched": trials.iter().map(|trial| trial.objects_touched).sum::<usize>(),
        "durationP99Us": trials.iter().map(|trial| trial.candidate.durations.p99_us).max(),
        "message": message,
    })
}

/// What came of making recorded runs again with other code.
#[derive(Clone, Debug, Default)]
pub struct PreflightReport {
    /// Runs made again.
    pub runs: usize,
    /// Those that wrote something else than they did.
    pub differing: usize,
    /// Those that could not be made again, because their snapshots are compacted.
    pub skipped: usize,
    /// Some of the differences, each with `run`, `object` and `diff`.
    pub differences: Vec<Value>,
}

/// Makes recorded runs again with other code; whoever keeps the record provides it.
pub trait PreflightRunner: fmt::Debug + Send + Sync {
    /// Makes the newest `runs` runs of a plugin again, each on its own snapshot and with its own settings.
    fn preflight<'a>(
        &'a self,
        plugin: &'a str,
        candidate: &'a LoadedComponent,
        runs: usize,
    ) -> BoxFuture<'a, Result<PreflightReport, String>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_runtime::{Durations, TrialNumbers};

    fn numbers(runs: u64, failures: u64) -> TrialNumbers {
        TrialNumbers { runs, failures, ..TrialNumbers::default() }
    }

    fn trial(candidate: TrialNumbers, active: TrialNumbers) -> CanaryStats {
        let (digest, age) = ("sha256:2".into(), Duration::from_mins(2));
        CanaryStats { digest, percent: 5, age, candidate, active, objects_touched: 1 }
    }

    fn verdict(candidate: TrialNumbers, active: TrialNumbers) -> Verdict {
        Rollout::default().canary.judge(&[trial(candidate, active)])
    }

    #[test]
    fn a_candidate_that_did_well_long_enough_is_promoted() {
        assert_eq!(verdict(numbers(10, 0), numbers(0, 0)), Verdict::Promote);
        assert!(matches!(verdict(numbers(9, 0), numbers(0, 0)), Verdict::GoOn(_)));
        let young =
            CanaryStats { age: Duration::from_secs(59), ..trial(numbers(99, 0), numbers(0, 0)) };
        assert!(matches!(Rollout::default().canary.judge(&[young]), Verdict::GoOn(_)));
    }

    #[test]
    fn errors_traps_time_and_fights_end_it() {
        let ends = |candidate, active| matches!(verdict(candidate, active), Verdict::RollBack(_));
        assert!(ends(numbers(10, 1), numbers(100, 0)));
        assert!(!ends(numbers(10, 1), numbers(100, 10)), "the other fails as often");
        assert!(ends(TrialNumbers { broken: 1, ..numbers(10, 1) }, numbers(100, 100)));
        assert!(ends(TrialNumbers { fights: 1, ..numbers(10, 0) }, numbers(100, 0)));
        let timed = |p99_us| {
            let durations = Durations { p99_us, ..Durations::default() };
            TrialNumbers { durations, ..numbers(20, 0) }
        };
        assert!(ends(timed(60_000), timed(11_000)));
        assert!(!ends(timed(9_000), timed(10)), "nobody notices so little");
    }

    #[test]
    fn a_policy_is_read_and_what_is_wrong_is_named() {
        let read = |text: Value| serde_json::from_value::<RawRollout>(text).expect("shaped").read();
        let canary =
            json!({"strategy": "Canary", "canary": {"selector": "tier=edge", "duration": "10s"}});
        let policy = read(canary).expect("it is right");
        assert_eq!((policy.strategy, policy.canary.portion.percent), (Strategy::Canary, 100));
        let wrong = read(json!({"canary": {"duration": "soon"}})).expect_err("no time");
        assert!(wrong.starts_with("spec.rollout.canary.duration"), "{wrong}");
        let wrong = read(json!({"canary": {"selector": "a in"}})).expect_err("no selector");
        assert!(wrong.starts_with("spec.rollout.canary.selector"), "{wrong}");
    }
}
