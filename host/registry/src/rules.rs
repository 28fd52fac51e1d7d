//! What single kinds do differently: defaults, what only the server sets, validation.
//!
//! The generic write path asks a kind's [`Rules`] at fixed points; a kind without rules of its own is stored
//! with its shape checked.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod claims;
mod config;
mod endpoints;
mod events;
mod facts;
mod flow;
mod ingress;
mod namespace;
mod net;
mod network;
mod node;
mod plugin;
mod pod;
pub(crate) mod pod_template;
mod policy;
mod quota;
mod rbac;
mod review;
mod service;
mod storage;
#[cfg(test)]
mod tests;
mod volumes;

use std::fmt::Debug;

use crate::definition::DefinitionRules;
use crate::field::{Errors, Object};
use crate::registry::Prepared;
use crate::request::{Body, Propagation};
use crate::status::Status;
use crate::write::{Attempt, method_not_allowed};

/// The points at which a kind has a say.
pub(crate) trait Rules: Debug + Sync {
    /// Fills in defaults; called for every decoded object.
    fn default(&self, _object: &mut Object) {}

    /// Writes fields that are always there, whether anybody set them or not.
    fn complete(&self, _object: &mut Object) {}

    /// What only the server sets in a new object.
    fn before_create(&self, _attempt: &Attempt<'_>, _object: &mut Object) -> Result<(), Status> {
        Ok(())
    }

