//! The rules that make the schema of a custom resource structural, and the words for breaking them.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::text::{json, quoted};
use super::{Schema, prune, validate};
use crate::error::{FieldError, FieldErrorKind};

mod keywords;

type Errors = Vec<FieldError>;

/// Where a subschema stands, which decides what it may say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Property,
    Items,
    Additional,
}

/// Checks everything but the defaults.
pub(crate) fn check(schema: &Value, path: &str) -> Result<(), Errors> {
    let mut checker = Checker { errors: Vec::new() };
    let Some(root) = schema.as_object() else {
        let error =
            FieldError::new(FieldErrorKind::Required, path, "Required value: schemas are required");
        return Err(vec![error]);
    };
    keywords::check(root, path, true, &mut checker.errors);
    if checker.errors.is_empty() {
        checker.schema(root, path, Place::Root);
        checker.root(root, path);
    }
    if checker.errors.is_empty() { Ok(()) } else { Err(checker.errors) }
}

struct Checker {
    errors: Errors,
}

impl Checker {
    fn forbid(&mut self, path: String, why: &str) {
        self.errors.push(FieldError::new(
            FieldErrorKind::Forbidden,
            path,
            format!("Forbidden: {why}"),
        ));
    }

    fn require(&mut self, path: String, why: &str) {
        let message = format!("Required value: {why}");
        self.errors.push(FieldError::new(FieldErrorKind::Required, path, message));
    }

    fn invalid(&mut self, path: String, value: &Value, why: &str) {
        let message = format!("Invalid value: {}: {why}", json(value));
        self.errors.push(FieldError::new(FieldErrorKind::Invalid, path, message));
    }

    fn schema(&mut self, schema: &Map<String, Value>, path: &str, place: Place) {
        self.type_given(schema, path, place);
        if place == Place::Root && schema.get("additionalProperties").is_some() {
            self.forbid(format!("{path}.additionalProperties"), "must not be used at the root");
        }
        self.extensions(schema, path);
        self.completeness(schema, schema, path, path);
        for (keyword, schemas) in JUNCTORS.iter().filter_map(|k| Some((*k, schema.get(*k)?))) {
            for (index, of) in junctor_members(schemas) {
                let at = member_path(path, keyword, index);
                let exempt = is_int_or_string_pattern(schema, keyword);
                self.value_validation(of, &at, exempt);
            }
        }
        for (name, of) in children(schema, "properties") {
            self.schema(of, &format!("{path}.properties[{name}]"), Place::Property);
        }
        if let Some(of) = schema.get("items").and_then(Value::as_object) {
            self.schema(of, &format!("{path}.items"), Place::Items);
        }
        if let Some(of) = schema.get("additionalProperties").and_then(Value::as_object) {
            self.schema(of, &format!("{path}.additionalProperties"), Place::Additional);
        }
    }

    fn type_given(&mut self, schema: &Map<String, Value>, path: &str, place: Place) {
        let given = text(schema, "type");
        let free = flag(schema, "x-kubernetes-int-or-string")
            || flag(schema, "x-kubernetes-preserve-unknown-fields");
        if place == Place::Root && given.is_empty() {
            self.require(format!("{path}.type"), "must not be empty at the root");
        } else if place == Place::Root && given != "object" {
            self.invalid(format!("{path}.type"), &given.into(), "must be object at the root");
        } else if given.is_empty() && !free {
            let why = match place {
                Place::Items => "must not be empty for specified array items",
                Place::Additional | Place::Property | Place::Root => {
                    "must not be empty for specified object fields"
                }
            };
            self.require(format!("{path}.type"), why);
        }
        if flag(schema, "x-kubernetes-int-or-string") && !given.is_empty() {
            let why = "must be empty if x-kubernetes-int-or-string is true";
            self.invalid(format!("{path}.type"), &given.into(), why);
        }
        if flag(schema, "x-kubernetes-embedded-resource") && given != "object" {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            self.invalid(format!("{path}.type"), &given.into(), why);
        }
    }

