//! Bodies recorded from Go clients, and properties of the decoder and the encoder.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::time::Timestamp;

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

/// Makes objects by the table, in the form that the decoder gives them: nothing empty but what Go keeps.
struct Maker(u64);

impl Maker {
    fn below(&mut self, end: u64) -> u64 {
        // Steele's and Vigna's splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn message(&mut self, at: usize, depth: u64) -> Map<String, Value> {
        let mut object = Map::new();
        for field in table::message(at).expect("a place in the table").fields() {
            if self.below(depth + 1) != 0 {
                continue;
            }
            let value = if field.map {
                let entries = (0..=self.below(2))
                    .map(|n| (format!("key{n}"), self.one(field, depth)))
                    .filter(|(_, value)| !value.is_null());
                Value::Object(entries.collect())
            } else if field.repeated {
                (0..=self.below(2))
                    .map(|_| self.one(field, depth))
                    .filter(|v| !v.is_null())
                    .collect()
            } else {
                self.one(field, depth)
            };
            let nothing = match &value {
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty() && (field.map || !field.keeps_zero),
                other => other.is_null(),
            };
            match value {
                Value::Object(nested) if field.inline => object.extend(nested),
                _ if nothing => {}
                value => drop(object.insert(field.name.to_owned(), value)),
            }
        }
        object
    }

    fn one(&mut self, field: &table::Field, depth: u64) -> Value {
        let zero = field.keeps_zero && !field.map && !field.repeated && self.below(4) == 0;
        let n = if zero { 0 } else { self.below(1 << 20) + 1 };
        match field.r#type {
            table::Type::Text if zero => json!(""),
            table::Type::Text => json!(format!("t{n}\u{e9}")),
            table::Type::Integer32 => {
                json!(i64::try_from(n).expect("small") * if n % 2 == 0 { 1 } else { -1 })
            }
            table::Type::Integer64 => json!(i64::try_from(n).expect("small") << 30),
            table::Type::Boolean => json!(!zero),
            table::Type::Double => json!(f64::from(u32::try_from(n).expect("small")) / 4.0),
            table::Type::Bytes => json!(STANDARD.encode(format!("{n:0200}"))),
            table::Type::Time => {
                json!(Timestamp::from_seconds(i64::try_from(n).expect("small")).to_rfc3339())
            }
            table::Type::MicroTime => {
                json!(Timestamp(i64::try_from(n).expect("small") * 1_000_007).to_rfc3339_micros())
            }
            table::Type::Quantity => {
                json!(["0", "100m", "1Gi", "3", "2k"][usize::try_from(n % 5).expect("small")])
            }
            table::Type::IntOrString if n % 2 == 0 => json!(n),
            table::Type::IntOrString => json!(format!("{n}%")),
            table::Type::Json | table::Type::Raw => json!({"a": [n, null, {"b": "c"}]}),
            table::Type::Texts => json!(["a", "", format!("{n}")]),
            table::Type::SchemaOr if depth > 3 => Value::Null,
            table::Type::SchemaOr if field.name == "dependencies" => json!(["a", "b"]),
            table::Type::SchemaOr if field.name == "items" && n % 2 == 0 => {
                json!([self.schema(depth), self.schema(depth)])
            }
            table::Type::SchemaOr if n % 2 == 0 && field.name != "items" => json!(n % 4 == 0),
            table::Type::SchemaOr => self.schema(depth),
            table::Type::Message(_) if depth > 5 => Value::Null,
            table::Type::Message(at) => Value::Object(self.message(at, depth + 1)),
        }
    }

    fn schema(&mut self, depth: u64) -> Value {
        let at = table::of_kind("apiextensions.k8s.io/v1", "JSONSchemaProps").expect("known");
        Value::Object(self.message(at, depth + 1))
    }
}

/// Every kind that has metadata, with an `apiVersion` that leads to it.
fn kinds() -> Vec<(String, &'static str)> {
    let names = include_str!("../../data/protobuf.txt").lines().filter_map(|l| l.strip_prefix('@'));
    let kinds = names.filter_map(|name| match *name.split('.').collect::<Vec<_>>() {
        ["core", version, kind] => Some((version.to_owned(), kind)),
        [group, version, kind] if group != "machinery" => {
            Some((format!("{group}/{version}"), kind))
        }
        _ => None,
    });
    kinds.chain([("v1".to_owned(), "Status"), ("v1".to_owned(), "APIResourceList")]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn what_is_encoded_reads_back_for_every_kind(seed in any::<u64>()) {
        let mut maker = Maker(seed);
        for (api_version, kind) in kinds() {
            let at = table::of_kind(&api_version, kind).expect("in the table");
            let mut object = maker.message(at, 0);
            object.insert("apiVersion".to_owned(), api_version.clone().into());
            object.insert("kind".to_owned(), kind.into());
            let body = encode(&object).expect("in the table");
            let back = decode(&body);
            prop_assert_eq!(back, Ok(Value::Object(object)), "{} {}", api_version, kind);
        }
    }
}

#[test]
fn recorded_bodies_survive_a_round() {
    for line in include_str!("../../data/recorded/protobuf.txt").lines() {
        let (kind, body) = line.split_once(' ').expect("two words");
        let value = decode(&STANDARD.decode(body).expect("base64")).expect(kind);
        let again = encode(value.as_object().expect("an object")).expect(kind);
        assert_eq!(decode(&again), Ok(value), "{kind}");
    }
}

#[test]
fn what_a_patch_did_not_touch_is_shown_in_the_order_of_its_type() {
    let object = json!({
        "apiVersion": "v1", "data": {"k": "w"}, "kind": "ConfigMap", "zz": 1, "metadata": {
            "creationTimestamp": "t", "labels": {"b": "1", "a": "2"}, "name": "n", "uid": "u",
            "managedFields": [{"apiVersion": "v1", "manager": "m", "operation": "Update"}],
        },
    });
    let shown = |touched: Value| {
        as_patched("v1", "ConfigMap", object.as_object().expect("an object"), &touched)
    };
    let managed = r#""managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1"}]"#;
    assert_eq!(
        shown(json!({"data": {"k": "w"}, "zz": 1})),
        format!(
            r#"{{"apiVersion":"v1","data":{{"k":"w"}},"kind":"ConfigMap","metadata":{{"name":"n","uid":"u","creationTimestamp":"t","labels":{{"a":"2","b":"1"}},{managed}}},"zz":1}}"#
        )
    );
    assert_eq!(
        shown(json!({"metadata": {"name": "n"}})),
        format!(
            r#"{{"apiVersion":"v1","data":{{"k":"w"}},"kind":"ConfigMap","metadata":{{"creationTimestamp":"t","labels":{{"a":"2","b":"1"}},{managed},"name":"n","uid":"u"}},"zz":1}}"#
        )
    );
}

#[test]
fn lists_and_watch_events_have_the_form_of_go_clients() {
    let item = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let mut items = Vec::new();
    let encoder = ItemEncoder::new("v1", "ConfigMap").expect("built in");
    encoder.write(&mut items, item.as_object().expect("an object"));
    let metadata = json!({"resourceVersion": "7", "remainingItemCount": 0});
    let metadata = metadata.as_object().expect("an object");
    let list = [list_head("v1", "ConfigMapList", metadata, items.len()), items].concat();
    let read =
        json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": [item]});
    assert_eq!(decode(&list), Ok(read));
    let event = watch_event("ADDED", b"body");
    assert_eq!(event, b"\0\0\0\x0f\x0a\x05ADDED\x12\x06\x0a\x04body");
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
