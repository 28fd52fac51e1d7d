//! Fields of objects: paths as people write them, and where else a value is found.

use std::fmt;

use serde_json::Value;

/// The deepest path that is taken.
const DEPTH_MAX: usize = 64;
/// The most leaves of one object that are compared.
const LEAVES_MAX: usize = 20_000;

/// A path that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no path of a field such as spec.replicas or spec.containers[0].image")]
pub struct FieldError {
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Name(String),
    Index(usize),
}

/// The path of a field: `spec.replicas`, `.spec.containers[0].image`, `metadata.labels['app.kubernetes.io/name']`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field(Vec<Segment>);

impl Field {
    /// Reads a path; braces and a leading dot may stand around it.
    ///
    /// # Errors
    /// When it is malformed, or has steps that lead to more than one place.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let error = || FieldError { text: text.to_owned() };
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let mut rest = inner.strip_prefix('.').unwrap_or(inner);
        let mut segments = Vec::new();
        while !rest.is_empty() {
            let (segment, after) = first_segment(rest).ok_or_else(error)?;
            segments.push(segment);
            rest = match after.strip_prefix('.') {
                Some("") => return Err(error()),
                Some(next) => next,
                None if after.is_empty() || after.starts_with('[') => after,
                None => return Err(error()),
            };
        }
        if segments.is_empty() || segments.len() > DEPTH_MAX {
            return Err(error());
        }
        Ok(Self(segments))
    }

    /// The value at the path.
    pub fn get<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(object, |value, segment| match segment {
            Segment::Name(name) => value.as_object()?.get(name),
            Segment::Index(index) => value.as_array()?.get(*index),
        })
    }

    /// How many of the last steps two paths share; indexes count as equal, as the same thing lies at different places
    /// in different lists.
    pub(crate) fn shared_end(&self, other: &Self) -> usize {
        let pairs = self.0.iter().rev().zip(other.0.iter().rev());
        pairs.take_while(|(a, b)| same_kind(a, b)).count()
    }
}

fn same_kind(a: &Segment, b: &Segment) -> bool {
    match (a, b) {
        (Segment::Name(a), Segment::Name(b)) => a == b,
        (Segment::Index(_), Segment::Index(_)) => true,
        (Segment::Name(_), Segment::Index(_)) | (Segment::Index(_), Segment::Name(_)) => false,
    }
}

fn first_segment(text: &str) -> Option<(Segment, &str)> {
    let Some(inside) = text.strip_prefix('[') else {
        let end = text.find(['.', '[']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return (!name.is_empty() && name != "*").then(|| (Segment::Name(name.to_owned()), rest));
    };
    for quote in ['\'', '"'] {
        if let Some(quoted) = inside.strip_prefix(quote) {
            let (name, rest) = quoted.split_once(quote)?;
            return Some((Segment::Name(name.to_owned()), rest.strip_prefix(']')?));
        }
    }
    let (index, rest) = inside.split_once(']')?;
    Some((Segment::Index(index.parse().ok()?), rest))
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Name(name) if name.contains(['.', '[', '\'']) => write!(f, "['{name}']")?,
                Segment::Name(name) if place == 0 => f.write_str(name)?,
                Segment::Name(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

/// Whether a value tells where it comes from when it is met elsewhere; small ones are met everywhere.
pub(crate) fn is_telling(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() >= 3,
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() > 1.0),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Null | Value::Bool(_) => false,
    }
}

/// The places in an object that hold a value, metadata that every write changes left out.
pub(crate) fn places_of(object: &Value, wanted: &Value) -> Vec<Field> {
    let (mut found, mut visited, mut path) = (Vec::new(), 0, Vec::new());
    search(object, wanted, &mut path, &mut visited, &mut found);
    found.retain(|field| !is_bookkeeping(field));
    found
}

fn is_bookkeeping(field: &Field) -> bool {
    let name = |at: usize| match field.0.get(at) {
        Some(Segment::Name(name)) => name.as_str(),
        _ => "",
    };
    let kept = ["managedFields", "resourceVersion", "uid", "generation", "creationTimestamp"];
    name(0) == "metadata" && kept.contains(&name(1))
}

fn search(
    value: &Value,
    wanted: &Value,
    path: &mut Vec<Segment>,
    visited: &mut usize,
    found: &mut Vec<Field>,
) {
    *visited += 1;
    if *visited > LEAVES_MAX || path.len() > DEPTH_MAX {
        return;
    }
    if value == wanted && !path.is_empty() {
        found.push(Field(path.clone()));
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                path.push(Segment::Name(name.clone()));
                search(value, wanted, path, visited, found);
                path.pop();
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                path.push(Segment::Index(index));
                search(value, wanted, path, visited, found);
                path.pop();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_read_as_people_write_them_and_shown_again() {
        for (text, shown) in [
            ("spec.replicas", "spec.replicas"),
            (".spec.containers[0].image", "spec.containers[0].image"),
            ("{.metadata.labels['a.b/c']}", "metadata.labels['a.b/c']"),
            ("data[\"x\"]", "data.x"),
        ] {
            assert_eq!(Field::parse(text).expect(text).to_string(), shown);
        }
        for text in ["", ".", "a..b", "a.", "a[", "a[*]", "a['x", "a[0]b", "[", "*"] {
            assert!(Field::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_found_where_it_is_and_ends_of_paths_are_compared() {
        let object =
            json!({"metadata": {"generation": 7}, "spec": {"replicas": 7, "list": [{"n": 7}]}});
        let places = places_of(&object, &json!(7));
        let shown: Vec<String> = places.iter().map(Field::to_string).collect();
        assert_eq!(shown, ["spec.list[0].n", "spec.replicas"]);
        let path = |text| Field::parse(text).expect("a path");
        let (pod, set) =
            (path("spec.containers[1].image"), path("spec.template.spec.containers[0].image"));
        assert_eq!(pod.shared_end(&set), 4);
        assert_eq!(
            pod.get(&json!({"spec": {"containers": [0, {"image": "x"}]}})),
            Some(&json!("x"))
        );
    }
}
