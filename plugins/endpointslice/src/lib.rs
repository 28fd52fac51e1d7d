//! Where services lead: slices of the addresses of their pods, Endpoints in the older form, and mirrors of Endpoints
//! that were made by hand.

pub mod endpoints;
mod mirror;
mod service;
pub mod slice;

use quadrille_sdk::k8s::Service;
use quadrille_sdk::prelude::*;

use endpoints::target_ref;
use service::{Backend, Family, ServiceSpec};
use slice::{Conditions, Endpoint, EndpointSlice, HEADLESS, MANAGED_BY, SERVICE_NAME, Wanted};

pub use service::Port;

const MANAGER: &str = "endpointslice-controller.k8s.io";

/// Keeps the slices of services with a selector.
#[derive(Debug)]
pub struct Slices;

impl Controller for Slices {
    type Primary = Service;
    const NAME: &'static str = "endpoint-slice-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] = &[
        verbs::<Pod>(&["list"]),
        verbs::<EndpointSlice>(&["get", "list", "create", "patch", "delete"]),
    ];

    fn reconcile(service: &Service, ctx: &Context) -> Result<Next> {
        let spec = ServiceSpec::of(service)?;
        let mut labels = service.metadata.labels.clone();
        labels.remove(HEADLESS);
        labels.insert(SERVICE_NAME.to_owned(), service.name().to_owned());
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        if spec.is_headless() {
            labels.insert(HEADLESS.to_owned(), String::new());
        }
        let mut wanted = Wanted { labels, ..Wanted::default() };
        if spec.has_pods() {
            let backends = service::backends(ctx, service, &spec)?;
            for family in spec.families() {
                fill(&mut wanted, family, &backends);
            }
        }
        slice::keep(ctx, service.name(), wanted)?;
        Next::done()
    }
}

fn fill(wanted: &mut Wanted, family: Family, backends: &[Backend]) {
    let mut is_empty = true;
    for backend in backends {
        let Some(address) = backend.address(family) else { continue };
        is_empty = false;
        let key = (family, backend.ports.clone());
        wanted.endpoints.entry(key).or_default().push(Endpoint {
            addresses: vec![address.clone()],
            conditions: Conditions {
                ready: Some(backend.is_ready),
                serving: Some(backend.is_serving),
                terminating: Some(backend.is_terminating),
            },
            hostname: backend.hostname.clone(),
            target_ref: Some(target_ref(backend)),
            node_name: backend.node.clone(),
        });
    }
    if is_empty {
        wanted.endpoints.insert((family, Vec::new()), Vec::new());
    }
}

quadrille_sdk::plugin!(
    Slices,
    mirror::Mirrors,
    endpoints::EndpointsOfServices,
    endpoints::LeftOvers
);

#[cfg(test)]
mod tests;
