//! A map in an object with the path by which errors name it: what the checks of nested types walk with.
//!
//! It owns reading of optional fields in Kubernetes' manner (a missing text is empty, null is missing) and the errors
//! that every type has; it knows no type.

use quadrille_object::{FieldErrorKind, validate_name};
use serde_json::{Map, Value};

use crate::field::{Errors, Object};

/// A map and its path; the path of an object itself is empty.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    pub(crate) map: &'a Object,
    pub(crate) path: String,
}

impl<'a> At<'a> {
    pub(crate) fn new(map: &'a Object, path: impl Into<String>) -> Self {
        Self { map, path: path.into() }
    }

    /// The path of a field.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() {
            return key.to_owned();
        }
        // By hand: every nested value has a path, and hardly any is read.
        let mut path = String::with_capacity(self.path.len() + key.len() + 1);
        path.push_str(&self.path);
        path.push('.');
        path.push_str(key);
        path
    }

    /// The path of an element of a list.
    pub(crate) fn index(&self, key: &str, index: usize) -> String {
        format!("{}[{index}]", self.path(key))
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// A text; empty when it is missing.
    pub(crate) fn text(&self, key: &str) -> &'a str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn integer(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(Value::as_i64)
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    pub(crate) fn is(&self, key: &str) -> bool {
        self.flag(key) == Some(true)
    }

    /// A nested map.
    pub(crate) fn child(&self, key: &str) -> Option<At<'a>> {
        let map = self.get(key)?.as_object()?;
        Some(Self { map, path: self.path(key) })
    }

    /// A nested map, empty when it is missing.
    pub(crate) fn child_or_empty(&self, key: &str) -> At<'a> {
        static EMPTY: std::sync::LazyLock<Object> = std::sync::LazyLock::new(Map::new);
        self.child(key).unwrap_or_else(|| Self { map: &EMPTY, path: self.path(key) })
    }

    /// A list as it is.
    pub(crate) fn list(&self, key: &str) -> &'a [Value] {
        self.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The maps of a list, with their indexes.
    pub(crate) fn items(&self, key: &str) -> impl Iterator<Item = At<'a>> {
        let list = self.list(key);
        let path = if list.is_empty() { String::new() } else { self.path(key) };
        list.iter().enumerate().filter_map(move |(index, item)| {
            Some(Self { map: item.as_object()?, path: format!("{path}[{index}]") })
        })
    }

    /// The texts of a list.
    pub(crate) fn texts(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.list(key).iter().filter_map(Value::as_str)
    }

    /// The entries of a nested map.
    pub(crate) fn entries(&self, key: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let map = self.get(key).and_then(Value::as_object);
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }
}

impl Errors {
    /// A text that must be there; answers whether it is.
    pub(crate) fn need(&mut self, at: &At<'_>, key: &str) -> bool {
        let missing = at.text(key).is_empty();
        if missing {
            self.required(at.path(key), "");
        }
        !missing
    }

    /// A text outside an enumeration; a missing one is fine.
    pub(crate) fn known(&mut self, at: &At<'_>, key: &str, known: &[&str]) {
        if let Some(value) = at.get(key).filter(|v| !v.as_str().is_some_and(|t| known.contains(&t)))
        {
            self.unsupported(at.path(key), value, known);
        }
    }

    /// A text that must be there and one of a few.
    pub(crate) fn need_known(&mut self, at: &At<'_>, key: &str, known: &[&str]) {
        if self.need(at, key) {
            self.known(at, key, known);
        }
    }

    /// A text that names nothing.
    pub(crate) fn not_found(&mut self, field: impl Into<String>, value: &str) {
        self.0.report(FieldErrorKind::NotFound, field, || {
            format!("Not found: {}", Value::from(value))
        });
    }

    /// A number that is there must be within bounds.
    pub(crate) fn within(&mut self, at: &At<'_>, key: &str, min: i64, max: i64) {
        if let Some(number) = at.integer(key).filter(|n| !(min..=max).contains(n)) {
            let why = format!("must be between {min} and {max}, inclusive");
            self.invalid(at.path(key), &number.into(), &why);
        }
    }

    /// A number that is there must not be below zero.
    pub(crate) fn natural(&mut self, at: &At<'_>, key: &str) {
        if let Some(number) = at.integer(key).filter(|n| *n < 0) {
            self.invalid(at.path(key), &number.into(), "must be greater than or equal to 0");
        }
    }

    /// A text that is there must be a DNS label.
    pub(crate) fn dns_label(&mut self, at: &At<'_>, key: &str) {
        let text = at.text(key);
        let whys = if text.is_empty() { Vec::new() } else { validate_name::dns_label(text) };
        if !whys.is_empty() {
            self.invalid_each(&at.path(key), text, whys);
        }
    }

    /// A text that is there must be a DNS subdomain.
    pub(crate) fn dns_subdomain(&mut self, at: &At<'_>, key: &str) {
        let text = at.text(key);
        let whys = if text.is_empty() { Vec::new() } else { validate_name::dns_subdomain(text) };
        if !whys.is_empty() {
            self.invalid_each(&at.path(key), text, whys);
        }
    }

    /// Something that is not allowed as a whole, without showing it.
    pub(crate) fn invalid_alone(&mut self, field: impl Into<String>, why: &str) {
        self.0.report(FieldErrorKind::Invalid, field, || format!("Invalid value: {why}"));
    }

    /// A text that must be an IP address.
    pub(crate) fn address(&mut self, field: String, address: &str) {
        if !is_address(address) {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            self.invalid(field, &address.into(), why);
        }
    }
}

/// Whether a text is an IP address; leading zeros in IPv4 are let pass, as kube-apiserver does for old fields.
fn is_address(text: &str) -> bool {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return true;
    }
    let parts: Vec<&str> = text.split('.').collect();
    let is_byte = |part: &&str| {
        !part.is_empty()
            && part.len() < 8
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse::<u32>().is_ok_and(|n| n < 256)
    };
    parts.len() == 4 && parts.iter().all(is_byte)
}
