//! Property names that are no identifiers of the language, written as such: `a-b` is `a__dash__b`.
//!
//! Owns the rule both ways. Must not know of schemas.

/// Words that the language keeps for itself; as a field's name each is written `__word__`.
const KEYWORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// What stands for a character, or for two underscores, that an identifier cannot have.
const ESCAPES: [(&str, &str); 4] =
    [("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")];

/// Words that cannot be identifiers, though `namespace` and others are accepted as fields.
pub fn is_reserved(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

/// The identifier for a property, or `None` when there is none, as for `$ref` or `a b`.
pub fn escape(property: &str) -> Option<String> {
    if KEYWORDS.contains(&property) {
        return Some(format!("__{property}__"));
    }
    let first = property.chars().next()?;
    if first.is_ascii_digit() {
        return None;
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    if !property.chars().all(allowed) {
        return None;
    }
    let mut escaped = String::with_capacity(property.len());
    let mut rest = property;
    'next: while let Some(character) = rest.chars().next() {
        for (plain, written) in ESCAPES {
            if let Some(after) = rest.strip_prefix(plain) {
                escaped.push_str(written);
                rest = after;
                continue 'next;
            }
        }
        escaped.push(character);
        rest = &rest[character.len_utf8()..];
    }
    Some(escaped)
}

/// The property that an identifier stands for, or `None` when no property is written so.
pub fn unescape(identifier: &str) -> Option<String> {
    if let Some(word) = identifier.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && KEYWORDS.contains(&word)
    {
        return Some(word.to_owned());
    }
    let mut plain = String::with_capacity(identifier.len());
    let mut rest = identifier;
    'next: while let Some(character) = rest.chars().next() {
        for (original, written) in ESCAPES {
            if let Some(after) = rest.strip_prefix(written) {
                plain.push_str(original);
                rest = after;
                continue 'next;
            }
        }
        if rest.starts_with("__") {
            return None;
        }
        plain.push(character);
        rest = &rest[character.len_utf8()..];
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn names_go_there_and_back() {
        let names = [
            ("a", "a"),
            ("a-b", "a__dash__b"),
            ("c.d", "c__dot__d"),
            ("e/f", "e__slash__f"),
            ("x__y", "x__underscores__y"),
            ("if", "__if__"),
            ("namespace", "__namespace__"),
        ];
        for (property, identifier) in names {
            assert_eq!(escape(property).as_deref(), Some(identifier));
            assert_eq!(unescape(identifier).as_deref(), Some(property));
        }
        assert_eq!(escape("$ref"), None);
        assert_eq!(escape("a b"), None);
        assert_eq!(escape("1a"), None);
        assert_eq!(unescape("a__b"), None);
    }
}
