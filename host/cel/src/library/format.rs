//! Named formats of strings, as `format.dns1123Label()`.

use super::{Result, text};
use crate::error::EvalError;
use crate::signature::Cost::{One, Validate};
use crate::signature::Row;
use crate::signature::Run::Pure;
use crate::time::Timestamp;
use crate::value::{Opaque, Value};

/// A format that strings are checked against.
#[derive(Debug)]
pub struct Format {
    /// The name in expressions.
    pub name: &'static str,
    /// What costs take for the length of its pattern.
    pub(crate) pattern_max: u64,
    problems: fn(&str) -> Vec<String>,
}

pub(super) const ROWS: &[Row] = &[
    (
        "format-validate",
        "format::validate(string)->optional<list<string>>",
        Pure(validate),
        Validate,
    ),
    ("format-named", "format.named(string)->optional<format>", Pure(named), One),
    (
        "format.dns1123Label",
        "format.dns1123Label()->format",
        Pure(|_| by_name("dns1123Label")),
        One,
    ),
    (
        "format.dns1123Subdomain",
        "format.dns1123Subdomain()->format",
        Pure(|_| by_name("dns1123Subdomain")),
        One,
    ),
    (
        "format.dns1035Label",
        "format.dns1035Label()->format",
        Pure(|_| by_name("dns1035Label")),
        One,
    ),
    (
        "format.qualifiedName",
        "format.qualifiedName()->format",
        Pure(|_| by_name("qualifiedName")),
        One,
    ),
    (
        "format.dns1123LabelPrefix",
        "format.dns1123LabelPrefix()->format",
        Pure(|_| by_name("dns1123LabelPrefix")),
        One,
    ),
    (
        "format.dns1123SubdomainPrefix",
        "format.dns1123SubdomainPrefix()->format",
        Pure(|_| by_name("dns1123SubdomainPrefix")),
        One,
    ),
    (
        "format.dns1035LabelPrefix",
        "format.dns1035LabelPrefix()->format",
        Pure(|_| by_name("dns1035LabelPrefix")),
        One,
    ),
    ("format.labelValue", "format.labelValue()->format", Pure(|_| by_name("labelValue")), One),
    ("format.uri", "format.uri()->format", Pure(|_| by_name("uri")), One),
    ("format.uuid", "format.uuid()->format", Pure(|_| by_name("uuid")), One),
    ("format.byte", "format.byte()->format", Pure(|_| by_name("byte")), One),
    ("format.date", "format.date()->format", Pure(|_| by_name("date")), One),
    ("format.datetime", "format.datetime()->format", Pure(|_| by_name("datetime")), One),
];

static FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", pattern_max: 30, problems: dns1123_label },
    Format { name: "dns1123Subdomain", pattern_max: 60, problems: dns1123_subdomain },
    Format { name: "dns1035Label", pattern_max: 30, problems: dns1035_label },
    Format { name: "qualifiedName", pattern_max: 60, problems: qualified_name },
    Format {
        name: "dns1123LabelPrefix",
        pattern_max: 30,
        problems: |t| dns1123_label(&unmasked(t)),
    },
    Format {
        name: "dns1123SubdomainPrefix",
        pattern_max: 60,
        problems: |t| dns1123_subdomain(&unmasked(t)),
    },
    Format {
        name: "dns1035LabelPrefix",
        pattern_max: 30,
        problems: |t| dns1035_label(&unmasked(t)),
    },
    Format { name: "labelValue", pattern_max: 40, problems: label_value },
    Format { name: "uri", pattern_max: 1000, problems: uri },
    Format { name: "uuid", pattern_max: 90, problems: uuid },
    Format { name: "byte", pattern_max: 110, problems: byte },
    Format { name: "date", pattern_max: 190, problems: date },
    Format { name: "datetime", pattern_max: 190, problems: datetime },
];

fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

fn by_name<'a>(name: &str) -> Result<Value<'a>> {
    let format = find(name).ok_or_else(EvalError::no_such_overload)?;
    Ok(Value::Opaque(Opaque::Format(format)))
}

fn named<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let found = find(text(args, 0)?);
    Ok(match found {
        Some(format) => Value::some(Value::Opaque(Opaque::Format(format))),
        None => Value::Optional(None),
    })
}

fn validate<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let Some(Value::Opaque(Opaque::Format(format))) = args.first() else {
        return Err(EvalError::no_such_overload());
    };
    let problems = (format.problems)(text(args, 1)?);
    if problems.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(Value::list(problems.into_iter().map(Value::text).collect())))
}

/// A name's beginning as a whole name: the last dash stands for more to come.
fn unmasked(text: &str) -> String {
    if text.len() > 1 && text.ends_with('-') {
        format!("{}a", &text[..text.len() - 1])
    } else {
        text.to_owned()
    }
}

fn too_long(most: usize) -> String {
    format!("must be no more than {most} characters")
}

fn is_label(text: &str, letter_first: bool) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let first = |c: char| c.is_ascii_lowercase() || (!letter_first && c.is_ascii_digit());
    text.starts_with(first) && text.ends_with(edge) && text.chars().all(|c| edge(c) || c == '-')
}

fn dns1123_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 63 {
        problems.push(too_long(63));
    }
    if !is_label(text, false) {
        problems.push(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
             must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used \
             for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    problems
}

fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 253 {
        problems.push(too_long(253));
    }
    if !text.split('.').all(|label| is_label(label, false)) {
        problems.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
             '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used \
             for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    problems
}

fn dns1035_label(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 63 {
        problems.push(too_long(63));
    }
    if !is_label(text, true) {
        problems.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
             alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
             'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    problems
}

fn is_name(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || "-_.".contains(c))
}

fn qualified_name(text: &str) -> Vec<String> {
    let parts: Vec<&str> = text.split('/').collect();
    let mut problems = Vec::new();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                let part = dns1123_subdomain(prefix).into_iter();
                problems.extend(part.map(|problem| format!("prefix part {problem}")));
            }
            *name
        }
        _ => {
            return vec![format!(
                "a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')",
                name_rule()
            )];
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push(format!("name part {}", too_long(63)));
    }
    if !is_name(name) {
        problems.push(format!("name part {}", name_rule()));
    }
    problems
}

fn name_rule() -> &'static str {
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
     character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
}

fn label_value(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if text.len() > 63 {
        problems.push(too_long(63));
    }
    if !text.is_empty() && !is_name(text) {
        problems.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
             and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or \
             '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    problems
}

fn unless(right: bool, problem: impl Into<String>) -> Vec<String> {
    if right { Vec::new() } else { vec![problem.into()] }
}

fn uri(text: &str) -> Vec<String> {
    super::Url::parse(text).err().into_iter().collect()
}

fn uuid(text: &str) -> Vec<String> {
    let dash = |place: usize| matches!(place, 8 | 13 | 18 | 23);
    let dashed = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(place, byte)| if dash(place) { byte == b'-' } else { byte.is_ascii_hexdigit() });
    let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    unless(dashed || plain, "does not match the UUID format")
}

fn byte(text: &str) -> Vec<String> {
    use base64::Engine as _;
    let right = base64::engine::general_purpose::STANDARD.decode(text).is_ok();
    unless(right, "invalid base64")
}

fn date(text: &str) -> Vec<String> {
    unless(Timestamp::parse_date(text).is_some(), "invalid date")
}

fn datetime(text: &str) -> Vec<String> {
    unless(Timestamp::parse(text).is_some(), "invalid datetime")
}
