//! What can be wrong with a Pod's specification, as far as it does not need a node.

use std::collections::BTreeSet;

use quadrille_object::quantity::Quantity;
use quadrille_object::{FieldError, FieldErrorKind, validate_name};
use serde_json::Value;

use crate::field::{self, Errors, Object};

const STANDARD_RESOURCES: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "storage"];

/// Checks the `PodTemplateSpec` at a path.
pub(crate) fn validate_template(object: &Object, path: &[&str], errors: &mut Errors) {
    let at = path.join(".");
    let empty = Object::new();
    let template = field::get(object, path).and_then(Value::as_object).unwrap_or(&empty);
    let metadata = field::get(template, &["metadata"]).and_then(Value::as_object);
    for (key, value) in
        metadata.and_then(|m| m.get("labels")).and_then(Value::as_object).into_iter().flatten()
    {
        // kube-apiserver leaves `metadata` out of these two paths.
        let one = [(key.as_str(), value.as_str().unwrap_or_default())];
        errors.0.extend(validate_name::labels(&format!("{at}.labels"), one));
    }
    let annotations = metadata.and_then(|m| m.get("annotations")).and_then(Value::as_object);
    if let Some(annotations) = annotations {
        let texts = annotations.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
        errors.0.extend(validate_name::annotations(&format!("{at}.annotations"), texts));
    }
    let spec = field::get(template, &["spec"]).and_then(Value::as_object).unwrap_or(&empty);
    validate_spec(spec, &format!("{at}.spec"), errors);
}

/// Checks a `PodSpec`; `at` is its path.
pub(crate) fn validate_spec(spec: &Object, at: &str, errors: &mut Errors) {
    let volumes = validate_volumes(spec, at, errors);
    let mut names = BTreeSet::new();
    if field::list(spec, &["containers"]).is_empty() {
        errors.required(format!("{at}.containers"), "");
    }
    for list in ["containers", "initContainers"] {
        for (index, container) in field::list(spec, &[list]).iter().enumerate() {
            let at = format!("{at}.{list}[{index}]");
            let Some(container) = container.as_object() else { continue };
            validate_container(container, &at, &volumes, errors);
            let name = field::text(container, &["name"]).unwrap_or_default();
            if !name.is_empty() && !names.insert(name.to_owned()) {
                errors.duplicate(format!("{at}.name"), &name.into());
            }
        }
    }
    let known = [
        ("restartPolicy", &["Always", "OnFailure", "Never"][..]),
        ("dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"][..]),
    ];
    for (key, known) in known {
        if let Some(value) = spec.get(key)
            && !value.as_str().is_some_and(|text| known.contains(&text))
        {
            errors.unsupported(format!("{at}.{key}"), value, known);
        }
    }
    if let Some(selector) = field::get(spec, &["nodeSelector"]).and_then(Value::as_object) {
        let texts = selector.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
        errors.0.extend(validate_name::labels(&format!("{at}.nodeSelector"), texts));
    }
    for key in ["hostname", "subdomain"] {
        if let Some(name) = field::text(spec, &[key]).filter(|n| !n.is_empty()) {
            errors.invalid_each(&format!("{at}.{key}"), name, validate_name::dns_label(name));
        }
    }
    if let Some(name) = field::text(spec, &["serviceAccountName"]).filter(|n| !n.is_empty()) {
        let problems = validate_name::dns_subdomain(name);
        errors.invalid_each(&format!("{at}.serviceAccountName"), name, problems);
    }
    if let Some(seconds) = field::integer(spec, &["activeDeadlineSeconds"]).filter(|s| *s < 1) {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.invalid(format!("{at}.activeDeadlineSeconds"), &seconds.into(), why);
    }
    for (index, gate) in field::list(spec, &["readinessGates"]).iter().enumerate() {
        let name = gate.get("conditionType").and_then(Value::as_str).unwrap_or_default();
        let at = format!("{at}.readinessGates[{index}].conditionType");
        errors.invalid_each(&at, name, validate_name::qualified_name(name));
    }
    validate_tolerations(spec, at, errors);
}

fn validate_tolerations(spec: &Object, at: &str, errors: &mut Errors) {
    for (index, toleration) in field::list(spec, &["tolerations"]).iter().enumerate() {
        let at = format!("{at}.tolerations[{index}]");
        let text = |key: &str| toleration.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("key").is_empty() && text("operator") != "Exists" {
            let shown = if text("operator").is_empty() { "" } else { text("operator") };
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(format!("{at}.operator"), &shown.into(), why);
        }
        if !text("key").is_empty() {
            let problems = validate_name::qualified_name(text("key"));
            errors.invalid_each(&format!("{at}.key"), text("key"), problems);
        }
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !text("effect").is_empty() && !known.contains(&text("effect")) {
            errors.unsupported(format!("{at}.effect"), &text("effect").into(), &known);
        }
    }
}

