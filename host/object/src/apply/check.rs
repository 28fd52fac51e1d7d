//! Whether a configuration fits its schema, in the words of kube-apiserver.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::shape::{self, Place};
use crate::decode::{cut, start};
use crate::error::{CAUSES_BYTES_MAX, CAUSES_MAX, MESSAGE_BYTES_MAX};
use crate::schema::{Kind, Schema, plain_text};

/// Checks a configuration before it is applied; the text is what comes after `failed to create typed patch object (…): `.
pub(crate) fn check(schema: &Schema, config: &Map<String, Value>) -> Result<(), String> {
    let mut checker = Checker { schema, path: String::new(), errors: Vec::new(), bytes: 0 };
    checker.fields(Some(schema.root()), config);
    match checker.errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

struct Checker<'s> {
    schema: &'s Schema,
    path: String,
    errors: Vec<String>,
    bytes: usize,
}

impl<'s> Checker<'s> {
    /// Of what does not fit as much is told as a list of errors takes.
    fn report(&mut self, what: &str) {
        if self.errors.len() >= CAUSES_MAX || self.bytes >= CAUSES_BYTES_MAX {
            return;
        }
        let what = start(what, MESSAGE_BYTES_MAX);
        let error = if self.path.is_empty() {
            what.to_owned()
        } else {
            format!("{}: {what}", cut(&self.path))
        };
        self.bytes += error.len();
        self.errors.push(error);
    }

    fn under(&mut self, step: &str, check: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(step);
        check(self);
        self.path.truncate(length);
    }

    fn fields(&mut self, place: Place<'s>, map: &Map<String, Value>) {
        for (key, value) in map {
            let (child, named) = shape::field(self.schema, place, key);
            let closed = place.is_some_and(|node| !node.open && node.additional.is_none());
            if closed && !named {
                self.under(&format!(".{key}"), |c| c.report("field not declared in schema"));
                // The first one ends the look at this map.
                return;
            }
            if child.is_some() {
                self.under(&format!(".{key}"), |c| c.value(child, value));
            }
        }
    }

    fn value(&mut self, place: Place<'s>, value: &Value) {
        let Some(node) = place else { return };
        match (node.kind, value) {
            (_, Value::Null) => {}
            (Kind::Object | Kind::Any, Value::Object(map)) => self.fields(place, map),
            (Kind::Array | Kind::Any, Value::Array(list)) => self.items(place, list),
            (Kind::Object, other) => {
                self.report(&format!("expected map, got &{{{}}}", plain_text(other)));
            }
            (Kind::Array, other) => {
                self.report(&format!("expected list, got &{{{}}}", plain_text(other)));
            }
            (Kind::Integer | Kind::Number, other) if !other.is_number() => {
                self.report(&format!("expected numeric (int or float), got {}", go_type(other)));
            }
            (Kind::String, other) if !other.is_string() => {
                let value = plain_text(other);
                self.report(&format!(
                    "expected string, got &value.valueUnstructured{{Value:{value}}}"
                ));
            }
            (Kind::Boolean, other) if !other.is_boolean() => {
                self.report(&format!("expected boolean, got &{{{}}}", plain_text(other)));
            }
            _ => {}
        }
    }

    fn items(&mut self, place: Place<'s>, list: &[Value]) {
        let item = place.and_then(|node| node.items).map(|id| self.schema.node(id));
        let kind = shape::separate_items(place).map(|(kind, _)| kind);
        let mut seen = BTreeSet::new();
        for (index, value) in list.iter().enumerate() {
            let step = match kind {
                None => format!("[{index}]"),
                Some(kind) => match shape::item_step(self.schema, kind, item, value) {
                    Ok(step) => step.to_string(),
                    Err(why) => return self.report(&format!("element {index}: {why}")),
                },
            };
            if kind.is_some() && !seen.insert(step.clone()) {
                self.report(&format!("duplicate entries for key {step}"));
            }
            self.under(&step, |c| c.value(item, value));
        }
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
