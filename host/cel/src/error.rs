//! What goes wrong: an expression that does not compile, and an evaluation that fails.
//!
//! Owns the texts' form (position, line of source, caret) and the line between an error of the expression,
//! which logical operators may absorb, and a limit that was hit, which nothing absorbs. Must not know of
//! evaluation itself.

use std::fmt::{self, Write as _};

/// One complaint about an expression, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Where, in characters from the start of the expression.
    pub offset: u32,
    /// What is wrong.
    pub message: String,
}

/// Why an expression did not compile: what is printed names each problem with its line and a caret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CompileError {
    text: String,
    issues: Vec<Issue>,
}

/// Past this many, further problems of one expression are not listed.
const ISSUES_MAX: usize = 100;

impl CompileError {
    pub(crate) fn new(source: &str, mut issues: Vec<Issue>) -> Self {
        issues.sort_by_key(|issue| issue.offset);
        issues.dedup();
        issues.truncate(ISSUES_MAX);
        let lines: Vec<&str> = source.split('\n').collect();
        let mut text = String::new();
        for issue in &issues {
            if !text.is_empty() {
                text.push('\n');
            }
            write_issue(&mut text, &lines, issue);
        }
        Self { text, issues }
    }

    /// For an expression that is refused as a whole: the place is none.
    pub(crate) fn whole(message: String) -> Self {
        let issue = Issue { offset: 0, message };
        Self { text: format!("ERROR: <input>:-1:0: {}", issue.message), issues: vec![issue] }
    }

    /// The problems one by one.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }
}

fn write_issue(text: &mut String, lines: &[&str], issue: &Issue) {
    let (line, column) = place(lines, issue.offset as usize);
    let message = &issue.message;
    let place = format!("{}:{}", line + 1, column + 1);
    write!(text, "ERROR: <input>:{place}: {message}").expect("writing into memory cannot fail");
    let Some(source) = lines.get(line) else { return };
    text.push_str("\n | ");
    text.push_str(&source.replace('\t', " "));
    text.push_str("\n | ");
    for character in source.chars().take(column) {
        text.push(if character.len_utf8() > 2 { '．' } else { '.' });
    }
    let wide = source.chars().nth(column).is_some_and(|character| character.len_utf8() > 2);
    text.push(if wide { '＾' } else { '^' });
}

/// Line and column, both from zero, of a character's offset.
fn place(lines: &[&str], offset: usize) -> (usize, usize) {
    let mut left = offset;
    for (number, line) in lines.iter().enumerate() {
        let length = line.chars().count();
        if left <= length {
            return (number, left);
        }
        left -= length + 1;
    }
    (lines.len().saturating_sub(1), lines.last().map_or(0, |line| line.chars().count()))
}

/// Why an evaluation gave no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvalError {
    /// The expression failed on these values, as `no such key: x`.
    Failed(Box<str>),
    /// This one evaluation went over [`crate::PER_CALL_LIMIT`].
    CostLimit,
    /// The [`crate::Budget`] that several evaluations share is used up.
    OutOfBudget,
}

impl EvalError {
    /// An error of the expression, with its text.
    pub fn new(message: impl Into<Box<str>>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn no_such_key(key: &impl fmt::Display) -> Self {
        Self::Failed(format!("no such key: {key}").into())
    }

    pub(crate) fn no_such_overload() -> Self {
        Self::Failed("no such overload".into())
    }

    /// Whether a limit stopped the evaluation: such an end is never absorbed by `&&` or `||`.
    pub fn is_limit(&self) -> bool {
        match self {
            Self::CostLimit | Self::OutOfBudget => true,
            Self::Failed(_) => false,
        }
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) => f.write_str(message),
            Self::CostLimit | Self::OutOfBudget => {
                f.write_str("operation cancelled: actual cost limit exceeded")
            }
        }
    }
}

impl std::error::Error for EvalError {}