fn validate_volumes<'a>(spec: &'a Object, at: &str, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (index, volume) in field::list(spec, &["volumes"]).iter().enumerate() {
        let at = format!("{at}.volumes[{index}]");
        let Some(volume) = volume.as_object() else { continue };
        let name = field::text(volume, &["name"]).unwrap_or_default();
        if name.is_empty() {
            errors.required(format!("{at}.name"), "");
        } else {
            errors.invalid_each(&format!("{at}.name"), name, validate_name::dns_label(name));
        }
        if !names.insert(name) {
            errors.duplicate(format!("{at}.name"), &name.into());
        }
        let mut sources = volume.keys().filter(|key| *key != "name").collect::<Vec<_>>();
        sources.sort_by_key(|source| SOURCES.iter().position(|s| *s == source.as_str()));
        for extra in sources.iter().skip(1) {
            errors.forbidden(format!("{at}.{extra}"), "may not specify more than 1 volume type");
        }
    }
    names
}

/// Volume sources in the order in which kube-apiserver looks at them.
const SOURCES: [&str; 8] = [
    "emptyDir",
    "hostPath",
    "secret",
    "nfs",
    "persistentVolumeClaim",
    "downwardAPI",
    "configMap",
    "projected",
];

fn validate_container(container: &Object, at: &str, volumes: &BTreeSet<&str>, errors: &mut Errors) {
    match field::text(container, &["name"]).unwrap_or_default() {
        "" => errors.required(format!("{at}.name"), ""),
        name => errors.invalid_each(&format!("{at}.name"), name, validate_name::dns_label(name)),
    }
    match field::text(container, &["image"]).unwrap_or_default() {
        "" => errors.required(format!("{at}.image"), ""),
        image if image.trim() != image => {
            let why = "must not have leading or trailing whitespace";
            errors.invalid(format!("{at}.image"), &image.into(), why);
        }
        _ => {}
    }
    validate_ports(container, at, errors);
    for (index, env) in field::list(container, &["env"]).iter().enumerate() {
        let name = env.get("name").and_then(Value::as_str).unwrap_or_default();
        let at = format!("{at}.env[{index}].name");
        if name.is_empty() {
            errors.required(at, "");
        } else if !name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
            let why = "a valid environment variable name must consist only of printable ASCII characters \
                       other than '='";
            errors.invalid(at, &name.into(), why);
        }
    }
    for (index, mount) in field::list(container, &["volumeMounts"]).iter().enumerate() {
        let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or_default();
        let at = format!("{at}.volumeMounts[{index}]");
        if text("name").is_empty() {
            errors.required(format!("{at}.name"), "");
        } else if !volumes.contains(text("name")) {
            let message = format!("Not found: {}", Value::from(text("name")));
            errors.0.push(FieldError::new(FieldErrorKind::NotFound, format!("{at}.name"), message));
        }
        if text("mountPath").is_empty() {
            errors.required(format!("{at}.mountPath"), "");
        }
    }
    if let Some(policy) = container.get("imagePullPolicy") {
        let known = ["Always", "IfNotPresent", "Never"];
        if !policy.as_str().is_some_and(|text| known.contains(&text)) {
            errors.unsupported(format!("{at}.imagePullPolicy"), policy, &known);
        }
    }
    validate_resources(container, at, errors);
}

fn validate_ports(container: &Object, at: &str, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, port) in field::list(container, &["ports"]).iter().enumerate() {
        let at = format!("{at}.ports[{index}]");
        let Some(port) = port.as_object() else { continue };
        if let Some(name) = field::text(port, &["name"]).filter(|n| !n.is_empty())
            && !names.insert(name)
        {
            errors.duplicate(format!("{at}.name"), &name.into());
        }
        match field::integer(port, &["containerPort"]).unwrap_or(0) {
            0 => errors.required(format!("{at}.containerPort"), ""),
            number => validate_port(number, &format!("{at}.containerPort"), errors),
        }
        let known = ["SCTP", "TCP", "UDP"];
        if let Some(protocol) = port.get("protocol")
            && !protocol.as_str().is_some_and(|text| known.contains(&text))
        {
            errors.unsupported(format!("{at}.protocol"), protocol, &known);
        }
    }
}

