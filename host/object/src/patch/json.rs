//! JSON Patch: decoding, and applying operation by operation.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a value that is no map, or no container, is treated as one"
)]

use serde_json::{Map, Value};

use super::PatchError;
use crate::decode::{self, DEPTH_MAX, go_kind};
use crate::validate_name::quote;

/// The most operations of one patch.
pub(super) const OPERATIONS_MAX: usize = 10_000;
/// The most nodes that the operations of one patch may copy, move or shift.
const WORK_MAX: usize = 5_000_000;
/// The most bytes, roughly, by which copies may grow the object.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// One operation of a JSON Patch.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Inserts or replaces.
    Add(Pointer, Value),
    /// Removes what is there.
    Remove(Pointer),
    /// Replaces what is there.
    Replace(Pointer, Value),
    /// Removes at the first, adds at the second.
    Move(Pointer, Pointer),
    /// Adds at the second what is at the first.
    Copy(Pointer, Pointer),
    /// Holds when the value is there.
    Test(Pointer, Value),
    /// Something that no operation is; refused when its turn comes.
    Unknown(String),
}

/// The steps of a path; empty for the whole object.
pub type Pointer = Vec<String>;

/// A decoded JSON Patch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonPatch {
    /// What to do, in order.
    pub operations: Vec<Operation>,
    /// What strict decoding objects to, as whole messages.
    pub warnings: Vec<String>,
}

impl JsonPatch {
    /// Decodes a body.
    ///
    /// # Errors
    /// When it is not a JSON list of objects, or has too many operations.
    pub fn decode(bytes: &[u8]) -> Result<Self, PatchError> {
        let decoded = decode::json(bytes).map_err(|error| PatchError::Decode(error.0))?;
        let mut patch = Self::from_value(decoded.value)?;
        patch.warnings.extend(decoded.duplicates);
        Ok(patch)
    }

    /// Reads a patch that is already decoded.
    ///
    /// # Errors
    /// When it is not a list of objects, or has too many operations.
    pub fn from_value(value: Value) -> Result<Self, PatchError> {
        let mistyped = |found: &Value, wanted: &str| {
            let found = go_kind(found);
            PatchError::Decode(format!("json: cannot unmarshal {found} into Go {wanted}"))
        };
        let list = match value {
            Value::Array(list) => list,
            Value::Null => Vec::new(),
            other => return Err(mistyped(&other, "value of type []handlers.jsonPatchOp")),
        };
        if list.len() > OPERATIONS_MAX {
            return Err(PatchError::TooManyOperations { got: list.len() });
        }
        let mut patch = Self::default();
        for (at, operation) in list.into_iter().enumerate() {
            let fields = match operation {
                Value::Object(fields) => fields,
                // Decodes, and is no operation.
                Value::Null => Map::new(),
                other => return Err(mistyped(&other, "value of type handlers.jsonPatchOp")),
            };
            for name in ["op", "path", "from"] {
                if let Some(other) = fields.get(name).filter(|v| !v.is_string() && !v.is_null()) {
                    let field = format!("struct field jsonPatchOp.{name} of type string");
                    return Err(mistyped(other, &field));
                }
            }
            let known = |name: &str| ["op", "path", "from", "value"].contains(&name);
            let unknown = fields.keys().filter(|name| !known(name));
            let warning = |name: &String| {
                format!("json patch unknown field {}", quote(&format!("[{at}].{name}")))
            };
            patch.warnings.extend(unknown.map(warning));
            patch.operations.push(operation_of(fields));
        }
        Ok(patch)
    }

    /// Applies every operation to `target`; on an error `target` is left half changed, for the caller to drop.
    ///
    /// # Errors
    /// When an operation cannot be applied, or all together do too much.
    pub fn apply(&self, target: &mut Value) -> Result<(), PatchError> {
        let mut patcher = Patcher { root: target, work: 0, copied: 0 };
        for (at, operation) in self.operations.iter().enumerate() {
            patcher.apply(operation).map_err(|failure| match failure {
                Failure::TooMuch => PatchError::TooMuchWork,
                Failure::Reason(reason) => {
                    PatchError::DoesNotApply { reason: format!("operation {at}: {reason}") }
                }
            })?;
        }
        Ok(())
    }
}

fn operation_of(mut fields: Map<String, Value>) -> Operation {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let (op, path, from) = (text("op").unwrap_or_default(), text("path"), text("from"));
    // A value that is missing is null.
    let value = fields.remove("value").unwrap_or(Value::Null);
    let Some(path) = path.as_deref().map(pointer) else {
        return Operation::Unknown(format!("{op} without a path"));
    };
    match (op.as_str(), value, from.as_deref().map(pointer)) {
        ("add", value, _) => Operation::Add(path, value),
        ("remove", ..) => Operation::Remove(path),
        ("replace", value, _) => Operation::Replace(path, value),
        ("move", _, Some(from)) => Operation::Move(from, path),
        ("copy", _, Some(from)) => Operation::Copy(from, path),
        ("test", value, _) => Operation::Test(path, value),
        _ => Operation::Unknown(op),
    }
}

/// The steps of `/a/b~1c`; whatever stands before the first slash is dropped.
fn pointer(path: &str) -> Pointer {
    let unescape = |step: &str| step.replace("~1", "/").replace("~0", "~");
    path.split('/').skip(1).map(unescape).collect()
}

enum Failure {
    Reason(String),
    TooMuch,
}

fn failed<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Reason(reason.into()))
}

struct Patcher<'a> {
    root: &'a mut Value,
    work: usize,
    copied: usize,
}

