//! The functions expressions can call: the language's own and Kubernetes'.
//!
//! Owns the list of libraries. Each lies in a file of its own: its rows (how a function is called and what it
//! costs) and its code. Must not know of checking or planning.

#![expect(
    clippy::unnecessary_wraps,
    reason = "functions of the libraries have one form, also those that cannot fail"
)]

mod authorizer;
mod convert;
mod format;
mod lists;
mod net;
mod operators;
mod optional;
mod quantity;
mod regexes;
mod semver;
mod strings;
mod times;
mod url;

pub use authorizer::{Authorization, Decision, Question, Target};
pub use format::Format;
pub use net::Cidr;
pub use quantity::Quantity;
pub use semver::Semver;
pub use url::Url;

pub(crate) use convert::display;
pub(crate) use regexes::{regex_of, with_pattern};

use crate::error::EvalError;
use crate::signature::Row;
use crate::value::{List, Text, Value};

type Result<T> = std::result::Result<T, EvalError>;

/// Every function of every library.
pub(crate) fn rows() -> impl Iterator<Item = Row> {
    let libraries: [&[Row]; 13] = [
        operators::ROWS,
        convert::ROWS,
        strings::ROWS,
        regexes::ROWS,
        times::ROWS,
        lists::ROWS,
        optional::ROWS,
        net::ROWS,
        quantity::ROWS,
        url::ROWS,
        semver::ROWS,
        format::ROWS,
        authorizer::ROWS,
    ];
    libraries.into_iter().flatten().copied()
}

// What functions take their arguments apart with: a call is made only when the types fit, so that what does not
// fit here has been called with something dynamic inside.

fn text<'v, 'a>(args: &'v [Value<'a>], place: usize) -> Result<&'v Text<'a>> {
    match args.get(place) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn int(args: &[Value<'_>], place: usize) -> Result<i64> {
    match args.get(place) {
        Some(Value::Int(number)) => Ok(*number),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn list<'v, 'a>(args: &'v [Value<'a>], place: usize) -> Result<&'v List<'a>> {
    match args.get(place) {
        Some(Value::List(list)) => Ok(list),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn number(count: usize) -> Value<'static> {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}
