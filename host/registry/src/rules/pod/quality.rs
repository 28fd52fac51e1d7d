//! The quality of service that a Pod's requests and limits amount to.

use quadrille_object::quantity::Quantity;

use crate::rules::pod_template::{Amounts, At, add_amounts, amounts};

/// Guaranteed when cpu and memory are limited everywhere to what is requested; `BestEffort` when nothing is asked for.
pub(super) fn of(spec: &At<'_>) -> &'static str {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    let mut limited = true;
    let mut count = |resources: &At<'_>| {
        add_amounts(&mut requests, computing(resources, "requests"));
        let own = computing(resources, "limits");
        limited &= own.len() == 2;
        add_amounts(&mut limits, own);
    };
    let overall = spec.child_or_empty("resources");
    if overall.has("requests") || overall.has("limits") {
        count(&overall);
    } else {
        for list in ["initContainers", "containers"] {
            for container in spec.items(list) {
                count(&container.child_or_empty("resources"));
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if limited && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn computing(resources: &At<'_>, key: &str) -> Amounts {
    let mut amounts = amounts(resources.get(key));
    amounts.retain(|name, amount| {
        matches!(name.as_str(), "cpu" | "memory") && *amount > Quantity::from(0)
    });
    amounts
}
