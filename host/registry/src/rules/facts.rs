//! What most kinds have in common, as data: defaults, required fields, enumerations, ranges, names, fields that never change.
//!
//! A kind is a [`KindRules`]: a table of [`Fact`]s, and functions for what no table says. Paths are those of messages, with
//! `[]` for every item of a list: `spec.rules[].http.paths[].pathType`.

use std::fmt::Write as _;

use quadrille_object::validate_name;
use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::rules::Rules;
use crate::status::Status;
use crate::write::Attempt;

/// A default's value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Literal {
    Text(&'static str),
    Number(i64),
    Bool(bool),
}

impl From<Literal> for Value {
    fn from(literal: Literal) -> Self {
        match literal {
            Literal::Text(text) => text.into(),
            Literal::Number(number) => number.into(),
            Literal::Bool(bool) => bool.into(),
        }
    }
}

/// What a text must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Label,
    Subdomain,
    Qualified,
    PathSegment,
}

impl Form {
    /// What is wrong with a text.
    pub(crate) fn problems(self, text: &str) -> Vec<String> {
        match self {
            Self::Label => validate_name::dns_label(text),
            Self::Subdomain => validate_name::dns_subdomain(text),
            Self::Qualified => validate_name::qualified_name(text),
            Self::PathSegment => validate_name::path_segment(text),
        }
    }
}

/// One fact about the fields at a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact {
    /// The value where there is none; parents are not made.
    Default(&'static str, Literal),
    /// It must be there and not empty; with words of its own or none.
    Required(&'static str, &'static str),
    /// One of these texts, in the order of the message; an empty one is left to `Required`.
    OneOf(&'static str, &'static [&'static str]),
    /// A number of at least zero.
    NotNegative(&'static str),
    /// A number above zero.
    Positive(&'static str),
    /// A text of a form; an empty one is left to `Required`.
    Named(&'static str, Form),
    /// A label selector.
    Selector(&'static str),
    /// It never changes.
    Immutable(&'static str),
}

/// The rules of a kind: facts, and functions for the rest.
#[derive(Debug)]
pub(crate) struct KindRules {
    pub(crate) facts: &'static [Fact],
    pub(crate) default: fn(&mut Object),
    pub(crate) create: fn(&Attempt<'_>, &mut Object) -> Result<(), Status>,
    pub(crate) update: fn(&Attempt<'_>, &mut Object, &Object) -> Result<(), Status>,
    pub(crate) delete: fn(&Attempt<'_>, &Object) -> Result<(), Status>,
    pub(crate) validate: fn(&Object, &mut Errors),
    /// What an update may not do, beside what no object may be.
    pub(crate) changed: fn(&Object, &Object, &mut Errors),
    pub(crate) warn: fn(&Object, Option<&Object>, &mut Vec<String>),
}

impl KindRules {
    /// A kind without any rule.
    pub(crate) const PLAIN: Self = Self {
        facts: &[],
        default: |_| {},
        create: |_, _| Ok(()),
        update: |_, _, _| Ok(()),
        delete: |_, _| Ok(()),
        validate: |_, _| {},
        changed: |_, _, _| {},
        warn: |_, _, _| {},
    };
}

impl Rules for KindRules {
    fn default(&self, object: &mut Object) {
        for fact in self.facts {
            if let Fact::Default(path, literal) = fact {
                fill(object, path, *literal);
            }
        }
        (self.default)(object);
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        (self.create)(attempt, object)
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        (self.update)(attempt, object, before)
    }

    fn before_delete(&self, attempt: &Attempt<'_>, before: &Object) -> Result<(), Status> {
        (self.delete)(attempt, before)
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        self.facts.iter().for_each(|fact| fact.validate(object, errors));
        (self.validate)(object, errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        for fact in self.facts {
            if let Fact::Immutable(path) = fact {
                let parts: Vec<&str> = path.split('.').collect();
                errors.immutable(path, field::get(object, &parts), field::get(before, &parts));
            }
        }
        (self.changed)(object, before, errors);
    }

    fn warn(&self, object: &Object, before: Option<&Object>, warnings: &mut Vec<String>) {
        (self.warn)(object, before, warnings);
    }
}

impl Fact {
    fn validate(self, object: &Object, errors: &mut Errors) {
        match self {
            Self::Default(..) | Self::Immutable(_) => {}
            Self::Required(path, why) => each(object, path, &mut |at, value| {
                if is_missing(value) {
                    errors.required(at, why);
                }
            }),
            Self::OneOf(path, known) => given(object, path, &mut |at, value| {
                if !value.as_str().is_some_and(|text| known.contains(&text)) {
                    errors.unsupported(at, value, known);
                }
            }),
            Self::NotNegative(path) => number(object, path, &mut |at, number| {
                if number < 0 {
                    errors.invalid(at, &number.into(), "must be greater than or equal to 0");
                }
            }),
            Self::Positive(path) => number(object, path, &mut |at, number| {
                if number <= 0 {
                    errors.invalid(at, &number.into(), "must be greater than 0");
                }
            }),
            Self::Named(path, form) => given(object, path, &mut |at, value| {
                let text = value.as_str().unwrap_or_default();
                errors.invalid_each(at, text, form.problems(text));
            }),
            Self::Selector(path) => given(object, path, &mut |at, value| {
                validate_selector(value, at, errors);
            }),
        }
    }
}

fn is_missing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
    }
}

/// Visits the values at a path that are there and not empty texts.
fn given(object: &Object, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    each(object, path, &mut |at, value| {
        let value = value.filter(|v| !v.is_null() && v.as_str() != Some(""));
        if let Some(value) = value {
            visit(at, value);
        }
    });
}

fn number(object: &Object, path: &str, visit: &mut dyn FnMut(&str, i64)) {
    each(object, path, &mut |at, value| {
        if let Some(number) = value.and_then(Value::as_i64) {
            visit(at, number);
        }
    });
}

/// Visits every place at a path whose parent is there; the value is missing where only the last field is.
pub(crate) fn each(object: &Object, path: &str, visit: &mut dyn FnMut(&str, Option<&Value>)) {
    let mut at = String::new();
    walk(object, path, &mut at, visit);
}

fn walk(object: &Object, path: &str, at: &mut String, visit: &mut dyn FnMut(&str, Option<&Value>)) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(f, r)| (f, Some(r)));
    let (key, many) = first.strip_suffix("[]").map_or((first, false), |key| (key, true));
    let length = at.len();
    if !at.is_empty() {
        at.push('.');
    }
    at.push_str(key);
    let value = object.get(key);
    if many {
        let inner = at.len();
        for (index, item) in value.and_then(Value::as_array).into_iter().flatten().enumerate() {
            write!(at, "[{index}]").expect("writing into memory cannot fail");
            step(Some(item), rest, at, visit);
            at.truncate(inner);
        }
    } else {
        step(value, rest, at, visit);
    }
    at.truncate(length);
}

fn step(
    value: Option<&Value>,
    rest: Option<&str>,
    at: &mut String,
    visit: &mut dyn FnMut(&str, Option<&Value>),
) {
    match (rest, value) {
        (None, value) => visit(at, value),
        (Some(rest), Some(Value::Object(map))) => walk(map, rest, at, visit),
        (Some(_), _) => {}
    }
}

fn fill(object: &mut Object, path: &str, literal: Literal) {
    let Some((first, rest)) = path.split_once('.') else {
        field::default(object, path, literal);
        return;
    };
    match first.strip_suffix("[]") {
        Some(key) => {
            let items = object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
            items.filter_map(Value::as_object_mut).for_each(|item| fill(item, rest, literal));
        }
        None => {
            if let Some(map) = object.get_mut(first).and_then(Value::as_object_mut) {
                fill(map, rest, literal);
            }
        }
    }
}

/// Checks a label selector.
pub(crate) fn validate_selector(selector: &Value, at: &str, errors: &mut Errors) {
    if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
        let texts = labels.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()));
        errors.0.extend(validate_name::labels(&format!("{at}.matchLabels"), texts));
    }
    let Some(selector) = selector.as_object() else { return };
    for (at, expression) in items(selector, "matchExpressions", at) {
        let values = field::list(expression, &["values"]);
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(format!("{at}.values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(format!("{at}.values"), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let why = "not a valid selector operator";
                errors.invalid(format!("{at}.operator"), &other.into(), why);
            }
        }
        let key = text(expression, "key");
        errors.invalid_each(&format!("{at}.key"), key, validate_name::qualified_name(key));
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            let problems = validate_name::label_value(value);
            errors.invalid_each(&format!("{at}.values[{index}]"), value, problems);
        }
    }
}

/// The items of a list of objects, each with its path.
pub(crate) fn items<'a>(object: &'a Object, key: &str, at: &str) -> Vec<(String, &'a Object)> {
    let list = object.get(key).and_then(Value::as_array).into_iter().flatten();
    let objects = list.enumerate().filter_map(|(index, item)| Some((index, item.as_object()?)));
    let prefix = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    objects.map(|(index, item)| (format!("{prefix}[{index}]"), item)).collect()
}

/// The text of a field; empty when there is none.
pub(crate) fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A field that holds an object.
pub(crate) fn part<'a>(object: &'a Object, key: &str) -> Option<&'a Object> {
    object.get(key).and_then(Value::as_object)
}

