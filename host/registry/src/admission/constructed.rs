//! The objects that the expressions of mutating policies put together: `Object{…}`, `Object.spec{…}`, `JSONPatch{…}`.
//!
//! Their types are not known before the expression is: `Object.a.b` stands for the field of that path, whatever it
//! holds. So an expression's own text says which types it needs, and each takes every name in it as a field.

use std::collections::BTreeSet;

use quadrille_cel::{Declared, ObjectType, Type};

const OBJECT: &str = "Object";
const PATCH: &str = "JSONPatch";
/// The most types of one expression; more are not declared, and the expression does not compile.
const TYPES_MAX: usize = 200;

/// The types that an expression may put together.
pub(crate) fn types_in(text: &str) -> Vec<ObjectType> {
    let names: BTreeSet<&str> = names(text).collect();
    let fields: BTreeSet<&str> = names.iter().flat_map(|name| name.split('.')).collect();
    let mut types: BTreeSet<&str> = BTreeSet::from([OBJECT]);
    for name in names {
        let nested = name.strip_prefix(OBJECT).is_some_and(|rest| rest.starts_with('.'));
        if nested && types.len() < TYPES_MAX {
            types.insert(name);
        }
    }
    let any = |name: &&str| ((*name).to_owned(), Declared::dynamic());
    let mut all: Vec<ObjectType> =
        types.into_iter().map(|name| ObjectType::new(name, fields.iter().map(any))).collect();
    let text = |name: &str| (name.to_owned(), Declared::string(None));
    let patch = [text("op"), text("path"), text("from"), any(&"value")];
    all.push(ObjectType::new(PATCH, patch));
    all
}

/// The dotted names in a text, those in quotes too: a type too many does no harm.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .map(|name| name.trim_matches('.'))
        .filter(|name| !name.is_empty())
}

/// Whether it is the type of an apply configuration.
pub(crate) fn is_object(ty: &Type) -> bool {
    matches!(ty, Type::Object(object) if object.name == OBJECT)
}

/// Whether it is the type of a JSON patch.
pub(crate) fn is_patch(ty: &Type) -> bool {
    let Type::List(of) = ty else { return false };
    matches!(&**of, Type::Object(object) if object.name == PATCH)
}
