//! Ingresses and their classes.

use quadrille_object::{GroupResource, validate_name};
use quadrille_store::{Query, Range};
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::rules::facts::Fact::{Default, Immutable};
use crate::rules::facts::Literal::Text;
use crate::rules::facts::{Form, KindRules, items, part, text, value};
use crate::rules::net;
use crate::rules::pod_template::validate_port;
use crate::status::Status;
use crate::write::{Attempt, parse};

const CLASS: &str = "kubernetes.io/ingress.class";
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const CONTROLLER_BYTES_MAX: usize = 250;

/// The rules of Ingresses.
pub(crate) static INGRESSES: KindRules = KindRules {
    create: |attempt, object| {
        use_default_class(attempt, object)?;
        if has_both_classes(object) {
            let mut errors = Errors::default();
            let shown = class_note(object).into();
            let why = "can not be set when the class field is also set";
            errors.invalid(format!("annotations.{CLASS}"), &shown, why);
            return Err(attempt.invalid(crate::metadata::text(object, "name"), &errors.0));
        }
        Ok(())
    },
    validate,
    warn: |object, before, warnings| {
        let known = before.is_some_and(|before| !class_note(before).is_empty());
        if !class_note(object).is_empty() && !known {
            warnings.push(format!(
                "annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"
            ));
        }
    },
    ..KindRules::PLAIN
};

fn class_note(object: &Object) -> &str {
    field::text(object, &["metadata", "annotations", CLASS]).unwrap_or_default()
}

fn has_both_classes(object: &Object) -> bool {
    !class_note(object).is_empty() && field::get(object, &["spec", "ingressClassName"]).is_some()
}

/// An Ingress without a class gets the newest one that says it is the default.
fn use_default_class(attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
    let has_class = field::get(object, &["spec", "ingressClassName"]).is_some();
    let noted = field::get(object, &["metadata", "annotations", CLASS]).is_some();
    if has_class || noted {
        return Ok(());
    }
    if let Some(name) = default_of(attempt, "networking.k8s.io", "ingressclasses", IS_DEFAULT)? {
        field::map_mut(object, &["spec"]).insert("ingressClassName".to_owned(), name.into());
    }
    Ok(())
}

/// The newest object of a class-like resource that an annotation makes the default; of the same age, the first by name.
pub(crate) fn default_of(
    attempt: &Attempt<'_>,
    group: &str,
    resource: &str,
    annotation: &str,
) -> Result<Option<String>, Status> {
    let all = Query::whole(Range::all(GroupResource::new(group, resource)));
    let mut newest: Option<(String, String)> = None;
    for object in attempt.view.list(&all) {
        let parsed = parse(&object)?;
        if field::text(&parsed, &["metadata", "annotations", annotation]) != Some("true") {
            continue;
        }
        let made = crate::metadata::text(&parsed, "creationTimestamp").to_owned();
        if newest.as_ref().is_none_or(|(best, _)| made > *best) {
            newest = Some((made, object.key.name.as_ref().to_owned()));
        }
    }
    Ok(newest.map(|(_, name)| name))
}

fn validate(object: &Object, errors: &mut Errors) {
    let empty = Object::new();
    let spec = part(object, "spec").unwrap_or(&empty);
    let rules = items(spec, "rules", "spec");
    let backend = part(spec, "defaultBackend");
    if rules.is_empty() && backend.is_none() {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.invalid("spec", &Value::Null, why);
    }
    if let Some(backend) = backend {
        validate_backend("spec.defaultBackend", backend, errors);
    }
    for (at, rule) in rules {
        validate_rule(&at, rule, errors);
    }
    for (at, tls) in items(spec, "tls", "spec") {
        for (index, host) in field::list(tls, &["hosts"]).iter().enumerate() {
            let host = host.as_str().unwrap_or_default();
            net::validate_host(&format!("{at}.hosts[{index}]"), host, errors);
        }
        validate_optional_name(&format!("{at}.secretName"), text(tls, "secretName"), errors);
    }
    if let Some(class) = value(spec, "ingressClassName").and_then(Value::as_str) {
        let problems = Form::Subdomain.problems(class);
        errors.invalid_each("spec.ingressClassName", class, problems);
    }
    let entries = field::get(object, &["status", "loadBalancer"]).and_then(Value::as_object);
    for (at, entry) in items(entries.unwrap_or(&empty), "ingress", "status.loadBalancer") {
        validate_entry(&at, entry, errors);
    }
}

fn validate_optional_name(at: &str, name: &str, errors: &mut Errors) {
    if !name.is_empty() {
        errors.invalid_each(at, name, Form::Subdomain.problems(name));
    }
}

/// Checks one address at which a balancer answers.
pub(crate) fn validate_entry(at: &str, entry: &Object, errors: &mut Errors) {
    let (ip, hostname) = (text(entry, "ip"), text(entry, "hostname"));
    if !ip.is_empty() {
        net::validate_ip(&format!("{at}.ip"), ip, errors);
    }
    if !hostname.is_empty() {
        let at = format!("{at}.hostname");
        errors.invalid_each(&at, hostname, Form::Subdomain.problems(hostname));
        if net::parse_ip(hostname).is_some() {
            errors.invalid(at, &hostname.into(), "must be a DNS name, not an IP address");
        }
    }
}

