//! Environment variables: names, values from elsewhere, and what the downward API can tell.

use quadrille_object::quantity::Quantity;
use quadrille_object::validate_name;

use super::at::At;
use crate::field::Errors;

/// What of a Pod an environment variable can take.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// What of a Pod a file can take.
pub(super) const VOLUME_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const BYTES: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

const SOURCES: [&str; 5] =
    ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

/// Checks a container's `env` and `envFrom`.
pub(super) fn validate(container: &At<'_>, errors: &mut Errors) {
    for env in container.items("env") {
        if errors.need(&env, "name") {
            validate_variable(&env, "name", errors);
        }
        if let Some(source) = env.child("valueFrom") {
            validate_source(&source, !env.text("value").is_empty(), errors);
        }
    }
    for from in container.items("envFrom") {
        if !from.text("prefix").is_empty() {
            validate_variable(&from, "prefix", errors);
        }
        let given = ["configMapRef", "secretRef"].map(|key| from.child(key));
        let count = given.iter().flatten().count();
        for source in given.iter().flatten() {
            if errors.need(source, "name") {
                let name = source.text("name");
                // A prefix of a generated name is fine.
                let problems = validate_name::dns_subdomain(name.trim_end_matches('-'));
                errors.invalid_each(&source.path("name"), name, problems);
            }
        }
        let path = container.path("envFrom");
        if count == 0 {
            let why = "must specify one of: `configMapRef` or `secretRef`";
            errors.invalid(path, &"".into(), why);
        } else if count > 1 {
            let why = "may not have more than one field specified at a time";
            errors.invalid(path, &"".into(), why);
        }
    }
}

fn validate_variable(at: &At<'_>, key: &str, errors: &mut Errors) {
    let name = at.text(key);
    if !name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
        let why = "a valid environment variable name must consist only of printable ASCII characters \
                   other than '='";
        errors.invalid(at.path(key), &name.into(), why);
    }
}

fn validate_source(source: &At<'_>, has_value: bool, errors: &mut Errors) {
    if let Some(reference) = source.child("fieldRef") {
        validate_field_ref(&reference, &ENV_FIELDS, errors);
    }
    if let Some(reference) = source.child("resourceFieldRef") {
        validate_resource_ref(&reference, false, errors);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        let Some(reference) = source.child(key) else { continue };
        let name = reference.text("name");
        errors.invalid_each(&reference.path("name"), name, validate_name::dns_subdomain(name));
        if errors.need(&reference, "key") {
            let key = reference.text("key");
            errors.invalid_each(&reference.path("key"), key, validate_name::config_key(key));
        }
    }
    if let Some(reference) = source.child("fileKeyRef") {
        for key in ["key", "volumeName", "path"] {
            errors.need(&reference, key);
        }
    }
    let count = SOURCES.iter().filter(|key| source.has(key)).count();
    let why = if count == 0 {
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
         `fileKeyRef`"
    } else if has_value {
        "may not be specified when `value` is not empty"
    } else if count > 1 {
        "may not have more than one field specified at a time"
    } else {
        return;
    };
    errors.invalid(source.path.clone(), &"".into(), why);
}

/// Checks an `ObjectFieldSelector` against the fields that may be told.
pub(super) fn validate_field_ref(reference: &At<'_>, known: &[&str], errors: &mut Errors) {
    if !errors.need(reference, "apiVersion") || !errors.need(reference, "fieldPath") {
        return;
    }
    let (version, field) = (reference.text("apiVersion"), reference.text("fieldPath"));
    let (path, subscript) = match field.strip_suffix("']").and_then(|f| f.split_once("['")) {
        Some((path, subscript)) => (path, Some(subscript)),
        None => (field, None),
    };
    let convertible = match subscript {
        _ if version != "v1" => false,
        Some(_) => matches!(path, "metadata.annotations" | "metadata.labels"),
        None => {
            ENV_FIELDS.contains(&path)
                || VOLUME_FIELDS.contains(&path)
                || path == "spec.restartPolicy"
        }
    };
    if !convertible {
        let why = if version == "v1" {
            format!("error converting fieldPath: field label not supported: {field}")
        } else {
            format!("error converting fieldPath: unsupported pod version: {version}")
        };
        errors.invalid(reference.path("fieldPath"), &field.into(), &why);
        return;
    }
    match subscript {
        Some(key) => {
            let key =
                if path == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
            errors.invalid_each(&reference.path, &key, validate_name::qualified_name(&key));
        }
        None if !known.contains(&path) => {
            errors.unsupported(reference.path("fieldPath"), &path.into(), known);
        }
        None => {}
    }
}

/// Checks a `ResourceFieldSelector`; a volume must say whose resources.
pub(super) fn validate_resource_ref(reference: &At<'_>, in_volume: bool, errors: &mut Errors) {
    let resource = reference.text("resource");
    let pages =
        resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_volume && reference.text("containerName").is_empty() {
        errors.required(reference.path("containerName"), "");
    } else if errors.need(reference, "resource") && !pages && !RESOURCES.contains(&resource) {
        errors.unsupported(reference.path("resource"), &resource.into(), &RESOURCES);
    }
    let divisor = reference.get("divisor").and_then(|value| Quantity::from_value(value).ok());
    let Some(divisor) = divisor.map(|d| d.to_string()).filter(|d| d != "0") else { return };
    let what = match resource {
        "limits.cpu" | "requests.cpu" => {
            if !matches!(divisor.as_str(), "1" | "1m") {
                let why = "only divisor's values 1m and 1 are supported with the cpu resource";
                errors.invalid(reference.path("divisor"), &resource.into(), why);
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if pages => "hugepages",
        _ => return,
    };
    if !BYTES.contains(&divisor.as_str()) {
        let known = BYTES.join(", ");
        let why = format!("only divisor's values {known} are supported with the {what} resource");
        errors.invalid(reference.path("divisor"), &resource.into(), &why);
    }
}
