//! Where containers mount volumes and see devices.

use std::collections::{BTreeMap, BTreeSet};

use super::at::At;
use super::volume::{validate_descending, validate_no_backsteps};
use crate::field::Errors;

/// The Pod's volumes by name.
pub(super) type Volumes<'a> = BTreeMap<&'a str, At<'a>>;

/// Checks a container's `volumeMounts` and `volumeDevices`.
pub(super) fn validate(container: &At<'_>, volumes: &Volumes<'_>, errors: &mut Errors) {
    let pairs = |list: &str, path: &str| -> (BTreeSet<String>, BTreeSet<String>) {
        let of = |key: &str| container.items(list).map(|i| i.text(key).to_owned()).collect();
        (of("name"), of(path))
    };
    let (device_names, device_paths) = pairs("volumeDevices", "devicePath");
    let (mount_names, mount_paths) = pairs("volumeMounts", "mountPath");
    let mut paths = BTreeSet::new();
    for mount in container.items("volumeMounts") {
        validate_mount(container, &mount, volumes, errors);
        let path = mount.text("mountPath");
        if !paths.insert(path) {
            errors.invalid(mount.path("mountPath"), &path.into(), "must be unique");
        }
        if device_names.contains(mount.text("name")) {
            let why = "must not already exist in volumeDevices";
            errors.invalid(mount.path("name"), &mount.text("name").into(), why);
        }
        if device_paths.contains(path) {
            let why = "must not already exist as a path in volumeDevices";
            errors.invalid(mount.path("mountPath"), &path.into(), why);
        }
    }
    validate_devices(container, volumes, &mount_names, &mount_paths, errors);
}

fn validate_mount(container: &At<'_>, mount: &At<'_>, volumes: &Volumes<'_>, errors: &mut Errors) {
    let name = mount.text("name");
    errors.need(mount, "name");
    if !volumes.contains_key(name) {
        errors.not_found(mount.path("name"), name);
    }
    errors.need(mount, "mountPath");
    let (sub, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
    let is_image = volumes.get(name).is_some_and(|volume| volume.has("image"));
    if is_image && !expression.is_empty() {
        let why = "not allowed in image volume sources";
        errors.invalid(mount.path("subPathExpr"), &expression.into(), why);
    }
    // kube-apiserver leaves the index out of these paths.
    let list = |key: &str| format!("{}.{key}", container.path("volumeMounts"));
    validate_descending(sub, &list("subPath"), errors);
    if !expression.is_empty() && !sub.is_empty() {
        let why = "subPathExpr and subPath are mutually exclusive";
        errors.invalid(mount.path("subPathExpr"), &expression.into(), why);
    }
    validate_descending(expression, &list("subPathExpr"), errors);
    validate_propagation(container, mount, &list("mountPropagation"), errors);
    validate_recursive(mount, &list("recursiveReadOnly"), errors);
}

fn validate_propagation(container: &At<'_>, mount: &At<'_>, path: &str, errors: &mut Errors) {
    let Some(mode) = mount.get("mountPropagation") else { return };
    let known = ["Bidirectional", "HostToContainer", "None"];
    if !mode.as_str().is_some_and(|mode| known.contains(&mode)) {
        errors.unsupported(path, mode, &known);
    }
    let privileged = container.child("securityContext").is_some_and(|c| c.is("privileged"));
    if mode.as_str() == Some("Bidirectional") && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(path, why);
    }
}

fn validate_recursive(mount: &At<'_>, path: &str, errors: &mut Errors) {
    let Some(mode) = mount.get("recursiveReadOnly") else { return };
    match mode.as_str().unwrap_or_default() {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.is("readOnly") {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.forbidden(path, why);
            }
        }
        _ => errors.unsupported(path, mode, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn validate_devices(
    container: &At<'_>,
    volumes: &Volumes<'_>,
    mount_names: &BTreeSet<String>,
    mount_paths: &BTreeSet<String>,
    errors: &mut Errors,
) {
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for device in container.items("volumeDevices") {
        let (name, path) = (device.text("name"), device.text("devicePath"));
        errors.need(&device, "name");
        if !name.is_empty() && !names.insert(name) {
            errors.invalid(device.path("name"), &name.into(), "must be unique");
        }
        match volumes.get(name) {
            None => errors.not_found(device.path("name"), name),
            Some(volume) if volume.has("persistentVolumeClaim") || volume.has("ephemeral") => {}
            Some(_) => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for \
                           block mode";
                errors.invalid(device.path("name"), &name.into(), why);
            }
        }
        errors.need(&device, "devicePath");
        if paths.contains(path) {
            errors.invalid(device.path("devicePath"), &path.into(), "must be unique");
        }
        if validate_no_backsteps(path) {
            paths.insert(path);
        } else {
            let why = "can not contain backsteps ('..')";
            errors.invalid(device.path("devicePath"), &path.into(), why);
        }
        if mount_names.contains(name) {
            let why = "must not already exist in volumeMounts";
            errors.invalid(device.path("name"), &name.into(), why);
        }
        if mount_paths.contains(path) {
            let why = "must not already exist as a path in volumeMounts";
            errors.invalid(device.path("devicePath"), &path.into(), why);
        }
    }
}
