//! `metadata`: what the server fills in, what a client may not change, and what is wrong with the rest.

use std::collections::HashSet;

use quadrille_kit::Random;
use quadrille_object::{FieldError, FieldErrors, Timestamp, validate_name};
use serde_json::Value;

use crate::catalog::{NameRule, Resource};
use crate::field::{self, Errors, Object};

/// Kubernetes' length of the random end of a generated name, and of the longest prefix.
const GENERATED_LENGTH: usize = 5;
const GENERATED_PREFIX_MAX: usize = 63 - GENERATED_LENGTH;
/// No vowels and nothing that looks like another: generated names spell nothing.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The object's metadata, made where it is missing.
pub(crate) fn of_mut(object: &mut Object) -> &mut Object {
    field::map_mut(object, &["metadata"])
}

/// A text of the object's metadata; empty when it is missing.
pub(crate) fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    field::text(object, &["metadata", key]).unwrap_or_default()
}

/// The object's finalizers.
pub(crate) fn finalizers(object: &Object) -> impl Iterator<Item = &str> {
    field::list(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str)
}

/// A name from a prefix.
pub(crate) fn generate_name(prefix: &str, random: &dyn Random) -> String {
    let mut end = prefix.len().min(GENERATED_PREFIX_MAX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix.get(..end).unwrap_or_default().to_owned();
    for _ in 0..GENERATED_LENGTH {
        let at = usize::try_from(random.below(ALPHABET.len() as u64)).unwrap_or(0);
        name.push(char::from(*ALPHABET.get(at).unwrap_or(&b'x')));
    }
    name
}

/// Sets what the server alone decides about a new object.
pub(crate) fn begin(object: &mut Object, resource: &Resource, random: &dyn Random, now: Timestamp) {
    let metadata = of_mut(object);
    for key in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(key);
    }
    metadata.remove("generation");
    if resource.traits.generation {
        metadata.insert("generation".to_owned(), 1.into());
    }
    metadata.insert("uid".to_owned(), random.uuid().into());
    metadata.insert("creationTimestamp".to_owned(), now.to_rfc3339().into());
    tidy(metadata);
}

/// Carries over what no update changes.
pub(crate) fn carry(object: &mut Object, before: &Object) {
    let metadata = of_mut(object);
    let Some(old) = before.get("metadata").and_then(Value::as_object) else { return };
    field::copy(metadata, old, "generation");
    // Who sets it by hand is refused; what is set already stays as it is, whatever is sent.
    if old.contains_key("deletionTimestamp") {
        field::copy(metadata, old, "deletionTimestamp");
    }
    metadata.remove("selfLink");
    for key in ["uid", "creationTimestamp", "deletionGracePeriodSeconds"] {
        if metadata.get(key).is_none_or(Value::is_null) {
            field::copy(metadata, old, key);
        }
    }
    tidy(metadata);
}

/// Puts the zero value of its type where an entry or an item is null, as Go's decoder does, for kinds of every sort.
pub(crate) fn settle_nulls(object: &mut Object) {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else { return };
    let settle = |value: &mut Value, zero: Value| {
        if value.is_null() {
            *value = zero;
        }
    };
    for key in ["labels", "annotations"] {
        if let Some(Value::Object(entries)) = metadata.get_mut(key) {
            for entry in entries.values_mut() {
                settle(entry, Value::from(""));
            }
        }
    }
    let list = |metadata: &mut Object, key: &str, zero: Value| {
        if let Some(Value::Array(items)) = metadata.get_mut(key) {
            for item in items {
                settle(item, zero.clone());
            }
        }
    };
    list(metadata, "finalizers", Value::from(""));
    list(metadata, "managedFields", Value::Object(Object::new()));
    list(metadata, "ownerReferences", Value::Object(Object::new()));
    let owners = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut);
    for owner in owners.into_iter().flatten().filter_map(Value::as_object_mut) {
        owner.retain(|_, value| !value.is_null());
    }
}

/// Drops what says nothing: nulls, empty maps, lists and texts.
fn tidy(metadata: &mut Object) {
    metadata.retain(|_, value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    });
}

