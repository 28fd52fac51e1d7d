//! Objects that a kube-apiserver makes when it starts: priorities of Pods, flow schemas with their priority levels, and one
//! `APIService` for each group of the API.

use quadrille_object::{Gvk, Gvr};
use quadrille_store::{Cause, Key, SystemCause, Txn, View as _};
use serde_json::{Value, json};

use crate::definition::follow::host_request;
use crate::field;
use crate::registry::Registry;
use crate::request::{Action, Target};
use crate::status::{Reason, Status};

const DEFAULTS: &str = include_str!("../../data/defaults.json");

impl Registry {
    /// Makes what is missing, in one transaction; what exists stays as it is.
    pub(super) async fn ensure_defaults(&self) -> Result<(), Status> {
        let bad = |why: String| Status::new(Reason::InternalError, why);
        let mut wanted: Vec<Value> = serde_json::from_str(DEFAULTS)
            .map_err(|error| bad(format!("cannot read the default objects: {error}")))?;
        wanted.push(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": [self.config().service_range]},
        }));
        let snapshot = self.store().snapshot();
        let mut writes = Vec::new();
        for object in wanted {
            let Some(map) = object.as_object() else { continue };
            let of = |path: &[&str]| field::text(map, path).unwrap_or_default().to_owned();
            let version = of(&["apiVersion"]);
            let (group, version) = version.split_once('/').unwrap_or(("", &version));
            let Some(resource) = self.resource_of(&Gvk::new(group, version, &*of(&["kind"])))
            else {
                return Err(bad(format!("no resource for a default {}", of(&["kind"]))));
            };
            let key = Key::new(resource.group_resource(), "", &*of(&["metadata", "name"]));
            let is_group = *resource.gvr.resource == *"apiservices";
            if snapshot.get(&key).is_some() || is_group && !self.serves(map) {
                continue;
            }
            let target = Target { resource, namespace: "".into(), name: None, subresource: None };
            let request = host_request(target, Action::Create(object.into()));
            writes.extend(self.prepare(&snapshot, &request)?.writes);
        }
        if writes.is_empty() {
            return Ok(());
        }
        let cause = Cause::System(SystemCause {
            part: "start".to_owned(),
            act: "make the default objects".to_owned(),
            because: Vec::new(),
        });
        let txn = Txn { writes, requires: Vec::new(), reads: None, fence: None, cause };
        self.commit(txn).await.map(drop).map_err(|error| Status::from(&error))
    }

    /// Whether any resource of an `APIService`'s group and version is served.
    fn serves(&self, service: &field::Object) -> bool {
        let of = |key| field::text(service, &["spec", key]).unwrap_or_default();
        let (group, version) = (of("group"), of("version"));
        let first = Gvr::new(group, version, "");
        let catalog = self.catalog();
        let next = catalog.resources.range(first..).next();
        next.is_some_and(|(gvr, _)| *gvr.group == *group && *gvr.version == *version)
    }
}
