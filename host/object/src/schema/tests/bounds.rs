//! What a client's errors take: few words for an object or a definition that is wrong in many places.

use super::*;

/// What no list of errors may exceed.
const TOLD_BYTES_MAX: usize = 2_000_000;

/// How many bytes a list of errors takes.
fn told(errors: impl IntoIterator<Item = FieldError>) -> usize {
    errors.into_iter().map(|error| error.field.len() + error.message.len()).sum()
}

fn is_short(size: usize) -> bool {
    (1..TOLD_BYTES_MAX).contains(&size)
}

/// A map of lists below `spec.m`.
fn map_of_lists(items: &Value) -> Schema {
    custom(json!({"type": "object", "properties": {"m": {
        "type": "object", "additionalProperties": {"type": "array", "items": items},
    }}}))
}

fn under_a_long_key(items: Value) -> Map<String, Value> {
    map(json!({"spec": {"m": {"k".repeat(10_000): items}}}))
}

fn whole_objects() -> Value {
    json!({"type": "object", "x-kubernetes-embedded-resource": true,
        "x-kubernetes-preserve-unknown-fields": true})
}

#[test]
fn an_object_that_is_wrong_in_many_places_under_a_long_key_is_refused_in_few_words() {
    let many_values: Vec<i32> = (10..500).collect();
    let numbers = under_a_long_key(vec![1; 10_000].into());
    for items in [
        json!({"type": "string"}),
        json!({"type": "integer", "minimum": 2}),
        json!({"type": "integer", "enum": many_values}),
        json!({"type": "integer", "anyOf": [{"maximum": 0}, {"maximum": -1}]}),
        json!({"type": "integer", "not": {"minimum": 0}}),
    ] {
        let size = told(map_of_lists(&items).validate(&numbers, None));
        assert!(is_short(size), "{size} bytes for {items}");
    }
    let bare = under_a_long_key(vec![json!({"metadata": {"name": "/"}}); 10_000].into());
    let size = told(map_of_lists(&whole_objects()).validate(&bare, None));
    assert!(is_short(size), "{size} bytes of whole objects");
    let set = custom(json!({"type": "object", "properties": {"m": {"type": "object",
        "additionalProperties": {"type": "array", "x-kubernetes-list-type": "set",
        "items": {"type": "string"}}}}}));
    let twice: Vec<String> = (0..20_000).map(|n| (n % 10_000).to_string()).collect();
    let size = told(set.validate(&under_a_long_key(twice.into()), None));
    assert!(is_short(size), "{size} bytes of a set");
}

#[test]
fn a_long_value_is_shown_by_its_start() {
    let schema = field(json!({"type": "string", "pattern": "^a$"}));
    let object = map(json!({"spec": {"f": "b".repeat(1_000_000)}}));
    let errors = schema.validate(&object, None);
    let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    assert!(messages[0].starts_with("Invalid value: \"bbb"), "{}", &messages[0][..80]);
    assert!(messages[0].ends_with("spec.f in body should match '^a$'"), "its reason is told");
    assert!(messages[0].len() < 100_000, "{} bytes", messages[0].len());
}

#[test]
fn what_is_wrong_in_many_places_and_did_not_change_hides_nothing_new() {
    let schema = custom(json!({"type": "object", "properties": {
        "a": {"type": "array", "items": {"type": "string"}}, "z": {"type": "string"},
    }}));
    let many: Value = vec![1; 5_000].into();
    let before = map(json!({"spec": {"a": many, "z": "fine"}}));
    let found = |spec: Value| -> Vec<String> {
        let errors = schema.validate(&map(json!({"spec": spec})), Some(&before));
        errors.into_iter().map(|error| error.field).collect()
    };
    assert_eq!(found(json!({"a": many, "z": 1})), ["spec.z"]);
    assert_eq!(found(json!({"a": many, "z": "new"})), [""; 0]);
    assert_eq!(found(json!({"a": vec![2; 5_000], "z": "new"})).len(), 1_000);
}

#[test]
fn a_definition_that_is_wrong_in_many_places_is_refused_in_few_words() {
    let unknown: Vec<String> = (0..5_000).map(|n| format!("key{n}")).collect();
    let list = json!({"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": unknown,
        "items": {"type": "object", "properties": {"k": {"type": "string"}}}});
    let schema = json!({"type": "object", "properties": {"l": list}});
    let size = told(Schema::check_crd(&schema, "s").into_all());
    assert!(is_short(size), "{size} bytes of keys");
    let untyped: Map<String, Value> = (0..2_000).map(|n| (format!("f{n}"), json!({}))).collect();
    let schema = json!({"type": "object", "properties": {
        "k".repeat(10_000): {"type": "object", "properties": untyped}}});
    let size = told(Schema::check_crd(&schema, "s").into_all());
    assert!(is_short(size), "{size} bytes of fields");
    let twice = json!({"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": vec!["k"; 100_000],
        "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}});
    let schema = json!({"type": "object", "properties": {"l": twice}});
    let size = told(Schema::check_crd(&schema, "s").into_all());
    assert!(is_short(size), "{size} bytes of keys that stand twice");
}