fn validate_rule(at: &str, rule: &Object, errors: &mut Errors) {
    let host = text(rule, "host");
    if net::parse_ip(host).is_some() {
        let why = "must be a DNS name, not an IP address";
        errors.invalid(format!("{at}.host"), &host.into(), why);
    } else if !host.is_empty() {
        net::validate_host(&format!("{at}.host"), host, errors);
    }
    let Some(http) = part(rule, "http") else { return };
    let paths = items(http, "paths", &format!("{at}.http"));
    if paths.is_empty() {
        errors.required(format!("{at}.http.paths"), "");
    }
    for (at, path) in paths {
        validate_path(&at, path, errors);
        let backend = part(path, "backend").cloned().unwrap_or_default();
        validate_backend(&format!("{at}.backend"), &backend, errors);
    }
}

fn validate_path(at: &str, path: &Object, errors: &mut Errors) {
    let (given, shown) = (text(path, "path"), format!("{at}.path"));
    let absolute = given.starts_with('/');
    match value(path, "pathType").and_then(Value::as_str) {
        None => errors.required(format!("{at}.pathType"), "pathType must be specified"),
        Some("Exact" | "Prefix") if !absolute => {
            errors.invalid(shown, &given.into(), "must be an absolute path");
        }
        Some("Exact" | "Prefix") => {
            for bad in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|b| given.contains(**b)) {
                errors.invalid(&shown, &given.into(), &format!("must not contain '{bad}'"));
            }
            for bad in ["/..", "/."].iter().filter(|b| given.ends_with(**b)) {
                errors.invalid(&shown, &given.into(), &format!("cannot end with '{bad}'"));
            }
        }
        Some("ImplementationSpecific") => {
            if !given.is_empty() && !absolute {
                errors.invalid(shown, &given.into(), "must be an absolute path");
            }
        }
        Some(other) => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.unsupported(format!("{at}.pathType"), &other.into(), &known);
        }
    }
}

fn validate_backend(at: &str, backend: &Object, errors: &mut Errors) {
    let (service, resource) = (part(backend, "service"), part(backend, "resource"));
    match (service, resource) {
        (Some(_), Some(_)) => {
            errors.invalid(at, &"".into(), "cannot set both resource and service backends");
        }
        (None, None) => errors.invalid(at, &"".into(), "resource or service backend is required"),
        (None, Some(resource)) => validate_resource(&format!("{at}.resource"), resource, errors),
        (Some(service), None) => {
            match text(service, "name") {
                "" => errors.required(format!("{at}.service.name"), ""),
                name => {
                    let problems = validate_name::dns_label(name);
                    errors.invalid_each(&format!("{at}.service.name"), name, problems);
                }
            }
            let port = part(service, "port").cloned().unwrap_or_default();
            let name = text(&port, "name");
            let number = port.get("number").and_then(Value::as_i64).unwrap_or(0);
            match (name, number) {
                ("", 0) => errors.required(at, "port name or number is required"),
                ("", number) => validate_port(number, &format!("{at}.service.port.number"), errors),
                (name, 0) => {
                    let problems = net::port_name_problems(name);
                    errors.invalid_each(&format!("{at}.service.port.name"), name, problems);
                }
                _ => errors.invalid(at, &"".into(), "cannot set both port name & port number"),
            }
        }
    }
}

fn validate_resource(at: &str, resource: &Object, errors: &mut Errors) {
    if let Some(group) = value(resource, "apiGroup").and_then(Value::as_str) {
        errors.invalid_each(&format!("{at}.apiGroup"), group, Form::Subdomain.problems(group));
    }
    for key in ["kind", "name"] {
        match text(resource, key) {
            "" => errors.required(format!("{at}.{key}"), ""),
            given => {
                let problems = Form::PathSegment.problems(given);
                errors.invalid_each(&format!("{at}.{key}"), given, problems);
            }
        }
    }
}

/// The rules of Ingress classes.
pub(crate) static INGRESS_CLASSES: KindRules = KindRules {
    facts: &[Default("spec.parameters.scope", Text("Cluster")), Immutable("spec.controller")],
    validate: validate_class,
    ..KindRules::PLAIN
};

fn validate_class(object: &Object, errors: &mut Errors) {
    let empty = Object::new();
    let spec = part(object, "spec").unwrap_or(&empty);
    let controller = text(spec, "controller");
    if controller.len() > CONTROLLER_BYTES_MAX {
        errors.too_long("spec.controller", CONTROLLER_BYTES_MAX);
    }
    if controller.is_empty() {
        errors.required("spec.controller", "");
    } else {
        net::validate_domain_path("spec.controller", controller, errors);
    }
    let Some(parameters) = part(spec, "parameters") else { return };
    validate_resource("spec.parameters", parameters, errors);
    let namespace = value(parameters, "namespace").and_then(Value::as_str);
    match text(parameters, "scope") {
        "" => errors.required("spec.parameters.scope", ""),
        "Cluster" if namespace.is_some() => {
            let why = "parameters.scope is set to 'Cluster'";
            errors.forbidden("spec.parameters.namespace", why);
        }
        "Namespace" => match namespace.unwrap_or_default() {
            "" => {
                let why = "parameters.scope is set to 'Namespace'";
                errors.required("spec.parameters.namespace", why);
            }
            name => {
                let problems = validate_name::dns_label(name);
                errors.invalid_each("spec.parameters.namespace", name, problems);
            }
        },
        "Cluster" => {}
        other => {
            let known = ["Cluster", "Namespace"];
            errors.unsupported("spec.parameters.scope", &other.into(), &known);
        }
    }
}
