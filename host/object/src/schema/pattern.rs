//! Regular expressions as Kubernetes writes them: RE2's syntax, with its meaning.
//!
//! The syntax of our engine differs in a few places: classes for digits, words and space are ASCII in RE2, a bracket
//! inside a class is a plain character, and a brace that counts nothing stands for itself.

use regex::{Regex, RegexBuilder};

/// The largest program that a pattern may become: 1 MiB, far above what schemas hold.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// RE2's bound of a counted repetition.
const REPEAT_MAX: u32 = 1000;

/// Compiles a pattern.
///
/// # Errors
/// What Go says about it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let complain = |what: String| format!("error parsing regexp: {what}");
    let translated = Translator::new(pattern).translate().map_err(complain)?;
    RegexBuilder::new(&translated).size_limit(PROGRAM_BYTES_MAX).build().map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        complain(last.trim_start_matches("error: ").to_owned())
    })
}

struct Translator<'a> {
    pattern: &'a str,
    rest: &'a str,
    out: String,
    depth: usize,
}

impl<'a> Translator<'a> {
    fn new(pattern: &'a str) -> Self {
        Self { pattern, rest: pattern, out: String::with_capacity(pattern.len()), depth: 0 }
    }

    fn translate(mut self) -> Result<String, String> {
        let mut repeatable = false;
        while let Some(c) = self.take() {
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.open()?,
                ')' if self.depth == 0 => {
                    return Err(format!("unexpected ): `{}`", self.pattern));
                }
                ')' => {
                    self.depth -= 1;
                    self.out.push(')');
                }
                '*' | '+' | '?' if !repeatable => {
                    return Err(format!("missing argument to repetition operator: `{c}`"));
                }
                '{' => self.count()?,
                '}' | ']' => self.out.extend(['\\', c]),
                c => self.out.push(c),
            }
            repeatable = !matches!(c, '(' | '|');
        }
        if self.depth > 0 {
            return Err(format!("missing closing ): `{}`", self.pattern));
        }
        Ok(self.out)
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        Some(c)
    }

    fn escape(&mut self) -> Result<(), String> {
        let Some(c) = self.take() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        match c {
            'd' => self.out.push_str("[0-9]"),
            'D' => self.out.push_str("[^0-9]"),
            'w' => self.out.push_str("[0-9A-Za-z_]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            's' => self.out.push_str("[\\t\\n\\f\\r ]"),
            'S' => self.out.push_str("[^\\t\\n\\f\\r ]"),
            'b' => self.out.push_str("(?-u:\\b)"),
            'B' => self.out.push_str("(?-u:\\B)"),
            'Q' => self.literal(),
            'E' => {}
            c => self.plain_escape(c)?,
        }
        Ok(())
    }

    /// `\Q…\E`.
    fn literal(&mut self) {
        let (text, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
        self.out.push_str(&regex::escape(text));
        self.rest = rest;
    }

    fn plain_escape(&mut self, c: char) -> Result<(), String> {
        match c {
            '<' | '>' => self.out.push(c),
            'p' | 'P' | 'x' | 'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'A' | 'z' => {
                self.out.extend(['\\', c]);
            }
            c if c.is_ascii_punctuation() => self.out.extend(['\\', c]),
            c => return Err(format!("invalid escape sequence: `\\{c}`")),
        }
        Ok(())
    }

    /// What is behind an opening bracket.
    fn class(&mut self) -> Result<(), String> {
        let start = self.rest;
        let missing = || format!("missing closing ]: `[{start}`");
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.out.push('^');
            self.rest = rest;
        }
        let mut first = true;
        loop {
            let c = self.take().ok_or_else(missing)?;
            match c {
                ']' if !first => {
                    self.out.push(']');
                    return Ok(());
                }
                '[' if self.rest.starts_with(':') => {
                    let (name, rest) = self.rest.split_once(":]").ok_or_else(missing)?;
                    self.out.extend(["[", name, ":]"]);
                    self.rest = rest;
                }
                '[' | ']' | '&' | '~' => self.out.extend(['\\', c]),
                '-' if self.rest.starts_with('-') => self.out.push_str("\\-"),
                '\\' => self.class_escape().map_err(|why| why.unwrap_or_else(missing))?,
                c => self.out.push(c),
            }
            first = false;
        }
    }

    fn class_escape(&mut self) -> Result<(), Option<String>> {
        match self.take().ok_or(None)? {
            'd' => self.out.push_str("0-9"),
            'w' => self.out.push_str("0-9A-Za-z_"),
            's' => self.out.push_str("\\t\\n\\f\\r "),
            'D' => self.out.push_str("[^0-9]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            'S' => self.out.push_str("[^\\t\\n\\f\\r ]"),
            c => self.plain_escape(c).map_err(Some)?,
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        self.depth += 1;
        self.out.push('(');
        for odd in ["?=", "?!", "?<=", "?<!", "?>", "?#"] {
            if self.rest.starts_with(odd) {
                return Err(format!("invalid or unsupported Perl syntax: `({odd}`"));
            }
        }
        if let Some(rest) = self.rest.strip_prefix('?') {
            self.out.push('?');
            self.rest = rest;
        }
        Ok(())
    }

    /// `{2,3}` counts; any other brace is itself.
    fn count(&mut self) -> Result<(), String> {
        let inner = self.rest.split_once('}').map(|(inner, _)| inner);
        let numbers = inner.map(|inner| inner.split(',').collect::<Vec<_>>());
        let digits = |text: &&str| text.bytes().all(|b| b.is_ascii_digit());
        let counts = numbers.as_ref().is_some_and(|all| {
            all.len() <= 2 && all.iter().all(digits) && all.first().is_some_and(|n| !n.is_empty())
        });
        let (true, Some(inner), Some(numbers)) = (counts, inner, numbers) else {
            self.out.push_str("\\{");
            return Ok(());
        };
        let too_many =
            |text: &&str| !text.is_empty() && text.parse().is_ok_and(|n: u32| n > REPEAT_MAX);
        if numbers.iter().any(too_many) {
            return Err(format!("invalid repeat count: `{{{inner}}}`"));
        }
        self.out.extend(["{", inner, "}"]);
        self.rest = self.rest.get(inner.len() + 1..).unwrap_or_default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[track_caller]
    fn check(pattern: &str, text: &str, matches: bool) {
        let compiled = compile(pattern).expect("a pattern");
        assert_eq!(compiled.is_match(text), matches, "{pattern} {text}");
    }

    #[test]
    fn patterns_mean_what_re2_means() {
        check(r"^\d+$", "٣", false);
        check(r"^[\w.]+$", "a_1.b", true);
        check(r"^\w+$", "é", false);
        check(r"^[^[]+$", "ab", true);
        check(r"^[a&&b]+$", "&", true);
        check(r"^a{$", "a{", true);
        check(r"^a{,2}$", "a{,2}", true);
        check(r"^a{2}$", "aa", true);
        check(r"^\Qa.b\E$", "a.b", true);
        check(r"^[]a]+$", "]", true);
        check(r"^\/x\-y$", "/x-y", true);
        check(r"^(?P<n>a|b)+$", "ab", true);
        check(r"^(?i)abc$", "ABC", true);
        check(r"^[[:alpha:]]+$", "ab", true);
        check(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-b", true);
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        for (pattern, why) in [
            ("(", "missing closing ): `(`"),
            ("a)", "unexpected ): `a)`"),
            ("[a", "missing closing ]: `[a`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a(?=b)", "invalid or unsupported Perl syntax: `(?=`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            (r"\y", r"invalid escape sequence: `\y`"),
        ] {
            let refused = compile(pattern).expect_err("refused");
            assert_eq!(refused, format!("error parsing regexp: {why}"));
        }
    }
}
