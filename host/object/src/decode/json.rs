//! JSON, decoded as Go does: the same things are refused, with the same messages.
//!
//! A parser of its own, because the messages name what was looked for at which character, a lone surrogate is
//! replaced and not refused, keys that stand twice are noted with their path, and integers keep all their digits.
//! Unlike Go it refuses bytes that are not UTF-8.

use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use super::{DEPTH_MAX, DecodeError, Decoded, cut, note};
use crate::validate_name::quote;

/// Decodes one JSON value with nothing after it.
///
/// # Errors
/// When it is not JSON, nests deeper than [`DEPTH_MAX`], or has a number beyond what a float holds.
pub fn json(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        DecodeError(format!("invalid UTF-8 after byte {}", error.valid_up_to()))
    })?;
    let mut parser = Parser { text, at: 0, depth: 0, duplicates: Vec::new() };
    let value = parser.value()?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(parser.wrong("after top-level value"));
    }
    let duplicates = parser.duplicates.into_iter();
    let duplicates = duplicates.map(|path| format!("duplicate field {}", quote(&path))).collect();
    Ok(Decoded { value, duplicates })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Paths of keys that stand twice, relative to the value that is being read.
    duplicates: Vec<String>,
}

impl Parser<'_> {
    fn value(&mut self) -> Result<Value, DecodeError> {
        self.blanks();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            _ => Err(self.wrong("looking for beginning of value")),
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, DecodeError>,
    ) -> Result<Value, DecodeError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong("exceeded max depth"));
        }
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, DecodeError> {
        let mut object = Map::new();
        self.blanks();
        if self.take(b'}') {
            return Ok(Value::Object(object));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("looking for beginning of object key string"));
            }
            let key = self.string()?;
            self.blanks();
            if !self.take(b':') {
                return Err(self.wrong("after object key"));
            }
            let noted = self.duplicates.len();
            let value = self.value()?;
            if self.duplicates.len() > noted {
                self.prefix(noted, &key);
            }
            match object.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(mut place) => {
                    note(&mut self.duplicates, place.key());
                    place.insert(value);
                }
            }
            self.blanks();
            if self.take(b'}') {
                return Ok(Value::Object(object));
            }
            if !self.take(b',') {
                return Err(self.wrong("after object key:value pair"));
            }
        }
    }

    fn array(&mut self) -> Result<Value, DecodeError> {
        let mut array = Vec::new();
        self.blanks();
        if self.take(b']') {
            return Ok(Value::Array(array));
        }
        loop {
            let noted = self.duplicates.len();
            let value = self.value()?;
            if self.duplicates.len() > noted {
                self.prefix(noted, &format!("[{}]", array.len()));
            }
            array.push(value);
            self.blanks();
            if self.take(b']') {
                return Ok(Value::Array(array));
            }
            if !self.take(b',') {
                return Err(self.wrong("after array element"));
            }
        }
    }

    /// Puts a key or index before the paths that were noted below it; of a long path the end is lost.
    fn prefix(&mut self, from: usize, step: &str) {
        let step = cut(step);
        for path in self.duplicates.iter_mut().skip(from) {
            let dot = if path.starts_with('[') { "" } else { "." };
            let whole = format!("{step}{dot}{path}");
            cut(&whole).clone_into(path);
        }
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = rest.iter().take_while(|b| **b != b'"' && **b != b'\\' && **b >= 0x20);
            let length = plain.count();
            out.push_str(self.text.get(self.at..self.at + length).unwrap_or_default());
            self.at += length;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return Err(self.wrong("in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, DecodeError> {
        self.at += 1;
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.wrong("in string escape code")),
        };
        self.at += 1;
        Ok(c)
    }

    /// `\uXXXX`, or a pair of surrogates; one alone becomes the replacement character.
    fn unicode(&mut self) -> Result<char, DecodeError> {
        self.at += 1;
        let first = self.hexadecimal()?;
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        let after = self.at;
        if first < 0xdc00 && self.take(b'\\') && self.take(b'u') {
            let second = self.hexadecimal()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        self.at = after;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hexadecimal(&mut self) -> Result<u32, DecodeError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let wrong = "in \\u hexadecimal character escape";
            code = code * 16 + digit.ok_or_else(|| self.wrong(wrong))?;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Number, DecodeError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return Err(self.wrong("in numeric literal"));
        }
        let mut whole = true;
        if self.take(b'.') {
            whole = false;
            if self.digits() == 0 {
                return Err(self.wrong("after decimal point in numeric literal"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(self.wrong("in exponent of numeric literal"));
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if let (true, Ok(integer)) = (whole, text.parse::<i64>()) {
            return Ok(Number::from(integer));
        }
        let float = text.parse::<f64>().ok();
        if let Some(long) =
            float.filter(|_| whole).and_then(|float| float.to_string().parse::<u64>().ok())
        {
            // Go keeps a number beyond an i64 as a float and writes that without an exponent.
            return Ok(Number::from(long));
        }
        let float = float.and_then(Number::from_f64);
        let too_big = "into Go value of type float64";
        float.ok_or_else(|| DecodeError(format!("json: cannot unmarshal number {text} {too_big}")))
    }

    fn digits(&mut self) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, DecodeError> {
        for expected in word.chars() {
            if self.peek().map(char::from) != Some(expected) {
                let context = format!("in literal {word} (expecting '{expected}')");
                return Err(self.wrong(&context));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// The error at the present character.
    fn wrong(&self, context: &str) -> DecodeError {
        DecodeError(match self.peek() {
            None => "unexpected end of JSON input".to_owned(),
            Some(byte) => format!("invalid character {} {context}", quote_byte(byte)),
        })
    }
}

fn quote_byte(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        byte => {
            let quoted = quote(&char::from(byte).to_string());
            format!("'{}'", quoted.trim_matches('"'))
        }
    }
}
