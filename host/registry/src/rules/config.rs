//! `ConfigMaps`, Secrets and Leases.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quadrille_object::validate_name;
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::rules::Rules;

/// What one `ConfigMap` or Secret may hold, in bytes of keys and values.
const BYTES_MAX: usize = 1024 * 1024;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// The rules of `ConfigMaps`.
#[derive(Debug)]
pub(crate) struct ConfigMaps;

impl Rules for ConfigMaps {
    fn validate(&self, object: &Object, errors: &mut Errors) {
        let data = validate_keys(object, "data", errors);
        let binary = validate_keys(object, "binaryData", errors);
        if let (Some(data), Some(binary)) = (entries(object, "data"), entries(object, "binaryData"))
        {
            for key in data.keys().filter(|key| binary.contains_key(*key)) {
                errors.invalid(
                    format!("data[{key}]"),
                    &key.as_str().into(),
                    "duplicate of key present in binaryData",
                );
            }
        }
        if data + binary > BYTES_MAX {
            errors.too_long("", BYTES_MAX);
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        validate_immutable(object, before, &["data", "binaryData"], errors);
        self.validate(object, errors);
    }
}

/// The rules of Secrets.
#[derive(Debug)]
pub(crate) struct Secrets;

impl Rules for Secrets {
    fn default(&self, object: &mut Object) {
        if let Some(Value::Object(texts)) = object.remove("stringData") {
            let data = field::map_mut(object, &["data"]);
            for (key, text) in texts {
                let text = text.as_str().unwrap_or_default();
                data.insert(key, STANDARD.encode(text).into());
            }
        }
        if field::text(object, &["type"]).is_none_or(str::is_empty) {
            object.insert("type".to_owned(), "Opaque".into());
        }
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        if validate_keys(object, "data", errors) > BYTES_MAX {
            errors.too_long("data", BYTES_MAX);
        }
        let required: &[&str] = match field::text(object, &["type"]).unwrap_or_default() {
            "kubernetes.io/service-account-token" => {
                let key = "kubernetes.io/service-account.name";
                if field::text(object, &["metadata", "annotations", key]).is_none_or(str::is_empty)
                {
                    errors.required(format!("metadata.annotations[{key}]"), "");
                }
                &[]
            }
            "kubernetes.io/dockercfg" => &[".dockercfg"],
            "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
            "kubernetes.io/basic-auth" => {
                let has = |key| field::get(object, &["data", key]).is_some();
                if !has("username") && !has("password") {
                    errors.required("data[username]", "");
                    errors.required("data[password]", "");
                }
                &[]
            }
            "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
            "kubernetes.io/tls" => &["tls.crt", "tls.key"],
            _ => &[],
        };
        for key in required {
            match field::text(object, &["data", key]) {
                None => errors.required(format!("data[{key}]"), ""),
                Some(text) if key.starts_with(".docker") => validate_json(key, text, errors),
                Some(_) => {}
            }
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        errors.immutable("type", field::get(object, &["type"]), field::get(before, &["type"]));
        validate_immutable(object, before, &["data"], errors);
        self.validate(object, errors);
    }
}

fn validate_json(key: &str, text: &str, errors: &mut Errors) {
    let decoded = STANDARD.decode(text).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&decoded) {
        errors.invalid(
            format!("data[{key}]"),
            &"<secret contents redacted>".into(),
            &error.to_string(),
        );
    }
}

fn entries<'a>(object: &'a Object, field: &str) -> Option<&'a Object> {
    object.get(field).and_then(Value::as_object)
}

/// Checks the keys of a map and answers how many bytes it holds.
fn validate_keys(object: &Object, of: &str, errors: &mut Errors) -> usize {
    let mut bytes = 0;
    for (key, value) in entries(object, of).into_iter().flatten() {
        let length = value.as_str().map_or(0, str::len);
        bytes += if of == "data" && object.get("kind").and_then(Value::as_str) == Some("ConfigMap")
        {
            length
        } else {
            length / 4 * 3
        };
        let problems = validate_name::config_key(key);
        if !problems.is_empty() {
            errors.invalid_each(&format!("{of}[{key}]"), key, problems);
        }
    }
    bytes
}

/// What an object with `immutable: true` may not change.
fn validate_immutable(object: &Object, before: &Object, fields: &[&str], errors: &mut Errors) {
    let is_set = |o: &Object| o.get("immutable").and_then(Value::as_bool) == Some(true);
    if !is_set(before) {
        return;
    }
    if !is_set(object) {
        errors.forbidden("immutable", IMMUTABLE);
    }
    for field in fields {
        if object.get(*field) != before.get(*field) {
            errors.forbidden(*field, IMMUTABLE);
        }
    }
}

/// The rules of Leases.
#[derive(Debug)]
pub(crate) struct Leases;

impl Rules for Leases {
    fn default(&self, object: &mut Object) {
        field::map_mut(object, &["spec"]);
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        let seconds = field::integer(object, &["spec", "leaseDurationSeconds"]);
        if let Some(seconds) = seconds.filter(|s| *s <= 0) {
            errors.invalid("spec.leaseDurationSeconds", &seconds.into(), "must be greater than 0");
        }
        errors.not_negative(object, &["spec", "leaseTransitions"]);
    }
}
