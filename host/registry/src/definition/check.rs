//! What can be wrong with a definition: its names, its versions taken together, its status.

use std::collections::{BTreeSet, HashSet};

use quadrille_object::validate_name;
use serde_json::Value;

use super::{approval, conversion, version};
use crate::definition::{is_served, name_in};
use crate::field::{self, Errors, Object};
use crate::metadata;

const CASE: &str = "may have mixed case, but should otherwise match: ";

/// Checks a new definition.
pub(crate) fn validate(object: &Object, errors: &mut Errors) {
    let group = field::text(object, &["spec", "group"]).unwrap_or_default();
    let name = metadata::text(object, "name");
    if name != format!("{}.{group}", name_in(object, "plural")) {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid("metadata.name", &name.into(), why);
    }
    validate_spec(object, None, errors);
    approval::validate(object, None, errors);
    if field::get(object, &["spec", "preserveUnknownFields"]) == Some(&Value::Bool(true)) {
        preserves(errors);
    }
}

/// Checks a changed definition.
pub(crate) fn validate_update(object: &Object, before: &Object, errors: &mut Errors) {
    validate_spec(object, Some(before), errors);
    let changed = |path: &[&str]| (field::get(object, path), field::get(before, path));
    if is_served(before) {
        for path in [&["spec", "scope"][..], &["spec", "names", "kind"]] {
            let (new, old) = changed(path);
            errors.immutable(&path.join("."), new, old);
        }
    }
    for path in [&["spec", "group"][..], &["spec", "names", "plural"]] {
        let (new, old) = changed(path);
        errors.immutable(&path.join("."), new, old);
    }
    validate_accepted(object, before, errors);
    validate_stored_versions(object, errors);
    approval::validate(object, Some(before), errors);
    let yes = Some(&Value::Bool(true));
    let (new, old) = changed(&["spec", "preserveUnknownFields"]);
    if new == yes && old != yes {
        preserves(errors);
    }
}

fn preserves(errors: &mut Errors) {
    let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    errors.invalid("spec.preserveUnknownFields", &true.into(), why);
}

fn validate_spec(object: &Object, before: Option<&Object>, errors: &mut Errors) {
    let group = field::text(object, &["spec", "group"]).unwrap_or_default();
    let problems = validate_name::dns_subdomain(group);
    if group.is_empty() {
        errors.required("spec.group", "");
    } else if !problems.is_empty() {
        errors.invalid("spec.group", &group.into(), &problems.join(","));
    } else if !group.contains('.') {
        errors.invalid("spec.group", &group.into(), "should be a domain with at least one dot");
    }
    match field::text(object, &["spec", "scope"]) {
        None | Some("") => errors.required("spec.scope", ""),
        Some(_) => errors.one_of(object, &["spec", "scope"], &["Cluster", "Namespaced"]),
    }
    version::validate(object, before, errors);
    validate_versions(object, errors);
    for key in ["plural", "singular", "kind", "listKind"] {
        if name_in(object, key).is_empty() {
            errors.required(format!("spec.names.{key}"), "");
        }
    }
    if let Some(Value::Object(names)) = field::get(object, &["spec", "names"]) {
        validate_names(names, "spec.names", errors);
    }
    conversion::validate(object, before, errors);
}

fn validate_versions(object: &Object, errors: &mut Errors) {
    let versions = field::list(object, &["spec", "versions"]);
    let storage = versions.iter().filter(|v| v.get("storage") == Some(&Value::Bool(true))).count();
    let shown = Value::Array(versions.to_vec());
    let names: Vec<&str> = versions
        .iter()
        .map(|v| v.get("name").and_then(Value::as_str).unwrap_or_default())
        .collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    if distinct.len() != names.len() {
        errors.invalid("spec.versions", &shown, "must contain unique version names");
    }
    let one = "must have exactly one version marked as storage version";
    if versions.is_empty() {
        errors.required("spec.versions", one);
    } else if storage != 1 {
        errors.invalid("spec.versions", &shown, one);
    }
    // The first version is the definition's own, of old.
    if let Some(first) = names.first() {
        let problems = validate_name::dns_1035_label(first);
        if !problems.is_empty() && !first.is_empty() {
            errors.invalid("spec.version", &(*first).into(), &problems.join(","));
        }
    }
}

