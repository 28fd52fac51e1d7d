//! What names, labels, annotations and finalizers must look like, with kube-apiserver's messages.
//!
//! Every function returns the messages of what is wrong, none when all is well; the caller knows the path and
//! makes a [`crate::FieldError`] of each. [`labels`], [`annotations`] and
//! [`finalizers`] do that themselves.

use crate::decode::start;
use crate::error::{FieldError, FieldErrorKind, FieldErrors};
use crate::schema::SHOWN_BYTES_MAX;

/// The longest DNS label, label value and name part of a key.
pub const LABEL_LENGTH_MAX: usize = 63;
/// The longest DNS subdomain.
pub const SUBDOMAIN_LENGTH_MAX: usize = 253;
/// The most bytes that annotations may have together.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
    '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
    validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
    '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
    validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
    alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
    validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
    used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
    an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
    'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// A name that is an RFC 1123 label, such as a namespace's or a container's.
pub fn dns_label(name: &str) -> Vec<String> {
    let form =
        all_of(name, |b| lower_alphanumeric(b) || b == b'-') && ends(name, lower_alphanumeric);
    let mut problems = too_long(name, LABEL_LENGTH_MAX, "characters");
    if !form {
        // A name that would be a subdomain is told what stands in its way.
        let dots = if dns_subdomain_form(name) { "must not contain dots" } else { LABEL_1123 };
        problems.push(dots.to_owned());
    }
    problems
}

/// A name that is an RFC 1123 subdomain, as most objects' names are.
pub fn dns_subdomain(name: &str) -> Vec<String> {
    let mut problems = too_long(name, SUBDOMAIN_LENGTH_MAX, "characters");
    if !dns_subdomain_form(name) {
        problems.push(SUBDOMAIN_1123.to_owned());
    }
    problems
}

/// A name that is a DNS-1035 label, such as a resource's plural name.
pub fn dns_1035_label(name: &str) -> Vec<String> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let form =
        all_of(name, |b| lower_alphanumeric(b) || b == b'-') && ends(name, lower_alphanumeric);
    let mut problems = too_long(name, LABEL_LENGTH_MAX, "characters");
    if !(first && form) {
        problems.push(LABEL_1035.to_owned());
    }
    problems
}

/// A name that only has to fit into a path, such as a Role's.
pub fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    let held = |part: &&&str| name.contains(**part);
    ["/", "%"].iter().filter(held).map(|part| format!("may not contain '{part}'")).collect()
}

/// The key of a label or annotation: `[prefix/]name`.
pub fn qualified_name(key: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut parts = key.split('/');
    let (first, second, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let name = match (second, more) {
        (_, Some(_)) => {
            let example =
                "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {QUALIFIED_NAME} {example}")];
        }
        (None, None) => first,
        (Some(name), None) => {
            if first.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(dns_subdomain(first).iter().map(|p| format!("prefix part {p}")));
            }
            name
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_LENGTH_MAX {
        problems.push(format!("name part must be no more than {LABEL_LENGTH_MAX} bytes"));
    }
    if !qualified_form(name) {
        problems.push(format!("name part {QUALIFIED_NAME}"));
    }
    problems
}

/// The value of a label; empty is allowed.
pub fn label_value(value: &str) -> Vec<String> {
    let mut problems = too_long(value, LABEL_LENGTH_MAX, "bytes");
    if !value.is_empty() && !qualified_form(value) {
        problems.push(LABEL_VALUE.to_owned());
    }
    problems
}

/// A key of a `ConfigMap`'s or Secret's data.
pub fn config_key(key: &str) -> Vec<String> {
    let mut problems = too_long(key, SUBDOMAIN_LENGTH_MAX, "characters");
    if !all_of(key, |b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        problems.push(CONFIG_KEY.to_owned());
    }
    if key == "." {
        problems.push("must not be '.'".to_owned());
    } else if key == ".." {
        problems.push("must not be '..'".to_owned());
    } else if key.starts_with("..") {
        problems.push("must not start with '..'".to_owned());
    }
    problems
}

/// A finalizer: a qualified name, with a prefix unless Kubernetes itself uses it.
pub fn finalizer(name: &str) -> Vec<String> {
    let problems = qualified_name(name);
    let standard = [
        "orphan",
        "foregroundDeletion",
        "kubernetes",
        "customresourcecleanup.apiextensions.k8s.io",
    ];
    if problems.is_empty() && !name.contains('/') && !standard.contains(&name) {
        return vec![
            "name is neither a standard finalizer name nor is it fully qualified".to_owned(),
        ];
    }
    problems
}

/// What is wrong with labels, as the fields of an object's metadata; `path` is such as `metadata.labels`.
pub fn labels<'a>(path: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> FieldErrors {
    let mut errors = FieldErrors::default();
    for (key, value) in labels {
        if errors.is_full() {
            break;
        }
        errors.extend(qualified_name(key).iter().map(|problem| invalid(path, key, problem)));
        errors.extend(label_value(value).iter().map(|problem| invalid(path, value, problem)));
    }
    errors
}

/// What is wrong with annotations; upper case is allowed in the prefix of their keys.
pub fn annotations<'a>(
    path: &str,
    annotations: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> FieldErrors {
    let (mut errors, mut bytes) = (FieldErrors::default(), 0_usize);
    for (key, value) in annotations {
        bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
        let problems = qualified_name(&key.to_lowercase());
        errors.extend(problems.iter().map(|problem| invalid(path, key, problem)));
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        let message = format!("Too long: may not be more than {ANNOTATIONS_BYTES_MAX} bytes");
        errors.push(FieldError::new(FieldErrorKind::TooLong, path, message));
    }
    errors
}

