//! Keywords that no schema of a custom resource may use, and values that a keyword may not have.

use serde_json::{Map, Value};

use super::{
    Problems, child, children, flag, is_said, junctor_members, lists, property_path, text,
    validations,
};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// Keywords without a meaning here.
const UNSUPPORTED: &[&str] =
    &["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

/// Whether any part uses a keyword that makes the structure unreadable.
pub(super) fn has_unsupported(of: &Map<String, Value>) -> bool {
    let array_items = matches!(of.get("items"), Some(Value::Array(all)) if !all.is_empty());
    let odd = |(_, of): (&str, &Map<String, Value>)| has_unsupported(of);
    UNSUPPORTED.iter().any(|keyword| is_used(of, keyword))
        || array_items
        || is_said(of, "$schema")
        || of.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false))
        || children(of, "properties").any(odd)
        || ["items", "additionalProperties"]
            .iter()
            .any(|keyword| child(of, keyword).is_some_and(has_unsupported))
        || junctor_members(of, "").iter().any(|(_, of)| has_unsupported(of))
}

/// Some say something by being there at all.
fn is_used(of: &Map<String, Value>, keyword: &str) -> bool {
    match keyword {
        "additionalItems" => of.get(keyword).is_some_and(|value| !value.is_null()),
        keyword => is_said(of, keyword),
    }
}

/// What the place of a schema forbids.
#[derive(Clone, Copy, Default)]
struct Place {
    root: bool,
    in_metadata: bool,
    /// Why there may be no default.
    no_default: Option<NoDefault>,
}

#[derive(Clone, Copy)]
enum NoDefault {
    TopLevel(&'static str),
    InsideAdditional,
}

pub(super) fn check(root: &Map<String, Value>, path: &str, found: &mut Problems) {
    schema(root, path, Place { root: true, ..Place::default() }, found);
}

fn schema(of: &Map<String, Value>, path: &str, place: Place, found: &mut Problems) {
    own(of, path, place, found);
    let below = Place { root: false, ..place };
    let additional = of.get("additionalProperties").filter(|of| !of.is_null());
    if let Some(additional) = additional {
        let named = children(of, "properties").next().is_some();
        if named && additional != &Value::Bool(true) {
            let why = "additionalProperties and properties are mutual exclusive";
            found.forbid(format!("{path}.additionalProperties"), why);
        }
        if let Some(of) = additional.as_object() {
            let no_default = if place.in_metadata {
                Some(NoDefault::InsideAdditional)
            } else {
                place.no_default
            };
            let at = format!("{path}.additionalProperties");
            schema(of, &at, Place { no_default, ..below }, found);
        }
    }
    let whole = place.root || flag(of, "x-kubernetes-embedded-resource");
    for (name, field) in children(of, "properties") {
        let mut inside = below;
        if let Some(name) =
            ["metadata", "kind", "apiVersion"].into_iter().find(|m| whole && *m == name)
        {
            inside.in_metadata = true;
            if place.root {
                inside.no_default = Some(NoDefault::TopLevel(name));
            }
        }
        schema(field, &property_path(path, name), inside, found);
    }
    for (at, member) in junctor_members(of, path) {
        schema(member, &at, below, found);
    }
    if let Some(items) = child(of, "items") {
        schema(items, &format!("{path}.items"), below, found);
    }
    if of.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let at = format!("{path}.x-kubernetes-preserve-unknown-fields");
        found.invalid(at, &false.into(), "must be true or undefined");
    }
    lists::check(of, path, found);
    validations::check(of, path, found);
}

/// The keywords of one schema, without what is below it.
fn own(of: &Map<String, Value>, path: &str, place: Place, found: &mut Problems) {
    let given = text(of, "type");
    if !given.is_empty() && !TYPES.contains(&given) {
        found.unsupported(format!("{path}.type"), given, TYPES);
    }
    if let Some(reason) =
        place.no_default.filter(|_| of.get("default").is_some_and(|d| !d.is_null()))
    {
        let why = match reason {
            NoDefault::TopLevel(name) => format!("must not be set in top-level {name}"),
            NoDefault::InsideAdditional => {
                "must not be set inside additionalProperties applying to object metadata".to_owned()
            }
        };
        found.forbid(format!("{path}.default"), &why);
    }
    for keyword in UNSUPPORTED {
        if is_used(of, keyword) {
            found.forbid(format!("{path}.{keyword}"), &format!("{keyword} is not supported"));
        }
    }
    if given == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        found.forbid(format!("{path}.type"), why);
    }
    if matches!(of.get("items"), Some(Value::Array(all)) if !all.is_empty()) {
        let why = "items must be a schema object and not an array";
        found.forbid(format!("{path}.items"), why);
    }
    if place.in_metadata && flag(of, "x-kubernetes-embedded-resource") {
        let at = format!("{path}.x-kubernetes-embedded-resource");
        found.forbid(at, "must not be used inside of resource meta");
    }
    if flag(of, "uniqueItems") {
        let why =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        found.forbid(format!("{path}.uniqueItems"), why);
    }
}