/// A field that is there.
pub(crate) fn value<'a>(object: &'a Object, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str) -> Vec<(String, bool)> {
        let object = serde_json::json!({"spec": {"rules": [{"a": {"b": 1}}, {"a": {}}, {"c": 2}], "one": "x"}});
        let mut seen = Vec::new();
        let object = object.as_object().expect("an object");
        each(object, path, &mut |at, value| seen.push((at.to_owned(), value.is_some())));
        seen
    }

    #[test]
    fn a_path_visits_every_item_whose_parents_are_there() {
        let wanted =
            [("spec.rules[0].a.b".to_owned(), true), ("spec.rules[1].a.b".to_owned(), false)];
        assert_eq!(seen("spec.rules[].a.b"), wanted);
        assert_eq!(seen("spec.two"), [("spec.two".to_owned(), false)]);
        assert_eq!(seen("nope.two"), []);
    }

    #[test]
    fn a_default_makes_no_parents() {
        let object = serde_json::json!({"ports": [{"port": 1}, {"protocol": "UDP"}]});
        let mut object = object.as_object().cloned().expect("an object");
        fill(&mut object, "ports[].protocol", Literal::Text("TCP"));
        fill(&mut object, "spec.x", Literal::Number(1));
        let wanted =
            serde_json::json!({"ports": [{"port": 1, "protocol": "TCP"}, {"protocol": "UDP"}]});
        assert_eq!(Value::Object(object), wanted);
    }
}
