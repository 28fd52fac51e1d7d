//! The roles and bindings that every host has, from `data/rbac-defaults.json`.
//!
//! What is missing is made at each start. What is there keeps what was added to it and gets back what was taken
//! away, unless its annotation `rbac.authorization.kubernetes.io/autoupdate` says `false`.

use std::sync::Arc;

use quadrille_object::{GroupResource, Gvk};
use quadrille_store::{Cause, Key, Snapshot, SystemCause, Txn, View as _};
use serde_json::{Map, Value};

use super::GROUP;
use super::rule::{PolicyRule, Rights};
use crate::definition::follow::host_request;
use crate::field;
use crate::registry::Registry;
use crate::request::{Action, Target};
use crate::status::{Reason, Status};
use crate::write::parse;

const DEFAULTS: &str = include_str!("../../data/rbac-defaults.json");
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

impl Registry {
    /// Makes the default roles and bindings of the cluster where they are missing or lack something, all in one
    /// transaction.
    pub(crate) async fn ensure_roles(&self) -> Result<(), Status> {
        let kinds =
            [("clusterroles", "ClusterRole"), ("clusterrolebindings", "ClusterRoleBinding")];
        self.ensure_kinds(&kinds).await
    }

    /// The same for those in the system's namespaces, which must be there.
    pub(crate) async fn ensure_namespaced_roles(&self) -> Result<(), Status> {
        self.ensure_kinds(&[("roles", "Role"), ("rolebindings", "RoleBinding")]).await
    }

    async fn ensure_kinds(&self, kinds: &[(&str, &str)]) -> Result<(), Status> {
        let bad = |why: String| Status::new(Reason::InternalError, why);
        let defaults: Map<String, Value> = serde_json::from_str(DEFAULTS)
            .map_err(|error| bad(format!("cannot read the default roles: {error}")))?;
        let snapshot = self.store().snapshot();
        let cause = Cause::System(SystemCause {
            part: "start".to_owned(),
            act: "make the default roles".to_owned(),
            because: Vec::new(),
        });
        let mut writes = Vec::new();
        for (field, kind) in kinds {
            let Some(resource) = self.resource_of(&Gvk::new(GROUP, "v1", *kind)) else { continue };
            for wanted in field::list(&defaults, &[field]).iter().filter_map(Value::as_object) {
                let name: Arc<str> =
                    field::text(wanted, &["metadata", "name"]).unwrap_or_default().into();
                let namespace: Arc<str> =
                    field::text(wanted, &["metadata", "namespace"]).unwrap_or_default().into();
                if !namespace.is_empty() && !takes_objects(&snapshot, &namespace) {
                    continue;
                }
                let key =
                    Key::new(resource.group_resource(), Arc::clone(&namespace), Arc::clone(&name));
                let mut target = Target {
                    resource: Arc::clone(&resource),
                    namespace,
                    name: None,
                    subresource: None,
                };
                let action = match snapshot.get(&key) {
                    None => Action::Create(Value::Object(wanted.clone()).into()),
                    Some(stored) => {
                        target.name = Some(name);
                        let Some(object) = reconciled(parse(&stored)?, wanted) else { continue };
                        Action::Update(Value::Object(object).into())
                    }
                };
                let prepared = self.prepare(&snapshot, &host_request(target, action))?;
                writes.extend(prepared.writes);
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        let txn = Txn { writes, requires: Vec::new(), reads: None, fence: None, cause };
        self.commit(txn).await.map(drop).map_err(|error| Status::from(&error))
    }
}

/// Whether a namespace is there to stay: one that ends must not keep the host from starting.
fn takes_objects(snapshot: &Snapshot, namespace: &Arc<str>) -> bool {
    let found = snapshot.get(&Key::new(GroupResource::new("", "namespaces"), "", &**namespace));
    found.is_some_and(|namespace| namespace.meta.deleted_at.is_none())
}

/// The object with what it lacks; `None` when it lacks nothing or is not to be touched.
fn reconciled(
    mut object: Map<String, Value>,
    wanted: &Map<String, Value>,
) -> Option<Map<String, Value>> {
    if field::text(&object, &["metadata", "annotations", AUTOUPDATE]) == Some("false") {
        return None;
    }
    let before = object.clone();
    for of in ["labels", "annotations"] {
        let wanted = field::get(wanted, &["metadata", of]).and_then(Value::as_object);
        for (key, value) in wanted.into_iter().flatten() {
            let map = field::map_mut(&mut object, &["metadata", of]);
            map.entry(key).or_insert_with(|| value.clone());
        }
    }
    // The rules of an aggregated role follow from others.
    if wanted.contains_key("rules") && !wanted.contains_key("aggregationRule") {
        let held = Rights { rules: PolicyRule::list(&object), problems: Vec::new() };
        let missing = held.missing(&PolicyRule::list(wanted));
        let mut rules = field::list(&object, &["rules"]).to_vec();
        rules.extend(missing.iter().filter_map(|rule| serde_json::to_value(rule).ok()));
        object.insert("rules".to_owned(), rules.into());
    }
    if wanted.contains_key("subjects") {
        let mut subjects = field::list(&object, &["subjects"]).to_vec();
        let missing = field::list(wanted, &["subjects"]).iter();
        let missing: Vec<Value> = missing.filter(|s| !subjects.contains(s)).cloned().collect();
        subjects.extend(missing);
        object.insert("subjects".to_owned(), subjects.into());
    }
    (object != before).then_some(object)
}
