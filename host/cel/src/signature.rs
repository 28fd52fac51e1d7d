//! Functions and operators as the checker sees them.
//!
//! Owns the short notation in which the libraries declare theirs, as `string::contains(string)->bool`
//! (two colons after the type of a target, single letters for any type). Must not know of expressions.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::error::EvalError;
use crate::eval::Machine;
use crate::library;
use crate::types::{OpaqueType, Type};
use crate::value::Value;

/// What computes a call.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// Evaluated by the machine itself: operators.
    Operator,
    /// A function of its arguments, the target first.
    Pure(for<'a> fn(&[Value<'a>]) -> Result<Value<'a>, EvalError>),
    /// A function that needs what surrounds the evaluation, too.
    Host(for<'a> fn(&mut Machine<'a, '_>, &[Value<'a>]) -> Result<Value<'a>, EvalError>),
}

/// What a call costs beside its arguments. `arg` counts from the target, if there is one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cost {
    /// One.
    One,
    /// Going once over an argument's text.
    Traverse(usize),
    /// Going over the beginning or end that a text may have.
    Affix,
    /// Going twice over an argument's text.
    Twice(usize),
    /// Going over the first text as often as the second is long.
    Product,
    /// A regular expression (second) over a text (first).
    Regex,
    /// `find` and `findAll`, whose results have sizes.
    Find,
    /// Each element of a list, or a text.
    Elements,
    /// `replace`.
    Replace,
    /// `split`.
    Split,
    /// `join`.
    Join,
    /// `in` a list.
    In,
    /// The smaller of two sizes.
    Smaller,
    /// Concatenation of texts or bytes.
    Concat,
    /// Concatenation of lists.
    AddList,
    /// `quote`.
    Quote,
    /// `bytes(string)`.
    Encode,
    /// `string(bytes)`.
    Decode,
    /// A question to the authorizer.
    Check,
    /// A selector that is parsed.
    Selector,
    /// A named format over a text.
    Validate,
    /// Comparing addresses; with the text to parse, if it is one.
    Contains { range: bool, text: bool },
    /// Each element of a list with each of another.
    Sets(f64),
    /// A part of a list.
    Slice,
    /// A list of numbers.
    Range,
    /// A list built from a list.
    Reverse,
    /// `flatten`.
    Flatten,
    /// Each element of an argument with each other.
    SelfCompare(usize),
}

/// One way to call a function.
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) member: bool,
    /// The target's first, if there is one.
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    pub(crate) run: Run,
    pub(crate) cost: Cost,
}

/// How libraries list their functions.
pub(crate) type Row = (&'static str, &'static str, Run, Cost);

/// Everything there is, by name.
pub(crate) static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut functions: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for (id, signature, run, cost) in library::rows() {
        let overload = read(id, signature, run, cost);
        functions.entry(overload.name).or_default().push(overload);
    }
    functions
});

fn read(id: &'static str, signature: &'static str, run: Run, cost: Cost) -> Overload {
    let (call, result) = signature.rsplit_once("->").expect("signatures have a result");
    let (target, call) = match call.split_once("::") {
        Some((target, call)) => (Some(target), call),
        None => (None, call),
    };
    let (name, args) = call.split_once('(').expect("signatures have arguments");
    let args = args.strip_suffix(')').expect("arguments end");
    let types = target.into_iter().chain(split(args)).map(type_of).collect();
    Overload { id, name, member: target.is_some(), args: types, result: type_of(result), run, cost }
}

/// The parts between commas that are in no brackets.
fn split(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (place, character) in list.char_indices() {
        match character {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    if !list.is_empty() {
        parts.push(&list[start..]);
    }
    parts
}

fn type_of(name: &str) -> Type {
    if let Some((outer, inner)) = name.split_once('<') {
        let inner = inner.strip_suffix('>').expect("brackets close");
        let mut parts = split(inner).into_iter().map(type_of);
        let mut next = || parts.next().expect("a parameter");
        return match outer {
            "list" => Type::list(next()),
            "map" => Type::map(next(), next()),
            "optional" => Type::optional(next()),
            "type" => Type::Type(next().into()),
            other => unreachable!("no type {other} has parameters"),
        };
    }
    match name {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "A" => Type::Param(0),
        "B" => Type::Param(1),
        _ => Type::Opaque(opaque(name)),
    }
}

fn opaque(name: &str) -> OpaqueType {
    match name {
        "quantity" => OpaqueType::Quantity,
        "url" => OpaqueType::Url,
        "ip" => OpaqueType::Ip,
        "cidr" => OpaqueType::Cidr,
        "semver" => OpaqueType::Semver,
        "format" => OpaqueType::Format,
        "authorizer" => OpaqueType::Authorizer,
        "pathcheck" => OpaqueType::PathCheck,
        "groupcheck" => OpaqueType::GroupCheck,
        "resourcecheck" => OpaqueType::ResourceCheck,
        "decision" => OpaqueType::Decision,
        other => unreachable!("no type {other}"),
    }
}

/// Whether a value may be an argument of a type, as far as a call has to know before it is made.
pub(crate) fn fits(ty: &Type, value: &Value<'_>) -> bool {
    match ty {
        Type::Dyn | Type::Param(_) => true,
        Type::Error => false,
        Type::Object(object) => value.type_name() == object.name,
        Type::Opaque(opaque) => matches!(value, Value::Opaque(found) if found.ty() == *opaque),
        Type::Null
        | Type::Bool
        | Type::Int
        | Type::Uint
        | Type::Double
        | Type::String
        | Type::Bytes
        | Type::Duration
        | Type::Timestamp
        | Type::List(_)
        | Type::Map(..)
        | Type::Optional(_)
        | Type::Type(_) => value.type_name() == ty.runtime_name(),
    }
}
