//! What a junctor names must be specified outside of it.

use serde_json::{Map, Value};

use super::{Problems, child, children, junctor_members, property_path};

pub(super) fn check(of: &Map<String, Value>, path: &str, found: &mut Problems) {
    junctors(of, of, path, path, found);
    if let Some(items) = child(of, "items") {
        check(items, &format!("{path}.items"), found);
    }
    for (name, field) in children(of, "properties") {
        check(field, &property_path(path, name), found);
    }
    if let Some(additional) = child(of, "additionalProperties") {
        check(additional, &format!("{path}.additionalProperties"), found);
    }
}

/// `inner` stands at `at`, and is about the same values as `outer` at `path`.
fn junctors(
    outer: &Map<String, Value>,
    inner: &Map<String, Value>,
    path: &str,
    at: &str,
    found: &mut Problems,
) {
    for (at, member) in junctor_members(inner, at) {
        nested(Some(outer), member, path, &at, found);
    }
}

fn nested(
    outer: Option<&Map<String, Value>>,
    inner: &Map<String, Value>,
    path: &str,
    at: &str,
    found: &mut Problems,
) {
    let Some(outer) = outer else {
        found.require(path.to_owned(), &format!("because it is defined in {at}"));
        return;
    };
    junctors(outer, inner, path, at, found);
    if let Some(items) = child(inner, "items") {
        let (path, at) = (format!("{path}.items"), format!("{at}.items"));
        nested(child(outer, "items"), items, &path, &at, found);
    }
    for (name, field) in children(inner, "properties") {
        let known = outer.get("properties").and_then(|fields| fields.get(name)?.as_object());
        let path = property_path(path, name);
        nested(known, field, &path, &property_path(at, name), found);
    }
}
