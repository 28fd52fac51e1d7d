//! What follows when a plugin cannot be brought in line with its spec: what runs on keeps no grant that was revoked, and
//! what failed for a reason that may pass is tried again.
//!
//! A revocation never waits for the rest of its spec. So what runs on has what its own spec and the new one both grant,
//! and is held when the new one says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quadrille_runtime::{Backoff, GrantRule};
use serde_json::Value;

use super::manager::{Entry, PluginManager, State};
use super::sync::Problem;

/// The longest wait before another attempt: whoever put right what was in the way sees it taken up.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// When what failed is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    at: Duration,
    failures: u32,
}

impl Again {
    /// At the next look.
    pub(super) fn now() -> Self {
        Self { at: Duration::ZERO, failures: 0 }
    }

    pub(super) fn is_due(self, now: Duration) -> bool {
        self.at <= now
    }
}

impl State {
    /// Whether it is time for another attempt.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.again.is_some_and(|again| again.is_due(now))
    }

    /// Whether there is anything to look at.
    pub(super) fn is_to_be_seen(&self, now: Duration) -> bool {
        self.is_due(now) || self.owed.is_some_and(|owed| owed.is_due(now))
    }

    /// How often what is under way failed.
    pub(super) fn attempts(&self) -> u32 {
        let failures = [self.again, self.owed].into_iter().flatten().map(|again| again.failures);
        failures.max().unwrap_or_default()
    }
}

impl PluginManager {
    /// Takes from what runs on what a spec that was not reached revokes: grants, and the leave to run at all.
    pub(super) async fn hold_back(
        &self,
        name: &str,
        (grants, suspended): (&[GrantRule], bool),
        entry: &Entry,
        state: &mut State,
    ) {
        if state.trial.is_some() {
            // It was begun under another spec.
            self.call_off(name, state);
            state.rollout = Value::Null;
        }
        let (Some(active), Some(mut spec)) = (state.active.clone(), state.running.clone()) else {
            return self.stop_all(name, state);
        };
        let kept = common(&spec.grants, grants);
        if kept.is_none() && !state.is_mixed && (spec.suspended || !suspended) {
            return;
        }
        spec.grants = kept.unwrap_or(spec.grants);
        spec.suspended |= suspended;
        if let Err(Problem { message, .. }) = self.switch(name, &spec, entry, state, &active).await
        {
            tracing::error!(plugin = name, message, "what was revoked cannot be taken away: ended");
            self.stop_all(name, state);
        }
    }

    fn stop_all(&self, name: &str, state: &mut State) {
        for controller in std::mem::take(&mut state.started) {
            self.inner.controllers.remove(name, &controller);
        }
        (state.active, state.running, state.is_mixed) = (None, None, false);
    }

    /// Says when there is another attempt after this one: none after a success, or where none would help.
    pub(super) fn plan_again(&self, state: &mut State, outcome: &Result<(), Problem>) {
        let may_pass = outcome.as_ref().is_err_and(|problem| problem.may_pass);
        state.again = may_pass.then(|| self.next(state.again));
    }

    /// The attempt after one that failed.
    pub(super) fn next(&self, last: Option<Again>) -> Again {
        let failures = last.map_or(0, |again| again.failures).saturating_add(1);
        let backoff = Backoff { min: self.inner.config.status_interval, max: WAIT_MAX };
        let wait = backoff.wait(failures, self.inner.objects.registry.random().next_u64());
        Again { at: self.inner.clock.monotonic().saturating_add(wait), failures }
    }

    /// Lets what failed be tried at the next look: something has changed that the spec does not show.
    pub(super) async fn try_now(&self, name: &str) {
        if let Some((_, _, mut state)) = self.hold(name).await
            && let Some(again) = &mut state.again
        {
            again.at = Duration::ZERO;
        }
    }
}

/// A verb on a resource.
type Power = (Arc<str>, Arc<str>, Arc<str>);

/// The namespaces in which it is granted; `None` for all.
type Places = Option<BTreeSet<Arc<str>>>;

/// What both grant; `None` when that is all that `running` does.
fn common(running: &[GrantRule], wanted: &[GrantRule]) -> Option<Vec<GrantRule>> {
    let (running, wanted) = (powers(running), powers(wanted));
    let both: BTreeMap<&Power, Places> = running
        .iter()
        .filter_map(|(power, places)| {
            let places = match (places, wanted.get(power)?) {
                (None, places) | (places, None) => places.clone(),
                (Some(some), Some(others)) => Some(some & others),
            };
            places.as_ref().is_none_or(|places| !places.is_empty()).then_some((power, places))
        })
        .collect();
    if both.len() == running.len() && running.iter().all(|(p, places)| both.get(p) == Some(places))
    {
        return None;
    }
    let mut verbs: BTreeMap<_, Vec<Arc<str>>> = BTreeMap::new();
    for ((group, resource, verb), places) in both {
        verbs.entry((group, resource, places)).or_default().push(Arc::clone(verb));
    }
    let rules = verbs.into_iter().map(|((group, resource, places), verbs)| GrantRule {
        group: Arc::clone(group),
        resource: Arc::clone(resource),
        verbs,
        namespaces: places.into_iter().flatten().collect(),
    });
    Some(rules.collect())
}

fn powers(rules: &[GrantRule]) -> BTreeMap<Power, Places> {
    let mut powers: BTreeMap<Power, Places> = BTreeMap::new();
    for rule in rules {
        for verb in &rule.verbs {
            let power = (Arc::clone(&rule.group), Arc::clone(&rule.resource), Arc::clone(verb));
            let places = powers.entry(power).or_insert_with(|| Some(BTreeSet::new()));
            if rule.namespaces.is_empty() {
                *places = None;
            } else if let Some(places) = places {
                places.extend(rule.namespaces.iter().cloned());
            }
        }
    }
    powers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(resource: &str, verbs: &[&str], namespaces: &[&str]) -> GrantRule {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
        let (verbs, namespaces) = (texts(verbs), texts(namespaces));
        GrantRule { group: "".into(), resource: resource.into(), verbs, namespaces }
    }

    #[test]
    fn what_both_grant_is_what_is_left_by_verb_and_by_namespace() {
        let running = [rule("pods", &["get", "list"], &[]), rule("secrets", &["get"], &["a", "b"])];
        let more = [rule("pods", &["list", "get", "patch"], &[]), rule("secrets", &["get"], &[])];
        assert_eq!(common(&running, &more), None, "nothing is revoked");
        let less = [rule("pods", &["get"], &["a"]), rule("secrets", &["get", "list"], &["b", "c"])];
        let left = [rule("pods", &["get"], &["a"]), rule("secrets", &["get"], &["b"])];
        assert_eq!(common(&running, &less), Some(left.to_vec()));
        assert_eq!(common(&running, &[]), Some(Vec::new()));
        let elsewhere = [rule("secrets", &["get"], &["c"])];
        assert_eq!(common(&running, &elsewhere), Some(Vec::new()), "no namespace is not all");
    }
}
