//! Disruption budgets, priorities and runtimes of Pods.

use std::collections::HashSet;

use quadrille_object::{GroupResource, quantity::Quantity};
use quadrille_store::{Query, Range};
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::facts::Fact::{
    Default, Immutable, Named, NotNegative, OneOf, Required, Selector,
};
use crate::rules::facts::Literal::Text;
use crate::rules::facts::{Form, KindRules, part};
use crate::rules::pod_template::{self, At, validate_tolerations};
use crate::status::Status;
use crate::write::{Attempt, parse};

/// The rules of disruption budgets.
pub(crate) static BUDGETS: KindRules = KindRules {
    facts: &[
        Selector("spec.selector"),
        OneOf("spec.unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"]),
        NotNegative("status.currentHealthy"),
        NotNegative("status.desiredHealthy"),
        NotNegative("status.disruptionsAllowed"),
        NotNegative("status.expectedPods"),
    ],
    validate: |object, errors| {
        let of = |key| field::get(object, &["spec", key]);
        let (least, most) = (of("minAvailable"), of("maxUnavailable"));
        if least.is_some() && most.is_some() {
            let shown = |key| field::get(object, &["spec", key]).unwrap_or(&Value::Null);
            // The names and the order are those of the type that Kubernetes prints here.
            let spec = format!(
                "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
                shown("minAvailable"),
                shown("selector"),
                shown("maxUnavailable"),
                shown("unhealthyPodEvictionPolicy"),
            );
            errors.invalid_shown(
                "spec",
                &spec,
                "minAvailable and maxUnavailable cannot be both set",
            );
        }
        for (key, value) in [("minAvailable", least), ("maxUnavailable", most)] {
            let value = value.unwrap_or(&Value::Null);
            pod_template::validate_int_or_percent(value, &format!("spec.{key}"), true, errors);
        }
    },
    ..KindRules::PLAIN
};

/// Priorities that the system itself uses.
const SYSTEM_PRIORITIES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
const USER_PRIORITY_MAX: i64 = 1_000_000_000;

/// The rules of priority classes.
pub(crate) static PRIORITY_CLASSES: KindRules = KindRules {
    facts: &[
        Default("preemptionPolicy", Text("PreemptLowerPriority")),
        OneOf("preemptionPolicy", &["PreemptLowerPriority", "Never"]),
        Immutable("preemptionPolicy"),
    ],
    create: |attempt, object| {
        metadata::of_mut(object).insert("generation".to_owned(), 1.into());
        only_default(attempt, object)
    },
    update: |attempt, object, _| only_default(attempt, object),
    delete: |attempt, before| {
        let name = metadata::text(before, "name");
        if SYSTEM_PRIORITIES.iter().any(|(known, _)| *known == name) {
            let why = "this is a system priority class and cannot be deleted";
            return Err(Status::forbidden(&attempt.resource.qualified(), name, why));
        }
        Ok(())
    },
    validate: validate_priority,
    changed: |object, before, errors| {
        let of = |o: &Object| o.get("value").and_then(Value::as_i64).unwrap_or(0);
        if of(object) != of(before) {
            errors.forbidden("value", "may not be changed in an update.");
        }
    },
    ..KindRules::PLAIN
};

/// At most one class is the default of all Pods.
fn only_default(attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
    let is_default = |o: &Object| o.get("globalDefault").and_then(Value::as_bool) == Some(true);
    if !is_default(object) {
        return Ok(());
    }
    let name = metadata::text(object, "name");
    let all = Range::all(GroupResource::new("scheduling.k8s.io", "priorityclasses"));
    for other in attempt.view.list(&Query::whole(all)) {
        if *other.key.name != *name && is_default(&parse(&other)?) {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.key.name
            );
            return Err(Status::forbidden(&attempt.resource.qualified(), name, &why));
        }
    }
    Ok(())
}

fn validate_priority(object: &Object, errors: &mut Errors) {
    let name = metadata::text(object, "name");
    let value = object.get("value").and_then(Value::as_i64).unwrap_or(0);
    if !name.starts_with("system-") {
        if value > USER_PRIORITY_MAX {
            let why =
                format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}");
            errors.forbidden("value", &why);
        }
        return;
    }
    let problem = match SYSTEM_PRIORITIES.iter().find(|(known, _)| *known == name) {
        None => format!("{name} is not a known system priority class"),
        Some((_, wanted)) if *wanted != value => {
            format!("value of {name} PriorityClass must be {wanted}")
        }
        Some(_) if object.get("globalDefault").and_then(Value::as_bool) == Some(true) => {
            format!("globalDefault of {name} PriorityClass must be false")
        }
        Some(_) => return,
    };
    let why = format!(
        "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
    );
    errors.forbidden("metadata.name", &why);
}

