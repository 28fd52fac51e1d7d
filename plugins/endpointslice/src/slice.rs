//! Slices: keeping those of one owner at what is wanted, with as few writes as possible.

use std::collections::BTreeMap;

use quadrille_sdk::Labels;
use quadrille_sdk::k8s::Raw;
use quadrille_sdk::prelude::*;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::service::{Family, Port};

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// The most endpoints of one slice.
const ENDPOINTS_MAX: usize = 100;

/// Some of the addresses behind a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// The metadata.
    pub metadata: Metadata,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// Where the traffic goes.
    #[serde(deserialize_with = "null_as_default")]
    pub endpoints: Vec<Endpoint>,
    /// At which ports.
    #[serde(deserialize_with = "null_as_default")]
    pub ports: Vec<Port>,
}
quadrille_sdk::kind!(EndpointSlice, "discovery.k8s.io", "v1", "endpointslices");

/// One place where traffic goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Its address.
    pub addresses: Vec<String>,
    /// How it is.
    pub conditions: Conditions,
    /// The name of the host there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The object behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<Raw>,
    /// The node that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
}

/// How an endpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// Whether it is to get traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Whether it could answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// Whether it goes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What the slices of one owner are to have.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    pub(crate) endpoints: BTreeMap<(Family, Vec<Port>), Vec<Endpoint>>,
}

/// Brings the slices that the primary object owns to what is wanted.
pub(crate) fn keep(ctx: &Context, base: &str, wanted: Wanted) -> Result<()> {
    let manager = wanted.labels.get(MANAGED_BY).cloned();
    let mut slices = ctx.owned::<EndpointSlice>()?;
    slices.retain(|slice| {
        slice.metadata.is_controlled_by(ctx.owner_uid())
            && slice.metadata.labels.get(MANAGED_BY) == manager.as_ref()
    });
    for ((family, ports), endpoints) in wanted.endpoints {
        let mut parts: Vec<Vec<Endpoint>> =
            endpoints.chunks(ENDPOINTS_MAX).map(<[Endpoint]>::to_vec).collect();
        if parts.is_empty() {
            // A service without pods has a slice that says so.
            parts.push(Vec::new());
        }
        for endpoints in parts {
            let fits =
                |slice: &EndpointSlice| slice.address_type == family.name() && slice.ports == ports;
            let metadata = Metadata {
                labels: wanted.labels.clone(),
                annotations: wanted.annotations.clone(),
                ..Metadata::default()
            };
            let slice = EndpointSlice {
                metadata,
                address_type: family.name().to_owned(),
                endpoints,
                ports: ports.clone(),
            };
            match slices.iter().position(fits) {
                Some(at) => update(ctx, &slices.remove(at), &slice)?,
                None => create(ctx, base, slice)?,
            }
        }
    }
    slices.iter().try_for_each(|slice| ctx.delete(slice))
}

fn update(ctx: &Context, current: &EndpointSlice, wanted: &EndpointSlice) -> Result<()> {
    let mut metadata = serde_json::Map::new();
    let changed = [
        ("labels", &current.metadata.labels, &wanted.metadata.labels),
        ("annotations", &current.metadata.annotations, &wanted.metadata.annotations),
    ];
    for (name, have, want) in changed {
        if have != want {
            let gone = have.keys().filter(|key| !want.contains_key(*key));
            let gone = gone.map(|key| (key.clone(), serde_json::Value::Null));
            let set = want.iter().map(|(key, value)| (key.clone(), json!(value)));
            metadata.insert(name.to_owned(), gone.chain(set).collect());
        }
    }
    if metadata.is_empty() && current.endpoints == wanted.endpoints {
        return Ok(());
    }
    let patch = json!({"metadata": metadata, "endpoints": wanted.endpoints});
    ctx.patch(current, &patch).map(drop)
}

fn create(ctx: &Context, base: &str, mut slice: EndpointSlice) -> Result<()> {
    slice.metadata.generate_name = format!("{base}-");
    slice.metadata.name = format!("{base}-{}", ctx.random_suffix(5));
    ctx.create(slice).map(drop)
}
