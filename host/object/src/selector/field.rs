//! Field selectors: the text of query parameters, matched against encoded objects.
//!
//! Which fields a kind supports is fixed by Kubernetes ([`supported`]); everything else is refused. Values are
//! read out of the encoded JSON by path, without building the object.

use std::borrow::Cow;
use std::fmt;

use super::{SelectorError, wrong};
use crate::decode::scalar_at;
use crate::name::Gvk;
use crate::validate_name::quote;

/// One requirement on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    /// The field's path, such as `status.phase`.
    pub field: Box<str>,
    /// The value that is wanted, or not wanted.
    pub value: Box<str>,
    /// Whether the field must differ from the value.
    pub negated: bool,
}

/// Requirements that must all hold; none matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    /// The requirements, sorted as text.
    pub requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Reads the text form, such as `metadata.name=a,status.phase!=Running`; `\,`, `\=` and `\\` stand for
    /// themselves in values.
    ///
    /// # Errors
    /// When a part has no operator, or a value has a wrong escape.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut requirements = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let misunderstood =
                || wrong(&format!("invalid selector: '{text}'; can't understand '{part}'"));
            let (field, negated, value) = split_term(part).ok_or_else(misunderstood)?;
            let value = unescape(value)?.into();
            requirements.push(FieldRequirement { field: field.into(), value, negated });
        }
        Ok(Self { requirements })
    }

    /// Whether it matches every object.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value that a field must have, where the selector asks for exactly one.
    pub fn exact(&self, field: &str) -> Option<&str> {
        let wanted = |r: &&FieldRequirement| *r.field == *field && !r.negated;
        self.requirements.iter().find(wanted).map(|r| r.value.as_ref())
    }

    /// Refuses fields that a kind cannot be selected by. `selectable` are those that a custom resource's
    /// definition adds; `None` for a built-in kind.
    ///
    /// # Errors
    /// Naming the first field that is not supported.
    pub fn check(&self, kind: &Gvk, selectable: Option<&[String]>) -> Result<(), SelectorError> {
        let known = if selectable.is_some() { None } else { supported(&kind.group, &kind.kind) };
        for FieldRequirement { field, .. } in &self.requirements {
            let general = matches!(field.as_ref(), "metadata.name" | "metadata.namespace");
            let good = match (known, selectable) {
                (Some(fields), _) => fields.contains(&field.as_ref()),
                (None, Some(fields)) => general || fields.iter().any(|f| **f == **field),
                (None, None) => general,
            };
            if !good && known.is_none() && selectable.is_none() {
                let only = "only \"metadata.name\", \"metadata.namespace\"";
                let field = quote(field);
                return Err(wrong(&format!("{field} is not a known field selector: {only}")));
            } else if !good {
                return Err(wrong(&format!("field label not supported: {field}")));
            }
        }
        Ok(())
    }

    /// Whether an encoded object satisfies every requirement. An absent field counts as its zero value.
    pub fn matches(&self, name: &str, namespace: &str, bytes: &[u8]) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = match requirement.field.as_ref() {
                "metadata.name" => Cow::Borrowed(name),
                "metadata.namespace" => Cow::Borrowed(namespace),
                field => value_of(field, bytes),
            };
            (value == requirement.value.as_ref()) != requirement.negated
        })
    }
}

/// The text form; reading it gives the same selector.
impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let operator = if requirement.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}", requirement.field)?;
            for c in requirement.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// The fields that a built-in kind can be selected by; `None` where these are only name and namespace.
pub fn supported(group: &str, kind: &str) -> Option<&'static [&'static str]> {
    Some(match (group, kind) {
        ("", "Pod") => &[
            "metadata.name",
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "Node") => &["metadata.name", "spec.unschedulable"],
        ("", "Namespace") => &["metadata.name", "status.phase"],
        ("", "Secret") => &["metadata.name", "metadata.namespace", "type"],
        ("", "Service") => &["metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type"],
        ("", "ReplicationController") => {
            &["metadata.name", "metadata.namespace", "status.replicas"]
        }
        ("batch", "Job") => &["metadata.name", "metadata.namespace", "status.successful"],
        ("resource.k8s.io", "ResourceSlice") => &["metadata.name", "spec.nodeName", "spec.driver"],
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            &["metadata.name", "spec.signerName"]
        }
        ("", "Event") => &[
            "metadata.name",
            "metadata.namespace",
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "Event") => &[
            "metadata.name",
            "metadata.namespace",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        _ => return None,
    })
}

/// Reads a field of an encoded object as text; some fields are named otherwise in the object.
fn value_of<'a>(field: &str, bytes: &'a [u8]) -> Cow<'a, str> {
    let read = |path: &str| scalar_at(bytes, path).filter(|text| !text.is_empty());
    let (found, zero) = match field {
        "source" => (read("source.component").or_else(|| read("reportingComponent")), ""),
        "status.successful" => (read("status.succeeded"), "0"),
        "status.replicas" => (read(field), "0"),
        "spec.hostNetwork" | "spec.unschedulable" => (read(field), "false"),
        // Events are stored in the form of the core group, whose names differ.
        "reportingController" => (read("reportingComponent").or_else(|| read(field)), ""),
        regarding if regarding.starts_with("regarding.") => {
            let core = regarding.replacen("regarding.", "involvedObject.", 1);
            (read(&core).or_else(|| read(regarding)), "")
        }
        _ => (read(field), ""),
    };
    found.unwrap_or(Cow::Borrowed(zero))
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    let at_comma = |c: char| {
        let split = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        split
    };
    text.split(at_comma).collect()
}

/// Splits at the first operator: field, whether negated, value.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let (at, _) = term.char_indices().find(|(at, c)| {
        *c == '=' || (*c == '!' && term.get(at + 1..).is_some_and(|rest| rest.starts_with('=')))
    })?;
    let (field, rest) = (term.get(..at)?, term.get(at..)?);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, true, value));
    }
    Some((field, false, rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?))
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                next => {
                    let next = next.map(String::from).unwrap_or_default();
                    let rule = "invalid field selector: invalid escape sequence:";
                    return Err(wrong(&format!("{rule} \\{next}")));
                }
            },
            ',' | '=' => {
                // The character's number, as kube-apiserver prints it.
                let number = u32::from(c);
                let rule = "invalid field selector: unescaped character in value:";
                return Err(wrong(&format!("{rule} {number}")));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}
