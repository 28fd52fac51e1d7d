//! One node of a compiled schema, and the arena that holds the nodes of one document.
//!
//! Nodes refer to each other by number, because schemas of built-in kinds are recursive. A custom resource's arena
//! also refers to the built-in one: its `metadata` is the same type as everybody's.

use serde_json::Value;

use super::form::Empty;
use super::rules::Rules;

/// A node of the schema's own arena, or (with the top bit) of the built-in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(u32);

const BUILTIN: u32 = 1 << 31;

impl NodeId {
    pub(crate) fn local(index: usize) -> Self {
        Self(u32::try_from(index).expect("a schema has far fewer nodes than 2^31"))
    }

    pub(crate) fn builtin(self) -> Self {
        Self(self.0 | BUILTIN)
    }

    pub(crate) fn is_builtin(self) -> bool {
        self.0 & BUILTIN != 0
    }

    pub(crate) fn index(self) -> usize {
        (self.0 & !BUILTIN) as usize
    }
}

/// Which JSON values a node takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Anything.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    /// `x-kubernetes-int-or-string`, or Kubernetes' `IntOrString`.
    IntOrString,
}

impl Kind {
    /// The `type` keyword's value; empty for the two kinds that have none.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any | Self::IntOrString => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// Who owns what in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// The list has one owner.
    #[default]
    Atomic,
    /// Scalars, each with its owners.
    Set,
    /// Objects told apart by these keys, each field with its owners.
    Map(Box<[Box<str>]>),
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PatchRule {
    /// Lists are merged instead of replaced.
    pub(crate) merge: bool,
    /// Maps are replaced instead of merged.
    pub(crate) replace: bool,
    /// The patch may say which keys stay.
    pub(crate) retain_keys: bool,
    /// The key by which items of a merged list are told apart.
    pub(crate) merge_key: Option<Box<str>>,
}

/// A field of an object.
#[derive(Clone, Debug)]
pub(crate) struct Property {
    pub(crate) name: Box<str>,
    pub(crate) node: NodeId,
    /// Built-in types only: the field is there in the smallest object, empty or null.
    pub(crate) always: bool,
    /// Built-in types only: the field holds an object and is empty, not null, when nothing is in it.
    pub(crate) by_value: bool,
    /// Built-in types only: what becomes of the field when it holds nothing.
    pub(crate) empty: Empty,
    /// The value that counts as the key when an item of an associative list leaves the field out.
    pub(crate) key_default: Option<Box<Value>>,
    pub(crate) patch: Option<Box<PatchRule>>,
}

/// One node.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a keyword of the schema language")]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// The `format` keyword; empty without one.
    pub(crate) format: Box<str>,
    /// Known fields, sorted by name.
    pub(crate) properties: Box<[Property]>,
    /// The type of values under other keys.
    pub(crate) additional: Option<NodeId>,
    /// The type of a list's items.
    pub(crate) items: Option<NodeId>,
    pub(crate) list: ListKind,
    /// The map has one owner.
    pub(crate) atomic: bool,
    /// Unknown fields are kept: `x-kubernetes-preserve-unknown-fields`, or a free-form built-in type.
    pub(crate) open: bool,
    pub(crate) nullable: bool,
    /// An object with apiVersion, kind and metadata of its own.
    pub(crate) embedded: bool,
    pub(crate) required: Box<[Box<str>]>,
    pub(crate) default: Option<Box<Value>>,
    /// What custom resources ask of values beyond their type.
    pub(crate) rules: Option<Box<Rules>>,
    /// The definition's name, for messages about built-in types; empty for custom ones.
    pub(crate) name: Box<str>,
}

impl Node {
    pub(crate) fn property(&self, name: &str) -> Option<&Property> {
        let at = self.properties.binary_search_by(|p| (*p.name).cmp(name)).ok()?;
        self.properties.get(at)
    }

    /// The type of the value under `key`: a known field's, or that of all others.
    pub(crate) fn field(&self, key: &str) -> Option<NodeId> {
        self.property(key).map(|p| p.node).or(self.additional)
    }
}
