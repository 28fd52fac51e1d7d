//! The values that a schema's `enum` allows, looked up by hash: both the list and the values held against it are a
//! client's, and either may have a million entries.

use std::collections::HashSet;

use serde_json::{Number, Value};

/// Some values, in the order of the schema. Numbers are equal whichever way they are written: 1 and 1.0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Enumeration {
    values: Box<[Value]>,
    /// What is no number.
    others: HashSet<Value>,
    integers: HashSet<i128>,
    /// Those that are no integers, and all of them as floats.
    floats: HashSet<u64>,
    all_as_floats: HashSet<u64>,
}

impl Enumeration {
    pub(crate) fn new(values: &[Value]) -> Self {
        let mut new = Self { values: values.into(), ..Self::default() };
        for value in &new.values {
            let Value::Number(number) = value else {
                new.others.insert(value.clone());
                continue;
            };
            match number.as_i128() {
                Some(integer) => drop(new.integers.insert(integer)),
                None => new.floats.extend(float(number)),
            }
            new.all_as_floats.extend(float(number));
        }
        new
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    pub(crate) fn has(&self, value: &Value) -> bool {
        let Value::Number(number) = value else { return self.others.contains(value) };
        let among =
            |floats: &HashSet<u64>| float(number).is_some_and(|bits| floats.contains(&bits));
        match number.as_i128() {
            Some(integer) => self.integers.contains(&integer) || among(&self.floats),
            None => among(&self.all_as_floats),
        }
    }
}

/// A number as the bits of a float; zero has one form.
fn float(number: &Number) -> Option<u64> {
    number.as_f64().map(|float| (float + 0.0).to_bits())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_equal_whichever_way_they_are_written() {
        let of = |values: Value| Enumeration::new(values.as_array().expect("a list"));
        let values =
            of(json!([1, 2.0, 2.5, 0, 9_007_199_254_740_993_i64, "a", null, [1], {"b": 1}]));
        for had in [
            json!(1.0),
            json!(2),
            json!(2.5),
            json!(-0.0),
            json!("a"),
            json!(null),
            json!({"b": 1}),
        ] {
            assert!(values.has(&had), "{had}");
        }
        // Two integers are told apart though they are one float.
        let near = json!(9_007_199_254_740_992_i64);
        for not in [json!(3), json!("1"), near, json!([1.0]), json!(true), json!({}), json!(-1)] {
            assert!(!values.has(&not), "{not}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test that measures")]
    fn very_many_are_looked_up_promptly() {
        let texts = |of: &str| (0..100_000).map(|n| json!(format!("{of}{n}"))).collect::<Vec<_>>();
        let (allowed, others) = (texts("a"), texts("b"));
        let begun = Instant::now();
        let allowed = Enumeration::new(&allowed);
        assert!(!others.iter().any(|other| allowed.has(other)));
        // One by one it would take minutes.
        assert!(begun.elapsed() < Duration::from_secs(30), "took {:?}", begun.elapsed());
    }
}
