//! Which names a definition gets: those that no other resource of its group has.

use serde_json::{Value, json};

use crate::catalog::{Catalog, Resource};
use crate::definition::{name_in, names_in};
use crate::field::{self, Object};

/// Sets `acceptedNames` and the conditions `NamesAccepted` and `Established`.
pub(crate) fn accept(catalog: &Catalog, object: &mut Object, now: &str) {
    let conflicts = conflicts(catalog, object);
    let mut accepted = field::get(object, &["spec", "names"]).cloned().unwrap_or(Value::Null);
    if let Some(names) = accepted.as_object_mut() {
        for conflict in &conflicts {
            match conflict.key {
                "kind" => drop(names.insert("kind".to_owned(), "".into())),
                key => drop(names.remove(key)),
            }
        }
    }
    let was_established = super::is_served(object);
    let (names, established) = match conflicts.last() {
        None => (
            condition("NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
            condition(
                "Established",
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
                now,
            ),
        ),
        Some(conflict) => (
            condition("NamesAccepted", "False", conflict.reason, &conflict.message, now),
            if was_established {
                super::condition(object, "Established").cloned().unwrap_or(Value::Null)
            } else {
                condition("Established", "False", "NotAccepted", "not all names are accepted", now)
            },
        ),
    };
    let status = field::map_mut(object, &["status"]);
    status.insert("acceptedNames".to_owned(), accepted);
    let mut conditions = field::list(status, &["conditions"]).to_vec();
    conditions.retain(|c| {
        !matches!(c.get("type").and_then(Value::as_str), Some("NamesAccepted" | "Established"))
    });
    conditions.splice(0..0, [names, established]);
    status.insert("conditions".to_owned(), conditions.into());
}

fn condition(kind: &str, status: &str, reason: &str, message: &str, now: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now,
    })
}

struct Taken {
    key: &'static str,
    reason: &'static str,
    message: String,
}

/// The names that others have, in the order in which kube-apiserver looks: the last one is reported.
fn conflicts(catalog: &Catalog, object: &Object) -> Vec<Taken> {
    let group = field::text(object, &["spec", "group"]).unwrap_or_default();
    let plural = name_in(object, "plural");
    let others: Vec<&Resource> = catalog
        .named()
        .map(AsRef::as_ref)
        .filter(|r| *r.gvr.group == *group && (*r.gvr.resource != *plural || !r.is_defined()))
        .collect();
    let resource_names = |name: &str| {
        others.iter().any(|r| {
            *r.gvr.resource == *name
                || *r.singular == *name
                || r.short_names.iter().any(|short| **short == *name)
        })
    };
    let kinds = |name: &str| others.iter().any(|r| *r.kind.kind == *name || *r.list_kind == *name);
    let mut found = Vec::new();
    let mut check = |key: &'static str, reason: &'static str, name: &str, taken: bool| {
        if taken && !name.is_empty() {
            found.push(Taken { key, reason, message: format!("\"{name}\" is already in use") });
        }
    };
    check("plural", "PluralConflict", plural, resource_names(plural));
    let singular = name_in(object, "singular");
    check("singular", "SingularConflict", singular, resource_names(singular));
    for short in names_in(object, "shortNames") {
        check("shortNames", "ShortNamesConflict", &short, resource_names(&short));
    }
    let kind = name_in(object, "kind");
    check("kind", "KindConflict", kind, kinds(kind));
    let list_kind = name_in(object, "listKind");
    check("listKind", "ListKindConflict", list_kind, kinds(list_kind));
    found
}
