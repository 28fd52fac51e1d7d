//! Random schemas and objects: judging one never panics, and what was judged sound can be served.

use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::schema::{Nulls, Schema};

/// Every keyword that means something, so that random schemas reach the rules.
const KEYWORDS: &[&str] = &[
    "type",
    "properties",
    "items",
    "additionalProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "default",
    "required",
    "enum",
    "pattern",
    "format",
    "nullable",
    "minimum",
    "maxLength",
    "maxItems",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-validations",
    "metadata",
    "a",
    "b",
];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        prop::sample::select(
            &[
                "object",
                "array",
                "string",
                "integer",
                "map",
                "set",
                "atomic",
                "a",
                "b",
                "(",
                "[a-z",
                "^\\d{2,}$",
                ".a['b']",
                "ipv4",
                "",
            ][..]
        )
        .prop_map(Value::from),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(6, 96, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec((prop::sample::select(KEYWORDS), inner), 0..6).prop_map(|all| {
                let all = all.into_iter().map(|(key, value)| (key.to_owned(), value));
                Value::Object(all.collect::<Map<_, _>>())
            }),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    tree().prop_map(|value| value.as_object().cloned().unwrap_or_default())
}

proptest! {
    #[test]
    fn is_judged_and_used_without_harm(
        schema in object(),
        before in object(),
        mut after in object(),
    ) {
        let schema = Value::Object(schema);
        drop(Schema::check_crd(&schema, "s").into_all());
        let compiled = Schema::from_checked(&schema);
        compiled.fill_defaults(&mut after, Nulls::Drop);
        drop(compiled.prune(&mut after));
        drop(compiled.validate(&after, Some(&before)));
        prop_assert_eq!(compiled.validate(&after, Some(&after)).iter().filter(|error| {
            // Lists and embedded objects are judged by themselves; all else that stays is tolerated.
            !matches!(error.kind, crate::FieldErrorKind::Duplicate) && !error.message.contains("list-type map")
        }).filter(|error| !error.field.contains("apiVersion") && !error.field.contains("kind") && !error.field.contains("metadata")).count(), 0);
    }
}
