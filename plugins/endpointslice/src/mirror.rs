//! Mirroring: Endpoints that were made by hand, for a service without a selector, become slices.

use std::collections::BTreeMap;

use quadrille_sdk::k8s::Service;
use quadrille_sdk::prelude::*;

use crate::endpoints::{Address, EndpointPort, Endpoints};
use crate::service::{Family, Port, ServiceSpec};
use crate::slice::{self, Conditions, Endpoint, EndpointSlice, MANAGED_BY, SERVICE_NAME, Wanted};

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Annotations that belong to the Endpoints alone.
const OWN: &[&str] = &[
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// More addresses of one subset are not mirrored.
const ADDRESSES_MAX: usize = 1_000;

/// Mirrors Endpoints.
#[derive(Debug)]
pub(crate) struct Mirrors;

impl Controller for Mirrors {
    type Primary = Endpoints;
    const NAME: &'static str = "endpoint-slice-mirroring-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] = &[
        verbs::<Service>(&["get"]),
        verbs::<EndpointSlice>(&["get", "list", "create", "patch", "delete"]),
    ];
    // Those that a controller made have slices of their own.
    const LABEL_SELECTOR: &'static str = "endpoints.kubernetes.io/managed-by!=endpoint-controller";

    fn reconcile(endpoints: &Endpoints, ctx: &Context) -> Result<Next> {
        let mut labels = endpoints.metadata.labels.clone();
        labels.insert(SERVICE_NAME.to_owned(), endpoints.name().to_owned());
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        let mut wanted = Wanted { labels, ..Wanted::default() };
        if is_mirrored(endpoints, ctx)? {
            let annotations = endpoints.metadata.annotations.clone().into_iter();
            wanted.annotations =
                annotations.filter(|(key, _)| !OWN.contains(&key.as_str())).collect();
            wanted.endpoints = mirrored(endpoints);
        }
        slice::keep(ctx, endpoints.name(), wanted)?;
        Next::done()
    }
}

fn is_mirrored(endpoints: &Endpoints, ctx: &Context) -> Result<bool> {
    let meta = &endpoints.metadata;
    if meta.labels.get(SKIP).is_some_and(|skip| skip == "true")
        || meta.annotations.contains_key(LEADER)
    {
        return Ok(false);
    }
    let Some(service) = ctx.get::<Service>(endpoints.name())? else { return Ok(false) };
    Ok(ServiceSpec::of(&service)?.selector.is_empty())
}

fn mirrored(endpoints: &Endpoints) -> BTreeMap<(Family, Vec<Port>), Vec<Endpoint>> {
    let mut mirrored: BTreeMap<(Family, Vec<Port>), Vec<Endpoint>> = BTreeMap::new();
    for subset in &endpoints.subsets {
        let ports: Vec<Port> = subset.ports.iter().map(port).collect();
        let ready = subset.addresses.iter().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().map(|address| (address, false));
        for (address, is_ready) in ready.chain(not_ready).take(ADDRESSES_MAX) {
            let key = (Family::of(&address.ip), ports.clone());
            mirrored.entry(key).or_default().push(endpoint(address, is_ready));
        }
    }
    mirrored
}

fn port(port: &EndpointPort) -> Port {
    let EndpointPort { name, port, protocol, app_protocol } = port.clone();
    let protocol = protocol.or_else(|| Some("TCP".to_owned()));
    Port { name, number: Some(port), protocol, app_protocol }
}

fn endpoint(address: &Address, is_ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Conditions { ready: Some(is_ready), ..Conditions::default() },
        hostname: address.hostname.clone(),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
    }
}
