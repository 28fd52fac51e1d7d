//! Regular expressions: patterns are RE2's, as Go reads them.
//!
//! Owns the translation to the engine here: what only one of the two takes for special is written out.

use regex::{Regex, RegexBuilder};

use super::{Result, int, text};
use crate::error::EvalError;
use crate::eval::Machine;
use crate::signature::Cost::{Find, Regex as RegexCost};
use crate::signature::Row;
use crate::signature::Run::Host;
use crate::value::Value;

/// A compiled pattern may take so much memory.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
/// A pattern may nest so deep.
const NEST_MAX: u32 = 200;

pub(super) const ROWS: &[Row] = &[
    ("matches", "matches(string,string)->bool", Host(run_matches), RegexCost),
    ("matches_string", "string::matches(string)->bool", Host(run_matches), RegexCost),
    ("string_find_string", "string::find(string)->string", Host(run_find), Find),
    ("string_find_all_string", "string::findAll(string)->list<string>", Host(run_find_all), Find),
    (
        "string_find_all_string_int",
        "string::findAll(string,int)->list<string>",
        Host(run_find_all),
        Find,
    ),
];

/// Compiles a pattern.
pub(crate) fn regex_of(pattern: &str) -> Result<Regex> {
    let mut builder = RegexBuilder::new(&translated(pattern));
    builder.size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).nest_limit(NEST_MAX);
    builder
        .build()
        .map_err(|_| EvalError::new(format!("error parsing regexp: invalid pattern: `{pattern}`")))
}

/// Calls one of the functions here with a pattern that is compiled already.
pub(crate) fn with_pattern<'a>(
    name: &str,
    pattern: &Regex,
    args: &[Value<'a>],
) -> Result<Value<'a>> {
    match name {
        "find" => find(pattern, args),
        "findAll" => find_all(pattern, args),
        _ => Ok(Value::Bool(pattern.is_match(text(args, 0)?))),
    }
}

fn run_matches<'a>(machine: &mut Machine<'a, '_>, args: &[Value<'a>]) -> Result<Value<'a>> {
    let pattern = machine.pattern(text(args, 1)?)?;
    with_pattern("matches", &pattern, args)
}

fn illegal(error: EvalError) -> EvalError {
    if error.is_limit() { error } else { EvalError::new(format!("Illegal regex: {error}")) }
}

fn run_find<'a>(machine: &mut Machine<'a, '_>, args: &[Value<'a>]) -> Result<Value<'a>> {
    let pattern = machine.pattern(text(args, 1)?).map_err(illegal)?;
    find(&pattern, args)
}

fn run_find_all<'a>(machine: &mut Machine<'a, '_>, args: &[Value<'a>]) -> Result<Value<'a>> {
    let pattern = machine.pattern(text(args, 1)?).map_err(illegal)?;
    find_all(&pattern, args)
}

fn find<'a>(pattern: &Regex, args: &[Value<'a>]) -> Result<Value<'a>> {
    let found = pattern.find(text(args, 0)?);
    Ok(Value::text(found.map_or("", |found| found.as_str()).to_owned()))
}

fn find_all<'a>(pattern: &Regex, args: &[Value<'a>]) -> Result<Value<'a>> {
    let count = if args.len() > 2 { int(args, 2)? } else { -1 };
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(crate::eval::ELEMENTS_MAX);
    let found = pattern.find_iter(text(args, 0)?).take(count);
    Ok(Value::list(found.map(|found| Value::text(found.as_str().to_owned())).collect()))
}

/// The classes that are ASCII in Go: inside of brackets, outside of them.
const CLASSES: [(char, &str); 6] = [
    ('d', "0-9"),
    ('D', "^0-9"),
    ('w', "0-9A-Za-z_"),
    ('W', "^0-9A-Za-z_"),
    ('s', "\\t\\n\\x0C\\r "),
    ('S', "^\\t\\n\\x0C\\r "),
];

fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut characters = pattern.char_indices().peekable();
    let mut in_class = false;
    while let Some((place, character)) = characters.next() {
        match character {
            '\\' => {
                let Some((_, escaped)) = characters.next() else {
                    out.push('\\');
                    break;
                };
                if let Some((_, class)) = CLASSES.iter().find(|(name, _)| *name == escaped) {
                    let plain = in_class && !class.starts_with('^');
                    let (open, close) = if plain { ("", "") } else { ("[", "]") };
                    out.extend([open, class, close]);
                } else if escaped == 'b' && !in_class {
                    out.push_str("(?-u:\\b)");
                } else {
                    out.push('\\');
                    out.push(escaped);
                    // `\p{L}` and `\x{41}` have braces of their own.
                    let braced = characters.peek().is_some_and(|(_, next)| *next == '{');
                    if braced && matches!(escaped, 'p' | 'P' | 'x') {
                        for (_, inside) in characters.by_ref() {
                            out.push(inside);
                            if inside == '}' {
                                break;
                            }
                        }
                    }
                }
            }
            '[' if in_class && pattern[place..].starts_with("[:") => out.push('['),
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                // A bracket that closes at once is one of the characters.
                if characters.next_if(|(_, next)| *next == '^').is_some() {
                    out.push('^');
                }
                if characters.next_if(|(_, next)| *next == ']').is_some() {
                    out.push_str("\\]");
                }
            }
            ':' if in_class && pattern[place..].starts_with(":]") => {
                out.push_str(":]");
                characters.next();
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(character);
            }
            '{' if !in_class && !is_repetition(&pattern[place + 1..]) => out.push_str("\\{"),
            other => out.push(other),
        }
    }
    out
}

/// Whether what follows a brace is `3}`, `3,}` or `3,5}`.
fn is_repetition(rest: &str) -> bool {
    let Some((inside, _)) = rest.split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

#[cfg(test)]
mod tests {
    use super::regex_of;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let matches = |pattern: &str, text: &str| regex_of(pattern).expect(pattern).is_match(text);
        assert!(matches(r"^\d+$", "123"));
        assert!(!matches(r"^\d+$", "१२३"));
        assert!(matches(r"^[\w.-]+$", "a_b.c-d"));
        assert!(matches(r"^[[a]+$", "[a["));
        assert!(matches(r"^[]a]+$", "]a"));
        assert!(matches(r"^[[:alpha:]]+$", "abc"));
        assert!(matches(r"^a{b}$", "a{b}"));
        assert!(matches(r"^[^\s]+$", "ab"));
        assert!(matches(r"^\p{L}+$", "äß"));
        assert!(regex_of("(").is_err());
        assert!(regex_of("(a{1000}){1000}").is_err());
    }
}
