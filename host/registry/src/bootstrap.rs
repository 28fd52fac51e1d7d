//! The objects that exist on every host from its first start, and those that every namespace has.

mod defaults;

use std::sync::Arc;

use quadrille_object::{GroupResource, Gvk};
use quadrille_store::{Cause, Key, Query, Range, Revision, SystemCause, View as _};
use serde_json::{Value, json};

use crate::definition::follow::host_request;
use crate::registry::Registry;
use crate::request::{Action, Target};
use crate::status::{Reason, Status};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

impl Registry {
    /// Makes the objects that exist on every host where they are missing: namespaces `default`, `kube-system`,
    /// `kube-public` and `kube-node-lease`, what every namespace has, the Service `kubernetes`, the default roles of
    /// the cluster and of the system's namespaces, priorities, flow schemas and `APIServices`. Finishes deletions of definitions that an earlier life began.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn bootstrap(&self) -> Result<(), Status> {
        self.ensure_roles().await?;
        for name in NAMESPACES {
            let namespace = json!({"metadata": {"name": name}});
            self.ensure(("", "v1", "Namespace"), "", name, namespace, &[]).await?;
        }
        self.ensure_namespaced_roles().await?;
        let all = Query::whole(Range::all(GroupResource::new("", "namespaces")));
        for namespace in self.store().snapshot().list(&all) {
            if namespace.meta.deleted_at.is_none() {
                self.furnish(&namespace.key.name, &[]).await?;
            }
        }
        // The first address of the range is everybody's way to the API.
        let address = self.config().service_range.split('/').next().and_then(|base| {
            let base: std::net::Ipv4Addr = base.parse().ok()?;
            Some(std::net::Ipv4Addr::from(u32::from(base).checked_add(1)?).to_string())
        });
        let service = json!({
            "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {
                "clusterIP": address, "type": "ClusterIP",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            },
        });
        self.ensure(("", "v1", "Service"), "default", "kubernetes", service, &[]).await?;
        self.ensure_defaults().await?;
        self.end_definitions().await
    }

    /// Makes what every namespace has: the `ServiceAccount` `default` and the `ConfigMap` `kube-root-ca.crt`.
    /// [`Registry::commit`] does it for a new namespace; what exists stays as it is. `because` are the changes that it
    /// follows from.
    ///
    /// # Errors
    /// When the namespace does not take new objects.
    pub async fn furnish(&self, namespace: &str, because: &[Revision]) -> Result<(), Status> {
        let account = json!({"metadata": {"name": "default"}});
        self.ensure(("", "v1", "ServiceAccount"), namespace, "default", account, because).await?;
        let text = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
                    such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                    distributions of Kubernetes clusters.";
        let authority = json!({
            "metadata": {"name": "kube-root-ca.crt", "annotations": {"kubernetes.io/description": text}},
            "data": {"ca.crt": self.config().ca_certificate},
        });
        self.ensure(("", "v1", "ConfigMap"), namespace, "kube-root-ca.crt", authority, because)
            .await
    }

    /// Creates an object unless it is there.
    async fn ensure(
        &self,
        kind: (&str, &str, &str),
        namespace: &str,
        name: &str,
        object: Value,
        because: &[Revision],
    ) -> Result<(), Status> {
        let kind = Gvk::new(kind.0, kind.1, kind.2);
        let Some(resource) = self.resource_of(&kind) else {
            let gone = GroupResource::new(Arc::clone(&kind.group), Arc::clone(&kind.kind));
            return Err(Status::not_found(&gone, name));
        };
        let key = Key::new(resource.group_resource(), namespace, name);
        if self.store().snapshot().get(&key).is_some() {
            return Ok(());
        }
        let target =
            Target { resource, namespace: namespace.into(), name: None, subresource: None };
        let cause = Cause::System(SystemCause {
            part: "start".to_owned(),
            act: format!("create {key}"),
            because: because.to_vec(),
        });
        let request = host_request(target, Action::Create(object.into()));
        match self.submit(&request, cause).await {
            Err(status) if status.reason != Reason::AlreadyExists => Err(status),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}
