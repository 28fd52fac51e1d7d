//! Services, and which pods stand behind them at which ports.

use quadrille_sdk::k8s::{IntOrString, Raw, Service};
use quadrille_sdk::prelude::*;
use quadrille_sdk::{LabelSelector, Labels, Query};
use serde::{Deserialize, Serialize};

/// What of a service says where it leads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceSpec {
    pub(crate) selector: Labels,
    #[serde(rename = "clusterIP")]
    pub(crate) cluster_ip: String,
    pub(crate) ip_families: Vec<String>,
    pub(crate) ports: Vec<ServicePort>,
    pub(crate) publish_not_ready_addresses: bool,
    pub(crate) r#type: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServicePort {
    name: String,
    protocol: Option<String>,
    port: i64,
    target_port: Option<IntOrString>,
    app_protocol: Option<String>,
}

/// A port as slices and endpoints have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    /// The name; empty for the only one.
    pub name: String,
    /// The number.
    #[serde(rename = "port", skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// What is spoken there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

impl ServiceSpec {
    pub(crate) fn of(service: &Service) -> Result<Self> {
        service.spec.as_ref().map_or_else(|| Ok(Self::default()), Raw::read)
    }

    /// Whether it leads to pods.
    pub(crate) fn has_pods(&self) -> bool {
        !self.selector.is_empty() && self.r#type != "ExternalName"
    }

    pub(crate) fn is_headless(&self) -> bool {
        self.cluster_ip == "None"
    }

    /// The families of addresses that it has.
    pub(crate) fn families(&self) -> Vec<Family> {
        let v6 = |family: &String| if family == "IPv6" { Family::V6 } else { Family::V4 };
        let families: Vec<Family> = self.ip_families.iter().map(v6).collect();
        if families.is_empty() { vec![Family::V4] } else { families }
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: &str) -> Self {
        if address.contains(':') { Self::V6 } else { Self::V4 }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// A pod behind a service.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) addresses: Vec<String>,
    pub(crate) ports: Vec<Port>,
    /// Whether it is to get traffic.
    pub(crate) is_ready: bool,
    /// Whether it could answer.
    pub(crate) is_serving: bool,
    pub(crate) is_terminating: bool,
    pub(crate) node: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
}

impl Backend {
    /// Its address of a family.
    pub(crate) fn address(&self, family: Family) -> Option<&String> {
        self.addresses.iter().find(|address| Family::of(address) == family)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<String>,
    hostname: String,
    subdomain: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    ports: Vec<ContainerPort>,
    restart_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    name: String,
    #[serde(rename = "containerPort")]
    number: i64,
    protocol: Option<String>,
}

/// The pods behind a service that have an address and have not ended, by name.
pub(crate) fn backends(
    ctx: &Context,
    service: &Service,
    spec: &ServiceSpec,
) -> Result<Vec<Backend>> {
    let selector =
        LabelSelector { match_labels: spec.selector.clone(), match_expressions: Vec::new() };
    let pods = ctx.list::<Pod>(Query::labels(selector.to_text()))?;
    let mut backends = Vec::new();
    for pod in pods {
        let Some(status) = &pod.status else { continue };
        let mut addresses: Vec<String> = status.pod_ips.iter().map(|ip| ip.ip.clone()).collect();
        if addresses.is_empty() && !status.pod_ip.is_empty() {
            addresses.push(status.pod_ip.clone());
        }
        if addresses.is_empty() || matches!(pod.phase(), "Succeeded" | "Failed") {
            continue;
        }
        backends.push(backend(service, spec, &pod, addresses)?);
    }
    Ok(backends)
}

fn backend(
    service: &Service,
    spec: &ServiceSpec,
    pod: &Pod,
    addresses: Vec<String>,
) -> Result<Backend> {
    let pod_spec: PodSpec = pod.spec.as_ref().map(Raw::read).transpose()?.unwrap_or_default();
    let is_serving = pod.is_ready();
    let is_terminating = pod.metadata.is_terminating();
    let named = !pod_spec.hostname.is_empty() && pod_spec.subdomain == service.name();
    Ok(Backend {
        addresses,
        ports: spec.ports.iter().filter_map(|port| resolve(port, &pod_spec)).collect(),
        is_ready: spec.publish_not_ready_addresses || (is_serving && !is_terminating),
        is_serving,
        is_terminating,
        node: pod_spec.node_name.filter(|node| !node.is_empty()),
        hostname: named.then_some(pod_spec.hostname),
        name: pod.name().to_owned(),
        namespace: pod.namespace().to_owned(),
        uid: pod.uid().to_owned(),
    })
}

/// The port of a pod that a service's port leads to; `None` when the pod has none of that name.
fn resolve(port: &ServicePort, pod: &PodSpec) -> Option<Port> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let number = match &port.target_port {
        None | Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => {
            // Of the init containers only those that stay.
            let stays = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
            let containers = pod.containers.iter().chain(pod.init_containers.iter().filter(stays));
            let mut ports = containers.flat_map(|container| &container.ports);
            let found = ports
                .find(|p| p.name == *name && p.protocol.as_deref().unwrap_or("TCP") == protocol);
            found?.number
        }
    };
    Some(Port {
        name: port.name.clone(),
        number: Some(number),
        protocol: Some(protocol.to_owned()),
        app_protocol: port.app_protocol.clone(),
    })
}
