//! Lists in strategic merge patches: merged by key or by value, and put in order.

use serde_json::{Map, Value};

use super::{
    PATCH, Patcher, Place, StrategicError, bad_order, unknown_directive, without_directives,
};
use crate::schema::{PatchRule, plain_text};

impl<'s> Patcher<'s> {
    pub(super) fn list(
        &self,
        place: Place<'s>,
        rule: Option<&'s PatchRule>,
        old: Vec<Value>,
        new: &[Value],
        order: Option<&Value>,
    ) -> Result<Vec<Value>, StrategicError> {
        let Some(rule) = rule.filter(|rule| rule.merge) else {
            return Ok(new.iter().map(without_directives).collect());
        };
        let key = rule.merge_key.as_deref();
        let before = old.clone();
        let (merged, plain) = match key {
            Some(key) => self.by_key(place, key, old, new)?,
            None => (by_value(old, new), new.to_vec()),
        };
        match order {
            None => Ok(in_order(merged, &plain, &before, key)),
            Some(Value::Array(order)) => {
                check_order(&plain, order, key)?;
                Ok(in_order(merged, order, &before, key))
            }
            Some(_) => Err(bad_order()),
        }
    }

    /// Merges maps by one key; the second part is the patch without its directives.
    fn by_key(
        &self,
        place: Place<'s>,
        key: &str,
        mut list: Vec<Value>,
        new: &[Value],
    ) -> Result<(Vec<Value>, Vec<Value>), StrategicError> {
        let mut plain = Vec::with_capacity(new.len());
        let mut replace = false;
        for item in new {
            let map = item.as_object().ok_or_else(|| no_maps(item))?;
            match map.get(PATCH).map(|directive| (directive, directive.as_str())) {
                None => plain.push(item.clone()),
                Some((_, Some("replace"))) => replace = true,
                Some((_, Some("delete"))) => {
                    let value = key_of(map, key)?;
                    list.retain(|old| !same_key(old.get(key), Some(value)));
                }
                Some((_, Some("merge"))) => {
                    let message = "merging lists cannot yet be specified in the patch";
                    return Err(StrategicError::Senseless(message.to_owned()));
                }
                Some((directive, _)) => return Err(unknown_directive(directive, map)),
            }
        }
        if replace {
            let list = plain.iter().map(without_directives).collect();
            return Ok((list, plain));
        }
        let item_place = place.and_then(|node| node.items).map(|id| self.schema.node(id));
        for item in plain.iter().filter_map(Value::as_object) {
            let value = key_of(item, key)?;
            let at = list.iter().position(|old| same_key(old.get(key), Some(value)));
            match at.and_then(|at| list.get_mut(at)) {
                Some(Value::Object(old)) => {
                    *old = self.map(item_place, std::mem::take(old), item)?;
                }
                Some(other) => *other = without_directives(&Value::Object(item.clone())),
                None => list.push(Value::Object(self.map(item_place, Map::new(), item)?)),
            }
        }
        Ok((list, plain))
    }
}

fn no_maps(item: &Value) -> StrategicError {
    StrategicError::Unprocessable(format!("list item {} is no map", plain_text(item)))
}

fn key_of<'v>(map: &'v Map<String, Value>, key: &str) -> Result<&'v Value, StrategicError> {
    map.get(key).ok_or_else(|| {
        let map = plain_text(&Value::Object(map.clone()));
        StrategicError::Senseless(format!("map: {map} does not contain declared merge key: {key}"))
    })
}

/// Keys are compared as text: `80` and `"80"` are one.
fn same_key(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || plain_text(a) == plain_text(b),
        _ => false,
    }
}

/// Adds what is not there yet.
fn by_value(mut list: Vec<Value>, new: &[Value]) -> Vec<Value> {
    for item in new {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
    list
}

/// The place of an item in a list, by key or by value.
fn position(list: &[Value], item: &Value, key: Option<&str>) -> Option<usize> {
    list.iter().position(|other| match key {
        Some(key) => same_key(other.get(key), item.get(key)),
        None => other == item,
    })
}

/// Puts the items that `order` names in its order, and the others where they stood before in relation to those.
/// What is new goes before what the server alone has.
pub(super) fn in_order(
    items: Vec<Value>,
    order: &[Value],
    before: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| position(order, item, key).is_some());
    named.sort_by_key(|item| position(order, item, key));
    others.sort_by_key(|item| position(before, item, key));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    let mut out = Vec::with_capacity(named.len() + others.len());
    loop {
        let others_first = match (others.peek(), named.peek()) {
            (Some(other), Some(name)) => {
                let places = (position(before, other, key), position(before, name, key));
                matches!(places, (Some(other), Some(name)) if other < name)
            }
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        out.extend(if others_first { others.next() } else { named.next() });
    }
}

/// Every item of the patch must be in the order, in the same order.
fn check_order(new: &[Value], order: &[Value], key: Option<&str>) -> Result<(), StrategicError> {
    let places: Vec<Option<usize>> = new.iter().map(|item| position(order, item, key)).collect();
    if places.iter().all(Option::is_some) && places.is_sorted() {
        return Ok(());
    }
    Err(StrategicError::Senseless(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        plain_text(&Value::Array(new.to_vec())),
        plain_text(&Value::Array(order.to_vec()))
    )))
}
