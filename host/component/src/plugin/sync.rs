//! Brings one plugin in line with its object: load, definitions, controllers, status.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quadrille_store::{Object, Revision};
use serde_json::Value;

use super::manager::{Entry, PluginManager, State};
use super::part::part_of;
use super::setback::Again;
use super::spec::PluginSpec;
use super::status::{Condition, Facts, KeptVersion, Phase, kept_versions, set_condition};
use super::trial::{Approach, Before};
use crate::component::LoadedComponent;
use crate::digest::Digest;
use crate::load::LoadError;

/// What stopped a plugin from getting where its spec wants it: a word and a sentence.
pub(super) struct Problem {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// Whether trying again may help, though the spec stays as it is.
    pub(super) may_pass: bool,
}

impl Problem {
    /// One that stays until the spec changes.
    pub(super) fn lasting(reason: &'static str, message: String) -> Self {
        Self { reason, message, may_pass: false }
    }

    /// One that may be over though nothing of the spec changes.
    pub(super) fn passing(reason: &'static str, message: String) -> Self {
        Self { reason, message, may_pass: true }
    }

    fn of_load(error: &LoadError) -> Self {
        let message = quadrille_kit::supervisor::chain(error);
        Self { reason: error.reason(), message, may_pass: !error.is_refusal() }
    }
}

impl PluginManager {
    /// Does whatever is between the plugin and its spec; nothing when there is nothing.
    pub(super) async fn sync(&self, name: &str) {
        let Some((object, entry, mut state)) = self.hold(name).await else { return };
        if object.meta.deleted_at.is_some() {
            self.leave(name, &object, &entry, &mut state).await;
        } else {
            self.bring_in_line(name, &object, &entry, &mut state).await;
        }
    }

    async fn bring_in_line(&self, name: &str, object: &Object, entry: &Entry, state: &mut State) {
        let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
        if state.versions.is_empty() {
            state.versions = kept_versions(&value);
        }
        let generation = object.meta.generation;
        let spec = match PluginSpec::read(&value) {
            Ok(spec) => spec,
            Err(message) => {
                if let Some((grants, suspended)) = PluginSpec::leave(&value) {
                    self.hold_back(name, (&grants, suspended), entry, state).await;
                }
                state.again = None;
                self.conclude(name, state, &Err(Problem::lasting("InvalidSpec", message)));
                state.applied.get_or_insert_with(|| (generation, PluginSpec::default())).0 =
                    generation;
                return self.write_status(name, entry, state, object.revision).await;
            }
        };
        let applied = state.applied.as_ref();
        if applied.is_some_and(|(seen, old)| *seen == generation && *old == spec) {
            if !state.is_due(self.inner.clock.monotonic()) {
                return self.tidy(name, object, entry, state).await;
            }
        } else {
            state.again = None;
            state.before = Before::read(&value, generation);
            state.note_ending(&value, &spec);
            state.owed = Some(Again::now());
        }
        let before = state.before.clone();
        let outcome = match self.bring_back(name, &spec, &before, entry, state).await {
            Ok(()) => self.follow(name, &spec, entry, state, object.revision).await,
            Err(problem) => Err(problem),
        };
        self.plan_again(state, &outcome);
        if outcome.is_err() {
            self.hold_back(name, (&spec.grants, spec.suspended), entry, state).await;
        }
        state.applied = Some((generation, spec));
        self.conclude(name, state, &outcome);
        self.write_status(name, entry, state, object.revision).await;
    }

    /// The steps of a swap, in order; the first that fails ends it and leaves what ran running, less what was revoked.
    async fn follow(
        &self,
        name: &str,
        spec: &PluginSpec,
        entry: &Entry,
        state: &mut State,
        because: Revision,
    ) -> Result<(), Problem> {
        let Some(digest) = &spec.digest else {
            let message =
                format!("no component yet: upload one with PUT …/plugins/{name}/component");
            return Err(Problem::lasting("NoComponent", message));
        };
        let component = match &state.active {
            Some(active) if active.digest() == digest => active.clone(),
            _ => self.load(digest, entry).await?,
        };
        self.keep_until_released(name, spec, &component).await?;
        for definition in &component.description().crds {
            let applied = self.inner.objects.apply_definition(name, definition, because).await;
            applied.map_err(|status| {
                // Whether by the definition's own fault or by a policy or webhook, which come and go, it cannot be told.
                let said = format!("a definition that the component brings is refused: {status}");
                Problem::passing("DefinitionRefused", said)
            })?;
        }
        match self.approach(name, spec, entry, state, &component).await? {
            Approach::Switch => self.take_over(name, spec, entry, state, component).await,
            Approach::Wait => Ok(()),
        }
    }

