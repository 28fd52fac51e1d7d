//! Which fields a configuration owns, and taking fields away.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use serde_json::{Map, Value};

use super::shape::{self, Place, Shape};
use crate::managed::set::{FieldSet, Step};
use crate::schema::Schema;

/// The fields that whoever applies `config` owns.
pub(crate) fn owned<'a>(schema: &Schema, config: &'a Map<String, Value>) -> FieldSet<'a> {
    fields(schema, Some(schema.root()), config)
}

fn fields<'a>(schema: &Schema, place: Place<'_>, map: &'a Map<String, Value>) -> FieldSet<'a> {
    let below = map.iter().filter_map(|(key, value)| {
        let (child, named) = shape::field(schema, place, key);
        let mut set = self::value(schema, child, value);
        set.member |= !named || value.is_null() || value.as_object().is_some_and(Map::is_empty);
        (!set.is_empty()).then(|| (Step::Field(key.as_str().into()), set))
    });
    FieldSet { member: false, below: below.collect() }
}

fn value<'a>(schema: &Schema, place: Place<'_>, value: &'a Value) -> FieldSet<'a> {
    match (shape::shape(place, value), value) {
        (Shape::Map, _) if shape::is_atomic_map(place) => FieldSet::leaf(),
        (Shape::Map, Value::Object(map)) => fields(schema, place, map),
        (Shape::List, Value::Array(list)) => {
            let Some((kind, item)) = shape::separate_items(place) else { return FieldSet::leaf() };
            let item = item.map(|id| schema.node(id));
            let mut below: Vec<_> = list
                .iter()
                .filter_map(|entry| {
                    let mut set = self::value(schema, item, entry);
                    set.member = true;
                    Some((shape::item_step(schema, kind, item, entry).ok()?, set))
                })
                .collect();
            below.sort_by(|a, b| a.0.cmp(&b.0));
            below.dedup_by(|a, b| a.0 == b.0);
            FieldSet { member: false, below }
        }
        (Shape::List, _) if shape::separate_items(place).is_none() => FieldSet::leaf(),
        (Shape::Scalar, _) => FieldSet::leaf(),
        (Shape::Map | Shape::List, _) => FieldSet::default(),
    }
}

/// The set with the fields that the schema names made members wherever something below them is.
pub(crate) fn with_named<'a>(schema: &Schema, set: &FieldSet<'a>) -> FieldSet<'a> {
    named(schema, Some(schema.root()), set)
}

fn named<'a>(schema: &Schema, place: Place<'_>, set: &FieldSet<'a>) -> FieldSet<'a> {
    let below = set.below.iter().map(|(step, child)| {
        let (next, known) = match step {
            Step::Field(name) => shape::field(schema, place, name),
            Step::Key(_) => (place.and_then(|node| node.items).map(|id| schema.node(id)), false),
            Step::Value(_) | Step::Index(_) => (None, false),
        };
        let mut child = named(schema, next, child);
        child.member |= known && !child.below.is_empty();
        (step.clone(), child)
    });
    FieldSet { member: set.member, below: below.collect() }
}

/// The object without the members of a set; what is not a member itself stays, if only empty.
pub(crate) fn remove(
    schema: &Schema,
    object: &Map<String, Value>,
    set: &FieldSet<'_>,
) -> Map<String, Value> {
    remove_fields(schema, Some(schema.root()), object, set)
}

fn remove_fields(
    schema: &Schema,
    place: Place<'_>,
    map: &Map<String, Value>,
    set: &FieldSet<'_>,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in map {
        let kept = match set.get(&Step::Field(key.as_str().into())) {
            Some(cut) if cut.member => None,
            Some(cut) => remove_value(schema, shape::field(schema, place, key).0, value, cut),
            None => Some(value.clone()),
        };
        out.extend(kept.map(|kept| (key.clone(), kept)));
    }
    out
}

fn remove_value(
    schema: &Schema,
    place: Place<'_>,
    value: &Value,
    set: &FieldSet<'_>,
) -> Option<Value> {
    match value {
        Value::Object(map) if !shape::is_atomic_map(place) => {
            Some(Value::Object(remove_fields(schema, place, map, set)))
        }
        Value::Array(list) => {
            let (kind, item) = shape::separate_items(place)?;
            let item = item.map(|id| schema.node(id));
            let kept = list.iter().filter_map(|entry| {
                let step = shape::item_step(schema, kind, item, entry).ok();
                match step.and_then(|step| set.get(&step)) {
                    Some(cut) if cut.member => None,
                    Some(cut) => remove_value(schema, item, entry, cut),
                    None => Some(entry.clone()),
                }
            });
            Some(Value::Array(kept.collect()))
        }
        Value::Object(_) => None,
        scalar => Some(scalar.clone()),
    }
}
