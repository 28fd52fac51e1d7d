//! Checking a custom resource against its schema, in the words of kube-apiserver.
//!
//! What is told has a bound ([`FieldErrors`]); what is looked at has not, for a part that is wrong as it was before is
//! forgotten again, and then there is room for the next. Alternatives (`anyOf`, `oneOf`, `not`) are tried without making
//! any message; of those that all fail the closest is looked at a second time.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::correlate::Correlation;
use super::rules::{Bound, Rules};
use super::text::{listed, shown, shown_text};
use super::{Kind, Node, NodeId, Schema, embedded, format, lists};
use crate::decode::cut;
use crate::error::{FieldErrorKind, FieldErrors};

/// Where kube-apiserver names no field: its validator reports the failure of a whole group of schemas that way.
const NOWHERE: &str = "<nil>";

/// Checks an object; `before` is what it replaces: what was wrong there and did not change is tolerated.
pub(crate) fn validate(
    schema: &Schema,
    object: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> FieldErrors {
    let mut errors = validate_fields(schema, object, None);
    if !errors.is_empty() && before.is_some() {
        errors = validate_fields(schema, object, before);
    }
    errors.extend(embedded::check(schema, object));
    let mut doubles = lists::check(schema, object);
    if !doubles.is_empty() && before.is_some_and(|old| !lists::check(schema, old).is_empty()) {
        doubles.truncate(0);
    }
    errors.extend(doubles);
    errors
}

fn validate_fields(
    schema: &Schema,
    object: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> FieldErrors {
    let mut validator = Validator::new(schema, "");
    validator.object(schema.root(), object, before);
    if let Some(rules) = schema.root().rules.as_deref() {
        validator.object_rules(rules, object);
        let (metadata, value) = (rules.metadata, object.get("metadata"));
        if let (Some(metadata), Some(value)) = (metadata, value) {
            let old = before.and_then(|before| before.get("metadata"));
            validator.under("metadata", |v| v.value(metadata, value, old));
        }
    }
    if before.is_some_and(|before| before == object) {
        validator.errors.truncate(0);
    }
    validator.errors
}

/// The same for a part of an object; the errors' fields begin with `prefix`.
pub(crate) fn validate_value(schema: &Schema, value: &Value, prefix: &str) -> FieldErrors {
    let mut validator = Validator::new(schema, prefix);
    validator.value(schema.root, value, None);
    validator.errors
}

struct Validator<'a> {
    schema: &'a Schema,
    prefix: &'a str,
    path: String,
    errors: FieldErrors,
    /// While an alternative is tried: in how many ways the value fails, of which nothing is told.
    trial: Option<usize>,
}

impl<'a> Validator<'a> {
    fn new(schema: &'a Schema, prefix: &'a str) -> Self {
        Self { schema, prefix, path: String::new(), errors: FieldErrors::default(), trial: None }
    }

    fn under(&mut self, key: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(key);
        check(self);
        self.path.truncate(length);
    }

    fn at(&mut self, index: usize, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        write!(self.path, "[{index}]").expect("writing into memory cannot fail");
        check(self);
        self.path.truncate(length);
    }

    /// Reports what is wrong here; the message is made of the path, if it is told.
    fn report(&mut self, kind: FieldErrorKind, message: impl FnOnce(&str) -> String) {
        if let Some(failures) = &mut self.trial {
            *failures += 1;
            return;
        }
        let path = cut(&self.path);
        if self.errors.is_full() {
            return;
        }
        let field = match (self.prefix, path) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) if path.starts_with('[') => format!("{prefix}{path}"),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        self.errors.report(kind, field, || message(path));
    }

    fn invalid(&mut self, value: &Value, why: impl FnOnce() -> String) {
        self.report(FieldErrorKind::Invalid, |path| {
            format!("Invalid value: {}: {path} in body {}", shown(value), why())
        });
    }

    fn nowhere(&mut self, why: impl FnOnce(&str) -> String) {
        if let Some(failures) = &mut self.trial {
            *failures += 1;
            return;
        }
        let path = cut(&self.path);
        self.errors.report(FieldErrorKind::Invalid, NOWHERE, || {
            format!("Invalid value: \"\": {}", why(path))
        });
    }

    /// Checks a value; `before` is the one that it replaces, where one can be told.
    fn value(&mut self, id: NodeId, value: &Value, before: Option<&Value>) {
        let known = self.errors.len();
        self.value_alone(id, value, before);
        if self.errors.len() > known && before == Some(value) {
            self.errors.truncate(known);
        }
    }

    fn value_alone(&mut self, id: NodeId, value: &Value, before: Option<&Value>) {
        let node = self.schema.node(id);
        if value.is_null() && node.nullable {
            return;
        }
        if !fits(node.kind, value) {
            self.wrong_type(node, value);
            return;
        }
        match value {
            Value::Object(map) => self.object(node, map, before.and_then(Value::as_object)),
            Value::Array(items) => self.list(node, items, before.and_then(Value::as_array)),
            Value::String(text) => self.text_format(node, value, text),
            Value::Number(number) => self.number_format(node, number),
            Value::Null | Value::Bool(_) => {}
        }
        if let Some(rules) = &node.rules {
            self.rules(rules, value);
        }
    }

    fn wrong_type(&mut self, node: &Node, value: &Value) {
        let found = type_name(value);
        if node.kind == Kind::Integer && found == "number" {
            self.nowhere(|path| {
                format!("Checked value must be of type integer (default format) in {path}")
            });
        }
        let wanted = match node.kind {
            Kind::IntOrString => "integer,string",
            kind => kind.name(),
        };
        self.report(FieldErrorKind::TypeInvalid, |path| {
            format!(
                "Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\""
            )
        });
    }

    fn object(
        &mut self,
        node: &Node,
        map: &Map<String, Value>,
        before: Option<&Map<String, Value>>,
    ) {
        for name in &node.required {
            if !map.contains_key(&**name) {
                self.under(name, |v| {
                    v.report(FieldErrorKind::Required, |_| "Required value".to_owned());
                });
            }
        }
        for (key, value) in map {
            // Metadata is checked elsewhere.
            let Some(child) = node.field(key).filter(|id| !id.is_builtin()) else { continue };
            let old = before.and_then(|before| before.get(key));
            self.under(key, |v| v.value(child, value, old));
        }
    }

    /// Only items of associative lists can be told from each other.
    fn list(&mut self, node: &Node, items: &[Value], before: Option<&Vec<Value>>) {
        let Some(item) = node.items else { return };
        let old = before.map(|before| Correlation::new(&node.list, before));
        for (index, value) in items.iter().enumerate() {
            let old = old.as_ref().and_then(|old| old.find(value));
            self.at(index, |v| v.value(item, value, old));
        }
    }

    fn text_format(&mut self, node: &Node, value: &Value, text: &str) {
        if !node.format.is_empty() && !format::holds(&node.format, text) {
            self.report(FieldErrorKind::TypeInvalid, |path| {
                let (value, text) = (shown(value), shown_text(text));
                format!(
                    "Invalid value: {value}: {path} in body must be of type {}: {text}",
                    node.format
                )
            });
        }
    }

    fn number_format(&mut self, node: &Node, number: &Number) {
        let fits = match &*node.format {
            "int32" => number.as_i64().is_some_and(|whole| i32::try_from(whole).is_ok()),
            "int64" => number.as_i64().is_some(),
            _ => true,
        };
        let whole = number.as_f64().is_some_and(|float| float.fract() == 0.0);
        let is_count = number.is_f64() && whole && node.kind != Kind::Integer;
        if !fits && !is_count {
            let kind = node.kind.name();
            self.nowhere(|path| {
                format!(
                    "Checked value must be of type {kind} with format {} in {path}",
                    node.format
                )
            });
        }
    }

    fn rules(&mut self, rules: &Rules, value: &Value) {
        match value {
            Value::Object(map) => self.object_rules(rules, map),
            Value::Array(items) => self.list_rules(rules, items),
            Value::String(text) => self.text_rules(rules, value, text),
            Value::Number(number) => self.number_rules(rules, value, number),
            Value::Null | Value::Bool(_) => {}
        }
        if let Some(values) = rules.values.as_deref().filter(|values| !values.has(value)) {
            self.report(FieldErrorKind::NotSupported, |_| {
                let allowed = listed(values.iter().map(shown));
                format!("Unsupported value: {}: supported values: {allowed}", shown(value))
            });
        }
        self.junctors(rules, value);
    }

    fn object_rules(&mut self, rules: &Rules, map: &Map<String, Value>) {
        let count = map.len() as u64;
        if let Some(least) = rules.properties_min.filter(|least| count < *least) {
            self.invalid(&count.into(), || format!("should have at least {least} properties"));
        }
        if let Some(most) = rules.properties_max.filter(|most| count > *most) {
            self.too_many(count, most);
        }
    }

    fn list_rules(&mut self, rules: &Rules, items: &[Value]) {
        let count = items.len() as u64;
        if let Some(least) = rules.items_min.filter(|least| count < *least) {
            self.invalid(&count.into(), || format!("should have at least {least} items"));
        }
        if let Some(most) = rules.items_max.filter(|most| count > *most) {
            self.too_many(count, most);
        }
    }

    fn too_many(&mut self, count: u64, most: u64) {
        let items = if most == 1 { "item" } else { "items" };
        self.report(FieldErrorKind::TooMany, |_| {
            format!("Too many: {count}: must have at most {most} {items}")
        });
    }

    fn text_rules(&mut self, rules: &Rules, value: &Value, text: &str) {
        // Counting is needed only when the bytes leave a doubt.
        let bytes = text.len() as u64;
        let shorter = |least: u64| bytes < least || (text.chars().count() as u64) < least;
        let longer = |most: u64| bytes > most && text.chars().count() as u64 > most;
        if let Some(most) = rules.length_max.filter(|most| longer(*most)) {
            let unit = if most == 1 { "byte" } else { "bytes" };
            self.report(FieldErrorKind::TooLong, |_| {
                format!("Too long: may not be more than {most} {unit}")
            });
        }
        if let Some(least) = rules.length_min.filter(|least| shorter(*least)) {
            self.invalid(value, || format!("should be at least {least} chars long"));
        }
        if let Some(pattern) = rules.pattern.as_ref().filter(|p| !p.matches(text)) {
            self.invalid(value, || format!("should match '{}'", pattern.text));
        }
    }

    fn number_rules(&mut self, rules: &Rules, value: &Value, number: &Number) {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let breaks = |bound: &Bound, beyond| match compare(number, &bound.value) {
            Some(Equal) => bound.exclusive,
            found => found == Some(beyond),
        };
        if let Some(bound) = rules.minimum.as_ref().filter(|bound| breaks(bound, Less)) {
            let or_equal = if bound.exclusive { "" } else { "or equal to " };
            self.invalid(value, || format!("should be greater than {or_equal}{}", bound.value));
        }
        if let Some(bound) = rules.maximum.as_ref().filter(|bound| breaks(bound, Greater)) {
            let or_equal = if bound.exclusive { "" } else { "or equal to " };
            self.invalid(value, || format!("should be less than {or_equal}{}", bound.value));
        }
        if let Some(factor) = rules.multiple_of.as_ref().filter(|of| !is_multiple(number, of)) {
            self.invalid(value, || format!("should be a multiple of {factor}"));
        }
    }

    fn junctors(&mut self, rules: &Rules, value: &Value) {
        for id in &rules.all_of {
            self.value(*id, value, None);
        }
        if !rules.any_of.is_empty() {
            let (valid, closest) = self.attempts(&rules.any_of, value);
            if valid == 0 {
                self.nowhere(|path| {
                    format!("\"{path}\" must validate at least one schema (anyOf)")
                });
                self.blame(closest, value);
            }
        }
        if !rules.one_of.is_empty() {
            let (valid, closest) = self.attempts(&rules.one_of, value);
            let why =
                |path: &str| format!("\"{path}\" must validate one and only one schema (oneOf).");
            if valid == 0 {
                self.nowhere(|path| format!("{} Found none valid", why(path)));
                self.blame(closest, value);
            } else if valid > 1 {
                self.nowhere(|path| format!("{} Found {valid} valid alternatives", why(path)));
            }
        }
        if let Some(not) = rules.not
            && self.attempts(&[not], value).0 == 1
        {
            self.nowhere(|path| format!("\"{path}\" must not validate the schema (not)"));
        }
    }

    /// How many of the schemas hold, and which of the others has the least against the value, and how much.
    fn attempts(&mut self, schemas: &[NodeId], value: &Value) -> (usize, Option<Closest>) {
        let outer = self.trial;
        let (mut valid, mut closest): (usize, Option<Closest>) = (0, None);
        for id in schemas {
            self.trial = Some(0);
            self.value(*id, value, None);
            match self.trial.unwrap_or_default() {
                0 => valid += 1,
                failures if closest.is_none_or(|known| failures < known.failures) => {
                    closest = Some(Closest { schema: *id, failures });
                }
                _ => {}
            }
        }
        self.trial = outer;
        (valid, closest)
    }

    /// Tells what the closest of the schemas has against the value.
    fn blame(&mut self, closest: Option<Closest>, value: &Value) {
        let Some(closest) = closest else { return };
        match &mut self.trial {
            Some(failures) => *failures += closest.failures,
            None => self.value(closest.schema, value, None),
        }
    }
}

/// Of several schemas that do not hold the one that comes closest.
#[derive(Clone, Copy)]
struct Closest {
    schema: NodeId,
    failures: usize,
}

fn fits(kind: Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Any, _)
        | (Kind::Object, Value::Object(_))
        | (Kind::Array, Value::Array(_))
        | (Kind::String | Kind::IntOrString, Value::String(_))
        | (Kind::Boolean, Value::Bool(_))
        | (Kind::Number, Value::Number(_)) => true,
        (Kind::Integer | Kind::IntOrString, Value::Number(number)) => is_whole(number),
        _ => false,
    }
}

fn is_whole(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if is_whole(number) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// How numbers compare, whichever way they are written.
fn compare(a: &Number, b: &Number) -> Option<std::cmp::Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn is_multiple(number: &Number, factor: &Number) -> bool {
    if let (Some(number), Some(factor)) = (number.as_i128(), factor.as_i128()) {
        return factor != 0 && number % factor == 0;
    }
    let (Some(number), Some(factor)) = (number.as_f64(), factor.as_f64()) else { return false };
    let times = number / factor;
    times.is_finite() && (times - times.round()).abs() < 1e-9
}