/// What is wrong with finalizers; `path` is such as `metadata.finalizers`.
pub fn finalizers<'a>(path: &str, names: impl IntoIterator<Item = &'a str>) -> FieldErrors {
    let (mut errors, mut orphan, mut foreground) = (FieldErrors::default(), false, false);
    let mut all = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        orphan |= name == "orphan";
        foreground |= name == "foregroundDeletion";
        all.push(name);
        let unqualified = |problem: &str| problem.starts_with("name is neither");
        errors.extend(finalizer(name).iter().map(|problem| {
            let indexed = format!("{path}[{at}]");
            invalid(if unqualified(problem) { &indexed } else { path }, name, problem)
        }));
    }
    if orphan && foreground {
        let list = crate::schema::shown_json(&all);
        let problem = "finalizer orphan and foregroundDeletion cannot be both set";
        let message = format!("Invalid value: {list}: {problem}");
        errors.push(FieldError::new(FieldErrorKind::Invalid, path, message));
    }
    errors
}

/// An `Invalid` error on a text: `Invalid value: "x": problem`, quoted as Go quotes.
pub fn invalid(path: &str, value: &str, problem: &str) -> FieldError {
    let message = format!("Invalid value: {}: {problem}", quote(start(value, SHOWN_BYTES_MAX)));
    FieldError::new(FieldErrorKind::Invalid, path, message)
}

/// A text in double quotes, as Go's `%q` writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                push_code(&mut out, "\\x", c, 2);
            }
            c if c.is_control() => push_code(&mut out, "\\u", c, 4),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// An escape with the character's number in hexadecimal.
fn push_code(out: &mut String, escape: &str, c: char, digits: u32) {
    out.push_str(escape);
    for at in (0..digits).rev() {
        out.extend(char::from_digit((u32::from(c) >> (4 * at)) & 15, 16));
    }
}

fn too_long(text: &str, length_max: usize, unit: &str) -> Vec<String> {
    let over = text.len() > length_max;
    over.then(|| format!("must be no more than {length_max} {unit}")).into_iter().collect()
}

fn dns_subdomain_form(name: &str) -> bool {
    name.split('.').all(|part| {
        all_of(part, |b| lower_alphanumeric(b) || b == b'-') && ends(part, lower_alphanumeric)
    })
}

fn qualified_form(name: &str) -> bool {
    all_of(name, |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && ends(name, |b| b.is_ascii_alphanumeric())
}

fn lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn all_of(text: &str, good: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(good)
}

fn ends(text: &str, good: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| good(*b)) && bytes.last().is_some_and(|b| good(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(problems: &[String], expected: &[&str]) {
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, start) in problems.iter().zip(expected) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn names_are_told_what_is_wrong_with_them() {
        check(&dns_subdomain("a.b-c"), &[]);
        check(&dns_subdomain("A"), &["a lowercase RFC 1123 subdomain must consist of"]);
        check(&dns_subdomain("a."), &["a lowercase RFC 1123 subdomain must consist of"]);
        check(&dns_subdomain(&"a".repeat(254)), &["must be no more than 253 characters"]);
        check(&dns_label("a.b"), &["must not contain dots"]);
        check(&dns_label("-a"), &["a lowercase RFC 1123 label must consist of"]);
        check(&dns_1035_label("1a"), &["a DNS-1035 label"]);
        check(&path_segment("system:a/b%"), &["may not contain '/'", "may not contain '%'"]);
    }

    #[test]
    fn keys_and_values_of_labels_follow_the_recorded_messages() {
        check(&qualified_name("x.io/a"), &[]);
        check(&qualified_name("a b"), &["name part must consist of alphanumeric characters"]);
        check(&qualified_name("x.io/"), &["name part must be non-empty", "name part must consist"]);
        check(&qualified_name("a/b/c"), &["a valid label key must consist of"]);
        check(&qualified_name("X.io/a"), &["prefix part a lowercase RFC 1123 subdomain"]);
        check(&qualified_name(&"k".repeat(64)), &["name part must be no more than 63 bytes"]);
        check(&label_value(""), &[]);
        check(&label_value("-v"), &["a valid label must be an empty string or consist of"]);
        check(&config_key("a b"), &["a valid config key must consist of"]);
        check(&config_key("..a"), &["must not start with '..'"]);
    }

    #[test]
    fn finalizers_are_qualified_and_do_not_contradict_each_other() {
        check(&finalizer("nodomain"), &["name is neither a standard finalizer name"]);
        check(&finalizer("x.io/keep"), &[]);
        let errors = finalizers("metadata.finalizers", ["orphan", "foregroundDeletion"]);
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [concat!(
                "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: ",
                "finalizer orphan and foregroundDeletion cannot be both set"
            )]
        );
        let errors = finalizers("metadata.finalizers", ["nodomain"]);
        assert_eq!(errors.first().map(|e| e.field.as_str()), Some("metadata.finalizers[0]"));
    }

    #[test]
    fn annotations_may_have_an_uppercase_prefix_and_a_total_size() {
        assert!(annotations("metadata.annotations", [("X.io/a", "v")]).is_empty());
        let big = "x".repeat(ANNOTATIONS_BYTES_MAX);
        let errors = annotations("metadata.annotations", [("k", big.as_str())]);
        assert_eq!(
            errors.first().map(ToString::to_string).as_deref(),
            Some("metadata.annotations: Too long: may not be more than 262144 bytes")
        );
    }
}
