//! `HorizontalPodAutoscalers`, in both of their versions; they are checked in v2's form.

use quadrille_object::quantity::Quantity;
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::rules::facts::{Form, KindRules, items, part, text, value};

const METRIC_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
const PERIOD_SECONDS_MAX: i64 = 1800;
const WINDOW_SECONDS_MAX: i64 = 3600;
/// Without metrics, the processor's load is held there.
const LOAD_PERCENT: i64 = 80;

/// The rules of `HorizontalPodAutoscalers`.
pub(crate) static AUTOSCALERS: KindRules = KindRules {
    default: |object| {
        if text(object, "apiVersion") == "autoscaling/v1" {
            field::default(field::map_mut(object, &["spec"]), "minReplicas", 1);
        } else {
            defaults(object);
        }
    },
    validate,
    ..KindRules::PLAIN
};

/// Defaults of v2's form.
pub(crate) fn defaults(object: &mut Object) {
    let spec = field::map_mut(object, &["spec"]);
    field::default(spec, "minReplicas", 1);
    if field::list(spec, &["metrics"]).is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": LOAD_PERCENT});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        spec.insert("metrics".to_owned(), json!([metric]));
    }
    if part(spec, "behavior").is_none() {
        return;
    }
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let up = field::map_mut(spec, &["behavior", "scaleUp"]);
    field::default(up, "stabilizationWindowSeconds", 0);
    field::default(up, "selectPolicy", "Max");
    field::default(up, "policies", json!([pods, percent]));
    let down = field::map_mut(spec, &["behavior", "scaleDown"]);
    field::default(down, "selectPolicy", "Max");
    field::default(down, "policies", json!([percent]));
}

fn validate(object: &Object, errors: &mut Errors) {
    let Some(spec) = part(object, "spec") else { return };
    let number = |key: &str| spec.get(key).and_then(Value::as_i64);
    let least = number("minReplicas");
    if let Some(least) = least.filter(|n| *n < 1) {
        errors.invalid("spec.minReplicas", &least.into(), "must be greater than or equal to 1");
    }
    let most = number("maxReplicas").unwrap_or(0);
    if most < 1 {
        errors.required("spec.maxReplicas", "must be set and greater than 0");
    }
    if least.is_some_and(|least| most < least) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.invalid("spec.maxReplicas", &most.into(), why);
    }
    let target = part(spec, "scaleTargetRef").cloned().unwrap_or_default();
    validate_reference("spec.scaleTargetRef", &target, errors);
    let api_version = text(&target, "apiVersion");
    let legacy = api_version == "v1" && text(&target, "kind") == "ReplicationController";
    let parts = api_version.split('/').count();
    if parts > 2 {
        let why = format!("unexpected GroupVersion string: {api_version}");
        errors.invalid("spec.scaleTargetRef.apiVersion", &api_version.into(), &why);
    } else if parts < 2 && !legacy {
        let why = "apiVersion must specify API group";
        errors.invalid("spec.scaleTargetRef.apiVersion", &api_version.into(), why);
    }
    for (at, metric) in items(spec, "metrics", "spec") {
        validate_metric(&at, metric, errors);
    }
    for key in ["scaleUp", "scaleDown"] {
        if let Some(rules) = part(spec, "behavior").and_then(|b| part(b, key)) {
            validate_scaling(&format!("spec.behavior.{key}"), rules, errors);
        }
    }
}

fn validate_reference(at: &str, target: &Object, errors: &mut Errors) {
    for key in ["kind", "name"] {
        match text(target, key) {
            "" => errors.required(format!("{at}.{key}"), ""),
            given => {
                let problems = Form::PathSegment.problems(given);
                errors.invalid_each(&format!("{at}.{key}"), given, problems);
            }
        }
    }
}

fn validate_metric(at: &str, metric: &Object, errors: &mut Errors) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        errors.required(format!("{at}.type"), "must specify a metric source type");
    }
    if !METRIC_TYPES.contains(&kind) {
        errors.unsupported(format!("{at}.type"), &kind.into(), &METRIC_TYPES);
    }
    let mut present = Vec::new();
    for source in ["object", "external", "pods", "resource", "containerResource"] {
        let Some(of) = part(metric, source) else { continue };
        present.push(source);
        if present.len() == 1 {
            validate_source(&format!("{at}.{source}"), source, of, errors);
        }
    }
    let expected = match kind {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "External" => "external",
        "ContainerResource" => "containerResource",
        _ => {
            errors.unsupported(format!("{at}.type"), &kind.into(), &METRIC_TYPES);
            ""
        }
    };
    if !expected.is_empty() && !present.contains(&expected) {
        let why = "must populate information for the given metric source";
        errors.required(format!("{at}.{expected}"), why);
    }
    if present.len() != 1 {
        for other in present.into_iter().filter(|p| *p != expected) {
            errors.forbidden(format!("{at}.{other}"), "must populate the given metric source only");
        }
    }
}

