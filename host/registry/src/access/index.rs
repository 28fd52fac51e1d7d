//! The index: for each subject what bindings it has, each with its role's rules at hand.
//!
//! A role is a slot that its bindings share: a new version of a role takes the place of the old one in its slot and
//! touches nothing else. A binding is moved in and out of the lists of its subjects. Readers load the index once and
//! see each object either before or after a change of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use quadrille_object::{GroupResource, LabelSelector, Meta};
use quadrille_store::{Key, Object as Stored, View};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::rule::PolicyRule;
use super::{Access, GROUP};

pub(crate) const ROLES: &str = "roles";
pub(crate) const CLUSTER_ROLES: &str = "clusterroles";
pub(crate) const ROLE_BINDINGS: &str = "rolebindings";
pub(crate) const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings";

/// The four resources that the index is made from.
pub(crate) fn resources() -> [GroupResource; 4] {
    [ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS]
        .map(|resource| GroupResource::new(GROUP, resource))
}

/// Whether an object is one of those that the index is made from.
pub(crate) fn is_indexed(key: &Key) -> bool {
    *key.resource.group == *GROUP
}

/// What readers see.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// The grants of `ClusterRoleBinding`s.
    pub(super) cluster: Scope,
    /// Those of `RoleBinding`s, by namespace.
    pub(super) namespaces: imbl::HashMap<Arc<str>, Scope>,
}

type Grants = imbl::HashMap<Arc<str>, Arc<[Grant]>>;

/// The grants of one place, by subject. A service account is the user of its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) users: Grants,
    pub(super) groups: Grants,
}

/// One binding, for one of its subjects.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) binding: Arc<str>,
    /// The subject as messages have it: `User "alice"`.
    pub(super) subject: Arc<str>,
    pub(super) role: Arc<Role>,
}

/// A role, or the place for one that is missing.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: RoleName,
    /// `None` while there is no such role.
    pub(super) content: ArcSwapOption<RoleContent>,
}

/// What a role says.
#[derive(Debug)]
pub(super) struct RoleContent {
    pub(super) rules: Vec<PolicyRule>,
    pub(super) meta: Meta,
    /// The selectors of an aggregated cluster role.
    pub(super) selectors: Option<Vec<LabelSelector>>,
}

/// Which role.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RoleName {
    /// Empty for a `ClusterRole`.
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

impl RoleName {
    pub(super) fn kind(&self) -> &'static str {
        if self.namespace.is_empty() { "ClusterRole" } else { "Role" }
    }
}

/// What the index is made from.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) roles: HashMap<RoleName, Slot>,
    /// By namespace (empty for a `ClusterRoleBinding`) and name.
    bindings: HashMap<(Arc<str>, Arc<str>), Bound>,
}

/// A role, and how many bindings name it: it is kept while it exists or one does.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) role: Arc<Role>,
    bindings: usize,
}

/// Whom a binding gives which role.
#[derive(Debug)]
struct Bound {
    role: RoleName,
    subjects: Vec<Subject>,
}

