//! Bodies recorded from Go clients, and properties of the decoder.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn recorded(kind: &str) -> Vec<u8> {
    let text = include_str!("../../data/recorded/protobuf.txt");
    let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
    STANDARD.decode(line.expect(kind)).expect("base64")
}

#[test]
fn every_recorded_body_is_decoded() {
    for line in include_str!("../../data/recorded/protobuf.txt").lines() {
        let (kind, body) = line.split_once(' ').expect("two words");
        let value = decode(&STANDARD.decode(body).expect("base64")).expect(kind);
        assert_eq!(value["kind"].as_str().map(str::to_lowercase).as_deref(), Some(kind));
    }
}

#[test]
fn garbage_gets_the_recorded_messages() {
    let start = "the object provided is unrecognized (must be of type ConfigMap): ";
    for (bytes, message) in [
        (
            &b"garbage"[..],
            "provided data does not appear to be a protobuf message, expected prefix \
             [107 56 115 0] (67617262616765)",
        ),
        (b"k8s\0\xff\xff\xff", "unexpected EOF (6b387300ffffff)"),
        (b"k8s\0", "empty body (6b387300)"),
    ] {
        let error = object(bytes, "ConfigMap").expect_err(message);
        assert_eq!(error.0.strip_prefix(start), Some(message));
    }
}

/// `Unknown` around a message.
fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &type_meta), bytes(2, raw)].concat()
}

fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("seven bits"));
    [out, content.to_vec()].concat()
}

#[test]
fn json_forms_of_their_own_are_made() {
    // spec: leaseDurationSeconds 15, renewTime 1767323045 s and 7000 ns.
    let micro_time = [&[0x08][..], &[0xa5, 0xeb, 0xdc, 0xca, 0x06], &[0x10, 0xd8, 0x36]].concat();
    let spec = [&[0x10, 15][..], &bytes(4, &micro_time)].concat();
    let lease = enveloped("coordination.k8s.io/v1", "Lease", &bytes(2, &spec));
    assert_eq!(
        decode(&lease),
        Ok(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "spec": {"leaseDurationSeconds": 15, "renewTime": "2026-01-02T03:04:05.000007Z"},
        }))
    );
    let secret = bytes(2, &[bytes(1, b"k"), bytes(2, b"\x00\xff")].concat());
    let metadata = bytes(1, &[bytes(1, b"s"), bytes(3, b""), bytes(8, b"")].concat());
    assert_eq!(
        decode(&enveloped("v1", "Secret", &[metadata, secret].concat())),
        Ok(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "AP8="},
        }))
    );
}

#[test]
fn zero_values_are_kept_where_go_keeps_them() {
    // replicas is a pointer and 0, minReadySeconds is not and 0.
    let spec = bytes(2, &[0x08, 0, 0x28, 0]);
    assert_eq!(
        decode(&enveloped("apps/v1", "Deployment", &spec)),
        Ok(json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 0}}))
    );
}

#[test]
fn options_of_a_deletion_belong_to_every_group() {
    let value = decode(&recorded("deleteoptions")).expect("recorded");
    assert_eq!(
        value,
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"})
    );
}

#[test]
fn nesting_and_size_are_bounded() {
    let mut schema = Vec::new();
    for _ in 0..2_000 {
        // `not` of a JSONSchemaProps.
        schema = [&[0xe2, 0x01][..], bytes(0, &schema).get(1..).unwrap_or_default()].concat();
    }
    let version = bytes(4, &bytes(1, &schema));
    let spec = bytes(2, &bytes(7, &version));
    let deep = decode(&enveloped("apiextensions.k8s.io/v1", "CustomResourceDefinition", &spec));
    assert_eq!(deep.map_err(|error| error.0), Err("proto: exceeded max depth".to_owned()));
    let wide = enveloped("v1", "Pod", &bytes(2, &[0x12, 0].repeat(NODES_MAX + 1)));
    assert_eq!(decode(&wide).map_err(|error| error.0), Err("proto: too many values".to_owned()));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(decode(&raw));
        drop(decode(&[&MAGIC[..], &raw].concat()));
        for (version, kind) in [
            ("v1", "Pod"), ("apps/v1", "Deployment"), ("v1", "Event"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ] {
            drop(decode(&enveloped(version, kind, &raw)));
        }
    }

    #[test]
    fn damaged_bodies_are_decoded_or_refused(at in 0..400_usize, byte in any::<u8>()) {
        for kind in ["deployment", "pod", "lease", "ingress"] {
            let mut body = recorded(kind);
            if let Some(place) = body.get_mut(at) {
                *place = byte;
            }
            drop(decode(&body));
        }
    }
}
