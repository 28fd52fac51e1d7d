//! Who may do what: the trait that role-based access control slots into, and the rules until it does.

use std::fmt;

use quadrille_object::GroupResource;
use quadrille_registry::status::StatusDetails;
use quadrille_registry::{Reason, Status};

use crate::authentication::{MASTERS, UNAUTHENTICATED, User};

/// What is asked of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceAttributes<'a> {
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The API version.
    pub version: &'a str,
    /// The resource.
    pub resource: &'a str,
    /// The subresource; empty for the object itself.
    pub subresource: &'a str,
    /// The namespace; empty for all of them and for cluster-scoped resources.
    pub namespace: &'a str,
    /// The name; empty for a collection.
    pub name: &'a str,
}

/// What is asked, as far as a decision needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, …; the HTTP method in lower case for a path that is no resource.
    pub verb: &'a str,
    /// The whole path.
    pub path: &'a str,
    /// The resource; `None` for other paths.
    pub resource: Option<ResourceAttributes<'a>>,
}

/// Decides whether a user may do something.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Whether `user` may do what `attributes` say. Called once per request, so it must not block.
    fn allows(&self, user: &User, attributes: &Attributes<'_>) -> bool;
}

/// The built-in rules: `system:masters` may do everything, everybody known may discover what there is, and
/// anybody may ask for health and version.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltinRules;

impl Authorizer for BuiltinRules {
    fn allows(&self, user: &User, attributes: &Attributes<'_>) -> bool {
        if user.is_in(MASTERS) {
            return true;
        }
        if attributes.resource.is_some() || attributes.verb != "get" {
            return false;
        }
        let path = attributes.path;
        if matches!(path, "/healthz" | "/livez" | "/readyz" | "/version" | "/version/") {
            return true;
        }
        let below = |root: &str| {
            path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        !user.is_in(UNAUTHENTICATED) && ["/api", "/apis", "/openapi"].into_iter().any(below)
    }
}

/// The 403 of a decision, in kube-apiserver's words.
pub fn forbidden(user: &User, attributes: &Attributes<'_>) -> Status {
    let user = &user.name;
    let verb = attributes.verb;
    let Some(of) = attributes.resource else {
        let path = attributes.path;
        let message = format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\"");
        let details = Some(Box::default());
        return Status { details, ..Status::new(Reason::Forbidden, message) };
    };
    let resource = GroupResource::new(of.group, of.resource);
    let what = match (of.name, of.subresource) {
        ("", _) => resource.to_string(),
        (name, _) => format!("{resource} \"{name}\""),
    };
    let asked = match of.subresource {
        "" => of.resource.to_owned(),
        sub => format!("{}/{sub}", of.resource),
    };
    let place = match of.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace \"{namespace}\""),
    };
    let message = format!(
        "{what} is forbidden: User \"{user}\" cannot {verb} resource \"{asked}\" in API group \
         \"{}\" {place}",
        of.group
    );
    let details = StatusDetails {
        name: of.name.to_owned(),
        group: of.group.to_owned(),
        kind: of.resource.to_owned(),
        ..StatusDetails::default()
    };
    Status { details: Some(Box::new(details)), ..Status::new(Reason::Forbidden, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> Attributes<'_> {
        Attributes { verb: "get", path, resource: None }
    }

    #[test]
    fn the_anonymous_see_health_and_version_only() {
        let anonymous = User::anonymous();
        let alice = User::known("alice", "", &["dev"]);
        for open in ["/healthz", "/livez", "/readyz", "/version"] {
            assert!(BuiltinRules.allows(&anonymous, &path(open)), "{open}");
        }
        for closed in ["/apis", "/nope", "/openapi/v3", "/healthz/etcd", "/apisnot"] {
            assert!(!BuiltinRules.allows(&anonymous, &path(closed)), "{closed}");
        }
        assert!(BuiltinRules.allows(&alice, &path("/apis/apps/v1")));
        assert!(!BuiltinRules.allows(&alice, &path("/apisnot")));
    }

    #[test]
    fn a_refusal_says_who_cannot_do_what_where() {
        let resource = ResourceAttributes {
            group: "apps",
            version: "v1",
            resource: "deployments",
            subresource: "scale",
            namespace: "shop",
            name: "web",
        };
        let attributes = Attributes { verb: "get", path: "/", resource: Some(resource) };
        let status = forbidden(&User::known("alice", "", &[]), &attributes);
        assert_eq!(
            status.message,
            "deployments.apps \"web\" is forbidden: User \"alice\" cannot get resource \
             \"deployments/scale\" in API group \"apps\" in the namespace \"shop\""
        );
    }
}