/// Names that the definition asks for, or has.
fn validate_names(names: &Object, at: &str, errors: &mut Errors) {
    let of = |key: &str| names.get(key).and_then(Value::as_str).unwrap_or_default();
    for key in ["plural", "singular"] {
        let problems = validate_name::dns_1035_label(of(key));
        if !of(key).is_empty() && !problems.is_empty() {
            errors.invalid(format!("{at}.{key}"), &of(key).into(), &problems.join(","));
        }
    }
    for key in ["kind", "listKind"] {
        let problems = validate_name::dns_1035_label(&of(key).to_lowercase());
        if !of(key).is_empty() && !problems.is_empty() {
            let why = format!("{CASE}{}", problems.join(","));
            errors.invalid(format!("{at}.{key}"), &of(key).into(), &why);
        }
    }
    let all = |key: &str| field::list(names, &[key]).iter().filter_map(Value::as_str).enumerate();
    for key in ["shortNames", "categories"] {
        for (index, name) in all(key) {
            let problems = validate_name::dns_1035_label(name);
            if !problems.is_empty() {
                errors.invalid(format!("{at}.{key}[{index}]"), &name.into(), &problems.join(","));
            }
        }
    }
    if !of("kind").is_empty() && of("kind") == of("listKind") {
        let why = "kind and listKind may not be the same";
        errors.invalid(format!("{at}.listKind"), &of("listKind").into(), why);
    }
}

/// Names that a client says were accepted; those that the definition itself asks for are checked there.
fn validate_accepted(object: &Object, before: &Object, errors: &mut Errors) {
    let of = |object| field::get(object, &["status", "acceptedNames"]);
    let wanted = field::get(object, &["spec", "names"]);
    if of(object) == of(before) || of(object) == wanted {
        return;
    }
    if let Some(Value::Object(names)) = field::get(object, &["status", "acceptedNames"]) {
        validate_names(names, "status.acceptedNames", errors);
    }
}

/// Objects may be stored in every version that was ever the storage version, until somebody says otherwise.
fn validate_stored_versions(object: &Object, errors: &mut Errors) {
    let versions = field::list(object, &["spec", "versions"]);
    let stored = field::list(object, &["status", "storedVersions"]);
    let at = "status.storedVersions";
    if stored.is_empty() {
        errors.invalid(at, &Value::Array(Vec::new()), "must have at least one stored version");
        return;
    }
    let known: HashSet<&Value> = stored.iter().collect();
    for version in versions.iter().filter(|v| v.get("storage") == Some(&Value::Bool(true))) {
        if let Some(name) = version.get("name").filter(|name| !known.contains(name)) {
            let name = name.as_str().unwrap_or_default();
            errors.invalid(at, version, &format!("must have the storage version {name}"));
        }
    }
    let served: HashSet<&Value> = versions.iter().filter_map(|v| v.get("name")).collect();
    for (index, name) in stored.iter().enumerate() {
        if served.contains(name) {
            continue;
        }
        let text = name.as_str().unwrap_or_default();
        let why = format!(
            "missing from spec.versions; {text} was previously a storage version, and must remain in spec.versions \
             until a storage migration ensures no data remains persisted in {text} and removes {text} from \
             status.storedVersions"
        );
        errors.invalid(format!("{at}[{index}]"), name, &why);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::promptly::promptly;

    #[test]
    fn stored_versions_are_many_and_looked_up_promptly() {
        let versions: Vec<Value> = (0..30_000).map(|n| json!({"name": format!("v{n}")})).collect();
        let stored: Vec<String> = (29_990..130_000).map(|n| format!("v{n}")).collect();
        let definition =
            json!({"spec": {"versions": versions}, "status": {"storedVersions": stored}});
        let mut errors = Errors::default();
        let definition = definition.as_object().expect("a map");
        promptly(|| validate_stored_versions(definition, &mut errors));
        assert_eq!(errors.0.first().map(|error| &*error.field), Some("status.storedVersions[10]"));
    }
}
