//! What changed between two states of an object, as sets of fields.
//!
//! One walk gives both sets: what was added or got another value, and what went away. An object that does not exist
//! yet is compared as its smallest form: of built-in kinds, fields that are always there count as present and empty,
//! so that whoever fills them owns what is in them and not the fields themselves.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::shape::{self, Place, Shape};
use crate::managed::set::{FieldSet, Step};
use crate::schema::{Kind, ListKind, Node, Property, Schema};

/// The differences of two states.
#[derive(Debug, Default)]
pub(crate) struct Changes<'a> {
    /// Added, or of another value.
    pub(crate) set: FieldSet<'a>,
    /// No longer there.
    pub(crate) removed: FieldSet<'a>,
}

impl<'a> Changes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }

    fn leaf(before: Option<&Value>, after: Option<&Value>) -> Self {
        match (before, after) {
            (Some(before), Some(after)) if before == after => Self::default(),
            (_, Some(_)) => Self { set: FieldSet::leaf(), removed: FieldSet::default() },
            (_, None) => Self { set: FieldSet::default(), removed: FieldSet::leaf() },
        }
    }

    fn push(&mut self, step: Step<'a>, child: Self) {
        match (child.set.is_empty(), child.removed.is_empty()) {
            (true, true) => {}
            (false, true) => self.set.below.push((step, child.set)),
            (true, false) => self.removed.below.push((step, child.removed)),
            (false, false) => {
                self.set.below.push((step.clone(), child.set));
                self.removed.below.push((step, child.removed));
            }
        }
    }

    fn join(self, other: Self) -> Self {
        Self { set: self.set.union(other.set), removed: self.removed.union(other.removed) }
    }
}

/// Compares two states of an object of one kind.
pub(crate) fn compare<'a>(
    schema: &Schema,
    before: &'a Map<String, Value>,
    after: &'a Map<String, Value>,
) -> Changes<'a> {
    let comparer = Comparer { schema, ignore_managed: true };
    comparer.fields(Some(schema.root()), Some(before), Some(after))
}

struct Comparer<'s> {
    schema: &'s Schema,
    /// The root's `metadata.managedFields` is bookkeeping, no content.
    ignore_managed: bool,
}

