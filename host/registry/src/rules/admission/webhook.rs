//! Webhook configurations, validating and mutating: one set of rules, as they differ in one field.

use std::collections::{BTreeSet, HashSet};

use quadrille_object::validate_name;
use serde_json::Value;

use crate::admission::expression::Scope;
use crate::field::{self, Errors, Object};
use crate::rules::Rules;
use crate::rules::admission::{
    FAILURE_POLICIES, REINVOCATION_POLICIES, given, list, matching, one_of, text,
};

const SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
/// What configurations may say that were stored when it was still allowed.
const SIDE_EFFECTS_STORED: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const TIMEOUT_SECONDS_DEFAULT: i64 = 10;
const TIMEOUT_SECONDS_MAX: i64 = 30;
const PORT_DEFAULT: i64 = 443;

/// The rules of `ValidatingWebhookConfigurations` and `MutatingWebhookConfigurations`.
#[derive(Debug)]
pub(crate) struct Webhooks {
    /// Whether they change objects.
    pub(crate) mutating: bool,
}

/// What is asked of a configuration; an update may leave wrong what was wrong.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent of each other")]
struct Strictness {
    side_effects: bool,
    review_versions: bool,
    unique_names: bool,
    conditions: bool,
}

impl Rules for Webhooks {
    fn default(&self, object: &mut Object) {
        let webhooks = object.get_mut("webhooks").and_then(Value::as_array_mut);
        for webhook in webhooks.into_iter().flatten().filter_map(Value::as_object_mut) {
            field::map_mut(webhook, &["clientConfig"]);
            field::default(webhook, "failurePolicy", "Fail");
            field::default(webhook, "timeoutSeconds", TIMEOUT_SECONDS_DEFAULT);
            matching::default(webhook, &["rules"]);
            if self.mutating {
                field::default(webhook, "reinvocationPolicy", "Never");
            }
            let client = field::map_mut(webhook, &["clientConfig"]);
            if let Some(service) = client.get_mut("service").and_then(Value::as_object_mut) {
                field::default(service, "port", PORT_DEFAULT);
            }
        }
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        let all = Strictness {
            side_effects: true,
            review_versions: true,
            unique_names: true,
            conditions: true,
        };
        validate_all(object, all, errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        let old = field::list(before, &["webhooks"]);
        let names: BTreeSet<&str> = old.iter().map(|webhook| text(webhook, "name")).collect();
        let strictness = Strictness {
            side_effects: old.iter().all(|w| SIDE_EFFECTS.contains(&text(w, "sideEffects"))),
            review_versions: old.iter().all(knows_review_version),
            unique_names: names.len() == old.len(),
            conditions: !same_conditions(field::list(object, &["webhooks"]), old),
        };
        validate_all(object, strictness, errors);
    }
}

fn knows_review_version(webhook: &Value) -> bool {
    let mut versions = list(webhook, "admissionReviewVersions").iter();
    versions.any(|v| v.as_str().is_some_and(|v| REVIEW_VERSIONS.contains(&v)))
}

fn same_conditions(new: &[Value], old: &[Value]) -> bool {
    let same = |(a, b): (&Value, &Value)| list(a, "matchConditions") == list(b, "matchConditions");
    new.len() == old.len() && new.iter().zip(old).all(same)
}

fn validate_all(object: &Object, strictness: Strictness, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, webhook) in field::list(object, &["webhooks"]).iter().enumerate() {
        let at = format!("webhooks[{index}]");
        validate_webhook(webhook, &at, strictness, errors);
        validate_review_versions(webhook, &at, strictness, errors);
        let name = text(webhook, "name");
        if strictness.unique_names && !name.is_empty() && !names.insert(name) {
            errors.duplicate(format!("{at}.name"), &name.into());
        }
    }
}

fn validate_webhook(webhook: &Value, at: &str, strictness: Strictness, errors: &mut Errors) {
    validate_full_name(text(webhook, "name"), &format!("{at}.name"), errors);
    for (index, rule) in list(webhook, "rules").iter().enumerate() {
        matching::validate_rule(rule, &format!("{at}.rules[{index}]"), errors);
    }
    one_of(webhook, "failurePolicy", at, &FAILURE_POLICIES, errors);
    matching::validate_match_policy(webhook, at, errors);
    let known: &[&str] = if strictness.side_effects { &SIDE_EFFECTS } else { &SIDE_EFFECTS_STORED };
    if given(webhook, "sideEffects").is_none() {
        let why = format!("must specify one of {}", known.join(", "));
        errors.required(format!("{at}.sideEffects"), &why);
    }
    one_of(webhook, "sideEffects", at, known, errors);
    let timeout = given(webhook, "timeoutSeconds").and_then(Value::as_i64);
    if let Some(seconds) = timeout.filter(|s| !(1..=TIMEOUT_SECONDS_MAX).contains(s)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(format!("{at}.timeoutSeconds"), &seconds.into(), why);
    }
    matching::validate_selectors(webhook, at, errors);
    one_of(webhook, "reinvocationPolicy", at, &REINVOCATION_POLICIES, errors);
    validate_client(webhook.get("clientConfig").unwrap_or(&Value::Null), at, errors);
    if strictness.conditions {
        let scope = Scope { params: false, authorizer: true, ..Scope::default() };
        let at = format!("{at}.matchConditions");
        matching::validate_conditions(list(webhook, "matchConditions"), &at, &scope, errors);
    }
}

