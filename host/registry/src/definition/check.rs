//! What can be wrong with a definition.

use std::collections::BTreeSet;

use quadrille_object::{Schema, validate_name};
use serde_json::Value;

use crate::definition::{name_in, names_in};
use crate::field::{self, Errors, Object};
use crate::metadata;

const CASE: &str = "may have mixed case, but should otherwise match: ";

pub(crate) fn validate(object: &Object, errors: &mut Errors) {
    let group = field::text(object, &["spec", "group"]).unwrap_or_default();
    let name = metadata::text(object, "name");
    if name != format!("{}.{group}", name_in(object, "plural")) {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid("metadata.name", &name.into(), why);
    }
    if group.is_empty() {
        errors.required("spec.group", "");
    } else if !validate_name::dns_subdomain(group).is_empty() {
        errors.invalid_each("spec.group", group, validate_name::dns_subdomain(group));
    } else if !group.contains('.') {
        errors.invalid("spec.group", &group.into(), "should be a domain with at least one dot");
    }
    match field::get(object, &["spec", "scope"]) {
        None => errors.required("spec.scope", ""),
        Some(_) => errors.one_of(object, &["spec", "scope"], &["Cluster", "Namespaced"]),
    }
    validate_names(object, errors);
    validate_versions(object, errors);
    let strategy = field::text(object, &["spec", "conversion", "strategy"]).unwrap_or_default();
    if !matches!(strategy, "None" | "Webhook") {
        errors.unsupported("spec.conversion.strategy", &strategy.into(), &["None", "Webhook"]);
    }
    if strategy == "None" && field::get(object, &["spec", "conversion", "webhook"]).is_some() {
        let why = "should not be set when strategy is not set to Webhook";
        errors.forbidden("spec.conversion.webhook", why);
    }
}

fn validate_names(object: &Object, errors: &mut Errors) {
    for (key, mixed_case) in
        [("plural", false), ("singular", false), ("kind", true), ("listKind", true)]
    {
        let name = name_in(object, key);
        let at = format!("spec.names.{key}");
        if name.is_empty() {
            errors.required(at, "");
        } else if mixed_case {
            for problem in validate_name::dns_1035_label(&name.to_lowercase()) {
                errors.invalid(&at, &name.into(), &format!("{CASE}{problem}"));
            }
        } else {
            errors.invalid_each(&at, name, validate_name::dns_1035_label(name));
        }
    }
    for key in ["shortNames", "categories"] {
        for (index, name) in names_in(object, key).iter().enumerate() {
            let at = format!("spec.names.{key}[{index}]");
            errors.invalid_each(&at, name, validate_name::dns_1035_label(name));
        }
    }
    let (kind, list_kind) = (name_in(object, "kind"), name_in(object, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        let why = "kind and listKind may not be the same";
        errors.invalid("spec.names.listKind", &list_kind.into(), why);
    }
}

fn validate_versions(object: &Object, errors: &mut Errors) {
    let versions = field::list(object, &["spec", "versions"]);
    let flag = |version: &Value, key: &str| version.get(key) == Some(&Value::Bool(true));
    let storage = versions.iter().filter(|v| flag(v, "storage")).count();
    let shown = Value::Array(versions.to_vec());
    if versions.is_empty() {
        errors.required("spec.versions", "must have exactly one version marked as storage version");
    } else if storage != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.invalid("spec.versions", &shown, why);
    }
    let mut names = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        let at = format!("spec.versions[{index}]");
        let name = version.get("name").and_then(Value::as_str).unwrap_or_default();
        if !names.insert(name) {
            errors.invalid("spec.versions", &shown, "must contain unique version names");
        }
        for problem in validate_name::dns_1035_label(name) {
            errors.invalid(format!("{at}.name"), &name.into(), &problem);
            if index == 0 {
                errors.invalid("spec.version", &name.into(), &problem);
            }
        }
        let alone = versions.len() == 1;
        validate_version(version, &at, alone, errors);
    }
}

/// A lone version's schema, columns and subresources are checked as the definition's own.
fn validate_version(version: &Value, at: &str, alone: bool, errors: &mut Errors) {
    let schema = version.get("schema").and_then(|s| s.get("openAPIV3Schema"));
    match schema.filter(|s| !s.is_null()) {
        None => errors.required(format!("{at}.schema.openAPIV3Schema"), ""),
        Some(schema) => {
            let path = if alone {
                "spec.validation.openAPIV3Schema".to_owned()
            } else {
                format!("{at}.schema.openAPIV3Schema")
            };
            if let Err(problems) = Schema::from_crd(schema, &path) {
                errors.0.extend(problems);
            }
        }
    }
    let at = if alone { "spec" } else { at };
    if let Some(scale) = version.get("subresources").and_then(|s| s.get("scale")) {
        let at = format!("{at}.subresources.scale");
        for (key, head) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
            let path = scale.get(key).and_then(Value::as_str).unwrap_or_default();
            let starts = path.strip_prefix(head).is_some_and(|rest| rest.starts_with('.'));
            if path.is_empty() {
                errors.required(format!("{at}.{key}"), "");
            } else if !starts {
                let why = format!("should be a json path under {head}");
                errors.invalid(format!("{at}.{key}"), &path.into(), &why);
            }
        }
        let selector = scale.get("labelSelectorPath").and_then(Value::as_str).unwrap_or_default();
        if !selector.is_empty()
            && !selector.starts_with(".spec.")
            && !selector.starts_with(".status.")
        {
            let why = "should be a json path under either .spec or .status";
            errors.invalid(format!("{at}.labelSelectorPath"), &selector.into(), why);
        }
    }
    let columns = version.get("additionalPrinterColumns").and_then(Value::as_array);
    for (index, column) in columns.into_iter().flatten().enumerate() {
        let at = format!("{at}.additionalPrinterColumns[{index}]");
        validate_column(column, &at, errors);
    }
}

fn validate_column(column: &Value, at: &str, errors: &mut Errors) {
    let text = |key: &str| column.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("name").is_empty() {
        errors.required(format!("{at}.name"), "");
    }
    let known = ["boolean", "date", "integer", "number", "string"];
    match text("type") {
        "" => errors.required(format!("{at}.type"), ""),
        kind if !known.contains(&kind) => {
            let message = format!("must be one of {}", known.join(","));
            errors.invalid(format!("{at}.type"), &kind.into(), &message);
        }
        _ => {}
    }
    let formats = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    if !text("format").is_empty() && !formats.contains(&text("format")) {
        let message = format!("must be one of {}", formats.join(","));
        errors.invalid(format!("{at}.format"), &text("format").into(), &message);
    }
    match text("jsonPath") {
        "" => errors.required(format!("{at}.jsonPath"), ""),
        path if !path.starts_with('.') => {
            errors.invalid(
                format!("{at}.jsonPath"),
                &path.into(),
                "must be a simple json path starting with .",
            );
        }
        _ => {}
    }
}

/// Objects may be stored in every version that was ever the storage version, until somebody says otherwise.
pub(crate) fn validate_stored_versions(object: &Object, errors: &mut Errors) {
    let versions = field::list(object, &["spec", "versions"]);
    let stored = field::list(object, &["status", "storedVersions"]);
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|v| v.get("name") == Some(name)) {
            let why = "missing from spec.versions; only versions that no object is stored in may be removed";
            errors.invalid(format!("status.storedVersions[{index}]"), name, why);
        }
    }
}
