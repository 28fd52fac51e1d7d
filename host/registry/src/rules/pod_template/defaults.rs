//! Defaults of Pods and templates of Pods.

use serde_json::{Value, json};

use super::at::At;
use super::overall;
use crate::field::{self, Object};

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
        text_default(spec, key, value);
    }
    field::default(spec, "terminationGracePeriodSeconds", 30);
    field::map_mut(spec, &["securityContext"]);
    // The old name of the field follows the new one.
    let named = |spec: &Object, key| field::text(spec, &[key]).unwrap_or_default().to_owned();
    match (named(spec, "serviceAccountName"), named(spec, "serviceAccount")) {
        (name, old) if name.is_empty() && !old.is_empty() => {
            spec.insert("serviceAccountName".to_owned(), old.into());
        }
        (name, _) if !name.is_empty() => {
            spec.insert("serviceAccount".to_owned(), name.into());
        }
        _ => {}
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in maps_mut(spec, list) {
            container_defaults(container, list == "ephemeralContainers");
        }
    }
    if let Some(overhead) = spec.get_mut("overhead").and_then(Value::as_object_mut) {
        overhead.values_mut().for_each(canonical_quantity);
    }
    if let Some(resources) = spec.get_mut("resources").and_then(Value::as_object_mut) {
        resources_defaults(resources);
    }
    maps_mut(spec, "volumes").for_each(volume_defaults);
}

/// Defaults that a Pod has and a template has not.
pub(crate) fn pod_defaults(spec: &mut Object) {
    field::default(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        for list in ["initContainers", "containers"] {
            for container in maps_mut(spec, list) {
                maps_mut(container, "ports").for_each(host_port);
            }
        }
    }
    for list in ["initContainers", "containers"] {
        maps_mut(spec, list).for_each(requests_from_limits);
    }
    pod_requests(spec);
}

fn host_port(port: &mut Object) {
    let given = field::integer(port, &["hostPort"]).unwrap_or(0);
    if let Some(number) = port.get("containerPort").filter(|_| given == 0).cloned() {
        port.insert("hostPort".to_owned(), number);
    }
}

fn requests_from_limits(container: &mut Object) {
    let resources = field::map_mut(container, &["resources"]);
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    let requests = field::map_mut(resources, &["requests"]);
    for (name, amount) in limits {
        field::default(requests, &name, amount);
    }
}

/// A Pod that limits itself as a whole asks for what its containers do, else for its limits.
fn pod_requests(spec: &mut Object) {
    let Some(resources) = field::get(spec, &["resources"]).and_then(Value::as_object) else {
        return;
    };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let sum = overall::of_containers(&At::new(spec, ""), "requests");
    let requests = field::map_mut(spec, &["resources", "requests"]);
    for (name, amount) in sum {
        if overall::is_supported(&name) && !name.starts_with("hugepages-") {
            field::default(requests, &name, amount.to_string());
        }
    }
    for (name, amount) in limits {
        if overall::is_supported(&name) {
            field::default(requests, &name, amount);
        }
    }
}

fn container_defaults(container: &mut Object, is_ephemeral: bool) {
    let image = field::text(container, &["image"]).unwrap_or_default();
    let policy = pull_policy(image);
    text_default(container, "imagePullPolicy", policy);
    text_default(container, "terminationMessagePath", "/dev/termination-log");
    text_default(container, "terminationMessagePolicy", "File");
    if !is_ephemeral || container.contains_key("resources") {
        resources_defaults(field::map_mut(container, &["resources"]));
    } else {
        field::map_mut(container, &["resources"]);
    }
    for port in maps_mut(container, "ports") {
        text_default(port, "protocol", "TCP");
        field::default(port, "containerPort", 0);
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
    for env in maps_mut(container, "env") {
        let Some(source) = env.get_mut("valueFrom").and_then(Value::as_object_mut) else {
            continue;
        };
        reference_defaults(source);
        if let Some(file) = source.get_mut("fileKeyRef").and_then(Value::as_object_mut) {
            field::default(file, "optional", false);
        }
    }
}

fn pull_policy(image: &str) -> &'static str {
    let is_latest = match image.rsplit('/').next().unwrap_or_default().split_once(':') {
        _ if image.contains('@') => false,
        None => true,
        Some((_, tag)) => tag == "latest",
    };
    if is_latest { "Always" } else { "IfNotPresent" }
}

