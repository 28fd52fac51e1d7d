//! One rule of a role: what it matches, what it covers, and how it is written in messages.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Attributes, ResourceAttributes};

const ALL: &str = "*";

/// A rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyRule {
    /// The verbs, or `*`.
    #[serde(deserialize_with = "texts")]
    pub verbs: Vec<Box<str>>,
    /// The API groups, or `*`.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<Box<str>>,
    /// The resources: `pods`, `pods/log`, `*/scale`, or `*`.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Box<str>>,
    /// The names; empty for all.
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<Box<str>>,
    /// Paths that are no resources; a `*` at the end stands for whatever follows.
    #[serde(rename = "nonResourceURLs")]
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<Box<str>>,
}

/// Texts, where `null` is none of them.
fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Box<str>>, D::Error> {
    Option::<Vec<Box<str>>>::deserialize(from).map(Option::unwrap_or_default)
}

fn has(list: &[Box<str>], wanted: &str) -> bool {
    list.iter().any(|item| **item == *wanted)
}

fn has_or_all(list: &[Box<str>], wanted: &str) -> bool {
    list.iter().any(|item| **item == *wanted || **item == *ALL)
}

impl PolicyRule {
    /// The `rules` of a stored role; those that do not decode are left out, they grant nothing.
    pub(crate) fn list(role: &Map<String, Value>) -> Vec<Self> {
        let rules = role.get("rules").and_then(Value::as_array);
        rules.into_iter().flatten().filter_map(|rule| Self::deserialize(rule).ok()).collect()
    }

    /// Whether the rule allows what is asked.
    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, asked.verb) {
            return false;
        }
        match &asked.resource {
            None => self.non_resource_urls.iter().any(|url| url_covers(url, asked.path)),
            Some(of) => {
                has_or_all(&self.api_groups, of.group)
                    && self.resources.iter().any(|resource| names(resource, of))
                    && (self.resource_names.is_empty() || has(&self.resource_names, of.name))
            }
        }
    }

    /// Whether everything that `part`, a rule for one thing, allows is allowed by this rule.
    fn covers(&self, part: &Self) -> bool {
        let all = |mine: &[Box<str>], theirs: &[Box<str>]| {
            has(mine, ALL) || theirs.iter().all(|item| has(mine, item))
        };
        let resources = has(&self.resources, ALL)
            || part.resources.iter().all(|resource| {
                let everywhere = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
                has(&self.resources, resource)
                    || everywhere.is_some_and(|any| has(&self.resources, &any))
            });
        let names = self.resource_names.is_empty()
            || (!part.resource_names.is_empty()
                && part.resource_names.iter().all(|name| has(&self.resource_names, name)));
        let urls = part
            .non_resource_urls
            .iter()
            .all(|url| self.non_resource_urls.iter().any(|mine| url_covers(mine, url)));
        all(&self.verbs, &part.verbs)
            && all(&self.api_groups, &part.api_groups)
            && resources
            && names
            && urls
    }

    /// The rule as rules for one thing each.
    fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        let names: Vec<Vec<Box<str>>> = if self.resource_names.is_empty() {
            vec![Vec::new()]
        } else {
            self.resource_names.iter().map(|name| vec![name.clone()]).collect()
        };
        let of_resources = self.api_groups.iter().flat_map(move |group| {
            let names = names.clone();
            self.resources.iter().flat_map(move |resource| {
                let names = names.clone();
                self.verbs.iter().flat_map(move |verb| {
                    names.clone().into_iter().map(move |resource_names| Self {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        resource_names,
                        ..Self::default()
                    })
                })
            })
        });
        let of_urls = self.non_resource_urls.iter().flat_map(|url| {
            self.verbs.iter().map(|verb| Self {
                verbs: vec![verb.clone()],
                non_resource_urls: vec![url.clone()],
                ..Self::default()
            })
        });
        of_resources.chain(of_urls)
    }

    /// What the rule is about when it is about one resource, with at most one name.
    fn single(&self) -> Option<(&str, &str, Option<&str>)> {
        let ([group], [resource]) = (self.api_groups.as_slice(), self.resources.as_slice()) else {
            return None;
        };
        let names = self.resource_names.len() <= 1;
        let one = names && self.non_resource_urls.is_empty();
        one.then(|| (&**group, &**resource, self.resource_names.first().map(AsRef::as_ref)))
    }
}

