//! What every part of a structural schema must say, and what parts below junctors must not.

use serde_json::{Map, Value};

use super::{Problems, child, children, flag, is_said, junctor_members, property_path, text};
use crate::schema::pattern;

/// Where a subschema stands, which decides what it must say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Items,
    Field,
}

pub(super) fn check(root: &Map<String, Value>, path: &str, found: &mut Problems) {
    schema(root, path, Place::Root, found);
}

fn schema(of: &Map<String, Value>, path: &str, place: Place, found: &mut Problems) {
    let items = child(of, "items");
    if text(of, "type") == "array" && items.is_none() {
        found.require(format!("{path}.items"), "must be specified");
    }
    if let Some(items) = items {
        schema(items, &format!("{path}.items"), Place::Items, found);
    }
    for (name, field) in children(of, "properties") {
        schema(field, &property_path(path, name), Place::Field, found);
    }
    let additional = of.get("additionalProperties").filter(|of| !of.is_null());
    if additional.is_some() && place == Place::Root {
        found.forbid(format!("{path}.additionalProperties"), "must not be used at the root");
    }
    if let Some(additional) = child(of, "additionalProperties") {
        schema(additional, &format!("{path}.additionalProperties"), Place::Field, found);
    }
    extensions(of, path, found);
    values(of, path, Exempt::of(of), found);
    types(of, path, place, found);
    if flag(of, "x-kubernetes-embedded-resource") && additional.is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        found.forbid(format!("{path}.additionalProperties"), why);
    }
    envelope(of, path, place, found);
}

fn extensions(of: &Map<String, Value>, path: &str, found: &mut Problems) {
    if !flag(of, "x-kubernetes-int-or-string") {
        return;
    }
    for keyword in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if flag(of, keyword) {
            let why = "must be false if x-kubernetes-int-or-string is true";
            found.invalid(format!("{path}.{keyword}"), &true.into(), why);
        }
    }
}

fn types(of: &Map<String, Value>, path: &str, place: Place, found: &mut Problems) {
    let given = text(of, "type");
    let free =
        flag(of, "x-kubernetes-int-or-string") || flag(of, "x-kubernetes-preserve-unknown-fields");
    if flag(of, "x-kubernetes-embedded-resource") && given != "object" {
        found.wrong_type(of, path, "must be object if x-kubernetes-embedded-resource is true");
    } else if given.is_empty() && !free {
        let why = match place {
            Place::Root => "must not be empty at the root",
            Place::Items => "must not be empty for specified array items",
            Place::Field => "must not be empty for specified object fields",
        };
        found.require(format!("{path}.type"), why);
    }
    if place == Place::Root && !given.is_empty() && given != "object" {
        found.invalid(format!("{path}.type"), &given.into(), "must be object at the root");
    }
}

/// What a whole object's schema may say about apiVersion, kind and metadata.
fn envelope(of: &Map<String, Value>, path: &str, place: Place, found: &mut Problems) {
    let embedded = flag(of, "x-kubernetes-embedded-resource");
    let whole = place == Place::Root || embedded;
    let property = |name: &str| of.get("properties").and_then(|p| p.get(name)?.as_object());
    for name in ["kind", "apiVersion"] {
        if let Some(kind) = property(name).filter(|of| whole && text(of, "type") != "string") {
            let at = format!("{path}.properties[{name}].type");
            found.invalid(at, &text(kind, "type").into(), "must be string");
        }
    }
    if let Some(metadata) = property("metadata") {
        let at = format!("{path}.properties[metadata]");
        if whole && text(metadata, "type") != "object" {
            let given = text(metadata, "type").into();
            found.invalid(format!("{at}.type"), &given, "must be object");
        }
        if place == Place::Root && !restricts_names_only(metadata) {
            let why = "must not specify anything other than name and generateName, but metadata is implicitly \
                       specified";
            found.forbid(at, why);
        }
    }
    let open = flag(of, "x-kubernetes-preserve-unknown-fields");
    if embedded && !open && children(of, "properties").next().is_none() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                   x-kubernetes-preserve-unknown-fields";
        found.require(format!("{path}.properties"), why);
    }
}

fn restricts_names_only(metadata: &Map<String, Value>) -> bool {
    const KNOWN: [&str; 3] = ["type", "properties", "default"];
    let names = children(metadata, "properties");
    let mut names = names.map(|(name, _)| name);
    names.all(|name| matches!(name, "name" | "generateName"))
        && metadata.keys().all(|key| KNOWN.contains(&key.as_str()) || !is_said(metadata, key))
}

/// Which `anyOf` may name types, since it only says what int-or-string is.
#[derive(Clone, Copy, Default)]
struct Exempt {
    any_of: bool,
    any_of_in_first_all_of: bool,
}

impl Exempt {
    fn of(schema: &Map<String, Value>) -> Self {
        let first = schema.get("allOf").and_then(|all| all.get(0));
        Self {
            any_of: is_pair(schema.get("anyOf")),
            any_of_in_first_all_of: is_pair(first.and_then(|of| of.get("anyOf"))),
        }
    }
}

/// `anyOf: [{type: integer}, {type: string}]`.
fn is_pair(any_of: Option<&Value>) -> bool {
    let only = |of: &Value, kind: &str| {
        of.as_object().is_some_and(|of| of.len() == 1 && text(of, "type") == kind)
    };
    let any_of = any_of.and_then(Value::as_array).map(Vec::as_slice);
    matches!(any_of, Some([first, second]) if only(first, "integer") && only(second, "string"))
}

/// What a schema asks of values.
fn values(of: &Map<String, Value>, path: &str, exempt: Exempt, found: &mut Problems) {
    for (at, member) in junctor_members(of, path) {
        let place = at.get(path.len()..).unwrap_or_default();
        if exempt.any_of && place.starts_with(".anyOf") {
            continue;
        }
        let first = exempt.any_of_in_first_all_of && place == ".allOf[0]";
        nested(member, &at, Exempt { any_of: first, ..Exempt::default() }, found);
    }
    let given = text(of, "pattern");
    if let Err(why) = pattern::compile(given) {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        found.invalid(format!("{path}.pattern"), &given.into(), &why);
    }
}

/// A subschema of a junctor: values only, no structure.
fn nested(of: &Map<String, Value>, path: &str, exempt: Exempt, found: &mut Problems) {
    values(of, path, exempt, found);
    if let Some(items) = child(of, "items") {
        nested(items, &format!("{path}.items"), Exempt::default(), found);
    }
    for (name, field) in children(of, "properties") {
        nested(field, &property_path(path, name), Exempt::default(), found);
    }
    for (keyword, why) in FORBIDDEN_BELOW_JUNCTORS {
        if is_said(of, keyword)
            || (*keyword == "additionalProperties" && of.get(*keyword) == Some(&false.into()))
        {
            found.forbid(format!("{path}.{keyword}"), why);
        }
    }
    if of.get("properties").is_some_and(|fields| fields.get("metadata").is_some()) {
        let at = format!("{path}.properties[metadata]");
        found.forbid(at, "must not be specified in a nested context");
    }
}

const FORBIDDEN_BELOW_JUNCTORS: &[(&str, &str)] = &[
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];
