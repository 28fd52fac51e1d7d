//! What lists and maps say about who owns their parts.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Problems, flag, property_path, text};

pub(super) fn check(of: &Map<String, Value>, path: &str, found: &mut Problems) {
    let said = |key: &str| of.get(key).and_then(Value::as_str);
    if let Some(map_type) = said("x-kubernetes-map-type") {
        if text(of, "type") != "object" {
            found.wrong_type(of, path, "must be object if x-kubernetes-map-type is specified");
        }
        let at = format!("{path}.x-kubernetes-map-type");
        one_of(map_type, &["atomic", "granular"], at, found);
    }
    let list_type = said("x-kubernetes-list-type");
    if let Some(list_type) = list_type {
        if text(of, "type") != "array" {
            found.wrong_type(of, path, "must be array if x-kubernetes-list-type is specified");
        } else if list_type == "set" {
            set_items(of, path, found);
        }
        let at = format!("{path}.x-kubernetes-list-type");
        one_of(list_type, &["atomic", "set", "map"], at, found);
    }
    let keys = of.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    if keys.is_some_and(|keys| !keys.is_empty()) {
        let at = format!("{path}.x-kubernetes-list-type");
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => found.require(at, why),
            Some("map") => {}
            Some(other) => found.invalid(at, &other.into(), why),
        }
    }
    if list_type == Some("map") {
        map_items(of, path, found);
    }
    if let Some(list_type @ ("set" | "map")) = list_type {
        identity(of, list_type, path, found);
    }
}

fn one_of(value: &str, known: &[&str], at: String, found: &mut Problems) {
    if !known.contains(&value) {
        found.unsupported(at, value, known);
    }
}

/// Items of a set are scalars, or have one owner.
fn set_items(of: &Map<String, Value>, path: &str, found: &mut Problems) {
    let Some(items) = of.get("items").and_then(Value::as_object) else { return };
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let list_type = items.get("x-kubernetes-list-type").unwrap_or(&Value::Null);
    match text(items, "type") {
        "array" if !list_type.is_null() && list_type != "atomic" => {
            found.invalid(format!("{path}.items.x-kubernetes-list-type"), list_type, why);
        }
        "object" if text(items, "x-kubernetes-map-type") != "atomic" => {
            found.invalid(format!("{path}.items.x-kubernetes-map-type"), list_type, why);
        }
        _ => {}
    }
}

/// Items of an associative list are objects with the keys among their fields.
fn map_items(of: &Map<String, Value>, path: &str, found: &mut Problems) {
    let at = format!("{path}.x-kubernetes-list-map-keys");
    let names = keys(of);
    if names.is_empty() {
        found.require(at.clone(), "must not be empty if x-kubernetes-list-type is map");
    }
    let given = of.get("items").filter(|items| !items.is_null());
    let Some(items) = given.and_then(Value::as_object) else {
        match given {
            None => {
                let why = "must have a schema if x-kubernetes-list-type is map";
                found.require(format!("{path}.items"), why);
            }
            Some(items) => {
                let why = "must only have a single schema if x-kubernetes-list-type is map";
                found.invalid(format!("{path}.items"), items, why);
            }
        }
        return;
    };
    let kind = text(items, "type");
    if kind != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        found.invalid(format!("{path}.items.type"), &kind.into(), why);
        return;
    }
    let all = of.get("x-kubernetes-list-map-keys").unwrap_or(&Value::Null);
    let mut seen = HashSet::with_capacity(names.len());
    for name in &names {
        match property(items, name) {
            None => {
                found.invalid(at.clone(), all, "entries must all be names of item properties");
            }
            Some(key) if matches!(text(key, "type"), "array" | "object") => {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let at = property_path(&format!("{path}.items"), name);
                found.invalid(format!("{at}.type"), &kind.into(), why);
            }
            Some(_) => {}
        }
        if !seen.insert(*name) {
            found.invalid(at.clone(), all, "must not contain duplicate entries");
        }
    }
}

/// What tells items apart must be there.
fn identity(of: &Map<String, Value>, list_type: &str, path: &str, found: &mut Problems) {
    let Some(items) = of.get("items").and_then(Value::as_object) else { return };
    if flag(items, "nullable") {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        found.forbid(format!("{path}.items.nullable"), &why);
    }
    if list_type == "set" {
        return;
    }
    let required = items.get("required").and_then(Value::as_array).into_iter().flatten();
    let required: HashSet<&str> = required.filter_map(Value::as_str).collect();
    for name in keys(of) {
        let Some(key) = property(items, name) else { continue };
        let at = property_path(&format!("{path}.items"), name);
        if !required.contains(name) && key.get("default").is_none_or(Value::is_null) {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required \
                       property";
            found.require(format!("{at}.default"), why);
        }
        if flag(key, "nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            found.forbid(format!("{at}.nullable"), why);
        }
    }
}

fn keys(of: &Map<String, Value>) -> Vec<&str> {
    let keys = of.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn property<'a>(items: &'a Map<String, Value>, name: &str) -> Option<&'a Map<String, Value>> {
    items.get("properties")?.get(name)?.as_object()
}
