//! Facts from recordings of kube-apiserver, and properties of the parsers.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::name::Gvk;

fn labelled(labels: &Value) -> Meta {
    let object = json!({"metadata": {"labels": labels}});
    Meta::from_object(object.as_object().expect("a map"))
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = LabelSelector::parse(text).expect_err(text).to_string();
    assert!(error.starts_with(message), "{text}: {error}");
}

#[test]
fn malformed_label_selectors_get_the_recorded_messages() {
    let requirement = "unable to parse requirement: ";
    refused(",", "found ',', expected: !, identifier, or 'end of string'");
    refused("a b", &format!("{requirement}found 'b', expected: in, notin, =, ==, !=, gt, lt"));
    refused("env=a b", "found 'b', expected: ',' or 'end of string'");
    refused("env!", &format!("{requirement}found '!', expected: in, notin, =, ==, !=, gt, lt"));
    refused("env in (", &format!("{requirement}found '', expected: ',', ')' or identifier"));
    refused("env in (a b)", &format!("{requirement}found 'b', expected: ',' or ')'"));
    refused("env in prod", &format!("{requirement}found 'prod' expected: '('"));
    refused("env,,tier", "found ',', expected: identifier after ','");
    refused("!env=x", "found '=', expected: ',' or 'end of string'");
    refused("env===x", &format!("{requirement}found '=', expected: identifier"));
    refused(
        "env=-x",
        &format!("{requirement}values[0][env]: Invalid value: \"-x\": a valid label"),
    );
    refused("-x", &format!("{requirement}<nil>: Invalid value: \"-x\": name part must consist"));
    refused("x/y/z=1", &format!("{requirement}<nil>: Invalid value: \"x/y/z\": a valid label key"));
}

#[test]
fn label_selectors_match_as_recorded() {
    let matches = |selector: &str, labels: Value| {
        LabelSelector::parse(selector).expect(selector).matches(&labelled(&labels))
    };
    assert!(matches(" env = prod , tier in (db,web),!gone", json!({"env": "prod", "tier": "db"})));
    assert!(matches("env notin (prod, dev)", json!({})));
    assert!(matches("env!=prod", json!({})));
    assert!(!matches("env=", json!({})));
    assert!(matches("env in ()", json!({"env": ""})));
    assert!(matches("n<10,n>1", json!({"n": "4"})));
    assert!(!matches("n<10", json!({"n": "four"})));
    assert!(matches("", json!({})));
}

#[test]
fn a_label_selector_object_prints_as_a_scale_shows_it() {
    let selector = LabelSelector::from_value(&json!({
        "matchLabels": {"b": "1", "a": "2"},
        "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["z", "y"]},
            {"key": "d", "operator": "DoesNotExist"},
        ],
    }));
    assert_eq!(selector.expect("valid").to_string(), "a=2,b=1,c in (y,z),!d");
    let error = LabelSelector::from_value(&json!({
        "matchExpressions": [{"key": "c", "operator": "Near", "values": ["z"]}],
    }));
    assert_eq!(
        error.expect_err("no such operator").to_string(),
        "\"Near\" is not a valid label selector operator"
    );
}

#[test]
fn field_selectors_read_paths_out_of_bytes() {
    let pod = br#"{"metadata":{"name":"p"},"spec":{"x":[{"nodeName":"no"}],"nodeName":"n\u0031"},"status":{"phase":"Running"}}"#;
    let matches = |text: &str| FieldSelector::parse(text).expect(text).matches("p", "ns", pod);
    assert!(matches("metadata.name=p,spec.nodeName==n1,status.phase!=Pending"));
    assert!(matches("spec.hostNetwork=false,status.nominatedNodeName="));
    assert!(!matches("metadata.namespace=other"));
}

#[test]
fn field_selectors_are_refused_with_the_recorded_messages() {
    let error = |text: &str, kind: &Gvk, selectable: Option<&[String]>| {
        let checked = FieldSelector::parse(text).and_then(|s| s.check(kind, selectable));
        checked.expect_err(text).to_string()
    };
    let secret = Gvk::new("", "v1", "Secret");
    let set = Gvk::new("apps", "v1", "ReplicaSet");
    assert_eq!(
        error("metadata.name>a", &secret, None),
        "invalid selector: 'metadata.name>a'; can't understand 'metadata.name>a'"
    );
    assert_eq!(error("metadata.uid=x", &secret, None), "field label not supported: metadata.uid");
    assert_eq!(error("spec.a=1", &set, Some(&[])), "field label not supported: spec.a");
    assert_eq!(
        error("status.replicas=0", &set, None),
        "\"status.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
    assert_eq!(
        error("a=b=c", &secret, None),
        "invalid field selector: unescaped character in value: 61"
    );
}

#[test]
fn escaped_values_of_fields_are_printed_escaped() {
    let selector = FieldSelector::parse(r"type=a\,b\=c\\").expect("valid");
    assert_eq!(selector.exact("type"), Some(r"a,b=c\"));
    assert_eq!(selector.to_string(), r"type=a\,b\=c\\");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z!=()<>, \\\\é-]{0,40}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
        }
        if let Ok(selector) = FieldSelector::parse(&text) {
            prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
        }
    }
}
