//! Escalation: who writes a role or a binding may not grant more than they have, unless they may `escalate` or `bind`.

use quadrille_object::GroupResource;
use serde_json::{Map, Value};

use super::index::{CLUSTER_ROLES, ROLES};
use super::rule::{self, PolicyRule};
use super::{Access, Asker, Attributes, GROUP, MASTERS, ResourceAttributes};
use crate::field;
use crate::request::Actor;
use crate::status::{Reason, Status};

/// The object that is written, and by whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grantor<'a> {
    pub(crate) actor: &'a Actor,
    /// The resource that is written.
    pub(crate) resource: &'a GroupResource,
    pub(crate) namespace: &'a str,
    /// The name in the path; empty for a create.
    pub(crate) path_name: &'a str,
    /// The object's own name.
    pub(crate) name: &'a str,
}

impl Grantor<'_> {
    fn is_free(&self) -> bool {
        self.actor.is_host() || self.actor.asker().is_in(MASTERS)
    }

    fn may(&self, access: &Access, verb: &str, resource: &str, name: &str) -> bool {
        let of = ResourceAttributes {
            group: GROUP,
            version: "*",
            resource,
            subresource: "",
            namespace: self.namespace,
            name,
        };
        access.allows(self.actor.asker(), &Attributes::of(verb, of))
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
    check_rules(access, by, &PolicyRule::list(role))?;
    let aggregates = |role: &Map<String, Value>| {
        !field::list(role, &["aggregationRule", "clusterRoleSelectors"]).is_empty()
    };
    if !aggregates(role) && !before.is_some_and(aggregates) {
        return Ok(());
    }
    check_rules(access, by, &everything())
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
    check_rules(access, by, &rules)
}

fn check_rules(access: &Access, by: Grantor<'_>, wanted: &[PolicyRule]) -> Result<(), Status> {
    if rule::parts_count(wanted) > rule::PARTS_MAX {
        return Err(by.forbidden("it has too many rules to compare with those of its author"));
    }
    let Asker { name, groups } = by.actor.asker();
    let held = access.rules_of(by.actor.asker(), by.namespace);
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