/// The rules of runtime classes.
pub(crate) static RUNTIME_CLASSES: KindRules = KindRules {
    facts: &[Immutable("handler")],
    validate: |object, errors| {
        let handler = object.get("handler").and_then(Value::as_str).unwrap_or_default();
        errors.invalid_each("handler", handler, Form::Label.problems(handler));
        let fixed = field::get(object, &["overhead", "podFixed"]).and_then(Value::as_object);
        for (name, amount) in fixed.into_iter().flatten() {
            if Quantity::from_value(amount).is_ok_and(Quantity::is_negative) {
                let at = format!("overhead.podFixed[{name}]");
                errors.invalid(at, amount, "must be greater than or equal to 0");
            }
        }
        let Some(scheduling) = part(object, "scheduling") else { return };
        if let Some(labels) = part(scheduling, "nodeSelector") {
            let texts = labels.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
            let found = quadrille_object::validate_name::labels("scheduling.nodeSelector", texts);
            errors.0.extend(found);
        }
        let at = At::new(scheduling, "scheduling");
        validate_tolerations(&at, errors);
        let mut seen = HashSet::new();
        for (index, toleration) in at.list("tolerations").iter().enumerate() {
            if !seen.insert(toleration) {
                errors.duplicate(at.index("tolerations", index), toleration);
            }
        }
    },
    ..KindRules::PLAIN
};

/// The rules of controller revisions.
pub(crate) static CONTROLLER_REVISIONS: KindRules = KindRules {
    facts: &[NotNegative("revision"), Immutable("data")],
    validate: |object, errors| {
        if field::get(object, &["data"]).is_none() {
            errors.required("data", "data is mandatory");
        }
    },
    ..KindRules::PLAIN
};

/// The rules of the services that answer for groups of the API.
pub(crate) static API_SERVICES: KindRules = KindRules {
    facts: &[
        Required("spec.version", ""),
        Named("spec.version", Form::Label),
        Named("spec.group", Form::Subdomain),
    ],
    create: |attempt, object| {
        // Groups that nobody else answers for are answered for by this host.
        if field::get(object, &["spec", "service"]).is_none() {
            let now = attempt.now.to_rfc3339();
            object.insert("status".to_owned(), json!({"conditions": [{
                "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": now,
                "message": "Local APIServices are always available",
            }]}));
        }
        Ok(())
    },
    validate: |object, errors| {
        let spec = |key| field::text(object, &["spec", key]).unwrap_or_default();
        let name = metadata::text(object, "name");
        let wanted = format!("{}.{}", spec("version"), spec("group"));
        if name != wanted {
            let why = format!("must be `spec.version+\".\"+spec.group`: \"{wanted}\"");
            errors.invalid("metadata.name", &name.into(), &why);
        }
        for (key, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
            let given = field::integer(object, &["spec", key]).unwrap_or(0);
            if given <= 0 || given > most {
                let why = format!("must be positive and less than {most}");
                errors.invalid(format!("spec.{key}"), &given.into(), &why);
            }
        }
        let secure = field::get(object, &["spec", "caBundle"]).is_some();
        let insecure = field::get(object, &["spec", "insecureSkipTLSVerify"]) == Some(&true.into());
        match field::get(object, &["spec", "service"]).and_then(Value::as_object) {
            None if secure => {
                errors.invalid(
                    "spec.caBundle",
                    &"".into(),
                    "local APIServices may not have a caBundle",
                );
            }
            None if insecure => {
                let why = "local APIServices may not have insecureSkipTLSVerify";
                errors.invalid("spec.insecureSkipTLSVerify", &true.into(), why);
            }
            None => {}
            Some(service) => {
                for key in ["namespace", "name"] {
                    if service.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
                        errors.required(format!("spec.service.{key}"), "");
                    }
                }
                if insecure && secure {
                    let why = "may not be true if caBundle is present";
                    errors.invalid("spec.insecureSkipTLSVerify", &true.into(), why);
                }
            }
        }
    },
    ..KindRules::PLAIN
};
