//! A plugin that is deleted: its controllers end, and the finalizers that they left on objects go before the plugin does.
//!
//! A finalizer of the manager's own holds the `Plugin` meanwhile, so that a host that ends in the middle goes on where it
//! was. It is put there before the first controller with a finalizer starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_runtime::ControllerSpec;
use quadrille_store::{Key, Object};
use serde_json::Value;

use super::manager::{Entry, PluginManager, State};
use super::part::controller_spec;
use super::setback::Again;
use super::spec::PluginSpec;
use super::status::kept_versions;
use super::sync::Problem;
use crate::component::LoadedComponent;
use crate::digest::Digest;

/// What holds a plugin until nothing of it is left on objects.
const FINALIZER: &str = "quadrille.dev/release";
/// How many objects a status names.
const NAMED_MAX: usize = 10;

/// What plugins leave on objects: a finalizer on those of a resource.
type Left = BTreeMap<(GroupResource, Arc<str>), ControllerSpec>;

impl PluginManager {
    /// Sees to it that the plugin stays until the finalizers of a component's controllers are gone from all objects.
    pub(super) async fn keep_until_released(
        &self,
        name: &str,
        component: &LoadedComponent,
    ) -> Result<(), Problem> {
        let controllers = &component.description().controllers;
        if controllers.iter().all(|controller| controller.finalizer.is_none()) {
            return Ok(());
        }
        let held = self.inner.objects.set_finalizer(name, FINALIZER, true).await;
        held.map_err(|status| {
            let said = format!("the plugin cannot be given the finalizer {FINALIZER}: {status}");
            Problem::passing("NotHeld", said)
        })
    }

    /// The same for what runs, where somebody took the finalizer away; what fails is tried at the next change.
    pub(super) async fn keep_held(&self, name: &str, state: &State) {
        let Some(active) = &state.active else { return };
        if let Err(Problem { message, .. }) = self.keep_until_released(name, active).await {
            tracing::warn!(plugin = name, message, "deleting it will not be waited for");
        }
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
        let is_held = object.meta.finalizers.iter().any(|finalizer| **finalizer == *FINALIZER);
        let waits = state.again.is_some() && !state.is_due(self.inner.clock.monotonic());
        if !is_held || waits {
            return;
        }
        let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
        let spec = PluginSpec::of_leaving(&value);
        let outcome = self.release(name, (&value, &spec), entry, state).await;
        self.plan_again(state, &outcome);
        if outcome.is_err() {
            (state.active, state.running) = (None, None);
            state.applied = Some((object.meta.generation, spec));
            self.conclude(name, state, &outcome);
            self.write_status(name, entry, state, object.revision).await;
        }
    }

    /// Looks at a plugin that is being deleted at the next occasion, not before others.
    pub(super) async fn leave_later(&self, name: &str) {
        self.entry(name).state.lock().await.again.get_or_insert_with(Again::now);
    }

    async fn release(
        &self,
        name: &str,
        (value, spec): (&Value, &PluginSpec),
        entry: &Entry,
        state: &State,
    ) -> Result<(), Problem> {
        let mut stuck = Vec::new();
        for left in self.left(name, (value, spec), entry, state).await?.into_values() {
            let finalizer = left.finalizer.clone().unwrap_or_default();
            let kept = self.inner.controllers.runtime.release_finalizer(left).await;
            stuck.extend(kept.into_iter().map(|key| (key, Arc::clone(&finalizer))));
        }
        if !stuck.is_empty() {
            return Err(Problem::passing("FinalizersStay", said_of(&stuck)));
        }
        let gone = self.inner.objects.set_finalizer(name, FINALIZER, false).await;
        gone.map_err(|status| Problem::passing("FinalizersStay", status.to_string()))
    }

    /// What any version of the plugin that is here can have left on objects.
    async fn left(
        &self,
        name: &str,
        (value, spec): (&Value, &PluginSpec),
        entry: &Entry,
        state: &State,
    ) -> Result<Left, Problem> {
        let mut digests: Vec<String> =
            kept_versions(value).into_iter().map(|version| version.digest).collect();
        let named = [value.pointer("/status/digest"), value.pointer("/spec/digest")];
        digests.extend(named.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        digests.sort_unstable();
        digests.dedup();
        let mut left = Left::new();
        for digest in digests.iter().filter_map(|digest| digest.parse::<Digest>().ok()) {
            let component = match &state.active {
                Some(active) if *active.digest() == digest => active.clone(),
                _ if self.inner.files.size(&digest) == 0 => continue,
                _ => match self.load(&digest, entry).await {
                    Ok(component) => component,
                    Err(problem) if problem.may_pass => return Err(problem),
                    Err(Problem { message, .. }) => {
                        let digest = digest.as_str();
                        tracing::warn!(plugin = name, digest, message, "what it left is not known");
                        continue;
                    }
                },
            };
            for controller in &component.description().controllers {
                let about = controller_spec(name, &component, controller, spec);
                if let Some(finalizer) = about.finalizer.clone() {
                    left.insert((about.primary.clone(), finalizer), about);
                }
            }
        }
        Ok(left)
    }
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
        "writes are refused that take its finalizers from objects: {}{more}; take them away by hand, or let the writes pass",
        named.join(", ")
    )
}
