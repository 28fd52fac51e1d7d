//! Who may do what: role-based access control as an index that decides without reading the store.
//!
//! It owns the index of roles and bindings, the decision ([`Access::allows`], [`Access::decide`]), what somebody may
//! do in all ([`Access::rules_of`]) and whether a writer of roles grants more than it has. [`Registry::commit`]
//! brings the index up to date before it answers, so that whoever wrote a binding can count on it at once;
//! [`Registry::keep_access`] does the same for what was committed by somebody who did not stay for the answer, and
//! keeps the rules of aggregated cluster roles. It must not know of HTTP, or how somebody proved who they are.
//!
//! [`Registry::commit`]: crate::Registry::commit
//! [`Registry::keep_access`]: crate::Registry::keep_access

mod aggregate;
mod decide;
mod defaults;
pub(crate) mod escalate;
mod index;
mod keep;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use quadrille_object::GroupResource;

use crate::request::Actor;
use crate::status::{Reason, Status, StatusDetails};
pub(crate) use index::is_indexed;
use index::{Books, Index};
pub use keep::KeepError;
pub(crate) use keep::STORE_PAUSE;
pub use rule::{PolicyRule, Rights};

/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of everybody known.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of whoever does not say who they are.
pub const ANONYMOUS: &str = "system:anonymous";
/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// What else is known of a user, such as the id of a credential; keys in lower case.
pub type Extra = BTreeMap<String, Vec<String>>;

/// Somebody who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name, such as `admin` or `system:serviceaccount:default:robot`.
    pub name: Arc<str>,
    /// The uid; may be empty.
    pub uid: Arc<str>,
    /// The groups, `system:authenticated` or `system:unauthenticated` among them.
    pub groups: Arc<[Arc<str>]>,
    /// What else is known; mostly empty.
    pub extra: Arc<Extra>,
}

impl User {
    /// A known user; joins `system:authenticated`.
    pub fn known(name: &str, uid: &str, groups: &[&str]) -> Self {
        let joins = !groups.iter().any(|g| matches!(*g, AUTHENTICATED | UNAUTHENTICATED));
        let groups = groups.iter().copied().chain(joins.then_some(AUTHENTICATED));
        let groups = groups.map(Arc::from).collect();
        Self { name: name.into(), uid: uid.into(), groups, extra: Arc::default() }
    }

    /// Whoever does not say who they are.
    pub fn anonymous() -> Self {
        let groups = [Arc::from(UNAUTHENTICATED)];
        Self { name: ANONYMOUS.into(), groups: groups.into(), ..Self::default() }
    }

    /// The same with something else known of them.
    #[must_use]
    pub fn with_extra(self, extra: Extra) -> Self {
        Self { extra: Arc::new(extra), ..self }
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.asker().is_in(group)
    }

    /// The user as far as a decision needs it.
    pub fn asker(&self) -> Asker<'_> {
        Asker { name: &self.name, groups: &self.groups }
    }
}

/// Who asks, as far as a decision needs it.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The name.
    pub name: &'a str,
    /// The groups.
    pub groups: &'a [Arc<str>],
}

impl Asker<'_> {
    /// Whether the asker is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|of| **of == *group)
    }
}

impl Actor {
    /// The actor as far as a decision needs it.
    pub fn asker(&self) -> Asker<'_> {
        Asker { name: &self.user, groups: &self.groups }
    }

    /// Whether it is a part of the host, or a run, whose rights are its plugin's grants: whoever comes by HTTP is in a
    /// group at least.
    pub fn is_host(&self) -> bool {
        self.groups.is_empty()
    }
}

/// What is asked of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

impl<'a> Attributes<'a> {
    /// What is asked of a resource, whatever the path.
    pub fn of(verb: &'a str, resource: ResourceAttributes<'a>) -> Self {
        Self { verb, path: "", resource: Some(resource) }
    }
}

/// An answer with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, in kube-apiserver's words; may be empty.
    pub reason: String,
}

/// Roles and bindings, as decisions need them. Deciding takes no lock.
#[derive(Debug, Default)]
pub struct Access {
    index: ArcSwap<Index>,
    /// What the index is made from; held while it is brought up to date.
    books: Mutex<Books>,
}

/// The 403 of a decision, in kube-apiserver's words; `reason` may be empty.
pub fn forbidden(user: &str, asked: &Attributes<'_>, reason: &str) -> Status {
    let verb = asked.verb;
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let Some(of) = &asked.resource else {
        let what = format!("forbidden: User {user:?} cannot {verb} path {:?}", asked.path);
        let details = Some(Box::default());
        return Status { details, ..Status::new(Reason::Forbidden, escaped(&what) + &because) };
    };
    let resource = GroupResource::new(of.group, of.resource);
    let what = match of.name {
        "" => resource.to_string(),
        name => format!("{resource} {name:?}"),
    };
    let asked_for = match of.subresource {
        "" => of.resource.to_owned(),
        sub => format!("{}/{sub}", of.resource),
    };
    let place = match of.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let why = format!(
        "User {user:?} cannot {verb} resource {asked_for:?} in API group {:?} {place}",
        of.group
    );
    let details = StatusDetails {
        name: of.name.to_owned(),
        group: of.group.to_owned(),
        kind: of.resource.to_owned(),
        ..StatusDetails::default()
    };
    let message = format!("{what} is forbidden: {}{because}", escaped(&why));
    Status { details: Some(Box::new(details)), ..Status::new(Reason::Forbidden, message) }
}

/// What came in by the request must not become markup where somebody shows the message.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