/// Whether a role's `resources` entry names what is asked for.
fn names(entry: &str, of: &ResourceAttributes<'_>) -> bool {
    if entry == ALL {
        return true;
    }
    if of.subresource.is_empty() {
        return entry == of.resource;
    }
    entry.split_once('/').is_some_and(|(resource, subresource)| {
        subresource == of.subresource && (resource == of.resource || resource == ALL)
    })
}

/// Whether a path pattern covers a path, or another pattern.
fn url_covers(pattern: &str, url: &str) -> bool {
    match pattern.strip_suffix('*') {
        None => pattern == url,
        Some(start) => pattern == ALL || url.starts_with(start.trim_end_matches('*')),
    }
}

/// As kube-apiserver writes a rule in a refusal: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<String> = fields
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| format!("{name}:{}", quoted(list.iter().map(AsRef::as_ref))))
            .collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

/// Texts as Go prints a quoted list: `["a" "b"]`.
pub(crate) fn quoted<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.map(quadrille_object::validate_name::quote).collect();
    format!("[{}]", texts.join(" "))
}

/// Everything that somebody may do, in one namespace and beyond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The rules, in the order of the bindings.
    pub rules: Vec<PolicyRule>,
    /// What stood in the way of knowing more.
    pub problems: Vec<String>,
}

impl Rights {
    /// What of `wanted` they do not cover, put together again and in order.
    pub(crate) fn missing(&self, wanted: &[PolicyRule]) -> Vec<PolicyRule> {
        let parts = wanted.iter().flat_map(PolicyRule::parts);
        let missing = parts.filter(|part| !self.rules.iter().any(|rule| rule.covers(part)));
        compact(missing)
    }
}

/// Into how many parts the rules of a role may fall to be compared with what its writer has: a role of a megabyte
/// could fall into billions. The largest default role has some 3,000.
const PARTS_MAX: usize = 100_000;
/// How many texts may be compared for that, each part with everything that the writer's rules name: a moment's work.
/// The largest default role beside the rules of `admin` takes some 5 million.
const COMPARISONS_MAX: usize = 100_000_000;

/// How many comparisons copying one of the texts that somebody's rules name is worth.
const COPYING: usize = 20;

/// What may be compared yet in one request, however many comparisons of rules it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    parts: usize,
    comparisons: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { parts: PARTS_MAX, comparisons: COMPARISONS_MAX }
    }
}

impl Allowance {
    /// Takes what comparing some rules with those that somebody has costs; false when that is too much.
    pub(crate) fn take(&mut self, wanted: &[PolicyRule], held: &[PolicyRule]) -> bool {
        let lists = |rule: &PolicyRule| {
            rule.verbs.len()
                + rule.api_groups.len()
                + rule.resources.len()
                + rule.resource_names.len()
                + rule.non_resource_urls.len()
        };
        let (parts, texts) = (parts_count(wanted), held.iter().map(lists).sum::<usize>());
        let cost = parts.saturating_mul(texts).saturating_add(texts.saturating_mul(COPYING));
        match (self.parts.checked_sub(parts), self.comparisons.checked_sub(cost)) {
            (Some(parts), Some(comparisons)) => *self = Self { parts, comparisons },
            _ => return false,
        }
        true
    }
}

/// Into how many parts rules fall.
fn parts_count(rules: &[PolicyRule]) -> usize {
    let of = |rule: &PolicyRule| {
        let names = rule.resource_names.len().max(1);
        let things = rule.api_groups.len().saturating_mul(rule.resources.len());
        let things = things.saturating_mul(names).saturating_add(rule.non_resource_urls.len());
        things.saturating_mul(rule.verbs.len())
    };
    rules.iter().fold(0, |sum, rule| sum.saturating_add(of(rule)))
}

/// Puts rules that differ in their verbs alone together.
fn compact(rules: impl Iterator<Item = PolicyRule>) -> Vec<PolicyRule> {
    let mut whole: Vec<PolicyRule> = Vec::new();
    let (mut places, mut verbs) = (HashMap::new(), HashSet::new());
    for rule in rules {
        let about = rule.single().map(|(group, resource, name)| {
            (group.to_owned(), resource.to_owned(), name.map(str::to_owned))
        });
        let place = about.as_ref().and_then(|about| places.get(about)).copied();
        let at = place.unwrap_or(whole.len());
        let new = rule.verbs.iter().filter(|verb| verbs.insert((at, (*verb).clone())));
        if let Some(known) = whole.get_mut(at) {
            known.verbs.extend(new.cloned());
            continue;
        }
        new.for_each(drop);
        if let Some(about) = about {
            places.insert(about, at);
        }
        whole.push(rule);
    }
    whole
}

