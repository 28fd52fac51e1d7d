//! Semantic versions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Result, text};
use crate::error::EvalError;
use crate::signature::Cost::{One, Traverse};
use crate::signature::Row;
use crate::signature::Run::Pure;
use crate::value::{Opaque, Value};

pub(super) const ROWS: &[Row] = &[
    ("string_to_semver", "semver(string)->semver", Pure(to_semver), Traverse(0)),
    ("string_bool_to_semver", "semver(string,bool)->semver", Pure(to_semver), Traverse(0)),
    ("is_semver_string", "isSemver(string)->bool", Pure(is_semver), Traverse(0)),
    ("is_semver_string_bool", "isSemver(string,bool)->bool", Pure(is_semver), Traverse(0)),
    ("semver_is_greater_than", "semver::isGreaterThan(semver)->bool", Pure(is_greater), One),
    ("semver_is_less_than", "semver::isLessThan(semver)->bool", Pure(is_less), One),
    ("semver_compare_to", "semver::compareTo(semver)->int", Pure(compare_to), One),
    ("semver_major", "semver::major()->int", Pure(major), One),
    ("semver_minor", "semver::minor()->int", Pure(minor), One),
    ("semver_patch", "semver::patch()->int", Pure(patch), One),
];

/// A version; what is built into it does not count when two are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semver {
    core: [u64; 3],
    before: Vec<String>,
}

impl Semver {
    /// Reads `1.2.3-alpha.1+build`.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, build) = text.split_once('+').map_or((text, None), |(rest, b)| (rest, Some(b)));
        let (core, before) = rest.split_once('-').map_or((rest, None), |(core, b)| (core, Some(b)));
        let numbers: Vec<&str> = core.split('.').collect();
        let [major, minor, patch] = numbers.as_slice() else { return None };
        let identifier = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if build.is_some_and(|build| !build.split('.').all(identifier)) {
            return None;
        }
        let before: Vec<String> = match before {
            Some(before) => before.split('.').map(str::to_owned).collect(),
            None => Vec::new(),
        };
        let padded = |part: &String| is_number(part) && part.len() > 1 && part.starts_with('0');
        if !before.iter().all(|part| identifier(part)) || before.iter().any(padded) {
            return None;
        }
        Some(Self { core: [number(major)?, number(minor)?, number(patch)?], before })
    }

    /// Reads `v1.2`, too: a `v` before, parts that are missing, and zeroes before a part are forgiven.
    pub fn parse_leniently(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut parts: Vec<String> = core.split('.').map(without_zeroes).collect();
        if parts.len() > 3 || (parts.len() < 3 && !rest.is_empty()) {
            return None;
        }
        parts.resize(3, "0".to_owned());
        Self::parse(&format!("{}{rest}", parts.join(".")))
    }
}

fn without_zeroes(part: &str) -> String {
    let stripped = part.trim_start_matches('0');
    if stripped.is_empty() && !part.is_empty() { "0".to_owned() } else { stripped.to_owned() }
}

fn is_number(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(part: &str) -> Option<u64> {
    let padded = part.len() > 1 && part.starts_with('0');
    if part.is_empty() || padded || !is_number(part) { None } else { part.parse().ok() }
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        self.core.cmp(&other.core).then_with(|| {
            // A version comes after what comes before it.
            match (self.before.is_empty(), other.before.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => parts(&self.before, &other.before),
            }
        })
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn parts(left: &[String], right: &[String]) -> Ordering {
    for (left, right) in left.iter().zip(right) {
        let order = match (is_number(left), is_number(right)) {
            (true, true) => left.len().cmp(&right.len()).then_with(|| left.cmp(right)),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => left.cmp(right),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

fn read(args: &[Value<'_>]) -> Result<Option<Semver>> {
    let text = text(args, 0)?;
    Ok(match args.get(1) {
        Some(Value::Bool(true)) => Semver::parse_leniently(text),
        _ => Semver::parse(text),
    })
}

fn semver<'v>(args: &'v [Value<'_>], place: usize) -> Result<&'v Semver> {
    match args.get(place) {
        Some(Value::Opaque(Opaque::Semver(version))) => Ok(version),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_semver<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let version = read(args)?.ok_or_else(|| {
        let text = text(args, 0).map_or_else(|_| String::new(), |text| text.to_string());
        EvalError::new(format!("invalid semantic version {text:?}"))
    })?;
    Ok(Value::Opaque(Opaque::Semver(Arc::new(version))))
}

fn is_semver<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(read(args)?.is_some()))
}

fn is_greater<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(semver(args, 0)?.cmp(semver(args, 1)?).is_gt()))
}

fn is_less<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(semver(args, 0)?.cmp(semver(args, 1)?).is_lt()))
}

fn compare_to<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Int(match semver(args, 0)?.cmp(semver(args, 1)?) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }))
}

fn part<'a>(args: &[Value<'a>], place: usize) -> Result<Value<'a>> {
    let number = semver(args, 0)?.core[place];
    Ok(Value::Int(i64::try_from(number).unwrap_or(i64::MAX)))
}

fn major<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    part(args, 0)
}

fn minor<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    part(args, 1)
}

fn patch<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    part(args, 2)
}

#[cfg(test)]
mod tests {
    use super::Semver;

    #[test]
    fn versions_have_an_order() {
        let order =
            ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.10.0"];
        for pair in order.windows(2) {
            assert!(Semver::parse(pair[0]) < Semver::parse(pair[1]), "{pair:?}");
        }
        for text in ["1.2", "v1.2.3", "1.02.3", "1.2.3-", "1.2.3-01", "1.2.3+", ""] {
            assert_eq!(Semver::parse(text), None, "{text}");
        }
        assert_eq!(Semver::parse_leniently("v01.2"), Semver::parse("1.2.0"));
        assert_eq!(Semver::parse_leniently("1.2-alpha"), None);
    }
}
