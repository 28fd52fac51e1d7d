//! Decisions: which grants a user has, and whether one of them allows what is asked.

use std::collections::HashSet;
use std::sync::Arc;

use super::index::{Grant, Index, Role, Scope};
use super::rule::PolicyRule;
use super::{Access, Asker, Attributes, Decision, MASTERS, Rights};

/// What somebody has by roles and bindings, as these stood at one moment.
pub(super) struct Holding<'a> {
    index: Arc<Index>,
    asker: Asker<'a>,
}

impl Access {
    /// Whether somebody may do something.
    pub fn allows(&self, asker: Asker<'_>, asked: &Attributes<'_>) -> bool {
        asker.is_in(MASTERS) || find(&self.index.load(), asker, asked).is_some()
    }

    /// The same with the reason, in kube-apiserver's words.
    pub fn decide(&self, asker: Asker<'_>, asked: &Attributes<'_>) -> Decision {
        if asker.is_in(MASTERS) {
            return Decision { allowed: true, reason: String::new() };
        }
        let index = self.index.load();
        if let Some(found) = find(&index, asker, asked) {
            return Decision { allowed: true, reason: found.reason(asked) };
        }
        let problems = problems(grants(&index, asker, namespace(asked)).map(|(_, grant)| grant));
        let reason = match problems.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        };
        Decision { allowed: false, reason }
    }

    /// Everything that somebody may do in a namespace and beyond; the grants of no namespace for an empty one.
    pub fn rules_of(&self, asker: Asker<'_>, namespace: &str) -> Rights {
        self.holding(asker).in_namespace(namespace)
    }

    /// What somebody has now.
    pub(super) fn holding<'a>(&self, asker: Asker<'a>) -> Holding<'a> {
        Holding { index: self.index.load_full(), asker }
    }

    /// The rules of a role; `None` when there is no such role.
    pub(crate) fn role(&self, namespace: &str, name: &str) -> Option<Vec<PolicyRule>> {
        let books = self.books.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = super::index::RoleName { namespace: namespace.into(), name: name.into() };
        let slot = books.roles.get(&name)?;
        slot.role.content.load().as_ref().map(|content| content.rules.clone())
    }
}

impl Holding<'_> {
    /// Everything in a namespace and beyond.
    pub(super) fn in_namespace(&self, namespace: &str) -> Rights {
        let mut rules: Vec<PolicyRule> = Vec::new();
        let (mut seen, mut known) = (HashSet::new(), HashSet::new());
        for (in_namespace, grant) in grants(&self.index, self.asker, namespace) {
            // One binding counts once, whatever number of its subjects the asker is.
            // And a role once, whatever number of bindings gives it.
            let is_new = seen.insert((in_namespace, Arc::clone(&grant.binding)))
                && known.insert(Arc::as_ptr(&grant.role));
            if is_new && let Some(content) = grant.role.content.load().as_ref() {
                rules.extend_from_slice(&content.rules);
            }
        }
        let grants = grants(&self.index, self.asker, namespace);
        Rights { rules, problems: problems(grants.map(|(_, grant)| grant)) }
    }

    /// What tells the rights in one namespace from those in another: where the same roles are given, they are equal.
    pub(super) fn roles_in(&self, namespace: &str) -> Vec<usize> {
        let inside = self.index.namespaces.get(namespace).into_iter();
        let inside = inside.flat_map(|scope| of_scope(scope, self.asker));
        let mut roles: Vec<usize> = inside.map(|grant| Arc::as_ptr(&grant.role).addr()).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }
}

fn namespace<'a>(asked: &Attributes<'a>) -> &'a str {
    asked.resource.map_or("", |of| of.namespace)
}

/// The grant that allows it.
struct Found<'a> {
    in_namespace: bool,
    grant: &'a Grant,
}

impl Found<'_> {
    fn reason(&self, asked: &Attributes<'_>) -> String {
        let Grant { binding, subject, role } = self.grant;
        let (kind, name) = (role.name.kind(), &role.name.name);
        if self.in_namespace {
            let place = format!("{binding}/{}", namespace(asked));
            return format!(
                "RBAC: allowed by RoleBinding {place:?} of {kind} {name:?} to {subject}"
            );
        }
        format!("RBAC: allowed by ClusterRoleBinding {binding:?} of {kind} {name:?} to {subject}")
    }
}

fn find<'a>(index: &'a Index, asker: Asker<'a>, asked: &Attributes<'a>) -> Option<Found<'a>> {
    let mut grants = grants(index, asker, namespace(asked));
    let (in_namespace, grant) = grants.find(|(_, grant)| grants_it(&grant.role, asked))?;
    Some(Found { in_namespace, grant })
}

fn grants_it(role: &Role, asked: &Attributes<'_>) -> bool {
    let content = role.content.load();
    content.as_ref().is_some_and(|content| content.rules.iter().any(|rule| rule.allows(asked)))
}

/// The grants of a user that hold everywhere, then those that hold in a namespace; whether they are of the latter.
fn grants<'a>(
    index: &'a Index,
    asker: Asker<'a>,
    namespace: &str,
) -> impl Iterator<Item = (bool, &'a Grant)> {
    let inside = if namespace.is_empty() { None } else { index.namespaces.get(namespace) };
    let everywhere = of_scope(&index.cluster, asker).map(|grant| (false, grant));
    let inside = inside.into_iter().flat_map(move |scope| of_scope(scope, asker));
    everywhere.chain(inside.map(|grant| (true, grant)))
}

fn of_scope<'a>(scope: &'a Scope, asker: Asker<'a>) -> impl Iterator<Item = &'a Grant> {
    let by_name = scope.users.get(asker.name);
    let by_group = asker.groups.iter().filter_map(|group| scope.groups.get(&**group));
    by_name.into_iter().chain(by_group).flat_map(|grants| grants.iter())
}

/// The roles that bindings name and nobody made, each once.
fn problems<'a>(grants: impl Iterator<Item = &'a Grant>) -> Vec<String> {
    let (mut problems, mut seen): (Vec<String>, HashSet<String>) = Default::default();
    for grant in grants.filter(|grant| grant.role.content.load().is_none()) {
        let name = &grant.role.name;
        let kind = name.kind().to_lowercase();
        let problem = format!("{kind}.rbac.authorization.k8s.io {:?} not found", &*name.name);
        if seen.insert(problem.clone()) {
            problems.push(problem);
        }
    }
    problems
}