/// Rules as lines of a message, sorted and each once.
pub(crate) fn lines(rules: &[PolicyRule]) -> String {
    let lines: BTreeSet<String> = rules.iter().map(PolicyRule::to_string).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::promptly::promptly;

    fn rules(value: impl Into<Value>) -> Vec<PolicyRule> {
        let value = value.into();
        PolicyRule::list(json!({"rules": value}).as_object().expect("a map"))
    }

    fn asked(verb: &'static str, resource: &'static str) -> Attributes<'static> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes::of(verb, ResourceAttributes { resource, subresource, ..Default::default() })
    }

    #[test]
    fn subresources_are_matched_by_their_own_entries() {
        for (entry, resource, allowed) in [
            ("pods", "pods", true),
            ("pods", "pods/log", false),
            ("pods/log", "pods/log", true),
            ("pods/log", "pods", false),
            ("*/log", "pods/log", true),
            ("*/log", "pods", false),
            ("*", "pods/log", true),
            ("pods/*", "pods/log", false),
        ] {
            let rule = rules(json!([{"apiGroups": [""], "resources": [entry], "verbs": ["get"]}]));
            assert_eq!(rule[0].allows(&asked("get", resource)), allowed, "{entry} {resource}");
        }
    }

    #[test]
    fn a_star_ends_a_path() {
        for (pattern, path, covered) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/etcd", false),
            ("/api/*", "/api/v1", true),
            ("/api/*", "/apis", false),
            ("/api*", "/apis", true),
            ("*", "/x", true),
            ("/a/*", "/a/*", true),
        ] {
            assert_eq!(url_covers(pattern, path), covered, "{pattern} {path}");
        }
    }

    #[test]
    fn what_takes_too_long_to_compare_is_told_beforehand() {
        let texts = |count: usize| (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>();
        let role = |resources: usize, names: usize| {
            rules(
                json!([{"apiGroups": [""], "resources": texts(resources), "resourceNames": texts(names), "verbs": texts(10)}]),
            )
        };
        let fits =
            |wanted: &[PolicyRule], held: &[PolicyRule]| Allowance::default().take(wanted, held);
        assert!(fits(&role(100, 3), &role(1_000, 1_000)));
        assert!(!fits(&role(100, 1_000), &[]), "a million parts");
        assert!(!fits(&role(100, 100), &role(1_000, 1_000)), "200 million comparisons");
        let mut once = Allowance::default();
        let times = (0..100).take_while(|_| once.take(&role(100, 3), &role(1_000, 1_000)));
        assert_eq!(times.count(), 16, "3,000 parts beside 2,010 texts each time");
    }

    #[test]
    fn very_many_missing_verbs_are_put_together_promptly() {
        let verbs: Vec<String> = (0..100_000).map(|n| format!("v{n}")).collect();
        let wanted = rules(json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": verbs},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["v7", "v7"]},
        ]));
        let missing = promptly(|| Rights::default().missing(&wanted));
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].verbs.len(), 100_000, "each verb once");
    }

    #[test]
    fn what_is_missing_is_told_by_resource() {
        let held = Rights {
            rules: rules(json!([
                {"apiGroups": [""], "resources": ["configmaps", "*/status"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["*"]},
                {"nonResourceURLs": ["/metrics*"], "verbs": ["get"]},
            ])),
            problems: Vec::new(),
        };
        let missing = |wanted: Value| lines(&held.missing(&rules(wanted)));
        assert_eq!(
            missing(
                json!([{"apiGroups": [""], "resources": ["configmaps", "pods/status"], "verbs": ["get"]}])
            ),
            ""
        );
        assert_eq!(
            missing(
                json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}])
            ),
            "{APIGroups:[\"\"], Resources:[\"configmaps\"], Verbs:[\"list\" \"watch\"]}"
        );
        let secret = |name: &str| {
            missing(
                json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": ["get"]}]),
            )
        };
        assert_eq!(secret("a"), "");
        assert_eq!(
            secret("b"),
            "{APIGroups:[\"\"], Resources:[\"secrets\"], ResourceNames:[\"b\"], Verbs:[\"get\"]}"
        );
        assert_eq!(
            missing(json!([{"nonResourceURLs": ["/metrics/x", "/"], "verbs": ["get"]}])),
            "{NonResourceURLs:[\"/\"], Verbs:[\"get\"]}"
        );
    }
}
