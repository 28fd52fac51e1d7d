//! `HorizontalPodAutoscaler`: `autoscaling/v1` has one number for the processor's load; whatever else v2 says travels in
//! annotations, as Kubernetes writes them.

use serde_json::{Map, Value, json};

use crate::field::{self, Object};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Sources of metrics: their type, and the field that holds them.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
    ("External", "external"),
];

/// Gives an `autoscaling/v1` object the form of v2.
pub(super) fn to_v2(object: &mut Object) {
    let mut take = |key: &str| {
        let annotations = object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()?;
        let text = annotations.remove(key)?;
        serde_json::from_str::<Value>(text.as_str()?).ok()
    };
    let (metrics, current) = (take(METRICS), take(CURRENT));
    let (conditions, behavior) = (take(CONDITIONS), take(BEHAVIOR));
    forget_empty(object);
    let list = |value: Option<Value>| value.and_then(|v| v.as_array().cloned()).unwrap_or_default();
    let spec = field::map_mut(object, &["spec"]);
    let mut wanted = Vec::new();
    if let Some(percent) = spec.remove("targetCPUUtilizationPercentage").filter(|p| !p.is_null()) {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        wanted.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    wanted.extend(list(metrics).iter().map(|metric| metric_to_v2(metric, "target")));
    if !wanted.is_empty() {
        spec.insert("metrics".to_owned(), wanted.into());
    }
    if let Some(behavior) = behavior.filter(Value::is_object) {
        spec.insert("behavior".to_owned(), renamed(behavior, lower));
    }
    if !object.contains_key("status") {
        return;
    }
    let status = field::map_mut(object, &["status"]);
    let mut seen = Vec::new();
    if let Some(percent) = status.remove("currentCPUUtilizationPercentage").filter(|p| !p.is_null())
    {
        let now = json!({"averageUtilization": percent});
        seen.push(json!({"type": "Resource", "resource": {"name": "cpu", "current": now}}));
    }
    seen.extend(list(current).iter().map(|metric| metric_to_v2(metric, "current")));
    if !seen.is_empty() {
        status.insert("currentMetrics".to_owned(), seen.into());
    }
    if let Some(conditions) = conditions.filter(Value::is_array) {
        status.insert("conditions".to_owned(), conditions);
    }
}

/// Gives a v2 object the form of `autoscaling/v1`.
pub(super) fn to_v1(object: &mut Object) {
    let mut notes: Vec<(&str, Value)> = Vec::new();
    let spec = field::map_mut(object, &["spec"]);
    let (percent, others) = split(spec.remove("metrics"), "target");
    if let Some(percent) = percent {
        spec.insert("targetCPUUtilizationPercentage".to_owned(), percent);
    }
    if !others.is_empty() {
        notes.push((METRICS, others.into()));
    }
    if let Some(behavior) = spec.remove("behavior").filter(Value::is_object) {
        let mut behavior = renamed(behavior, upper);
        for rules in
            behavior.as_object_mut().into_iter().flatten().filter_map(|(_, r)| r.as_object_mut())
        {
            for key in ["StabilizationWindowSeconds", "Tolerance"] {
                rules.entry(key).or_insert(Value::Null);
            }
        }
        notes.push((BEHAVIOR, behavior));
    }
    let status = field::map_mut(object, &["status"]);
    let (percent, others) = split(status.remove("currentMetrics"), "current");
    if let Some(percent) = percent {
        status.insert("currentCPUUtilizationPercentage".to_owned(), percent);
    }
    if !others.is_empty() {
        notes.push((CURRENT, others.into()));
    }
    if let Some(conditions) = status.remove("conditions").filter(|c| !c.is_null()) {
        notes.push((CONDITIONS, conditions));
    }
    for (key, value) in notes {
        let annotations = field::map_mut(object, &["metadata", "annotations"]);
        let mut text = String::new();
        write(&value, &mut text);
        annotations.insert(key.to_owned(), text.into());
    }
}

fn forget_empty(object: &mut Object) {
    let metadata = field::map_mut(object, &["metadata"]);
    if metadata.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty) {
        metadata.remove("annotations");
    }
}

/// The processor's load, if a metric asks for it, and the other metrics in v1's form. `part` is `target` or `current`.
fn split(metrics: Option<Value>, part: &str) -> (Option<Value>, Vec<Value>) {
    let mut percent = None;
    let mut others = Vec::new();
    for metric in metrics.and_then(|m| m.as_array().cloned()).unwrap_or_default() {
        let resource = metric.get("resource");
        let is_cpu = resource.and_then(|r| r.get("name")).and_then(Value::as_str) == Some("cpu");
        let load = resource.and_then(|r| r.get(part)?.get("averageUtilization")).cloned();
        match load.filter(|load| is_cpu && !load.is_null() && percent.is_none()) {
            Some(load) => percent = Some(load),
            None => others.push(metric_to_v1(&metric, part)),
        }
    }
    (percent, others)
}

