//! Everything that wants to see writes, compiled: policies with their bindings, and webhooks.
//!
//! It is made anew when an object of `admissionregistration.k8s.io` is committed, before the writer gets its answer,
//! and reuses what did not change. A write takes the set that is there when it begins; nobody lists the store for it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_store::{Key, Object as Stored, Query, Range, Revision, View, Write};

use crate::admission::policy::{Binding, Bound, Policy};
use crate::admission::webhook::Webhook;
use crate::field::Object;
use crate::registry::Registry;
use crate::write::parse;

/// The group of policies and webhooks; its own objects are seen by none of them.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

/// Compiled objects with the revision that they were compiled from.
type Kept<T> = BTreeMap<Key, (Revision, Arc<T>)>;

/// Everything that wants to see writes.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    /// Mutating policies that are bound, in the order of their names.
    pub(crate) mutating: Vec<Bound>,
    /// Validating policies that are bound, in the order of their names.
    pub(crate) validating: Vec<Bound>,
    /// Mutating webhooks, in the order of their configurations' names and then as they stand there.
    pub(crate) mutating_webhooks: Vec<Arc<Webhook>>,
    /// Validating webhooks, in the same order.
    pub(crate) validating_webhooks: Vec<Arc<Webhook>>,
    policies: Kept<Policy>,
    bindings: Kept<Binding>,
    webhooks: Kept<Vec<Arc<Webhook>>>,
}

impl Hooks {
    /// What the view has, taking over from `old` what did not change.
    fn read(view: &dyn View, old: &Self) -> Self {
        let mut new = Self::default();
        let kinds = ["mutatingadmissionpolicies", "validatingadmissionpolicies"];
        for resource in kinds {
            keep(view, resource, &old.policies, &mut new.policies, Policy::compile);
            keep(view, &binding_of(resource), &old.bindings, &mut new.bindings, Binding::parse);
        }
        for resource in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
            keep(view, resource, &old.webhooks, &mut new.webhooks, Webhook::compile_all);
        }
        new.mutating = new.bound("mutatingadmissionpolicies");
        new.validating = new.bound("validatingadmissionpolicies");
        new.mutating_webhooks = new.webhooks_of("mutatingwebhookconfigurations");
        new.validating_webhooks = new.webhooks_of("validatingwebhookconfigurations");
        new
    }

    /// Whether nobody wants to see anything.
    pub(crate) fn are_none(&self) -> bool {
        self.mutating.is_empty()
            && self.validating.is_empty()
            && self.mutating_webhooks.is_empty()
            && self.validating_webhooks.is_empty()
    }

    fn bound(&self, resource: &str) -> Vec<Bound> {
        let of = |key: &Key, resource: &str| *key.resource.resource == *resource;
        let binding = binding_of(resource);
        let policies = self.policies.iter().filter(|(key, _)| of(key, resource));
        let bound = policies.map(|(_, (_, policy))| {
            let bindings = self.bindings.iter().filter(|(key, _)| of(key, &binding));
            let bindings = bindings.map(|(_, (_, binding))| binding);
            let bindings = bindings.filter(|binding| binding.policy == policy.name).cloned();
            Bound { policy: Arc::clone(policy), bindings: bindings.collect() }
        });
        bound.filter(|bound| !bound.bindings.is_empty()).collect()
    }

    fn webhooks_of(&self, resource: &str) -> Vec<Arc<Webhook>> {
        let of = self.webhooks.iter().filter(|(key, _)| *key.resource.resource == *resource);
        of.flat_map(|(_, (_, webhooks))| webhooks.iter().cloned()).collect()
    }
}

fn binding_of(policies: &str) -> String {
    policies.replace("policies", "policybindings")
}

/// Compiles the objects of a resource, or takes over what was compiled from the same revision.
fn keep<T: Debug>(
    view: &dyn View,
    resource: &str,
    old: &Kept<T>,
    new: &mut Kept<T>,
    compile: impl Fn(&Object) -> T,
) {
    let query = Query::whole(Range::all(GroupResource::new(GROUP, resource)));
    for stored in view.list(&query) {
        let kept = old.get(&stored.key).filter(|(revision, _)| *revision == stored.revision);
        let kept = kept.map(|(_, kept)| Arc::clone(kept));
        let Some(compiled) = kept.or_else(|| compiled(&stored, &compile)) else { continue };
        new.insert(stored.key.clone(), (stored.revision, compiled));
    }
}

fn compiled<T>(stored: &Stored, compile: impl Fn(&Object) -> T) -> Option<Arc<T>> {
    let object = parse(stored).ok()?;
    Some(Arc::new(compile(&object)))
}

/// Whether a write changes what the set is made of.
pub(crate) fn is_hook(key: &Key) -> bool {
    *key.resource.group == *GROUP
}

/// Whether a write changes what the set is made of.
pub(crate) fn changes_hooks(write: &Write) -> bool {
    is_hook(write.key())
}

impl Registry {
    /// Brings the set up to date with the store.
    pub(crate) fn load_hooks(&self) {
        // Read inside, so that of two racing changes the later one is what stays.
        self.hooks().rcu(|old| Hooks::read(&self.store().snapshot(), old));
    }
}
