//! Resources of a Pod as a whole, and how they relate to those of its containers.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_object::quantity::Quantity;
use serde_json::Value;

use super::at::At;
use super::resource::{self, Of};
use crate::field::{Errors, Object};

/// Amounts by resource.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// Checks `resources` of a Pod.
pub(super) fn validate(spec: &At<'_>, claims: &BTreeSet<&str>, errors: &mut Errors) {
    let Some(resources) = spec.child("resources") else { return };
    if resources.has("claims") {
        let why = "claims cannot be set for Resources at pod-level";
        errors.forbidden(resources.path("claims"), why);
    }
    resource::validate(&resources, Of::Pod, claims, errors);
    let own = amounts(resources.get("requests"));
    for (name, sum) in of_containers(spec, "requests") {
        let have = own.get(&name).copied().unwrap_or_else(|| Quantity::from(0));
        if sum > have && is_supported(&name) {
            let path = format!("{}[{name}]", resources.path("requests"));
            let why =
                format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.invalid(path, &have.to_string().into(), &why);
        }
    }
    let limits = amounts(resources.get("limits"));
    for (index, container) in spec.items("containers").enumerate() {
        for (name, limit) in amounts(container.child_or_empty("resources").get("limits")) {
            if let Some(most) = limits.get(&name).filter(|most| limit > **most) {
                let path = format!("{}.containers[{index}][{name}].limits", resources.path);
                let why = format!("must be less than or equal to pod limits of {most}");
                errors.invalid(path, &limit.to_string().into(), &why);
            }
        }
    }
}

/// Whether a resource can be given to a Pod as a whole.
pub(crate) fn is_supported(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// A map of quantities; what does not parse is left out.
pub(crate) fn amounts(value: Option<&Value>) -> Amounts {
    let map = value.and_then(Value::as_object).into_iter().flatten();
    map.filter_map(|(name, v)| Some((name.clone(), Quantity::from_value(v).ok()?))).collect()
}

/// What the containers of a Pod need together: the sum of those that stay, and no less than any that runs before
/// them needs.
pub(crate) fn of_containers(spec: &At<'_>, key: &str) -> Amounts {
    let of = |container: &At<'_>| amounts(container.child_or_empty("resources").get(key));
    let mut sum = Amounts::new();
    for container in spec.items("containers") {
        add(&mut sum, of(&container));
    }
    let (mut staying, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.items("initContainers") {
        let mut own = of(&container);
        if container.text("restartPolicy") == "Always" {
            add(&mut sum, own.clone());
            add(&mut staying, own);
            own = staying.clone();
        } else {
            add(&mut own, staying.clone());
        }
        raise(&mut peak, own);
    }
    raise(&mut sum, peak);
    sum
}

/// What a Pod needs: of its own where it says so, else of its containers, and the overhead.
pub(crate) fn of_pod(spec: &Object, key: &str) -> Amounts {
    let spec = At::new(spec, "");
    let mut sum = of_containers(&spec, key);
    for (name, amount) in amounts(spec.child_or_empty("resources").get(key)) {
        if is_supported(&name) {
            sum.insert(name, amount);
        }
    }
    let overhead = amounts(spec.get("overhead"));
    // A limit is raised by the overhead only where there is one.
    let overhead =
        overhead.into_iter().filter(|(name, _)| key == "requests" || sum.contains_key(name));
    let overhead: Amounts = overhead.collect();
    add(&mut sum, overhead);
    sum
}

/// Adds amounts.
pub(crate) fn add(sum: &mut Amounts, more: Amounts) {
    for (name, amount) in more {
        let entry = sum.entry(name).or_insert_with(|| Quantity::from(0));
        *entry = entry.plus(amount);
    }
}

fn raise(most: &mut Amounts, other: Amounts) {
    for (name, amount) in other {
        let entry = most.entry(name).or_insert(amount);
        if amount > *entry {
            *entry = amount;
        }
    }
}
