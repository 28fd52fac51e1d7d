//! The spec of a `PersistentVolumeClaim`, where it is part of something else.

use quadrille_object::quantity::Quantity;
use quadrille_object::validate_name;

use super::at::At;
use super::selector::validate_label_selector;
use crate::field::Errors;

const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Checks a `PersistentVolumeClaimSpec`.
pub(crate) fn validate(spec: &At<'_>, errors: &mut Errors) {
    if spec.list("accessModes").is_empty() {
        errors.required(spec.path("accessModes"), "at least 1 access mode is required");
    }
    if let Some(selector) = spec.get("selector") {
        validate_label_selector(selector, &spec.path("selector"), errors);
    }
    let (mut alone, mut shared) = (false, false);
    for mode in spec.texts("accessModes") {
        if !ACCESS_MODES.contains(&mode) {
            errors.unsupported(spec.path("accessModes"), &mode.into(), &ACCESS_MODES);
        }
        alone |= mode == "ReadWriteOncePod";
        shared |= mode != "ReadWriteOncePod" && ACCESS_MODES.contains(&mode);
    }
    if alone && shared {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.forbidden(spec.path("accessModes"), why);
    }
    let path = format!("{}[storage]", spec.path("resources"));
    let requests = spec.child_or_empty("resources").child_or_empty("requests");
    match requests.get("storage") {
        None => errors.required(path, ""),
        Some(storage) => {
            let positive = Quantity::from_value(storage).is_ok_and(|q| q > Quantity::from(0));
            if !positive {
                errors.invalid(path, storage, "must be greater than zero");
            }
        }
    }
    for key in ["storageClassName", "volumeAttributesClassName"] {
        errors.dns_subdomain(spec, key);
    }
    errors.known(spec, "volumeMode", &["Block", "Filesystem"]);
    for key in ["dataSource", "dataSourceRef"] {
        let Some(source) = spec.child(key) else { continue };
        errors.need(&source, "name");
        errors.need(&source, "kind");
        let group = source.text("apiGroup");
        if group.is_empty() && source.text("kind") != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            let kind = source.text("kind");
            errors.invalid(source.path.clone(), &kind.into(), why);
        }
        if !group.is_empty() {
            let problems = validate_name::dns_subdomain(group);
            errors.invalid_each(&source.path("apiGroup"), group, problems);
        }
    }
}
