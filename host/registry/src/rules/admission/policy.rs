//! Policies, validating and mutating: which requests, under which conditions, and the expressions that decide.

use std::collections::BTreeSet;

use quadrille_object::validate_name;
use serde_json::{Value, json};

use crate::admission::expression::{Returns, Scope};
use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::Rules;
use crate::rules::admission::{
    FAILURE_POLICIES, REINVOCATION_POLICIES, given, list, matching, permission, required_one_of,
    text,
};
use crate::status::Status;
use crate::write::Attempt;

const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const PATCH_TYPES: [&str; 2] = ["ApplyConfiguration", "JSONPatch"];
const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_EXPRESSION_BYTES_MAX: usize = 5 * 1024;

/// The rules of `ValidatingAdmissionPolicies`.
#[derive(Debug)]
pub(crate) struct ValidatingPolicies;

impl Rules for ValidatingPolicies {
    fn default(&self, object: &mut Object) {
        default(object);
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        if !is_valid(self, object) {
            return Ok(());
        }
        permission::check_kind(attempt, object, None)
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        if attempt.subresource().is_some() || !is_valid(self, object) {
            return Ok(());
        }
        permission::check_kind(attempt, object, Some(before))
    }

    fn complete(&self, object: &mut Object) {
        field::default(object, "status", json!({}));
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        validate_validating(object, true, errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        validate_validating(object, !same_conditions(object, before), errors);
        validate_status(object, errors);
    }
}

/// The rules of `MutatingAdmissionPolicies`.
#[derive(Debug)]
pub(crate) struct MutatingPolicies;

impl Rules for MutatingPolicies {
    fn default(&self, object: &mut Object) {
        default(object);
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        if !is_valid(self, object) {
            return Ok(());
        }
        permission::check_kind(attempt, object, None)
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        if attempt.subresource().is_some() || !is_valid(self, object) {
            return Ok(());
        }
        permission::check_kind(attempt, object, Some(before))
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        validate_mutating(object, true, errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        validate_mutating(object, !same_conditions(object, before), errors);
    }
}

/// Permissions are asked for when nothing else is wrong.
pub(super) fn is_valid(rules: &dyn Rules, object: &Object) -> bool {
    // Without parameters nobody is asked, and the expressions need not be compiled twice.
    let asks =
        ["paramKind", "paramRef"].iter().any(|key| field::get(object, &["spec", key]).is_some());
    let mut errors = Errors::default();
    if asks {
        rules.validate(object, &mut errors);
    }
    errors.0.is_empty()
}

fn default(object: &mut Object) {
    let spec = field::map_mut(object, &["spec"]);
    field::default(spec, "failurePolicy", "Fail");
    matching::default_in(spec, "matchConstraints");
}

/// Conditions that did not change are not checked again.
fn same_conditions(object: &Object, before: &Object) -> bool {
    let same = |key| field::get(object, &["spec", key]) == field::get(before, &["spec", key]);
    same("paramKind") && same("matchConditions")
}

fn validate_validating(object: &Object, conditions: bool, errors: &mut Errors) {
    let Some(spec) = object.get("spec") else { return };
    let scope = validate_common(spec, conditions, errors);
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.required("spec.auditAnnotations", why);
        errors.required("spec.validations", why);
        return;
    }
    for (index, validation) in validations.iter().enumerate() {
        validate_validation(validation, &format!("spec.validations[{index}]"), &scope, errors);
    }
    let name = metadata::text(object, "name");
    validate_annotations(annotations, name, &scope, errors);
}

fn validate_mutating(object: &Object, conditions: bool, errors: &mut Errors) {
    let Some(spec) = object.get("spec") else { return };
    let scope = validate_common(spec, conditions, errors);
    if let Some(of) = given(spec, "matchConstraints") {
        matching::validate_mutable(of, "spec.matchConstraints", errors);
    }
    let mutations = list(spec, "mutations");
    if mutations.is_empty() {
        errors.required("spec.mutations", "mutations must contain at least one item");
    }
    for (index, mutation) in mutations.iter().enumerate() {
        validate_mutation(mutation, &format!("spec.mutations[{index}]"), &scope, errors);
    }
    required_one_of(spec, "reinvocationPolicy", "spec", &REINVOCATION_POLICIES, errors);
}

/// What both kinds have; answers what their expressions may name.
fn validate_common(spec: &Value, conditions: bool, errors: &mut Errors) -> Scope {
    required_one_of(spec, "failurePolicy", "spec", &FAILURE_POLICIES, errors);
    let params = given(spec, "paramKind");
    if let Some(kind) = params {
        validate_param_kind(kind, "spec.paramKind", errors);
    }
    match given(spec, "matchConstraints") {
        None => errors.required("spec.matchConstraints", ""),
        Some(of) => {
            matching::validate_resources(of, "spec.matchConstraints", errors);
            if list(of, "resourceRules").is_empty() {
                errors.required("spec.matchConstraints.resourceRules", "");
            }
        }
    }
    let mut scope = Scope::new(params.is_some());
    if conditions {
        let conditions = list(spec, "matchConditions");
        matching::validate_conditions(conditions, "spec.matchConditions", &scope, errors);
    }
    for (index, variable) in list(spec, "variables").iter().enumerate() {
        validate_variable(variable, &format!("spec.variables[{index}]"), &mut scope, errors);
    }
    scope
}

fn validate_param_kind(kind: &Value, at: &str, errors: &mut Errors) {
    let version = text(kind, "apiVersion");
    let at_version = format!("{at}.apiVersion");
    match (version, version.matches('/').count()) {
        ("", _) => errors.required(at_version, ""),
        (_, 0 | 1) => validate_group_version(version, &at_version, errors),
        (_, _) => {
            let why = format!("unexpected GroupVersion string: {version}");
            errors.invalid(at_version, &version.into(), &why);
        }
    }
    let name = text(kind, "kind");
    let at_kind = format!("{at}.kind");
    if name.is_empty() {
        errors.required(at_kind, "");
        return;
    }
    let problems = validate_name::dns_1035_label(&name.to_lowercase());
    if !problems.is_empty() {
        let why =
            format!("may have mixed case, but should otherwise match: {}", problems.join(","));
        errors.invalid(at_kind, &name.into(), &why);
    }
}

fn validate_group_version(given: &str, at: &str, errors: &mut Errors) {
    let (group, version) = given.split_once('/').unwrap_or(("", given));
    if !group.is_empty() {
        let problems = validate_name::dns_subdomain(group);
        if !problems.is_empty() {
            errors.invalid(at, &group.into(), &problems.join(","));
        }
    }
    if version.is_empty() {
        errors.invalid(at, &given.into(), "version must be specified");
        return;
    }
    let problems = validate_name::dns_1035_label(version);
    if !problems.is_empty() {
        errors.invalid(at, &version.into(), &problems.join(","));
    }
}

fn validate_variable(variable: &Value, at: &str, scope: &mut Scope, errors: &mut Errors) {
    let (name, expression) = (text(variable, "name"), text(variable, "expression"));
    if name.trim().is_empty() {
        errors.required(format!("{at}.name"), "name is not specified");
    } else if !is_identifier(name) {
        errors.invalid(format!("{at}.name"), &name.into(), "must be a valid CEL identifier");
    }
    if expression.trim().is_empty() {
        errors.required(format!("{at}.expression"), "expression is not specified");
    } else if let Err(why) = scope.declare(name, expression) {
        errors.invalid(format!("{at}.expression"), &expression.into(), &why);
    }
}

/// Whether a text may stand as a name in CEL.
fn is_identifier(name: &str) -> bool {
    let starts = |b: &u8| b.is_ascii_alphabetic() || *b == b'_';
    name.as_bytes().first().is_some_and(starts)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !quadrille_cel::is_reserved(name)
}

fn validate_validation(validation: &Value, at: &str, scope: &Scope, errors: &mut Errors) {
    let of = |key| text(validation, key);
    let expression = of("expression");
    if expression.trim().is_empty() {
        errors.required(format!("{at}.expression"), "expression is not specified");
    } else if let Err(why) = scope.compile(expression, Returns::Bool) {
        errors.invalid(format!("{at}.expression"), &expression.into(), &why);
    }
    let dynamic = of("messageExpression");
    if !dynamic.is_empty() && dynamic.trim().is_empty() {
        let why = "must be non-empty if specified";
        errors.invalid(format!("{at}.messageExpression"), &dynamic.into(), why);
    } else if !dynamic.is_empty()
        && let Err(why) = scope.without_authorizer().compile(dynamic, Returns::Text)
    {
        errors.invalid(format!("{at}.messageExpression"), &dynamic.into(), &why);
    }
    let message = of("message");
    let at_message = format!("{at}.message");
    if !message.is_empty() && message.trim().is_empty() {
        let why = "must be non-empty if specified";
        errors.invalid(at_message, &message.into(), why);
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(at_message, &message.into(), "must not contain line breaks");
    }
    if let Some(reason) = given(validation, "reason")
        && !reason.as_str().is_some_and(|text| REASONS.contains(&text))
    {
        errors.unsupported(format!("{at}.reason"), reason, &REASONS);
    }
}

fn validate_annotations(annotations: &[Value], name: &str, scope: &Scope, errors: &mut Errors) {
    let at = "spec.auditAnnotations";
    if annotations.len() > ANNOTATIONS_MAX {
        let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.invalid(at, &annotations.into(), &why);
    }
    let mut keys = BTreeSet::new();
    for (index, annotation) in annotations.iter().enumerate().take(ANNOTATIONS_MAX) {
        let at = format!("{at}[{index}]");
        let key = text(annotation, "key");
        let at_key = format!("{at}.key");
        if name.is_empty() {
            errors.invalid(at_key.as_str(), &key.into(), "requires metadata.name be non-empty");
        } else {
            let whole = format!("{name}/{key}");
            errors.invalid_each(&at_key, &whole, validate_name::qualified_name(&whole));
        }
        validate_annotation_value(text(annotation, "valueExpression"), &at, scope, errors);
        if !keys.insert(key) {
            errors.duplicate(at_key, &key.into());
        }
    }
}

fn validate_annotation_value(expression: &str, at: &str, scope: &Scope, errors: &mut Errors) {
    let at = format!("{at}.valueExpression");
    let trimmed = expression.trim();
    if trimmed.is_empty() {
        errors.required(at, "valueExpression is not specified");
    } else if trimmed.len() > ANNOTATION_EXPRESSION_BYTES_MAX {
        let why = format!("must not exceed {ANNOTATION_EXPRESSION_BYTES_MAX} bytes in length");
        errors.required(at, &why);
    } else if let Err(why) = scope.compile(trimmed, Returns::TextOrNull) {
        errors.invalid(at, &expression.into(), &why);
    }
}

fn validate_mutation(mutation: &Value, at: &str, scope: &Scope, errors: &mut Errors) {
    required_one_of(mutation, "patchType", at, &PATCH_TYPES, errors);
    let (wanted, returns, other) = match text(mutation, "patchType") {
        "JSONPatch" => ("jsonPatch", Returns::JsonPatch, "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", Returns::Configuration, "jsonPatch"),
        _ => return,
    };
    let patch_type = text(mutation, "patchType");
    match given(mutation, wanted) {
        None => {
            let why = format!("must be specified when patchType is {patch_type}");
            errors.required(format!("{at}.{wanted}"), &why);
        }
        Some(patch) => {
            let (expression, at) = (text(patch, "expression"), format!("{at}.{wanted}.expression"));
            if expression.trim().is_empty() {
                errors.required(at, "");
            } else if let Err(why) = scope.compile(expression, returns) {
                errors.invalid(at, &expression.into(), &why);
            }
        }
    }
    if given(mutation, other).is_some() {
        let why = format!("must not be specified when patchType is {patch_type}");
        errors.invalid(format!("{at}.{other}"), &format!("{{{other}}}").into(), &why);
    }
}

fn validate_status(object: &Object, errors: &mut Errors) {
    let warnings = field::list(object, &["status", "typeChecking", "expressionWarnings"]);
    for (index, warning) in warnings.iter().enumerate() {
        let at = format!("status.typeChecking.expressionWarnings[{index}]");
        for key in ["warning", "fieldRef"] {
            if text(warning, key).trim().is_empty() {
                errors.required(format!("{at}.{key}"), "");
            }
        }
    }
}
