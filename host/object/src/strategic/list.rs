//! Lists in strategic merge patches: merged by key or by value, and put in order.

use std::collections::{HashMap, HashSet};

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
        let (mut replace, mut deleted) = (false, HashSet::new());
        for item in new {
            let map = item.as_object().ok_or_else(|| no_maps(item))?;
            match map.get(PATCH).map(|directive| (directive, directive.as_str())) {
                None => plain.push(item.clone()),
                Some((_, Some("replace"))) => replace = true,
                Some((_, Some("delete"))) => {
                    deleted.insert(plain_text(key_of(map, key)?));
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
        if !deleted.is_empty() {
            list.retain(|old| identity(old, Some(key)).is_none_or(|old| !deleted.contains(&old)));
        }
        let mut places = Places::of(&list, Some(key)).0;
        for item in plain.iter().filter_map(Value::as_object) {
            let value = plain_text(key_of(item, key)?);
            let next = list.len();
            let at = *places.entry(value).or_insert(next);
            match list.get_mut(at) {
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

/// What tells an item from others: its key as text (`80` and `"80"` are one), or the whole of it; `None` without a key.
fn identity(item: &Value, key: Option<&str>) -> Option<String> {
    match key {
        Some(key) => item.get(key).map(plain_text),
        None => Some(item.to_string()),
    }
}

/// Adds what is not there yet.
fn by_value(mut list: Vec<Value>, new: &[Value]) -> Vec<Value> {
    let mut seen: HashSet<String> = list.iter().map(Value::to_string).collect();
    list.extend(new.iter().filter(|item| seen.insert(item.to_string())).cloned());
    list
}

/// Where the items of a list stand, by their identity: the first of those that have the same.
struct Places(HashMap<String, usize>);

impl Places {
    fn of(list: &[Value], key: Option<&str>) -> Self {
        let mut places = HashMap::with_capacity(list.len());
        for (at, item) in list.iter().enumerate() {
            if let Some(identity) = identity(item, key) {
                places.entry(identity).or_insert(at);
            }
        }
        Self(places)
    }

    fn of_item(&self, item: &Value, key: Option<&str>) -> Option<usize> {
        self.0.get(&identity(item, key)?).copied()
    }
}

/// Puts the items that `order` names in its order, and the others where they stood before in relation to those.
/// What is new goes before what the server alone has.
pub(super) fn in_order(
    items: Vec<Value>,
    order: &[Value],
    before: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let (order, before) = (Places::of(order, key), Places::of(before, key));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| order.of_item(item, key).is_some());
    named.sort_by_cached_key(|item| order.of_item(item, key));
    // Each place is looked up once: an item's identity may be as long as the item.
    let placed = |item: Value| (before.of_item(&item, key), item);
    let mut others: Vec<_> = others.into_iter().map(placed).collect();
    others.sort_by_key(|(place, _)| *place);
    let mut named = named.into_iter().map(placed).peekable();
    let mut others = others.into_iter().peekable();
    let mut out = Vec::with_capacity(named.len() + others.len());
    loop {
        let others_first = match (others.peek(), named.peek()) {
            (Some((Some(other), _)), Some((Some(name), _))) => other < name,
            (Some(_), None) => true,
            (Some(_) | None, Some(_)) => false,
            (None, None) => return out,
        };
        let next = if others_first { others.next() } else { named.next() };
        out.extend(next.map(|(_, item)| item));
    }
}

/// Every item of the patch must be in the order, in the same order.
fn check_order(new: &[Value], order: &[Value], key: Option<&str>) -> Result<(), StrategicError> {
    let known = Places::of(order, key);
    let places: Vec<Option<usize>> = new.iter().map(|item| known.of_item(item, key)).collect();
    if places.iter().all(Option::is_some) && places.is_sorted() {
        return Ok(());
    }
    Err(StrategicError::Senseless(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        plain_text(&Value::Array(new.to_vec())),
        plain_text(&Value::Array(order.to_vec()))
    )))
}
