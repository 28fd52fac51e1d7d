//! Entries of managedFields: decoding, identity, order, encoding.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{FieldManager, UPDATE_MANAGERS_MAX, set::FieldSet};
use crate::schema::quoted;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "Apply" => Some(Self::Apply),
            "Update" => Some(Self::Update),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// One manager and what it owns.
#[derive(Clone, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) manager: Cow<'a, str>,
    pub(crate) operation: Operation,
    pub(crate) api_version: Cow<'a, str>,
    pub(crate) subresource: Cow<'a, str>,
    pub(crate) time: Option<Cow<'a, str>>,
    pub(crate) set: FieldSet<'a>,
    /// The fields as they were read, while nothing changed in them.
    pub(crate) written: Option<&'a Value>,
}

impl<'a> Owner<'a> {
    fn decode(entry: &'a Value) -> Option<Self> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        if text("fieldsType") != Some("FieldsV1") {
            return None;
        }
        let written = entry.get("fieldsV1").filter(|fields| !fields.is_null());
        let set = match written {
            Some(fields) => FieldSet::parse(fields.as_object()?).ok()?,
            None => FieldSet::default(),
        };
        Some(Self {
            manager: text("manager").unwrap_or_default().into(),
            operation: Operation::parse(text("operation")?)?,
            api_version: text("apiVersion").filter(|version| !version.is_empty())?.into(),
            subresource: text("subresource").unwrap_or_default().into(),
            time: text("time").map(Into::into),
            set,
            written,
        })
    }

    /// Whether the two are the same manager; who applies is the same in every version.
    pub(crate) fn is(&self, other: &Owner<'_>) -> bool {
        self.operation == other.operation
            && self.manager == other.manager
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    pub(crate) fn replace(&mut self, set: FieldSet<'a>) {
        self.set = set;
        self.written = None;
    }

    /// Takes over what another one owns, and its time.
    pub(crate) fn absorb(&mut self, other: Self) {
        let before = std::mem::take(&mut self.set);
        self.replace(before.union(other.set));
        self.time = other.time;
    }

    /// Orders by age: seconds first, then the identity.
    pub(crate) fn age(&self) -> (Cow<'a, str>, String) {
        (self.time.clone().unwrap_or_default(), self.identity())
    }

    /// The identity as text, for order and messages.
    pub(crate) fn identity(&self) -> String {
        let version = if self.operation == Operation::Apply { "" } else { &*self.api_version };
        format!("{}\n{}\n{version}\n{}", self.manager, self.operation.name(), self.subresource)
    }

    /// `"manager" with subresource "status" using v1`, as conflicts name it.
    pub(crate) fn describe(&self) -> String {
        let mut out = quoted(&self.manager);
        if !self.subresource.is_empty() {
            out.push_str(" with subresource ");
            out.push_str(&quoted(&self.subresource));
        }
        if self.operation == Operation::Update {
            out.push_str(" using ");
            out.push_str(&self.api_version);
        }
        out
    }

    fn encode(self) -> Value {
        let mut entry = Map::new();
        let fields = match self.written {
            Some(written) => written.clone(),
            None => Value::Object(self.set.to_fields()),
        };
        entry.insert("apiVersion".to_owned(), self.api_version.into());
        entry.insert("fieldsType".to_owned(), "FieldsV1".into());
        entry.insert("fieldsV1".to_owned(), fields);
        entry.insert("manager".to_owned(), self.manager.into());
        entry.insert("operation".to_owned(), self.operation.name().into());
        if !self.subresource.is_empty() {
            entry.insert("subresource".to_owned(), self.subresource.into());
        }
        if let Some(time) = self.time {
            entry.insert("time".to_owned(), time.into());
        }
        Value::Object(entry)
    }
}

/// Up to how many entries are compared with each other one by one; of more, an index is made.
const COMPARED_MAX: usize = 32;

/// Reads entries; `None` when one of them cannot be read. Of two with one identity the later counts.
pub(crate) fn decode(entries: &[Value]) -> Option<Vec<Owner<'_>>> {
    let mut owners: Vec<Owner<'_>> = Vec::with_capacity(entries.len() + 1);
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        let owner = Owner::decode(entry)?;
        let known = if entries.len() <= COMPARED_MAX {
            owners.iter().position(|known| known.is(&owner))
        } else {
            let next = owners.len();
            let at = *places.entry(owner.identity()).or_insert(next);
            (at < next).then_some(at)
        };
        match known.and_then(|at| owners.get_mut(at)) {
            Some(known) => *known = owner,
            None => owners.push(owner),
        }
    }
    Some(owners)
}

/// Whether the entries are as we would write them, seen from outside: with nothing to drop, to merge, and nothing doubled.
pub(crate) fn is_canonical(entries: &[Value], by: &FieldManager<'_>) -> bool {
    let text = |entry: &Value, key: &str| {
        entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let full = |entry: &Value| {
        let fields = entry.get("fieldsV1").and_then(Value::as_object);
        fields.is_some_and(|fields| !fields.is_empty()) && by.knows(&text(entry, "apiVersion"))
    };
    let updaters = entries.iter().filter(|entry| text(entry, "operation") == "Update").count();
    updaters <= UPDATE_MANAGERS_MAX
        && entries.iter().all(full)
        && are_distinct(entries)
        && entries.is_sorted_by_key(|entry| {
            (text(entry, "operation"), text(entry, "time"), text(entry, "manager"))
        })
}

/// Whether no two entries are of the same manager.
fn are_distinct(entries: &[Value]) -> bool {
    const KEYS: [&str; 4] = ["manager", "operation", "subresource", "apiVersion"];
    if entries.len() > COMPARED_MAX {
        let identity = |entry: &Value| KEYS.map(|key| entry.get(key).map(Value::to_string));
        let mut seen = HashSet::with_capacity(entries.len());
        return entries.iter().all(|entry| seen.insert(identity(entry)));
    }
    let same = |a: &Value, b: &Value| KEYS.into_iter().all(|key| a.get(key) == b.get(key));
    let later = |at: usize| entries.iter().skip(at + 1);
    entries.iter().enumerate().all(|(at, a)| later(at).all(|b| !same(a, b)))
}

/// Writes entries in their order: those who apply first, then by time, name, version and subresource.
pub(crate) fn encode(mut owners: Vec<Owner<'_>>) -> Vec<Value> {
    owners.sort_by(|a, b| {
        a.operation
            .cmp(&b.operation)
            .then_with(|| a.time.cmp(&b.time))
            .then_with(|| a.manager.cmp(&b.manager))
            .then_with(|| a.api_version.cmp(&b.api_version))
            .then_with(|| a.subresource.cmp(&b.subresource))
    });
    owners.into_iter().filter(|owner| !owner.set.is_empty()).map(Owner::encode).collect()
}