/// Whose lists a binding is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(Arc<str>),
    Group(Arc<str>),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawBinding {
    subjects: Option<Vec<RawSubject>>,
    role_ref: RawRoleRef,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawRoleRef {
    kind: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawSubject {
    kind: String,
    name: String,
    namespace: String,
}

impl Access {
    /// The keys of all that it knows.
    pub(crate) fn known(&self) -> Vec<Key> {
        let books = self.books.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = |(of_cluster, of_namespace), namespace: &Arc<str>, name: &Arc<str>| {
            let resource = if namespace.is_empty() { of_cluster } else { of_namespace };
            let resource = GroupResource::new(GROUP, resource);
            Key { resource, namespace: Arc::clone(namespace), name: Arc::clone(name) }
        };
        let roles = books.roles.keys();
        let roles = roles.map(|of| key((CLUSTER_ROLES, ROLES), &of.namespace, &of.name));
        let bindings = books.bindings.keys();
        let bindings = bindings
            .map(|(namespace, name)| key((CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS), namespace, name));
        roles.chain(bindings).collect()
    }

    /// Brings the index up to date with what the store says now about some keys; others' are passed over. The view is
    /// taken by `view` while the books are held, so that of two racing changes the later one stays.
    pub(crate) fn follow<'k, V: View>(
        &self,
        keys: impl IntoIterator<Item = &'k Key>,
        view: impl FnOnce() -> V,
    ) {
        let mut books = self.books.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let view = view();
        let before = self.index.load();
        let mut index = Index::clone(&before);
        let mut moved = false;
        for key in keys.into_iter().filter(|key| is_indexed(key)) {
            let object = view.get(key);
            match &*key.resource.resource {
                ROLES | CLUSTER_ROLES => books.put_role(key, object.as_deref()),
                ROLE_BINDINGS | CLUSTER_ROLE_BINDINGS => {
                    books.put_binding(&mut index, key, object.as_deref());
                    moved = true;
                }
                _ => {}
            }
        }
        if moved {
            self.index.store(Arc::new(index));
        }
    }
}

impl Books {
    fn put_role(&mut self, key: &Key, object: Option<&Stored>) {
        let name = RoleName { namespace: Arc::clone(&key.namespace), name: Arc::clone(&key.name) };
        let content = object.and_then(RoleContent::of).map(Arc::new);
        self.slot(&name).role.content.store(content);
        self.let_go(&name);
    }

    fn slot(&mut self, name: &RoleName) -> &mut Slot {
        self.roles.entry(name.clone()).or_insert_with(|| {
            let role = Role { name: name.clone(), content: ArcSwapOption::empty() };
            Slot { role: Arc::new(role), bindings: 0 }
        })
    }

    /// Forgets a role that neither exists nor is named.
    fn let_go(&mut self, name: &RoleName) {
        let slot = self.roles.get(name);
        if slot.is_some_and(|slot| slot.bindings == 0 && slot.role.content.load().is_none()) {
            self.roles.remove(name);
        }
    }

    fn put_binding(&mut self, index: &mut Index, key: &Key, object: Option<&Stored>) {
        let place = (Arc::clone(&key.namespace), Arc::clone(&key.name));
        let namespace = &key.namespace;
        let mut scope = if namespace.is_empty() {
            std::mem::take(&mut index.cluster)
        } else {
            index.namespaces.remove(namespace).unwrap_or_default()
        };
        let bound = self.bindings.remove(&place);
        for subject in bound.iter().flat_map(|bound| &bound.subjects) {
            scope.take_out(subject, &key.name);
        }
        let parsed = object.and_then(|o| serde_json::from_slice::<RawBinding>(&o.bytes).ok());
        if let Some(now) = parsed.and_then(|binding| self.put_in(&mut scope, key, binding)) {
            self.bindings.insert(place, now);
        }
        if let Some(bound) = bound {
            self.slot(&bound.role).bindings -= 1;
            self.let_go(&bound.role);
        }
        if namespace.is_empty() {
            index.cluster = scope;
        } else if !scope.users.is_empty() || !scope.groups.is_empty() {
            index.namespaces.insert(Arc::clone(namespace), scope);
        }
    }

    /// Puts a binding into the lists of its subjects; `None` for one that names no possible role.
    fn put_in(&mut self, scope: &mut Scope, key: &Key, binding: RawBinding) -> Option<Bound> {
        let namespace: Arc<str> = match binding.role_ref.kind.as_str() {
            "ClusterRole" => "".into(),
            "Role" if !key.namespace.is_empty() => Arc::clone(&key.namespace),
            _ => return None,
        };
        let name = RoleName { namespace, name: binding.role_ref.name.into() };
        let slot = self.slot(&name);
        slot.bindings += 1;
        let role = Arc::clone(&slot.role);
        let (mut subjects, mut seen): (Vec<Subject>, HashSet<Subject>) = Default::default();
        for raw in binding.subjects.unwrap_or_default() {
            let Some((subject, shown)) = raw.subject(&key.namespace) else { continue };
            if !seen.insert(subject.clone()) {
                continue;
            }
            let (binding, role) = (Arc::clone(&key.name), Arc::clone(&role));
            scope.put(&subject, Grant { binding, subject: shown.into(), role });
            subjects.push(subject);
        }
        Some(Bound { role: name, subjects })
    }
}

impl RawSubject {
    /// The subject, and how messages call it; `None` for one that nobody can be.
    fn subject(self, namespace: &str) -> Option<(Subject, String)> {
        let shown = |name: &str| format!("{} {name:?}", self.kind);
        match self.kind.as_str() {
            "User" => Some((Subject::User(self.name.as_str().into()), shown(&self.name))),
            "Group" => Some((Subject::Group(self.name.as_str().into()), shown(&self.name))),
            "ServiceAccount" => {
                let of = if self.namespace.is_empty() { namespace } else { &self.namespace };
                let user = format!("system:serviceaccount:{of}:{}", self.name);
                let shown = shown(&format!("{}/{of}", self.name));
                (!of.is_empty()).then(|| (Subject::User(user.into()), shown))
            }
            _ => None,
        }
    }
}

impl Scope {
    fn list_of(&mut self, subject: &Subject) -> (&mut Grants, Arc<str>) {
        match subject {
            Subject::User(name) => (&mut self.users, Arc::clone(name)),
            Subject::Group(name) => (&mut self.groups, Arc::clone(name)),
        }
    }

    /// Puts a grant in, in the order of the bindings' names.
    fn put(&mut self, subject: &Subject, grant: Grant) {
        let (grants, name) = self.list_of(subject);
        let mut list: Vec<Grant> = grants.get(&name).map(|l| l.to_vec()).unwrap_or_default();
        let at = list.partition_point(|known| known.binding < grant.binding);
        list.insert(at, grant);
        grants.insert(name, list.into());
    }

    fn take_out(&mut self, subject: &Subject, binding: &str) {
        let (grants, name) = self.list_of(subject);
        let Some(list) = grants.get(&name) else { return };
        let left: Vec<Grant> = list.iter().filter(|g| *g.binding != *binding).cloned().collect();
        if left.is_empty() {
            grants.remove(&name);
        } else {
            grants.insert(name, left.into());
        }
    }
}

impl RoleContent {
    fn of(object: &Stored) -> Option<Self> {
        let tree: Map<String, Value> = serde_json::from_slice(&object.bytes).ok()?;
        let selectors = tree.get("aggregationRule").filter(|rule| rule.is_object()).map(|rule| {
            let list = rule.get("clusterRoleSelectors").and_then(Value::as_array);
            let list = list.into_iter().flatten();
            list.filter_map(|selector| LabelSelector::from_value(selector).ok()).collect()
        });
        Some(Self { rules: PolicyRule::list(&tree), meta: object.meta.clone(), selectors })
    }
}