    fn extensions(&mut self, schema: &Map<String, Value>, path: &str) {
        self.list_type(schema, path);
        let given = text(schema, "type");
        if schema.get("x-kubernetes-map-type").is_some() && given != "object" {
            let why = "must be object if x-kubernetes-map-type is specified";
            self.invalid(format!("{path}.type"), &given.into(), why);
        }
        let embedded = flag(schema, "x-kubernetes-embedded-resource");
        let open = flag(schema, "x-kubernetes-preserve-unknown-fields");
        if embedded && !open && children(schema, "properties").next().is_none() {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                       x-kubernetes-preserve-unknown-fields";
            self.require(format!("{path}.properties"), why);
        }
    }

    fn list_type(&mut self, schema: &Map<String, Value>, path: &str) {
        let given = text(schema, "type");
        let list_type = text(schema, "x-kubernetes-list-type");
        let keys = schema.get("x-kubernetes-list-map-keys").filter(|keys| !is_empty_list(keys));
        if !list_type.is_empty() && given != "array" {
            let why = "must be array if x-kubernetes-list-type is specified";
            self.invalid(format!("{path}.type"), &given.into(), why);
        }
        match (list_type, keys) {
            ("map", None) => self.require(
                format!("{path}.x-kubernetes-list-map-keys"),
                "must not be empty if x-kubernetes-list-type is map",
            ),
            ("map", Some(keys)) => self.list_keys(schema, keys, path),
            (_, Some(_)) if list_type.is_empty() => self.require(
                format!("{path}.x-kubernetes-list-type"),
                "must be map if x-kubernetes-list-map-keys is non-empty",
            ),
            (other, Some(_)) => self.invalid(
                format!("{path}.x-kubernetes-list-type"),
                &other.into(),
                "must be map if x-kubernetes-list-map-keys is non-empty",
            ),
            ("set", None) => self.set_items(schema, path),
            _ => {}
        }
    }

    /// Items of a set are scalars, or have one owner.
    fn set_items(&mut self, schema: &Map<String, Value>, path: &str) {
        let Some(items) = schema.get("items").and_then(Value::as_object) else { return };
        let at = format!("{path}.items");
        if flag(items, "nullable") {
            self.forbid(
                format!("{at}.nullable"),
                "cannot be nullable when x-kubernetes-list-type is \"set\"",
            );
        }
        let (of, how) = match text(items, "type") {
            "object" => (
                "x-kubernetes-map-type",
                "atomic as item of a list with x-kubernetes-list-type=set",
            ),
            "array" => (
                "x-kubernetes-list-type",
                "atomic as item of a list with x-kubernetes-list-type=set",
            ),
            _ => return,
        };
        if text(items, of) != "atomic"
            && !(of == "x-kubernetes-list-type" && items.get(of).is_none())
        {
            let value = items.get(of).cloned().unwrap_or_default();
            self.invalid(format!("{at}.{of}"), &value, &format!("must be {how}"));
        }
    }

    fn list_keys(&mut self, schema: &Map<String, Value>, keys: &Value, path: &str) {
        let at = format!("{path}.x-kubernetes-list-map-keys");
        let items = schema.get("items").and_then(Value::as_object);
        let Some(items) = items else {
            self.require(
                format!("{path}.items"),
                "must have a schema if x-kubernetes-list-type is map",
            );
            return;
        };
        let kind = text(items, "type");
        if kind != "object" {
            let why = "must be object if parent array's x-kubernetes-list-type is map";
            self.invalid(format!("{path}.items.type"), &kind.into(), why);
            return;
        }
        let properties = items.get("properties").and_then(Value::as_object);
        let names: Vec<&str> =
            keys.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        if names.iter().any(|name| properties.is_none_or(|known| !known.contains_key(*name))) {
            self.invalid(at, keys, "entries must all be names of item properties");
            return;
        }
        if distinct.len() != names.len() {
            self.invalid(at, keys, "must not contain duplicate entries");
        }
        for name in distinct {
            let key = properties.and_then(|known| known.get(name)).and_then(Value::as_object);
            if let Some(key) = key {
                self.list_key(items, key, name, &format!("{path}.items.properties[{name}]"));
            }
        }
    }

