//! What metadata may hold.

use serde_json::{Value, json};

use super::{Case, JSON, case, many};
use crate::CONFIG_MAPS;

/// Names, labels and what else metadata may hold.
pub(super) fn metadata() -> Vec<Case> {
    let post = ("POST", CONFIG_MAPS);
    let of = |metadata: Value| json!({"metadata": metadata}).to_string();
    let mut cases: Vec<Case> = [
        "",
        ".",
        "..",
        "a/b",
        "a%2fb",
        "../../etc",
        "A",
        "-a",
        "a-",
        "a..b",
        "é",
        "a b",
        "a\n",
        "*",
        "$(id)",
        "<script>",
        "\u{202e}x",
    ]
    .iter()
    .map(|name| {
        case(&format!("the name {name:?}"), post, (JSON, of(json!({"name": name}))), &[422])
    })
    .collect();
    let long = "a".repeat(100_000);
    cases.extend([
        case("a name of 100,000 letters", post, (JSON, of(json!({"name": long}))), &[422]),
        case("a prefix of 100,000 letters", post, (JSON, of(json!({"generateName": long}))), &[201, 422]),
        case("a label of 100,000 letters", post, (JSON, of(json!({"generateName": "x-", "labels": {"a": long}}))), &[422]),
        case("a label's name of 100,000 letters", post, (JSON, of(json!({"generateName": "x-", "labels": {long.as_str(): "a"}}))), &[422]),
        case("labels that are no texts", post, (JSON, of(json!({"generateName": "x-", "labels": {"a": {"b": 1}}}))), &[400]),
        case("20,000 labels", post, (JSON, of(json!({"generateName": "x-", "labels": (0..many(20_000)).map(|n| (format!("l{n}"), json!("v"))).collect::<serde_json::Map<_, _>>()}))), &[201, 422]),
        case("a foreign uid", post, (JSON, of(json!({"generateName": "x-", "uid": "00000000-0000-0000-0000-000000000000", "resourceVersion": ""}))), &[201]),
        case("a revision from the start", post, (JSON, of(json!({"generateName": "x-", "resourceVersion": "5"}))), &[500]),
        case("20,000 owners", post, (JSON, of(json!({"generateName": "x-", "ownerReferences": (0..many(10_000)).map(|n| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": format!("o{n}"), "uid": format!("u{n}")})).collect::<Vec<_>>()}))), &[201, 422]),
        case("an owner of itself", post, (JSON, of(json!({"name": "self", "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "self", "uid": "x"}]}))), &[201]),
        case("50,000 finalizers", post, (JSON, of(json!({"generateName": "x-", "finalizers": (0..many(50_000)).map(|n| format!("a.b/{n}")).collect::<Vec<_>>()}))), &[201, 413]),
        case("100,000 owners without a kind", post, (JSON, of(json!({"generateName": "x-", "ownerReferences": (0..100_000).map(|n| json!({"uid": n.to_string()})).collect::<Vec<_>>()}))), &[422]),
        case("5,000 owners that control", post, (JSON, of(json!({"generateName": "x-", "ownerReferences": (0..5_000).map(|n| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": format!("o{n}"), "uid": format!("u{n}"), "controller": true})).collect::<Vec<_>>()}))), &[422]),
        case("200,000 finalizers without a domain", post, (JSON, of(json!({"generateName": "x-", "finalizers": (0..200_000).map(|n| n.to_string()).collect::<Vec<_>>()}))), &[422]),
        case("nulls where texts belong", post, (JSON, of(json!({"generateName": "x-", "finalizers": [null]}))), &[422]),
        case("10,000 managers", post, (JSON, of(json!({"generateName": "x-", "managedFields": (0..10_000).map(|n| json!({"manager": n.to_string(), "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}})).collect::<Vec<_>>()}))), &[201, 413]),
        case("a question of 100,000 parts", ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"), (JSON, json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": {"requirements": vec![json!({}); 100_000]}}}}).to_string()), &[422]),
        case("a question of a million parts", ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"), (JSON, json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": {"requirements": vec![json!({}); 900_000]}}}}).to_string()), &[413]),
        case("a time that is none", post, (JSON, of(json!({"generateName": "x-", "creationTimestamp": "99999-99-99T99:99:99Z"}))), &[400]),
    ]);
    cases
}
