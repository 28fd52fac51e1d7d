//! Bindings of policies: which policy, with which parameters, for which requests, with which consequence.

use std::collections::HashSet;

use quadrille_object::validate_name;
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::rules::admission::policy::is_valid;
use crate::rules::admission::{given, list, matching, permission, text};
use crate::rules::{Rules, pod_template};
use crate::status::Status;
use crate::write::Attempt;

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];

/// The rules of `ValidatingAdmissionPolicyBindings`.
#[derive(Debug)]
pub(crate) struct ValidatingBindings;

impl Rules for ValidatingBindings {
    fn default(&self, object: &mut Object) {
        matching::default_in(field::map_mut(object, &["spec"]), "matchResources");
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        if !is_valid(self, object) {
            return Ok(());
        }
        permission::check_reference(attempt, "validatingadmissionpolicies", object, None)
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        if !is_valid(self, object) {
            return Ok(());
        }
        permission::check_reference(attempt, "validatingadmissionpolicies", object, Some(before))
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        let Some(spec) = object.get("spec") else { return };
        validate_reference(spec, errors);
        if let Some(of) = given(spec, "matchResources") {
            matching::validate_resources(of, "spec.matchResources", errors);
        }
        validate_actions(list(spec, "validationActions"), "spec.validationActions", errors);
    }
}

/// The rules of `MutatingAdmissionPolicyBindings`.
#[derive(Debug)]
pub(crate) struct MutatingBindings;

impl Rules for MutatingBindings {
    fn default(&self, object: &mut Object) {
        matching::default_in(field::map_mut(object, &["spec"]), "matchResources");
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        if !is_valid(self, object) {
            return Ok(());
        }
        permission::check_reference(attempt, "mutatingadmissionpolicies", object, None)
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        if !is_valid(self, object) {
            return Ok(());
        }
        permission::check_reference(attempt, "mutatingadmissionpolicies", object, Some(before))
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        let Some(spec) = object.get("spec") else { return };
        validate_reference(spec, errors);
        if let Some(of) = given(spec, "matchResources") {
            matching::validate_resources(of, "spec.matchResources", errors);
            matching::validate_mutable(of, "spec.matchResources", errors);
        }
    }
}

fn validate_reference(spec: &Value, errors: &mut Errors) {
    let name = text(spec, "policyName");
    if name.is_empty() {
        errors.required("spec.policyName", "");
    } else {
        errors.invalid_each("spec.policyName", name, validate_name::dns_subdomain(name));
    }
    if let Some(reference) = given(spec, "paramRef") {
        validate_params(reference, "spec.paramRef", errors);
    }
}

fn validate_params(reference: &Value, at: &str, errors: &mut Errors) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let (name, selector) = (text(reference, "name"), given(reference, "selector"));
    if !name.is_empty() {
        let problems = validate_name::path_segment(name);
        errors.invalid_each(&format!("{at}.name"), name, problems);
        if selector.is_some() {
            errors.forbidden(format!("{at}.name"), EXCLUSIVE);
        }
    }
    if let Some(selector) = selector {
        let at = format!("{at}.selector");
        pod_template::validate_label_selector(selector, &at, errors);
        if !name.is_empty() {
            errors.forbidden(at, EXCLUSIVE);
        }
    }
    if name.is_empty() && selector.is_none() {
        errors.required(at, "one of name or selector must be specified");
    }
    let at = format!("{at}.parameterNotFoundAction");
    match text(reference, "parameterNotFoundAction") {
        "" => errors.required(at, ""),
        "Deny" | "Allow" => {}
        other => errors.unsupported(at, &other.into(), &["Deny", "Allow"]),
    }
}

fn validate_actions(actions: &[Value], at: &str, errors: &mut Errors) {
    let of = |name: &str| actions.iter().any(|action| action.as_str() == Some(name));
    let mut seen = HashSet::new();
    for (index, action) in actions.iter().enumerate() {
        let at = format!("{at}[{index}]");
        if !action.as_str().is_some_and(|text| ACTIONS.contains(&text)) {
            errors.unsupported(at.as_str(), action, &ACTIONS);
        }
        if !seen.insert(action) {
            errors.duplicate(at, action);
        }
    }
    if of("Deny") && of("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in \
                   the API response and headers serves no purpose)";
        errors.invalid(at, &actions.into(), why);
    }
    if actions.is_empty() {
        errors.required(at, "at least one validation action is required");
    }
}
