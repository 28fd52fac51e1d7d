//! What can be wrong with the conversion of a definition: who is asked, and in which words.

use std::collections::HashSet;

use quadrille_object::validate_name;
use serde_json::Value;

use crate::definition::is_served;
use crate::field::{self, Errors, Object};

/// Versions of `ConversionReview` that are spoken.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const UNUSED: &str = "should not be set when strategy is not set to Webhook";

/// The names of errors are those of the form without versions: what is under `webhook` stands one level higher.
pub(super) fn validate(object: &Object, before: Option<&Object>, errors: &mut Errors) {
    let at = "spec.conversion";
    let of = |key: &str| field::get(object, &["spec", "conversion", "webhook", key]);
    let strategy = field::text(object, &["spec", "conversion", "strategy"]).unwrap_or_default();
    match strategy {
        "" => errors.required(format!("{at}.strategy"), ""),
        "None" | "Webhook" => {}
        other => {
            let known = ["None", "Webhook"];
            errors.unsupported(format!("{at}.strategy"), &other.into(), &known);
        }
    }
    let versions =
        field::list(object, &["spec", "conversion", "webhook", "conversionReviewVersions"]);
    if strategy != "Webhook" {
        if of("clientConfig").is_some() {
            errors.forbidden(format!("{at}.webhookClientConfig"), UNUSED);
        }
        if !versions.is_empty() {
            errors.forbidden(format!("{at}.conversionReviewVersions"), UNUSED);
        }
        return;
    }
    if field::get(object, &["spec", "preserveUnknownFields"]) == Some(&Value::Bool(true)) {
        let why = "must be None if spec.preserveUnknownFields is true";
        errors.invalid(format!("{at}.strategy"), &strategy.into(), why);
    }
    match of("clientConfig").and_then(Value::as_object) {
        None => {
            let why = "required when strategy is set to Webhook";
            errors.required(format!("{at}.webhookClientConfig"), why);
        }
        Some(config) => client(config, before, &format!("{at}.webhookClientConfig"), errors),
    }
    let old = ["spec", "conversion", "webhook", "conversionReviewVersions"];
    let old = before.map(|before| field::list(before, &old));
    review_versions(versions, old, &format!("{at}.conversionReviewVersions"), errors);
}

fn client(config: &Object, before: Option<&Object>, at: &str, errors: &mut Errors) {
    let service = field::get(config, &["service"]).and_then(Value::as_object);
    match (field::text(config, &["url"]), service) {
        (Some(url), None) => self::url(url, &format!("{at}.url"), errors),
        (None, Some(service)) => self::service(service, &format!("{at}.service"), errors),
        (Some(_), Some(_)) | (None, None) => {
            errors.required(at, "exactly one of url or service is required");
        }
    }
    let bundle = field::text(config, &["caBundle"]).unwrap_or_default();
    // A definition that nobody is served by may wait for its certificates.
    let waits = before.is_some_and(|before| !is_served(before));
    if !bundle.is_empty() && !waits && !is_bundle(bundle) {
        let why = "unable to load root certificates: unable to parse bytes as PEM block";
        errors.invalid(format!("{at}.caBundle"), &bundle.into(), why);
    }
}

/// Whether a text in base64 holds certificates in PEM.
fn is_bundle(encoded: &str) -> bool {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let begin = text.find("-----BEGIN CERTIFICATE-----");
    begin.is_some_and(|begin| {
        text.get(begin..).is_some_and(|rest| rest.contains("-----END CERTIFICATE-----"))
    })
}

const URL_FORM: &str = "; desired format: https://host[/path]";

fn url(url: &str, at: &str, errors: &mut Errors) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{URL_FORM}");
        errors.invalid(at, &scheme.into(), &why);
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() || scheme.is_empty() {
        errors.invalid(at, &"".into(), &format!("host must be specified{URL_FORM}"));
    }
    if !user.is_empty() {
        errors.invalid(at, &user.into(), "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        errors.invalid(at, &fragment.into(), "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        errors.invalid(at, &query.into(), "query parameters are not permitted in the URL");
    }
}

fn service(service: &Object, at: &str, errors: &mut Errors) {
    for key in ["name", "namespace"] {
        if field::text(service, &[key]).unwrap_or_default().is_empty() {
            errors.required(format!("{at}.{key}"), &format!("service {key} is required"));
        }
    }
    let port = field::integer(service, &["port"]).unwrap_or(443);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(format!("{at}.port"), &port.into(), why);
    }
    let path = field::text(service, &["path"]).unwrap_or_default();
    if matches!(path, "" | "/") {
        return;
    }
    let at = format!("{at}.path");
    if path == "//" {
        errors.invalid(at, &path.into(), "segment[0] may not be empty");
        return;
    }
    if !path.starts_with('/') {
        errors.invalid(at.clone(), &path.into(), "must start with a '/'");
    }
    let inner: String = path.chars().skip(1).collect();
    for (index, step) in inner.strip_suffix('/').unwrap_or(&inner).split('/').enumerate() {
        if step.is_empty() {
            let why = format!("segment[{index}] may not be empty");
            errors.invalid(at.clone(), &path.into(), &why);
            continue;
        }
        for problem in validate_name::dns_subdomain(step) {
            errors.invalid(at.clone(), &path.into(), &format!("segment[{index}]: {problem}"));
        }
    }
}

fn review_versions(versions: &[Value], old: Option<&[Value]>, at: &str, errors: &mut Errors) {
    if versions.is_empty() {
        errors.required(at, "");
        return;
    }
    let is_known =
        |version: &Value| version.as_str().is_some_and(|text| REVIEW_VERSIONS.contains(&text));
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let at = format!("{at}[{index}]");
        if !seen.insert(version) {
            errors.invalid(at, version, "duplicate version");
            continue;
        }
        let text = version.as_str().unwrap_or_default();
        errors.invalid_each(&at, text, validate_name::dns_1035_label(text));
    }
    let lenient = old.is_some_and(|old| !old.is_empty() && !old.iter().any(is_known));
    if !lenient && !versions.iter().any(is_known) {
        let why = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.invalid(at, &Value::Array(versions.to_vec()), &why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promptly::promptly;

    #[test]
    fn review_versions_are_many_and_told_promptly() {
        let mut versions: Vec<Value> = (0..100_000).map(|n| Value::from(format!("v{n}"))).collect();
        versions.push("v7".into());
        let mut errors = Errors::default();
        promptly(|| review_versions(&versions, None, "at", &mut errors));
        let found: Vec<&str> = errors.0.iter().map(|error| &*error.field).collect();
        assert_eq!(found, ["at[100000]"], "v1 is among them, and one is there twice");
    }
}
