//! Resources that containers and Pods ask for: their names, amounts, and what must fit together.

use std::collections::BTreeSet;

use quadrille_object::quantity::Quantity;
use quadrille_object::validate_name;
use serde_json::Value;

use super::at::At;
use crate::field::Errors;

/// Names that stand for themselves, without a domain.
const STANDARD: [&str; 20] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];

/// What can be counted but not divided.
const WHOLE: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

const CONTAINER: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];

const HUGE_PAGES: &str = "hugepages-";

/// Whose requirements are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Container,
    /// A Pod as a whole: cpu, memory and huge pages only.
    Pod,
}

/// Checks a `ResourceRequirements`; `claims` are the names of the Pod's resource claims.
pub(crate) fn validate(at: &At<'_>, of: Of, claims: &BTreeSet<&str>, errors: &mut Errors) {
    let limits = at.child_or_empty("limits");
    let (mut computes, mut has_pages) = (false, false);
    for key in ["limits", "requests"] {
        for (name, amount) in at.entries(key) {
            let path = format!("{}[{name}]", at.path(key));
            validate_name(name, of, &path, errors);
            let Ok(quantity) = Quantity::from_value(amount) else { continue };
            validate_amount(name, quantity, amount, &path, errors);
            if let Some(size) = name.strip_prefix(HUGE_PAGES) {
                has_pages = true;
                validate_pages(size, quantity, amount, &path, errors);
            }
            computes |= matches!(name, "cpu" | "memory");
            if key == "requests" {
                validate_request(at, name, quantity, amount, limits.get(name), errors);
            }
        }
    }
    if has_pages && !computes {
        errors.forbidden(at.path.clone(), "HugePages require cpu or memory");
    }
    if of == Of::Container {
        validate_claims(at, claims, errors);
    }
}

fn validate_request(
    at: &At<'_>,
    name: &str,
    wanted: Quantity,
    shown: &Value,
    limit: Option<&Value>,
    errors: &mut Errors,
) {
    let Some(limit) = limit else {
        if !may_exceed(name) {
            let why = "Limit must be set for non overcommitable resources";
            errors.required(at.path("limits"), why);
        }
        return;
    };
    let Ok(most) = Quantity::from_value(limit) else { return };
    if wanted != most && !may_exceed(name) {
        let why = format!("must be equal to {name} limit of {most}");
        errors.invalid(at.path("requests"), shown, &why);
    } else if wanted > most {
        let why = format!("must be less than or equal to {name} limit of {most}");
        errors.invalid(at.path("requests"), shown, &why);
    }
}

fn validate_claims(at: &At<'_>, claims: &BTreeSet<&str>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for claim in at.items("claims") {
        let name = claim.text("name");
        if name.is_empty() {
            errors.required(claim.path.clone(), "");
            continue;
        }
        if !seen.insert((name, claim.text("request"))) {
            errors.duplicate(claim.path.clone(), &name.into());
        }
        if !claims.contains(name) {
            errors.not_found(claim.path.clone(), name);
        }
        errors.dns_label(&claim, "request");
    }
}

/// Checks that an amount is not negative, and whole where it must be.
pub(crate) fn validate_amount(
    name: &str,
    quantity: Quantity,
    shown: &Value,
    path: &str,
    errors: &mut Errors,
) {
    if quantity.is_negative() {
        errors.invalid(path, shown, "must be greater than or equal to 0");
    }
    if is_whole(name) && quantity.millis() % 1000 != 0 {
        errors.invalid(path, shown, "must be an integer");
    }
}

fn validate_pages(size: &str, amount: Quantity, shown: &Value, path: &str, errors: &mut Errors) {
    let Some(bytes) = Quantity::parse(size).ok().map(Quantity::units).filter(|b| *b > 0) else {
        return;
    };
    if amount.units() % bytes != 0 {
        let why = format!("{amount} is not positive integer multiple of {size}");
        errors.invalid(path, shown, &why);
    }
}

fn validate_name(name: &str, of: Of, path: &str, errors: &mut Errors) {
    let problems = validate_name::qualified_name(name);
    if !problems.is_empty() {
        errors.invalid_each(path, name, problems);
        return;
    }
    if of == Of::Pod {
        let supported = matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES);
        if !supported {
            errors.unsupported(path, &name.into(), &["cpu", "hugepages-", "memory"]);
        }
        return;
    }
    if !name.contains('/') {
        let pages = name.starts_with(HUGE_PAGES);
        if !pages && !STANDARD.contains(&name) {
            let why = "must be a standard resource type or fully qualified";
            errors.invalid(path, &name.into(), why);
        }
        if !pages && !CONTAINER.contains(&name) {
            errors.invalid(path, &name.into(), "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, &name.into(), "doesn't follow extended resource name standard");
    }
}

/// Whether a resource is Kubernetes' own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a resource is somebody else's, such as `example.com/gpu`.
pub(crate) fn is_extended(name: &str) -> bool {
    let as_quota = format!("requests.{name}");
    !is_native(name)
        && !name.starts_with("requests.")
        && validate_name::qualified_name(&as_quota).is_empty()
}

fn is_whole(name: &str) -> bool {
    WHOLE.contains(&name) || is_extended(name)
}

/// Whether more may be promised than there is, so that requests may be below limits.
fn may_exceed(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES)
}
