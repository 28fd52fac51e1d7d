//! Objects as bytes: JSON with a known place for the revision.
//!
//! The revision of a change is known only when the store orders it, and an object must be encoded once. So an
//! object is encoded to a [`Template`] before the commit, with `metadata.resourceVersion` empty and its place
//! noted; the committer fills it in. Fields are written in the order of the map (sorted), so that equal objects
//! have equal bytes.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

/// Room for most objects, so that they are written without moving; it is given back after the commit.
const CAPACITY: usize = 4096;

/// An encoded object whose `metadata.resourceVersion` is still `""`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    bytes: Bytes,
    revision_at: usize,
}

impl Template {
    /// Encodes `object`, whatever resourceVersion it carries; adds `metadata` where it is missing.
    pub fn encode(object: &Map<String, Value>) -> Self {
        let mut out = Vec::with_capacity(CAPACITY);
        let mut revision_at = 0;
        out.push(b'{');
        let mut first = true;
        if !object.contains_key("metadata") {
            comma_key(&mut out, &mut first, "metadata");
            revision_at = encode_metadata(&mut out, &Map::new());
        }
        for (key, value) in object {
            comma_key(&mut out, &mut first, key);
            match (key.as_str(), value) {
                ("metadata", Value::Object(metadata)) => {
                    revision_at = encode_metadata(&mut out, metadata);
                }
                ("metadata", _) => revision_at = encode_metadata(&mut out, &Map::new()),
                _ => write_value(&mut out, value),
            }
        }
        out.push(b'}');
        Self { bytes: Bytes::from(out), revision_at }
    }

    /// The final bytes, with `revision` in its place.
    pub fn with_revision(&self, revision: u64) -> Bytes {
        let digits = revision.to_string();
        let (head, tail) = self.bytes.split_at(self.revision_at);
        let mut out = BytesMut::with_capacity(self.bytes.len() + digits.len());
        out.put_slice(head);
        out.put_slice(digits.as_bytes());
        out.put_slice(tail);
        out.freeze()
    }

    /// The bytes with an empty resourceVersion: equal for objects that differ in nothing else.
    pub fn unrevised(&self) -> &Bytes {
        &self.bytes
    }
}

fn encode_metadata(out: &mut Vec<u8>, metadata: &Map<String, Value>) -> usize {
    out.push(b'{');
    let mut first = true;
    let mut at = None;
    for (key, value) in metadata {
        if at.is_none() && key.as_str() >= "resourceVersion" {
            at = Some(empty_revision(out, &mut first));
        }
        if key != "resourceVersion" {
            comma_key(out, &mut first, key);
            write_value(out, value);
        }
    }
    let at = at.unwrap_or_else(|| empty_revision(out, &mut first));
    out.push(b'}');
    at
}

fn empty_revision(out: &mut Vec<u8>, first: &mut bool) -> usize {
    comma_key(out, first, "resourceVersion");
    out.extend_from_slice(b"\"\"");
    out.len() - 1
}

fn comma_key(out: &mut Vec<u8>, first: &mut bool, key: &str) {
    if !std::mem::take(first) {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, key).expect("writing JSON into memory cannot fail");
    out.push(b':');
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("writing JSON into memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn revised(object: &Value) -> String {
        let template = Template::encode(object.as_object().expect("test objects are maps"));
        String::from_utf8(template.with_revision(42).to_vec()).expect("JSON is UTF-8")
    }

    #[test]
    fn the_revision_is_spliced_into_metadata() {
        let object =
            json!({"kind": "A", "metadata": {"name": "x", "resourceVersion": "7", "uid": "u"}});
        assert_eq!(
            revised(&object),
            r#"{"kind":"A","metadata":{"name":"x","resourceVersion":"42","uid":"u"}}"#
        );
    }

    #[test]
    fn missing_metadata_is_made() {
        assert_eq!(
            revised(&json!({"kind": "A"})),
            r#"{"metadata":{"resourceVersion":"42"},"kind":"A"}"#
        );
        assert_eq!(
            revised(&json!({"metadata": {"name": "x"}})),
            r#"{"metadata":{"name":"x","resourceVersion":"42"}}"#
        );
    }
}
