//! Strategic merge patches against answers recorded from kube-apiserver 1.36.

#![expect(clippy::needless_pass_by_value, reason = "test helpers take what `json!` makes")]

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{StrategicError, patch};
use crate::name::Gvk;
use crate::schema::Schema;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("test objects are maps")
}

fn deployment() -> Value {
    json!({
        "metadata": {"name": "d", "labels": {"l": "1"}, "finalizers": ["example.com/a", "example.com/b"]},
        "spec": {"replicas": 0, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {"spec": {
            "containers": [
                {"name": "c1", "image": "i1", "args": ["x", "y"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81, "protocol": "TCP"}]},
                {"name": "c2", "image": "i2"}],
            "imagePullSecrets": [{"name": "p1"}],
            "nodeSelector": {"m": "2", "n": "1"},
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "volumes": [{"name": "v1", "emptyDir": {}}, {"name": "v2", "configMap": {"name": "cm"}}],
        }}},
    })
}

fn patched(with: Value) -> Result<Value, StrategicError> {
    let schema = Schema::builtin(&Gvk::new("apps", "v1", "Deployment")).expect("a built-in kind");
    patch(&schema, map(deployment()), &map(with)).map(Value::Object)
}

fn pod_spec(with: Value) -> Result<Value, StrategicError> {
    let patched = patched(json!({"spec": {"template": {"spec": with}}}))?;
    Ok(patched.pointer("/spec/template/spec").cloned().expect("it stays"))
}

fn names(list: &Value) -> Vec<&str> {
    let items = list.as_array().expect("a list").iter();
    items.map(|item| item.get("name").and_then(Value::as_str).expect("named")).collect()
}

#[test]
fn containers_merge_by_name_and_new_ones_go_first() {
    let spec = pod_spec(json!({"containers": [{"name": "c1", "image": "new"}]})).expect("fits");
    assert_eq!(spec["containers"][0]["image"], "new");
    assert_eq!(spec["containers"][0]["args"], json!(["x", "y"]));
    let spec = pod_spec(json!({"containers": [{"name": "c3", "image": "i3"}]})).expect("fits");
    assert_eq!(names(&spec["containers"]), ["c3", "c1", "c2"]);
    let spec = pod_spec(json!({"imagePullSecrets": [{"name": "p2"}]})).expect("fits");
    assert_eq!(names(&spec["imagePullSecrets"]), ["p2", "p1"]);
    let spec = pod_spec(json!({"containers": [{"name": "c1", "env": [
        {"name": "B", "value": "9"}, {"name": "C", "value": "3"}]}]}))
    .expect("fits");
    assert_eq!(names(&spec["containers"][0]["env"]), ["A", "B", "C"]);
}

#[test]
fn ports_merge_by_their_number() {
    let spec = pod_spec(
        json!({"containers": [{"name": "c1", "ports": [{"containerPort": 81, "name": "x"}]}]}),
    );
    let expected = json!([{"containerPort": 80, "protocol": "TCP"},
        {"containerPort": 81, "protocol": "TCP", "name": "x"}]);
    assert_eq!(spec.expect("fits")["containers"][0]["ports"], expected);
}

#[test]
fn lists_without_a_merge_key_are_replaced() {
    let spec = pod_spec(json!({"tolerations": [], "containers": [{"name": "c1", "args": ["z"]}]}))
        .expect("fits");
    assert_eq!(spec["tolerations"], json!([]));
    assert_eq!(spec["containers"][0]["args"], json!(["z"]));
    let spec = pod_spec(json!({"tolerations": null})).expect("fits");
    assert_eq!(spec.get("tolerations"), None);
}

#[test]
fn the_patch_directive_deletes_and_replaces() {
    let spec = pod_spec(json!({"containers": [{"$patch": "delete", "name": "c1"}]})).expect("fits");
    assert_eq!(names(&spec["containers"]), ["c2"]);
    let spec =
        pod_spec(json!({"containers": [{"$patch": "delete", "name": "none"}]})).expect("fits");
    assert_eq!(names(&spec["containers"]), ["c1", "c2"]);
    let spec =
        pod_spec(json!({"containers": [{"$patch": "replace"}, {"name": "only", "image": "i"}]}));
    assert_eq!(spec.expect("fits")["containers"], json!([{"name": "only", "image": "i"}]));
    let spec = pod_spec(json!({"nodeSelector": {"$patch": "delete"}})).expect("fits");
    assert_eq!(spec["nodeSelector"], json!({}));
    let spec = pod_spec(json!({"nodeSelector": {"$patch": "replace", "z": "1"}})).expect("fits");
    assert_eq!(spec["nodeSelector"], json!({"z": "1"}));
}

