//! What a custom resource's schema asks of values beyond their type.

use regex::Regex;
use serde_json::{Number, Value};

use super::node::NodeId;

/// The value validations of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) values: Box<[Value]>,
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

/// A regular expression, and how the schema wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) text: Box<str>,
    pub(crate) regex: Regex,
}
