//! Label selectors, as `metav1.LabelSelector` and as the text form of query parameters.

use serde::{Deserialize, Serialize};

use crate::meta::Meta;

/// What one requirement asks of a label's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Operator {
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
    /// Whether the labels of `meta` satisfy every requirement.
    pub fn matches(&self, meta: &Meta) -> bool {
        self.requirements.iter().all(|r| r.operator.holds(meta.label(&r.key)))
    }
}

impl Operator {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|v| values.iter().any(|w| **w == *v)),
            Self::NotIn(values) => !value.is_some_and(|v| values.iter().any(|w| **w == *v)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::GreaterThan(bound) => number().is_some_and(|n| n > *bound),
            Self::LessThan(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}
