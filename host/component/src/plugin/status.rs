//! The status of a `Plugin` object: a pure function of what the manager knows.

use quadrille_object::Timestamp;
use quadrille_runtime::{Grant, GrantRule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::spec::RawGrant;

/// What a plugin is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Phase {
    /// No component has been named yet.
    Pending,
    /// A component is on its way to running.
    Loading,
    /// All its controllers run.
    Active,
    /// Something runs, and something that was asked for does not.
    Degraded,
    /// Nothing is started until it is resumed.
    Suspended,
    /// Nothing runs.
    Failed,
}

/// A version that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptVersion {
    pub(super) digest: String,
    #[serde(default)]
    pub(super) size: usize,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) loaded_at: String,
}

/// One observation, with the time of its last change of truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) holds: bool,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) since: Timestamp,
}

/// Sets a condition; its time moves only when its truth does.
pub(super) fn set_condition(conditions: &mut Vec<Condition>, new: Condition) {
    match conditions.iter_mut().find(|old| old.kind == new.kind) {
        Some(old) => {
            let since = if old.holds == new.holds { old.since } else { new.since };
            *old = Condition { since, ..new };
        }
        None => conditions.push(new),
    }
}

/// A controller that is not started, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) name: String,
    pub(super) primary: String,
    pub(super) reason: String,
}

/// The versions that the status of an earlier host names.
pub(super) fn kept_versions(object: &Value) -> Vec<KeptVersion> {
    let versions = object.pointer("/status/versions").cloned().unwrap_or_default();
    serde_json::from_value(versions).unwrap_or_default()
}

/// Everything that a status says.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) phase: Phase,
    pub(super) digest: Option<&'a str>,
    pub(super) version: &'a str,
    pub(super) observed_generation: i64,
    pub(super) versions: &'a [KeptVersion],
    pub(super) asked: &'a [GrantRule],
    pub(super) given: &'a [GrantRule],
    pub(super) ending: &'a [GrantRule],
    pub(super) running: Vec<Value>,
    pub(super) blocked: &'a [Blocked],
    pub(super) conditions: &'a [Condition],
    pub(super) denials: u64,
    pub(super) log_dropped: u64,
    pub(super) warnings: &'a [String],
    pub(super) rollout: &'a Value,
}

impl Facts<'_> {
    /// The JSON of the status.
    pub(super) fn render(&self) -> Value {
        let raw = |rules: &[GrantRule]| rules.iter().map(RawGrant::of).collect::<Vec<_>>();
        let sum = |field: &str| -> u64 {
            self.running.iter().filter_map(|c| c.get(field)).filter_map(Value::as_u64).sum()
        };
        let mut controllers = self.running.clone();
        for blocked in self.blocked {
            controllers.push(json!({
                "name": blocked.name, "primary": blocked.primary, "started": false, "reason": blocked.reason,
            }));
        }
        let last_error =
            self.running.iter().filter_map(|c| c.pointer("/lastError")?.as_str()).next_back();
        let mut status = json!({
            "phase": self.phase,
            "observedGeneration": self.observed_generation,
            "controllerCount": controllers.len(),
            "controllers": controllers,
            "versions": self.versions,
            "grantsAsked": raw(self.asked),
            "grantsGiven": raw(self.given),
            "grantsMissing": missing(self.asked, self.given),
            "queueLength": sum("queueLength"),
            "runs": sum("runs"),
            "failures": sum("failures"),
            "denials": self.denials,
            "logLinesDropped": self.log_dropped,
            "conditions": self.conditions.iter().map(|c| self.condition(c)).collect::<Vec<_>>(),
        });
        if let Some(digest) = self.digest {
            status["digest"] = json!(digest);
            status["version"] = json!(self.version);
        }
        if let Some(error) = last_error {
            status["lastError"] = json!(error);
        }
        if !self.ending.is_empty() {
            status["grantsEnding"] = json!(raw(self.ending));
        }
        if !self.rollout.is_null() {
            status["rollout"] = self.rollout.clone();
        }
        if !self.warnings.is_empty() {
            status["hostWarnings"] = json!(self.warnings);
        }
        status
    }

    fn condition(&self, condition: &Condition) -> Value {
        json!({
            "type": condition.kind,
            "status": if condition.holds { "True" } else { "False" },
            "reason": condition.reason,
            "message": condition.message,
            "observedGeneration": self.observed_generation,
            "lastTransitionTime": condition.since.to_rfc3339(),
        })
    }
}

/// What was asked for and not given, in any namespace.
pub(super) fn missing(asked: &[GrantRule], given: &[GrantRule]) -> Vec<RawGrant> {
    // Namespaces narrow a grant; here it only matters whether there is one.
    let anywhere: Vec<GrantRule> =
        given.iter().map(|rule| GrantRule { namespaces: Vec::new(), ..rule.clone() }).collect();
    let grant = Grant { rules: anywhere, unlimited: false };
    let mut missing = Vec::new();
    for rule in asked {
        let (resource, subresource) = match rule.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource)),
            None => (rule.resource.as_ref(), None),
        };
        let name = quadrille_object::GroupResource::new(rule.group.as_ref(), resource);
        let mut verbs = rule.verbs.iter();
        let lacking: Vec<_> = verbs
            .by_ref()
            .filter(|verb| !grant.allows(verb, &name, subresource, ""))
            .cloned()
            .collect();
        if !lacking.is_empty() {
            missing.push(RawGrant::of(&GrantRule { verbs: lacking, ..rule.clone() }));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(resource: &str, verbs: &[&str]) -> GrantRule {
        GrantRule {
            group: "".into(),
            resource: resource.into(),
            verbs: verbs.iter().map(|verb| (*verb).into()).collect(),
            namespaces: vec!["default".into()],
        }
    }

    #[test]
    fn what_is_missing_is_what_was_asked_less_what_was_given() {
        let asked = [rule("pods", &["get", "create"]), rule("pods/status", &["update"])];
        let given = [rule("pods", &["get", "list"])];
        let missing = missing(&asked, &given);
        assert_eq!(missing.len(), 2);
        assert_eq!(missing[0].verbs, ["create"]);
        assert_eq!(missing[1].resource, "pods/status");
    }

    #[test]
    fn a_conditions_time_moves_only_with_its_truth() {
        let at = |holds, second| Condition {
            kind: "Ready",
            holds,
            reason: "R".to_owned(),
            message: String::new(),
            since: Timestamp::from_seconds(second),
        };
        let mut conditions = vec![at(true, 1)];
        set_condition(&mut conditions, at(true, 2));
        assert_eq!(conditions[0].since, Timestamp::from_seconds(1));
        set_condition(&mut conditions, at(false, 3));
        assert_eq!(conditions[0].since, Timestamp::from_seconds(3));
    }
}
