//! Which fields differ between two states of an object, down to the leaves.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use quadrille_object::Timestamp;
use serde_json::Value;

/// How many fields are told; an object of which more differ is changed in its whole.
const LEAVES_MAX: usize = 64;
/// The longest text of a value, in bytes.
const TEXT_BYTES_MAX: usize = 64;

/// What the host itself writes along with every change.
const OF_THE_HOST: [&str; 5] = [
    "metadata.resourceVersion",
    "metadata.managedFields",
    "metadata.generation",
    "status.observedGeneration",
    "metadata.creationTimestamp",
];

/// A value of a field, as far as fights need it.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafValue {
    /// For comparing.
    pub hash: u64,
    /// For telling whether it grows: a number, a time, the length of a list; none for what has no order.
    pub order: Option<f64>,
    /// Whether it is a moment.
    pub is_time: bool,
    /// For people.
    pub text: String,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// Where it is: `spec.replicas`, `status.conditions[0].status`.
    pub path: String,
    /// Its value before.
    pub before: LeafValue,
    /// Its value after.
    pub after: LeafValue,
}

impl LeafValue {
    fn of(value: Option<&Value>) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let time = value.and_then(Value::as_str).and_then(Timestamp::parse_rfc3339);
        let order = match value {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::Array(items)) => Some(length(items.len())),
            Some(Value::Object(fields)) => Some(length(fields.len())),
            // Kubernetes keeps many numbers as text: annotations, data of config maps, quantities.
            Some(Value::String(text)) => match time {
                Some(time) => Some(length(usize::try_from(time.0).unwrap_or(0))),
                None => text.parse().ok(),
            },
            Some(Value::Null | Value::Bool(_)) | None => None,
        };
        let order = order.filter(|number| number.is_finite());
        Self { hash: hasher.finish(), order, is_time: time.is_some(), text: text_of(value) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "only the order of lengths and moments counts")]
fn length(of: usize) -> f64 {
    of as f64
}

fn text_of(value: Option<&Value>) -> String {
    let mut text = value.map_or_else(|| "(none)".to_owned(), Value::to_string);
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

/// The fields in which two encoded states differ, less what the host itself writes. Lists of different length differ as
/// a whole.
pub fn diff(before: &[u8], after: &[u8]) -> Vec<Leaf> {
    let parse = |bytes| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let (before, after) = (parse(before), parse(after));
    let mut leaves = Vec::new();
    // The parser bounds the depth.
    compare(&mut String::new(), Some(&before), Some(&after), &mut leaves);
    leaves
}

fn compare(
    path: &mut String,
    before: Option<&Value>,
    after: Option<&Value>,
    leaves: &mut Vec<Leaf>,
) {
    if before == after || leaves.len() >= LEAVES_MAX || OF_THE_HOST.contains(&path.as_str()) {
        return;
    }
    let end = path.len();
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
            for (name, value) in gone {
                push_name(path, name);
                compare(path, Some(value), None, leaves);
                path.truncate(end);
            }
            for (name, value) in new {
                push_name(path, name);
                compare(path, old.get(name), Some(value), leaves);
                path.truncate(end);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                write!(path, "[{at}]").expect("writing into memory cannot fail");
                compare(path, Some(old), Some(new), leaves);
                path.truncate(end);
            }
        }
        _ => leaves.push(Leaf {
            path: path.clone(),
            before: LeafValue::of(before),
            after: LeafValue::of(after),
        }),
    }
}

fn push_name(path: &mut String, name: &str) {
    if name.contains(['.', '[', '/']) {
        path.push_str("[\"");
        path.push_str(name);
        path.push_str("\"]");
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(before: &Value, after: &Value) -> Vec<String> {
        let leaves = diff(before.to_string().as_bytes(), after.to_string().as_bytes());
        leaves.into_iter().map(|leaf| leaf.path).collect()
    }

    #[test]
    fn only_leaves_that_differ_are_told_and_nothing_that_the_host_writes() {
        let before = json!({
            "metadata": {"resourceVersion": "1", "generation": 1, "labels": {"a.b/c": "x"}},
            "spec": {"replicas": 1, "list": [1, 2], "more": [1], "gone": {"a": 1}},
        });
        let after = json!({
            "metadata": {"resourceVersion": "2", "generation": 2, "labels": {"a.b/c": "y"}},
            "spec": {"replicas": 2, "list": [1, 3], "more": [1, 2], "new": {"b": 1}},
        });
        let expected = [
            "metadata.labels[\"a.b/c\"]",
            "spec.gone",
            "spec.list[1]",
            "spec.more",
            "spec.new",
            "spec.replicas",
        ];
        assert_eq!(paths(&before, &after), expected);
        assert!(paths(&before, &before).is_empty());
    }

    #[test]
    fn numbers_times_and_lengths_have_an_order() {
        let order = |value: Value| LeafValue::of(Some(&value)).order;
        assert_eq!(order(json!("12")), Some(12.0));
        assert_eq!(order(json!([1, 2])), Some(2.0));
        assert!(order(json!("2026-01-02T00:00:00Z")) > order(json!("2026-01-01T00:00:00Z")));
        assert_eq!(
            (order(json!("a")), order(json!("NaN")), order(json!(true))),
            (None, None, None)
        );
    }
}
