//! Puts a new revision into an encoded object without parsing it.
//!
//! A deletion's last state carries the deletion's revision. The object is already encoded, so its bytes are
//! walked (strings skipped whole, brackets counted) to the place of `metadata.resourceVersion`, and only the
//! number there is replaced. It owns no state and never fails: bytes it cannot read yield `None`.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use crate::key::Revision;

/// `bytes` with `revision` as `metadata.resourceVersion`; `None` when it has no such text field.
pub(crate) fn with_revision(bytes: &[u8], revision: Revision) -> Option<Bytes> {
    let metadata = member(bytes, 0, b"metadata")?;
    let value = member(bytes, metadata, b"resourceVersion")?;
    let place = string(bytes, value)?;
    let digits = revision.to_string();
    let mut out = BytesMut::with_capacity(bytes.len() + digits.len());
    out.put_slice(bytes.get(..place.start)?);
    out.put_slice(digits.as_bytes());
    out.put_slice(bytes.get(place.end..)?);
    Some(out.freeze())
}

/// Where the value of a member starts, in the object that starts at `at`.
fn member(bytes: &[u8], at: usize, wanted: &[u8]) -> Option<usize> {
    let mut at = space(bytes, at);
    if *bytes.get(at)? != b'{' {
        return None;
    }
    loop {
        at = space(bytes, at + 1);
        let name = string(bytes, at)?;
        at = space(bytes, name.end + 1);
        if *bytes.get(at)? != b':' {
            return None;
        }
        at = space(bytes, at + 1);
        if bytes.get(name)? == wanted {
            return Some(at);
        }
        at = space(bytes, skip(bytes, at)?);
        if *bytes.get(at)? != b',' {
            return None;
        }
    }
}

/// The inside of the string that starts at `at`, without its quotes.
fn string(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    if *bytes.get(at)? != b'"' {
        return None;
    }
    let start = at + 1;
    let mut end = start;
    loop {
        match *bytes.get(end)? {
            b'"' => return Some(start..end),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
}

/// The place behind the value that starts at `at`.
fn skip(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match *bytes.get(at)? {
            b'"' => at = string(bytes, at)?.end,
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return Some(at),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

fn space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(before: &str, after: Option<&str>) {
        let spliced = with_revision(before.as_bytes(), Revision(42));
        assert_eq!(spliced.as_deref(), after.map(str::as_bytes));
    }

    #[test]
    fn only_the_objects_own_revision_is_replaced() {
        check(
            r#"{"a":{"metadata":{"resourceVersion":"1"}},"metadata":{"labels":{"resourceVersion":"2"},"resourceVersion":"3"},"z":"}"}"#,
            Some(
                r#"{"a":{"metadata":{"resourceVersion":"1"}},"metadata":{"labels":{"resourceVersion":"2"},"resourceVersion":"42"},"z":"}"}"#,
            ),
        );
        check(
            r#"{ "q\"}":[1,"]"], "metadata" : { "n":null, "resourceVersion": "7" } }"#,
            Some(r#"{ "q\"}":[1,"]"], "metadata" : { "n":null, "resourceVersion": "42" } }"#),
        );
    }

    #[test]
    fn what_has_no_revision_is_left_alone() {
        for bytes in
            ["", "{", "{}", "[]", r#"{"metadata":{}}"#, r#"{"metadata":{"resourceVersion":7}}"#]
        {
            check(bytes, None);
        }
        check(r#"{"metadata":{"resourceVersion":"\"#, None);
    }
}
