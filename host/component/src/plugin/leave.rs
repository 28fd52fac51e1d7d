//! What a plugin's controllers leave on objects: their finalizers. They go when a version goes that had them, when the
//! grant goes under which they were kept, and before the plugin goes.
//!
//! A finalizer of the manager's own holds a `Plugin` that may have left some. What may have left them is read from the
//! object: the versions that it keeps, and the grants that were in force (`status.grantsGiven`, `status.grantsEnding`). So a
//! host that ends in the middle goes on where it was, and what is refused is named in the status and tried again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quadrille_object::GroupResource;
use quadrille_runtime::ControllerSpec;
use quadrille_store::{Key, Object};
use serde_json::Value;

use super::manager::{Entry, PluginManager, State};
use super::part::{controller_spec, may_start};
use super::setback::Again;
use super::spec::{PluginSpec, grants_at};
use super::status::{Condition, Phase, kept_versions, set_condition};
use super::sync::Problem;
use crate::component::LoadedComponent;
use crate::digest::Digest;

/// What holds a plugin until nothing of it is left on objects.
const FINALIZER: &str = "quadrille.dev/release";
/// The condition that says whether what is left has gone.
const RELEASED: &str = "FinalizersReleased";
/// How many objects a status names.
const NAMED_MAX: usize = 10;
/// How often a version that cannot be read is tried before the plugin goes without it.
const UNREADABLE_MAX: u32 = 5;
/// How long objects of one resource are worked on at a time beside what runs: a change of the plugin waits for that.
const TIDY_MAX: Duration = Duration::from_secs(5);
/// The same of a plugin that goes.
const LEAVE_MAX: Duration = Duration::from_mins(1);
/// How many revoked rules are remembered.
const ENDING_MAX: usize = 1024;

/// What plugins leave on objects: finalizers by the resource and their name.
type Left = BTreeMap<(GroupResource, Arc<str>), ControllerSpec>;

impl PluginManager {
    /// Sees to it that the plugin stays until the finalizers of a component's controllers are gone from all objects, where
    /// any of them may keep one.
    pub(super) async fn keep_until_released(
        &self,
        name: &str,
        spec: &PluginSpec,
        component: &LoadedComponent,
    ) -> Result<(), Problem> {
        let catalog = self.inner.objects.registry.catalog();
        let mut controllers = component.description().controllers.iter();
        let keeps = controllers.any(|controller| {
            controller.finalizer.is_some() && may_start(controller, &spec.grants, &catalog).is_ok()
        });
        if !keeps {
            return Ok(());
        }
        let held = self.inner.objects.set_finalizer(name, FINALIZER, true).await;
        held.map_err(|status| {
            let said = format!("the plugin cannot be given the finalizer {FINALIZER}: {status}");
            Problem::passing("NotHeld", said)
        })
    }

    /// What is done for a plugin that is in line: it stays held, and what earlier versions and grants left goes.
    pub(super) async fn tidy(&self, name: &str, object: &Object, entry: &Entry, state: &mut State) {
        let (Some(active), Some((_, spec))) = (state.active.clone(), state.applied.clone()) else {
            state.owed = None;
            return;
        };
        if let Err(Problem { message, .. }) = self.keep_until_released(name, &spec, &active).await {
            tracing::warn!(plugin = name, message, "deleting it will not be waited for");
        }
        if !is_held(object) {
            (state.owed, state.ending) = (None, Vec::new());
        }
        // Controllers that wait for their plugin to be resumed hold nothing that can be told from what is left.
        if spec.suspended || state.trial.is_some() {
            state.owed = None;
        }
        if !state.owed.is_some_and(|owed| owed.is_due(self.inner.clock.monotonic())) {
            return;
        }
        let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
        let outcome = self.release(name, (&value, &spec, TIDY_MAX), entry, state).await;
        let was_told = state.conditions.iter().any(|of| of.kind == RELEASED && !of.holds);
        let ended = outcome.is_ok() && !state.ending.is_empty();
        state.owed = match &outcome {
            Ok(()) => None,
            Err(_) => Some(self.next(state.owed)),
        };
        if outcome.is_ok() {
            state.ending.clear();
        }
        if outcome.is_err() || was_told || ended {
            self.tell(state, &outcome);
            self.write_status(name, entry, state, object.revision).await;
        }
    }