    /// What only the server sets in a changed object.
    fn before_update(
        &self,
        _attempt: &Attempt<'_>,
        _object: &mut Object,
        _before: &Object,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Whether the object may be deleted at all.
    fn before_delete(&self, _attempt: &Attempt<'_>, _before: &Object) -> Result<(), Status> {
        Ok(())
    }

    /// What goes with the object when it goes.
    fn on_removed(&self, _attempt: &Attempt<'_>, _object: &Object) {}

    /// What is wrong with an object, new or changed.
    fn validate(&self, _object: &Object, _errors: &mut Errors) {}

    /// What is wrong with a changed object.
    fn validate_update(&self, object: &Object, _before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
    }

    /// What a client should know about an object that is stored all the same; `before` is what it replaces.
    fn warn(&self, _object: &Object, _before: Option<&Object>, _warnings: &mut Vec<String>) {}

    /// Makes something else of a POST than an object of this resource; `None` where it is one.
    fn create_instead(
        &self,
        _attempt: &mut Attempt<'_>,
        _body: &Body,
    ) -> Option<Result<Prepared, Status>> {
        None
    }

    /// Answers a POST to a subresource of the object that the path names.
    fn create_below(
        &self,
        _attempt: &mut Attempt<'_>,
        _subresource: &str,
        _body: &Body,
    ) -> Result<Prepared, Status> {
        Err(method_not_allowed())
    }

    /// What is wrong with an object that was changed through a subresource.
    fn validate_below(
        &self,
        _subresource: &str,
        object: &Object,
        before: &Object,
        errors: &mut Errors,
    ) {
        self.validate_update(object, before, errors);
    }

    /// Whether changed annotations count as a new generation.
    fn annotations_count(&self) -> bool {
        false
    }

    /// Whether a write to `status` leaves labels alone.
    fn status_keeps_labels(&self) -> bool {
        false
    }

    /// The grace period of a deletion, in seconds; `None` where the kind has none.
    fn grace_seconds(&self, _object: &Object, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// What happens to the owned when the request does not say.
    fn propagation(&self, _warnings: &mut Vec<String>) -> Option<Propagation> {
        None
    }

    /// Whether nothing but metadata's finalizers holds the object.
    fn may_go(&self, _object: &Object) -> bool {
        true
    }

    /// Whether the answer to an immediate deletion shows the deletion's mark.
    fn answers_mark(&self) -> bool {
        false
    }

    /// Adds what holds an object that is about to be deleted.
    fn before_mark(&self, _object: &mut Object) {}

    /// What else changes when the object is marked.
    fn on_terminating(&self, _object: &mut Object, _now: &str) {}
}

pub(crate) use autoscaling::defaults as autoscaler_defaults;

#[derive(Debug)]
struct Generic;

impl Rules for Generic {}

/// The rules of a custom resource; the host's own have some.
pub(crate) fn custom(group: &str, resource: &str) -> &'static dyn Rules {
    match (group, resource) {
        ("quadrille.dev", "plugins") => &plugin::Plugins,
        _ => &Generic,
    }
}

/// The rules of a built-in resource.
pub(crate) fn of(group: &str, resource: &str) -> &'static dyn Rules {
    match (group, resource) {
        ("", "namespaces") => &namespace::Namespaces,
        ("", "configmaps") => &config::ConfigMaps,
        ("", "secrets") => &config::Secrets,
        ("", "events") => &events::Events,
        ("events.k8s.io", "events") => &events::NewEvents,
        ("coordination.k8s.io", "leases") => &config::LEASES,
        ("", "pods") => &pod::Pods,
        ("", "bindings") => &pod::Bindings,
        ("", "podtemplates") => &pod_template::PodTemplates,
        ("", "services") => &service::Services,
        ("", "replicationcontrollers") => &apps::ReplicationControllers,
        ("apps", "deployments") => &apps::Deployments,
        ("apps", "replicasets") => &apps::ReplicaSets,
        ("apps", "statefulsets") => &apps::StatefulSets,
        ("apps", "daemonsets") => &apps::DaemonSets,
        ("batch", "jobs") => &batch::Jobs,
        ("batch", "cronjobs") => &batch::CronJobs,
        ("authentication.k8s.io", "tokenrequests") => &review::TokenRequests,
        ("rbac.authorization.k8s.io", "roles") => &rbac::Roles,
        ("rbac.authorization.k8s.io", "clusterroles") => &rbac::ClusterRoles,
        ("rbac.authorization.k8s.io", "rolebindings") => &rbac::Bindings(rbac::Scope::Namespace),
        ("rbac.authorization.k8s.io", "clusterrolebindings") => {
            &rbac::Bindings(rbac::Scope::Cluster)
        }
        ("", "endpoints") => &endpoints::ENDPOINTS,
        ("discovery.k8s.io", "endpointslices") => &endpoints::ENDPOINT_SLICES,
        ("autoscaling", "horizontalpodautoscalers") => &autoscaling::AUTOSCALERS,
        ("networking.k8s.io", "ingresses") => &ingress::INGRESSES,
        ("networking.k8s.io", "ingressclasses") => &ingress::INGRESS_CLASSES,
        ("networking.k8s.io", "networkpolicies") => &network::NETWORK_POLICIES,
        ("networking.k8s.io", "servicecidrs") => &network::SERVICE_CIDRS,
        ("networking.k8s.io", "ipaddresses") => &network::IP_ADDRESSES,
        ("policy", "poddisruptionbudgets") => &policy::BUDGETS,
        ("scheduling.k8s.io", "priorityclasses") => &policy::PRIORITY_CLASSES,
        ("node.k8s.io", "runtimeclasses") => &policy::RUNTIME_CLASSES,
        ("apps", "controllerrevisions") => &policy::CONTROLLER_REVISIONS,
        ("apiregistration.k8s.io", "apiservices") => &policy::API_SERVICES,
        ("", "resourcequotas") => &quota::QUOTAS,
        ("", "limitranges") => &quota::LIMIT_RANGES,
        ("", "persistentvolumes") => &volumes::VOLUMES,
        ("", "persistentvolumeclaims") => &volumes::CLAIMS,
        ("", "nodes") => &node::NODES,
        ("storage.k8s.io", "storageclasses") => &storage::STORAGE_CLASSES,
        ("storage.k8s.io", "csidrivers") => &storage::CSI_DRIVERS,
        ("storage.k8s.io", "csinodes") => &storage::CSI_NODES,
        ("storage.k8s.io", "csistoragecapacities") => &storage::CSI_CAPACITIES,
        ("storage.k8s.io", "volumeattachments") => &storage::VOLUME_ATTACHMENTS,
        ("storage.k8s.io", "volumeattributesclasses") => &storage::VOLUME_ATTRIBUTES_CLASSES,
        ("certificates.k8s.io", "certificatesigningrequests") => &certificates::SIGNING_REQUESTS,
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &flow::FLOW_SCHEMAS,
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => &flow::PRIORITY_LEVELS,
        ("resource.k8s.io", "deviceclasses") => &claims::DEVICE_CLASSES,
        ("resource.k8s.io", "resourceclaims") => &claims::CLAIMS,
        ("resource.k8s.io", "resourceclaimtemplates") => &claims::CLAIM_TEMPLATES,
        ("resource.k8s.io", "resourceslices") => &claims::SLICES,
        ("admissionregistration.k8s.io", resource) => of_admission(resource),
        ("apiextensions.k8s.io", "customresourcedefinitions") => &DefinitionRules,
        _ => &Generic,
    }
}

fn of_admission(resource: &str) -> &'static dyn Rules {
    match resource {
        "validatingadmissionpolicies" => &admission::ValidatingPolicies,
        "validatingadmissionpolicybindings" => &admission::ValidatingBindings,
        "mutatingadmissionpolicies" => &admission::MutatingPolicies,
        "mutatingadmissionpolicybindings" => &admission::MutatingBindings,
        "validatingwebhookconfigurations" => &admission::Webhooks { mutating: false },
        "mutatingwebhookconfigurations" => &admission::Webhooks { mutating: true },
        _ => &Generic,
    }
}
