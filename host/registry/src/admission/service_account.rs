//! `ServiceAccount`: a Pod runs as an account that exists, and its token is mounted unless somebody says no.

use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_store::Key;
use serde_json::{Value, json};

use super::{Operation, Plugin, forbidden, is_new_pod};
use crate::field::{self, Object};
use crate::metadata;
use crate::rules::pod_template::{MIRROR, maps_mut};
use crate::status::Status;
use crate::write::{Attempt, parse};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and a little, so that a token renewed every hour never runs out.
const TOKEN_SECONDS: i64 = 3_607;

/// Gives Pods their account and its token.
#[derive(Debug)]
pub(super) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn mutate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &mut Object,
        _before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        let is_mirror = field::get(object, &["metadata", "annotations", MIRROR]).is_some();
        if !is_new_pod(attempt, operation) || is_mirror {
            return Ok(());
        }
        let spec = field::map_mut(object, &["spec"]);
        let named = field::text(spec, &["serviceAccountName"]).filter(|name| !name.is_empty());
        let name = named.unwrap_or("default").to_owned();
        for key in ["serviceAccountName", "serviceAccount"] {
            spec.insert(key.to_owned(), name.as_str().into());
        }
        let account = find(attempt, object, &name)?;
        let spec = field::map_mut(object, &["spec"]);
        let wish =
            |o: &Object| field::get(o, &["automountServiceAccountToken"]).and_then(Value::as_bool);
        if wish(spec).or_else(|| wish(&account)).unwrap_or(true) {
            mount(attempt, spec);
        }
        if field::list(spec, &["imagePullSecrets"]).is_empty()
            && let Some(secrets) = field::get(&account, &["imagePullSecrets"])
        {
            spec.insert("imagePullSecrets".to_owned(), secrets.clone());
        }
        Ok(())
    }

    fn validate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &Object,
        _before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        let is_mirror = field::get(object, &["metadata", "annotations", MIRROR]).is_some();
        if !is_new_pod(attempt, operation) || !is_mirror {
            return Ok(());
        }
        let account = field::text(object, &["spec", "serviceAccountName"]).unwrap_or_default();
        if !account.is_empty() {
            let why = "a mirror pod may not reference service accounts";
            return Err(forbidden(attempt, object, why));
        }
        Ok(())
    }
}

fn find(attempt: &Attempt<'_>, object: &Object, name: &str) -> Result<Object, Status> {
    let namespace = attempt.namespace();
    let accounts = GroupResource::new("", "serviceaccounts");
    let Some(found) = attempt.view.get(&Key::new(accounts, Arc::clone(namespace), name)) else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        );
        return Err(forbidden(attempt, object, &why));
    };
    parse(&found)
}

fn mount(attempt: &Attempt<'_>, spec: &mut Object) {
    let own = field::list(spec, &["volumes"]).iter().find_map(|volume| {
        let name = volume.get("name").and_then(Value::as_str)?;
        name.starts_with(VOLUME_PREFIX).then(|| name.to_owned())
    });
    let has_volume = own.is_some();
    let name = own.unwrap_or_else(|| metadata::generate_name(VOLUME_PREFIX, attempt.random));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in maps_mut(spec, list) {
            let mut mounts = field::list(container, &["volumeMounts"]).to_vec();
            if mounts.iter().any(|m| m.get("mountPath") == Some(&MOUNT_PATH.into())) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            container.insert("volumeMounts".to_owned(), mounts.into());
            mounted = true;
        }
    }
    if !mounted || has_volume {
        return;
    }
    let mut volumes = field::list(spec, &["volumes"]).to_vec();
    volumes.push(json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}}));
    spec.insert("volumes".to_owned(), volumes.into());
}
