//! Schemas against facts recorded from kube-apiserver 1.36.

#![expect(clippy::too_many_lines, reason = "tables of recorded facts")]
#![expect(clippy::needless_pass_by_value, reason = "test helpers take what `json!` makes")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

mod any_schema;
mod bounds;
mod structural;

use serde_json::{Map, Value, json};

use super::{Nulls, Schema};
use crate::error::FieldError;
use crate::name::Gvk;

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn deployment() -> Schema {
    Schema::builtin(&Gvk::new("apps", "v1", "Deployment")).expect("a built-in kind")
}

fn config_map() -> Schema {
    Schema::builtin(&Gvk::new("", "v1", "ConfigMap")).expect("a built-in kind")
}

#[test]
fn of_many_unknown_fields_the_first_are_told_and_all_go() {
    let mut object: Map<String, Value> = (0..5_000).map(|n| (format!("u{n}"), n.into())).collect();
    object.insert("x".repeat(100_000), 1.into());
    object.insert("data".to_owned(), json!({"a": "b"}));
    let told = config_map().prune(&mut object);
    assert_eq!(told.len(), 100);
    assert_eq!(Value::from(object), json!({"data": {"a": "b"}}));
}

#[test]
fn wrong_types_are_refused_in_the_decoders_words() {
    let refused =
        |schema: &Schema, object: Value| schema.check_types(&map(object)).expect_err("wrong");
    for (object, message) in [
        (
            json!({"spec": {"replicas": "x"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"name": 1}]}}}}),
            "json: cannot unmarshal number into Go struct field \
             Container.spec.template.spec.containers.name of type string",
        ),
    ] {
        assert_eq!(refused(&deployment(), object), message);
    }
    for (object, message) in [
        (
            json!({"data": "x"}),
            "json: cannot unmarshal string into Go struct field ConfigMap.data of type map[string]string",
        ),
        (
            json!({"data": {"k": 1}}),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            json!({"metadata": "x"}),
            "json: cannot unmarshal string into Go struct field ConfigMap.metadata of type v1.ObjectMeta",
        ),
        (json!({"binaryData": {"k": "***"}}), "illegal base64 data at input byte 0"),
    ] {
        assert_eq!(refused(&config_map(), object), message);
    }
    assert_eq!(
        Schema::check_metadata(&json!({"labels": {"a": 1}})).expect_err("wrong"),
        "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"
    );
    assert_eq!(
        deployment().check_types(&map(json!({"spec": {"replicas": 3, "template": {"spec": {
        "containers": [{"name": "c", "resources": {"limits": {"cpu": 1.5, "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"port": "http"}}}]}}}}))),
        Ok(())
    );
}

#[test]
fn every_served_kind_has_a_schema() {
    for (group, version, kind) in [
        ("", "v1", "Namespace"),
        ("apps", "v1", "ReplicaSet"),
        ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
        ("coordination.k8s.io", "v1", "Lease"),
        ("events.k8s.io", "v1", "Event"),
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "v1", "APIService"),
        ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"),
        ("autoscaling", "v1", "Scale"),
        ("meta.k8s.io", "v1", "DeleteOptions"),
    ] {
        assert!(
            Schema::builtin(&Gvk::new(group, version, kind)).is_some(),
            "{group}/{version} {kind}"
        );
    }
    assert!(Schema::builtin(&Gvk::new("", "v1", "Nothing")).is_none());
}

#[test]
fn unknown_fields_are_dropped_and_named() {
    let mut object =
        map(json!({"metadata": {"name": "a", "nope": 1}, "data": {"k": "v"}, "extra": {"x": 1}}));
    let mut dropped = config_map().prune(&mut object);
    dropped.sort();
    assert_eq!(dropped, ["extra", "metadata.nope"]);
    assert_eq!(Value::Object(object), json!({"metadata": {"name": "a"}, "data": {"k": "v"}}));
    let mut object =
        map(json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "imag": "x"}]}}}}));
    assert_eq!(deployment().prune(&mut object), ["spec.template.spec.containers[0].imag"]);
}

/// A custom resource's schema with one `spec`.
fn custom(spec: Value) -> Schema {
    let schema = json!({"type": "object", "properties": {"spec": spec,
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    Schema::from_crd(&schema, "spec.validation.openAPIV3Schema").expect("a structural schema")
}

fn field(of: Value) -> Schema {
    custom(json!({"type": "object", "properties": {"f": of}}))
}

#[test]
fn defaults_add_no_more_than_an_object_may_take() {
    // Of what a body of three megabytes can hold of empty items.
    let filled = |item: Value, count: usize| {
        let schema =
            field(json!({"type": "array", "items": {"type": "object", "properties": item}}));
        let mut object = map(json!({"spec": {"f": vec![json!({}); count]}}));
        schema.fill_defaults(&mut object, Nulls::Drop);
        let items = object["spec"]["f"].as_array().cloned().expect("a list");
        (items.iter().filter(|item| **item != json!({})).count(), items.len())
    };
    let long = json!({"a": {"type": "string", "default": "l".repeat(1 << 20)}});
    assert_eq!(filled(long, 300_000), (7, 300_000));
    let short = json!({"a": {"type": "integer", "default": 1}});
    assert_eq!(filled(short.clone(), 300_000), (262_144, 300_000));
    assert_eq!(filled(short, 200_000), (200_000, 200_000), "all of what can be stored");
}

fn errors(schema: &Schema, spec: Value) -> Vec<String> {
    let object =
        map(json!({"apiVersion": "g/v1", "kind": "W", "metadata": {"name": "w"}, "spec": spec}));
    let mut object = object;
    schema.fill_defaults(&mut object, Nulls::Drop);
    let reasons = |e: FieldError| format!("{} {e}", e.kind.reason());
    schema.validate(&object, None).into_iter().map(reasons).collect()
}

#[test]
fn values_are_refused_in_the_servers_words() {
    let cases = [
        (
            json!({"type": "integer"}),
            json!("1"),
            vec![
                r#"FieldValueTypeInvalid spec.f: Invalid value: "string": spec.f in body must be of type integer: "string""#,
            ],
        ),
        (
            json!({"type": "integer"}),
            json!(1.5),
            vec![
                r#"FieldValueInvalid <nil>: Invalid value: "": Checked value must be of type integer (default format) in spec.f"#,
                r#"FieldValueTypeInvalid spec.f: Invalid value: "number": spec.f in body must be of type integer: "number""#,
            ],
        ),
        (
            json!({"type": "integer", "format": "int32"}),
            json!(2_147_483_648_u64),
            vec![
                r#"FieldValueInvalid <nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.f"#,
            ],
        ),
        (
            json!({"type": "integer", "anyOf": [{"maximum": 2}, {"minimum": 10}]}),
            json!(5),
            vec![
                r#"FieldValueInvalid <nil>: Invalid value: "": "spec.f" must validate at least one schema (anyOf)"#,
                "FieldValueInvalid spec.f: Invalid value: 5: spec.f in body should be less than or equal to 2",
            ],
        ),
        (
            json!({"type": "integer", "oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}),
            json!(6),
            vec![
                r#"FieldValueInvalid <nil>: Invalid value: "": "spec.f" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ],
        ),
        (
            json!({"type": "number", "minimum": 2, "exclusiveMinimum": true}),
            json!(2),
            vec![
                "FieldValueInvalid spec.f: Invalid value: 2: spec.f in body should be greater than 2",
            ],
        ),
        (
            json!({"type": "number", "multipleOf": 0.5}),
            json!(1.3),
            vec![
                "FieldValueInvalid spec.f: Invalid value: 1.3: spec.f in body should be a multiple of 0.5",
            ],
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(1.5),
            vec![
                r#"FieldValueTypeInvalid spec.f: Invalid value: "number": spec.f in body must be of type integer,string: "number""#,
            ],
        ),
        (
            json!({"type": "string", "maxLength": 3}),
            json!("abcd"),
            vec!["FieldValueTooLong spec.f: Too long: may not be more than 3 bytes"],
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            vec![
                r#"FieldValueInvalid spec.f: Invalid value: "a": spec.f in body should be at least 2 chars long"#,
            ],
        ),
        (
            json!({"type": "string", "pattern": "^[a-z]{2}$"}),
            json!("a\nb"),
            vec![
                r#"FieldValueInvalid spec.f: Invalid value: "a\nb": spec.f in body should match '^[a-z]{2}$'"#,
            ],
        ),
        (
            json!({"type": "string", "enum": ["x"]}),
            json!("y"),
            vec![r#"FieldValueNotSupported spec.f: Unsupported value: "y": supported values: "x""#],
        ),
        (
            json!({"type": "string", "format": "cidr"}),
            json!("10.0.0.0/33"),
            vec![
                r#"FieldValueTypeInvalid spec.f: Invalid value: "10.0.0.0/33": spec.f in body must be of type cidr: "10.0.0.0/33""#,
            ],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
            json!(["a", "a"]),
            vec![r#"FieldValueDuplicate spec.f[1]: Duplicate value: "a""#],
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}}),
            json!([{"k": "1"}, {"k": "1"}]),
            vec![r#"FieldValueDuplicate spec.f[1]: Duplicate value: {"k":"1"}"#],
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "object", "required": ["q"],
            "properties": {"q": {"type": "integer"}}}}),
            json!({"x": {}}),
            vec!["FieldValueRequired spec.f.x.q: Required value"],
        ),
        (
            json!({"type": "array", "items": {"type": "array", "items": {"type": "integer", "maximum": 3}}}),
            json!([[1], [4]]),
            vec![
                "FieldValueInvalid spec.f[1][0]: Invalid value: 4: spec.f[1][0] in body should be less than or equal to 3",
            ],
        ),
        (
            json!({"type": "array", "items": {"type": "object"}}),
            json!([null]),
            vec![
                r#"FieldValueTypeInvalid spec.f[0]: Invalid value: "null": spec.f[0] in body must be of type object: "null""#,
            ],
        ),
    ];
    for (schema, value, expected) in cases {
        assert_eq!(
            errors(&field(schema.clone()), json!({"f": value.clone()})),
            expected,
            "{schema} {value}"
        );
    }
    assert_eq!(
        errors(&custom(json!({"type": "object"})), json!("x")),
        [
            r#"FieldValueTypeInvalid spec: Invalid value: "string": spec in body must be of type object: "string""#
        ]
    );
}

#[test]
fn good_values_pass() {
    for (schema, value) in [
        (json!({"type": "integer"}), json!(1.0)),
        (json!({"type": "integer"}), json!(null)),
        (json!({"type": "string", "minLength": 2, "maxLength": 3}), json!("ééé")),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": "^[0-9]+%?$"}),
            json!("50%"),
        ),
        (json!({"type": "string", "nullable": true}), json!(null)),
        (json!({"type": "string", "pattern": "b+"}), json!("abc")),
        (json!({"type": "number", "format": "double"}), json!(1e300)),
    ] {
        assert_eq!(
            errors(&field(schema.clone()), json!({"f": value})),
            Vec::<String>::new(),
            "{schema}"
        );
    }
}

#[test]
fn formats_accept_and_refuse_what_the_server_does() {
    for (format, good, bad) in [
        ("bsonobjectid", vec!["507f1f77bcf86cd799439011"], vec!["xyz"]),
        ("byte", vec!["YWJj"], vec!["***"]),
        ("cidr", vec!["10.0.0.0/8", "2001:db8::/32"], vec!["10.0.0.0", "10.0.0.0/33"]),
        ("creditcard", vec!["4111111111111111"], vec!["1234"]),
        ("date", vec!["2020-01-31"], vec!["2020-13-01", "2020-01-31T00:00:00Z", "x"]),
        (
            "date-time",
            vec!["2020-01-31T01:02:03Z", "2020-01-31T01:02:03.5+01:00"],
            vec!["2020-01-31", "2020-01-31 01:02:03", "x"],
        ),
        ("duration", vec!["5s", "1h30m", "2 days"], vec!["5", "x", "1y"]),
        ("email", vec!["a@b.example"], vec!["a", "a@"]),
        ("hexcolor", vec!["#fff", "#a1b2c3"], vec!["fff0", "#ggg"]),
        ("hostname", vec!["a.example.com"], vec!["a_b", "-a"]),
        ("ipv4", vec!["1.2.3.4"], vec!["1.2.3", "256.1.1.1", "::1"]),
        ("k8s-short-name", vec!["abc"], vec!["A_B"]),
        ("mac", vec!["01:23:45:67:89:ab"], vec!["01:23:45"]),
        ("password", vec!["any"], vec![]),
        ("rgbcolor", vec!["rgb(1,2,3)"], vec!["rgb(300,2,3)"]),
        ("ssn", vec!["111-22-3333"], vec!["111"]),
        ("uri", vec!["http://example.com/x?y"], vec!["not a uri"]),
        (
            "uuid4",
            vec!["123e4567-e89b-42d3-a456-426614174000"],
            vec!["123e4567-e89b-12d3-a456-426614174000"],
        ),
        ("isbn10", vec!["0-306-40615-2"], vec!["0-306-40615-3"]),
        ("isbn13", vec!["978-0-306-40615-7"], vec!["978-0-306-40615-8"]),
    ] {
        for text in good {
            assert!(super::format::holds(format, text), "{format} {text}");
        }
        for text in bad {
            assert!(!super::format::holds(format, text), "{format} {text}");
        }
    }
}

#[test]
fn defaults_are_filled_at_every_depth() {
    let schema = custom(json!({"type": "object", "properties": {
        "ap": {"type": "object", "additionalProperties": {"type": "object", "properties": {
            "p": {"type": "string", "default": "TCP"}}}},
        "b": {"type": "boolean", "default": false}, "i": {"type": "integer", "default": 7},
        "nn": {"type": "string", "default": "n", "nullable": true}, "z": {"type": "string"},
        "o": {"type": "object", "default": {}, "properties": {"in": {"type": "string", "default": "deep"}}},
        "lo": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
    }}));
    let mut object = map(
        json!({"spec": {"nn": null, "z": null, "i": null, "lo": [{}, {"p": "UDP"}], "ap": {"x": {}}}}),
    );
    schema.fill_defaults(&mut object, Nulls::Drop);
    assert_eq!(
        Value::Object(object),
        json!({"spec": {"nn": null, "b": false, "i": 7, "o": {"in": "deep"},
        "lo": [{"p": "TCP"}, {"p": "UDP"}], "ap": {"x": {"p": "TCP"}}}})
    );
}

#[test]
fn pruning_respects_what_is_preserved() {
    let schema = custom(json!({"type": "object", "properties": {"o": {"type": "object",
        "x-kubernetes-preserve-unknown-fields": true, "properties": {"sub": {"type": "object",
        "properties": {"p": {"type": "integer"}}}}}}}));
    let mut object = map(json!({"metadata": {"name": "w", "zip": 1},
        "spec": {"any": {"z": 1}, "o": {"free": {"a": 1}, "sub": {"p": 1, "q": 1}, "x": 1}}, "top": 1}));
    assert_eq!(schema.prune(&mut object), ["metadata.zip", "spec.any", "spec.o.sub.q", "top"]);
    assert_eq!(
        object.get("spec"),
        Some(&json!({"o": {"free": {"a": 1}, "sub": {"p": 1}, "x": 1}}))
    );
}

#[test]
fn metadata_may_be_restricted_by_name_only() {
    let schema = json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {
        "name": {"type": "string", "maxLength": 5}}}}});
    let schema = Schema::from_crd(&schema, "s").expect("structural");
    let check =
        |name: &str| schema.validate(&map(json!({"metadata": {"name": name, "uid": "u"}})), None);
    assert!(check("good").is_empty());
    let refused: Vec<String> = check("muchtoolong").iter().map(ToString::to_string).collect();
    assert_eq!(refused, ["metadata.name: Too long: may not be more than 5 bytes"]);
}