#[test]
fn retain_keys_drops_the_others() {
    let patched =
        patched(json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}));
    assert_eq!(patched.expect("fits")["spec"]["strategy"], json!({"type": "Recreate"}));
    let refused =
        pod_spec(json!({"volumes": [{"name": "v1", "$retainKeys": ["name"], "secret": {}}]}));
    assert!(matches!(refused, Err(StrategicError::Malformed(_))));
}

#[test]
fn primitive_lists_lose_and_gain_items() {
    let patched =
        patched(json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"],
        "finalizers": ["example.com/z"]}}));
    assert_eq!(
        patched.expect("fits")["metadata"]["finalizers"],
        json!(["example.com/z", "example.com/b"])
    );
    let patched = patched_finalizers(json!(["example.com/b", 7, {"example.com/a": null}]));
    assert_eq!(patched, json!(["example.com/a"]), "only what is equal goes");
}

fn patched_finalizers(gone: Value) -> Value {
    let gone = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": gone}});
    patched(gone).expect("fits")["metadata"]["finalizers"].clone()
}

/// What a directive makes of a list or map of 100,000 when it names as many others: by looking each up among all that
/// would take minutes.
#[expect(clippy::disallowed_methods, reason = "a test that measures")]
fn promptly(object: Value, with: Value) -> Value {
    let schema = Schema::builtin(&Gvk::new("", "v1", "ConfigMap")).expect("a built-in kind");
    let (object, with) = (map(object), map(with));
    let begun = Instant::now();
    let patched = patch(&schema, object, &with).expect("fits");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(30), "took {took:?}");
    Value::Object(patched)
}

#[test]
fn directives_that_name_very_many_take_no_longer_than_reading_them() {
    let names = |of: &str| (0..100_000).map(|n| format!("{of}.b/{n}")).collect::<Vec<_>>();
    let patched = promptly(
        json!({"metadata": {"finalizers": names("a")}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": names("x")}}),
    );
    assert_eq!(patched["metadata"]["finalizers"].as_array().map(Vec::len), Some(100_000));
    let data: Map<String, Value> = names("a").into_iter().map(|key| (key, json!("v"))).collect();
    let patched = promptly(json!({"data": data}), json!({"data": {"$retainKeys": names("x")}}));
    assert_eq!(patched["data"], json!({}));
    // One that is long stands after 50,000 others.
    let long = "l".repeat(2_000_000);
    let mut finalizers = names("a");
    finalizers.truncate(50_000);
    finalizers.push(long.clone());
    let patched = promptly(
        json!({"metadata": {"finalizers": finalizers}}),
        json!({"metadata": {"finalizers": [long]}}),
    );
    assert_eq!(patched["metadata"]["finalizers"], json!(finalizers));
}

#[test]
fn set_element_order_orders() {
    let spec = pod_spec(json!({"$setElementOrder/containers": [{"name": "c2"}, {"name": "c1"}],
        "containers": [{"name": "c1", "image": "new"}]}))
    .expect("fits");
    assert_eq!(names(&spec["containers"]), ["c2", "c1"]);
    let spec = pod_spec(
        json!({"$setElementOrder/containers": [{"name": "c2"}, {"name": "c3"}, {"name": "c1"}],
        "containers": [{"name": "c3", "image": "i3"}]}),
    )
    .expect("fits");
    assert_eq!(names(&spec["containers"]), ["c2", "c3", "c1"]);
    let spec = pod_spec(json!({"containers": [{"name": "c1", "env": [{"name": "A", "value": "q"}],
        "$setElementOrder/env": [{"name": "B"}, {"name": "A"}]}]}))
    .expect("fits");
    assert_eq!(names(&spec["containers"][0]["env"]), ["B", "A"]);
    let spec = pod_spec(json!({"$setElementOrder/containers": [{"name": "c2"}, {"name": "c1"}]}))
        .expect("fits");
    assert_eq!(names(&spec["containers"]), ["c2", "c1"]);
}

#[test]
fn senseless_patches_are_refused_in_the_servers_words() {
    for (spec, message) in [
        (
            json!({"containers": [{"image": "i3"}]}),
            "map: map[image:i3] does not contain declared merge key: name",
        ),
        (
            json!({"nodeSelector": {"$patch": "frob"}}),
            "unknown patch type: frob in map: map[$patch:frob]",
        ),
        (
            json!({"nodeSelector": {"$patch": "merge"}}),
            "unknown patch type: merge in map: map[$patch:merge]",
        ),
    ] {
        assert_eq!(pod_spec(spec), Err(StrategicError::Senseless(message.to_owned())));
    }
    let refused = pod_spec(json!({"$setElementOrder/containers": [{"name": "c2"}],
        "containers": [{"name": "c1", "image": "new"}]}));
    assert!(refused.expect_err("c1 is not in the order").to_string().contains("$setElementOrder"));
}
