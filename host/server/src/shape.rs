//! Objects in the form that a client wants: whole, as metadata only, or as items of a list.
//!
//! Stored objects are JSON with sorted keys, `apiVersion` first. That is what makes the fast ways here possible;
//! an object that looks otherwise takes the slow way through a parsed value and is served all the same.

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem::Finder;
use quadrille_registry::Resource;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::negotiate::MetaVersion;

/// Writes stored objects as items of a list: those of built-in kinds go without `apiVersion` and `kind`.
#[derive(Debug)]
pub(crate) struct ItemWriter {
    strip: Option<Strip>,
}

#[derive(Debug)]
struct Strip {
    prefix: Box<[u8]>,
    kind: Box<[u8]>,
    later_kind: Finder<'static>,
    /// Embeds arbitrary objects in front of its own `kind`, so that a search for text could find theirs.
    embeds: bool,
}

impl ItemWriter {
    pub(crate) fn new(resource: &Resource) -> Self {
        if resource.custom {
            return Self { strip: None };
        }
        Self::stripping(&resource.api_version, &resource.kind.kind)
    }

    fn stripping(api_version: &str, name: &str) -> Self {
        let kind = format!("\"kind\":\"{name}\",");
        let strip = Strip {
            prefix: format!("{{\"apiVersion\":\"{api_version}\",").into_bytes().into(),
            later_kind: Finder::new(&format!(",{kind}\"metadata\":{{")).into_owned(),
            kind: kind.into_bytes().into(),
            embeds: name == "ControllerRevision",
        };
        Self { strip: Some(strip) }
    }

    /// Appends one item to `out`.
    pub(crate) fn write(&self, out: &mut BytesMut, object: &[u8]) {
        let Some(strip) = &self.strip else { return out.put_slice(object) };
        if let Some((before, after)) = strip.split(object) {
            out.put_u8(b'{');
            out.put_slice(before);
            out.put_slice(after);
            return;
        }
        match serde_json::from_slice::<Map<String, Value>>(object) {
            Ok(mut map) => {
                map.remove("apiVersion");
                map.remove("kind");
                out.put_slice(Value::Object(map).to_string().as_bytes());
            }
            Err(_) => out.put_slice(object),
        }
    }
}

impl Strip {
    /// The bytes after `{` and before `kind`, and those after it. The text searched for begins with a quote
    /// that is not escaped, so it cannot be inside a string.
    fn split<'a>(&self, object: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let rest = object.strip_prefix(&*self.prefix)?;
        if let Some(after) = rest.strip_prefix(&*self.kind) {
            return Some((b"", after));
        }
        if self.embeds {
            return None;
        }
        let at = self.later_kind.find(rest)? + 1;
        Some((rest.get(..at)?, rest.get(at + self.kind.len()..)?))
    }
}

#[derive(Deserialize)]
struct OnlyMetadata<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// `PartialObjectMetadata` of an object.
pub(crate) fn partial(object: &[u8], version: MetaVersion) -> Bytes {
    let parsed = serde_json::from_slice::<OnlyMetadata<'_>>(object);
    let metadata = parsed.ok().and_then(|parsed| parsed.metadata).map_or("{}", RawValue::get);
    let version = version.api_version();
    Bytes::from(format!(
        "{{\"apiVersion\":\"{version}\",\"kind\":\"PartialObjectMetadata\",\"metadata\":{metadata}}}"
    ))
}

/// An object with another resourceVersion.
pub(crate) fn with_revision(object: &[u8], revision: u64) -> Bytes {
    match serde_json::from_slice::<Map<String, Value>>(object) {
        Ok(map) => quadrille_object::Template::encode(&map).with_revision(revision),
        Err(_) => Bytes::copy_from_slice(object),
    }
}

/// JSON with line breaks, for people.
pub(crate) fn pretty(bytes: &[u8]) -> Option<Bytes> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let mut out = serde_json::to_vec_pretty(&value).ok()?;
    out.push(b'\n');
    Some(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: &str, custom: bool, object: &str) -> String {
        let mut out = BytesMut::new();
        let writer =
            if custom { ItemWriter { strip: None } } else { ItemWriter::stripping("v1", kind) };
        writer.write(&mut out, object.as_bytes());
        String::from_utf8(out.to_vec()).expect("UTF-8")
    }

    #[test]
    fn items_of_built_in_kinds_go_without_their_type() {
        let first = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#;
        assert_eq!(item("Pod", false, first), r#"{"metadata":{"name":"a"}}"#);
        let later = r#"{"apiVersion":"v1","data":{"k":",\"kind\":\"ConfigMap\",\"metadata\":{"},"kind":"ConfigMap","metadata":{"name":"a"}}"#;
        assert_eq!(
            item("ConfigMap", false, later),
            r#"{"data":{"k":",\"kind\":\"ConfigMap\",\"metadata\":{"},"metadata":{"name":"a"}}"#
        );
        assert_eq!(item("Pod", true, first), first);
    }

    #[test]
    fn an_unusual_order_of_keys_takes_the_slow_way() {
        let odd = r#"{"metadata":{"name":"a"},"kind":"Pod","apiVersion":"v1","spec":{}}"#;
        assert_eq!(item("Pod", false, odd), r#"{"metadata":{"name":"a"},"spec":{}}"#);
        let embedding = r#"{"apiVersion":"v1","data":{"a":1,"kind":"ControllerRevision","metadata":{}},"kind":"ControllerRevision","metadata":{}}"#;
        assert_eq!(
            item("ControllerRevision", false, embedding),
            r#"{"data":{"a":1,"kind":"ControllerRevision","metadata":{}},"metadata":{}}"#
        );
    }

    #[test]
    fn metadata_alone_keeps_its_bytes() {
        let object =
            br#"{"apiVersion":"v1","data":{"a":"b"},"kind":"X","metadata":{"name":"a","uid":"u"}}"#;
        assert_eq!(
            partial(object, MetaVersion::V1),
            r#"{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"a","uid":"u"}}"#
        );
    }
}
