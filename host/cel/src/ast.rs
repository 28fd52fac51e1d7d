//! The tree of an expression as it was written, macros expanded.
//!
//! Owns the numbers by which the checker and the estimator note things about a node. Must not know of types.

use std::sync::Arc;

/// A node's number: an index into what is kept per node.
pub(crate) type Id = usize;

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) id: Id,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(Arc<str>),
    Select {
        operand: Box<Expr>,
        field: Arc<str>,
        mode: Select,
    },
    /// An operator by its name in errors, as `_+_`, or a function; `&&` and `||` may have many arguments.
    Call {
        function: Arc<str>,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    List(Vec<Element>),
    Map(Vec<Entry>),
    Struct {
        name: Arc<str>,
        fields: Vec<StructField>,
    },
    Fold(Box<Fold>),
    /// `cel.bind(name, value, body)`; with `unwraps`, `target.optMap(name, body)` and `optFlatMap`.
    Bind {
        var: Arc<str>,
        init: Box<Expr>,
        body: Box<Expr>,
        unwraps: Unwraps,
    },
}

/// How a field is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Select {
    Plain,
    /// `has(a.b)`.
    Test,
    /// `a.?b`.
    Optional,
}

/// Whether the value that is bound comes out of an optional one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwraps {
    No,
    /// `optMap`: what comes out is wrapped again.
    Map,
    /// `optFlatMap`.
    FlatMap,
}

#[derive(Debug, Clone)]
pub(crate) struct Element {
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct StructField {
    pub(crate) id: Id,
    pub(crate) name: Arc<str>,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

/// A macro that goes over a list or a map.
#[derive(Debug, Clone)]
pub(crate) struct Fold {
    pub(crate) kind: FoldKind,
    pub(crate) range: Expr,
    pub(crate) var: Arc<str>,
    pub(crate) var2: Option<Arc<str>>,
    pub(crate) filter: Option<Expr>,
    pub(crate) body: Expr,
}

/// What a fold makes of its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    /// `map`, `filter` (whose body is the variable) and `transformList`.
    List,
    /// `transformMap`.
    Map,
    /// `transformMapEntry`.
    MapEntry,
}

/// An expression with what is kept per node.
#[derive(Debug, Clone)]
pub(crate) struct Ast {
    pub(crate) root: Expr,
    /// Each node's place, by its number.
    pub(crate) offsets: Vec<u32>,
}
