//! The driver: which key runs next, one run, and what its commit wakes.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use quadrille_kit::{Clock, Random};
use quadrille_object::Gvr;
use quadrille_runtime::overlay::OverlayOwner;
use quadrille_runtime::{Grant, GrantRule, Overlay};
use quadrille_sdk::plugin::Request;
use quadrille_sdk::{Capability, Error, Host, Next, ObjectRef};
use quadrille_store::{Cause, Change, Key, RunCause, View};
use serde_json::json;

use crate::host::OverlayHost;
use crate::world::{Entry, WorkKey, World};

/// More runs than this without a rest are a loop.
pub(crate) const RUNS_MAX: u64 = 20_000;

/// More runs of one key than this without a rest are a loop.
const RUNS_PER_KEY_MAX: usize = 100;

/// Retries of a transient failure before the test is told.
const RETRIES_MAX: u32 = 5;

/// What a plugin may do when it is granted all it asks for.
pub(crate) fn grant(capabilities: &[Capability]) -> Grant {
    let rules = capabilities.iter().map(|asked| GrantRule {
        group: asked.group.into(),
        resource: match asked.subresource {
            "" => asked.resource.into(),
            subresource => format!("{}/{subresource}", asked.resource).into(),
        },
        verbs: asked.verbs.iter().map(|&verb| verb.into()).collect(),
        namespaces: Vec::new(),
    });
    Grant { rules: rules.collect(), unlimited: false }
}

impl World {
    pub(crate) fn settle_within(
        &mut self,
        runs_max: u64,
        mut look: impl FnMut(&Self),
    ) -> Result<(), String> {
        let last = self.runs + runs_max;
        let mut per_key: BTreeMap<WorkKey, usize> = BTreeMap::new();
        loop {
            self.wake();
            self.wake_due();
            let Some(next) = self.pick() else {
                if self.collect_garbage()? {
                    continue;
                }
                return Ok(());
            };
            let count = per_key.entry(next.clone()).or_default();
            *count += 1;
            if *count > RUNS_PER_KEY_MAX || self.runs >= last {
                let (controller, key) = &next;
                let name = self.controllers.get(*controller).map(|c| c.described.name.as_str());
                return Err(format!(
                    "did not settle: {} still runs for {key} after {count} runs; two controllers undo each other, or \
                     one writes something else each time. It last wrote: {}",
                    name.unwrap_or_default(),
                    self.last_writes()
                ));
            }
            self.run(&next)?;
            look(self);
        }
    }

    /// Any of the ready keys: the order is chance's, since a host promises none.
    fn pick(&mut self) -> Option<WorkKey> {
        let at = self.chance.below(self.ready.len() as u64);
        let next = self.ready.iter().nth(usize::try_from(at).unwrap_or(0)).cloned()?;
        self.ready.remove(&next);
        Some(next)
    }

    /// Queues what the changes since the last look wake.
    pub(crate) fn wake(&mut self) {
        while let Ok(Some(batch)) = self.stream.try_next() {
            for change in batch.changes {
                self.wake_by(&change);
            }
        }
    }

    fn wake_by(&mut self, change: &Change) {
        for (number, entry) in self.controllers.iter().enumerate() {
            let at = (number, change.key().clone());
            // What a run wrote itself does not wake it.
            let reads = self.keys.get(&at).and_then(|state| state.reads.as_ref());
            let is_news = reads.is_none_or(|reads| reads.at < change.revision);
            if is_news && entry.is_primary(change) {
                self.ready.insert(at);
            }
        }
        let after = change.after().map(AsRef::as_ref);
        for (at, state) in &self.keys {
            let touches = state.reads.as_ref().is_some_and(|reads| {
                reads.at < change.revision
                    && reads.touches(change.key(), change.before.as_deref(), after)
            });
            if touches {
                self.ready.insert(at.clone());
            }
        }
    }

    fn wake_due(&mut self) {
        let now = self.clock.monotonic();
        for (at, state) in &mut self.keys {
            if state.due.is_some_and(|due| due <= now) {
                state.due = None;
                self.ready.insert(at.clone());
            }
        }
    }

    /// One run, from the finalizer to the commit.
    fn run(&mut self, at: &WorkKey) -> Result<(), String> {
        self.runs += 1;
        self.hold(at)?;
        let seed = self.chance.next_u64();
        let (result, overlay, log) = self.reconcile(at, seed)?;
        self.log.extend(log);
        match result {
            Ok(next) => {
                self.commit(at, overlay)?;
                let state = self.keys.entry(at.clone()).or_default();
                state.failures = 0;
                state.error = None;
                state.due = match next {
                    Next::After(wait) => Some(self.clock.monotonic() + wait),
                    Next::Done => None,
                };
                if next == Next::Done {
                    self.release(at)?;
                }
                Ok(())
            }
            Err(error) => self.failed(at, &overlay, &error),
        }
    }