    fn list_key(
        &mut self,
        items: &Map<String, Value>,
        key: &Map<String, Value>,
        name: &str,
        at: &str,
    ) {
        if flag(key, "nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            self.forbid(format!("{at}.nullable"), why);
        }
        let required = items.get("required").and_then(Value::as_array).into_iter().flatten();
        if !required.into_iter().any(|r| r == name) && key.get("default").is_none() {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                       required property";
            self.require(format!("{at}.default"), why);
        }
        let kind = text(key, "type");
        if matches!(kind, "object" | "array") {
            self.invalid(
                format!("{at}.type"),
                &kind.into(),
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            );
        }
    }

    /// A subschema of allOf, anyOf, oneOf or not: values only, no structure.
    fn value_validation(&mut self, schema: &Map<String, Value>, path: &str, type_allowed: bool) {
        for (keyword, why) in JUNCTOR_FORBIDDEN {
            let found = schema.get(*keyword).filter(|value| !is_zero(value));
            if found.is_some() && !(*keyword == "type" && type_allowed) {
                self.forbid(format!("{path}.{keyword}"), why);
            }
        }
        for (keyword, schemas) in JUNCTORS.iter().filter_map(|k| Some((*k, schema.get(*k)?))) {
            for (index, of) in junctor_members(schemas) {
                let at = member_path(path, keyword, index);
                self.value_validation(of, &at, type_allowed && keyword == "anyOf");
            }
        }
        for (name, of) in children(schema, "properties") {
            self.value_validation(of, &format!("{path}.properties[{name}]"), false);
        }
        if let Some(of) = schema.get("items").and_then(Value::as_object) {
            self.value_validation(of, &format!("{path}.items"), false);
        }
    }

    /// What a junctor names must be specified outside of it.
    fn completeness(
        &mut self,
        outer: &Map<String, Value>,
        inner: &Map<String, Value>,
        path: &str,
        at: &str,
    ) {
        for keyword in JUNCTORS {
            let Some(schemas) = inner.get(*keyword) else { continue };
            for (index, of) in junctor_members(schemas) {
                let at = member_path(at, keyword, index);
                self.specified(outer, of, path, &at);
            }
        }
    }

    fn specified(
        &mut self,
        outer: &Map<String, Value>,
        inner: &Map<String, Value>,
        path: &str,
        at: &str,
    ) {
        for (name, of) in children(inner, "properties") {
            let inner_at = format!("{at}.properties[{name}]");
            let known =
                outer.get("properties").and_then(|p| p.get(name)).and_then(Value::as_object);
            let known =
                known.or_else(|| outer.get("additionalProperties").and_then(Value::as_object));
            match known {
                Some(known) => {
                    self.specified(known, of, &format!("{path}.properties[{name}]"), &inner_at);
                }
                None if outer.get("additionalProperties") == Some(&Value::Bool(true)) => {}
                None => {
                    let why = format!("because it is defined in {inner_at}");
                    self.require(format!("{path}.properties[{name}]"), &why);
                }
            }
        }
        if let Some(of) = inner.get("items").and_then(Value::as_object) {
            if let Some(known) = outer.get("items").and_then(Value::as_object) {
                self.specified(known, of, &format!("{path}.items"), &format!("{at}.items"));
            } else {
                let why = format!("because it is defined in {at}.items");
                self.require(format!("{path}.items"), &why);
            }
        }
        self.completeness(outer, inner, path, at);
    }

    /// What the root may say about apiVersion, kind and metadata.
    fn root(&mut self, root: &Map<String, Value>, path: &str) {
        for name in ["apiVersion", "kind"] {
            let kind =
                root.get("properties").and_then(|p| p.get(name)).and_then(|of| of.get("type"));
            if let Some(kind) = kind.filter(|kind| *kind != "string") {
                self.invalid(format!("{path}.properties[{name}].type"), kind, "must be string");
            }
        }
        let metadata = root.get("properties").and_then(|p| p.get("metadata"));
        let Some(metadata) = metadata.and_then(Value::as_object) else { return };
        let at = format!("{path}.properties[metadata]");
        if text(metadata, "type") != "object" {
            self.invalid(format!("{at}.type"), &text(metadata, "type").into(), "must be object");
        }
        if metadata.get("default").is_some() {
            self.forbid(format!("{at}.default"), "must not be set in top-level metadata");
        }
        let named = children(metadata, "properties")
            .all(|(name, _)| matches!(name, "name" | "generateName"));
        let only = metadata
            .keys()
            .all(|k| matches!(k.as_str(), "type" | "properties" | "description" | "default"));
        if !named || !only {
            let why = "must not specify anything other than name and generateName, but metadata is implicitly \
                       specified";
            self.forbid(at, why);
        }
    }
}

