//! Handing out cluster IPs.

use std::net::Ipv4Addr;

use quadrille_object::{GroupResource, Meta, Template};
use quadrille_store::{Expect, Key, Write};
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::service::{address, kind};
use crate::status::{Reason, Status};
use crate::write::Attempt;

/// How many random addresses are tried before the range is searched from its start.
const TRIES_MAX: u32 = 32;

/// An IPv4 range such as `10.96.0.0/16`.
#[derive(Clone, Copy, Debug)]
struct Cidr {
    base: u32,
    bits: u32,
}

impl Cidr {
    fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/')?;
        let (base, bits) = (base.parse::<Ipv4Addr>().ok()?, bits.parse().ok()?);
        (bits <= 30).then_some(Self { base: u32::from(base), bits })
    }

    /// How many addresses it has.
    fn size(self) -> u32 {
        1_u32.checked_shl(32 - self.bits).unwrap_or(u32::MAX)
    }

    /// Whether an address may be handed out: not the first (the network), not the last (broadcast).
    fn holds(self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.base);
        offset > 0 && offset < self.size() - 1
    }

    fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base.wrapping_add(offset))
    }
}

/// Gives a Service an address that has none and needs one.
pub(super) fn addresses(
    attempt: &Attempt<'_>,
    object: &mut Object,
    before: Option<&Object>,
) -> Result<(), Status> {
    let is_external = kind(object) == "ExternalName";
    if let Some(before) = before
        && kind(before) != "ExternalName"
    {
        if is_external {
            release(attempt, address(before));
        }
        return Ok(());
    }
    let given = field::list(object, &["spec", "clusterIPs"]).first();
    let given = given.and_then(Value::as_str).unwrap_or_default().to_owned();
    if is_external || given == "None" {
        return Ok(());
    }
    let wanted = if given.is_empty() { choose(attempt)?.to_string() } else { given.clone() };
    // What a dry run chooses is an example, which somebody else may have.
    if !given.is_empty() || !attempt.request.options.dry_run {
        reserve(attempt, object, &wanted)?;
    }
    let spec = field::map_mut(object, &["spec"]);
    spec.insert("clusterIP".to_owned(), wanted.clone().into());
    spec.insert("clusterIPs".to_owned(), json!([wanted]));
    Ok(())
}

fn is_reserved(address: &str) -> bool {
    !address.is_empty() && address != "None"
}

fn key(address: &str) -> Key {
    Key::new(GroupResource::new("networking.k8s.io", "ipaddresses"), "", address)
}

fn choose(attempt: &Attempt<'_>) -> Result<Ipv4Addr, Status> {
    let full =
        || Status::new(Reason::InternalError, "failed to allocate a serviceIP: range is full");
    let range = Cidr::parse(&attempt.config.service_range).ok_or_else(full)?;
    if attempt.request.options.dry_run {
        return Ok(range.at(1));
    }
    let is_free = |address: &Ipv4Addr| {
        range.holds(*address) && attempt.view.get(&key(&address.to_string())).is_none()
    };
    let random = || {
        let offset = attempt.random.below(u64::from(range.size()));
        range.at(u32::try_from(offset).unwrap_or(0))
    };
    // The first addresses stay free for Services that ask for them by number.
    let reserved = range.size().min(256);
    let tried = (0..TRIES_MAX)
        .map(|_| random())
        .find(|a| u32::from(*a).wrapping_sub(range.base) >= reserved && is_free(a));
    let searched = || (1..range.size()).map(|offset| range.at(offset)).find(is_free);
    tried.or_else(searched).ok_or_else(full)
}

/// Takes an address with the transaction's own `IPAddress` object.
fn reserve(attempt: &Attempt<'_>, object: &Object, wanted: &str) -> Result<(), Status> {
    let range = Cidr::parse(&attempt.config.service_range);
    let parsed = wanted.parse::<Ipv4Addr>().ok();
    let within = range.zip(parsed).is_some_and(|(range, address)| range.holds(address));
    let name = metadata::text(object, "name");
    let refuse = |why: String| {
        let mut errors = Errors::default();
        let why = format!("failed to allocate IP {wanted}: {why}");
        errors.invalid("spec.clusterIPs", &json!([wanted]), &why);
        Err(attempt.invalid(name, &errors.0))
    };
    if !within {
        return refuse(format!(
            "the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {}",
            attempt.config.service_range
        ));
    }
    if attempt.request.options.dry_run {
        return Ok(());
    }
    if attempt.view.get(&key(wanted)).is_some() {
        return refuse("provided IP is already allocated".to_owned());
    }
    let address = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": wanted, "uid": attempt.random.uuid(),
            "creationTimestamp": attempt.now.to_rfc3339(),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {
            "group": "", "resource": "services", "name": name,
            "namespace": metadata::text(object, "namespace"),
        }},
    });
    let Value::Object(address) = address else { return Ok(()) };
    attempt.also(Write::Put {
        key: key(wanted),
        meta: Meta::from_object(&address),
        object: Template::encode(&address),
        expect: Expect::Absent,
    });
    Ok(())
}

/// Gives an address back.
pub(super) fn release(attempt: &Attempt<'_>, address: &str) {
    if is_reserved(address) && attempt.view.get(&key(address)).is_some() {
        attempt.also(Write::Delete { key: key(address), expect: Expect::Any });
    }
}
