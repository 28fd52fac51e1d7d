//! The rules that the schema of a custom resource must keep, and the words for breaking them.
//!
//! Three parts, each of which reports everything it finds: that the schema is structural ([`invariants`], [`complete`]),
//! that its defaults fit it ([`defaults`]), and that its keywords make sense ([`keywords`]). Whoever compiles rules in
//! CEL does so only for schemas whose structure is sound, hence [`Findings`].

use serde_json::{Map, Value};

use super::text::{quoted, shown, shown_text};
use crate::decode::{PROBLEM_BYTES_MAX, cut};
use crate::error::{FieldError, FieldErrorKind, FieldErrors};

mod complete;
mod defaults;
mod invariants;
mod keywords;
mod lists;
mod validations;

/// What is wrong with a custom resource's schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The schema is not structural, or a default does not fit it: nothing may be built upon it.
    pub structure: FieldErrors,
    /// Keywords that are not allowed, or have a value that is not.
    pub keywords: FieldErrors,
}

impl Findings {
    /// All of them, in kube-apiserver's order.
    pub fn into_all(self) -> FieldErrors {
        let mut all = self.structure;
        all.extend(self.keywords);
        all
    }

    /// Whether nothing is wrong with the part of the schema at `path` (see [`property_path`]), or below: as far as is
    /// known, for of very many errors only the first are kept.
    pub fn is_clean_at(&self, path: &str) -> bool {
        let below = |field: &str| {
            field
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.structure.is_empty()
            && !self.keywords.is_full()
            && !self.keywords.iter().any(|error| below(&error.field))
    }
}

/// Checks a whole schema that stands at `path`.
pub(crate) fn check(schema: &Value, path: &str) -> Findings {
    let Some(root) = schema.as_object() else {
        let error =
            FieldError::new(FieldErrorKind::Required, path, "Required value: schemas are required");
        let structure = FieldErrors::from_iter([error]);
        return Findings { structure, keywords: FieldErrors::default() };
    };
    let mut structure = Problems::default();
    if flag(root, "nullable") {
        structure.forbid(format!("{path}.nullable"), "nullable cannot be true at the root");
    }
    if !keywords::has_unsupported(root) {
        let mut found = Problems::default();
        invariants::check(root, path, &mut found);
        complete::check(root, path, &mut found);
        if found.0.is_empty() {
            defaults::check(root, path, &mut found);
        } else {
            found.0.sort_by_cached_key(ToString::to_string);
        }
        structure.0.extend(found.0);
    }
    let mut found = Problems::default();
    keywords::check(root, path, &mut found);
    Findings { structure: structure.0, keywords: found.0 }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Problems(FieldErrors);

impl Problems {
    fn forbid(&mut self, path: String, why: &str) {
        self.0.report(FieldErrorKind::Forbidden, path, || format!("Forbidden: {why}"));
    }

    fn require(&mut self, path: String, why: &str) {
        self.0.report(FieldErrorKind::Required, path, || format!("Required value: {why}"));
    }

    fn invalid(&mut self, path: String, value: &Value, why: &str) {
        self.0.report(FieldErrorKind::Invalid, path, || {
            format!("Invalid value: {}: {why}", shown(value))
        });
    }

    /// `Unsupported value: "file": supported values: "array", …`.
    fn unsupported(&mut self, path: String, value: &str, supported: &[&str]) {
        self.0.report(FieldErrorKind::NotSupported, path, || {
            let supported: Vec<String> = supported.iter().map(|s| quoted(s)).collect();
            let (value, supported) = (shown_text(value), supported.join(", "));
            format!("Unsupported value: {value}: supported values: {supported}")
        });
    }

    /// A `type` that is missing is required, and a wrong one invalid.
    fn wrong_type(&mut self, schema: &Map<String, Value>, path: &str, why: &str) {
        let (at, given) = (format!("{path}.type"), text(schema, "type"));
        if given.is_empty() {
            self.require(at, why);
        } else {
            self.invalid(at, &given.into(), why);
        }
    }
}

/// The path of a property's schema, cut off where messages cut it: all that is below a long name begins with it.
pub fn property_path(path: &str, name: &str) -> String {
    if path.len() >= PROBLEM_BYTES_MAX {
        return path.to_owned();
    }
    let mut path = format!("{path}.properties[{name}]");
    path.truncate(cut(&path).len());
    path.shrink_to_fit();
    path
}

/// Keywords that combine subschemas.
const JUNCTORS: &[&str] = &["not", "allOf", "oneOf", "anyOf"];

/// The subschemas of every junctor with their paths.
fn junctor_members<'a>(
    schema: &'a Map<String, Value>,
    path: &str,
) -> Vec<(String, &'a Map<String, Value>)> {
    let mut found = Vec::new();
    for keyword in JUNCTORS {
        match schema.get(*keyword) {
            Some(Value::Object(of)) if *keyword == "not" => {
                found.push((format!("{path}.{keyword}"), of));
            }
            Some(Value::Array(all)) if *keyword != "not" => {
                let all = all.iter().enumerate();
                found.extend(all.filter_map(|(at, of)| {
                    Some((format!("{path}.{keyword}[{at}]"), of.as_object()?))
                }));
            }
            _ => {}
        }
    }
    found
}

/// The subschemas under a keyword that maps names to them.
fn children<'a>(
    schema: &'a Map<String, Value>,
    keyword: &str,
) -> impl Iterator<Item = (&'a str, &'a Map<String, Value>)> {
    let all = schema.get(keyword).and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, of)| Some((name.as_str(), of.as_object()?)))
}

/// The one subschema under a keyword.
fn child<'a>(schema: &'a Map<String, Value>, keyword: &str) -> Option<&'a Map<String, Value>> {
    schema.get(keyword).and_then(Value::as_object)
}

fn text<'a>(schema: &'a Map<String, Value>, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(schema: &Map<String, Value>, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool) == Some(true)
}

/// Whether a keyword is there and says something: a zero value of Go counts as not said.
fn is_said(schema: &Map<String, Value>, key: &str) -> bool {
    match schema.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => {
            !map.is_empty() || !matches!(key, "patternProperties" | "definitions")
        }
        Some(Value::Bool(true) | Value::Number(_)) => true,
    }
}