#[test]
fn what_was_wrong_and_did_not_change_is_tolerated() {
    let schema = custom(json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 2}, "b": {"type": "string"},
        "o": {"type": "object", "required": ["x"], "properties": {"x": {"type": "string"}, "y": {"type": "string"}}},
        "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
            "type": "object", "required": ["k"], "properties": {"k": {"type": "string"},
            "v": {"type": "integer", "maximum": 5}}}},
        "l": {"type": "array", "items": {"type": "integer", "maximum": 5}},
        "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    }}));
    let check = |before: Value, after: Value, expected: &[&str]| {
        let (before, after) = (map(json!({"spec": before})), map(json!({"spec": after})));
        let errors = schema.validate(&after, Some(&before));
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, expected, "{before:?} {after:?}");
    };
    check(json!({"a": "long"}), json!({"a": "long", "b": "1"}), &[]);
    check(json!({"a": "long"}), json!({"a": "else", "b": "1"}), &["spec.a"]);
    check(json!({"b": "long"}), json!({"a": "long"}), &["spec.a"]);
    check(json!({"o": {"y": "1"}}), json!({"o": {"y": "1"}, "b": "1"}), &[]);
    check(json!({"o": {"y": "1"}}), json!({"o": {"y": "2"}}), &["spec.o.x"]);
    let (nine, one) = (json!({"k": "a", "v": 9}), json!({"k": "b", "v": 1}));
    check(json!({"m": [nine]}), json!({"m": [one, nine]}), &[]);
    check(json!({"m": [nine]}), json!({"m": [one, {"k": "c", "v": 9}]}), &["spec.m[1].v"]);
    check(json!({"l": [9]}), json!({"l": [9], "b": "1"}), &[]);
    check(json!({"l": [9]}), json!({"l": [9, 1]}), &["spec.l[0]"]);
    check(json!({"s": ["x", "x"]}), json!({"s": ["x", "y", "y"]}), &[]);
    check(json!({"s": ["x"]}), json!({"s": ["y", "y"]}), &["spec.s[1]"]);
}