impl Patcher<'_> {
    fn apply(&mut self, operation: &Operation) -> Result<(), Failure> {
        match operation {
            Operation::Add(path, value) => self.add(path, value.clone()),
            Operation::Remove(path) => self.remove(path).map(drop),
            Operation::Replace(path, value) => self.replace(path, value.clone()),
            Operation::Move(from, path) => {
                if path.len() > from.len() && path.starts_with(from) {
                    return failed("a value cannot be moved into itself");
                }
                let value = self.remove(from)?;
                self.add(path, value)
            }
            Operation::Copy(from, path) => {
                let value = self.get(from)?;
                let size = size_of(value);
                let value = value.clone();
                self.copied = self.copied.saturating_add(size);
                if self.copied > COPIED_BYTES_MAX {
                    return Err(Failure::TooMuch);
                }
                self.add(path, value)
            }
            Operation::Test(path, wanted) => match self.get(path) {
                Ok(found) if found == wanted => Ok(()),
                Err(_) if wanted.is_null() && self.has_parent(path) => Ok(()),
                _ => failed("the tested value differs"),
            },
            Operation::Unknown(op) => failed(format!("no such operation: {op}")),
        }
    }

    fn add(&mut self, path: &[String], value: Value) -> Result<(), Failure> {
        self.fits(path, &value)?;
        let Some((last, parent)) = path.split_last() else { return failed("no path to add at") };
        match self.parent(parent)? {
            Value::Object(map) => {
                map.insert(last.clone(), value);
                Ok(())
            }
            Value::Array(list) => {
                let at = if last == "-" { list.len() } else { index(last, list.len() + 1)? };
                let shifted = list.len();
                list.insert(at, value);
                self.count(shifted / 16)
            }
            _ => failed("the parent is no map and no list"),
        }
    }

    fn remove(&mut self, path: &[String]) -> Result<Value, Failure> {
        let Some((last, parent)) = path.split_last() else { return failed("no path to remove at") };
        match self.parent(parent)? {
            Value::Object(map) => {
                map.remove(last).map_or_else(|| failed("no such key to remove"), Ok)
            }
            Value::Array(list) => {
                let at = index(last, list.len())?;
                let shifted = list.len();
                let value = list.remove(at);
                self.count(shifted / 16)?;
                Ok(value)
            }
            _ => failed("the parent is no map and no list"),
        }
    }

    fn replace(&mut self, path: &[String], value: Value) -> Result<(), Failure> {
        self.fits(path, &value)?;
        if path.is_empty() {
            *self.root = value;
            return Ok(());
        }
        *self.parent(path)? = value;
        Ok(())
    }

    fn get(&self, path: &[String]) -> Result<&Value, Failure> {
        let mut at: &Value = self.root;
        for step in path {
            let next = match at {
                Value::Object(map) => map.get(step),
                Value::Array(list) => list.get(index(step, list.len())?),
                _ => None,
            };
            let Some(next) = next else { return failed("no such value") };
            at = next;
        }
        Ok(at)
    }

    fn has_parent(&self, path: &[String]) -> bool {
        path.split_last().is_some_and(|(_, parent)| self.get(parent).is_ok_and(Value::is_object))
    }

    /// The value at a path, to be changed.
    fn parent(&mut self, path: &[String]) -> Result<&mut Value, Failure> {
        let mut at: &mut Value = self.root;
        for step in path {
            let next = match at {
                Value::Object(map) => map.get_mut(step),
                Value::Array(list) => {
                    let index = index(step, list.len())?;
                    list.get_mut(index)
                }
                _ => None,
            };
            let Some(next) = next else { return failed("no such parent") };
            at = next;
        }
        Ok(at)
    }

    /// Whether a value may stand at a path: not too deep, and not too much work in all.
    fn fits(&mut self, path: &[String], value: &Value) -> Result<(), Failure> {
        let (depth, nodes) = extent(value);
        if path.len() + depth > DEPTH_MAX {
            return failed("the result nests too deep");
        }
        self.count(nodes)
    }

    fn count(&mut self, nodes: usize) -> Result<(), Failure> {
        self.work = self.work.saturating_add(nodes);
        if self.work > WORK_MAX { Err(Failure::TooMuch) } else { Ok(()) }
    }
}

/// An index into a list of a length; negative ones count from its end.
fn index(step: &str, length: usize) -> Result<usize, Failure> {
    let Ok(index) = step.parse::<i64>() else { return failed(format!("{step} is no index")) };
    let from_start = if index < 0 { i64::try_from(length).unwrap_or(i64::MAX) } else { 0 };
    let at = usize::try_from(index + from_start).ok().filter(|at| *at < length);
    at.map_or_else(|| failed(format!("index {step} is outside the list")), Ok)
}

/// How deep a value nests, and how many nodes it has.
fn extent(value: &Value) -> (usize, usize) {
    let below = |parts: &mut dyn Iterator<Item = &Value>| {
        parts.map(extent).fold((0, 1), |(depth, nodes), (d, n)| (depth.max(d), nodes + n))
    };
    let (depth, nodes) = match value {
        Value::Object(map) => below(&mut map.values()),
        Value::Array(list) => below(&mut list.iter()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return (0, 1),
    };
    (depth + 1, nodes)
}

/// Roughly how many bytes a value has as JSON.
fn size_of(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.iter().map(|(k, v)| k.len() + 4 + size_of(v)).sum::<usize>() + 2,
        Value::Array(list) => list.iter().map(|v| 1 + size_of(v)).sum::<usize>() + 2,
        Value::String(text) => text.len() + 2,
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}
