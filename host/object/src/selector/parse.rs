//! The text form of label selectors: a scanner and a parser with one token of lookahead.
//!
//! The grammar is looser than it looks (`a in (,b)` has the empty value, `in` may be a key), and clients see
//! its messages; both are kept.

#![expect(clippy::wildcard_enum_match_arm, reason = "whatever token is not expected is an error")]

use super::{Operator, Requirement, SelectorError, check_key, check_values, wrong};
use crate::validate_name::quote;

/// One token of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Open,
    Close,
    Comma,
    Not,
    Equal,
    DoubleEqual,
    NotEqual,
    Greater,
    Less,
    Word(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Open => "(",
            Self::Close => ")",
            Self::Comma => ",",
            Self::Not => "!",
            Self::Equal => "=",
            Self::DoubleEqual => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::Word(word) => word,
            Self::End => "",
        }
    }
}

/// Reads a whole selector; the requirements in the order of the text.
pub(super) fn selector(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { rest: text };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::Word(_) | Token::Not => {
                let requirement = parser.requirement();
                let failed = |e: SelectorError| wrong(&format!("unable to parse requirement: {e}"));
                requirements.push(requirement.map_err(failed)?);
            }
            Token::End => return Ok(requirements),
            token => return Err(found(token, ", expected: !, identifier, or 'end of string'")),
        }
        match parser.next() {
            Token::End => return Ok(requirements),
            Token::Comma => match parser.peek() {
                Token::Word(_) | Token::Not => {}
                token => return Err(found(token, ", expected: identifier after ','")),
            },
            token => return Err(found(token, ", expected: ',' or 'end of string'")),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut token = self.next();
        let negated = token == Token::Not;
        if negated {
            token = self.next();
        }
        let Token::Word(key) = token else { return Err(found(token, ", expected: identifier")) };
        check_key(key)?;
        let alone = matches!(self.peek(), Token::End | Token::Comma);
        let operator = match (negated, alone) {
            (true, _) => Operator::DoesNotExist,
            (false, true) => Operator::Exists,
            (false, false) => self.comparison(key)?,
        };
        Ok(Requirement { key: key.into(), operator })
    }

    fn comparison(&mut self, key: &str) -> Result<Operator, SelectorError> {
        let operator = self.next();
        let set = matches!(operator, Token::Word("in" | "notin"));
        let values = match operator {
            Token::Word("in" | "notin") => self.values()?,
            Token::Equal | Token::DoubleEqual | Token::NotEqual | Token::Greater | Token::Less => {
                vec![self.exact_value()?]
            }
            token => return Err(found(token, ", expected: in, notin, =, ==, !=, gt, lt")),
        };
        if let (Token::Greater | Token::Less, [value]) = (operator, values.as_slice()) {
            let bound = value.parse().map_err(|_| {
                let rule = "for 'Gt', 'Lt' operators, the value must be an integer";
                wrong(&format!("values[0]: Invalid value: {}: {rule}", quote(value)))
            })?;
            check_values(key, &values)?;
            let greater = operator == Token::Greater;
            return Ok(if greater {
                Operator::GreaterThan(bound)
            } else {
                Operator::LessThan(bound)
            });
        }
        check_values(key, &values)?;
        let boxed: Vec<Box<str>> = values.iter().map(|value| Box::from(*value)).collect();
        let first = || boxed.first().cloned().unwrap_or_default();
        Ok(match operator {
            Token::Word("in") => Operator::In(boxed),
            _ if set => Operator::NotIn(boxed),
            Token::NotEqual => Operator::NotEquals(first()),
            _ => Operator::Equals(first()),
        })
    }

    fn exact_value(&mut self) -> Result<&'a str, SelectorError> {
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok("");
        }
        match self.next() {
            Token::Word(value) => Ok(value),
            token => Err(found(token, ", expected: identifier")),
        }
    }

    /// `(a,b)`, sorted and without repetition; an empty place is the empty value.
    fn values(&mut self) -> Result<Vec<&'a str>, SelectorError> {
        match self.next() {
            Token::Open => {}
            token => return Err(found(token, " expected: '('")),
        }
        let mut values = match self.peek() {
            Token::Word(_) | Token::Comma => self.listed_values()?,
            Token::Close => vec![""],
            token => return Err(found(token, ", expected: ',', ')' or identifier")),
        };
        match self.next() {
            Token::Close => {}
            token => return Err(found(token, ", expected: ')'")),
        }
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }

    fn listed_values(&mut self) -> Result<Vec<&'a str>, SelectorError> {
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(value) => {
                    values.push(value);
                    match self.peek() {
                        Token::Comma => {}
                        Token::Close => return Ok(values),
                        token => return Err(found(token, ", expected: ',' or ')'")),
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        values.push("");
                    }
                    match self.peek() {
                        Token::Close => {
                            values.push("");
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.next();
                            values.push("");
                        }
                        _ => {}
                    }
                }
                token => return Err(found(token, ", expected: ',', or identifier")),
            }
        }
    }

    fn peek(&self) -> Token<'a> {
        scan(self.rest).0
    }

    fn next(&mut self) -> Token<'a> {
        let (token, rest) = scan(self.rest);
        self.rest = rest;
        token
    }
}

fn scan(text: &str) -> (Token<'_>, &str) {
    let text = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let doubles = [("==", Token::DoubleEqual), ("!=", Token::NotEqual)];
    for (symbol, token) in doubles {
        if let Some(rest) = text.strip_prefix(symbol) {
            return (token, rest);
        }
    }
    let token = match text.bytes().next() {
        None => return (Token::End, ""),
        Some(b'(') => Token::Open,
        Some(b')') => Token::Close,
        Some(b',') => Token::Comma,
        Some(b'!') => Token::Not,
        Some(b'=') => Token::Equal,
        Some(b'>') => Token::Greater,
        Some(b'<') => Token::Less,
        Some(_) => {
            let special = |c: char| "=!(),>< \t\r\n".contains(c);
            let end = text.find(special).unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            return (Token::Word(word), rest);
        }
    };
    // Every symbol is one ASCII byte.
    (token, text.split_at(1).1)
}

fn found(token: Token<'_>, expected: &str) -> SelectorError {
    wrong(&format!("found '{}'{expected}", token.text()))
}