impl<'s> Comparer<'s> {
    fn value<'a>(
        &self,
        place: Place<'s>,
        before: Option<&'a Value>,
        after: Option<&'a Value>,
    ) -> Changes<'a> {
        let shapes =
            (before.map(|v| shape::shape(place, v)), after.map(|v| shape::shape(place, v)));
        let mut changes = match shapes {
            (Some(old), Some(new)) if old != new => {
                let first = self.shaped(old, place, before, after);
                first.join(self.shaped(new, place, before, after))
            }
            (_, Some(shape)) | (Some(shape), None) => self.shaped(shape, place, before, after),
            (None, None) => Changes::default(),
        };
        match (before, after) {
            (None, Some(_)) => changes.set.member = true,
            (Some(_), None) => changes.removed.member = true,
            _ => {}
        }
        changes
    }

    fn shaped<'a>(
        &self,
        shape: Shape,
        place: Place<'s>,
        before: Option<&'a Value>,
        after: Option<&'a Value>,
    ) -> Changes<'a> {
        match shape {
            Shape::Scalar => Changes::leaf(before, after),
            Shape::Map => {
                let maps = (before.and_then(Value::as_object), after.and_then(Value::as_object));
                let bare = |map: Option<&Map<String, Value>>| map.is_none_or(Map::is_empty);
                if shape::is_atomic_map(place) || (bare(maps.0) && bare(maps.1)) {
                    return Changes::leaf(before, after);
                }
                self.fields(place, maps.0, maps.1)
            }
            Shape::List => {
                let lists = (before.and_then(Value::as_array), after.and_then(Value::as_array));
                let (old, new) = (lists.0.map_or(&[][..], |l| l), lists.1.map_or(&[][..], |l| l));
                match shape::separate_items(place) {
                    Some((kind, item)) if !(old.is_empty() && new.is_empty()) => {
                        self.items(kind, item.map(|id| self.schema.node(id)), old, new)
                    }
                    _ => Changes::leaf(before, after),
                }
            }
        }
    }

    fn fields<'a>(
        &self,
        place: Place<'s>,
        before: Option<&'a Map<String, Value>>,
        after: Option<&'a Map<String, Value>>,
    ) -> Changes<'a> {
        let mut changes = Changes::default();
        let both = before.is_some() && after.is_some();
        let mut old = before.into_iter().flatten().peekable();
        let mut new = after.into_iter().flatten().peekable();
        loop {
            let (key, was, is) = match (old.peek(), new.peek()) {
                (Some((o, _)), Some((n, _))) if o == n => (*o, old.next(), new.next()),
                (Some((o, _)), Some((n, _))) if o < n => (*o, old.next(), None),
                (Some((o, _)), None) => (*o, old.next(), None),
                (_, Some((n, _))) => (*n, None, new.next()),
                (None, None) => break,
            };
            let property = place.and_then(|node| node.property(key));
            let child = match property {
                Some(property) => Some(self.schema.node(property.node)),
                None => place.and_then(|node| node.additional).map(|id| self.schema.node(id)),
            };
            let (mut was, mut is) = (was.map(|(_, v)| v), is.map(|(_, v)| v));
            if let (true, Some(property)) = (both, property.filter(|p| p.always)) {
                was = was.or_else(|| self.implied(property));
                is = is.or_else(|| self.implied(property));
            }
            let child = match (key.as_str(), was, is) {
                ("metadata", Some(Value::Object(was)), Some(Value::Object(is)))
                    if self.ignore_managed =>
                {
                    Comparer { schema: self.schema, ignore_managed: false }.metadata(child, was, is)
                }
                _ => self.value(child, was, is),
            };
            changes.push(Step::Field(key.as_str().into()), child);
        }
        changes
    }

    fn metadata<'a>(
        &self,
        place: Place<'s>,
        before: &'a Map<String, Value>,
        after: &'a Map<String, Value>,
    ) -> Changes<'a> {
        let mut changes = self.fields(place, Some(before), Some(after));
        let other =
            |(step, _): &(Step<'_>, _)| !matches!(step, Step::Field(f) if f == "managedFields");
        changes.set.below.retain(other);
        changes.removed.below.retain(other);
        changes
    }

    /// What a field that is always there holds when it is not written.
    fn implied(&self, property: &Property) -> Option<&'static Value> {
        static NULL: Value = Value::Null;
        static FALSE: Value = Value::Bool(false);
        static ZERO: LazyLock<Value> = LazyLock::new(|| Value::from(0));
        static NO_TEXT: Value = Value::String(String::new());
        let node = self.schema.node(property.node);
        Some(match node.kind {
            Kind::Object if property.by_value => shape::empty(),
            Kind::String if &*node.format == "date-time" => &NULL,
            Kind::String => &NO_TEXT,
            Kind::Boolean => &FALSE,
            Kind::Integer | Kind::Number => &ZERO,
            Kind::Object | Kind::Array | Kind::Any => &NULL,
            Kind::IntOrString => return None,
        })
    }

    fn items<'a>(
        &self,
        kind: &'s ListKind,
        item: Option<&'s Node>,
        before: &'a [Value],
        after: &'a [Value],
    ) -> Changes<'a> {
        let mut changes = Changes::default();
        let (old, new) = (self.index(kind, item, before), self.index(kind, item, after));
        let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
        loop {
            let (step, was, is) = match (old.peek(), new.peek()) {
                (Some((o, _)), Some((n, _))) if o == n => {
                    let (Some((step, was)), Some((_, is))) = (old.next(), new.next()) else {
                        break;
                    };
                    (step, was, is)
                }
                (Some((o, _)), Some((n, _))) if o > n => {
                    let Some((step, is)) = new.next() else { break };
                    (step, Vec::new(), is)
                }
                (Some(_), _) => {
                    let Some((step, was)) = old.next() else { break };
                    (step, was, Vec::new())
                }
                (None, Some(_)) => {
                    let Some((step, is)) = new.next() else { break };
                    (step, Vec::new(), is)
                }
                (None, None) => break,
            };
            changes.push(step, self.entries(item, &was, &is));
        }
        changes
    }

    /// Compares what stands under one key; items that stand there twice count as one value.
    fn entries<'a>(
        &self,
        item: Option<&'s Node>,
        before: &[&'a Value],
        after: &[&'a Value],
    ) -> Changes<'a> {
        let first = |of: &[&'a Value]| of.first().copied();
        match (before.len(), after.len()) {
            (0 | 1, 0 | 1) => self.value(item, first(before), first(after)),
            (0 | 1, _) => {
                let mut changes = Changes::default();
                if let Some(old) = first(before) {
                    changes = self.value(item, Some(old), None);
                }
                changes.set.member = true;
                changes
            }
            (_, 0 | 1) => {
                let mut changes = Changes::default();
                if let Some(new) = first(after) {
                    changes = self.value(item, None, Some(new));
                }
                changes.removed.member = true;
                changes
            }
            _ if before == after => Changes::default(),
            _ => Changes { set: FieldSet::leaf(), removed: FieldSet::default() },
        }
    }

    /// The items by their steps, sorted; items without one are passed over.
    fn index<'a>(
        &self,
        kind: &ListKind,
        item: Option<&Node>,
        list: &'a [Value],
    ) -> Vec<(Step<'a>, Vec<&'a Value>)> {
        let step = |value: &'a Value| {
            Some((shape::item_step(self.schema, kind, item, value).ok()?, vec![value]))
        };
        let mut index: Vec<(Step<'a>, Vec<&'a Value>)> = list.iter().filter_map(step).collect();
        if !index.is_sorted_by(|a, b| a.0 < b.0) {
            index.sort_by(|a, b| a.0.cmp(&b.0));
            index.dedup_by(|later, first| {
                let same = later.0 == first.0;
                if same {
                    first.1.append(&mut later.1);
                }
                same
            });
        }
        index
    }
}
