//! URLs: absolute ones, and absolute paths.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::{Result, text};
use crate::error::EvalError;
use crate::signature::Cost::{One, Traverse};
use crate::signature::Row;
use crate::signature::Run::Pure;
use crate::value::{Key, Opaque, Text, Value};

pub(super) const ROWS: &[Row] = &[
    ("string_to_url", "url(string)->url", Pure(to_url), Traverse(0)),
    ("is_url_string", "isURL(string)->bool", Pure(is_url), One),
    ("url_get_scheme", "url::getScheme()->string", Pure(scheme), One),
    ("url_get_host", "url::getHost()->string", Pure(host), One),
    ("url_get_hostname", "url::getHostname()->string", Pure(hostname), One),
    ("url_get_port", "url::getPort()->string", Pure(port), One),
    ("url_get_escaped_path", "url::getEscapedPath()->string", Pure(path), One),
    ("url_get_query", "url::getQuery()->map<string,list<string>>", Pure(query), One),
];

/// A URL in its parts, each as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    user: String,
    host: String,
    path: String,
    query: String,
    fragment: String,
}

impl Url {
    /// Reads a URL with a scheme, or a path from the root.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let wrong = |why: &str| format!("parse {text:?}: {why}");
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err(wrong("net/url: invalid control character in URL"));
        }
        if text.is_empty() {
            return Err(wrong("empty url"));
        }
        let (scheme, rest) = match scheme_end(text) {
            Some(end) => (text[..end].to_ascii_lowercase(), &text[end + 1..]),
            None => (String::new(), text),
        };
        if !rest.starts_with('/') {
            let opaque = !scheme.is_empty() && !rest.is_empty();
            return if opaque {
                Self::of_parts(scheme, "", rest).map_err(|why| wrong(&why))
            } else {
                Err(wrong("invalid URI for request"))
            };
        }
        let (authority, rest) = match rest.strip_prefix("//") {
            Some(after) if !scheme.is_empty() || !after.starts_with('/') => {
                let end = after.find(['/', '?', '#']).unwrap_or(after.len());
                after.split_at(end)
            }
            _ => ("", rest),
        };
        check_authority(authority).map_err(|why| wrong(&why))?;
        Self::of_parts(scheme, authority, rest).map_err(|why| wrong(&why))
    }

    fn of_parts(scheme: String, authority: &str, rest: &str) -> std::result::Result<Self, String> {
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        decoded(path, Plus::Kept)?;
        let own = str::to_owned;
        let path = escaped_path(path);
        Ok(Self {
            scheme,
            user: own(user),
            host: own(host),
            path,
            query: own(query),
            fragment: own(fragment),
        })
    }
}

/// Where the scheme ends, if the text begins with one.
fn scheme_end(text: &str) -> Option<usize> {
    let end = text.find(':')?;
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let rest = text[..end].chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (first && rest).then_some(end)
}

fn check_authority(authority: &str) -> std::result::Result<(), String> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = if let Some(inside) = host.strip_prefix('[') {
        let (address, after) = inside.split_once(']').ok_or("missing ']' in host")?;
        let address = address.split_once('%').map_or(address, |(address, _)| address);
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("invalid host: ParseAddr({address:?}): unable to parse IP"));
        }
        after
    } else {
        if host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}']) {
            let bad = host.chars().find(|c| " <>\"\\^`{|}".contains(*c)).unwrap_or(' ');
            return Err(format!("invalid character {:?} in host name", bad.to_string()));
        }
        host.rfind(':').map_or("", |place| &host[place..])
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if digits.bytes().all(|byte| byte.is_ascii_digit())
        && (port.is_empty() || port.starts_with(':'))
    {
        return Ok(());
    }
    Err(format!("invalid port {port:?} after host"))
}

/// Whether a plus stands for a space.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Kept,
    Space,
}

/// Percent signs resolved, unless one is not followed by two digits.
fn decoded(text: &str, plus: Plus) -> std::result::Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut place = 0;
    while let Some(byte) = bytes.get(place) {
        match byte {
            b'%' => {
                let digits = text.get(place + 1..place + 3).unwrap_or_default();
                let number =
                    u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
                let Some(number) = number else {
                    let wrong: String = text[place..].chars().take(3).collect();
                    return Err(format!("invalid URL escape {wrong:?}"));
                };
                out.push(number);
                place += 2;
            }
            b'+' if plus == Plus::Space => out.push(b' '),
            other => out.push(*other),
        }
        place += 1;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The path with what may not stand in one escaped.
fn escaped_path(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@/%[]".contains(&byte);
        if plain {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("writing into memory cannot fail");
        }
    }
    escaped
}

fn url<'v>(args: &'v [Value<'_>]) -> Result<&'v Url> {
    match args.first() {
        Some(Value::Opaque(Opaque::Url(url))) => Ok(url),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_url<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let url = Url::parse(text(args, 0)?);
    let url = url.map_err(|why| {
        EvalError::new(format!("URL parse error during conversion from string: {why}"))
    })?;
    Ok(Value::Opaque(Opaque::Url(Arc::new(url))))
}

fn is_url<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(Url::parse(text(args, 0)?).is_ok()))
}

fn scheme<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(url(args)?.scheme.clone()))
}

fn host<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(url(args)?.host.clone()))
}

/// The host's name without brackets, and its port.
fn split_host(host: &str) -> (&str, &str) {
    if let Some(inside) = host.strip_prefix('[') {
        let (name, after) = inside.split_once(']').unwrap_or((inside, ""));
        return (name, after.strip_prefix(':').unwrap_or(""));
    }
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn hostname<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(split_host(&url(args)?.host).0.to_owned()))
}

fn port<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(split_host(&url(args)?.host).1.to_owned()))
}

fn path<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(url(args)?.path.clone()))
}

fn query<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let mut found: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    for pair in url(args)?.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = (decoded(key, Plus::Space), decoded(value, Plus::Space));
        let (Ok(key), Ok(value)) = decoded else { continue };
        found.entry(key).or_default().push(Value::text(value));
    }
    let entry = |(key, values)| (Key::String(Text::from(key)), Value::list(values));
    Ok(Value::map(found.into_iter().map(entry).collect()))
}
