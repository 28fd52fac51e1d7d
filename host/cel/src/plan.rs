//! The checked tree made ready to run: names resolved to places, literals to values, functions to code.
//!
//! Owns what is decided once per expression rather than once per evaluation. Must not know of values that an
//! evaluation brings.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Expr, Fold, FoldKind, Kind, Literal, Select, Unwraps};
use crate::check::{Checked, Reference};
use crate::signature::{Overload, Run};
use crate::types::ObjectType;
use crate::value::{Text, Value};

/// A node that is ready to run.
#[derive(Debug)]
pub(crate) enum Node {
    Literal(Literal),
    /// A list, a map or a conversion of literals alone: computed once, so that it costs nothing.
    Constant(Value<'static>),
    Variable(usize),
    Local(usize),
    TypeName(Arc<str>),
    Select {
        operand: Box<Node>,
        field: Arc<str>,
        mode: Select,
    },
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Conditional(Box<[Node; 3]>),
    Unary(Unary, Box<Node>),
    Binary(Binary, Box<[Node; 2]>),
    Call(Box<Call>),
    List(Box<[(Node, bool)]>),
    Map(Box<[(Node, Node, bool)]>),
    Object {
        ty: Arc<ObjectType>,
        fields: Box<[(Arc<str>, Node, bool)]>,
    },
    Fold(Box<PlannedFold>),
    Bind {
        init: Box<Node>,
        body: Box<Node>,
        unwraps: Unwraps,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unary {
    Not,
    Negate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    In,
    Index,
    OptionalIndex,
}

/// A call of a function.
pub(crate) struct Call {
    pub(crate) name: Arc<str>,
    pub(crate) overloads: Vec<&'static Overload>,
    pub(crate) args: Box<[Node]>,
    /// The pattern, when it is a literal.
    pub(crate) pattern: Option<regex::Regex>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("name", &self.name)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) struct PlannedFold {
    pub(crate) kind: FoldKind,
    pub(crate) pair: bool,
    pub(crate) range: Node,
    pub(crate) filter: Option<Node>,
    pub(crate) body: Node,
}

pub(crate) fn plan(expr: &Expr, checked: &Checked) -> Node {
    Planner { checked }.node(expr)
}

struct Planner<'c> {
    checked: &'c Checked,
}

impl Planner<'_> {
    fn boxed(&self, expr: &Expr) -> Box<Node> {
        Box::new(self.node(expr))
    }

    fn node(&self, expr: &Expr) -> Node {
        if let Some(node) = self.named(expr) {
            return node;
        }
        match &expr.kind {
            Kind::Literal(literal) => Node::Literal(literal.clone()),
            // The checker has reported a name that refers to nothing.
            Kind::Ident(name) => Node::TypeName(Arc::clone(name)),
            Kind::Select { operand, field, mode } => {
                Node::Select { operand: self.boxed(operand), field: Arc::clone(field), mode: *mode }
            }
            Kind::Call { function, target, args } => {
                let target = target.as_deref().filter(|_| !self.is_namespace(expr));
                let args: Vec<&Expr> = target.into_iter().chain(args).collect();
                self.call(expr, function, &args)
            }
            Kind::List(elements) => {
                let elements = elements.iter();
                constant_list(elements.map(|e| (self.node(&e.value), e.optional)).collect())
            }
            Kind::Map(entries) => {
                let entry =
                    |e: &crate::ast::Entry| (self.node(&e.key), self.node(&e.value), e.optional);
                constant_map(entries.iter().map(entry).collect())
            }
            Kind::Struct { fields, .. } => self.structure(expr, fields),
            Kind::Fold(fold) => self.fold(fold),
            Kind::Bind { init, body, unwraps, .. } => {
                Node::Bind { init: self.boxed(init), body: self.boxed(body), unwraps: *unwraps }
            }
        }
    }

    fn named(&self, expr: &Expr) -> Option<Node> {
        match &self.checked.references[expr.id] {
            Reference::Variable(number) => Some(Node::Variable(*number)),
            Reference::Local(place) => Some(Node::Local(*place)),
            Reference::TypeName(name) => Some(Node::TypeName(Arc::clone(name))),
            Reference::Nothing | Reference::Overloads(_) | Reference::Object(_) => None,
        }
    }

    /// Whether what stands before the dot of a call is part of the function's name.
    fn is_namespace(&self, expr: &Expr) -> bool {
        let overloads = self.overloads(expr);
        overloads.first().is_some_and(|overload| !overload.member)
    }

    fn overloads(&self, expr: &Expr) -> &[&'static Overload] {
        match &self.checked.references[expr.id] {
            Reference::Overloads(overloads) => overloads,
            Reference::Nothing
            | Reference::Variable(_)
            | Reference::Local(_)
            | Reference::TypeName(_)
            | Reference::Object(_) => &[],
        }
    }

    fn call(&self, expr: &Expr, function: &Arc<str>, args: &[&Expr]) -> Node {
        let each = || args.iter().map(|arg| self.node(arg)).collect::<Box<[Node]>>();
        match (&**function, args) {
            ("_&&_", _) => Node::And(each()),
            ("_||_", _) => Node::Or(each()),
            ("_?_:_", [condition, yes, no]) => {
                Node::Conditional(Box::new([self.node(condition), self.node(yes), self.node(no)]))
            }
            ("!_", [operand]) => Node::Unary(Unary::Not, self.boxed(operand)),
            ("-_", [operand]) => Node::Unary(Unary::Negate, self.boxed(operand)),
            (name, [left, right]) if binary(name).is_some() => {
                let operator = binary(name).unwrap_or(Binary::Equal);
                Node::Binary(operator, Box::new([self.node(left), self.node(right)]))
            }
            _ => {
                let overloads = self.overloads(expr).to_vec();
                let name =
                    overloads.first().map_or_else(|| Arc::clone(function), |o| o.name.into());
                let pattern = pattern_of(&name, args);
                constant_call(Call { name, overloads, args: each(), pattern })
            }
        }
    }

    fn structure(&self, expr: &Expr, fields: &[crate::ast::StructField]) -> Node {
        let field =
            |f: &crate::ast::StructField| (Arc::clone(&f.name), self.node(&f.value), f.optional);
        let fields = fields.iter().map(field).collect();
        let ty = match &self.checked.references[expr.id] {
            Reference::Object(ty) => Arc::clone(ty),
            _ => Arc::new(ObjectType::new("object", [])),
        };
        Node::Object { ty, fields }
    }

    fn fold(&self, fold: &Fold) -> Node {
        Node::Fold(Box::new(PlannedFold {
            kind: fold.kind,
            pair: fold.var2.is_some(),
            range: self.node(&fold.range),
            filter: fold.filter.as_ref().map(|filter| self.node(filter)),
            body: self.node(&fold.body),
        }))
    }
}

/// What a node is without an evaluation.
fn constant(node: &Node) -> Option<Value<'static>> {
    Some(match node {
        Node::Constant(value) => value.clone(),
        Node::Literal(literal) => match literal {
            Literal::Null => Value::Null,
            Literal::Bool(flag) => Value::Bool(*flag),
            Literal::Int(number) => Value::Int(*number),
            Literal::Uint(number) => Value::Uint(*number),
            Literal::Double(number) => Value::Double(*number),
            Literal::String(text) => Value::String(Text::Shared(Arc::clone(text))),
            Literal::Bytes(bytes) => Value::Bytes(Arc::clone(bytes)),
        },
        _ => return None,
    })
}

