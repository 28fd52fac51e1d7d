//! `ConfigMaps`, Secrets and Leases.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quadrille_object::validate_name;
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::rules::Rules;
use crate::rules::facts::Fact::{NotNegative, Positive};
use crate::rules::facts::KindRules;

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
            // The name of no field, as kube-apiserver has it.
            errors.too_long("[]", BYTES_MAX);
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

    fn warn(&self, object: &Object, _before: Option<&Object>, warnings: &mut Vec<String>) {
        if field::text(object, &["type"]) == Some("kubernetes.io/tls") {
            warnings.extend(pair_problem(object));
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        errors.immutable("type", field::get(object, &["type"]), field::get(before, &["type"]));
        validate_immutable(object, before, &["data"], errors);
        self.validate(object, errors);
    }
}

/// Why a TLS Secret's certificate and key are not usable, as far as the blocks they are written in tell.
fn pair_problem(object: &Object) -> Option<String> {
    let decoded = |key| {
        let text = field::text(object, &["data", key]).unwrap_or_default();
        String::from_utf8_lossy(&STANDARD.decode(text).unwrap_or_default()).into_owned()
    };
    let (certificate, key) = (decoded("tls.crt"), decoded("tls.key"));
    if certificate.is_empty() && key.is_empty() {
        return None;
    }
    let (certificates, keys) = (blocks(&certificate), blocks(&key));
    let is_key = |kind: &&str| *kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY");
    if certificates.is_empty() {
        return Some("tls: failed to find any PEM data in certificate input".to_owned());
    }
    if !certificates.contains(&"CERTIFICATE") {
        let switched = certificates.len() == 1 && certificates.iter().any(is_key);
        return Some(if switched {
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may \
             have been switched"
                .to_owned()
        } else {
            let kinds = certificates.join(" ");
            format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
                 following types: [{kinds}]"
            )
        });
    }
    if keys.is_empty() {
        return Some("tls: failed to find any PEM data in key input".to_owned());
    }
    if keys.iter().any(is_key) {
        return None;
    }
    Some(if keys == ["CERTIFICATE"] {
        "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
    } else {
        let kinds = keys.join(" ");
        format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of \
             the following types: [{kinds}]"
        )
    })
}

/// The types of the PEM blocks in a text.
fn blocks(text: &str) -> Vec<&str> {
    let begins = text.split("-----BEGIN ").skip(1);
    begins
        .filter_map(|rest| {
            let (kind, body) = rest.split_once("-----")?;
            body.contains(&format!("-----END {kind}-----")).then_some(kind)
        })
        .collect()
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
        let text = value.as_str().unwrap_or_default();
        let length = text.len();
        bytes += if of == "data" && object.get("kind").and_then(Value::as_str) == Some("ConfigMap")
        {
            length
        } else {
            // Base64 is four letters for three bytes, less one for each letter of padding.
            let padding = text.bytes().rev().take(2).filter(|byte| *byte == b'=').count();
            (length / 4 * 3).saturating_sub(padding)
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
pub(crate) static LEASES: KindRules = KindRules {
    facts: &[Positive("spec.leaseDurationSeconds"), NotNegative("spec.leaseTransitions")],
    default: |object| {
        field::map_mut(object, &["spec"]);
    },
    validate: |object, errors| {
        let of = |key| field::text(object, &["spec", key]);
        if of("holderIdentity") == Some("") {
            errors.invalid("spec.holderIdentity", &"".into(), "must not be empty");
        }
        let strategy = of("strategy").unwrap_or_default();
        if !matches!(strategy, "" | "OldestEmulationVersion") && !strategy.contains('/') {
            let known = ["OldestEmulationVersion"];
            errors.unsupported("spec.strategy", &strategy.into(), &known);
        }
        if of("preferredHolder").is_some_and(|holder| !holder.is_empty()) && strategy.is_empty() {
            let why = "can only be specified if `strategy` is defined";
            errors.forbidden("spec.preferredHolder", why);
        }
    },
    ..KindRules::PLAIN
};
