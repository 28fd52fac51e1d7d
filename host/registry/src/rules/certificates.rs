//! Requests for certificates: who asks is noted by the server, what is asked never changes, and approval is a verb of its own.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quadrille_object::validate_name;
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::rules::facts::{KindRules, items, part, text};
use crate::signing_request::{self, SigningRequest};
use crate::write::Attempt;

const SECONDS_MIN: i64 = 600;
const LEGACY: &str = "kubernetes.io/legacy-unknown";
/// The decisions on a request.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The rules of certificate signing requests.
pub(crate) static SIGNING_REQUESTS: KindRules = KindRules {
    create: |attempt, object| {
        let actor = &attempt.request.actor;
        let spec = field::map_mut(object, &["spec"]);
        spec.insert("username".to_owned(), (*actor.user).into());
        spec.remove("extra");
        for (key, given) in [
            ("uid", (!actor.uid.is_empty()).then(|| json!(&*actor.uid))),
            ("groups", (!actor.groups.is_empty()).then(|| groups(attempt))),
        ] {
            match given {
                Some(value) => spec.insert(key.to_owned(), value),
                None => spec.remove(key),
            };
        }
        Ok(())
    },
    update: |attempt, object, before| {
        update(attempt, object, before);
        Ok(())
    },
    validate,
    changed: |object, before, errors| {
        for decision in DECISIONS.iter().chain(&["Failed"]) {
            let of = |o| conditions(o).into_iter().find(|c| text(c, "type") == *decision).cloned();
            let (old, new) = (of(before), of(object));
            if old.is_some() && new.is_none() {
                let why = format!("updates may not remove a condition of type {decision:?}");
                errors.forbidden("status.conditions", &why);
            }
        }
        let issued = |o| field::get(o, &["status", "certificate"]).cloned();
        if issued(before).is_some() && issued(object) != issued(before) {
            let why = "updates may not change certificate data";
            errors.forbidden("status.certificate", why);
        }
    },
    ..KindRules::PLAIN
};

fn groups(attempt: &Attempt<'_>) -> Value {
    attempt.request.actor.groups.iter().map(|group| Value::from(&**group)).collect()
}

fn conditions(object: &Object) -> Vec<&Object> {
    let list = field::list(object, &["status", "conditions"]).iter();
    list.filter_map(Value::as_object).collect()
}

fn update(attempt: &Attempt<'_>, object: &mut Object, before: &Object) {
    field::copy(object, before, "spec");
    let deciding = attempt.subresource() == Some("approval");
    if attempt.subresource() == Some("status") {
        // Decisions are made through `approval` alone.
        let is_decision = |c: &Value| {
            c.get("type").and_then(Value::as_str).is_some_and(|kind| DECISIONS.contains(&kind))
        };
        let decided =
            field::list(before, &["status", "conditions"]).iter().filter(|c| is_decision(c));
        let mut list: Vec<Value> = decided.cloned().collect();
        let given = field::list(object, &["status", "conditions"]).iter();
        list.extend(given.filter(|c| !is_decision(c)).cloned());
        if !list.is_empty() {
            field::map_mut(object, &["status"]).insert("conditions".to_owned(), list.into());
        }
    }
    if !deciding && attempt.subresource() != Some("status") {
        return;
    }
    let now = attempt.now.to_rfc3339();
    let list = object.get_mut("status").and_then(|s| s.get_mut("conditions"));
    for condition in list.and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(condition) = condition.as_object_mut() else { continue };
        for key in ["lastUpdateTime", "lastTransitionTime"] {
            field::default(condition, key, now.as_str());
        }
    }
}

fn validate(object: &Object, errors: &mut Errors) {
    let empty = Object::new();
    let spec = part(object, "spec").unwrap_or(&empty);
    let request = text(spec, "request");
    if let Some(why) = request_problem(request) {
        errors.invalid("spec.request", &request.into(), why);
    }
    let usages = field::list(spec, &["usages"]);
    if usages.is_empty() {
        errors.required("spec.usages", "");
    }
    let mut seen = BTreeSet::new();
    for (index, usage) in usages.iter().enumerate() {
        let name = usage.as_str().unwrap_or_default();
        let at = format!("spec.usages[{index}]");
        if !USAGES.contains(&name) {
            errors.unsupported(&at, usage, &USAGES);
        }
        if !seen.insert(name) {
            errors.duplicate(at, usage);
        }
    }
    validate_signer(text(spec, "signerName"), errors);
    let seconds = spec.get("expirationSeconds").and_then(Value::as_i64);
    if let Some(seconds) = seconds.filter(|s| *s < SECONDS_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid("spec.expirationSeconds", &seconds.into(), why);
    }
    let status = part(object, "status").unwrap_or(&empty);
    validate_conditions(status, errors);
}

/// What is wrong with the request itself: one PEM block that holds a PKCS #10 structure.
fn request_problem(request: &str) -> Option<&'static str> {
    let decoded = STANDARD.decode(request).ok()?;
    let Some(der) = signing_request::der_of(&decoded) else {
        return Some("PEM block type must be CERTIFICATE REQUEST");
    };
    match SigningRequest::read(&der) {
        Some(_) => None,
        None => Some("asn1: structure error: tags don't match"),
    }
}

fn validate_signer(name: &str, errors: &mut Errors) {
    let at = "spec.signerName";
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    if name == LEGACY {
        errors.invalid(at, &name.into(), &format!("{LEGACY} is not allowed via this API version"));
        return;
    }
    let Some((domain, path)) = name.split_once('/') else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid(at, &name.into(), why);
        return;
    };
    for (part, what) in [(domain, "domain"), (path, "path")] {
        let mut problems = validate_name::dns_subdomain(part);
        if what == "domain" && !part.contains('.') {
            problems
                .push("should be a domain with at least two segments separated by dots".to_owned());
        }
        for problem in problems {
            let why = format!("validating label {part:?}: {problem}");
            errors.invalid(at, &part.into(), &why);
        }
    }
}

fn validate_conditions(status: &Object, errors: &mut Errors) {
    let list = items(status, "conditions", "status");
    let mut kinds = BTreeSet::new();
    for (at, condition) in &list {
        let kind = text(condition, "type");
        if kind.is_empty() {
            errors.required(format!("{at}.type"), "");
        }
        if !kinds.insert(kind) {
            errors.duplicate(format!("{at}.type"), &kind.into());
        }
        let known = ["False", "True", "Unknown"];
        match text(condition, "status") {
            "" => errors.required(format!("{at}.status"), ""),
            "True" => {}
            other if matches!(kind, "Approved" | "Denied" | "Failed") => {
                errors.unsupported(format!("{at}.status"), &other.into(), &["True"]);
            }
            other if known.contains(&other) => {}
            other => errors.unsupported(format!("{at}.status"), &other.into(), &known),
        }
    }
    if DECISIONS.iter().all(|decision| kinds.contains(decision)) {
        let shown = status.get("conditions").cloned().unwrap_or_default();
        let why = "Approved and Denied conditions are mutually exclusive";
        errors.invalid("status.conditions", &shown, why);
    }
}