/// Names of v1's numbers, by v2's, and the part they are in.
fn numbers(part: &str, kind: &str) -> [(&'static str, &'static str); 3] {
    match (part, kind) {
        ("target", "object") => {
            [("value", "targetValue"), ("averageValue", "averageValue"), ("", "")]
        }
        ("target", _) => [
            ("value", "targetValue"),
            ("averageValue", "targetAverageValue"),
            ("averageUtilization", "targetAverageUtilization"),
        ],
        (_, "object") => [("value", "currentValue"), ("averageValue", "averageValue"), ("", "")],
        _ => [
            ("value", "currentValue"),
            ("averageValue", "currentAverageValue"),
            ("averageUtilization", "currentAverageUtilization"),
        ],
    }
}

fn metric_to_v1(metric: &Value, part: &str) -> Value {
    let mut out = Map::new();
    out.insert("type".to_owned(), metric.get("type").cloned().unwrap_or_default());
    for (_, kind) in SOURCES {
        let Some(source) = metric.get(kind).and_then(Value::as_object) else { continue };
        let mut flat = Map::new();
        if let Some(target) = source.get("describedObject") {
            flat.insert("target".to_owned(), target.clone());
        }
        let metric = source.get("metric");
        if let Some(name) = metric.and_then(|m| m.get("name")) {
            flat.insert("metricName".to_owned(), name.clone());
        }
        if let Some(selector) = metric.and_then(|m| m.get("selector")).filter(|s| !s.is_null()) {
            let key = if kind == "external" { "metricSelector" } else { "selector" };
            flat.insert(key.to_owned(), selector.clone());
        }
        for key in ["name", "container"] {
            if let Some(value) = source.get(key) {
                flat.insert(key.to_owned(), value.clone());
            }
        }
        for (new, old) in numbers(part, kind) {
            let value = source.get(part).and_then(|p| p.get(new)).filter(|v| !v.is_null());
            if let Some(value) = value {
                flat.insert(old.to_owned(), value.clone());
            }
        }
        out.insert(kind.to_owned(), flat.into());
    }
    out.into()
}

fn metric_to_v2(metric: &Value, part: &str) -> Value {
    let mut out = Map::new();
    out.insert("type".to_owned(), metric.get("type").cloned().unwrap_or_default());
    for (_, kind) in SOURCES {
        let Some(flat) = metric.get(kind).and_then(Value::as_object) else { continue };
        let mut source = Map::new();
        if let Some(target) = flat.get("target") {
            source.insert("describedObject".to_owned(), target.clone());
        }
        let mut named = Map::new();
        if let Some(name) = flat.get("metricName") {
            named.insert("name".to_owned(), name.clone());
        }
        if let Some(selector) = flat.get("selector").or_else(|| flat.get("metricSelector")) {
            named.insert("selector".to_owned(), selector.clone());
        }
        if !named.is_empty() {
            source.insert("metric".to_owned(), named.into());
        }
        for key in ["name", "container"] {
            if let Some(value) = flat.get(key) {
                source.insert(key.to_owned(), value.clone());
            }
        }
        source.insert(part.to_owned(), amounts(flat, part, kind).into());
        out.insert(kind.to_owned(), source.into());
    }
    out.into()
}

fn amounts(flat: &Object, part: &str, kind: &str) -> Object {
    let mut amounts = Map::new();
    for (new, old) in numbers(part, kind) {
        if let Some(value) = flat.get(old).filter(|v| !v.is_null()) {
            amounts.insert(new.to_owned(), value.clone());
        }
    }
    if part == "target" {
        let r#type = if amounts.contains_key("averageUtilization") {
            "Utilization"
        } else if amounts.contains_key("averageValue") {
            "AverageValue"
        } else {
            "Value"
        };
        amounts.insert("type".to_owned(), r#type.into());
    }
    amounts
}

/// The same without nulls and with every key renamed: the annotation has the names of the fields of a Go type. Recursion ends where the
/// decoder's bound on depth ended the object.
fn renamed(value: Value, name: fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => {
            let given = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(given.map(|(k, v)| (name(&k), renamed(v, name))).collect())
        }
        Value::Array(items) => items.into_iter().map(|item| renamed(item, name)).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

fn lower(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

fn upper(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// The order in which Kubernetes writes the fields of what is in the annotations.
const ORDER: [&str; 32] = [
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "target",
    "kind",
    "name",
    "metricName",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "currentAverageUtilization",
    "targetAverageValue",
    "currentAverageValue",
    "selector",
    "averageValue",
    "container",
    "apiVersion",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Type",
    "Value",
];

/// Writes JSON with its fields in that order. Its depth is that of a decoded object, which is bounded.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let rank = |key: &str| ORDER.iter().position(|k| *k == key).unwrap_or(ORDER.len());
            let mut fields: Vec<(&String, &Value)> = map.iter().collect();
            fields.sort_by_key(|(key, _)| rank(key));
            out.push('{');
            for (at, (key, value)) in fields.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write(&Value::from(key.as_str()), out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write(item, out);
            }
            out.push(']');
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            out.push_str(&scalar.to_string());
        }
    }
}
