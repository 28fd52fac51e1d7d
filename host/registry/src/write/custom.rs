//! What a definition asks of its objects: its schema, then its rules.

use std::sync::Arc;

use quadrille_object::{FieldError, FieldErrorKind};
use serde_json::Value;

use crate::catalog::{ScalePaths, custom};
use crate::definition::expressions::{self, Rules};
use crate::field::{self, Errors, Object};
use crate::write::Attempt;

/// What kube-apiserver calls errors about the object as a whole.
const NOWHERE: &str = "<nil>";

impl Attempt<'_> {
    /// Checks a custom resource; rules are left out where the schema already refuses what they look at.
    pub(crate) fn validate_custom(
        &mut self,
        object: &Object,
        before: Option<&Object>,
        errors: &mut Errors,
    ) {
        errors.0.extend(self.resource.schema.validate(object, before));
        if let Some(paths) = &self.resource.scale {
            validate_scale(object, paths, errors);
        }
        let Some(rules) = self.rules() else { return };
        // What is not told of a full list may be what hides rules.
        if errors.0.is_full() || errors.0.iter().any(|error| hides_rules(error.kind)) {
            let why = "Invalid value: null: some validation rules were not checked because the object was invalid; \
                       correct the existing errors to complete validation";
            errors.0.push(FieldError::new(FieldErrorKind::Invalid, NOWHERE, why));
            return;
        }
        let outcome = expressions::run(&rules, object, before);
        errors.0.extend(outcome.errors);
        self.warnings.extend(outcome.warnings);
    }

    /// The rules of the resource, compiled the first time that they are asked for.
    fn rules(&self) -> Option<Arc<Rules>> {
        let facts = self.resource.definition.as_ref().filter(|facts| facts.has_rules)?;
        if let Some(known) = facts.rules.get() {
            return known.clone();
        }
        let definition = self.definition()?;
        let rules = custom::rules_of(&definition, &self.resource.gvr.version).map(Arc::new);
        if custom::incarnation(&definition) != facts.incarnation {
            // The definition has changed since the request began: what is there now holds for this request alone.
            return rules;
        }
        facts.rules.get_or_init(|| rules).clone()
    }

    fn definition(&self) -> Option<Object> {
        serde_json::from_slice(&self.resource.definition_json(self.view)?).ok()
    }
}

/// What `scale` reads must be what it can show, whatever the schema says.
fn validate_scale(object: &Object, paths: &ScalePaths, errors: &mut Errors) {
    for path in [&paths.spec_replicas, &paths.status_replicas] {
        let at = format!(".{}", path.join("."));
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        let Some(value) = field::get(object, &keys) else { continue };
        match value.as_i64() {
            None => errors.invalid(&at, &0.into(), &not_of_type(&at, value, "int64")),
            Some(count) if count < 0 => {
                errors.invalid(at, value, "should be a non-negative integer");
            }
            Some(count) if i32::try_from(count).is_err() => {
                errors.invalid(at, value, &format!("should be less than or equal to {}", i32::MAX));
            }
            Some(_) => {}
        }
    }
    let Some(path) = &paths.label_selector else { return };
    let at = format!(".{}", path.join("."));
    let keys: Vec<&str> = path.iter().map(String::as_str).collect();
    if let Some(value) = field::get(object, &keys).filter(|value| !value.is_string()) {
        errors.invalid(&at, &"".into(), &not_of_type(&at, value, "string"));
    }
}

/// As Go says it.
fn not_of_type(at: &str, value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{at} accessor error: {value} is of the type {found}, expected {wanted}")
}

/// Whether a rule might stumble over what such an error is about.
fn hides_rules(kind: FieldErrorKind) -> bool {
    match kind {
        FieldErrorKind::NotSupported
        | FieldErrorKind::Required
        | FieldErrorKind::TooLong
        | FieldErrorKind::TooMany
        | FieldErrorKind::TypeInvalid => true,
        FieldErrorKind::Duplicate
        | FieldErrorKind::Invalid
        | FieldErrorKind::Forbidden
        | FieldErrorKind::NotFound
        | FieldErrorKind::Internal => false,
    }
}
