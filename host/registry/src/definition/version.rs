//! What can be wrong with the versions of a definition, one by one.
//!
//! What all versions say alike counts as said by the definition as a whole, and errors name it there: that was its
//! place before definitions had versions, and kube-apiserver still works on that form.

use std::collections::{HashMap, HashSet};

use quadrille_object::schema::field_path::{self, Brackets};
use quadrille_object::{Schema, validate_name};
use serde_json::{Map, Value};

use super::expressions;
use crate::field::{self, Errors, Object};

/// How many fields a definition may make selectable.
const SELECTABLE_MAX: usize = 8;
const WARNING_BYTES_MAX: usize = 256;

/// Whether every version says the same under a key.
fn alike(versions: &[Value], key: &str) -> bool {
    let of = |version: &Value| version.get(key).filter(|v| !is_empty(v)).cloned();
    versions.first().is_some_and(|first| versions.iter().all(|v| of(v) == of(first)))
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Checks every version; `before` is the definition that is replaced.
pub(super) fn validate(object: &Object, before: Option<&Object>, errors: &mut Errors) {
    let versions = field::list(object, &["spec", "versions"]);
    let shared = Shared {
        schema: alike(versions, "schema"),
        subresources: alike(versions, "subresources"),
        columns: alike(versions, "additionalPrinterColumns"),
        fields: alike(versions, "selectableFields"),
    };
    for (index, version) in versions.iter().enumerate() {
        if schema_of(version).is_none() {
            let at = format!("spec.versions[{index}].schema.openAPIV3Schema");
            errors.required(at, "");
        }
    }
    let before = before.map_or(&[][..], |before| field::list(before, &["spec", "versions"]));
    // Of versions of one name the first counts.
    let before: HashMap<Option<&Value>, &Value> =
        before.iter().rev().map(|version| (version.get("name"), version)).collect();
    for (index, version) in versions.iter().enumerate() {
        let at = format!("spec.versions[{index}]");
        let name = version.get("name").and_then(Value::as_str).unwrap_or_default();
        let problems = validate_name::dns_1035_label(name);
        if !problems.is_empty() {
            errors.invalid(format!("{at}.name"), &name.into(), &problems.join(","));
        }
        deprecation(version, &at, errors);
        let place = |shared: bool| match (shared, index) {
            (false, _) => Some(at.as_str()),
            (true, 0) => Some("spec"),
            (true, _) => None,
        };
        let old = before.get(&version.get("name")).copied();
        if let Some(at) = place(shared.schema) {
            let path = if shared.schema {
                format!("{at}.validation.openAPIV3Schema")
            } else {
                format!("{at}.schema.openAPIV3Schema")
            };
            let with_status = if shared.schema { versions } else { std::slice::from_ref(version) };
            let with_status = with_status.iter().any(has_status);
            schema(version, old, &path, with_status, errors);
        }
        if let Some(at) = place(shared.subresources) {
            scale(version, at, errors);
        }
        if let Some(at) = place(shared.columns) {
            let columns = version.get("additionalPrinterColumns").and_then(Value::as_array);
            for (index, column) in columns.into_iter().flatten().enumerate() {
                self::column(column, &format!("{at}.additionalPrinterColumns[{index}]"), errors);
            }
        }
        if let Some(at) = place(shared.fields) {
            selectable_fields(version, at, errors);
        }
    }
}

/// What all versions say alike.
#[expect(clippy::struct_excessive_bools, reason = "one for each part of a version")]
struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

fn schema_of(version: &Value) -> Option<&Value> {
    version.get("schema")?.get("openAPIV3Schema").filter(|schema| !schema.is_null())
}

fn has_status(version: &Value) -> bool {
    version.get("subresources").and_then(|s| s.get("status")).is_some_and(|s| !s.is_null())
}

/// A schema that did not change was checked when it came.
fn schema(
    version: &Value,
    old: Option<&Value>,
    path: &str,
    with_status: bool,
    errors: &mut Errors,
) {
    let Some(schema) = schema_of(version) else { return };
    let same =
        old.is_some_and(|old| schema_of(old) == Some(schema) && (has_status(old) || !with_status));
    if same {
        return;
    }
    if let Some(root) = schema.as_object().filter(|_| with_status) {
        root_with_status(root, path, errors);
    }
    let findings = Schema::check_crd(schema, path);
    let refused = expressions::check(schema, path, &findings);
    errors.0.extend(findings.into_all());
    errors.0.extend(refused);
}

/// What the root may say where `status` is a resource of its own.
const AT_ROOT: &[(&str, &str)] = &[
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
    ("XValidations", "x-kubernetes-validations"),
];

/// Keywords that must not stand beside them.
const NOT_AT_ROOT: &[&str] = &[
    "$schema",
    "$ref",
    "id",
    "nullable",
    "default",
    "enum",
    "maxProperties",
    "minProperties",
    "allOf",
    "oneOf",
    "anyOf",
    "not",
    "additionalProperties",
    "patternProperties",
    "dependencies",
    "additionalItems",
    "definitions",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
];

fn root_with_status(root: &Map<String, Value>, path: &str, errors: &mut Errors) {
    let given = root.get("type").and_then(Value::as_str).unwrap_or_default();
    if !given.is_empty() && given != "object" {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is \
                   enabled";
        errors.invalid(format!("{path}.type"), &given.into(), why);
        return;
    }
    let said =
        |key: &&&str| root.get(**key).is_some_and(|v| !is_empty(v) && v != &Value::Bool(false));
    if NOT_AT_ROOT.iter().any(|key| said(&key)) {
        let names: Vec<&str> = AT_ROOT.iter().map(|(name, _)| *name).collect();
        let why = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            names.join(" ")
        );
        errors.invalid(path, &Value::Object(root.clone()), &why);
    }
}

