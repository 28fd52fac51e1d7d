//! Probes and lifecycle handlers.

use serde_json::Value;

use super::at::At;
use crate::field::Errors;

const ONE_ONLY: &str = "may not specify more than 1 handler type";

/// Checks a container's probes and lifecycle.
pub(super) fn validate(container: &At<'_>, grace: Option<i64>, errors: &mut Errors) {
    if let Some(lifecycle) = container.child("lifecycle") {
        validate_lifecycle(&lifecycle, grace, errors);
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.child(key) else { continue };
        validate_probe(&probe, errors);
        if key == "readinessProbe" {
            if let Some(given) = probe.get("terminationGracePeriodSeconds") {
                let why = "must not be set for readinessProbes";
                errors.invalid(probe.path("terminationGracePeriodSeconds"), given, why);
            }
        } else if let Some(threshold) = probe.integer("successThreshold").filter(|t| *t != 1) {
            errors.invalid(probe.path("successThreshold"), &threshold.into(), "must be 1");
        }
    }
}

fn validate_probe(probe: &At<'_>, errors: &mut Errors) {
    validate_handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], None, errors);
    for key in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        errors.natural(probe, key);
    }
    if let Some(seconds) = probe.integer("terminationGracePeriodSeconds").filter(|s| *s <= 0) {
        let path = probe.path("terminationGracePeriodSeconds");
        errors.invalid(path, &seconds.into(), "must be greater than 0");
    }
}

fn validate_lifecycle(lifecycle: &At<'_>, grace: Option<i64>, errors: &mut Errors) {
    for key in ["postStart", "preStop"] {
        if let Some(hook) = lifecycle.child(key) {
            let kinds = ["exec", "httpGet", "tcpSocket", "sleep"];
            validate_handler(&hook, &kinds, grace, errors);
        }
    }
    if let Some(signal) = lifecycle.get("stopSignal") {
        let known = signal.as_str().is_some_and(|s| s.starts_with("SIG") && s.len() < 16);
        if !known {
            errors.unsupported(lifecycle.path("stopSignal"), signal, &[]);
        }
    }
}

fn validate_handler(at: &At<'_>, kinds: &[&str], grace: Option<i64>, errors: &mut Errors) {
    let mut given = kinds.iter().filter(|kind| at.has(kind));
    let Some(kind) = given.next() else {
        errors.required(at.path.clone(), "must specify a handler type");
        return;
    };
    let handler = at.child_or_empty(kind);
    match *kind {
        "exec" if handler.list("command").is_empty() => {
            errors.required(handler.path("command"), "");
        }
        "httpGet" => validate_get(&handler, errors),
        "tcpSocket" | "grpc" => validate_port(&handler, errors),
        "sleep" => {
            let seconds = handler.integer("seconds").unwrap_or(0);
            if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
                let why = format!(
                    "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                );
                errors.invalid(handler.path.clone(), &seconds.into(), &why);
            }
        }
        _ => {}
    }
    for extra in given {
        errors.forbidden(at.path(extra), ONE_ONLY);
    }
}

fn validate_get(get: &At<'_>, errors: &mut Errors) {
    errors.need(get, "path");
    validate_port(get, errors);
    let scheme = get.text("scheme");
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.unsupported(get.path("scheme"), &scheme.into(), &["HTTP", "HTTPS"]);
    }
    for header in get.items("httpHeaders") {
        let name = header.text("name");
        let is_good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if name.is_empty() || !name.bytes().all(is_good) {
            let why = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. \
                       'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            errors.invalid(get.path("httpHeaders"), &name.into(), why);
        }
    }
}

fn validate_port(handler: &At<'_>, errors: &mut Errors) {
    match handler.get("port") {
        Some(Value::String(name)) => {
            errors.invalid_each(&handler.path("port"), name, port_name(name));
        }
        number => {
            let number = number.and_then(Value::as_i64).unwrap_or(0);
            validate_number(number, &handler.path("port"), errors);
        }
    }
}

/// Checks a port's number.
pub(crate) fn validate_number(number: i64, at: &str, errors: &mut Errors) {
    if !(1..=65_535).contains(&number) {
        errors.invalid(at, &number.into(), "must be between 1 and 65535, inclusive");
    }
}

/// What is wrong with a port's name.
pub(crate) fn port_name(name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut note = |wrong: bool, why: &str| {
        if wrong {
            problems.push(why.to_owned());
        }
    };
    note(name.len() > 15, "must be no more than 15 characters");
    let is_good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    note(
        name.is_empty() || !name.bytes().all(is_good),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    note(!name.bytes().any(|b| b.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    note(name.contains("--"), "must not contain consecutive hyphens");
    let at_end = name.starts_with('-') || name.ends_with('-');
    note(at_end, "must not begin or end with a hyphen");
    problems
}