/// Checks that every default is a value that its own schema takes.
pub(crate) fn check_defaults(source: &Value, path: &str) -> Errors {
    let mut errors = Vec::new();
    if let Some(source) = source.as_object() {
        default_of(source, path, &mut errors);
    }
    errors
}

fn default_of(source: &Map<String, Value>, path: &str, errors: &mut Errors) {
    if let Some(default) = source.get("default").filter(|default| !default.is_null()) {
        let compiled = super::compile::compile_part(&Value::Object(source.clone()));
        let part = Schema { arena: super::Arena::Custom(compiled.0.into()), root: compiled.1 };
        let at = format!("{path}.default");
        let mut pruned = default.clone();
        let dropped = match &mut pruned {
            Value::Object(map) => prune::prune(&part, map),
            _ => Vec::new(),
        };
        if dropped.is_empty() {
            errors.extend(validate::validate_value(&part, default, &at));
        } else {
            let message = format!("Invalid value: {}: must not have unknown fields", json(default));
            errors.push(FieldError::new(FieldErrorKind::Invalid, at, message));
        }
    }
    for (name, of) in children(source, "properties") {
        default_of(of, &format!("{path}.properties[{name}]"), errors);
    }
    if let Some(of) = source.get("items").and_then(Value::as_object) {
        default_of(of, &format!("{path}.items"), errors);
    }
    if let Some(of) = source.get("additionalProperties").and_then(Value::as_object) {
        default_of(of, &format!("{path}.additionalProperties"), errors);
    }
}

const JUNCTORS: &[&str] = &["allOf", "anyOf", "oneOf", "not"];

/// What a junctor's members must not say, in the order of the errors.
const JUNCTOR_FORBIDDEN: &[(&str, &str)] = &[
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("default", "must be undefined to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be undefined to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

/// `anyOf: [{type: integer}, {type: string}]` beside int-or-string, directly or as allOf's first member.
fn is_int_or_string_pattern(schema: &Map<String, Value>, keyword: &str) -> bool {
    let is_pair = |any_of: Option<&Value>| {
        let types = any_of.and_then(Value::as_array).into_iter().flatten();
        let types: Vec<&str> =
            types.filter_map(|of| of.get("type").and_then(Value::as_str)).collect();
        types == ["integer", "string"]
    };
    flag(schema, "x-kubernetes-int-or-string")
        && match keyword {
            "anyOf" => is_pair(schema.get("anyOf")),
            "allOf" => is_pair(
                schema.get("allOf").and_then(|all| all.get(0)).and_then(|of| of.get("anyOf")),
            ),
            _ => false,
        }
}

fn junctor_members(schemas: &Value) -> Vec<(Option<usize>, &Map<String, Value>)> {
    match schemas {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.filter_map(|(index, of)| Some((Some(index), of.as_object()?))).collect()
        }
        Value::Object(of) => vec![(None, of)],
        _ => Vec::new(),
    }
}

fn member_path(path: &str, keyword: &str, index: Option<usize>) -> String {
    match index {
        Some(index) => format!("{path}.{keyword}[{index}]"),
        None => format!("{path}.{keyword}"),
    }
}

fn children<'a>(
    schema: &'a Map<String, Value>,
    keyword: &str,
) -> impl Iterator<Item = (&'a str, &'a Map<String, Value>)> {
    let all = schema.get(keyword).and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, of)| Some((name.as_str(), of.as_object()?)))
}

fn text<'a>(schema: &'a Map<String, Value>, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Map<String, Value>, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool) == Some(true)
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_none_or(Vec::is_empty)
}

/// What counts as not said.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// `Unsupported value: "file": supported values: "array", …`.
fn unsupported(path: String, value: &str, supported: &[&str]) -> FieldError {
    let supported: Vec<String> = supported.iter().map(|s| quoted(s)).collect();
    let message =
        format!("Unsupported value: {}: supported values: {}", quoted(value), supported.join(", "));
    FieldError::new(FieldErrorKind::NotSupported, path, message)
}
