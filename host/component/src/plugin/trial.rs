//! The steps of a rollout that is no plain replacement: the preflight before it, the trial on some of the keys, its
//! end either way, and what a host that starts in the middle of one does.

use std::sync::Arc;

use quadrille_runtime::{CanaryStats, ControllerName};
use serde_json::{Value, json};

use super::manager::{Entry, PluginManager, State};
use super::part::{Part, part_of};
use super::rollout::{PreflightReport, Strategy, Verdict, shown};
use super::setback::Again;
use super::spec::PluginSpec;
use super::sync::Problem;
use crate::component::LoadedComponent;
use crate::digest::Digest;

/// A component on trial.
#[derive(Debug)]
pub(super) struct OnTrial {
    component: LoadedComponent,
    /// The controllers that it has keys of.
    controllers: Vec<Arc<str>>,
}

/// Whether the next step is the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Approach {
    /// Yes.
    Switch,
    /// No: a trial began, which ends in one.
    Wait,
}

/// What an earlier life of the host left in a plugin's status.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    digest: Option<Digest>,
    rollout: Value,
    /// Whether the spec is the one that the status is about.
    is_same_spec: bool,
}

impl Before {
    pub(super) fn read(object: &Value, generation: i64) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let observed = object.pointer("/status/observedGeneration").and_then(Value::as_i64);
        Self {
            digest: text("/status/digest").and_then(|digest| digest.parse().ok()),
            rollout: object.pointer("/status/rollout").cloned().unwrap_or_default(),
            is_same_spec: observed == Some(generation),
        }
    }

    /// Why this digest is not tried again, if it was refused under the very same spec.
    fn refused(&self, digest: &Digest) -> Option<Problem> {
        let text =
            |field: &str| self.rollout.get(field).and_then(Value::as_str).unwrap_or_default();
        let reason = match text("phase") {
            "RolledBack" => "RolledBack",
            "Refused" => "PreflightDiffers",
            _ => return None,
        };
        let is_about_it = self.is_same_spec && text("candidate") == digest.as_str();
        is_about_it.then(|| Problem::lasting(reason, text("message").to_owned()))
    }
}

impl PluginManager {
    /// Brings back what ran before the host ended, when its successor has to earn its place; refuses a successor that
    /// was refused already.
    pub(super) async fn bring_back(
        &self,
        name: &str,
        spec: &PluginSpec,
        before: &Before,
        entry: &Entry,
        state: &mut State,
    ) -> Result<(), Problem> {
        let (Some(wanted), Some(digest)) = (&spec.digest, &before.digest) else { return Ok(()) };
        if state.active.is_some() || digest == wanted {
            return Ok(());
        }
        let refused = before.refused(wanted);
        if refused.is_none() && spec.rollout.strategy == Strategy::Replace {
            return Ok(());
        }
        let component = self.load(digest, entry).await?;
        self.switch(name, spec, entry, state, &component).await?;
        state.active = Some(component);
        state.rollout = before.rollout.clone();
        refused.map_or(Ok(()), Err)
    }

    /// What the policy wants before the candidate takes over from `active`.
    pub(super) async fn approach(
        &self,
        name: &str,
        spec: &PluginSpec,
        entry: &Entry,
        state: &mut State,
        candidate: &LoadedComponent,
    ) -> Result<Approach, Problem> {
        let Some(active) = state.active.clone() else { return Ok(Approach::Switch) };
        if active.digest() == candidate.digest() {
            self.call_off(name, state);
            state.rollout = Value::Null;
            return Ok(Approach::Switch);
        }
        match spec.rollout.strategy {
            Strategy::Replace => {
                self.call_off(name, state);
                state.rollout = Value::Null;
                Ok(Approach::Switch)
            }
            Strategy::Preflight => {
                self.call_off(name, state);
                self.preflight(name, spec, state, candidate).await?;
                Ok(Approach::Switch)
            }
            Strategy::Canary => {
                // What else the spec says is for the version that runs, too.
                self.switch(name, spec, entry, state, &active).await?;
                Ok(self.try_out(name, spec, entry, state, candidate))
            }
        }
    }

