//! Escalation: who writes a role, a binding or a plugin's grants may not grant more than they have, unless they may
//! `escalate` or `bind`. A run has what its plugin is granted.

use std::collections::{BTreeMap, HashSet};

use quadrille_object::GroupResource;
use quadrille_store::{Key, View};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::decide::Holding;
use super::index::{CLUSTER_ROLES, ROLES};
use super::rule::{self, Allowance, PolicyRule, Rights};
use super::{Access, Asker, Attributes, GROUP, MASTERS, ResourceAttributes};
use crate::field;
use crate::request::Actor;
use crate::status::{Reason, Status};

/// The object that is written, and by whom.
#[derive(Clone, Copy)]
pub(crate) struct Grantor<'a> {
    pub(crate) actor: &'a Actor,
    /// What is stored, the plugin of a run among it.
    pub(crate) view: &'a dyn View,
    /// The resource that is written.
    pub(crate) resource: &'a GroupResource,
    pub(crate) namespace: &'a str,
    /// The name in the path; empty for a create.
    pub(crate) path_name: &'a str,
    /// The object's own name.
    pub(crate) name: &'a str,
}

const TOO_MANY: &str = "it has too many rules to compare with those of its author";
/// The users as whom runs write, before the plugin's name.
const PLUGIN_USER: &str = "system:plugin:";
/// How many verbs and namespaces one grant may name, and how many grants a plugin may have: as its definition says, but
/// grants are compared before they are checked.
const VERBS_MAX: usize = 64;
const NAMESPACES_MAX: usize = 4_096;
const GRANTS_MAX: usize = 256;
/// Where plugins are.
const PLUGINS: (&str, &str) = ("quadrille.dev", "plugins");

/// What a plugin is granted, as its object says it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Granted {
    group: Box<str>,
    resource: Box<str>,
    verbs: Vec<Box<str>>,
    namespaces: Vec<Box<str>>,
}

impl Granted {
    fn list(plugin: &Map<String, Value>, at: &[&str]) -> Vec<Self> {
        let grants = field::list(plugin, at);
        grants.iter().filter_map(|grant| Self::deserialize(grant).ok()).collect()
    }

    fn holds_in(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|of| **of == *namespace)
    }

    fn is_too_long(&self) -> bool {
        self.verbs.len() > VERBS_MAX || self.namespaces.len() > NAMESPACES_MAX
    }

    fn rule(self) -> PolicyRule {
        PolicyRule {
            verbs: self.verbs,
            api_groups: vec![self.group],
            resources: vec![self.resource],
            ..PolicyRule::default()
        }
    }
}

impl Grantor<'_> {
    /// Parts of the host are, and masters; a run is not, as its plugin has an object with grants.
    fn is_free(&self) -> bool {
        if self.actor.is_host() {
            return self.grants().is_none();
        }
        self.actor.asker().is_in(MASTERS)
    }

    /// What the plugin is granted whose run this is; `None` for everybody else.
    fn grants(&self) -> Option<Vec<Granted>> {
        let plugin = self.actor.user.strip_prefix(PLUGIN_USER).filter(|_| self.actor.is_host())?;
        let (group, resource) = PLUGINS;
        let stored = self.view.get(&Key::new(GroupResource::new(group, resource), "", plugin))?;
        let object: Map<String, Value> = serde_json::from_slice(&stored.bytes).unwrap_or_default();
        Some(Granted::list(&object, &["spec", "grants"]))
    }

    /// What the writer has in a namespace and beyond.
    fn rights(&self, access: &Access, namespace: &str) -> Rights {
        let Some(grants) = self.grants() else {
            return access.rules_of(self.actor.asker(), namespace);
        };
        let here = grants.into_iter().filter(|grant| grant.holds_in(namespace));
        Rights { rules: here.map(Granted::rule).collect(), problems: Vec::new() }
    }

    fn may(&self, access: &Access, verb: &str, resource: &str, name: &str) -> bool {
        self.may_in(access, verb, (GROUP, resource), name)
    }

    fn may_in(
        &self,
        access: &Access,
        verb: &str,
        (group, resource): (&str, &str),
        name: &str,
    ) -> bool {
        let namespace = self.namespace;
        let of =
            ResourceAttributes { group, version: "*", resource, subresource: "", namespace, name };
        let asked = Attributes::of(verb, of);
        if self.actor.is_host() {
            return self.rights(access, namespace).rules.iter().any(|rule| rule.allows(&asked));
        }
        access.allows(self.actor.asker(), &asked)
    }

    fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(self.resource, self.name, why)
    }
}

