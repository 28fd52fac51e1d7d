//! Validation of what Pods and templates of Pods have in common: the `PodSpec`, in kube-apiserver's order and words.

use std::collections::BTreeSet;

use quadrille_object::validate_name;
use serde_json::Value;

use super::at::At;
use super::container::Around;
use super::resource::{self, Of};
use super::{affinity, annotation, container, overall, placement, security, volume, windows};
use crate::field::{self, Errors, Object};
use crate::metadata;

/// Whether a `PodSpec` is a Pod's own or a template's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    Pod,
    Template,
}

/// Checks a `PodTemplateSpec` in an object.
pub(crate) fn validate_template(object: &Object, path: &[&str], errors: &mut Errors) {
    let at = path.join(".");
    let empty = Object::new();
    let template = field::get(object, path).and_then(Value::as_object).unwrap_or(&empty);
    let template = At::new(template, at);
    let metadata = template.child_or_empty("metadata");
    let texts = |key| metadata.entries(key).map(|(k, v)| (k, v.as_str().unwrap_or_default()));
    // kube-apiserver leaves `metadata` out of these paths.
    for (key, value) in texts("labels") {
        let path = template.path("labels");
        errors.0.extend(validate_name::labels(&path, [(key, value)]));
    }
    let path = template.path("annotations");
    if metadata.has("annotations") {
        errors.0.extend(validate_name::annotations(&path, texts("annotations")));
    }
    let spec = template.child_or_empty("spec");
    annotation::validate(&metadata, &path, &spec, errors);
    validate_spec(&spec, "", Within::Template, errors);
    annotation::validate_agreement(&metadata, &spec, false, errors);
    if !spec.list("ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.forbidden(spec.path("ephemeralContainers"), why);
    }
}

/// Checks a Pod; `is_new` for one that is created.
pub(crate) fn validate_pod(object: &Object, is_new: bool, errors: &mut Errors) {
    let pod = At::new(object, "");
    let (metadata, spec) = (pod.child_or_empty("metadata"), pod.child_or_empty("spec"));
    annotation::validate(&metadata, "metadata.annotations", &spec, errors);
    validate_spec(&spec, metadata::text(object, "name"), Within::Pod, errors);
    if spec.text("serviceAccountName").is_empty() {
        for volume in spec.items("volumes") {
            let projected = volume.child_or_empty("projected");
            for source in projected.items("sources").filter(|s| s.has("serviceAccountToken")) {
                let why = "must not be specified when serviceAccountName is not set";
                errors.forbidden(source.path("serviceAccountToken"), why);
            }
        }
    }
    if !is_new {
        return;
    }
    if !spec.list("ephemeralContainers").is_empty() {
        errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
    }
    if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.forbidden("spec.nodeName", why);
    }
    annotation::validate_agreement(&metadata, &spec, true, errors);
}

/// Checks a `PodSpec`; `owner` is the Pod's name, empty for a template.
fn validate_spec(spec: &At<'_>, owner: &str, within: Within, errors: &mut Errors) {
    let volumes = volume::validate(spec, owner, errors);
    let claims = spec.items("resourceClaims").map(|c| c.text("name"));
    let claims = claims.filter(|name| !name.is_empty()).collect();
    validate_resource_claims(spec, errors);
    let around = Around { volumes, claims, within };
    container::validate(spec, &around, errors);
    overall::validate(spec, &around.claims, errors);
    validate_host_network(spec, within, errors);
    errors.need_known(spec, "restartPolicy", &["Always", "OnFailure", "Never"]);
    let known = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    errors.need_known(spec, "dnsPolicy", &known);
    let texts = spec.entries("nodeSelector").map(|(k, v)| (k, v.as_str().unwrap_or_default()));
    errors.0.extend(validate_name::labels(&spec.path("nodeSelector"), texts));
    security::validate_pod(spec, errors);
    affinity::validate(spec, errors);
    placement::validate_dns(spec, errors);
    placement::validate_gates(spec, errors);
    placement::validate_spread(spec, within, errors);
    windows::validate_host_process(spec, errors);
    validate_host_users(spec, errors);
    validate_names(spec, errors);
    placement::validate_tolerations(spec, errors);
    placement::validate_aliases(spec, errors);
    errors.dns_subdomain(spec, "priorityClassName");
    if spec.has("runtimeClassName") {
        let name = spec.text("runtimeClassName");
        let problems = validate_name::dns_subdomain(name);
        errors.invalid_each(&spec.path("runtimeClassName"), name, problems);
    }
    errors.known(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"]);
    if let Some(overhead) = spec.get("overhead") {
        let as_limits = Object::from_iter([("limits".to_owned(), overhead.clone())]);
        let at = At::new(&as_limits, spec.path("overhead"));
        resource::validate(&at, Of::Container, &BTreeSet::new(), errors);
    }
    windows::validate_os(spec, errors);
}

fn validate_names(spec: &At<'_>, errors: &mut Errors) {
    errors.dns_subdomain(spec, "serviceAccountName");
    errors.dns_subdomain(spec, "nodeName");
    errors.within(spec, "activeDeadlineSeconds", 1, i64::from(i32::MAX));
    errors.dns_label(spec, "hostname");
    errors.dns_label(spec, "subdomain");
    let name = spec.text("hostnameOverride");
    if spec.has("hostnameOverride") {
        let path = spec.path("hostnameOverride");
        if name.len() > 64 {
            errors.invalid(path.clone(), &name.into(), "must be no more than 64 characters");
        }
        errors.invalid_each(&path, name, validate_name::dns_subdomain(name));
        if spec.is("setHostnameAsFQDN") {
            let why = "setHostnameAsFQDN must be false or unset when hostnameOverride is set";
            errors.forbidden(spec.path("setHostnameAsFQDN"), why);
        }
        if spec.is("hostNetwork") {
            let why = "cannot be set when hostNetwork is true";
            errors.forbidden(path, why);
        }
    }
}

fn validate_resource_claims(spec: &At<'_>, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for claim in spec.items("resourceClaims") {
        let name = claim.text("name");
        if errors.need(&claim, "name") {
            if names.insert(name) {
                errors.dns_label(&claim, "name");
            } else {
                errors.duplicate(claim.path("name"), &name.into());
            }
        }
        let given = ["resourceClaimName", "resourceClaimTemplateName"];
        let shown = || Value::Object(claim.map.clone());
        match given.iter().filter(|key| claim.has(key)).count() {
            0 => {
                let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(claim.path.clone(), &shown(), why);
            }
            1 => {}
            _ => {
                let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be \
                           specified";
                errors.invalid(claim.path.clone(), &shown(), why);
            }
        }
        for key in given {
            errors.dns_subdomain(&claim, key);
        }
    }
}

fn validate_host_network(spec: &At<'_>, within: Within, errors: &mut Errors) {
    if !spec.is("hostNetwork") {
        return;
    }
    for port in spec.items("containers").flat_map(|c| c.items("ports").collect::<Vec<_>>()) {
        let host = port.integer("hostPort").unwrap_or(0);
        let inner = port.integer("containerPort").unwrap_or(0);
        if (within == Within::Pod || host != 0) && host != inner {
            let why = "must match `containerPort` when `hostNetwork` is true";
            errors.invalid(port.path("hostPort"), &host.into(), why);
        }
    }
}

fn validate_host_users(spec: &At<'_>, errors: &mut Errors) {
    if spec.flag("hostUsers") != Some(false) {
        return;
    }
    // The last two in kube-apiserver's own spelling.
    for (key, shown) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if spec.is(key) {
            errors.forbidden(spec.path(shown), "when `pod.Spec.HostUsers` is false");
        }
    }
}
