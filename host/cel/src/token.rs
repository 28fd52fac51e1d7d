//! Text to tokens.
//!
//! Owns the forms of literals and the characters an expression may have. Must not know of grammar.

use crate::error::Issue;

/// A piece of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Ident(String),
    /// A field's name in backticks.
    Quoted(String),
    Int(String),
    Uint(String),
    Float(String),
    String(String),
    Bytes(Vec<u8>),
    /// An operator or bracket, or one of the words `true`, `false`, `null`, `in`.
    Mark(&'static str),
    End,
}

/// A token with its place and its text.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) token: Token,
    /// In characters.
    pub(crate) offset: u32,
    pub(crate) text: String,
}

/// Longer ones first.
const MARKS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}", "=",
];
const WORDS: [&str; 4] = ["true", "false", "null", "in"];

/// All tokens, with [`Token::End`] last; what is no token becomes an issue and is left out.
pub(crate) fn tokens(source: &str) -> (Vec<Placed>, Vec<Issue>) {
    let mut lexer = Lexer { rest: source, offset: 0, found: Vec::new(), issues: Vec::new() };
    while lexer.step() {}
    let offset = lexer.offset;
    lexer.found.push(Placed { token: Token::End, offset, text: "<EOF>".to_owned() });
    (lexer.found, lexer.issues)
}

struct Lexer<'s> {
    rest: &'s str,
    offset: u32,
    found: Vec<Placed>,
    issues: Vec<Issue>,
}

impl<'s> Lexer<'s> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if first.is_ascii_whitespace() {
            self.skip(1);
        } else if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if let Some((prefix, quote)) = opens_string(self.rest) {
            self.string(prefix, quote);
        } else if first.is_ascii_digit() || (first == '.' && follows_digit(self.rest)) {
            self.number();
        } else if first.is_ascii_alphabetic() || first == '_' {
            self.word();
        } else if first == '`' {
            self.quoted();
        } else if let Some(mark) = MARKS.iter().find(|mark| self.rest.starts_with(**mark))
            && *mark != "="
        {
            self.push(Token::Mark(mark), mark.len());
        } else {
            // The beginning of an operator takes with it what shows that it is none.
            let next = self.rest[first.len_utf8()..].chars().next();
            let more =
                if matches!(first, '=' | '&' | '|') { next.map_or(0, char::len_utf8) } else { 0 };
            self.unknown(first.len_utf8() + more);
        }
        true
    }

    /// Goes on by so many bytes.
    fn skip(&mut self, bytes: usize) -> &'s str {
        let (passed, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.offset += u32::try_from(passed.chars().count()).unwrap_or(u32::MAX);
        passed
    }

    fn push(&mut self, token: Token, bytes: usize) {
        let offset = self.offset;
        let text = self.skip(bytes).to_owned();
        self.found.push(Placed { token, offset, text });
    }

    fn unknown(&mut self, bytes: usize) {
        let offset = self.offset;
        let text = self.skip(bytes);
        let shown = text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
        let message = format!("Syntax error: token recognition error at: '{shown}'");
        self.issues.push(Issue { offset, message });
    }

    fn word(&mut self) {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        let token = match WORDS.iter().find(|known| **known == word) {
            Some(known) => Token::Mark(known),
            None => Token::Ident(word.to_owned()),
        };
        self.push(token, end);
    }

    fn quoted(&mut self) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/ ".contains(c);
        match self.rest[1..].find('`') {
            Some(length) if length > 0 && self.rest[1..=length].chars().all(allowed) => {
                let name = self.rest[1..=length].to_owned();
                self.push(Token::Quoted(name), length + 2);
            }
            Some(_) | None => self.unknown(1),
        }
    }

    fn number(&mut self) {
        let bytes = self.rest.as_bytes();
        if bytes[0] == b'0' && matches!(bytes.get(1), Some(b'x' | b'X')) {
            let digits = self.run(2, |byte| byte.is_ascii_hexdigit());
            if digits > 2 {
                return self.whole(digits);
            }
        }
        let mut end = self.run(0, |byte| byte.is_ascii_digit());
        let mut float = false;
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            float = true;
            end = self.run(end + 1, |byte| byte.is_ascii_digit());
        }
        if let Some(exponent) = self.exponent(end) {
            float = true;
            end = exponent;
        }
        if float {
            let text = self.rest[..end].to_owned();
            return self.push(Token::Float(text), end);
        }
        self.whole(end);
    }

    fn exponent(&self, end: usize) -> Option<usize> {
        let bytes = self.rest.as_bytes();
        if !matches!(bytes.get(end), Some(b'e' | b'E')) {
            return None;
        }
        let signed = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        let digits = end + 1 + usize::from(signed);
        bytes.get(digits)?.is_ascii_digit().then(|| self.run(digits, |byte| byte.is_ascii_digit()))
    }

    fn whole(&mut self, end: usize) {
        let text = self.rest[..end].to_owned();
        if matches!(self.rest.as_bytes().get(end), Some(b'u' | b'U')) {
            self.push(Token::Uint(text), end + 1);
        } else {
            self.push(Token::Int(text), end);
        }
    }

    /// The end of a run of such bytes.
    fn run(&self, start: usize, part: impl Fn(u8) -> bool) -> usize {
        let bytes = self.rest.as_bytes();
        start + bytes[start..].iter().take_while(|byte| part(**byte)).count()
    }

    fn string(&mut self, prefix: usize, quote: &'static str) {
        let marks = self.rest[..prefix].to_ascii_lowercase();
        let (raw, bytes) = (marks.contains('r'), marks.contains('b'));
        let body = &self.rest[prefix + quote.len()..];
        let Some(length) = closes(body, quote, raw) else {
            let line = self.rest.find('\n').unwrap_or(self.rest.len());
            let all = if quote.len() == 3 { self.rest.len() } else { line };
            return self.unknown(all);
        };
        let content = &body[..length];
        let whole = prefix + quote.len() + length + quote.len();
        let token = unescaped(content, raw, bytes).and_then(|found| {
            if bytes {
                return Ok(Token::Bytes(found));
            }
            String::from_utf8(found).map(Token::String).map_err(|_| content.len())
        });
        match token {
            Ok(token) => self.push(token, whole),
            // The text is none up to the character that is wrong; what follows is read by itself.
            Err(wrong) => self.unknown(prefix + quote.len() + wrong),
        }
    }
}

