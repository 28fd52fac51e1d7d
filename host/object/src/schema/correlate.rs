//! Which item of an earlier list an item of the new list replaces.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::ListKind;

/// The items of an earlier list, found by what tells them apart.
#[derive(Debug)]
pub struct Correlation<'a> {
    keys: &'a [Box<str>],
    before: HashMap<String, &'a Value>,
}

impl<'a> Correlation<'a> {
    /// Lists that are not associative have no items that can be told apart.
    pub fn new(list: &'a ListKind, before: &'a [Value]) -> Self {
        let ListKind::Map(keys) = list else { return Self { keys: &[], before: HashMap::new() } };
        let mut known = HashMap::with_capacity(before.len());
        for item in before {
            known.entry(identity(keys, item)).or_insert(item);
        }
        Self { keys, before: known }
    }

    /// The earlier item with the same keys.
    pub fn find(&self, item: &Value) -> Option<&'a Value> {
        if self.before.is_empty() {
            return None;
        }
        self.before.get(&identity(self.keys, item)).copied()
    }
}

/// The values of the keys as one text.
fn identity(keys: &[Box<str>], item: &Value) -> String {
    let mut text = String::new();
    for key in keys {
        match item.get(&**key) {
            Some(value) => write!(text, "{value},").expect("writing into memory cannot fail"),
            None => text.push(','),
        }
    }
    text
}