    fn tell(&self, state: &mut State, outcome: &Result<(), Problem>) {
        let (reason, message) = match outcome {
            Ok(()) => ("Released", String::new()),
            Err(problem) => (problem.reason, problem.message.clone()),
        };
        let condition = Condition {
            kind: RELEASED,
            holds: outcome.is_ok(),
            reason: reason.to_owned(),
            message,
            since: self.inner.clock.now(),
        };
        set_condition(&mut state.conditions, condition);
    }

    /// Ends what runs, and lets the plugin go when nothing of it is left on objects.
    pub(super) async fn leave(
        &self,
        name: &str,
        object: &Object,
        entry: &Entry,
        state: &mut State,
    ) {
        self.call_off(name, state);
        for controller in std::mem::take(&mut state.started) {
            self.inner.controllers.end(name, &controller);
        }
        let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
        if state.versions.is_empty() {
            state.versions = kept_versions(&value);
        }
        let spec = PluginSpec::of_leaving(&value);
        if !is_held(object) {
            self.rest(state, (object.meta.generation, spec));
            return self.write_status(name, entry, state, object.revision).await;
        }
        if state.again.is_some() && !state.is_due(self.inner.clock.monotonic()) {
            return;
        }
        // The status is written anew when something is refused, and must not forget what was in force.
        state.note_ending(&value, &spec);
        state.owed = None;
        let mut outcome = self.release(name, (&value, &spec, LEAVE_MAX), entry, state).await;
        if outcome.is_ok() {
            let gone = self.inner.objects.set_finalizer(name, FINALIZER, false).await;
            outcome = gone.map_err(|status| Problem::passing("FinalizersStay", status.to_string()));
        }
        self.plan_again(state, &outcome);
        if outcome.is_err() {
            state.applied = Some((object.meta.generation, spec));
            (state.active, state.running) = (None, None);
            self.conclude(name, state, &outcome);
            self.write_status(name, entry, state, object.revision).await;
        }
    }

    /// Says that nothing runs of a plugin that is there for the sake of others' finalizers.
    fn rest(&self, state: &mut State, applied: (i64, PluginSpec)) {
        (state.again, state.owed) = (None, None);
        (state.active, state.running, state.applied) = (None, None, Some(applied));
        state.ending.clear();
        state.blocked.clear();
        let since = self.inner.clock.now();
        let mut set = |kind, reason: &str, message: &str| {
            let (reason, message) = (reason.to_owned(), message.to_owned());
            let condition = Condition { kind, holds: false, reason, message, since };
            set_condition(&mut state.conditions, condition);
        };
        set("Loaded", "Deleted", "it is being deleted, and waits for the finalizers of others");
        set("Ready", "NotLoaded", "nothing runs");
        state.phase = Some(Phase::Failed);
    }

    /// Looks at a plugin that is being deleted at the next occasion, not before others.
    pub(super) fn leave_later(&self, name: &str) {
        if let Ok(mut state) = self.entry(name).state.try_lock() {
            state.again.get_or_insert_with(Again::now);
        }
    }