    /// Calls the controller on a fresh overlay.
    pub(crate) fn reconcile(&self, at: &WorkKey, seed: u64) -> Result<Reconciled, String> {
        let (number, key) = at;
        let entry = self.controllers.get(*number).ok_or("no such controller")?;
        let snapshot = self.registry.store().snapshot();
        let primary = &entry.described.primary;
        let gvr = Gvr::new(&*primary.group, &*primary.version, &*primary.resource);
        let catalog = self.registry.catalog();
        let resource = catalog.by_gvr(&gvr).ok_or_else(|| {
            format!(
                "controller {} is for {gvr:?}, which the host does not serve",
                entry.described.name
            )
        })?;
        let current = snapshot.get(key).map(|object| {
            String::from_utf8_lossy(&self.registry.present(&object, resource)).into_owned()
        });
        let owner = OverlayOwner {
            plugin: "test".into(),
            controller: entry.described.name.as_str().into(),
            field_manager: match entry.described.field_manager.as_str() {
                "" => entry.described.name.as_str().into(),
                manager => manager.into(),
            },
            primary: Some(key.clone()),
            now: self.clock.now(),
        };
        let overlay = Overlay::new(snapshot, self.registry.clone(), entry.grant.clone());
        let host = Rc::new(OverlayHost::new(overlay.owned_by(owner), seed, self.config.clone()));
        let request = Request {
            controller: entry.described.name.clone(),
            object: ObjectRef {
                resource: primary.clone(),
                namespace: key.namespace.as_ref().to_owned(),
                name: key.name.as_ref().to_owned(),
            },
            current,
            woken_by: Vec::new(),
            attempt: self.keys.get(at).map_or(0, |state| state.failures),
        };
        let plugin = self.plugins.get(entry.plugin).ok_or("no such plugin")?;
        let shared: Rc<dyn Host> = Rc::<OverlayHost>::clone(&host);
        let result = plugin.reconcile(shared, request);
        let overlay = host.take_overlay().ok_or("the overlay is gone")?;
        let log = host.take_log();
        match overlay.limit_reached() {
            Some(status) => Ok((Err(Error::transient(status.message.clone())), overlay, log)),
            None => Ok((result, overlay, log)),
        }
    }

    fn commit(&mut self, at: &WorkKey, overlay: Overlay) -> Result<(), String> {
        let mut reads = overlay.reads();
        let txn =
            overlay.into_txn(None, Cause::Run(RunCause { run: self.runs, ..RunCause::default() }));
        if !txn.writes.is_empty() {
            let committed = self.tasks.block_on(self.registry.commit(txn));
            let committed =
                committed.map_err(|error| format!("cannot commit {}: {error}", at.1))?;
            // What a run wrote itself does not wake it.
            reads.at = committed.revision;
        }
        self.keys.entry(at.clone()).or_default().reads = Some(reads);
        Ok(())
    }

    fn failed(&mut self, at: &WorkKey, overlay: &Overlay, error: &Error) -> Result<(), String> {
        let now = self.clock.monotonic();
        let state = self.keys.entry(at.clone()).or_default();
        state.reads = Some(overlay.reads());
        state.failures += 1;
        state.error = Some(error.chain());
        if error.is_transient() && state.failures <= RETRIES_MAX {
            state.due = Some(now + Duration::from_secs(1 << state.failures.min(6)));
            return Ok(());
        }
        let how = if error.is_transient() { "again and again" } else { "for good" };
        let name = self.controllers.get(at.0).map(|c| c.described.name.as_str());
        Err(format!("{} failed {how} on {}: {}", name.unwrap_or_default(), at.1, error.chain()))
    }

    /// Adds the controller's finalizer before its first run.
    fn hold(&mut self, (number, key): &WorkKey) -> Result<(), String> {
        self.set_finalizer(*number, key, true)
    }

    /// Takes it away after a finished run on a terminating object.
    fn release(&mut self, (number, key): &WorkKey) -> Result<(), String> {
        self.set_finalizer(*number, key, false)
    }

    fn set_finalizer(&mut self, number: usize, key: &Key, wanted: bool) -> Result<(), String> {
        let finalizer = self.controllers.get(number).and_then(|c| c.described.finalizer.clone());
        let object = self.registry.store().snapshot().get(key);
        let (Some(finalizer), Some(object)) = (finalizer, object) else { return Ok(()) };
        let terminating = object.meta.deleted_at.is_some();
        let held = object.meta.finalizers.iter().any(|name| **name == *finalizer);
        if wanted == held || wanted == terminating {
            return Ok(());
        }
        let others = object.meta.finalizers.iter().map(AsRef::as_ref);
        let mut finalizers: Vec<&str> = others.filter(|name| *name != finalizer).collect();
        if wanted {
            finalizers.push(&finalizer);
        }
        let patch = json!({"metadata": {"finalizers": finalizers}});
        self.patch_key(key, &patch).map_err(|status| status.message)
    }

    fn last_writes(&self) -> String {
        let store = self.registry.store();
        let last = store.revision();
        let mut texts = Vec::new();
        for back in 0..4 {
            let revision = quadrille_store::Revision(last.0.saturating_sub(back));
            if let Ok(Some(change)) = self.tasks.block_on(store.change(revision)) {
                texts.push(format!("{} at {}", change.key(), revision.0));
            }
        }
        texts.join(", ")
    }
}

/// How a run ended, what it read and wrote, and what it logged.
pub(crate) type Reconciled = (Result<Next, Error>, Overlay, Vec<(quadrille_sdk::Level, String)>);

impl Entry {
    fn is_primary(&self, change: &Change) -> bool {
        let primary = &self.described.primary;
        let key = change.key();
        *key.resource.group == *primary.group
            && *key.resource.resource == *primary.resource
            && [Some(&change.object), change.before.as_ref()]
                .into_iter()
                .flatten()
                .any(|object| self.selector.matches(&object.meta))
    }
}
