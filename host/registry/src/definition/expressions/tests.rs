//! Rules against objects, and definitions against the rules of rules.

use quadrille_object::Schema;
use serde_json::{Map, Value, json};

use super::{check, compile, run};

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn schema(spec: &Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

/// What is said about a change from one spec to another; warnings are marked.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "cases read better")]
fn says(schema: &Value, before: Option<Value>, after: Value, expected: &[&str]) {
    let rules = compile(schema).expect("there are rules");
    let object = map(&json!({"metadata": {"name": "w"}, "spec": after}));
    let before = before.map(|spec| map(&json!({"metadata": {"name": "w"}, "spec": spec})));
    let outcome = run(&rules, &object, before.as_ref());
    let mut found: Vec<String> = outcome.errors.iter().map(ToString::to_string).collect();
    found.extend(outcome.warnings.iter().map(|warning| format!("warning: {warning}")));
    assert_eq!(found, expected);
}

#[test]
fn rules_see_what_was_there_in_fields_and_in_associative_lists() {
    let item = json!({"type": "object", "required": ["k"], "properties": {
        "k": {"type": "string"}, "v": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v", "message": "only up"}]});
    let schema = schema(&json!({"type": "object", "properties": {
        "x": {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
        "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": item}}}));
    says(&schema, None, json!({"x": 1, "l": [{"k": "a", "v": 1}]}), &[]);
    says(&schema, Some(json!({"x": 1})), json!({"x": 1}), &[]);
    says(
        &schema,
        Some(json!({"x": 1})),
        json!({"x": 2}),
        &["spec.x: Invalid value: 2: failed rule: self == oldSelf"],
    );
    says(
        &schema,
        Some(json!({"l": [{"k": "a", "v": 5}, {"k": "b", "v": 5}]})),
        json!({"l": [{"k": "c", "v": 0}, {"k": "b", "v": 6}, {"k": "a", "v": 4}]}),
        &["spec.l[2]: Invalid value: only up"],
    );
}

#[test]
fn an_optional_earlier_value_is_asked_for_on_create_too() {
    let rule = json!({"rule": "self >= oldSelf.orValue(3)", "optionalOldSelf": true});
    let schema = schema(&json!({"type": "object", "properties": {
        "x": {"type": "integer", "x-kubernetes-validations": [rule]}}}));
    says(&schema, None, json!({"x": 3}), &[]);
    let failed = |x| format!("spec.x: Invalid value: {x}: failed rule: self >= oldSelf.orValue(3)");
    says(&schema, None, json!({"x": 2}), &[&failed(2)]);
    says(&schema, Some(json!({"x": 5})), json!({"x": 4}), &[&failed(4)]);
}

#[test]
fn what_did_not_change_is_excused_with_a_warning_unless_the_rule_is_about_changes() {
    let schema = schema(&json!({"type": "object", "properties": {
        "a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self < 5"}]},
        "b": {"type": "string"},
        "l": {"type": "array", "items": {
            "type": "integer", "x-kubernetes-validations": [{"rule": "self < 5"}]}},
        "t": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > oldSelf"}]}}}));
    let failed = "spec.a: Invalid value: 9: failed rule: self < 5";
    says(
        &schema,
        Some(json!({"a": 9})),
        json!({"a": 9, "b": "x"}),
        &[&format!("warning: {failed}")],
    );
    says(&schema, Some(json!({"a": 8})), json!({"a": 9}), &[failed]);
    let of_list = "spec.l[0]: Invalid value: 9: failed rule: self < 5";
    says(
        &schema,
        Some(json!({"l": [9]})),
        json!({"l": [9], "b": "x"}),
        &[&format!("warning: {of_list}")],
    );
    says(&schema, Some(json!({"l": [9]})), json!({"l": [9, 1]}), &[of_list]);
    says(
        &schema,
        Some(json!({"t": 1})),
        json!({"t": 1, "b": "x"}),
        &["spec.t: Invalid value: 1: failed rule: self > oldSelf"],
    );
}

#[test]
fn reasons_paths_and_messages_are_the_rules_own() {
    let with = |rule: Value| {
        schema(&json!({"type": "object", "x-kubernetes-validations": [rule], "properties": {
            "a": {"type": "integer"}, "m": {"type": "object", "additionalProperties": {"type": "string"}}}}))
    };
    for (rule, expected) in [
        (json!({"rule": "self.a < 5", "message": " m "}), "spec: Invalid value: m"),
        (
            json!({"rule": "self.a < 5", "reason": "FieldValueForbidden"}),
            "spec: Forbidden: failed rule: self.a < 5",
        ),
        (json!({"rule": "self.a < 5", "reason": "FieldValueDuplicate"}), "spec: Duplicate value"),
        (
            json!({"rule": "self.a < 5", "fieldPath": ".a"}),
            "spec.a: Invalid value: failed rule: self.a < 5",
        ),
        (
            json!({"rule": "self.a < 5", "fieldPath": ".m['x.y']", "message": "m"}),
            "spec.m[x.y]: Invalid value: m",
        ),
        (
            json!({"rule": "self.a < 5", "messageExpression": "'is ' + string(self.a)"}),
            "spec: Invalid value: is 9",
        ),
        (
            json!({"rule": "self.a < 5", "message": "m", "messageExpression": "self.m['none']"}),
            "spec: Invalid value: m",
        ),
        (
            json!({"rule": "self.a < 5", "messageExpression": "'a\\nb'"}),
            "spec: Invalid value: failed rule: self.a < 5",
        ),
        (
            json!({"rule": "self.m['none'] == ''"}),
            "spec: Invalid value: \"object\": no such key: m evaluating rule: self.m['none'] == ''",
        ),
    ] {
        says(&with(rule), None, json!({"a": 9}), &[expected]);
    }
}

#[test]
fn the_root_sees_its_names_and_errors_have_no_path() {
    let schema = json!({"type": "object", "x-kubernetes-validations": [
        {"rule": "self.metadata.name.startsWith('a')", "message": "name!"}]});
    says(&schema, None, json!({}), &["<nil>: Invalid value: name!"]);
}

#[test]
fn a_rule_that_costs_too_much_ends_the_check() {
    let schema = schema(&json!({"type": "object",
        "properties": {"l": {"type": "array", "items": {"type": "integer"}}},
        "x-kubernetes-validations": [
            {"rule": "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))"}, {"rule": "false"}]}));
    let numbers: Vec<usize> = (0..200).collect();
    let rule = "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))";
    let why = "no further validation rules will be run due to call cost exceeds limit for rule";
    let expected = format!(
        "spec: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': {why}: {rule}"
    );
    says(&schema, None, json!({"l": numbers}), &[&expected]);
}

/// The fields that a definition is refused for.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "cases read better")]
fn refused(spec: Value, expected: &[(&str, &str)]) {
    let schema = schema(&spec);
    let findings = Schema::check_crd(&schema, "s");
    let errors = check(&schema, "s", &findings);
    let mut found: Vec<(&str, &str)> = Vec::new();
    for error in findings.keywords.iter().chain(&errors) {
        let at = error.field.strip_prefix("s.properties[spec].").unwrap_or(&error.field);
        found.push((at.strip_prefix("x-kubernetes-validations[0].").unwrap_or(at), &error.message));
    }
    let starts = |(found, expected): (&(&str, &str), &(&str, &str))| {
        found.0 == expected.0 && found.1.contains(expected.1)
    };
    let same = found.len() == expected.len() && found.iter().zip(expected).all(starts);
    assert!(same, "{schema}: {found:#?}");
}

#[test]
fn definitions_are_refused_for_their_rules() {
    let with = |rule: Value| {
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "s": {"type": "string"}},
            "x-kubernetes-validations": [rule]})
    };
    refused(with(json!({"rule": "self.a > 0"})), &[]);
    refused(with(json!({"rule": ""})), &[("rule", "rule is not specified")]);
    refused(with(json!({"rule": "self.a +"})), &[("rule", "compilation failed: ERROR")]);
    refused(with(json!({"rule": "self.a"})), &[("rule", "cel expression must evaluate to a bool")]);
    refused(with(json!({"rule": "true", "message": " "})), &[("message", "must be non-empty")]);
    refused(with(json!({"rule": "true", "reason": "Odd"})), &[("reason", "Unsupported value")]);
    refused(
        with(json!({"rule": "true", "fieldPath": ".z"})),
        &[("fieldPath", "must be a valid path")],
    );
    refused(
        with(json!({"rule": "true", "messageExpression": "1"})),
        &[("messageExpression", "messageExpression must evaluate to a string")],
    );
    refused(
        with(json!({"rule": "true", "optionalOldSelf": true})),
        &[("optionalOldSelf", "may not be set if oldSelf is not used in rule")],
    );
    refused(
        with(json!({"rule": "self.s.matches('a+b') && self.s.contains(self.s)"})),
        &[
            ("rule", "estimated rule cost exceeds budget"),
            ("rule", "contributed to estimated rule cost total"),
            ("s", "estimated rule cost total for entire OpenAPIv3 schema exceeds budget"),
        ],
    );
    let rule = json!([{"rule": "self == oldSelf"}]);
    let items = json!({"type": "integer", "x-kubernetes-validations": rule});
    let at = "properties[l].items.x-kubernetes-validations[0].rule";
    refused(
        json!({"type": "object", "properties": {"l": {"type": "array", "maxItems": 5, "items": items}}}),
        &[(at, "within s.properties[spec].properties[l]")],
    );
    let rule = json!([{"rule": "self < 5"}]);
    refused(
        json!({"type": "object", "properties": {
            "d": {"type": "integer", "default": 9, "x-kubernetes-validations": rule}}}),
        &[("properties[d].default", "failed rule: self < 5")],
    );
}

#[test]
fn a_rule_that_is_broken_in_many_places_below_a_long_key_is_told_in_few_words() {
    let schema = schema(&json!({"type": "object", "additionalProperties": {"type": "array",
        "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5"}]}}}));
    let rules = compile(&schema).expect("there are rules");
    let object = |number: i32| map(&json!({"spec": {"k".repeat(10_000): vec![number; 3_000]}}));
    let of = |errors: &[String]| errors.iter().map(String::len).sum::<usize>();
    let refused = run(&rules, &object(1), Some(&object(2)));
    let texts: Vec<String> = refused.errors.iter().map(ToString::to_string).collect();
    assert!((1..2_000_000).contains(&of(&texts)), "{} bytes", of(&texts));
    let excused = run(&rules, &object(1), Some(&object(1)));
    assert!(excused.errors.is_empty(), "they were broken before");
    assert!((1..200_000).contains(&of(&excused.warnings)), "{} bytes", of(&excused.warnings));
}
