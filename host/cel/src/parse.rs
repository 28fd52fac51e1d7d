//! Tokens to a tree: operators by binding power, everything else by descent with a bound on its depth.
//!
//! Owns precedence, places of nodes and the wording of syntax errors. Macros are expanded in `macros`. Must
//! not know of types.

use std::sync::Arc;

use crate::ast::{Ast, Element, Entry, Expr, Id, Kind, Literal, Select, StructField};
use crate::error::{CompileError, Issue};
use crate::token::{Placed, Token, tokens};

/// As deep as expressions may nest, and as long as chains of `a.b.c` or `a + b + c` may get.
const DEPTH_MAX: usize = 250;
/// As many characters as an expression may have.
const LENGTH_MAX: usize = 100_000;

/// What an operand begins with, as errors list it: after what may stand there besides.
const PRIMARY: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, \
    NUM_UINT, STRING, BYTES, IDENTIFIER}";
const FIRST_ARGUMENT: &str = "{'[', '{', '(', ')', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, \
    NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const FIRST_ELEMENT: &str = "{'[', ']', '{', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', \
    NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const FIRST_ENTRY: &str = "{'[', '{', '}', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', \
    NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// A problem was noted; nothing more can be read.
pub(crate) struct Halt;

pub(crate) type Parsed<T> = Result<T, Halt>;

/// Reads an expression.
pub(crate) fn parse(source: &str, bindings: bool) -> Result<Ast, CompileError> {
    let length = source.chars().count();
    if length > LENGTH_MAX {
        let limit = format!("size: {length}, limit {LENGTH_MAX}");
        return Err(CompileError::whole(format!(
            "expression code point size exceeds limit: {limit}"
        )));
    }
    let (tokens, issues) = tokens(source);
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        open: 0,
        offsets: Vec::new(),
        heights: Vec::new(),
        issues,
        recovering: false,
        too_deep: false,
        bindings,
    };
    let root = parser.whole();
    let Parser { offsets, issues, too_deep, .. } = parser;
    if too_deep {
        let limit = format!("expression recursion limit exceeded: {DEPTH_MAX}");
        return Err(CompileError::whole(limit));
    }
    match root {
        Ok(root) if issues.is_empty() => Ok(Ast { root, offsets }),
        Ok(_) | Err(Halt) => Err(CompileError::new(source, issues)),
    }
}

/// What is read so far, and what is left.
pub(crate) struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
    /// How many brackets are open.
    open: usize,
    offsets: Vec<u32>,
    /// How high the tree below each node is.
    heights: Vec<u16>,
    issues: Vec<Issue>,
    /// Whether a syntax error was noted and nothing has fitted since: what follows from it is not noted.
    recovering: bool,
    too_deep: bool,
    /// Whether `cel.bind` is there.
    pub(crate) bindings: bool,
}

/// The binding power of binary operators and their names.
fn binary(mark: &str) -> Option<(u8, &'static str)> {
    Some(match mark {
        "||" => (1, "_||_"),
        "&&" => (2, "_&&_"),
        "==" => (3, "_==_"),
        "!=" => (3, "_!=_"),
        "<" => (3, "_<_"),
        "<=" => (3, "_<=_"),
        ">" => (3, "_>_"),
        ">=" => (3, "_>=_"),
        "in" => (3, "@in"),
        "+" => (4, "_+_"),
        "-" => (4, "_-_"),
        "*" => (5, "_*_"),
        "/" => (5, "_/_"),
        "%" => (5, "_%_"),
        _ => return None,
    })
}

impl Parser {
    fn whole(&mut self) -> Parsed<Expr> {
        let root = self.expression()?;
        if self.peek() != &Token::End {
            return self.unexpected(&["<EOF>"], "<EOF>");
        }
        Ok(root)
    }

    // Tokens.

    fn placed(&self) -> &Placed {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> &Token {
        &self.placed().token
    }

    fn offset(&self) -> u32 {
        self.placed().offset
    }

    fn is(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(found) if *found == mark)
    }

    fn take(&mut self, mark: &str) -> bool {
        let found = self.is(mark);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, mark: &'static str) -> Parsed<()> {
        if self.take(mark) {
            return Ok(());
        }
        self.unexpected(&[mark], &format!("'{mark}'"))
    }

    /// The bracket that closes.
    fn close(&mut self, mark: &'static str) -> Parsed<()> {
        self.expect(mark)?;
        self.open -= 1;
        Ok(())
    }

    /// Goes on by a token that fits.
    fn advance(&mut self) {
        self.at += 1;
        self.recovering = false;
    }

    pub(crate) fn fail<T>(&mut self, offset: u32, message: impl Into<String>) -> Parsed<T> {
        self.issues.push(Issue { offset, message: message.into() });
        Err(Halt)
    }