    async fn preflight(
        &self,
        name: &str,
        spec: &PluginSpec,
        state: &mut State,
        candidate: &LoadedComponent,
    ) -> Result<(), Problem> {
        let Some(preflight) = &self.inner.preflight else {
            let message =
                "this host keeps no record of runs to make again: use the strategy Replace"
                    .to_owned();
            return Err(Problem::lasting("NoRecord", message));
        };
        let done = preflight.preflight(name, candidate, spec.rollout.runs).await;
        let done = done.map_err(|message| Problem::passing("PreflightFailed", message))?;
        let digest = candidate.digest().as_str();
        let passed = done.differing <= spec.rollout.differences_max;
        let message = report_text(&done);
        let phase = if passed { "Passed" } else { "Refused" };
        state.rollout = json!({
            "strategy": "Preflight", "phase": phase, "candidate": digest, "runs": done.runs, "skipped": done.skipped,
            "differing": done.differing, "differences": done.differences, "message": message,
        });
        if passed { Ok(()) } else { Err(Problem::lasting("PreflightDiffers", message)) }
    }

    fn try_out(
        &self,
        name: &str,
        spec: &PluginSpec,
        entry: &Entry,
        state: &mut State,
        candidate: &LoadedComponent,
    ) -> Approach {
        let mut controllers = Vec::new();
        for (about, code) in self.parts(name, spec, entry, candidate) {
            let (controller, portion) =
                (Arc::clone(&about.name), spec.rollout.canary.portion.clone());
            match self.inner.controllers.runtime.try_out(about, code, portion) {
                Ok(()) => controllers.push(controller),
                // A controller that is new, or is about something else now, has nothing to be compared with.
                Err(error) => tracing::debug!(plugin = name, %error, "not on trial"),
            }
        }
        if controllers.is_empty() {
            return Approach::Switch;
        }
        state.trial = Some(OnTrial { component: candidate.clone(), controllers });
        self.show_trial(name, state, "Canary", "it begins");
        Approach::Wait
    }

    /// Looks how the trial of a plugin goes, and ends it when it is decided.
    pub(super) async fn watch_trial(&self, name: &str, entry: &Entry, state: &mut State) {
        let Some(spec) = state.applied.as_ref().map(|(_, spec)| spec.clone()) else { return };
        match spec.rollout.canary.judge(&self.trials(name, state)) {
            Verdict::GoOn(waits_for) => self.show_trial(name, state, "Canary", &waits_for),
            Verdict::Promote => {
                self.show_trial(name, state, "Promoted", "it runs for all keys now");
                let Some(trial) = state.trial.take() else { return };
                let outcome = self.take_over(name, &spec, entry, state, trial.component).await;
                state.owed = Some(Again::now());
                self.conclude(name, state, &outcome);
            }
            Verdict::RollBack(why) => {
                let digest = state.trial.as_ref().map(|t| t.component.digest().to_string());
                let message =
                    format!("candidate {} was rolled back: {why}", digest.unwrap_or_default());
                self.show_trial(name, state, "RolledBack", &message);
                self.call_off(name, state);
                state.owed = Some(Again::now());
                self.conclude(name, state, &Err(Problem::lasting("RolledBack", message)));
            }
        }
    }

    /// Ends the trial, if there is one: the version that runs has all keys again.
    pub(super) fn call_off(&self, name: &str, state: &mut State) {
        let Some(trial) = state.trial.take() else { return };
        for controller in &trial.controllers {
            let controller = ControllerName::new(name, Arc::clone(controller));
            if let Err(error) = self.inner.controllers.runtime.call_off(&controller) {
                tracing::debug!(%error, "a controller went before its trial");
            }
        }
    }

    fn trials(&self, name: &str, state: &State) -> Vec<CanaryStats> {
        let controllers = state.trial.iter().flat_map(|trial| &trial.controllers);
        let trial = |controller: &Arc<str>| {
            self.inner
                .controllers
                .runtime
                .trial(&ControllerName::new(name, Arc::clone(controller)))
                .ok()?
        };
        controllers.filter_map(trial).collect()
    }

    /// The candidate's controllers that have their grants, ready to run.
    fn parts(
        &self,
        name: &str,
        spec: &PluginSpec,
        entry: &Entry,
        candidate: &LoadedComponent,
    ) -> Vec<Part> {
        let catalog = self.inner.objects.registry.catalog();
        let controllers = candidate.description().controllers.iter();
        let part = |controller| part_of(name, spec, entry, (candidate, controller), &catalog);
        controllers.filter_map(|controller| part(controller).ok()).collect()
    }

    fn show_trial(&self, name: &str, state: &mut State, phase: &str, message: &str) {
        let Some(trial) = &state.trial else { return };
        let digest = trial.component.digest().as_str();
        state.rollout = shown(phase, digest, &self.trials(name, state), message);
    }
}

fn report_text(done: &PreflightReport) -> String {
    let skipped = match done.skipped {
        0 => String::new(),
        count => format!(" ({count} more are too old)"),
    };
    format!("{} of {} recorded runs would write something else{skipped}", done.differing, done.runs)
}
