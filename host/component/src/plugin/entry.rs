//! A plugin's entry: held by one at a time, and about one object, however often the plugin's name is given anew.
//!
//! It owns the way from a name to what is known of its plugin, and what becomes of that when the object goes.

use std::sync::{Arc, PoisonError};

use quadrille_store::Object;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use super::manager::{Entries, Entry, PluginManager, State};
use crate::digest::Digest;

/// A plugin's object, and the entry that is about it and nobody else has.
pub(super) type Held = (Arc<Object>, Arc<Entry>, OwnedMutexGuard<State>);

impl PluginManager {
    /// Waits for a plugin's entry; `None` when there is no such plugin. What an earlier object of its name left running is
    /// taken away: the news that it went may come after it was made again.
    pub(super) async fn hold(&self, name: &str) -> Option<Held> {
        loop {
            let entry = self.entry(name);
            let mut state = Arc::clone(&entry.state).lock_owned().await;
            if !self.has(name, &entry) {
                // Its plugin went while it was waited for.
                continue;
            }
            let Some(object) = self.inner.objects.get(name) else {
                self.take_away(name, &mut state);
                return None;
            };
            if state.uid.as_ref().is_none_or(|uid| *uid == object.meta.uid) {
                state.uid = Some(Arc::clone(&object.meta.uid));
                return Some((object, entry, state));
            }
            self.take_away(name, &mut state);
        }
    }

    /// Takes away what ran for an object that is gone, and its files; whoever waits for its entry finds another one.
    fn take_away(&self, name: &str, state: &mut State) {
        self.call_off(name, state);
        for controller in std::mem::take(&mut state.started) {
            self.inner.controllers.remove(name, &controller);
        }
        for version in std::mem::take(&mut state.versions) {
            self.collect(name, &version.digest);
        }
        *state = State::default();
        self.lock().remove(name);
    }

    /// Deletes a component's files unless it is wanted.
    pub(super) fn collect(&self, name: &str, digest: &str) {
        let Ok(digest) = digest.parse() else { return };
        let is_named = || self.is_named(name, &digest);
        let forget = || self.inner.loader.forget(&digest);
        self.inner.files.remove_unless(&digest, is_named, forget);
    }

    /// Whether the plugin's spec wants a component, or another plugin has it.
    fn is_named(&self, plugin: &str, digest: &Digest) -> bool {
        self.inner.objects.all().iter().any(|object| {
            if *object.key.name == *plugin {
                let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
                let wanted = value.pointer("/spec/digest").and_then(Value::as_str);
                return wanted.is_some_and(|wanted| wanted.parse().as_ref() == Ok(digest));
            }
            String::from_utf8_lossy(&object.bytes).contains(digest.as_str())
        })
    }

    pub(super) fn entry(&self, plugin: &str) -> Arc<Entry> {
        Arc::clone(self.lock().entry(plugin.to_owned()).or_default())
    }

    fn has(&self, plugin: &str, entry: &Arc<Entry>) -> bool {
        self.lock().get(plugin).is_some_and(|known| Arc::ptr_eq(known, entry))
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.inner.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