/// `fieldRef` and `resourceFieldRef`.
fn reference_defaults(source: &mut Object) {
    if let Some(field_ref) = source.get_mut("fieldRef").and_then(Value::as_object_mut) {
        text_default(field_ref, "apiVersion", "v1");
    }
    if let Some(resource) = source.get_mut("resourceFieldRef").and_then(Value::as_object_mut) {
        field::default(resource, "divisor", "0");
        resource.get_mut("divisor").into_iter().for_each(canonical_quantity);
    }
}

/// Quantities in their canonical form.
pub(crate) fn resources_defaults(resources: &mut Object) {
    for key in ["limits", "requests"] {
        let Some(Value::Object(amounts)) = resources.get_mut(key) else { continue };
        for amount in amounts.values_mut() {
            canonical_quantity(amount);
            round_up(amount);
        }
    }
}

/// Amounts are kept to a thousandth.
fn round_up(amount: &mut Value) {
    let Some(text) = amount.as_str().filter(|text| text.ends_with(['n', 'u'])) else { return };
    let Ok(quantity) = quadrille_object::quantity::Quantity::parse(text) else { return };
    *amount = Value::from(format!("{}m", quantity.millis()));
    canonical_quantity(amount);
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
    text_default(get, "path", "/");
    text_default(get, "scheme", "HTTP");
}

fn volume_defaults(volume: &mut Object) {
    const MODE: i64 = 0o644;
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            field::default(source, "defaultMode", MODE);
        }
    }
    if let Some(files) = volume.get_mut("downwardAPI").and_then(Value::as_object_mut) {
        maps_mut(files, "items").for_each(reference_defaults);
    }
    if let Some(projected) = volume.get_mut("projected").and_then(Value::as_object_mut) {
        maps_mut(projected, "sources").for_each(projection_defaults);
    }
    if let Some(claim) = volume.get_mut("ephemeral").and_then(|e| e.get_mut("volumeClaimTemplate"))
        && let Some(claim) = claim.as_object_mut()
    {
        field::map_mut(claim, &["metadata"]);
        claim_defaults(field::map_mut(claim, &["spec"]));
    }
    if let Some(dir) = volume.get_mut("emptyDir").and_then(|d| d.get_mut("sizeLimit")) {
        canonical_quantity(dir);
    }
    if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
        let policy = pull_policy(field::text(image, &["reference"]).unwrap_or_default());
        text_default(image, "pullPolicy", policy);
    }
    for (source, defaults) in source_defaults() {
        let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) else { continue };
        let Value::Object(defaults) = defaults else { continue };
        for (key, value) in defaults {
            field::default(source, &key, value);
        }
    }
    let named = volume.iter().filter(|(key, value)| *key != "name" && !value.is_null()).count();
    if named == 0 {
        volume.insert("emptyDir".to_owned(), Value::Object(Object::new()));
    }
}

/// What network volumes are when nobody says otherwise.
fn source_defaults() -> [(&'static str, Value); 5] {
    [
        ("hostPath", json!({"type": ""})),
        ("iscsi", json!({"iscsiInterface": "default", "lun": 0})),
        ("rbd", json!({"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"})),
        (
            "azureDisk",
            json!({"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": false}),
        ),
        ("scaleIO", json!({"storageMode": "ThinProvisioned", "fsType": "xfs"})),
    ]
}

/// Defaults of the spec of a `PersistentVolumeClaim`.
pub(crate) fn claim_defaults(spec: &mut Object) {
    text_default(spec, "volumeMode", "Filesystem");
    resources_defaults(field::map_mut(spec, &["resources"]));
}

fn projection_defaults(source: &mut Object) {
    if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
        field::default(token, "expirationSeconds", 3600);
    }
    if let Some(files) = source.get_mut("downwardAPI").and_then(Value::as_object_mut) {
        maps_mut(files, "items").for_each(reference_defaults);
    }
}

/// Sets a text that is missing, null or empty.
pub(crate) fn text_default(map: &mut Object, key: &str, value: &str) {
    if field::text(map, &[key]).is_none_or(str::is_empty) {
        map.insert(key.to_owned(), value.into());
    }
}

/// The maps of a list.
pub(crate) fn maps_mut<'a>(
    map: &'a mut Object,
    key: &str,
) -> impl Iterator<Item = &'a mut Object> + use<'a> {
    let list = map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
    list.filter_map(Value::as_object_mut)
}