/// Checks a port's number.
pub(crate) fn validate_port(number: i64, at: &str, errors: &mut Errors) {
    if !(1..=65_535).contains(&number) {
        errors.invalid(at, &number.into(), "must be between 1 and 65535, inclusive");
    }
}

fn validate_resources(container: &Object, at: &str, errors: &mut Errors) {
    let amounts = |key: &str| field::get(container, &["resources", key]).and_then(Value::as_object);
    for key in ["limits", "requests"] {
        for (name, amount) in amounts(key).into_iter().flatten() {
            let at = format!("{at}.resources.{key}[{name}]");
            validate_resource_name(name, &at, errors);
            let Ok(quantity) = Quantity::from_value(amount) else { continue };
            if quantity.is_negative() {
                errors.invalid(at, amount, "must be greater than or equal to 0");
            } else if name.contains('/') && quantity.millis() % 1000 != 0 {
                errors.invalid(at, amount, "must be an integer");
            }
        }
    }
    let Some(limits) = amounts("limits") else { return };
    for (name, requested) in amounts("requests").into_iter().flatten() {
        let Some(limit) = limits.get(name) else { continue };
        let parse = |value| Quantity::from_value(value).ok();
        let (Some(wanted), Some(most)) = (parse(requested), parse(limit)) else { continue };
        let at = format!("{at}.resources.requests");
        let limit = limit.as_str().unwrap_or_default();
        if name.contains('/') && wanted != most {
            errors.invalid(at, requested, &format!("must be equal to {name} limit of {limit}"));
        } else if wanted > most {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            errors.invalid(at, requested, &why);
        }
    }
}

fn validate_resource_name(name: &str, at: &str, errors: &mut Errors) {
    let standard = STANDARD_RESOURCES.contains(&name) || name.starts_with("hugepages-");
    if name.contains('/') || standard {
        errors.invalid_each(at, name, validate_name::qualified_name(name));
        return;
    }
    errors.invalid(at, &name.into(), "must be a standard resource type or fully qualified");
    errors.invalid(at, &name.into(), "must be a standard resource for containers");
}

/// Checks a `metav1.LabelSelector` of a workload, which must also be usable as a whole.
pub(crate) fn validate_selector(selector: &Value, at: &str, errors: &mut Errors) {
    if !validate_label_selector(selector, at, errors) {
        errors.invalid(at, selector, "invalid label selector");
    }
}

/// Checks a `metav1.LabelSelector`; answers whether it can be evaluated.
pub(crate) fn validate_label_selector(selector: &Value, at: &str, errors: &mut Errors) -> bool {
    let before = errors.0.len();
    if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
        let texts = labels.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
        errors.0.extend(validate_name::labels(&format!("{at}.matchLabels"), texts));
    }
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    let mut unusable = errors.0.len() > before;
    for (index, expression) in expressions.into_iter().flatten().enumerate() {
        let at = format!("{at}.matchExpressions[{index}]");
        let values = expression.get("values").and_then(Value::as_array).map_or(0, Vec::len);
        match expression.get("operator").and_then(Value::as_str).unwrap_or_default() {
            "In" | "NotIn" if values == 0 => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(format!("{at}.values"), why);
                unusable = true;
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(format!("{at}.values"), why);
                unusable = true;
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let why = "not a valid selector operator";
                errors.invalid(format!("{at}.operator"), &other.into(), why);
                unusable = true;
            }
        }
        let key = expression.get("key").and_then(Value::as_str).unwrap_or_default();
        errors.invalid_each(&format!("{at}.key"), key, validate_name::qualified_name(key));
    }
    !unusable
}

/// Checks a number or a percentage.
pub(crate) fn validate_int_or_percent(
    value: &Value,
    at: &str,
    at_most_all: bool,
    errors: &mut Errors,
) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|n| n < 0) => {
            errors.invalid(at, value, "must be greater than or equal to 0");
        }
        Value::String(text) => {
            let digits = text.strip_suffix('%');
            let number = digits
                .filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|d| d.parse::<u32>().ok());
            match number {
                None => {
                    let why = "a valid percent string must be a numeric string followed by an ending '%' \
                               (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                    errors.invalid(at, value, why);
                }
                Some(number) if number > 100 && at_most_all => {
                    errors.invalid(at, value, "must not be greater than 100%");
                }
                Some(_) => {}
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {}
    }
}