    /// Takes what may be left from all objects, but for what controllers hold that are there.
    async fn release(
        &self,
        name: &str,
        (value, spec, time_max): (&Value, &PluginSpec, Duration),
        entry: &Entry,
        state: &State,
    ) -> Result<(), Problem> {
        let (left, unread) = self.left(name, (value, spec), entry, state).await;
        let mut stuck = Vec::new();
        for left in left.into_values() {
            let kept = self.inner.controllers.runtime.release_finalizer(&left, time_max).await;
            let kept = kept.map_err(|e| Problem::passing("FinalizersStay", e.to_string()))?;
            let finalizer = left.finalizer.unwrap_or_default();
            stuck.extend(kept.into_iter().map(|key| (key, Arc::clone(&finalizer))));
        }
        if !stuck.is_empty() {
            return Err(Problem::passing("FinalizersStay", said_of(&stuck)));
        }
        match unread {
            Some(problem) if state.attempts() < UNREADABLE_MAX => Err(problem),
            Some(Problem { message, .. }) => {
                tracing::warn!(plugin = name, message, "what a version left is not known");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What any version of the plugin that is here can have left on objects; beside it what one could not be read for.
    async fn left(
        &self,
        name: &str,
        (value, spec): (&Value, &PluginSpec),
        entry: &Entry,
        state: &State,
    ) -> (Left, Option<Problem>) {
        let mut spec = spec.clone();
        let running = state.running.iter().flat_map(|running| running.grants.clone());
        let told = ["/status/grantsGiven", "/status/grantsEnding"].map(|at| grants_at(value, at));
        spec.grants.extend(state.ending.iter().cloned().chain(running));
        spec.grants.extend(told.into_iter().flatten());
        let (mut left, mut unread) = (Left::new(), None);
        for digest in digests(value) {
            let component = match &state.active {
                Some(active) if *active.digest() == digest => active.clone(),
                _ if self.inner.files.size(&digest) == 0 => continue,
                _ => match self.load(&digest, entry).await {
                    Ok(component) => component,
                    Err(mut problem) => {
                        problem.message = format!("version {digest}: {}", problem.message);
                        unread = Some(problem);
                        continue;
                    }
                },
            };
            for controller in &component.description().controllers {
                let about = controller_spec(name, &component, controller, &spec);
                if let Some(finalizer) = about.finalizer.clone() {
                    left.insert((about.primary.clone(), finalizer), about);
                }
            }
        }
        (left, unread)
    }
}

impl State {
    /// Remembers what a new spec takes away of what was granted, until what was kept under it is released.
    pub(super) fn note_ending(&mut self, object: &Value, new: &PluginSpec) {
        let told = ["/status/grantsGiven", "/status/grantsEnding"].map(|at| grants_at(object, at));
        let before = match &self.running {
            Some(running) => running.grants.clone(),
            None => told.concat(),
        };
        for rule in before {
            let is_known = new.grants.contains(&rule) || self.ending.contains(&rule);
            if !is_known && self.ending.len() < ENDING_MAX {
                self.ending.push(rule);
            }
        }
    }
}

fn is_held(object: &Object) -> bool {
    object.meta.finalizers.iter().any(|finalizer| **finalizer == *FINALIZER)
}

/// The versions that an object names: kept ones, the one that runs, the one that is wanted, and the last on trial.
fn digests(value: &Value) -> Vec<Digest> {
    let kept = kept_versions(value).into_iter().map(|version| version.digest);
    let named = ["/status/digest", "/spec/digest", "/status/rollout/candidate"];
    let named = named.iter().filter_map(|at| value.pointer(at)?.as_str().map(str::to_owned));
    let mut digests: Vec<String> = kept.chain(named).collect();
    digests.sort_unstable();
    digests.dedup();
    digests.iter().filter_map(|digest| digest.parse().ok()).collect()
}

/// The objects that keep a finalizer, some by name.
fn said_of(stuck: &[(Key, Arc<str>)]) -> String {
    let named = stuck.iter().take(NAMED_MAX);
    let named: Vec<String> =
        named.map(|(key, finalizer)| format!("{key} keeps {finalizer}")).collect();
    let more = match stuck.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "its finalizers are still on objects: {}{more}; it goes on trying: let writes of them pass, or take them away by hand",
        named.join(", ")
    )
}