fn deprecation(version: &Value, at: &str, errors: &mut Errors) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else { return };
    let (at, value) = (format!("{at}.deprecationWarning"), Value::from(warning));
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        errors.invalid(at, &value, "can only be set for deprecated versions");
        return;
    }
    if warning.len() > WARNING_BYTES_MAX {
        let why = format!("must be <= {WARNING_BYTES_MAX} characters long");
        errors.invalid(at.clone(), &value, &why);
    }
    if warning.is_empty() {
        errors.invalid(at.clone(), &value, "must not be an empty string");
    }
    let odd = |c: &char| c.is_control() || (c.is_whitespace() && *c != ' ');
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| odd(c)) {
        let why = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        );
        errors.invalid(at, &value, &why);
    }
}

fn scale(version: &Value, at: &str, errors: &mut Errors) {
    let scale = version.get("subresources").and_then(|s| s.get("scale")).filter(|s| !s.is_null());
    let Some(scale) = scale else { return };
    let path = |key: &str| scale.get(key).and_then(Value::as_str).unwrap_or_default();
    for (key, head) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let at = format!("{at}.subresources.scale.{key}");
        let given = path(key);
        if given.is_empty() {
            errors.required(at, "");
        } else if !given.starts_with('.') {
            errors.invalid(at, &given.into(), SIMPLE);
        } else if !given.starts_with(&format!("{head}.")) {
            errors.invalid(at, &given.into(), &format!("should be a json path under {head}"));
        }
    }
    let selector = path("labelSelectorPath");
    let at = format!("{at}.subresources.scale.labelSelectorPath");
    if selector.is_empty() {
        return;
    }
    if !selector.starts_with('.') {
        errors.invalid(at, &selector.into(), SIMPLE);
    } else if !selector.starts_with(".spec.") && !selector.starts_with(".status.") {
        let why = "should be a json path under either .spec or .status";
        errors.invalid(at, &selector.into(), why);
    }
}

const SIMPLE: &str = "must be a simple json path starting with .";

fn column(column: &Value, at: &str, errors: &mut Errors) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] =
        ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    let text = |key: &str| column.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("name").is_empty() {
        errors.required(format!("{at}.name"), "");
    }
    let types = format!("must be one of {}", TYPES.join(","));
    match text("type") {
        "" => errors.required(format!("{at}.type"), &types),
        kind if !TYPES.contains(&kind) => {
            errors.invalid(format!("{at}.type"), &kind.into(), &types);
        }
        _ => {}
    }
    if !text("format").is_empty() && !FORMATS.contains(&text("format")) {
        let why = format!("must be one of {}", FORMATS.join(","));
        errors.invalid(format!("{at}.format"), &text("format").into(), &why);
    }
    match text("jsonPath") {
        "" => errors.required(format!("{at}.JSONPath"), ""),
        path if !path.starts_with('.') => {
            errors.invalid(format!("{at}.JSONPath"), &path.into(), SIMPLE);
        }
        _ => {}
    }
}

fn selectable_fields(version: &Value, at: &str, errors: &mut Errors) {
    let fields = version.get("selectableFields").and_then(Value::as_array);
    let (Some(fields), Some(schema)) = (fields, schema_of(version).and_then(Value::as_object))
    else {
        return;
    };
    let at = format!("{at}.selectableFields");
    let mut known = HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        let at = format!("{at}[{index}].jsonPath");
        let text = field.get("jsonPath").and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            errors.required(at, "");
            continue;
        }
        let value = Value::from(text);
        let place = match field_path::resolve(schema, text, Brackets::Refused) {
            Ok(place) => place,
            Err(why) => {
                errors.invalid(at, &value, &format!("is an invalid path: {why}"));
                continue;
            }
        };
        if place.first == "metadata" {
            errors.invalid(at.clone(), &value, "must not point to fields in metadata");
        }
        let kind = place.schema.and_then(|of| of.get("type")?.as_str()).unwrap_or_default();
        if !matches!(kind, "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                       formats are allowed.";
            errors.invalid(at.clone(), &value, why);
        }
        if !known.insert(place.path) {
            errors.duplicate(at, &value);
        }
    }
    if known.len() > SELECTABLE_MAX {
        errors.too_many(at, known.len(), SELECTABLE_MAX);
    }
}
