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
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, rest] = parts.as_slice() else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (major, minor) = (number("major", major)?, number("minor", minor)?);
        let (rest, build) = rest.split_once('+').map_or((*rest, None), |(rest, b)| (rest, Some(b)));
        let (patch, before) = rest.split_once('-').map_or((rest, None), |(p, b)| (p, Some(b)));
        let patch = number("patch", patch)?;
        let before: Vec<String> = match before {
            Some(before) => {
                before.split('.').map(prerelease).collect::<std::result::Result<_, _>>()?
            }
            None => Vec::new(),
        };
        for part in build.into_iter().flat_map(|build| build.split('.')) {
            if part.is_empty() {
                return Err("Build meta data is empty".to_owned());
            }
            if !is_identifier(part) {
                return Err(format!("Invalid character(s) found in build meta data {part:?}"));
            }
        }
        Ok(Self { core: [major, minor, patch], before })
    }

    /// Reads `v1.2`, too: a `v` before, parts that are missing, and zeroes before a part are forgiven.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_leniently(text: &str) -> std::result::Result<Self, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeroes).collect();
        if parts.len() < 3 {
            if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
                return Err("short version cannot contain PreRelease/Build meta data".to_owned());
            }
            parts.resize(3, "0".to_owned());
        }
        Self::parse(&parts.join("."))
    }
}

fn without_zeroes(part: &str) -> String {
    if part.len() < 2 {
        return part.to_owned();
    }
    let stripped = part.trim_start_matches('0');
    let digit = stripped.starts_with(|c: char| c.is_ascii_digit());
    if digit { stripped.to_owned() } else { format!("0{stripped}") }
}

fn is_number(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_identifier(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn number(name: &str, part: &str) -> std::result::Result<u64, String> {
    if !is_number(part) {
        return Err(format!("Invalid character(s) found in {name} number {part:?}"));
    }
    if part.len() > 1 && part.starts_with('0') {
        let (first, rest) = name.split_at(1);
        let name = format!("{}{rest}", first.to_uppercase());
        return Err(format!("{name} number must not contain leading zeroes {part:?}"));
    }
    let problem = if part.is_empty() { "invalid syntax" } else { "value out of range" };
    part.parse().map_err(|_| format!("strconv.ParseUint: parsing {part:?}: {problem}"))
}

fn prerelease(part: &str) -> std::result::Result<String, String> {
    if part.is_empty() {
        return Err("Prerelease is empty".to_owned());
    }
    if !is_identifier(part) {
        return Err(format!("Invalid character(s) found in prerelease {part:?}"));
    }
    if is_number(part) && part.len() > 1 && part.starts_with('0') {
        return Err(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"));
    }
    Ok(part.to_owned())
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

fn read(args: &[Value<'_>]) -> Result<std::result::Result<Semver, String>> {
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
    let version = read(args)?.map_err(EvalError::new)?;
    Ok(Value::Opaque(Opaque::Semver(Arc::new(version))))
}

fn is_semver<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(read(args)?.is_ok()))
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
            let [before, after] = [pair[0], pair[1]].map(|text| Semver::parse(text).expect(text));
            assert!(before < after, "{pair:?}");
        }
        for text in ["1.2", "v1.2.3", "1.02.3", "1.2.3-", "1.2.3-01", "1.2.3+", ""] {
            assert!(Semver::parse(text).is_err(), "{text}");
        }
        assert_eq!(Semver::parse_leniently("v01.2"), Semver::parse("1.2.0"));
        assert!(Semver::parse_leniently("1.2-alpha").is_err());
    }
}