    fn note(&mut self, message: &str) {
        if !self.recovering {
            let message = format!("Syntax error: {message}");
            self.issues.push(Issue { offset: self.offset(), message });
        }
        self.recovering = true;
    }

    /// The token here does not fit: it is one too many, when what is wanted comes right after it; or what is
    /// wanted is missing, when what is here could follow it.
    fn unexpected<T>(&mut self, wanted: &[&str], shown: &str) -> Parsed<T> {
        let text = self.placed().text.clone();
        let next = self.tokens.get(self.at + 1).map(|next| next.text.as_str());
        let closes = matches!(wanted, [")" | "]" | "}"]);
        if next.is_some_and(|next| wanted.contains(&next)) {
            self.note(&format!("extraneous input '{text}' expecting {shown}"));
        } else if closes && self.peek() == &Token::End && self.open == 1 {
            self.note(&format!("missing {shown} at '{text}'"));
        } else {
            self.note(&format!("mismatched input '{text}' expecting {shown}"));
        }
        Err(Halt)
    }

    /// What is here begins no operand. If it is one token too many, the operand after it is read; otherwise
    /// something stands in for the operand, so that further errors are found.
    fn no_operand(&mut self, expecting: &str) -> Parsed<Expr> {
        let Placed { text, offset, .. } = self.placed().clone();
        let next = self.tokens.get(self.at + 1).map(|placed| &placed.token);
        if self.peek() != &Token::End && next.is_some_and(begins_operand) {
            self.note(&format!("extraneous input '{text}' expecting {expecting}"));
            self.advance();
            return self.primary(PRIMARY);
        }
        self.note(&format!("mismatched input '{text}' expecting {expecting}"));
        Ok(Expr { id: self.id(offset), kind: Kind::Literal(Literal::Null) })
    }

    // Nodes.

    /// The number of a new node at this place.
    pub(crate) fn id(&mut self, offset: u32) -> Id {
        self.offsets.push(offset);
        self.heights.push(0);
        self.offsets.len() - 1
    }

    pub(crate) fn offset_of(&self, expr: &Expr) -> u32 {
        self.offsets[expr.id]
    }

    /// A node above others, unless the tree becomes too high by it.
    pub(crate) fn above(&mut self, offset: u32, below: &[Id], kind: Kind) -> Parsed<Expr> {
        let height = below.iter().map(|id| self.heights[*id]).max().unwrap_or(0) + 1;
        if usize::from(height) > DEPTH_MAX {
            return self.too_deep();
        }
        let id = self.id(offset);
        self.heights[id] = height;
        Ok(Expr { id, kind })
    }

    fn too_deep<T>(&mut self) -> Parsed<T> {
        self.too_deep = true;
        Err(Halt)
    }

    pub(crate) fn call(&mut self, offset: u32, function: &str, args: Vec<Expr>) -> Parsed<Expr> {
        let below: Vec<Id> = args.iter().map(|arg| arg.id).collect();
        self.above(offset, &below, Kind::Call { function: function.into(), target: None, args })
    }

    pub(crate) fn ident(&mut self, offset: u32, name: &str) -> Expr {
        Expr { id: self.id(offset), kind: Kind::Ident(name.into()) }
    }

    // Grammar.

    fn expression(&mut self) -> Parsed<Expr> {
        self.expression_in(PRIMARY)
    }