fn validate_source(at: &str, kind: &str, source: &Object, errors: &mut Errors) {
    let target = part(source, "target").cloned().unwrap_or_default();
    let has = |key: &str| value(&target, key).is_some();
    if kind == "object" {
        let described = part(source, "describedObject").cloned().unwrap_or_default();
        validate_reference(&format!("{at}.describedObject"), &described, errors);
    }
    if matches!(kind, "resource" | "containerResource") {
        if text(source, "name").is_empty() {
            errors.required(format!("{at}.name"), "must specify a resource name");
        }
        if kind == "containerResource" && text(source, "container").is_empty() {
            errors.required(format!("{at}.container"), "must specify a container");
        }
    } else {
        validate_identifier(&format!("{at}.metric"), source, errors);
    }
    validate_target(&format!("{at}.target"), &target, errors);
    match kind {
        "object" if !has("value") && !has("averageValue") => {
            let why = "must set either a target value or averageValue";
            errors.required(format!("{at}.target.averageValue"), why);
        }
        "external" if !has("value") && !has("averageValue") => {
            let why = "must set either a target value for metric or a per-pod target";
            errors.required(format!("{at}.target.averageValue"), why);
        }
        "external" if has("value") && has("averageValue") => {
            let why = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(format!("{at}.target.value"), why);
        }
        "pods" if !is_positive(target.get("averageValue")) => {
            let why = "must specify a positive target averageValue";
            errors.required(format!("{at}.target.averageValue"), why);
        }
        "resource" | "containerResource" => {
            if !has("averageUtilization") && !has("averageValue") {
                let why = "must set either a target raw value or a target utilization";
                errors.required(format!("{at}.target.averageUtilization"), why);
            } else if has("averageUtilization") && has("averageValue") {
                let why = "may not set both a target raw value and a target utilization";
                errors.forbidden(format!("{at}.target.averageValue"), why);
            }
        }
        _ => {}
    }
}

fn validate_identifier(at: &str, source: &Object, errors: &mut Errors) {
    match part(source, "metric").map_or("", |metric| text(metric, "name")) {
        "" => errors.required(format!("{at}.name"), "must specify a metric name"),
        name => {
            errors.invalid_each(&format!("{at}.name"), name, Form::PathSegment.problems(name));
        }
    }
}

fn validate_target(at: &str, target: &Object, errors: &mut Errors) {
    match text(target, "type") {
        "" => errors.required(format!("{at}.type"), "must specify a metric target type"),
        "Utilization" | "Value" | "AverageValue" => {}
        other => {
            let why = "must be either Utilization, Value, or AverageValue";
            errors.invalid(format!("{at}.type"), &other.into(), why);
        }
    }
    for key in ["value", "averageValue"] {
        if let Some(amount) = value(target, key)
            && !is_positive(Some(amount))
        {
            errors.invalid(format!("{at}.{key}"), amount, "must be positive");
        }
    }
    let load = target.get("averageUtilization").and_then(Value::as_i64);
    if let Some(load) = load.filter(|load| *load < 1) {
        errors.invalid(format!("{at}.averageUtilization"), &load.into(), "must be greater than 0");
    }
}

fn is_positive(amount: Option<&Value>) -> bool {
    let zero = Quantity::from(0);
    amount.and_then(|a| Quantity::from_value(a).ok()).is_some_and(|quantity| quantity > zero)
}

fn validate_scaling(at: &str, rules: &Object, errors: &mut Errors) {
    let number = |of: &Object, key: &str| of.get(key).and_then(Value::as_i64);
    if let Some(window) = number(rules, "stabilizationWindowSeconds") {
        let at = format!("{at}.stabilizationWindowSeconds");
        if window < 0 {
            errors.invalid(at, &window.into(), "must be greater than or equal to zero");
        } else if window > WINDOW_SECONDS_MAX {
            let why = format!("must be less than or equal to {WINDOW_SECONDS_MAX}");
            errors.invalid(at, &window.into(), &why);
        }
    }
    let known = ["Disabled", "Max", "Min"];
    if let Some(policy) = value(rules, "selectPolicy")
        && !policy.as_str().is_some_and(|text| known.contains(&text))
    {
        errors.unsupported(format!("{at}.selectPolicy"), policy, &known);
    }
    if let Some(tolerance) = value(rules, "tolerance")
        && Quantity::from_value(tolerance).is_ok_and(Quantity::is_negative)
    {
        errors.invalid(format!("{at}.tolerance"), tolerance, "must be greater or equal to zero");
    }
    let policies = items(rules, "policies", at);
    if policies.is_empty() {
        errors.required(format!("{at}.policies"), "must specify at least one Policy");
    }
    for (at, policy) in policies {
        let kind = text(policy, "type");
        if !matches!(kind, "Pods" | "Percent") {
            errors.unsupported(format!("{at}.type"), &kind.into(), &["Percent", "Pods"]);
        }
        for key in ["value", "periodSeconds"] {
            let given = number(policy, key).unwrap_or(0);
            let at = format!("{at}.{key}");
            if given <= 0 {
                errors.invalid(at, &given.into(), "must be greater than zero");
            } else if key == "periodSeconds" && given > PERIOD_SECONDS_MAX {
                let why = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
                errors.invalid(at, &given.into(), &why);
            }
        }
    }
}