    /// The switch, and what follows from it.
    pub(super) async fn take_over(
        &self,
        name: &str,
        spec: &PluginSpec,
        entry: &Entry,
        state: &mut State,
        component: LoadedComponent,
    ) -> Result<(), Problem> {
        self.switch(name, spec, entry, state, &component).await?;
        let kept = KeptVersion {
            digest: component.digest().to_string(),
            size: component.size(),
            version: component.description().version.clone(),
            loaded_at: self.inner.clock.now().to_rfc3339(),
        };
        state.active = Some(component);
        self.keep_version(name, state, kept, spec.versions_kept);
        Ok(())
    }

    pub(super) async fn load(
        &self,
        digest: &Digest,
        entry: &Entry,
    ) -> Result<LoadedComponent, Problem> {
        let log = || Arc::clone(&entry.log);
        let size = self.inner.files.size(digest);
        match self.inner.loader.load_cached(digest, size, log()).await {
            Ok(Some(component)) if size > 0 => return Ok(component),
            Ok(_) => {}
            Err(error) => return Err(Problem::of_load(&error)),
        }
        let failed = |error: LoadError| Problem::of_load(&error);
        let Some(bytes) = self.inner.files.read(digest).map_err(failed)? else {
            let message = format!("component {digest} is not here: upload it first");
            return Err(Problem::passing("UnknownDigest", message));
        };
        self.inner.loader.load(&bytes, log()).await.map_err(failed)
    }

    /// Puts the component's controllers in place and takes those away that it does not have.
    pub(super) async fn switch(
        &self,
        name: &str,
        spec: &PluginSpec,
        entry: &Entry,
        state: &mut State,
        component: &LoadedComponent,
    ) -> Result<(), Problem> {
        let mut blocked = Vec::new();
        let mut wanted = Vec::new();
        let catalog = self.inner.objects.registry.catalog();
        for controller in &component.description().controllers {
            match part_of(name, spec, entry, (component, controller), &catalog) {
                Ok(part) => wanted.push((controller, part)),
                Err(problem) => blocked.push(problem),
            }
        }
        let is_same_code = state.is_same_but_for_suspension(spec, component);
        let names: Vec<_> =
            wanted.iter().map(|(controller, _)| Arc::clone(&controller.name)).collect();
        for (controller, (about, code)) in wanted {
            let is_started = state.started.contains(&controller.name);
            if spec.suspended && !is_started {
                continue;
            }
            if is_started && is_same_code {
                self.inner.controllers.suspend(name, &controller.name, spec.suspended);
                continue;
            }
            state.is_mixed = true;
            if spec.suspended {
                self.inner.controllers.suspend(name, &controller.name, true);
            }
            let put = self.inner.controllers.put(about, code).await;
            put.map_err(|error| Problem::passing("ControllerRefused", error.to_string()))?;
            self.inner.controllers.suspend(name, &controller.name, spec.suspended);
            if !is_started {
                state.started.push(Arc::clone(&controller.name));
            }
        }
        for old in std::mem::take(&mut state.started) {
            if names.contains(&old) {
                state.started.push(old);
            } else {
                self.inner.controllers.remove(name, &old);
            }
        }
        state.blocked = blocked;
        (state.running, state.is_mixed) = (Some(spec.clone()), false);
        Ok(())
    }

    fn keep_version(&self, name: &str, state: &mut State, new: KeptVersion, kept: usize) {
        state.versions.retain(|version| version.digest != new.digest);
        state.versions.insert(0, new);
        let dropped = state.versions.split_off(kept.min(state.versions.len()));
        for version in dropped {
            self.collect(name, &version.digest);
        }
    }

