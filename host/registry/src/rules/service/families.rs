//! Address families, and how they agree with the addresses: of a host that knows IPv4 alone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::net;
use crate::rules::service::{address, kind};
use crate::status::Status;
use crate::write::Attempt;

/// The one family that addresses are handed out of.
const OURS: &str = "IPv4";
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
/// A Service has an address of each family at most.
const ADDRESSES_MAX: usize = 2;

fn texts<'a>(object: &'a Object, key: &str) -> Vec<&'a str> {
    field::list(object, &["spec", key]).iter().map(|v| v.as_str().unwrap_or_default()).collect()
}

fn shown(object: &Object, key: &str) -> Value {
    field::get(object, &["spec", key]).cloned().unwrap_or_else(|| json!([]))
}

fn policy(object: &Object) -> &str {
    field::text(object, &["spec", "ipFamilyPolicy"]).unwrap_or_default()
}

fn family_of(address: &str) -> &'static str {
    if net::parse_ip(address).is_some_and(|ip| ip.is_ipv6()) { "IPv6" } else { OURS }
}

/// Whether it has neither address nor selector: whoever writes its endpoints decides the families.
fn is_free(object: &Object) -> bool {
    let selector = field::get(object, &["spec", "selector"]).and_then(Value::as_object);
    address(object) == "None" && selector.is_none_or(serde_json::Map::is_empty)
}

/// Fills in what follows from the rest, and refuses what no address could be handed out for.
pub(super) fn settle(
    attempt: &Attempt<'_>,
    object: &mut Object,
    before: Option<&Object>,
) -> Result<(), Status> {
    if kind(object) == "ExternalName" {
        return Ok(());
    }
    if policy(object).is_empty() {
        let old = before.map(policy).filter(|old| !old.is_empty());
        let free = if is_free(object) { "RequireDualStack" } else { "SingleStack" };
        let policy = Value::from(old.unwrap_or(free));
        field::map_mut(object, &["spec"]).insert("ipFamilyPolicy".to_owned(), policy);
    }
    let mut errors = Errors::default();
    validate(object, &mut errors);
    refuse(attempt, object, &errors)?;
    if let Some(before) = before {
        reduce(object, before, &mut errors);
    }
    check_single(object, &mut errors);
    infer(object, &mut errors);
    refuse(attempt, object, &errors)?;
    if is_free(object) {
        complete(object);
        return Ok(());
    }
    if policy(object) == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        errors.invalid("spec.ipFamilyPolicy", &policy(object).into(), why);
    }
    for (index, family) in texts(object, "ipFamilies").into_iter().enumerate() {
        if family != OURS {
            let at = format!("spec.ipFamilies[{index}]");
            errors.invalid(at, &family.into(), "not configured on this cluster");
        }
    }
    refuse(attempt, object, &errors)?;
    if texts(object, "ipFamilies").is_empty() {
        field::map_mut(object, &["spec"]).insert("ipFamilies".to_owned(), json!([OURS]));
    }
    Ok(())
}

fn refuse(attempt: &Attempt<'_>, object: &Object, errors: &Errors) -> Result<(), Status> {
    if errors.0.is_empty() {
        return Ok(());
    }
    Err(attempt.invalid(metadata::text(object, "name"), &errors.0))
}

/// Going back to one family drops the second of what did not change; anything else must say so.
fn reduce(object: &mut Object, before: &Object, errors: &mut Errors) {
    for (key, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (new, old) = (texts(object, key).len(), texts(before, key).len());
        if policy(object) != "SingleStack" {
            if 0 < new && new < old {
                let why = format!("must be 'SingleStack' to release the secondary {what}");
                errors.invalid("spec.ipFamilyPolicy", &policy(object).into(), &why);
            }
        } else if texts(object, key) == texts(before, key) {
            let spec = field::map_mut(object, &["spec"]);
            if let Some(list) = spec.get_mut(key).and_then(Value::as_array_mut) {
                list.truncate(1);
            }
        }
    }
}

fn check_single(object: &Object, errors: &mut Errors) {
    if policy(object) != "SingleStack" {
        return;
    }
    for (key, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if texts(object, key).len() == ADDRESSES_MAX {
            let why = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            errors.invalid("spec.ipFamilyPolicy", &policy(object).into(), &why);
        }
    }
}

/// Addresses that the client chose tell their families.
fn infer(object: &mut Object, errors: &mut Errors) {
    let addresses: Vec<String> =
        texts(object, "clusterIPs").into_iter().map(str::to_owned).collect();
    let known = texts(object, "ipFamilies").len();
    for (index, ip) in addresses.iter().enumerate() {
        if ip == "None" {
            return;
        }
        if index < known {
            continue;
        }
        let family = family_of(ip);
        if family == OURS {
            let spec = field::map_mut(object, &["spec"]);
            let list = spec.entry("ipFamilies").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(family.into());
            }
        } else {
            let at = format!("spec.clusterIPs[{index}]");
            let why = format!("{family} is not configured on this cluster");
            errors.invalid(at, &json!(addresses), &why);
        }
    }
}

