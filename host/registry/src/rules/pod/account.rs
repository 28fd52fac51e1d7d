//! A Pod runs as a `ServiceAccount`: it must exist, and its token is mounted unless somebody says no.

use quadrille_object::GroupResource;
use quadrille_store::Key;
use serde_json::{Value, json};

use crate::field::{self, Object};
use crate::metadata;
use crate::status::Status;
use crate::write::{Attempt, parse};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour and a little, so that a token renewed every hour never runs out.
const TOKEN_SECONDS: i64 = 3_607;

/// Checks the account and mounts its token.
pub(super) fn admit(attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
    let account = field::text(object, &["spec", "serviceAccountName"]).unwrap_or_default();
    let accounts = GroupResource::new("", "serviceaccounts");
    let namespace = attempt.namespace();
    let Some(found) = attempt.view.get(&Key::new(accounts, &**namespace, account)) else {
        let why = format!(
            "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
        );
        let name = metadata::text(object, "name");
        return Err(Status::forbidden(&attempt.resource.qualified(), name, &why));
    };
    let found = parse(&found)?;
    if field::list(object, &["spec", "imagePullSecrets"]).is_empty()
        && let Some(secrets) = found.get("imagePullSecrets")
    {
        let secrets = secrets.clone();
        field::map_mut(object, &["spec"]).insert("imagePullSecrets".to_owned(), secrets);
    }
    let wish = |o: &Object, path: &[&str]| field::get(o, path).and_then(Value::as_bool);
    let mounts = wish(object, &["spec", "automountServiceAccountToken"])
        .or_else(|| wish(&found, &["automountServiceAccountToken"]))
        .unwrap_or(true);
    if mounts {
        mount(attempt, field::map_mut(object, &["spec"]));
    }
    Ok(())
}

fn mount(attempt: &Attempt<'_>, spec: &mut Object) {
    let name = metadata::generate_name("kube-api-access-", attempt.random);
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            let mut mounts = field::list(container, &["volumeMounts"]).to_vec();
            if mounts.iter().any(|m| m.get("mountPath") == Some(&MOUNT_PATH.into())) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            container.insert("volumeMounts".to_owned(), mounts.into());
            mounted = true;
        }
    }
    if !mounted {
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
