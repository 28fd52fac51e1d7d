//! The audit policy: which requests are logged, how much of them, and at which stages.
//!
//! It has the form of `audit.k8s.io/v1`, in YAML or JSON. The first rule that matches a request decides; without one
//! nothing is logged.

use quadrille_object::decode;
use quadrille_registry::access::{Attributes, ResourceAttributes, User};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what, when, and how it ended.
    Metadata,
    /// The body that came in, too.
    Request,
    /// The answer, too.
    RequestResponse,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// When it is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Stage {
    /// Before anything is done.
    #[default]
    RequestReceived,
    /// A long answer has begun.
    ResponseStarted,
    /// The answer is there.
    ResponseComplete,
    /// Something is broken: there is no answer.
    Panic,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// What a policy says of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) level: Level,
    omits: Vec<Stage>,
    pub(crate) omits_managed_fields: bool,
}

impl Verdict {
    /// Whether something is written at a stage.
    pub(crate) fn writes(&self, stage: Stage) -> bool {
        self.level != Level::None && !self.omits.contains(&stage)
    }
}

/// A policy that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit policy is not one of audit.k8s.io/v1: {0}")]
pub struct PolicyError(String);

/// Which requests are logged, how much of them, and at which stages.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

impl Policy {
    /// Reads a policy in YAML or JSON.
    ///
    /// # Errors
    /// When the text is neither, or says something that policies do not.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let decoded = decode::yaml(text.as_bytes()).map_err(|error| PolicyError(error.0))?;
        if let Some(problem) = decoded.duplicates.first() {
            return Err(PolicyError(problem.clone()));
        }
        let policy: Self = serde_json::from_value(decoded.value)
            .map_err(|error| PolicyError(error.to_string()))?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            let what = format!("it is a {} of {}", policy.kind, policy.api_version);
            return Err(PolicyError(what));
        }
        if policy.rules.is_empty() {
            return Err(PolicyError("it has no rules".to_owned()));
        }
        for (at, rule) in policy.rules.iter().enumerate() {
            let of_resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
            if of_resources && !rule.non_resource_urls.is_empty() {
                let what = "cannot apply to both regular resources and non-resource URLs";
                return Err(PolicyError(format!("rules[{at}] {what}")));
            }
        }
        Ok(policy)
    }

    /// What it says of a request; `None` for somebody unknown.
    pub(crate) fn verdict(&self, user: Option<&User>, asked: &Attributes<'_>) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(user, asked)) else {
            return Verdict::default();
        };
        let omits = self.omit_stages.iter().chain(&rule.omit_stages).copied().collect();
        let omits_managed_fields = rule.omit_managed_fields.unwrap_or(self.omit_managed_fields);
        Verdict { level: rule.level, omits, omits_managed_fields }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == wanted)
}

impl Rule {
    fn matches(&self, user: Option<&User>, asked: &Attributes<'_>) -> bool {
        let name = user.map_or("", |user| &user.name);
        let in_group = |group: &String| user.is_some_and(|user| user.is_in(group));
        if !self.users.is_empty() && !has(&self.users, name)
            || !self.user_groups.is_empty() && !self.user_groups.iter().any(in_group)
            || !self.verbs.is_empty() && !has(&self.verbs, asked.verb)
        {
            return false;
        }
        if !self.resources.is_empty() || !self.namespaces.is_empty() {
            return asked.resource.as_ref().is_some_and(|of| self.matches_resource(of));
        }
        if !self.non_resource_urls.is_empty() {
            let covers = |pattern: &String| match pattern.strip_suffix('*') {
                Some(start) => asked.path.starts_with(start),
                None => pattern == asked.path,
            };
            return asked.resource.is_none() && self.non_resource_urls.iter().any(covers);
        }
        true
    }

    fn matches_resource(&self, of: &ResourceAttributes<'_>) -> bool {
        (self.namespaces.is_empty() || has(&self.namespaces, of.namespace))
            && (self.resources.is_empty() || self.resources.iter().any(|group| group.matches(of)))
    }
}

impl GroupResources {
    fn matches(&self, of: &ResourceAttributes<'_>) -> bool {
        if self.group != of.group {
            return false;
        }
        let named = self.resource_names.is_empty() || has(&self.resource_names, of.name);
        let fits = |entry: &String| match entry.split_once('/') {
            None => entry == "*" || (of.subresource.is_empty() && entry == of.resource),
            Some((resource, subresource)) => {
                let same = resource == "*" || resource == of.resource;
                // `pods/*` is the pods and all that is below them.
                let below = subresource == "*" && resource != "*";
                same && (below || (!of.subresource.is_empty() && subresource == of.subresource))
            }
        };
        self.resources.is_empty() || (named && self.resources.iter().any(fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [\"system:probe\"]
- level: None
  nonResourceURLs: [\"/healthz*\", /version]
- level: Metadata
  resources: [{group: \"\", resources: [secrets, \"pods/*\", \"*/scale\"]}]
- level: RequestResponse
  verbs: [create]
  namespaces: [shop]
  omitStages: [ResponseStarted]
  omitManagedFields: true
- level: Request
  userGroups: [dev]
";

    #[track_caller]
    fn check(user: &str, verb: &str, what: &str, level: Level) {
        let policy = Policy::parse(POLICY).expect("a policy");
        let user = User::known(user, "", if user == "alice" { &["dev"] } else { &[] });
        let asked = if what.starts_with('/') {
            Attributes { verb, path: what, resource: None }
        } else {
            let (namespace, what) = what.split_once(':').expect("a namespace");
            let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
            let none = ResourceAttributes::default();
            Attributes::of(verb, ResourceAttributes { resource, subresource, namespace, ..none })
        };
        assert_eq!(policy.verdict(Some(&user), &asked).level, level, "{user:?} {asked:?}");
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        check("system:probe", "create", "shop:secrets", Level::None);
        check("alice", "get", "/healthz/etcd", Level::None);
        check("alice", "get", "/metrics", Level::Request);
        check("bob", "get", "/metrics", Level::None);
        check("bob", "create", "shop:secrets", Level::Metadata);
        check("bob", "get", "bank:pods", Level::Metadata);
        check("bob", "get", "bank:pods/log", Level::Metadata);
        check("bob", "get", "bank:deployments/scale", Level::Metadata);
        check("bob", "get", "bank:secrets/x", Level::None);
        check("bob", "create", "shop:configmaps", Level::RequestResponse);
        check("alice", "create", "bank:configmaps", Level::Request);
    }

    #[test]
    fn stages_are_omitted_by_policy_and_rule() {
        let policy = Policy::parse(POLICY).expect("a policy");
        let of = ResourceAttributes {
            resource: "configmaps",
            namespace: "shop",
            ..ResourceAttributes::default()
        };
        let verdict = policy.verdict(None, &Attributes::of("create", of));
        assert!(verdict.omits_managed_fields && verdict.writes(Stage::ResponseComplete));
        assert!(!verdict.writes(Stage::RequestReceived) && !verdict.writes(Stage::ResponseStarted));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for bad in [
            "",
            "kind: Policy",
            "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: []}",
            "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Loud}]}",
            "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, colour: red}]}",
            "{apiVersion: audit.k8s.io/v1beta1, kind: Policy, rules: [{level: None}]}",
            "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: None, namespaces: [a], nonResourceURLs: [/a]}]}",
        ] {
            assert!(Policy::parse(bad).is_err(), "{bad}");
        }
    }
}