/// Removes owner references with the same uid; answers the warning that kube-apiserver gives.
pub(crate) fn dedup_owners(object: &mut Object) -> Option<String> {
    let owners = object.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
    let mut seen: HashSet<String> = HashSet::with_capacity(owners.len());
    let mut twice: Vec<String> = Vec::new();
    let mut told: HashSet<String> = HashSet::new();
    owners.retain(|owner| {
        let uid = owner.get("uid").and_then(Value::as_str).unwrap_or_default();
        let is_new = seen.insert(uid.to_owned());
        if !is_new && told.insert(uid.to_owned()) {
            twice.push(uid.to_owned());
        }
        is_new
    });
    if twice.is_empty() {
        return None;
    }
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in \
         1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) \
         observed: {}",
        twice.join(", ")
    ))
}

/// What is wrong with the metadata of a new or changed object.
pub(crate) fn validate(object: &Object, resource: &Resource) -> FieldErrors {
    let mut errors = Errors::default();
    let prefix = text(object, "generateName");
    for problem in name_problems(resource.traits.name_rule, prefix.trim_end_matches('-')) {
        if !prefix.is_empty() {
            errors.invalid("metadata.generateName", &prefix.into(), &problem);
        }
    }
    let name = text(object, "name");
    if name.is_empty() {
        errors.required("metadata.name", "name or generateName is required");
    } else {
        errors.invalid_each("metadata.name", name, name_problems(resource.traits.name_rule, name));
    }
    if let Some(labels) = entries(object, "labels") {
        errors.0.extend(validate_name::labels("metadata.labels", labels));
    }
    if let Some(annotations) = entries(object, "annotations") {
        errors.0.extend(validate_name::annotations("metadata.annotations", annotations));
    }
    validate_owners(field::list(object, &["metadata", "ownerReferences"]), &mut errors);
    if field::get(object, &["metadata", "finalizers"]).is_some() {
        validate_finalizers(object, resource, &mut errors);
    }
    errors.0
}

/// Built-in kinds outside of apiextensions ask for a prefix; kube-apiserver blames such names twice.
fn validate_finalizers(object: &Object, resource: &Resource, errors: &mut Errors) {
    const UNQUALIFIED: &str = "name is neither a standard finalizer name nor is it fully qualified";
    let lenient = resource.custom || *resource.gvr.group == *"apiextensions.k8s.io";
    let found = validate_name::finalizers("metadata.finalizers", finalizers(object));
    let unprefixed = |error: &FieldError| error.message.ends_with(UNQUALIFIED);
    let known: HashSet<String> =
        found.iter().filter(|e| unprefixed(e)).map(|e| e.field.clone()).collect();
    errors.0.extend(found.into_iter().filter(|error| !lenient || !unprefixed(error)));
    if lenient {
        return;
    }
    for (index, name) in finalizers(object).enumerate() {
        let at = format!("metadata.finalizers[{index}]");
        let standard = ["orphan", "foregroundDeletion", "kubernetes"].contains(&name);
        if !name.contains('/') && !standard && !known.contains(&at) {
            errors.invalid(at, &name.into(), UNQUALIFIED);
        }
    }
}

fn entries<'a>(object: &'a Object, key: &str) -> Option<impl Iterator<Item = (&'a str, &'a str)>> {
    let map = field::get(object, &["metadata", key])?.as_object()?;
    Some(map.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())))
}

/// What is wrong with a name.
pub(crate) fn name_problems(rule: NameRule, name: &str) -> Vec<String> {
    match rule {
        NameRule::Subdomain => validate_name::dns_subdomain(name),
        NameRule::Label if name.contains('.') => vec!["must not contain dots".to_owned()],
        NameRule::Label => validate_name::dns_label(name),
        NameRule::PathSegment => validate_name::path_segment(name),
    }
}

fn validate_owners(owners: &[Value], errors: &mut Errors) {
    /// How many controllers too many are told, and with how many of all references.
    const CONTROLLERS_TOLD_MAX: usize = 4;
    const SHOWN_MAX: usize = 64;
    let (mut controller, mut controllers): (Option<String>, usize) = (None, 0);
    for (at, owner) in owners.iter().enumerate() {
        let of = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let path = |key: &str| format!("metadata.ownerReferences[{at}].{key}");
        for (key, what) in [("kind", "kind"), ("name", "name"), ("uid", "uid")] {
            if of(key).is_empty() {
                errors.invalid(path(key), &"".into(), &format!("{what} must not be empty"));
            }
        }
        match of("apiVersion") {
            "" => errors.invalid(path("apiVersion"), &"".into(), "version must not be empty"),
            "v1" if of("kind") == "Event" => {
                let why = "/v1, Kind=Event is disallowed from being an owner";
                errors.invalid_shown("metadata.ownerReferences", &owner_text(owner), why);
            }
            _ => {}
        }
        if owner.get("controller").and_then(Value::as_bool) == Some(true) {
            controllers += 1;
            if controllers > CONTROLLERS_TOLD_MAX {
                continue;
            }
            if let Some(first) = &controller {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for \
                     {first} and {}/{}",
                    of("kind"),
                    of("name")
                );
                let all: Vec<String> = owners.iter().take(SHOWN_MAX).map(owner_text).collect();
                let shown = format!("[{}]", all.join(","));
                errors.invalid_shown("metadata.ownerReferences", &shown, &why);
            }
            controller = Some(format!("{}/{}", of("kind"), of("name")));
        }
    }
}

