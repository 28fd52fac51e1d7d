//! `ResourceQuotas` and `LimitRanges`: what such an object may say. What they do to others is admission's.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_object::quantity::Quantity;
use quadrille_object::schema::shown_json;
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::rules::facts::{Form, KindRules, items, part, text, value};

/// Resources that a quota may name without a domain.
const STANDARD: [&str; 22] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
    "storage",
    "hugepages-2Mi",
    "hugepages-1Gi",
];
/// Those that come in whole numbers.
const WHOLE: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// Those of which a quota for best-effort Pods may speak.
const BEST_EFFORT: [&str; 1] = ["pods"];
const OF_PODS: [&str; 10] = [
    "pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

/// The rules of quotas.
pub(crate) static QUOTAS: KindRules = KindRules {
    validate: |object, errors| {
        let empty = Object::new();
        let spec = part(object, "spec").unwrap_or(&empty);
        for (key, amounts) in [
            ("spec.hard", spec.get("hard")),
            ("status.hard", field::get(object, &["status", "hard"])),
            ("status.used", field::get(object, &["status", "used"])),
        ] {
            for (name, amount) in amounts.and_then(Value::as_object).into_iter().flatten() {
                validate_amount(&format!("{key}[{name}]"), name, amount, errors);
            }
        }
        validate_scopes(spec, errors);
        validate_scope_selector(spec, errors);
    },
    changed: |object, before, errors| {
        let of = |o| {
            let scopes = field::list(o, &["spec", "scopes"]).iter();
            scopes.filter_map(Value::as_str).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        if of(object) != of(before) {
            let shown = field::get(object, &["spec", "scopes"]).cloned().unwrap_or_default();
            errors.invalid("spec.scopes", &shown, "field is immutable");
        }
    },
    ..KindRules::PLAIN
};

fn is_hugepages(name: &str) -> bool {
    name.trim_start_matches("requests.").starts_with("hugepages-")
}

fn validate_amount(at: &str, name: &str, amount: &Value, errors: &mut Errors) {
    errors.invalid_each(at, name, Form::Qualified.problems(name));
    if !name.contains('/') && !STANDARD.contains(&name) && !is_hugepages(name) {
        errors.invalid(at, &name.into(), "must be a standard resource for quota");
    }
    let Ok(quantity) = Quantity::from_value(amount) else { return };
    if quantity.is_negative() {
        errors.invalid(at, amount, "must be greater than or equal to 0");
    }
    if WHOLE.contains(&name) && quantity.millis() % 1000 != 0 {
        errors.invalid(at, amount, "must be an integer");
    }
}

/// Whether a quota of a scope may speak of a resource.
fn fits(scope: &str, name: &str) -> bool {
    match scope {
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => OF_PODS.contains(&name) || is_hugepages(name),
        "BestEffort" => BEST_EFFORT.contains(&name),
        "VolumeAttributesClass" => {
            matches!(name, "persistentvolumeclaims" | "requests.storage" | "storage")
        }
        _ => true,
    }
}

/// The resources of a quota that have no domain: no more than there are standard ones.
fn standard_names(spec: &Object) -> Vec<&str> {
    let names = part(spec, "hard").into_iter().flatten().map(|(name, _)| name.as_str());
    names.filter(|name| STANDARD.contains(name)).collect()
}

fn validate_scopes(spec: &Object, errors: &mut Errors) {
    let list = field::list(spec, &["scopes"]);
    let scopes: BTreeSet<&str> = list.iter().filter_map(Value::as_str).collect();
    let names = standard_names(spec);
    // The whole list is shown each time: it is written once, and once no more of it is told, nothing is.
    let shown = shown_json(list);
    for scope in list.iter().filter_map(Value::as_str) {
        if errors.0.is_full() {
            return;
        }
        if !SCOPES.contains(&scope) {
            errors.invalid_shown("spec.scopes", &shown, "unsupported scope");
        }
        for _ in names.iter().filter(|name| !fits(scope, name)) {
            errors.invalid_shown("spec.scopes", &shown, "unsupported scope applied to resource");
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(one) && scopes.contains(other) {
            errors.invalid_shown("spec.scopes", &shown, "conflicting scopes");
        }
    }
}

fn validate_scope_selector(spec: &Object, errors: &mut Errors) {
    let Some(selector) = part(spec, "scopeSelector") else { return };
    let at = "spec.scopeSelector";
    let (names, shown) = (standard_names(spec), shown_json(selector));
    let mut scopes = BTreeSet::new();
    for (at, requirement) in items(selector, "matchExpressions", at) {
        if errors.0.is_full() {
            return;
        }
        let scope = text(requirement, "scopeName");
        scopes.insert(scope);
        if !SCOPES.contains(&scope) {
            errors.invalid(format!("{at}.scopeName"), &scope.into(), "unsupported scope");
        }
        for _ in names.iter().filter(|name| !fits(scope, name)) {
            let why = "unsupported scope applied to resource";
            errors.invalid_shown("spec.scopeSelector", &shown, why);
        }
        let operator = text(requirement, "operator");
        let plain = !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if plain && operator != "Exists" {
            let why = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                       ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                       ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(format!("{at}.operator"), &operator.into(), why);
        }
        let values = field::list(requirement, &["values"]);
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(format!("{at}.values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector";
                errors.invalid(format!("{at}.values"), &Value::Array(values.to_vec()), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let why = "not a valid selector operator";
                errors.invalid(format!("{at}.operator"), &other.into(), why);
            }
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(one) && scopes.contains(other) {
            errors.invalid_shown("spec.scopeSelector", &shown, "conflicting scopes");
        }
    }
}

/// The rules of limit ranges.
pub(crate) static LIMIT_RANGES: KindRules = KindRules {
    default: |object| {
        let limits = object.get_mut("spec").and_then(|s| s.get_mut("limits"));
        let limits = limits.and_then(Value::as_array_mut).into_iter().flatten();
        for limit in limits.filter_map(Value::as_object_mut) {
            if text(limit, "type") == "Container" {
                inherit(limit, "default", "max");
                inherit(limit, "defaultRequest", "default");
                inherit(limit, "defaultRequest", "min");
            }
        }
    },
    validate: |object, errors| {
        let empty = Object::new();
        let mut types = BTreeSet::new();
        for (at, limit) in items(part(object, "spec").unwrap_or(&empty), "limits", "spec") {
            let kind = text(limit, "type");
            errors.invalid_each(&format!("{at}.type"), kind, Form::Qualified.problems(kind));
            let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind);
            if !kind.contains('/') && !standard {
                let why = "must be a standard limit type or fully qualified";
                errors.invalid(format!("{at}.type"), &kind.into(), why);
            }
            if !types.insert(kind) {
                errors.duplicate(format!("{at}.type"), &kind.into());
            }
            validate_limit(&at, limit, kind, errors);
        }
    },
    ..KindRules::PLAIN
};

/// Fills the missing amounts of one map from another.
fn inherit(limit: &mut Object, to: &str, from: &str) {
    let Some(source) = part(limit, from).filter(|s| !s.is_empty()).cloned() else { return };
    let target = field::map_mut(limit, &[to]);
    for (name, amount) in source {
        target.entry(name).or_insert(amount);
    }
}

fn validate_limit(at: &str, limit: &Object, kind: &str, errors: &mut Errors) {
    const PARTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    if kind == "Pod" {
        for key in ["default", "defaultRequest"] {
            if value(limit, key).is_some() {
                let why = "may not be specified when `type` is 'Pod'";
                errors.forbidden(format!("{at}.{key}"), why);
            }
        }
    }
    let mut names: BTreeSet<&String> = BTreeSet::new();
    for key in PARTS {
        let skipped = kind == "Pod" && key.starts_with("default");
        for (name, _) in part(limit, key).into_iter().flatten().filter(|_| !skipped) {
            names.insert(name);
            let at = format!("{at}.{key}[{name}]");
            errors.invalid_each(&at, name, Form::Qualified.problems(name));
            let standard = ["cpu", "memory", "ephemeral-storage", "storage"];
            if !name.contains('/') && !standard.contains(&name.as_str()) && !is_hugepages(name) {
                let why = "must be a standard resource type or fully qualified";
                errors.invalid(&at, &name.as_str().into(), why);
            }
        }
    }
    if kind == "PersistentVolumeClaim" {
        let has = |key: &str| part(limit, key).is_some_and(|m| m.contains_key("storage"));
        if !has("min") && !has("max") {
            let why =
                "either minimum or maximum storage value is required, but neither was provided";
            errors.required(format!("{at}.limits"), why);
        }
    }
    for name in names {
        let amounts: BTreeMap<&str, Amount<'_>> = PARTS
            .iter()
            .filter_map(|key| {
                let shown = part(limit, key)?.get(name)?;
                Some((*key, Amount { shown, quantity: Quantity::from_value(shown).ok()? }))
            })
            .collect();
        compare(at, name, &amounts, errors);
    }
}

struct Amount<'a> {
    shown: &'a Value,
    quantity: Quantity,
}

/// The bounds of one resource against each other, in Kubernetes' words and with the values that it shows.
fn compare(at: &str, name: &str, amounts: &BTreeMap<&str, Amount<'_>>, errors: &mut Errors) {
    // What is larger than what, under which field, which of the two is shown, and what to say of them.
    const RULES: [(&str, &str, &str, &str, &str); 6] = [
        ("min", "max", "min", "min", "min value {} is greater than max value {}"),
        (
            "min",
            "defaultRequest",
            "defaultRequest",
            "defaultRequest",
            "min value {} is greater than default request value {}",
        ),
        (
            "defaultRequest",
            "max",
            "defaultRequest",
            "defaultRequest",
            "default request value {} is greater than max value {}",
        ),
        (
            "defaultRequest",
            "default",
            "defaultRequest",
            "defaultRequest",
            "default request value {} is greater than default limit value {}",
        ),
        ("min", "default", "default", "min", "min value {} is greater than default value {}"),
        ("default", "max", "default", "max", "default value {} is greater than max value {}"),
    ];
    for (large, small, field, shown, words) in RULES {
        let (Some(a), Some(b)) = (amounts.get(large), amounts.get(small)) else { continue };
        if a.quantity > b.quantity
            && let Some(shown) = amounts.get(shown)
        {
            let why = words.replacen("{}", &a.quantity.to_string(), 1);
            let why = why.replacen("{}", &b.quantity.to_string(), 1);
            errors.invalid(format!("{at}.{field}[{name}]"), shown.shown, &why);
        }
    }
    let Some(ratio) = amounts.get("maxLimitRequestRatio") else { return };
    let place = format!("{at}.maxLimitRequestRatio[{name}]");
    if ratio.quantity < Quantity::from(1) {
        let why = format!("ratio {} is less than 1", ratio.quantity);
        errors.invalid(&place, ratio.shown, &why);
    }
    if let (Some(min), Some(max)) = (amounts.get("min"), amounts.get("max")) {
        let least = i128::from(min.quantity.millis());
        let (wanted, most) =
            (i128::from(ratio.quantity.millis()), i128::from(max.quantity.millis()));
        if least > 0 && wanted * least > most * 1000 {
            let why = format!(
                "ratio {} is greater than max/min = {}",
                ratio.quantity,
                decimal(most, least)
            );
            errors.invalid(place, ratio.shown, &why);
        }
    }
}

/// A quotient with six digits behind its point.
fn decimal(a: i128, b: i128) -> String {
    let millionths = a * 1_000_000 / b;
    format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(quota: &Value) -> usize {
        let mut errors = Errors::default();
        (QUOTAS.validate)(quota.as_object().expect("a map"), &mut errors);
        errors.0.iter().map(|error| error.field.len() + error.message.len()).sum()
    }

    #[test]
    fn many_scopes_that_nobody_knows_are_refused_in_few_words() {
        let scopes: Vec<String> = (0..20_000).map(|n| format!("scope{n}")).collect();
        let hard = json!({"pods": 1, "secrets": 1, "services": 1});
        let listed = json!({"spec": {"hard": hard, "scopes": scopes}});
        let select = |scope| json!({"scopeName": scope, "operator": "Exists"});
        let known: Vec<Value> = vec![select("Terminating"); 20_000];
        let selected =
            json!({"spec": {"hard": hard, "scopeSelector": {"matchExpressions": known}}});
        for quota in [listed, selected] {
            let size = told(&quota);
            assert!((1..2_000_000).contains(&size), "{size} bytes");
        }
    }
}
