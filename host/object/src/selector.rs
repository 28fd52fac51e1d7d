//! Selectors of objects by labels and by fields: parsed, matched, and printed back.
//!
//! Label selectors have two forms, `metav1.LabelSelector` in objects and a text in query parameters; both
//! become one [`LabelSelector`]. Field selectors only have a text ([`field::FieldSelector`]). Texts and messages
//! are those of kube-apiserver.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::meta::Meta;
use crate::validate_name::{label_value, qualified_name, quote};

pub mod field;
mod parse;

pub use field::FieldSelector;

/// A selector that cannot be understood; the message is the one of kube-apiserver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// What one requirement asks of a label's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Operator {
    /// The label has this value.
    Equals(Box<str>),
    /// The label is absent, or has another value.
    NotEquals(Box<str>),
    /// The label exists with one of the values.
    In(Vec<Box<str>>),
    /// The label is absent, or has none of the values.
    NotIn(Vec<Box<str>>),
    /// The label exists.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is an integer greater than this.
    GreaterThan(i64),
    /// The label is an integer less than this.
    LessThan(i64),
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// The label's key.
    pub key: Box<str>,
    /// What is asked.
    pub operator: Operator,
}

/// Requirements that must all hold; none matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LabelSelector {
    /// The requirements, sorted by key.
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Reads the text form, such as `a=b,c!=d,e in (x,y),f notin (z),g,!h,i>1`; empty matches everything.
    ///
    /// # Errors
    /// When the text is malformed, or a key or value is not one of a label.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::selector(text).map(Self::sorted)
    }

    /// Reads a `metav1.LabelSelector`; an empty one matches everything. What an absent one means differs from
    /// field to field, so that `null` is an error here.
    ///
    /// # Errors
    /// When it is not such an object, or a key, value or operator is wrong.
    pub fn from_value(selector: &Value) -> Result<Self, SelectorError> {
        let object =
            selector.as_object().ok_or_else(|| wrong("a label selector is not an object"))?;
        let mut requirements = Vec::new();
        match object.get("matchLabels") {
            None | Some(Value::Null) => {}
            Some(Value::Object(labels)) => requirements = equalities(labels)?,
            Some(_) => return Err(wrong("matchLabels is not an object")),
        }
        match object.get("matchExpressions") {
            None | Some(Value::Null) => {}
            Some(Value::Array(expressions)) => {
                for expression in expressions {
                    requirements.push(from_expression(expression)?);
                }
            }
            Some(_) => return Err(wrong("matchExpressions is not a list")),
        }
        Ok(Self::sorted(requirements))
    }

    /// Reads a plain map of labels, such as a Service's `spec.selector`.
    ///
    /// # Errors
    /// When a value is no text, or a key or value is not one of a label.
    pub fn from_labels(labels: &Map<String, Value>) -> Result<Self, SelectorError> {
        equalities(labels).map(Self::sorted)
    }

    /// Whether the labels of `meta` satisfy every requirement.
    pub fn matches(&self, meta: &Meta) -> bool {
        self.requirements.iter().all(|r| r.operator.holds(meta.label(&r.key)))
    }

    /// How many values an object is held against at most, one for each requirement at least.
    pub fn values(&self) -> usize {
        self.requirements.iter().map(|r| r.operator.values().len().max(1)).sum()
    }

    /// What it holds, in bytes: its keys and values, each with eight for itself.
    pub fn size(&self) -> usize {
        let text = |text: &str| 8 + text.len();
        let requirement = |r: &Requirement| {
            text(&r.key) + r.operator.values().iter().map(|value| text(value)).sum::<usize>()
        };
        self.requirements.iter().map(requirement).sum()
    }

    /// Whether it matches every object.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    fn sorted(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements }
    }
}

impl Operator {
    /// The values that it compares with as texts.
    fn values(&self) -> &[Box<str>] {
        match self {
            Self::Equals(value) | Self::NotEquals(value) => std::slice::from_ref(value),
            Self::In(values) | Self::NotIn(values) => values,
            Self::Exists | Self::DoesNotExist | Self::GreaterThan(_) | Self::LessThan(_) => &[],
        }
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::Equals(wanted) => value == Some(wanted.as_ref()),
            Self::NotEquals(wanted) => value != Some(wanted.as_ref()),
            Self::In(values) => value.is_some_and(|v| values.iter().any(|w| **w == *v)),
            Self::NotIn(values) => !value.is_some_and(|v| values.iter().any(|w| **w == *v)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::GreaterThan(bound) => number().is_some_and(|n| n > *bound),
            Self::LessThan(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

/// The text form; reading it gives the same selector.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            fmt::Display::fmt(requirement, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.operator {
            Operator::Equals(value) => write!(f, "{key}={value}"),
            Operator::NotEquals(value) => write!(f, "{key}!={value}"),
            Operator::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan(bound) => write!(f, "{key}>{bound}"),
            Operator::LessThan(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

fn equalities(labels: &Map<String, Value>) -> Result<Vec<Requirement>, SelectorError> {
    let requirement = |(key, value): (&String, &Value)| {
        let value = value.as_str().ok_or_else(|| wrong("the value of a label is not a string"))?;
        check_key(key)?;
        check_values(key, &[value])?;
        Ok(Requirement { key: key.as_str().into(), operator: Operator::Equals(value.into()) })
    };
    labels.iter().map(requirement).collect()
}

fn from_expression(expression: &Value) -> Result<Requirement, SelectorError> {
    let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
    let (key, operator) = (text("key"), text("operator"));
    let values = expression.get("values").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let values: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
    let mut values = values.ok_or_else(|| wrong("the value of a label is not a string"))?;
    check_key(key)?;
    check_values(key, &values)?;
    values.sort_unstable();
    values.dedup();
    let boxed = || values.iter().map(|value| Box::from(*value)).collect::<Vec<Box<str>>>();
    let rule =
        |text: &str| Err(wrong(&format!("values: Invalid value: {}: {text}", go_list(&values))));
    let operator = match operator {
        "In" | "NotIn" if values.is_empty() => {
            return rule("for 'in', 'notin' operators, values set can't be empty");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            return rule("values set must be empty for exists and does not exist");
        }
        "In" => Operator::In(boxed()),
        "NotIn" => Operator::NotIn(boxed()),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            return Err(wrong(&format!("{} is not a valid label selector operator", quote(other))));
        }
    };
    Ok(Requirement { key: key.into(), operator })
}

/// A list as kube-apiserver shows it in a message: JSON.
fn go_list(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| quote(value)).collect();
    format!("[{}]", quoted.join(","))
}

fn check_key(key: &str) -> Result<(), SelectorError> {
    match qualified_name(key) {
        problems if problems.is_empty() => Ok(()),
        // `<nil>` stands where kube-apiserver prints the path of a query parameter, which has none.
        problems => {
            Err(wrong(&format!("<nil>: Invalid value: {}: {}", quote(key), problems.join("; "))))
        }
    }
}

fn check_values(key: &str, values: &[&str]) -> Result<(), SelectorError> {
    for (at, value) in values.iter().enumerate() {
        let problems = label_value(value);
        if !problems.is_empty() {
            let (value, problems) = (quote(value), problems.join("; "));
            return Err(wrong(&format!("values[{at}][{key}]: Invalid value: {value}: {problems}")));
        }
    }
    Ok(())
}

fn wrong(message: &str) -> SelectorError {
    SelectorError(message.to_owned())
}

#[cfg(test)]
mod tests;
