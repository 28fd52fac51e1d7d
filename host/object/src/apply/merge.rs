//! Laying an applied configuration over the live object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::shape::{self, Place, Shape};
use crate::managed::set::Step;
use crate::schema::{ListKind, Node, Schema};

/// The live object with the configuration laid over it.
pub(crate) fn merge(
    schema: &Schema,
    live: &Map<String, Value>,
    config: &Map<String, Value>,
) -> Map<String, Value> {
    fields(schema, Some(schema.root()), live, config)
}

fn fields(
    schema: &Schema,
    place: Place<'_>,
    live: &Map<String, Value>,
    config: &Map<String, Value>,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, old) in live {
        let merged = match config.get(key) {
            Some(new) => value(schema, shape::field(schema, place, key).0, Some(old), new),
            None => Some(old.clone()),
        };
        out.extend(merged.map(|merged| (key.clone(), merged)));
    }
    for (key, new) in config.iter().filter(|(key, _)| !live.contains_key(*key)) {
        let merged = value(schema, shape::field(schema, place, key).0, None, new);
        out.extend(merged.map(|merged| (key.clone(), merged)));
    }
    out
}

fn value(schema: &Schema, place: Place<'_>, live: Option<&Value>, config: &Value) -> Option<Value> {
    match shape::shape(place, config) {
        Shape::Scalar => Some(config.clone()),
        Shape::Map => {
            let (old, new) = (live.and_then(Value::as_object), config.as_object());
            let bare = old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty);
            if shape::is_atomic_map(place) || bare {
                return Some(config.clone());
            }
            let nothing = Map::new();
            let merged = fields(schema, place, old.unwrap_or(&nothing), new.unwrap_or(&nothing));
            (!merged.is_empty()).then_some(Value::Object(merged))
        }
        Shape::List => {
            let old = live.and_then(Value::as_array).map_or(&[][..], |l| l);
            let new = config.as_array().map_or(&[][..], |l| l);
            match shape::separate_items(place) {
                Some((kind, item)) if !(old.is_empty() && new.is_empty()) => {
                    let item = item.map(|id| schema.node(id));
                    let merged = Items { schema, kind, item }.merge(old, new);
                    (!merged.is_empty()).then_some(Value::Array(merged))
                }
                _ => Some(config.clone()),
            }
        }
    }
}

struct Items<'s> {
    schema: &'s Schema,
    kind: &'s ListKind,
    item: Option<&'s Node>,
}

impl Items<'_> {
    /// Items of both lists in the order of the configuration; what only the live list has keeps its place between its
    /// neighbours.
    fn merge(&self, live: &[Value], config: &[Value]) -> Vec<Value> {
        let (old, new) = (self.steps(live), self.steps(config));
        let (at_old, at_new) = (index(&old), index(&new));
        let mut out = Vec::with_capacity(old.len().max(new.len()));
        let mut shared = new.iter().map(|(step, _)| step).filter(|step| at_old.contains_key(step));
        let mut next_shared = shared.next();
        let (mut l, mut r) = (0, 0);
        while l < old.len() || r < new.len() {
            if let (Some((left, at)), Some((right, to))) = (old.get(l), new.get(r)) {
                if left == right {
                    out.extend(self.item(live.get(*at), config.get(*to)));
                    (l, r) = (l + 1, r + 1);
                    next_shared = shared.next();
                    continue;
                }
                if at_new.contains_key(left) && next_shared.is_some_and(|next| next != left) {
                    // Shared, and the configuration has it elsewhere.
                    l += 1;
                    continue;
                }
            }
            if let Some((left, at)) = old.get(l)
                && !at_new.contains_key(left)
            {
                out.extend(live.get(*at).cloned());
                l += 1;
                continue;
            }
            let Some((right, to)) = new.get(r) else {
                l += 1;
                continue;
            };
            let at = at_old.get(right).copied();
            out.extend(self.item(at.and_then(|at| live.get(at)), config.get(*to)));
            r += 1;
            if next_shared == Some(right) {
                next_shared = shared.next();
            }
        }
        out
    }

    fn item(&self, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
        value(self.schema, self.item, live, config?)
    }

    /// Each item's step, the first of those with the same one.
    fn steps<'v>(&self, list: &'v [Value]) -> Vec<(Step<'v>, usize)> {
        let mut seen = std::collections::BTreeSet::new();
        let steps = list.iter().enumerate().filter_map(|(index, item)| {
            let step = shape::item_step(self.schema, self.kind, self.item, item).ok()?;
            seen.insert(step.clone()).then_some((step, index))
        });
        steps.collect()
    }
}

/// Where each step's item stands in its list.
fn index<'a, 'v>(steps: &'a [(Step<'v>, usize)]) -> BTreeMap<&'a Step<'v>, usize> {
    steps.iter().map(|(step, at)| (step, *at)).collect()
}