fn constant_list(elements: Box<[(Node, bool)]>) -> Node {
    let value = |(element, optional): &(Node, bool)| constant(element).filter(|_| !optional);
    match elements.iter().map(value).collect() {
        Some(values) => Node::Constant(Value::list(values)),
        None => Node::List(elements),
    }
}

fn constant_map(entries: Box<[(Node, Node, bool)]>) -> Node {
    let entry = |(key, value, optional): &(Node, Node, bool)| {
        let key = constant(key)?.key()?;
        Some((key, constant(value).filter(|_| !optional)?))
    };
    match entries.iter().map(entry).collect::<Option<BTreeMap<_, _>>>() {
        // A key that is there twice is an error, which is found when the expression runs.
        Some(map) if map.len() == entries.len() => Node::Constant(Value::map(map)),
        Some(_) | None => Node::Map(entries),
    }
}

/// Functions that only change a value's type.
const CONVERSIONS: [&str; 9] =
    ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"];

fn constant_call(call: Call) -> Node {
    let value = match (&*call.args, call.overloads.as_slice()) {
        ([arg], [overload]) if CONVERSIONS.contains(&overload.name) => {
            constant(arg).and_then(|arg| match overload.run {
                Run::Pure(run) => run(&[arg]).ok(),
                Run::Operator | Run::Host(_) => None,
            })
        }
        _ => None,
    };
    value.map_or_else(|| Node::Call(Box::new(call)), Node::Constant)
}

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        "_==_" => Binary::Equal,
        "_!=_" => Binary::NotEqual,
        "_<_" => Binary::Less,
        "_<=_" => Binary::LessEqual,
        "_>_" => Binary::Greater,
        "_>=_" => Binary::GreaterEqual,
        "_+_" => Binary::Add,
        "_-_" => Binary::Subtract,
        "_*_" => Binary::Multiply,
        "_/_" => Binary::Divide,
        "_%_" => Binary::Modulo,
        "@in" => Binary::In,
        "_[_]" => Binary::Index,
        "_[?_]" => Binary::OptionalIndex,
        _ => return None,
    })
}

/// The regular expression of a call whose pattern is a literal; one that is wrong fails when it is called.
fn pattern_of(name: &str, args: &[&Expr]) -> Option<regex::Regex> {
    if !matches!(name, "matches" | "find" | "findAll") {
        return None;
    }
    match &args.get(1)?.kind {
        Kind::Literal(Literal::String(text)) => crate::library::regex_of(text).ok(),
        _ => None,
    }
}
