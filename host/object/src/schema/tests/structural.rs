//! Which schemas of definitions are refused: those that are not structural, by what they lack.

use super::*;

fn refusals(schema: Value) -> Vec<String> {
    match Schema::from_crd(&schema, "s") {
        Ok(_) => Vec::new(),
        Err(errors) => errors.into_iter().map(|e| format!("{} {e}", e.kind.reason())).collect(),
    }
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    let a = |of: Value| json!({"type": "object", "properties": {"a": of}});
    let list = |keys: Value, items: Value| {
        json!({"type": "array", "items": items,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys})
    };
    for (schema, expected) in [
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "default": {"name": "x"}}}}),
            "FieldValueForbidden s.properties[metadata].default: Forbidden: must not be set in top-level metadata",
        ),
        (
            a(
                json!({"type": "object", "default": {}, "required": ["x"], "properties": {"x": {"type": "string"}}}),
            ),
            "FieldValueRequired s.properties[a].default.x: Required value",
        ),
        (
            a(json!({"type": "string", "default": 1})),
            r#"FieldValueTypeInvalid s.properties[a].default: Invalid value: "integer":  in body must be of type string: "integer""#,
        ),
        (
            a(json!({"type": "string", "default": "y", "enum": ["x"]})),
            r#"FieldValueNotSupported s.properties[a].default: Unsupported value: "y": supported values: "x""#,
        ),
        (
            a(json!({"type": "integer", "default": 1, "minimum": 5})),
            "FieldValueInvalid s.properties[a].default: Invalid value: 1:  in body should be greater than or equal to 5",
        ),
        (
            a(json!({"type": "string", "pattern": "("})),
            "FieldValueInvalid s.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression, but \
             isn't: error parsing regexp: missing closing ): `(`",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"zz": {"minimum": 1}}}]}),
            "FieldValueRequired s.properties[zz]: Required value: because it is defined in s.anyOf[0].properties[zz]",
        ),
        (
            a(json!({"type": "array", "items": {"type": "string"}, "additionalItems": false})),
            "FieldValueForbidden s.properties[a].additionalItems: Forbidden: additionalItems is not supported",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            "FieldValueForbidden s.additionalProperties: Forbidden: must not be used at the root",
        ),
        (
            a(json!({"type": "file"})),
            r#"FieldValueNotSupported s.properties[a].type: Unsupported value: "file": supported values: "array", "boolean", "integer", "number", "object", "string""#,
        ),
        (
            json!({"type": "object", "properties": {"apiVersion": {"type": "integer"}}}),
            r#"FieldValueInvalid s.properties[apiVersion].type: Invalid value: "integer": must be string"#,
        ),
        (
            a(json!({"type": "string", "oneOf": [{"default": "x"}]})),
            "FieldValueForbidden s.properties[a].oneOf[0].default: Forbidden: must be undefined to be structural",
        ),
        (
            a(json!({"type": "string", "not": {"description": "x"}})),
            "FieldValueForbidden s.properties[a].not.description: Forbidden: must be empty to be structural",
        ),
        (
            a(json!({"type": "array", "items": {}})),
            "FieldValueRequired s.properties[a].items.type: Required value: must not be empty for specified array items",
        ),
        (
            a(list(
                json!(["z"]),
                json!({"type": "object", "properties": {"k": {"type": "string"}}}),
            )),
            r#"FieldValueInvalid s.properties[a].x-kubernetes-list-map-keys: Invalid value: ["z"]: entries must all be names of item properties"#,
        ),
        (
            a(list(
                json!(["k", "k"]),
                json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}),
            )),
            r#"FieldValueInvalid s.properties[a].x-kubernetes-list-map-keys: Invalid value: ["k","k"]: must not contain duplicate entries"#,
        ),
        (
            a(list(json!(["k"]), json!({"type": "string"}))),
            r#"FieldValueInvalid s.properties[a].items.type: Invalid value: "string": must be object if parent array's x-kubernetes-list-type is map"#,
        ),
        (
            a(list(json!([]), json!({"type": "object", "properties": {"k": {"type": "string"}}}))),
            "FieldValueRequired s.properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            a(json!({"type": "object", "x-kubernetes-list-type": "atomic"})),
            r#"FieldValueInvalid s.properties[a].type: Invalid value: "object": must be array if x-kubernetes-list-type is specified"#,
        ),
        (
            a(json!({"type": "object", "x-kubernetes-map-type": "odd"})),
            r#"FieldValueNotSupported s.properties[a].x-kubernetes-map-type: Unsupported value: "odd": supported values: "atomic", "granular""#,
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {
            "type": "object", "maxProperties": 1}}}}}),
            "FieldValueForbidden s.properties[metadata]: Forbidden: must not specify anything other than name and \
             generateName, but metadata is implicitly specified",
        ),
        (
            json!({"properties": {"a": {"type": "string"}}}),
            "FieldValueRequired s.type: Required value: must not be empty at the root",
        ),
        (
            a(list(
                json!(["k"]),
                json!({"type": "object", "required": ["k"], "properties": {"k": {
            "type": "string", "nullable": true}}}),
            )),
            "FieldValueForbidden s.properties[a].items.properties[k].nullable: Forbidden: this property is in \
             x-kubernetes-list-map-keys, so it cannot be nullable",
        ),
        (
            a(json!({"$ref": "#/definitions/x"})),
            "FieldValueForbidden s.properties[a].$ref: Forbidden: $ref is not supported",
        ),
        (
            a(json!({"type": "string", "allOf": [{"type": "string"}]})),
            "FieldValueForbidden s.properties[a].allOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            a(
                json!({"type": "array", "items": {"type": "object", "required": ["k"], "properties": {"k": {
            "type": "string"}}}, "x-kubernetes-list-map-keys": ["k"]}),
            ),
            "FieldValueRequired s.properties[a].x-kubernetes-list-type: Required value: must be map if \
             x-kubernetes-list-map-keys is non-empty",
        ),
    ] {
        assert_eq!(refusals(schema.clone()), [expected], "{schema}");
    }
    assert_eq!(
        refusals(a(
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "string"}, {"type": "integer"}]})
        )),
        [
            "FieldValueForbidden s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
            "FieldValueForbidden s.properties[a].anyOf[1].type: Forbidden: must be empty to be structural"
        ]
    );
}

#[test]
fn odd_but_harmless_schemas_are_accepted() {
    for schema in [
        json!({"a": {"type": "string", "default": null}}),
        json!({"a": {"type": "object", "additionalProperties": false}}),
        json!({"a": {"type": "string", "enum": ["x", "x"]}}),
        json!({"a": {"type": "integer", "minimum": 5, "maximum": 1}}),
        json!({"a": {"type": "string", "x-kubernetes-preserve-unknown-fields": true}}),
    ] {
        let schema =
            json!({"type": "object", "properties": schema, "frob": 1, "required": ["a", "a"]});
        assert_eq!(refusals(schema.clone()), Vec::<String>::new(), "{schema}");
    }
}