#[test]
fn embedded_objects_say_what_they_are() {
    let schema = field(json!({"type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true}));
    for (value, expected) in [
        (json!({"apiVersion": "v1", "kind": "Foo", "metadata": {"name": "Bad_Name"}}), None),
        (json!({"kind": "Foo"}), Some("FieldValueRequired spec.f.apiVersion: Required value")),
        (
            json!({"apiVersion": "a/b/c", "kind": "Foo"}),
            Some(
                "FieldValueInvalid spec.f.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            ),
        ),
        (
            json!({"apiVersion": "v1", "kind": ""}),
            Some("FieldValueInvalid spec.f.kind: Invalid value: \"\": must not be empty"),
        ),
    ] {
        let found = errors(&schema, json!({"f": value.clone()}));
        assert_eq!(found.first().map(String::as_str), expected, "{value}");
    }
}

#[test]
fn nulls_of_what_is_applied_stay_to_be_refused() {
    let schema = custom(json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "d": {"type": "string", "default": "x"},
        "m": {"type": "object", "additionalProperties": {"type": "string"}}}}));
    let mut object = map(json!({"spec": {"n": null, "d": null, "m": {"a": null}}}));
    schema.fill_defaults(&mut object, Nulls::Keep);
    assert_eq!(object.get("spec"), Some(&json!({"n": null, "d": "x", "m": {"a": null}})));
    let fields: Vec<String> = schema.validate(&object, None).into_iter().map(|e| e.field).collect();
    assert_eq!(fields, ["spec.m.a", "spec.n"]);
}
