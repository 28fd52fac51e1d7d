//! Reading and writing nested fields of an object, and collecting what is wrong with them.

use quadrille_object::decode::start;
use quadrille_object::schema::{SHOWN_BYTES_MAX, shown_json};
use quadrille_object::{FieldErrorKind, FieldErrors};
use serde_json::{Map, Value};

/// An object as it is decoded.
pub(crate) type Object = Map<String, Value>;

/// The value at a path; `None` when it or a parent is missing or null.
pub(crate) fn get<'a>(object: &'a Object, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let mut value = object.get(*first)?;
    for key in rest {
        value = value.get(*key)?;
    }
    (!value.is_null()).then_some(value)
}

/// The text at a path.
pub(crate) fn text<'a>(object: &'a Object, path: &[&str]) -> Option<&'a str> {
    get(object, path).and_then(Value::as_str)
}

/// The integer at a path.
pub(crate) fn integer(object: &Object, path: &[&str]) -> Option<i64> {
    get(object, path).and_then(Value::as_i64)
}

/// The list at a path; empty when it is missing.
pub(crate) fn list<'a>(object: &'a Object, path: &[&str]) -> &'a [Value] {
    get(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The map at a path, made where it is missing or not a map.
pub(crate) fn map_mut<'a>(object: &'a mut Object, path: &[&str]) -> &'a mut Object {
    let mut map = object;
    for key in path {
        let value = map.entry(*key).or_insert(Value::Null);
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        map = value.as_object_mut().expect("made a map just now");
    }
    map
}

/// Sets a field that is missing or null.
pub(crate) fn default(object: &mut Object, key: &str, value: impl Into<Value>) {
    let slot = object.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value.into();
    }
}

/// Copies a top-level field from `from`, or removes it where `from` has none.
pub(crate) fn copy(object: &mut Object, from: &Object, key: &str) {
    match from.get(key) {
        Some(value) => object.insert(key.to_owned(), value.clone()),
        None => object.remove(key),
    };
}

/// What is wrong with an object's fields, in the order in which it was found: as much as a list of errors takes. Messages
/// beyond that are not made, and values are shown as far as messages have room for them.
#[derive(Debug, Default)]
pub(crate) struct Errors(pub(crate) FieldErrors);

impl Errors {
    fn push(
        &mut self,
        kind: FieldErrorKind,
        field: impl Into<String>,
        message: impl FnOnce() -> String,
    ) {
        self.0.report(kind, field, message);
    }

    /// A value that is not allowed.
    pub(crate) fn invalid(&mut self, field: impl Into<String>, value: &Value, why: &str) {
        self.push(FieldErrorKind::Invalid, field, || {
            format!("Invalid value: {}: {why}", shown_json(value))
        });
    }

    /// The same for a value that is shown in a form of its own.
    pub(crate) fn invalid_shown(&mut self, field: impl Into<String>, shown: &str, why: &str) {
        self.push(FieldErrorKind::Invalid, field, || {
            format!("Invalid value: {}: {why}", start(shown, SHOWN_BYTES_MAX))
        });
    }

    /// The same for every text in `whys`.
    pub(crate) fn invalid_each(&mut self, field: &str, value: &str, whys: Vec<String>) {
        for why in whys {
            self.invalid(field, &Value::from(value), &why);
        }
    }

    /// A value that is missing.
    pub(crate) fn required(&mut self, field: impl Into<String>, why: &str) {
        self.push(FieldErrorKind::Required, field, || match why {
            "" => "Required value".to_owned(),
            why => format!("Required value: {why}"),
        });
    }

    /// A value that may not stand here, or may not change.
    pub(crate) fn forbidden(&mut self, field: impl Into<String>, why: &str) {
        self.push(FieldErrorKind::Forbidden, field, || format!("Forbidden: {why}"));
    }

    /// A value that stands twice.
    pub(crate) fn duplicate(&mut self, field: impl Into<String>, value: &Value) {
        self.push(FieldErrorKind::Duplicate, field, || {
            format!("Duplicate value: {}", shown_json(value))
        });
    }

    /// The same for a value that is shown in a form of its own.
    pub(crate) fn duplicate_shown(&mut self, field: impl Into<String>, shown: &str) {
        self.push(FieldErrorKind::Duplicate, field, || {
            format!("Duplicate value: {}", start(shown, SHOWN_BYTES_MAX))
        });
    }

    /// A value outside an enumeration.
    pub(crate) fn unsupported(&mut self, field: impl Into<String>, value: &Value, known: &[&str]) {
        self.push(FieldErrorKind::NotSupported, field, || {
            let known: Vec<String> = known.iter().map(|k| format!("\"{k}\"")).collect();
            let (value, known) = (shown_json(value), known.join(", "));
            format!("Unsupported value: {value}: supported values: {known}")
        });
    }

    /// A value that is too long.
    pub(crate) fn too_long(&mut self, field: impl Into<String>, bytes_max: usize) {
        self.push(FieldErrorKind::TooLong, field, || {
            format!("Too long: may not be more than {bytes_max} bytes")
        });
    }

    /// A field that changed and may not.
    pub(crate) fn immutable(&mut self, field: &str, after: Option<&Value>, before: Option<&Value>) {
        if after != before {
            self.invalid(field, after.unwrap_or(&Value::Null), "field is immutable");
        }
    }

    /// A number below zero.
    pub(crate) fn not_negative(&mut self, object: &Object, path: &[&str]) {
        if let Some(number) = integer(object, path).filter(|n| *n < 0) {
            self.invalid(path.join("."), &number.into(), "must be greater than or equal to 0");
        }
    }

    /// A text outside an enumeration; a missing one is fine.
    pub(crate) fn one_of(&mut self, object: &Object, path: &[&str], known: &[&str]) {
        if let Some(value) = get(object, path)
            && !value.as_str().is_some_and(|text| known.contains(&text))
        {
            self.unsupported(path.join("."), value, known);
        }
    }
}
