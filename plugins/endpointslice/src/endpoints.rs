//! Endpoints: the older form of what slices say, one object per service.

use std::collections::BTreeMap;

use quadrille_sdk::Labels;
use quadrille_sdk::k8s::{Raw, Service};
use quadrille_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::service::{self, Backend, Port, ServiceSpec};
use crate::slice::{HEADLESS, null_as_default};

pub(crate) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// The addresses behind a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    /// The metadata.
    pub metadata: Metadata,
    /// Addresses that have the same ports.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub subsets: Vec<Subset>,
}
quadrille_sdk::kind!(Endpoints, "", "v1", "endpoints");

/// Addresses that have the same ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subset {
    /// Those that get traffic.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Those that do not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ready_addresses: Vec<Address>,
    /// Their ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
}

/// One address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Address {
    /// The address itself.
    pub ip: String,
    /// The name of the host there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The node that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The object behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<Raw>,
}

/// A port; one without a name has none in this form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The number.
    pub port: i64,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// What is spoken there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// Keeps the Endpoints of services.
#[derive(Debug)]
pub struct EndpointsOfServices;

impl Controller for EndpointsOfServices {
    type Primary = Service;
    const NAME: &'static str = "endpoint-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] =
        &[verbs::<Pod>(&["list"]), verbs::<Endpoints>(&["get", "create", "patch", "delete"])];

    fn reconcile(service: &Service, ctx: &Context) -> Result<Next> {
        let spec = ServiceSpec::of(service)?;
        if !spec.has_pods() {
            return Next::done();
        }
        let current = ctx.get::<Endpoints>(service.name())?;
        let wanted = wanted(service, &spec, &service::backends(ctx, service, &spec)?);
        match current {
            None => ctx.create_unowned(wanted).map(drop)?,
            Some(current) => {
                let same = current.subsets == wanted.subsets
                    && current.metadata.labels == wanted.metadata.labels;
                if !same {
                    let gone = current.metadata.labels.keys();
                    let gone = gone.filter(|key| !wanted.metadata.labels.contains_key(*key));
                    let gone = gone.map(|key| (key.clone(), serde_json::Value::Null));
                    let set = wanted.metadata.labels.iter();
                    let set = set.map(|(key, value)| (key.clone(), json!(value)));
                    let labels: serde_json::Map<_, _> = gone.chain(set).collect();
                    let patch = json!({"metadata": {"labels": labels}, "subsets": wanted.subsets});
                    ctx.patch(&current, &patch)?;
                }
            }
        }
        Next::done()
    }
}

fn wanted(service: &Service, spec: &ServiceSpec, backends: &[Backend]) -> Endpoints {
    let family = spec.families().first().copied().unwrap_or(service::Family::V4);
    let mut by_ports: BTreeMap<Vec<Port>, Subset> = BTreeMap::new();
    for backend in backends.iter().filter(|backend| !backend.is_terminating) {
        let Some(ip) = backend.address(family) else { continue };
        let address = Address {
            ip: ip.clone(),
            hostname: backend.hostname.clone(),
            node_name: backend.node.clone(),
            target_ref: Some(target_ref(backend)),
        };
        let subset = by_ports.entry(backend.ports.clone()).or_default();
        if backend.is_ready {
            subset.addresses.push(address);
        } else {
            subset.not_ready_addresses.push(address);
        }
    }
    let subsets = by_ports.into_iter().map(|(ports, mut subset)| {
        subset.addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
        subset.not_ready_addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
        subset.ports = ports.into_iter().map(port).collect();
        subset
    });
    let mut labels: Labels = service.metadata.labels.clone();
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if spec.is_headless() {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let metadata = Metadata { name: service.name().to_owned(), labels, ..Metadata::default() };
    Endpoints { metadata, subsets: subsets.collect() }
}

fn port(port: Port) -> EndpointPort {
    let Port { name, number, protocol, app_protocol } = port;
    EndpointPort { name, port: number.unwrap_or(0), protocol, app_protocol }
}

/// A reference to the pod behind an address.
pub(crate) fn target_ref(backend: &Backend) -> Raw {
    Raw::from(json!({
        "kind": "Pod", "name": backend.name, "namespace": backend.namespace, "uid": backend.uid,
    }))
}

/// Removes the Endpoints of services that are gone.
#[derive(Debug)]
pub struct LeftOvers;

impl Controller for LeftOvers {
    type Primary = Endpoints;
    const NAME: &'static str = "endpoint-left-overs";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] = &[verbs::<Service>(&["get"])];
    const LABEL_SELECTOR: &'static str = "endpoints.kubernetes.io/managed-by=endpoint-controller";

    fn reconcile(endpoints: &Endpoints, ctx: &Context) -> Result<Next> {
        if ctx.get::<Service>(endpoints.name())?.is_none() {
            ctx.delete(endpoints)?;
        }
        Next::done()
    }
}