fn complete(object: &mut Object) {
    let mut families: Vec<&str> = texts(object, "ipFamilies");
    if families.is_empty() {
        families.push(OURS);
    }
    let other = FAMILIES.into_iter().find(|family| families.first() != Some(family));
    if families.len() < ADDRESSES_MAX && policy(object) != "SingleStack" {
        families.extend(other);
    }
    let families = json!(families);
    field::map_mut(object, &["spec"]).insert("ipFamilies".to_owned(), families);
}

/// What can be wrong with addresses and families in themselves.
pub(super) fn validate(object: &Object, errors: &mut Errors) {
    if kind(object) == "ExternalName" {
        for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if field::get(object, &["spec", key]).is_some_and(|v| v != &json!([])) {
                errors.forbidden(format!("spec.{key}"), "may not be set for ExternalName services");
            }
        }
        return;
    }
    let addresses = texts(object, "clusterIPs");
    let all = shown(object, "clusterIPs");
    match (address(object), addresses.first()) {
        ("", Some(_)) => {
            let why = "must be empty when `clusterIP` is not specified";
            errors.invalid("spec.clusterIPs", &all, why);
        }
        ("", None) => {}
        (_, None) => errors.required("spec.clusterIPs", ""),
        (one, Some(first)) if one != *first => {
            errors.invalid("spec.clusterIPs", &all, "first value must match `clusterIP`");
        }
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (index, family) in texts(object, "ipFamilies").into_iter().enumerate() {
        let at = format!("spec.ipFamilies[{index}]");
        if !FAMILIES.contains(&family) {
            errors.unsupported(&at, &family.into(), &FAMILIES);
        }
        if !seen.insert(family) {
            errors.duplicate(&at, &family.into());
        }
    }
    errors.one_of(object, &["spec", "ipFamilyPolicy"], &POLICIES);
    validate_addresses(object, &addresses, &all, errors);
}

fn validate_addresses(object: &Object, addresses: &[&str], all: &Value, errors: &mut Errors) {
    let mut malformed = false;
    for (index, ip) in addresses.iter().enumerate() {
        if index == 0 && *ip == "None" {
            if addresses.len() > 1 {
                malformed = true;
                let why = "'None' must be the first and only value";
                errors.invalid("spec.clusterIPs", all, why);
            }
            continue;
        }
        malformed |= net::parse_ip(ip).is_none();
        net::validate_ip(&format!("spec.clusterIPs[{index}]"), ip, errors);
    }
    if addresses.len() > ADDRESSES_MAX {
        errors.invalid("spec.clusterIPs", all, "may only hold up to 2 values");
    }
    if malformed {
        return;
    }
    let six = addresses.iter().filter(|ip| family_of(ip) != OURS).count();
    if addresses.len() > 1 && (six == 0 || six == addresses.len()) {
        let why = "may specify no more than one IP for each IP family";
        errors.invalid("spec.clusterIPs", all, why);
    }
    if address(object) == "None" {
        return;
    }
    let families = texts(object, "ipFamilies");
    for (index, (ip, family)) in addresses.iter().zip(families).enumerate() {
        if FAMILIES.contains(&family) && family_of(ip) != family {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(format!("spec.clusterIPs[{index}]"), &(*ip).into(), &why);
        }
    }
}

/// Addresses and families stay what they are, but for Services that become external or were.
pub(super) fn validate_update(object: &Object, before: &Object, errors: &mut Errors) {
    if kind(object) == "ExternalName" || kind(before) == "ExternalName" {
        return;
    }
    let headless = |o: &Object| texts(o, "clusterIPs") == ["None"];
    let (is, was) = (headless(object), headless(before));
    if !(is && was) {
        let (new, old) = (texts(object, "clusterIPs"), texts(before, "clusterIPs"));
        let differs = |(index, old): (usize, &&str)| (new.get(index) != Some(old)).then_some(index);
        for index in old.iter().enumerate().filter_map(differs) {
            let at = format!("spec.clusterIPs[{index}]");
            errors.invalid(at, &shown(object, "clusterIPs"), "may not change once set");
        }
    }
    if is || was {
        return;
    }
    let (new, old) = (texts(object, "ipFamilies"), texts(before, "ipFamilies"));
    for _ in old.iter().zip(&new).filter(|(old, new)| old != new) {
        errors.invalid(
            "spec.ipFamilies[0]",
            &shown(object, "ipFamilies"),
            "may not change once set",
        );
    }
}
