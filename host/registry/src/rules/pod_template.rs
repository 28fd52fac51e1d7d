//! Pod templates: what every workload kind has in common with a Pod.

mod check;

use quadrille_object::Meta;
use serde_json::Value;

pub(crate) use check::{
    validate_int_or_percent, validate_label_selector, validate_port, validate_selector,
    validate_spec, validate_template,
};

use crate::field::{self, Errors, Object};
use crate::rules::Rules;

/// The rules of `PodTemplates`.
#[derive(Debug)]
pub(crate) struct PodTemplates;

impl Rules for PodTemplates {
    fn default(&self, object: &mut Object) {
        template_defaults(field::map_mut(object, &["template"]));
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        validate_template(object, &["template"], errors);
    }
}

/// Defaults of a `PodTemplateSpec`.
pub(crate) fn template_defaults(template: &mut Object) {
    field::map_mut(template, &["metadata"]).retain(|_, value| !value.is_null());
    spec_defaults(field::map_mut(template, &["spec"]));
}

/// Defaults of a `PodSpec`.
pub(crate) fn spec_defaults(spec: &mut Object) {
    for (key, value) in [
        ("dnsPolicy", "ClusterFirst"),
        ("restartPolicy", "Always"),
        ("schedulerName", "default-scheduler"),
    ] {
        if field::text(spec, &[key]).is_none_or(str::is_empty) {
            spec.insert(key.to_owned(), value.into());
        }
    }
    field::default(spec, "terminationGracePeriodSeconds", 30);
    field::map_mut(spec, &["securityContext"]);
    // The old name of the field follows the new one.
    match (field::get(spec, &["serviceAccountName"]).cloned(), spec.get("serviceAccount").cloned())
    {
        (Some(name), _) => drop(spec.insert("serviceAccount".to_owned(), name)),
        (None, Some(name)) => drop(spec.insert("serviceAccountName".to_owned(), name)),
        (None, None) => {}
    }
    let host_network = field::get(spec, &["hostNetwork"]).and_then(Value::as_bool) == Some(true);
    for (list, is_init) in [("initContainers", true), ("containers", false)] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            container_defaults(container, host_network, is_init);
        }
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten();
    volumes.filter_map(Value::as_object_mut).for_each(volume_defaults);
}

fn container_defaults(container: &mut Object, host_network: bool, _is_init: bool) {
    let image = field::text(container, &["image"]).unwrap_or_default();
    let is_latest = match image.rsplit('/').next().unwrap_or_default().split_once(':') {
        _ if image.contains('@') => false,
        None => true,
        Some((_, tag)) => tag == "latest",
    };
    let policy = if is_latest { "Always" } else { "IfNotPresent" };
    field::default(container, "imagePullPolicy", policy);
    field::default(container, "terminationMessagePath", "/dev/termination-log");
    field::default(container, "terminationMessagePolicy", "File");
    resources_defaults(field::map_mut(container, &["resources"]));
    let ports = container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
    for port in ports.filter_map(Value::as_object_mut) {
        field::default(port, "protocol", "TCP");
        if host_network && let Some(number) = port.get("containerPort").cloned() {
            field::default(port, "hostPort", number);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            probe_defaults(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        let hook = container.get_mut("lifecycle").and_then(|l| l.get_mut(hook));
        if let Some(get) = hook.and_then(|h| h.get_mut("httpGet")).and_then(Value::as_object_mut) {
            http_defaults(get);
        }
    }
    let env = container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten();
    for source in env.filter_map(|e| e.get_mut("valueFrom")) {
        if let Some(field_ref) = source.get_mut("fieldRef").and_then(Value::as_object_mut) {
            field::default(field_ref, "apiVersion", "v1");
        }
    }
}

/// Quantities in their canonical form; requests default to limits where only those are given.
fn resources_defaults(resources: &mut Object) {
    for key in ["limits", "requests"] {
        let Some(Value::Object(amounts)) = resources.get_mut(key) else { continue };
        amounts.values_mut().for_each(canonical_quantity);
    }
}

/// A quantity as Kubernetes writes it back.
pub(crate) fn canonical_quantity(value: &mut Value) {
    if let Ok(quantity) = quadrille_object::quantity::Quantity::from_value(value) {
        *value = Value::from(quantity.to_string());
    }
}

fn probe_defaults(probe: &mut Object) {
    for (key, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if field::integer(probe, &[key]).unwrap_or(0) == 0 {
            probe.insert(key.to_owned(), value.into());
        }
    }
    if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
        http_defaults(get);
    }
    if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
        field::default(grpc, "service", "");
    }
}

fn http_defaults(get: &mut Object) {
    field::default(get, "path", "/");
    field::default(get, "scheme", "HTTP");
}

fn volume_defaults(volume: &mut Object) {
    const MODE: i64 = 0o644;
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            field::default(source, "defaultMode", MODE);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        field::default(path, "type", "");
    }
    let projected = volume.get_mut("projected").and_then(|p| p.get_mut("sources"));
    for source in projected.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
            field::default(token, "expirationSeconds", 3600);
        }
        items_defaults(source.get_mut("downwardAPI"));
    }
    items_defaults(volume.get_mut("downwardAPI"));
    if volume.len() == 1 {
        volume.insert("emptyDir".to_owned(), Value::Object(Object::new()));
    }
}

fn items_defaults(source: Option<&mut Value>) {
    let items = source.and_then(|s| s.get_mut("items")).and_then(Value::as_array_mut);
    for item in items.into_iter().flatten() {
        if let Some(field_ref) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
            field::default(field_ref, "apiVersion", "v1");
        }
    }
}

/// Labels alone, as the envelope that selectors match.
pub(crate) fn meta_of(labels: Option<&Value>) -> Meta {
    let mut labels: Vec<(Box<str>, Box<str>)> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
        .collect();
    labels.sort();
    Meta { labels: labels.into(), ..Meta::default() }
}