    /// Turns the end of the steps into phase and conditions.
    pub(super) fn conclude(&self, name: &str, state: &mut State, outcome: &Result<(), Problem>) {
        let now = self.inner.clock.now();
        let mut set = |kind, holds, reason: &str, message: String| {
            let reason = reason.to_owned();
            let condition = Condition { kind, holds, reason, message, since: now };
            set_condition(&mut state.conditions, condition);
        };
        let running = state.active.is_some();
        let suspended = state.applied.as_ref().is_some_and(|(_, spec)| spec.suspended);
        let blocked =
            state.blocked.iter().map(|b| b.reason.as_str()).collect::<Vec<_>>().join("; ");
        let phase = match outcome {
            Ok(()) => {
                set("Loaded", true, "Loaded", String::new());
                match (blocked.is_empty(), suspended) {
                    (false, _) if state.started.is_empty() => Phase::Failed,
                    (false, _) => Phase::Degraded,
                    (true, true) => Phase::Suspended,
                    (true, false) => Phase::Active,
                }
            }
            Err(problem) => {
                tracing::warn!(
                    plugin = name,
                    reason = problem.reason,
                    problem = problem.message,
                    "plugin not brought in line"
                );
                set("Loaded", false, problem.reason, problem.message.clone());
                match (running, problem.reason) {
                    (true, _) => Phase::Degraded,
                    (false, "NoComponent") => Phase::Pending,
                    (false, _) => Phase::Failed,
                }
            }
        };
        match phase {
            Phase::Active => set("Ready", true, "Running", "all controllers run".to_owned()),
            Phase::Suspended => {
                set("Ready", false, "Suspended", "spec.suspended is true".to_owned());
            }
            _ if !blocked.is_empty() => set("Ready", false, "MissingGrants", blocked),
            Phase::Degraded => {
                set("Ready", true, "OldVersion", "the version before runs on".to_owned());
            }
            Phase::Pending | Phase::Loading | Phase::Failed => {
                set("Ready", false, "NotLoaded", "nothing runs".to_owned());
            }
        }
        state.phase = Some(phase);
    }

    /// Writes the status if it says something new.
    pub(super) async fn write_status(
        &self,
        name: &str,
        entry: &Entry,
        state: &mut State,
        because: Revision,
    ) {
        let (Some((generation, spec)), Some(phase)) = (&state.applied, state.phase) else { return };
        let description = state.active.as_ref().map(LoadedComponent::description);
        let status = Facts {
            phase,
            digest: state.active.as_ref().map(|active| active.digest().as_str()),
            version: description.map_or("", |d| d.version.as_str()),
            observed_generation: *generation,
            versions: &state.versions,
            asked: description.map_or(&[], |d| d.capabilities.as_slice()),
            // What runs has what its own spec grants, however far the present one got.
            given: state.running.as_ref().map_or(&spec.grants, |running| &running.grants),
            running: self.inner.controllers.stats(name),
            ending: &state.ending,
            blocked: &state.blocked,
            conditions: &state.conditions,
            denials: entry.denials.load(Ordering::Relaxed),
            log_dropped: entry.log.dropped(),
            warnings: self.inner.loader.engine().warnings(),
            rollout: &state.rollout,
        }
        .render();
        if state.written.as_ref() == Some(&status) {
            return;
        }
        // Another object of the name knows nothing of this one.
        let Some(uid) = &state.uid else { return };
        if self.inner.objects.get(name).is_none_or(|object| object.meta.uid != *uid) {
            return;
        }
        match self.inner.objects.write_status((name, uid), &status, because).await {
            Ok(()) => state.written = Some(status),
            Err(error) => tracing::warn!(plugin = name, %error, "plugin status not written"),
        }
    }
}

impl State {
    /// Whether what runs would not change by this spec: then nothing is replaced, and nothing runs again for it.
    fn is_same_but_for_suspension(&self, spec: &PluginSpec, component: &LoadedComponent) -> bool {
        let digest = self.active.as_ref().map(LoadedComponent::digest);
        digest == Some(component.digest())
            && !self.is_mixed
            && self.running.as_ref().is_some_and(|old| {
                let mut old = old.clone();
                old.suspended = spec.suspended;
                old.versions_kept = spec.versions_kept;
                old.rollout.clone_from(&spec.rollout);
                // What the spec wants next is not what runs.
                old.digest.clone_from(&spec.digest);
                old == *spec
            })
    }
}