fn follows_digit(text: &str) -> bool {
    text.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
}

/// The bytes of the prefix (`r`, `b`, both) and the quote, if a string opens here.
fn opens_string(text: &str) -> Option<(usize, &'static str)> {
    let prefix = ["br", "rb", "r", "b"].into_iter().find(|prefix| {
        let start = text.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            && text[prefix.len()..].starts_with(['"', '\''])
    });
    let prefix = prefix.map_or(0, str::len);
    let quote = ["\"\"\"", "'''", "\"", "'"];
    let quote = quote.into_iter().find(|quote| text[prefix..].starts_with(quote))?;
    Some((prefix, quote))
}

/// The bytes before the closing quote.
fn closes(body: &str, quote: &str, raw: bool) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut place = 0;
    while place < bytes.len() {
        if body[place..].starts_with(quote) {
            return Some(place);
        }
        let escaped = bytes[place] == b'\\' && !raw;
        if quote.len() == 1 && matches!(bytes[place], b'\n' | b'\r') {
            return None;
        }
        place += body[place..].chars().next().map_or(1, char::len_utf8);
        if escaped {
            place += body[place..].chars().next().map_or(0, char::len_utf8);
        }
    }
    None
}

/// What a literal's content stands for, as bytes (which are UTF-8 for a text); or where it goes wrong, behind
/// the character that does not fit.
fn unescaped(content: &str, raw: bool, bytes: bool) -> Result<Vec<u8>, usize> {
    if raw || !content.contains('\\') {
        return Ok(content.replace("\r\n", "\n").into_bytes());
    }
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(place) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..place]);
        rest = &rest[place + 1..];
        let Some(kind) = rest.chars().next() else { return Err(content.len()) };
        rest = &rest[kind.len_utf8()..];
        let simple = match kind {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            '\'' => b'\'',
            '"' => b'"',
            '`' => b'`',
            '?' => b'?',
            _ => {
                let used = numbered(kind, rest, bytes, &mut out);
                let used = used.map_err(|wrong| content.len() - rest.len() + wrong)?;
                rest = &rest[used..];
                continue;
            }
        };
        out.push(simple);
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// `\x41`, `\u0041`, `\U00000041`, `\101`: the first and last form of a byte in bytes, all of a character in
/// texts. Gives how many bytes of the digits were used, or how many there are up to one that does not fit.
fn numbered(kind: char, rest: &str, bytes: bool, out: &mut Vec<u8>) -> Result<usize, usize> {
    let (radix, length) = match kind {
        'x' | 'X' => (16, 2),
        'u' if !bytes => (16, 4),
        'U' if !bytes => (16, 8),
        '0'..='3' => (8, 2),
        _ => return Err(0),
    };
    let mut number = if radix == 8 { kind.to_digit(8).unwrap_or(0) } else { 0 };
    let mut characters = rest.char_indices();
    for _ in 0..length {
        let (place, character) = characters.next().ok_or(rest.len())?;
        let digit = character.to_digit(radix).ok_or_else(|| place + character.len_utf8())?;
        number = number.wrapping_mul(radix).wrapping_add(digit);
    }
    if bytes {
        out.push(u8::try_from(number).map_err(|_| length)?);
    } else {
        let character = char::from_u32(number).ok_or(length)?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(length)
}
