//! What a custom resource's schema asks of values beyond their type.

use std::sync::OnceLock;

use regex::Regex;
use serde_json::Number;

use super::enumeration::Enumeration;
use super::node::NodeId;
use super::pattern;

/// The value validations of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) values: Option<Box<Enumeration>>,
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) multiple_of: Option<Number>,
    pub(crate) length_min: Option<u64>,
    pub(crate) length_max: Option<u64>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) items_min: Option<u64>,
    pub(crate) items_max: Option<u64>,
    pub(crate) properties_min: Option<u64>,
    pub(crate) properties_max: Option<u64>,
    pub(crate) all_of: Box<[NodeId]>,
    pub(crate) any_of: Box<[NodeId]>,
    pub(crate) one_of: Box<[NodeId]>,
    pub(crate) not: Option<NodeId>,
    /// What the schema asks of an object's own metadata (name and generateName).
    pub(crate) metadata: Option<NodeId>,
}

/// A bound of a number.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) value: Number,
    pub(crate) exclusive: bool,
}

/// A regular expression: how the schema wrote it, and what it is once the first value is held against it. Definitions
/// have many more patterns than are ever used.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) text: Box<str>,
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.into(), regex: OnceLock::new() }
    }

    /// Whether a text matches; a pattern that is none, which no definition can have, matches everything.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let regex = self.regex.get_or_init(|| pattern::compile(&self.text).ok());
        regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}
