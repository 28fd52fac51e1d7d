//! Strategic merge patches: merging by the schema's merge keys, with directives inside the patch.
//!
//! It owns the directives `$patch`, `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…`. Built-in kinds
//! only: schemas of custom resources carry no merge keys.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::schema::{Node, PatchRule, Property, Schema, plain_text};

mod list;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Why a patch is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// 400: a directive is malformed.
    #[error("{0}")]
    Malformed(String),
    /// 422: the patch cannot be laid over this object.
    #[error("{0}")]
    Unprocessable(String),
    /// 500, as kube-apiserver has it: the patch makes no sense.
    #[error("{0}")]
    Senseless(String),
}

/// Lays `patch` over `object`.
///
/// # Errors
/// See [`StrategicError`].
pub fn patch(
    schema: &Schema,
    object: Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, StrategicError> {
    Patcher { schema }.map(Some(schema.root()), object, patch)
}

struct Patcher<'s> {
    schema: &'s Schema,
}

type Place<'s> = Option<&'s Node>;

impl<'s> Patcher<'s> {
    fn map(
        &self,
        place: Place<'s>,
        mut object: Map<String, Value>,
        patch: &Map<String, Value>,
    ) -> Result<Map<String, Value>, StrategicError> {
        if let Some(directive) = patch.get(PATCH) {
            return whole_map(directive, patch);
        }
        retain_keys(&mut object, patch)?;
        for (key, value) in patch {
            if key == RETAIN_KEYS {
                continue;
            }
            if let Some(field) = key.strip_prefix(DELETE_FROM) {
                delete_from(&mut object, field, value)?;
            } else if !key.starts_with(ELEMENT_ORDER) {
                self.field(place, &mut object, key, value, patch)?;
            }
        }
        for (key, order) in patch {
            let Some(field) = key.strip_prefix(ELEMENT_ORDER) else { continue };
            // A list that the patch does not change is only put in order.
            if patch.get(field).is_none_or(|list| !list.is_array()) {
                self.order_only(place, &mut object, field, order)?;
            }
        }
        Ok(object)
    }

    fn field(
        &self,
        place: Place<'s>,
        object: &mut Map<String, Value>,
        key: &str,
        value: &Value,
        patch: &Map<String, Value>,
    ) -> Result<(), StrategicError> {
        let (child, rule) = self.child(place, key);
        let order = patch.get(&format!("{ELEMENT_ORDER}{key}"));
        match (object.remove(key), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(old)), Value::Object(new)) => {
                let merged = if rule.is_some_and(|rule| rule.replace) {
                    without_directives_in_map(new)
                } else {
                    self.map(child, old, new)?
                };
                object.insert(key.to_owned(), Value::Object(merged));
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let merged = self.list(child, rule, old, new, order)?;
                object.insert(key.to_owned(), Value::Array(merged));
            }
            (None, Value::Array(new)) if rule.is_some_and(|rule| rule.merge) => {
                let merged = self.list(child, rule, Vec::new(), new, order)?;
                object.insert(key.to_owned(), Value::Array(merged));
            }
            (None, Value::Object(new)) if new.contains_key(PATCH) => {
                let merged = self.map(child, Map::new(), new)?;
                object.insert(key.to_owned(), Value::Object(merged));
            }
            (_, new) => {
                object.insert(key.to_owned(), without_directives(new));
            }
        }
        Ok(())
    }

    fn child(&self, place: Place<'s>, key: &str) -> (Place<'s>, Option<&'s PatchRule>) {
        let property: Option<&'s Property> = place.and_then(|node| node.property(key));
        let id = property.map(|p| p.node).or_else(|| place.and_then(|node| node.additional));
        (id.map(|id| self.schema.node(id)), property.and_then(|p| p.patch.as_deref()))
    }

    fn order_only(
        &self,
        place: Place<'s>,
        object: &mut Map<String, Value>,
        field: &str,
        order: &Value,
    ) -> Result<(), StrategicError> {
        let (_, rule) = self.child(place, field);
        let Some(Value::Array(list)) = object.get_mut(field) else { return Ok(()) };
        let Value::Array(order) = order else { return Err(bad_order()) };
        let key = rule.and_then(|rule| rule.merge_key.as_deref());
        let before = std::mem::take(list);
        *list = list::in_order(before.clone(), order, &before, key);
        Ok(())
    }
}

/// `$patch: replace` and `$patch: delete` in a map.
fn whole_map(
    directive: &Value,
    patch: &Map<String, Value>,
) -> Result<Map<String, Value>, StrategicError> {
    match directive.as_str() {
        Some("replace") => Ok(without_directives_in_map(patch)),
        Some("delete") => Ok(Map::new()),
        _ => Err(unknown_directive(directive, patch)),
    }
}

fn unknown_directive(directive: &Value, patch: &Map<String, Value>) -> StrategicError {
    let patch = plain_text(&Value::Object(patch.clone()));
    StrategicError::Senseless(format!(
        "unknown patch type: {} in map: {patch}",
        plain_text(directive)
    ))
}

fn bad_order() -> StrategicError {
    StrategicError::Malformed("invalid patch format of setElementOrder list".to_owned())
}

/// Drops the keys that `$retainKeys` does not name.
fn retain_keys(
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), StrategicError> {
    let Some(kept) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let malformed = || StrategicError::Malformed("invalid patch format of retainKeys".to_owned());
    let kept = kept.as_array().ok_or_else(malformed)?;
    let kept: HashSet<&str> = kept.iter().filter_map(Value::as_str).collect();
    let keeps = |key: &str| kept.contains(key);
    let mut named = patch.iter().filter(|(key, value)| !key.starts_with('$') && !value.is_null());
    if named.any(|(key, _)| !keeps(key)) {
        return Err(malformed());
    }
    object.retain(|key, _| keeps(key));
    Ok(())
}

fn delete_from(
    object: &mut Map<String, Value>,
    field: &str,
    values: &Value,
) -> Result<(), StrategicError> {
    let malformed =
        || StrategicError::Malformed("invalid patch format of primitive list".to_owned());
    let values = values.as_array().ok_or_else(malformed)?;
    if let Some(Value::Array(list)) = object.get_mut(field) {
        let gone: HashSet<&Value> = values.iter().collect();
        list.retain(|item| !gone.contains(item));
    }
    Ok(())
}

/// A part of a patch as a value of its own: no directives, no nulls.
fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives_in_map(map)),
        Value::Array(items) => {
            let plain = |item: &&Value| item.get(PATCH).is_none();
            Value::Array(items.iter().filter(plain).map(without_directives).collect())
        }
        scalar => scalar.clone(),
    }
}

fn without_directives_in_map(map: &Map<String, Value>) -> Map<String, Value> {
    let is_directive = |key: &str| {
        matches!(key, PATCH | RETAIN_KEYS)
            || key.starts_with(ELEMENT_ORDER)
            || key.starts_with(DELETE_FROM)
    };
    let plain = map.iter().filter(|(key, value)| !is_directive(key) && !value.is_null());
    plain.map(|(key, value)| (key.clone(), without_directives(value))).collect()
}

#[cfg(test)]
mod tests;