/// An owner reference as Kubernetes shows it in messages: JSON, its fields in the order of their type.
fn owner_text(owner: &Value) -> String {
    let keys = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let given = keys.iter().filter_map(|key| Some((key, owner.get(key).filter(|v| !v.is_null())?)));
    let fields: Vec<String> = given.map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// What is wrong with the field managers that the object carries.
fn validate_managers(object: &Object, errors: &mut Errors) {
    const MANAGER_BYTES_MAX: usize = 128;
    const SUBRESOURCE_BYTES_MAX: usize = 256;
    for (at, entry) in field::list(object, &["metadata", "managedFields"]).iter().enumerate() {
        let path = |key: &str| format!("metadata.managedFields[{at}].{key}");
        let of = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        if !matches!(of("operation"), "Apply" | "Update") {
            let why = "must be `Apply` or `Update`";
            errors.invalid(path("operation"), &of("operation").into(), why);
        }
        if !matches!(of("fieldsType"), "" | "FieldsV1") {
            errors.invalid(path("fieldsType"), &of("fieldsType").into(), "must be `FieldsV1`");
        }
        let manager = of("manager");
        if manager.len() > MANAGER_BYTES_MAX {
            errors.too_long(path("manager"), MANAGER_BYTES_MAX);
        }
        if manager.chars().any(char::is_control) {
            let why = "should only contain printable characters";
            errors.invalid(path("manager"), &manager.into(), why);
        }
        if of("subresource").len() > SUBRESOURCE_BYTES_MAX {
            errors.too_long(path("subresource"), SUBRESOURCE_BYTES_MAX);
        }
    }
}

/// What an update changed in the metadata that it may not.
///
/// Built-in kinds are checked twice by kube-apiserver, and clients see each cause twice.
pub(crate) fn validate_update(
    object: &Object,
    before: &Object,
    resource: &Resource,
) -> FieldErrors {
    let mut errors = changed(object, before);
    let mut managers = Errors::default();
    validate_managers(object, &mut managers);
    errors.extend(managers.0.clone());
    errors.extend(managers.0);
    if !resource.custom {
        errors.extend(errors.clone());
    }
    errors
}

fn changed(object: &Object, before: &Object) -> FieldErrors {
    let mut errors = Errors::default();
    for key in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let of = |object| field::get(object, &["metadata", key]).cloned();
        errors.immutable(&format!("metadata.{key}"), of(object).as_ref(), of(before).as_ref());
    }
    if !text(before, "deletionTimestamp").is_empty() {
        let old: HashSet<&str> = finalizers(before).collect();
        let added: Vec<String> =
            finalizers(object).filter(|f| !old.contains(f)).map(|f| format!("\"{f}\"")).collect();
        if !added.is_empty() {
            errors.forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers \
                     []string{{{}}}",
                    added.join(", ")
                ),
            );
        }
    }
    errors.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::promptly::promptly;

    fn going(names: std::ops::Range<usize>) -> Object {
        let finalizers: Vec<String> = names.map(|n| format!("example.com/{n}")).collect();
        let metadata =
            json!({"deletionTimestamp": "2020-01-01T00:00:00Z", "finalizers": finalizers});
        [("metadata".to_owned(), metadata)].into_iter().collect()
    }

    #[test]
    fn finalizers_of_what_is_being_deleted_are_many_and_compared_promptly() {
        let before = going(0..100_000);
        assert!(promptly(|| changed(&going(1..100_000), &before)).is_empty());
        let errors = promptly(|| changed(&going(100_000..200_000), &before));
        assert_eq!(errors.len(), 1, "all that are new in one");
        let errors = changed(&going(2..4), &going(0..3));
        assert!(errors[0].message.ends_with("[]string{\"example.com/3\"}"), "{errors:?}");
    }
}
