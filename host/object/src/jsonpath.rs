//! kubectl's `JSONPath`, as far as the columns of custom resources use it: fields, indexes, slices, wildcards,
//! descent, unions and simple filters.
//!
//! A path is compiled once and read often. Reading visits at most [`VISITS_MAX`] values.

use serde_json::Value;

mod parse;

/// The most values that one reading visits.
const VISITS_MAX: usize = 100_000;

/// A path that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonPathError(pub String);

/// A compiled path, such as `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    Descent,
    Union(Vec<Step>),
    /// From, to and step of a slice; an index is a slice of one.
    Slice(Option<i64>, Option<i64>, Option<i64>),
    Filter(Operand, Comparison, Operand),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
    /// The other side of a filter that only asks whether something is there.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Exists,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Compiles a path, with or without braces and leading dot.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        parse::path(text).map(|steps| Self { steps })
    }

    /// Everything that the path leads to; what is missing is left out.
    pub fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        let mut visits = 0;
        follow(&self.steps, root, &mut visits)
    }

    /// The first value that the path leads to, as a column shows it.
    pub fn first<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        self.find(root).into_iter().next()
    }
}

/// A value as text: strings as they are, containers as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn follow<'v>(steps: &[Step], root: &'v Value, visits: &mut usize) -> Vec<&'v Value> {
    let mut found = vec![root];
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            take(step, value, &mut next, visits);
        }
        found = next;
    }
    found
}

fn take<'v>(step: &Step, value: &'v Value, out: &mut Vec<&'v Value>, visits: &mut usize) {
    *visits += 1;
    if *visits > VISITS_MAX || out.len() > VISITS_MAX {
        return;
    }
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => out.extend(map.get(name)),
        (Step::Wildcard, Value::Object(map)) => out.extend(map.values()),
        (Step::Wildcard, Value::Array(list)) => out.extend(list),
        (Step::Descent, _) => descend(value, out, visits),
        (Step::Union(steps), _) => {
            for step in steps {
                take(step, value, out, visits);
            }
        }
        (Step::Slice(from, to, step), Value::Array(list)) => {
            let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
            let place = |at: i64| if at < 0 { at + length } else { at };
            let from = place(from.unwrap_or(0)).max(0);
            let to = to.map_or(length, place).min(length);
            let by = usize::try_from(step.unwrap_or(1)).unwrap_or(1).max(1);
            let count = usize::try_from(to - from).unwrap_or(0);
            let skipped = usize::try_from(from).unwrap_or(usize::MAX);
            out.extend(list.iter().skip(skipped).take(count).step_by(by));
        }
        (Step::Filter(left, comparison, right), Value::Array(list)) => {
            for item in list {
                if holds(left, *comparison, right, item, visits) {
                    out.push(item);
                }
            }
        }
        _ => {}
    }
}

/// The value and everything below it.
fn descend<'v>(value: &'v Value, out: &mut Vec<&'v Value>, visits: &mut usize) {
    *visits += 1;
    if *visits > VISITS_MAX {
        return;
    }
    out.push(value);
    match value {
        Value::Object(map) => map.values().for_each(|value| descend(value, out, visits)),
        Value::Array(list) => list.iter().for_each(|value| descend(value, out, visits)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn holds(
    left: &Operand,
    comparison: Comparison,
    right: &Operand,
    item: &Value,
    visits: &mut usize,
) -> bool {
    let left = operand(left, item, visits);
    if comparison == Comparison::Exists {
        return left.is_some();
    }
    let (Some(left), Some(right)) = (left, operand(right, item, visits)) else { return false };
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
        }
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (left, right) => (left == right).then_some(std::cmp::Ordering::Equal),
    };
    match comparison {
        Comparison::Exists => true,
        Comparison::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::NotEqual => !order.is_some_and(std::cmp::Ordering::is_eq),
        Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

fn operand<'v>(operand: &'v Operand, item: &'v Value, visits: &mut usize) -> Option<&'v Value> {
    match operand {
        Operand::Path(steps) => follow(steps, item, visits).into_iter().next(),
        Operand::Literal(value) => Some(value),
        Operand::Nothing => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &Value) {
        let object = json!({
            "spec": {
                "a": 1, "o": {"z": 1}, "e.f": "dot",
                "l": [{"x": "p", "y": "1"}, {"x": "q", "y": "2", "n": 5}],
            },
            "metadata": {"labels": {"k": "v", "app.kubernetes.io/name": "n"}},
        });
        let found = JsonPath::parse(path).expect(path);
        let found: Vec<Value> = found.find(&object).into_iter().cloned().collect();
        assert_eq!(&Value::Array(found), expected, "{path}");
    }

    #[test]
    fn paths_lead_where_kubectl_says() {
        check(".spec.a", &json!([1]));
        check("{.spec.a}", &json!([1]));
        check("spec.nope.more", &json!([]));
        check(".spec.l[*].x", &json!(["p", "q"]));
        check(".spec.l[0].x", &json!(["p"]));
        check(".spec.l[-1].x", &json!(["q"]));
        check(".spec.l[7].x", &json!([]));
        check(".spec.l[0:1].x", &json!(["p"]));
        check(".spec.l[0,1].y", &json!(["1", "2"]));
        check(".spec.l[?(@.x=='q')].y", &json!(["2"]));
        check(".spec.l[?(@.n > 4)].x", &json!(["q"]));
        check(".spec.l[?(@.n)].x", &json!(["q"]));
        check(".spec.l[?(@.x!=\"q\")].x", &json!(["p"]));
        check(".spec['e.f']", &json!(["dot"]));
        check(r".spec.e\.f", &json!(["dot"]));
        check(r".metadata.labels.app\.kubernetes\.io/name", &json!(["n"]));
        check("..z", &json!([1]));
        check(".spec.o", &json!([{"z": 1}]));
    }

    #[test]
    fn malformed_paths_are_refused() {
        for path in ["{.a", ".a[", ".a[x]", ".a[?(@.x==)]", ".a[?(]", ".a]", ".a['b"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_compiled_or_refused(path in "[.a-c\\[\\]*?()@='\"0-9:,\\\\{}-]{0,24}") {
            if let Ok(path) = JsonPath::parse(&path) {
                path.find(&json!({"a": [{"b": 1}, [2]], "b": {"c": "d"}}));
            }
        }
    }
}