fn validate_full_name(name: &str, at: &str, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    let problems = validate_name::dns_subdomain(name);
    if !problems.is_empty() {
        errors.invalid(at, &name.into(), &problems.join(","));
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.invalid(at, &name.into(), why);
    }
}

fn validate_review_versions(
    webhook: &Value,
    at: &str,
    strictness: Strictness,
    errors: &mut Errors,
) {
    let at = format!("{at}.admissionReviewVersions");
    let versions = list(webhook, "admissionReviewVersions");
    if versions.is_empty() {
        errors.required(at, &format!("must specify one of {}", REVIEW_VERSIONS.join(", ")));
        return;
    }
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let at = format!("{at}[{index}]");
        if !seen.insert(version) {
            errors.invalid(at, version, "duplicate version");
            continue;
        }
        let name = version.as_str().unwrap_or_default();
        errors.invalid_each(&at, name, validate_name::dns_1035_label(name));
    }
    if strictness.review_versions && !knows_review_version(webhook) {
        let why = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.invalid(at, &versions.into(), &why);
    }
}

fn validate_client(client: &Value, at: &str, errors: &mut Errors) {
    let at = format!("{at}.clientConfig");
    match (given(client, "url"), given(client, "service")) {
        (Some(url), None) => {
            validate_url(url.as_str().unwrap_or_default(), &format!("{at}.url"), errors);
        }
        (None, Some(service)) => validate_service(service, &format!("{at}.service"), errors),
        (None, None) | (Some(_), Some(_)) => {
            errors.required(at, "exactly one of url or service is required");
        }
    }
}

/// The parts of a URL, as far as a webhook's URL is checked.
struct Url<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

fn split_url(url: &str) -> Result<Url<'_>, &'static str> {
    if url.bytes().any(|b| b.is_ascii_control()) {
        return Err("net/url: invalid control character in URL");
    }
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some(("", _)) => return Err("missing protocol scheme"),
        Some((scheme, after)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            (scheme, after)
        }
        Some(_) | None => ("", rest),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.strip_prefix("//").unwrap_or_default();
    let authority = authority.split('/').next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let port = host.rsplit_once(':').map(|(_, port)| port).filter(|_| !host.ends_with(']'));
    if port.is_some_and(|port| !port.bytes().all(|b| b.is_ascii_digit())) {
        return Err("invalid port after host");
    }
    if host.contains([' ', '<', '>', '"']) {
        return Err("invalid character in host name");
    }
    Ok(Url { scheme, user, host, query, fragment })
}

fn validate_url(text: &str, at: &str, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let url = match split_url(text) {
        Ok(url) => url,
        Err(why) => {
            let text = Value::from(text);
            errors.required(at, &format!("url must be a valid URL: parse {text}: {why}{FORM}"));
            return;
        }
    };
    if url.scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.invalid(at, &url.scheme.into(), &why);
    }
    if url.host.is_empty() {
        errors.invalid(at, &"".into(), &format!("host must be specified{FORM}"));
    }
    if let Some(user) = url.user {
        errors.invalid(at, &user.into(), "user information is not permitted in the URL");
    }
    if !url.fragment.is_empty() {
        errors.invalid(at, &url.fragment.into(), "fragments are not permitted in the URL");
    }
    if !url.query.is_empty() {
        errors.invalid(at, &url.query.into(), "query parameters are not permitted in the URL");
    }
}

fn validate_service(service: &Value, at: &str, errors: &mut Errors) {
    if text(service, "name").is_empty() {
        errors.required(format!("{at}.name"), "service name is required");
    }
    if text(service, "namespace").is_empty() {
        errors.required(format!("{at}.namespace"), "service namespace is required");
    }
    let port = given(service, "port").and_then(Value::as_i64).unwrap_or(PORT_DEFAULT);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(format!("{at}.port"), &port.into(), why);
    }
    let path = text(service, "path");
    let at = format!("{at}.path");
    match path {
        "" | "/" => return,
        "//" => {
            errors.invalid(at, &path.into(), "segment[0] may not be empty");
            return;
        }
        _ => {}
    }
    if !path.starts_with('/') {
        errors.invalid(at.as_str(), &path.into(), "must start with a '/'");
    }
    let mut rest = path.chars();
    rest.next();
    let rest = rest.as_str();
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            let why = format!("segment[{index}] may not be empty");
            errors.invalid(at.as_str(), &path.into(), &why);
        } else {
            for problem in validate_name::dns_subdomain(step) {
                let why = format!("segment[{index}]: {problem}");
                errors.invalid(at.as_str(), &path.into(), &why);
            }
        }
    }
}
