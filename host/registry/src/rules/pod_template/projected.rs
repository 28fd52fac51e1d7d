//! Volumes that are files made from objects: keys of `ConfigMaps` and Secrets, fields of the Pod, tokens.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::At;
use super::env::{VOLUME_FIELDS, validate_field_ref, validate_resource_ref};
use super::selector::validate_label_selector;
use super::volume::validate_descending;
use crate::field::Errors;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// The `defaultMode` and `items` of a `ConfigMap` or Secret.
pub(super) fn validate_files(source: &At<'_>, errors: &mut Errors) {
    validate_mode(source, "defaultMode", errors);
    source.items("items").for_each(|item| validate_item(&item, errors));
}

/// The `defaultMode` and `items` of the downward API.
pub(super) fn validate_downward(source: &At<'_>, errors: &mut Errors) {
    validate_mode(source, "defaultMode", errors);
    for item in source.items("items") {
        validate_file(&At::new(item.map, source.path.clone()), errors);
    }
}

/// Checks a projected volume.
pub(super) fn validate(volume: &At<'_>, errors: &mut Errors) {
    validate_mode(volume, "defaultMode", errors);
    let mut paths = BTreeSet::new();
    for source in volume.items("sources") {
        let mut count = 0;
        for key in ["secret", "configMap"] {
            let Some(files) = source.child(key) else { continue };
            count += 1;
            errors.need(&files, "name");
            for item in files.items("items") {
                validate_item(&item, errors);
                note_path(volume, item.text("path"), files.text("name"), &mut paths, errors);
            }
        }
        if let Some(files) = source.child("downwardAPI") {
            count += 1;
            for item in files.items("items") {
                validate_file(&At::new(item.map, files.path.clone()), errors);
                note_path(volume, item.text("path"), item.text("path"), &mut paths, errors);
            }
        }
        if let Some(token) = source.child("serviceAccountToken") {
            count += 1;
            validate_token(volume, &token, errors);
        }
        if let Some(bundle) = source.child("clusterTrustBundle") {
            count += 1;
            validate_bundle(&bundle, errors);
            note_path(volume, bundle.text("path"), bundle.text("path"), &mut paths, errors);
        }
        if let Some(certificate) = source.child("podCertificate") {
            count += 1;
            errors.need(&certificate, "signerName");
            errors.need(&certificate, "keyType");
        }
        if count > 1 {
            let why = "may not specify more than 1 volume type per source";
            errors.forbidden(source.path.clone(), why);
        }
    }
}

fn note_path<'a>(
    volume: &At<'_>,
    path: &'a str,
    shown: &str,
    paths: &mut BTreeSet<&'a str>,
    errors: &mut Errors,
) {
    if !path.is_empty() && !paths.insert(path) {
        errors.invalid(volume.path.clone(), &shown.into(), "conflicting duplicate paths");
    }
}

fn validate_item(item: &At<'_>, errors: &mut Errors) {
    errors.need(item, "key");
    errors.need(item, "path");
    validate_local(item.text("path"), &item.path("path"), errors);
    validate_mode(item, "mode", errors);
}

fn validate_file(item: &At<'_>, errors: &mut Errors) {
    errors.need(item, "path");
    validate_local(item.text("path"), &item.path("path"), errors);
    if let Some(reference) = item.child("fieldRef") {
        validate_field_ref(&reference, &VOLUME_FIELDS, errors);
        if item.has("resourceFieldRef") {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(item.path.clone(), &"resource".into(), why);
        }
    } else if let Some(reference) = item.child("resourceFieldRef") {
        validate_resource_ref(&reference, true, errors);
    } else {
        errors.required(item.path.clone(), "one of fieldRef and resourceFieldRef is required");
    }
    validate_mode(item, "mode", errors);
}

fn validate_token(volume: &At<'_>, token: &At<'_>, errors: &mut Errors) {
    let seconds = token.integer("expirationSeconds").unwrap_or(0);
    if seconds < 600 {
        let why = "may not specify a duration less than 10 minutes";
        errors.invalid(token.path("expirationSeconds"), &seconds.into(), why);
    }
    if seconds > 1 << 32 {
        let why = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(token.path("expirationSeconds"), &seconds.into(), why);
    }
    match token.text("path") {
        "" => errors.required(volume.path("path"), ""),
        path => validate_local(path, &volume.path("path"), errors),
    }
}

fn validate_bundle(bundle: &At<'_>, errors: &mut Errors) {
    match (bundle.has("name"), bundle.has("signerName")) {
        (true, true) => {
            let shown = Value::Object(bundle.map.clone());
            let why = "only one of name and signerName may be used";
            errors.invalid(bundle.path.clone(), &shown, why);
        }
        (true, false) => {
            if bundle.text("name").is_empty() {
                errors.required(bundle.path("name"), "must be a valid object name");
            }
            if let Some(selector) = bundle.get("labelSelector") {
                let why = "labelSelector must be unset if name is specified";
                errors.invalid(bundle.path("labelSelector"), selector, why);
            }
        }
        (false, true) => {
            if bundle.text("signerName").is_empty() {
                errors.required(bundle.path("signerName"), "must be a valid signer name");
            }
            if let Some(selector) = bundle.get("labelSelector") {
                validate_label_selector(selector, &bundle.path("labelSelector"), errors);
            }
        }
        (false, false) => {
            errors.required(bundle.path.clone(), "either name or signerName must be specified");
        }
    }
    errors.need(bundle, "path");
    validate_local(bundle.text("path"), &bundle.path("path"), errors);
}

fn validate_mode(at: &At<'_>, key: &str, errors: &mut Errors) {
    if let Some(mode) = at.integer(key).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(at.path(key), &mode.into(), MODE);
    }
}

/// A path below a volume that is none of the volume's own.
fn validate_local(path: &str, field: &str, errors: &mut Errors) {
    validate_descending(path, field, errors);
    if path.starts_with("..") && !path.starts_with("../") && path != ".." {
        errors.invalid(field, &path.into(), "must not start with '..'");
    }
}
