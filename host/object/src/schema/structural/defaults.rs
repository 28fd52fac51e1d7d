//! Every default must be a value that its own schema takes.

use serde_json::{Map, Value};

use super::{Problems, child, children, flag, property_path};
use crate::schema::{Schema, compile, prune, validate};

pub(super) fn check(root: &Map<String, Value>, path: &str, found: &mut Problems) {
    below(root, path, Place { whole: true, in_metadata: false }, found);
}

#[derive(Clone, Copy)]
struct Place {
    /// The schema of an object with a kind and metadata of its own.
    whole: bool,
    /// Metadata knows more fields than the schema says.
    in_metadata: bool,
}

fn schema(of: &Map<String, Value>, path: &str, in_metadata: bool, found: &mut Problems) {
    let whole = flag(of, "x-kubernetes-embedded-resource");
    let place = Place { whole, in_metadata: in_metadata && !whole };
    if let Some(default) = of.get("default").filter(|default| !default.is_null()) {
        let (nodes, root) = compile::compile_part(&Value::Object(of.clone()));
        let part = Schema::of_custom(nodes, root);
        let at = format!("{path}.default");
        let pruned =
            place.in_metadata || prune::prune_value(&part, &mut default.clone()).is_empty();
        if pruned {
            found.0.extend(validate::validate_value(&part, default, &at));
        } else {
            found.invalid(at, default, "must not have unknown fields");
        }
    }
    below(of, path, place, found);
}

fn below(of: &Map<String, Value>, path: &str, place: Place, found: &mut Problems) {
    if let Some(items) = child(of, "items") {
        schema(items, &format!("{path}.items"), place.in_metadata, found);
    }
    for (name, field) in children(of, "properties") {
        let meta = place.whole && matches!(name, "metadata" | "apiVersion" | "kind");
        let at = property_path(path, name);
        schema(field, &at, place.in_metadata || meta, found);
    }
    if let Some(additional) = child(of, "additionalProperties") {
        schema(additional, &format!("{path}.additionalProperties"), place.in_metadata, found);
    }
}