/// Whether a role grants no more than its writer has.
///
/// # Errors
/// 403 with what is missing.
pub(crate) fn check_role(
    access: &Access,
    by: Grantor<'_>,
    role: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> Result<(), Status> {
    if by.is_free() || by.may(access, "escalate", &by.resource.resource, by.path_name) {
        return Ok(());
    }
    if before.is_some_and(|before| only_releases(role, before)) {
        return Ok(());
    }
    check_rules(access, by, by.namespace, &PolicyRule::list(role))?;
    let aggregates = |role: &Map<String, Value>| {
        !field::list(role, &["aggregationRule", "clusterRoleSelectors"]).is_empty()
    };
    if !aggregates(role) && !before.is_some_and(aggregates) {
        return Ok(());
    }
    check_rules(access, by, by.namespace, &everything())
        .map_err(|_| by.forbidden("must have cluster-admin privileges to use the aggregationRule"))
}

/// Whether a binding grants no more than its writer has.
///
/// # Errors
/// 403 with what is missing, 404 when the role does not exist.
pub(crate) fn check_binding(
    access: &Access,
    by: Grantor<'_>,
    binding: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> Result<(), Status> {
    if by.is_free() || before.is_some_and(|before| only_releases(binding, before)) {
        return Ok(());
    }
    let kind = field::text(binding, &["roleRef", "kind"]).unwrap_or_default();
    let name = field::text(binding, &["roleRef", "name"]).unwrap_or_default();
    let (resource, namespace) = match kind {
        "ClusterRole" => (CLUSTER_ROLES, ""),
        "Role" => (ROLES, by.namespace),
        _ => {
            let text = format!("unsupported role reference kind: {kind:?}");
            return Err(Status::new(Reason::Unknown, text));
        }
    };
    if by.may(access, "bind", resource, name) {
        return Ok(());
    }
    let Some(rules) = access.role(namespace, name) else {
        return Err(Status::not_found(&GroupResource::new(GROUP, resource), name));
    };
    check_rules(access, by, by.namespace, &rules)
}

/// Where a plugin's status says which grants were in force.
const IN_FORCE: [[&str; 2]; 2] = [["status", "grantsGiven"], ["status", "grantsEnding"]];

/// Whether a plugin is granted no more than whoever grants it, or chooses the code and settings that use it, has; and its
/// status says of no more that it was.
///
/// # Errors
/// 403 with what is missing.
pub(crate) fn check_plugin(
    access: &Access,
    by: Grantor<'_>,
    plugin: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> Result<(), Status> {
    let same = |before: &Map<String, Value>| {
        ["digest", "grants", "config"].iter().all(|name| {
            field::get(plugin, &["spec", *name]) == field::get(before, &["spec", *name])
        })
    };
    let is_kept = before.is_some_and(same);
    let mut grants = if is_kept { Vec::new() } else { Granted::list(plugin, &["spec", "grants"]) };
    for at in IN_FORCE {
        // What was in force says under what the host may still take a plugin's finalizers from objects.
        if before.is_some_and(|before| field::get(plugin, &at) != field::get(before, &at)) {
            grants.extend(Granted::list(plugin, &at));
        }
    }
    if grants.is_empty() || by.is_free() {
        return Ok(());
    }
    if by.may_in(access, "escalate", PLUGINS, by.path_name) {
        return Ok(());
    }
    if grants.len() > GRANTS_MAX || grants.iter().any(Granted::is_too_long) {
        return Err(by.forbidden(TOO_MANY));
    }
    check_places(access, by, &Places::of(grants))
}

/// Grants by where they hold.
#[derive(Default)]
struct Places {
    rules: Vec<PolicyRule>,
    /// Which of the rules hold in all namespaces.
    everywhere: Vec<usize>,
    /// Which hold in each that grants name.
    namespaces: BTreeMap<Box<str>, Vec<usize>>,
}

impl Places {
    fn of(grants: Vec<Granted>) -> Self {
        let mut places = Self::default();
        for (index, mut grant) in grants.into_iter().enumerate() {
            let namespaces = std::mem::take(&mut grant.namespaces);
            if namespaces.is_empty() {
                places.everywhere.push(index);
            }
            for namespace in namespaces {
                let here = places.namespaces.entry(namespace).or_default();
                if here.last() != Some(&index) {
                    here.push(index);
                }
            }
            places.rules.push(grant.rule());
        }
        places
    }

    fn in_namespace(&self, namespace: &str) -> &[usize] {
        self.namespaces.get(namespace).map_or(&[], Vec::as_slice)
    }

    fn rules(&self, of: &[usize]) -> Vec<PolicyRule> {
        of.iter().filter_map(|index| self.rules.get(*index).cloned()).collect()
    }
}

/// What the writer of a plugin has, by where.
enum Held<'a> {
    ByRoles(Holding<'a>),
    /// What the plugin was granted whose run writes.
    ByGrants(Places),
}

impl Held<'_> {
    /// What tells the rights in one namespace from those in another: where it is equal, so are they.
    fn source(&self, namespace: &str) -> Vec<usize> {
        match self {
            Self::ByRoles(holding) => holding.roles_in(namespace),
            Self::ByGrants(places) => places.in_namespace(namespace).to_vec(),
        }
    }

    fn rights(&self, namespace: &str) -> Rights {
        match self {
            Self::ByRoles(holding) => holding.in_namespace(namespace),
            Self::ByGrants(places) => {
                let of = [places.in_namespace(namespace), &places.everywhere].concat();
                Rights { rules: places.rules(&of), problems: Vec::new() }
            }
        }
    }
}

/// Namespaces for which the same is wanted, and where the writer has the same, are looked at once.
fn check_places(access: &Access, by: Grantor<'_>, wanted: &Places) -> Result<(), Status> {
    let held = match by.grants() {
        Some(grants) => Held::ByGrants(Places::of(grants)),
        None => Held::ByRoles(access.holding(by.actor.asker())),
    };
    let (mut seen, mut allowance) = (HashSet::new(), Allowance::default());
    let everywhere = ("", &wanted.everywhere);
    let named = wanted.namespaces.iter().map(|(namespace, of)| (&**namespace, of));
    for (namespace, of) in std::iter::once(everywhere).chain(named) {
        if !of.is_empty() && seen.insert((of, held.source(namespace))) {
            let held = held.rights(namespace);
            compare(by, &wanted.rules(of), &held, &mut allowance)?;
        }
    }
    Ok(())
}

fn check_rules(
    access: &Access,
    by: Grantor<'_>,
    namespace: &str,
    wanted: &[PolicyRule],
) -> Result<(), Status> {
    compare(by, wanted, &by.rights(access, namespace), &mut Allowance::default())
}

fn compare(
    by: Grantor<'_>,
    wanted: &[PolicyRule],
    held: &Rights,
    allowance: &mut Allowance,
) -> Result<(), Status> {
    let Asker { name, groups } = by.actor.asker();
    if !allowance.take(wanted, &held.rules) {
        return Err(by.forbidden(TOO_MANY));
    }
    let missing = held.missing(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let groups = rule::quoted(groups.iter().map(AsRef::as_ref));
    let mut why = format!(
        "user {name:?} (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{}",
        rule::lines(&missing)
    );
    if !held.problems.is_empty() {
        why.extend(["; resolution errors: [", &held.problems.join(", "), "]"]);
    }
    Err(by.forbidden(&why))
}

fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".into()];
    [
        PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() },
        PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() },
    ]
}

/// Whether a change concerns only what holds an object: its owners and finalizers.
fn only_releases(object: &Map<String, Value>, before: &Map<String, Value>) -> bool {
    let rest = |object: &Map<String, Value>| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for key in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                metadata.remove(key);
            }
        }
        object.retain(|_, value| !value.is_null());
        object
    };
    rest(object) == rest(before)
}