    /// An expression where something else might have stood, too.
    fn expression_in(&mut self, expecting: &str) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.too_deep();
        }
        let condition = self.operators(0, expecting)?;
        let offset = self.offset();
        let whole = if self.take("?") {
            let yes = self.operators(0, PRIMARY)?;
            self.expect(":")?;
            let no = self.expression()?;
            self.call(offset, "_?_:_", vec![condition, yes, no])?
        } else {
            condition
        };
        self.depth -= 1;
        Ok(whole)
    }

    fn operators(&mut self, power_min: u8, expecting: &str) -> Parsed<Expr> {
        let mut left = self.unary(expecting)?;
        loop {
            let Token::Mark(mark) = *self.peek() else { return Ok(left) };
            let Some((power, function)) = binary(mark).filter(|(power, _)| *power > power_min)
            else {
                return Ok(left);
            };
            let offset = self.offset();
            self.advance();
            let right = self.operators(power, PRIMARY)?;
            left = if power <= 2 {
                self.logical(offset, function, left, right)?
            } else {
                self.call(offset, function, vec![left, right])?
            };
        }
    }

    /// `a && b && c` is one node, so that long conditions do not become high trees.
    fn logical(&mut self, offset: u32, function: &str, left: Expr, right: Expr) -> Parsed<Expr> {
        let height = self.heights[left.id].max(self.heights[right.id] + 1);
        match left {
            Expr { id, kind: Kind::Call { function: same, target: None, mut args } }
                if *same == *function && usize::from(height) <= DEPTH_MAX =>
            {
                self.heights[id] = height;
                args.push(right);
                Ok(Expr { id, kind: Kind::Call { function: same, target: None, args } })
            }
            left => self.call(offset, function, vec![left, right]),
        }
    }

    fn unary(&mut self, expecting: &str) -> Parsed<Expr> {
        let offset = self.offset();
        for (mark, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(mark) || (mark == "-" && self.number_follows()) {
                continue;
            }
            let mut count = 0;
            while self.is(mark) && !(mark == "-" && count > 0 && self.number_follows()) {
                self.advance();
                count += 1;
            }
            let operand = self.member(PRIMARY)?;
            if count % 2 == 0 {
                return Ok(operand);
            }
            return self.call(offset, function, vec![operand]);
        }
        self.member(expecting)
    }

    /// Whether the minus here is the sign of a literal.
    fn number_follows(&self) -> bool {
        let next = self.tokens.get(self.at + 1).map(|placed| &placed.token);
        matches!(next, Some(Token::Int(_) | Token::Float(_)))
    }

    fn member(&mut self, expecting: &str) -> Parsed<Expr> {
        let mut operand = self.primary(expecting)?;
        loop {
            let offset = self.offset();
            if self.take(".") {
                operand = self.field(offset, operand)?;
            } else if self.take("[") {
                self.open += 1;
                let optional = self.take("?");
                let index = self.expression()?;
                self.close("]")?;
                let function = if optional { "_[?_]" } else { "_[_]" };
                operand = self.call(offset, function, vec![operand, index])?;
            } else if self.is("{") && qualified(&operand).is_some() {
                operand = self.structure(&operand)?;
            } else {
                return Ok(operand);
            }
        }
    }

    /// What follows a dot is no name.
    fn not_viable<T>(&mut self) -> Parsed<T> {
        let text = self.placed().text.clone();
        self.note(&match self.peek() {
            Token::End => "no viable alternative at input '.'".to_owned(),
            Token::Mark("true" | "false" | "null" | "in") => {
                format!("mismatched input '{text}' expecting IDENTIFIER")
            }
            _ => format!("no viable alternative at input '.{text}'"),
        });
        Err(Halt)
    }

    /// What follows a dot.
    fn field(&mut self, dot: u32, operand: Expr) -> Parsed<Expr> {
        let optional = self.take("?");
        let Placed { token, offset, .. } = self.placed().clone();
        let name = match token {
            Token::Ident(name) => name,
            Token::Quoted(_) => return self.fail(offset, "unsupported syntax: '`'"),
            _ => return self.not_viable(),
        };
        self.advance();
        let open = self.offset();
        if !optional && self.take("(") {
            let args = self.arguments()?;
            return self.member_call(open, operand, &name, args);
        }
        let below = [operand.id];
        let mode = if optional { Select::Optional } else { Select::Plain };
        self.above(
            dot,
            &below,
            Kind::Select { operand: Box::new(operand), field: name.into(), mode },
        )
    }

    /// Arguments up to and with the closing parenthesis.
    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        let mut args = Vec::new();
        if self.take(")") {
            return Ok(args);
        }
        self.open += 1;
        args.push(self.expression_in(FIRST_ARGUMENT)?);
        while self.take(",") {
            args.push(self.expression()?);
        }
        self.close(")")?;
        Ok(args)
    }

    fn primary(&mut self, expecting: &str) -> Parsed<Expr> {
        let Placed { token, offset, .. } = self.placed().clone();
        match token {
            Token::Mark(mark) => self.marked(mark, offset, expecting),
            Token::Ident(name) => {
                self.advance();
                self.named(offset, &name)
            }
            Token::Quoted(_) => self.fail(offset, "unsupported syntax: '`'"),
            Token::End => self.no_operand(expecting),
            Token::Int(_)
            | Token::Uint(_)
            | Token::Float(_)
            | Token::String(_)
            | Token::Bytes(_) => {
                self.advance();
                let literal = self.literal(&token, offset, "")?;
                Ok(Expr { id: self.id(offset), kind: Kind::Literal(literal) })
            }
        }
    }

    fn marked(&mut self, mark: &'static str, offset: u32, expecting: &str) -> Parsed<Expr> {
        let literal = match mark {
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            "null" => Literal::Null,
            "-" if self.number_follows() => {
                self.advance();
                let token = self.peek().clone();
                self.literal(&token, offset, "-")?
            }
            "(" => {
                self.advance();
                self.open += 1;
                let inner = self.expression()?;
                self.close(")")?;
                return Ok(inner);
            }
            "[" => return self.list(offset),
            "{" => return self.map(offset),
            "." => {
                self.advance();
                let Token::Ident(name) = self.peek().clone() else { return self.not_viable() };
                let offset = self.offset();
                self.advance();
                return self.named(offset, &name);
            }
            _ => return self.no_operand(expecting),
        };
        self.advance();
        Ok(Expr { id: self.id(offset), kind: Kind::Literal(literal) })
    }

    fn named(&mut self, offset: u32, name: &str) -> Parsed<Expr> {
        if crate::escape::is_reserved(name) {
            // What follows is read on, to find what else is wrong.
            self.issues.push(Issue { offset, message: format!("reserved identifier: {name}") });
            return Ok(Expr { id: self.id(offset), kind: Kind::Literal(Literal::Null) });
        }
        let open = self.offset();
        if self.take("(") {
            let args = self.arguments()?;
            return self.global_call(open, name, args);
        }
        Ok(self.ident(offset, name))
    }

    fn list(&mut self, offset: u32) -> Parsed<Expr> {
        self.advance();
        self.open += 1;
        let mut elements = Vec::new();
        while !self.take("]") {
            let expecting = if elements.is_empty() { FIRST_ELEMENT } else { PRIMARY };
            let optional = self.take("?");
            elements.push(Element { value: self.expression_in(expecting)?, optional });
            if !self.take(",") && !self.is("]") {
                return self.unexpected(&["]", ","], "{']', ','}");
            }
        }
        self.open -= 1;
        let below: Vec<Id> = elements.iter().map(|element| element.value.id).collect();
        self.above(offset, &below, Kind::List(elements))
    }

    fn map(&mut self, offset: u32) -> Parsed<Expr> {
        self.advance();
        self.open += 1;
        let mut entries = Vec::new();
        while !self.take("}") {
            let expecting = if entries.is_empty() { FIRST_ENTRY } else { PRIMARY };
            let optional = self.take("?");
            let key = self.expression_in(expecting)?;
            self.expect(":")?;
            let value = self.expression()?;
            entries.push(Entry { key, value, optional });
            if !self.take(",") && !self.is("}") {
                return self.unexpected(&["}", ","], "{'}', ','}");
            }
        }
        self.open -= 1;
        let below: Vec<Id> =
            entries.iter().flat_map(|entry| [entry.key.id, entry.value.id]).collect();
        self.above(offset, &below, Kind::Map(entries))
    }

    fn structure(&mut self, name: &Expr) -> Parsed<Expr> {
        let name: Arc<str> = qualified(name).unwrap_or_default().into();
        let offset = self.offset();
        self.advance();
        self.open += 1;
        let mut fields = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let Token::Ident(field) = self.peek().clone() else {
                return self.unexpected(&["}"], "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}");
            };
            self.advance();
            let colon = self.offset();
            self.expect(":")?;
            let value = self.expression()?;
            fields.push(StructField { id: self.id(colon), name: field.into(), value, optional });
            if !self.take(",") && !self.is("}") {
                return self.unexpected(&["}", ","], "{'}', ','}");
            }
        }
        self.open -= 1;
        let below: Vec<Id> = fields.iter().map(|field| field.value.id).collect();
        self.above(offset, &below, Kind::Struct { name, fields })
    }

    fn literal(&mut self, token: &Token, offset: u32, sign: &str) -> Parsed<Literal> {
        let read = match token {
            Token::Int(digits) => int(sign, digits).map(Literal::Int).ok_or("invalid int literal"),
            Token::Uint(digits) => uint(digits).map(Literal::Uint).ok_or("invalid uint literal"),
            Token::Float(digits) => {
                let number =
                    format!("{sign}{digits}").parse().ok().filter(|found: &f64| found.is_finite());
                number.map(Literal::Double).ok_or("invalid double literal")
            }
            Token::String(text) => Ok(Literal::String(text.as_str().into())),
            Token::Bytes(bytes) => Ok(Literal::Bytes(bytes.as_slice().into())),
            Token::Ident(_) | Token::Quoted(_) | Token::Mark(_) | Token::End => {
                Err("invalid literal")
            }
        };
        read.or_else(|message| self.fail(offset, message))
    }
}

fn begins_operand(token: &Token) -> bool {
    match token {
        Token::Mark(mark) => {
            matches!(*mark, "[" | "{" | "(" | "." | "-" | "!" | "true" | "false" | "null")
        }
        Token::End => false,
        _ => true,
    }
}

fn int(sign: &str, digits: &str) -> Option<i64> {
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16).ok(),
        None => format!("{sign}{digits}").parse().ok(),
    }
}

fn uint(digits: &str) -> Option<u64> {
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

/// The dotted name that an expression is, if it is one.
pub(crate) fn qualified(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.to_string()),
        Kind::Select { operand, field, mode: Select::Plain } => {
            Some(format!("{}.{field}", qualified(operand)?))
        }
        _ => None,
    }
}
